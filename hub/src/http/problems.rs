//! Errors as answers: a problem with a stable code outside, the whole chain in the log.

use crate::copies::CopyFailure;
use crate::store::StoreError;
use axum::response::{IntoResponse, Response};
use counterfoil_protocol::problem::{Code, PROBLEM_MEDIA_TYPE, Problem};
use http::{HeaderValue, StatusCode, header};
use std::error::Error;

/// An answer that is not what the caller hoped for.
#[derive(Clone, Debug)]
pub(crate) struct ApiError(pub(crate) Problem);

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self(self.0.hint(hint))
    }

    /// Something failed inside: logged here, where it stops.
    pub(crate) fn internal(error: &(dyn Error + 'static)) -> Self {
        if is_disk_full(error) {
            tracing::error!(error, "the disk is full");
            return Self::new(Code::StorageFull, "the hub's disk is full")
                .hint("make room on the hub's disk; nothing is lost, tills send again");
        }
        tracing::error!(error, "request failed");
        Self::new(
            Code::Internal,
            "the hub could not carry this out; its log says why",
        )
    }
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let in_store = error
            .downcast_ref::<counterfoil_migrate::SqlError>()
            .is_some_and(counterfoil_migrate::SqlError::is_disk_full);
        let in_file = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull);
        if in_store || in_file {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<CopyFailure> for ApiError {
    fn from(error: CopyFailure) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&problem)).into_response();
        let media = HeaderValue::from_static(PROBLEM_MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        // For whoever notes how requests end.
        response.extensions_mut().insert(problem);
        response
    }
}
