//! One table from what failed to what a caller is told. Causes inside go to the log only.

use axum::response::{IntoResponse, Response};
use counterfoil_protocol::problem::{Code, PROBLEM_MEDIA_TYPE, Problem};
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::employees::PinFault;
use counterfoil_shop_store::escrow::EscrowFault;
use http::{StatusCode, header};
use std::error::Error;

/// A problem as the answer of a handler.
#[derive(Debug)]
pub struct Refusal(pub Problem);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        let media_type = header::HeaderValue::from_static(PROBLEM_MEDIA_TYPE);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(store_problem(&error))
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Something failed inside: the log gets all of it, the caller where to look.
pub fn internal(error: &dyn Error) -> Problem {
    let detail = chain(error);
    tracing::error!(error = %detail, "a request failed inside");
    Problem::new(Code::Internal, detail)
        .hint("the node's log says more; repeat the request under the same id")
}

/// What somebody is told who may not do something at this till.
fn employee_problem(error: &StoreError, detail: String) -> Problem {
    match error {
        StoreError::Employee(_) | StoreError::AnotherEmployee { .. } => {
            Problem::new(Code::Invalid, detail)
        }
        StoreError::Pin { fault, .. } => pin_problem(*fault, detail),
        StoreError::PinChanged => Problem::new(Code::ChangedMeanwhile, detail).hint("try again"),
        StoreError::PinsUnknown => Problem::new(Code::Conflict, detail)
            .hint("upgrade the hub; until then this till asks for no PIN"),
        StoreError::SignInRequired => Problem::new(Code::Unauthorized, detail)
            .hint("sign in: counterfoil-node sign-in EMPLOYEE, or POST /v1/sign-in"),
        StoreError::NotPermitted { permission, .. } => Problem::new(Code::Forbidden, detail).hint(
            format!(
                "somebody who may can allow it this once: --approved-by EMPLOYEE, or POST /v1/approvals for {permission}"
            ),
        ),
        StoreError::ApprovalEnded(_) => Problem::new(Code::Forbidden, detail)
            .hint("an approval is good for one thing and two minutes: ask for another"),
        StoreError::NobodyManages => Problem::new(Code::Conflict, detail)
            .hint("give somebody both first; a till of a shop is helped by its hub"),
        StoreError::NobodyHasPin => Problem::new(Code::Forbidden, detail)
            .hint("give somebody a PIN at the hub: counterfoil-hub employees pin EMPLOYEE; then sync"),
        other => internal(other),
    }
}

fn pin_problem(fault: PinFault, detail: String) -> Problem {
    match fault {
        PinFault::Locked { .. } => Problem::new(Code::TooManyAttempts, detail)
            .hint("only waiting helps, or another employee"),
        // The same for whoever is not there, not active, or without a PIN: it tells nobody who is.
        PinFault::Wrong { .. } => Problem::new(Code::Unauthorized, detail)
            .hint("whoever has no PIN yet is given one: counterfoil-node employee pin EMPLOYEE"),
        PinFault::NotPermitted(_) => Problem::new(Code::Forbidden, detail),
    }
}

/// What somebody is told about a sale of any lane that is not as they think.
fn sale_problem(error: &StoreError, detail: String) -> Problem {
    match error {
        StoreError::RefundedAlready(_) => Problem::new(Code::Conflict, detail).hint(
            "look at the receipts of all lanes; money that is given back all the same is a refund that names no sale",
        ),
        StoreError::UnknownParked(_) => Problem::new(Code::NotFound, detail).hint(
            "`counterfoil-node parked` lists what is here; one of another lane comes as soon as the lanes are connected",
        ),
        StoreError::ParkedSettled { .. } => Problem::new(Code::Conflict, detail)
            .hint("what the customer buys besides is a sale of its own"),
        other => internal(other),
    }
}

/// What somebody is told about a product under escrow.
fn escrow_problem(fault: &EscrowFault, detail: String) -> Problem {
    match fault {
        EscrowFault::NoRights(lack) => Problem::new(Code::NoRights, detail).hint(format!(
            "sell it at a lane that has the right, or give it to this one there: counterfoil-node escrow --give {sku} --quantity 1 \
             --lane NUMBER; lanes that are connected do so by themselves. From a lane that does not come back: \
             counterfoil-node escrow --take-over {sku} --quantity 1 --lane NUMBER",
            sku = lack.sku
        )),
        EscrowFault::Frozen(sku) => Problem::new(Code::NoRights, detail).hint(format!(
            "sell it at another lane; who knows that nothing was sold that is not in this till's journal frees its rights: \
             counterfoil-node escrow --release {sku}"
        )),
        EscrowFault::Unread(_) => Problem::new(Code::NoRights, detail)
            .hint("sell it at another lane, or end its escrow and begin it anew"),
        EscrowFault::Trial => Problem::new(Code::NotActivated, detail),
        EscrowFault::Begun(sku) => Problem::new(Code::Conflict, detail).hint(format!(
            "to begin anew with what was counted, end it first: counterfoil-node escrow --end {sku}"
        )),
        EscrowFault::NotBegun(_) | EscrowFault::UnknownLane(_) => {
            Problem::new(Code::NotFound, detail).hint("counterfoil-node escrow lists them")
        }
        EscrowFault::Missing(_) | EscrowFault::Myself => Problem::new(Code::Invalid, detail),
        EscrowFault::Connected(sku) => Problem::new(Code::Conflict, detail).hint(format!(
            "let it give them: counterfoil-node escrow --give {sku} at that lane"
        )),
        EscrowFault::TooMany { .. }
        | EscrowFault::NotFrozen
        | EscrowFault::SeveralLanes { .. } => Problem::new(Code::Conflict, detail),
    }
}

