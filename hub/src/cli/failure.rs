//! Errors as a command ends with them: exit code, text, next step.

use crate::copies::CopyFailure;
use crate::datadir::DataDirError;
use crate::hub::OpenHubError;
use crate::service::RunError;
use counterfoil_protocol::problem::{Code, Problem};
use std::error::Error;
use std::fmt;
use std::io::Write;

/// The data folder cannot be used; the same as at the node.
const EXIT_FOLDER: u8 = 7;

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How a command failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// See the help text.
    pub exit_code: u8,
    /// What happened.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// Something went wrong here.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self {
            exit_code: 1,
            text: text.into(),
            hint: None,
        }
    }

    /// The command line makes no sense.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self {
            exit_code: 2,
            text: text.into(),
            hint: Some("see --help".to_owned()),
        }
    }

    /// What was to be checked is not as it should be.
    pub(super) fn found_wrong(text: impl Into<String>) -> Self {
        Self {
            exit_code: 3,
            text: text.into(),
            hint: None,
        }
    }

    /// The running hub does not answer.
    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self {
            exit_code: Code::HubUnreachable.exit_code(),
            text: text.into(),
            hint: None,
        }
    }

    /// The data folder cannot be used.
    pub(super) fn unusable(text: impl Into<String>) -> Self {
        Self {
            exit_code: EXIT_FOLDER,
            ..Self::failed(text)
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error with all its causes on one line.
    pub(super) fn from_chain(error: &dyn Error) -> Self {
        Self::failed(chain(error))
    }

    /// Writes `error: ...` and `hint: ...`.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "error: {}", self.text)?;
        if let Some(hint) = &self.hint {
            writeln!(out, "hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit_code = problem.code.exit_code();
        Self {
            exit_code,
            text: problem.detail,
            hint: problem.hint,
        }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        let missing = matches!(error, DataDirError::Missing { .. });
        let failure = Self {
            exit_code: EXIT_FOLDER,
            ..Self::from_chain(&error)
        };
        if missing {
            return failure.hint("check --data, or begin with `counterfoil-hub shop add NAME`");
        }
        failure
    }
}

impl From<CopyFailure> for Failure {
    fn from(error: CopyFailure) -> Self {
        Self::from_chain(&error)
    }
}

impl From<OpenHubError> for Failure {
    fn from(error: OpenHubError) -> Self {
        use crate::store::StoreError;
        let mut failure = Self::from_chain(&error);
        if matches!(error, OpenHubError::DataDir(_) | OpenHubError::InUse) {
            failure.exit_code = EXIT_FOLDER;
        }
        if let OpenHubError::Store(StoreError::Migrate(cause)) = &error {
            failure = failure.hint(cause.hint());
            if cause.is_schema_conflict() {
                failure.exit_code = Code::UpdateRequired.exit_code();
            }
        }
        failure
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Open(error) => error.into(),
            error => Self::from_chain(&error),
        }
    }
}
