//! How a command ends when it did not work: what happened, what to do next, and the exit code.

use crate::config::ConfigError;
use crate::local_client::{CallError, ReachError};
use crate::node::OpenNodeError;
use crate::problem::chain;
use counterfoil_migrate::ApplyError;
use counterfoil_protocol::problem::Problem;
use counterfoil_shop_store::OpenStoreError;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_CHECKS: u8 = 3;
const EXIT_SCHEMA: u8 = 6;
const EXIT_CONFIGURATION: u8 = 7;

/// A command that did not work.
#[derive(Debug)]
pub struct Failure {
    exit_code: u8,
    text: String,
    hint: Option<String>,
}

impl Failure {
    /// A directory, address or setting that cannot be used.
    pub fn configuration(error: &dyn Error) -> Self {
        Self {
            exit_code: EXIT_CONFIGURATION,
            text: chain(error),
            hint: None,
        }
    }

    /// An argument that clap cannot judge.
    pub(crate) fn usage(text: String, hint: &str) -> Self {
        Self {
            exit_code: EXIT_USAGE,
            text,
            hint: Some(hint.to_owned()),
        }
    }

    /// Something that was done and left a question to a person.
    pub(crate) fn checks(text: String) -> Self {
        Self {
            exit_code: EXIT_CHECKS,
            text,
            hint: None,
        }
    }

    /// Something that failed for a reason of its own.
    pub(crate) fn failed(error: &dyn Error) -> Self {
        Self {
            exit_code: EXIT_FAILED,
            text: chain(error),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// Prints the failure and returns its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let hint = self
            .hint
            .as_ref()
            .map_or_else(String::new, |hint| format!("hint: {hint}\n"));
        // There is nobody to tell when standard error is closed.
        let _unheard = write!(std::io::stderr(), "error: {}\n{hint}", self.text);
        ExitCode::from(self.exit_code)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            exit_code: problem.code.exit_code(),
            text: problem.detail,
            hint: problem.hint,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => problem.into(),
            CallError::Lost(_) => Self::failed(&error)
                .hint("repeat the command with the same --id: nothing is recorded twice then"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::configuration(&error)
    }
}

fn schema_refusal(error: &OpenNodeError) -> Option<&ApplyError> {
    match error {
        OpenNodeError::Store(OpenStoreError::Migrate(apply)) => Some(apply),
        OpenNodeError::Store(_) | OpenNodeError::Directory(_) | OpenNodeError::Replica(_) => None,
    }
}

impl From<OpenNodeError> for Failure {
    fn from(error: OpenNodeError) -> Self {
        if chain(&error).contains("database or disk is full") {
            return Self {
                exit_code: EXIT_FAILED,
                text: chain(&error),
                hint: None,
            }
            .hint("the disk is full: free some space and repeat; what was sold is safe");
        }

        match schema_refusal(&error) {
            Some(apply) => {
                let exit_code = if apply.is_schema_conflict() {
                    EXIT_SCHEMA
                } else {
                    EXIT_CONFIGURATION
                };
                Self {
                    exit_code,
                    text: chain(&error),
                    hint: Some(apply.hint().to_owned()),
                }
            }
            None => Self::configuration(&error),
        }
    }
}

impl From<ReachError> for Failure {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::Open(error) => error.into(),
            ReachError::NoNode(ref data) => Self::configuration(&error)
                .hint(&format!("counterfoil-node init --data {}", data.display())),
            ReachError::Held(_) => Self::configuration(&error)
                .hint("a till has one daemon; the running one's address is in node.json"),
            ReachError::Lock { .. } | ReachError::Config(_) => Self::configuration(&error),
        }
    }
}