/// What a caller is told when the store refuses.
pub fn store_problem(error: &StoreError) -> Problem {
    if error.is_full() {
        return Problem::new(Code::StorageFull, "the disk is full: nothing was recorded")
            .hint("free some space and repeat the request; what was sold before is safe");
    }
    let detail = chain(error);
    match error {
        StoreError::Invalid(_) | StoreError::Number(_) | StoreError::NulCharacter => {
            Problem::new(Code::Invalid, detail)
        }
        StoreError::UnknownProduct(sku) => Problem::new(Code::Invalid, detail).hint(format!(
            "add it: counterfoil-node catalog set products {sku} name=NAME price=2.55; or name a price in \
             the line: {sku}:QTY@2.55"
        )),
        StoreError::NoPrice(sku) => Problem::new(Code::Invalid, detail).hint(format!(
            "set one: counterfoil-node catalog set products {sku} price=2.55; or name it in the \
             line: {sku}:QTY@2.55"
        )),
        StoreError::UnknownTable { .. } | StoreError::UnknownRow { .. } => {
            Problem::new(Code::NotFound, detail)
        }
        StoreError::UnknownColumn { .. } | StoreError::ColumnType { .. } => {
            Problem::new(Code::Invalid, detail)
        }
        StoreError::Employee(_)
        | StoreError::AnotherEmployee { .. }
        | StoreError::Pin { .. }
        | StoreError::PinChanged
        | StoreError::PinsUnknown
        | StoreError::SignInRequired
        | StoreError::NotPermitted { .. }
        | StoreError::ApprovalEnded(_)
        | StoreError::NobodyManages
        | StoreError::NobodyHasPin => employee_problem(error, detail),
        StoreError::UnknownConflict(_) => Problem::new(Code::NotFound, detail)
            .hint("`counterfoil-node conflicts list` shows the numbers; others' are decided at the hub"),
        StoreError::ConflictSettled { id, .. } => Problem::new(Code::AlreadySettled, detail).hint(
            format!("`counterfoil-node conflicts put-back {id}` makes the value that lost current all the same"),
        ),
        StoreError::ConflictChanged { seen, .. } => Problem::new(Code::ChangedMeanwhile, detail)
            .hint(format!("to decide over that value, repeat with --seen {seen}")),
        StoreError::NotMergeable(_) => Problem::new(Code::Invalid, detail),
        StoreError::MergedAlready { .. } => Problem::new(Code::Conflict, detail).hint(
            "to turn it round, take the merge back first: counterfoil-node catalog unmerge",
        ),
        StoreError::UnknownType { .. } | StoreError::CursorMalformed => {
            Problem::new(Code::BadRequest, detail)
        }
        StoreError::CursorGone => Problem::new(Code::CursorGone, detail)
            .hint("begin without a cursor, and forget what you had"),
        StoreError::RefundedAlready(_)
        | StoreError::UnknownParked(_)
        | StoreError::ParkedSettled { .. } => sale_problem(error, detail),
        StoreError::Escrow(fault) => escrow_problem(fault, detail),
        StoreError::FutureInvoice(_) => Problem::new(Code::Invalid, detail)
            .hint("correct the date in the file, or the clock of this till, and import again"),
        StoreError::DayAhead { .. } => Problem::new(Code::Invalid, detail)
            .hint("a day is closed on that day or later; is the clock of this till right?"),
        StoreError::DayPassed { .. } => Problem::new(Code::Conflict, detail)
            .hint("what is dated before belongs to the next closure, as late entries"),
        StoreError::SealOfAnother => Problem::new(Code::Conflict, detail)
            .hint("close the day again; nothing was recorded"),
        StoreError::IdTaken { .. } | StoreError::AlreadyActivated(_) => {
            Problem::new(Code::Conflict, detail)
        }
        StoreError::Sql(_)
        | StoreError::Schema(_)
        | StoreError::Corrupt { .. }
        | StoreError::Forked { .. }
        | StoreError::Gap { .. } => internal(error),
    }
}
