//! Exit codes, and errors with the next command to type.

use std::error::Error;
use std::fmt;

use crate::runner::ApplyError;
use crate::status::StatusError;

/// How a command ended; the numbers are the process exit codes of every program of the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// The arguments are wrong; clap's own code.
    Usage = 2,
    /// A check found problems.
    Problems = 3,
    /// Newer database or divergent schema.
    SchemaConflict = 6,
}

impl Exit {
    /// The process exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// A command that did not work: exit code, cause, and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The cause, with its own causes.
    pub error: Box<dyn Error + Send + Sync>,
    /// What a person should do next.
    pub hint: Option<&'static str>,
}

impl fmt::Display for Failure {
    /// The whole chain of causes on one line, then the hint on its own.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.error)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        match self.hint {
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let exit = if error.is_schema_conflict() {
            Exit::SchemaConflict
        } else {
            Exit::Failed
        };
        let hint = Some(error.hint());
        let error = Box::new(error);
        Self { exit, error, hint }
    }
}

impl From<StatusError> for Failure {
    fn from(error: StatusError) -> Self {
        Self {
            exit: Exit::Failed,
            error: Box::new(error),
            hint: Some("check that --db is a database file and that this user may read it"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self {
            exit: Exit::Failed,
            error: Box::new(error),
            hint: None,
        }
    }
}
