//! What went wrong, in a form that programs can act on: problem details as in RFC 9457 with a
//! stable code. One table maps a code to its HTTP status and to the exit code of a command.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of an error body.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// The stable codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood.
    BadRequest,
    /// The request was understood and breaks a rule.
    Invalid,
    /// No or a wrong credential.
    Unauthorized,
    /// A good credential for something else.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It contradicts what is already there.
    Conflict,
    /// A conflict that is settled already.
    AlreadySettled,
    /// This lane has not the right to sell so many of a product under escrow.
    NoRights,
    /// What the caller saw is not there any more: look again.
    ChangedMeanwhile,
    /// What a cursor counted on is gone: begin again without one.
    CursorGone,
    /// A join code that was used, has expired or never existed.
    JoinCodeRefused,
    /// The hub does not take registrations from here.
    RegistrationClosed,
    /// The schema is too old: update, then sync.
    UpdateRequired,
    /// The body is larger than allowed.
    TooLarge,
    /// There is no room left on the disk.
    StorageFull,
    /// The hub cannot be reached now.
    HubUnreachable,
    /// There is no room for this now: ask again later.
    Busy,
    /// Too many wrong passwords: wait.
    TooManyAttempts,
    /// It runs, and cannot do its work now.
    NotReady,
    /// The node is in trial: activate it first.
    NotActivated,
    /// Two histories of one database contradict each other.
    Diverged,
    /// Something failed inside; the log says what.
    Internal,
}

impl Code {
    /// HTTP status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::JoinCodeRefused | Self::RegistrationClosed => 403,
            Self::NotFound => 404,
            Self::Conflict
            | Self::AlreadySettled
            | Self::NoRights
            | Self::ChangedMeanwhile
            | Self::NotActivated
            | Self::Diverged => 409,
            Self::CursorGone => 410,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::TooManyAttempts => 429,
            Self::UpdateRequired => 426,
            Self::Internal => 500,
            Self::HubUnreachable | Self::Busy | Self::NotReady => 503,
            Self::StorageFull => 507,
        }
    }

    /// Exit code of a command that ends with this problem; the list stands in the help text.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::HubUnreachable | Self::Busy | Self::NotReady => 4,
            Self::Unauthorized
            | Self::TooManyAttempts
            | Self::Forbidden
            | Self::JoinCodeRefused
            | Self::RegistrationClosed => 5,
            Self::UpdateRequired | Self::Diverged => 6,
            Self::BadRequest
            | Self::Invalid
            | Self::NotFound
            | Self::Conflict
            | Self::AlreadySettled
            | Self::NoRights
            | Self::ChangedMeanwhile
            | Self::CursorGone
            | Self::TooLarge
            | Self::StorageFull
            | Self::NotActivated
            | Self::Internal => 1,
        }
    }
}

/// An error as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error, ToSchema)]
#[error("{detail}")]
pub struct Problem {
    /// What programs act on.
    pub code: Code,
    /// The HTTP status, repeated for readers of a saved body.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without advice.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
