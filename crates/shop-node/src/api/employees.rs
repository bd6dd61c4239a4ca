//! Employees: signing in with a PIN, approvals, and setting a PIN. Hashes are made beside the store's thread, one at a
//! time: a sale does not wait for them, and nobody tries many PINs at once.

use crate::api::{Json, check_who, named};
use crate::credentials::token_digest;
use crate::node::Node;
use crate::problem::{Refusal, internal};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use counterfoil_domain::employee::{EMPLOYEES, PIN, check_pin};
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::{Priority, Topic, password};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::employees::{
    APPROVAL_HEADER, ApprovalRequest, Approved, NoSaleRequest, PinRequest, PinSet, SESSION_HEADER,
    SignInRequest, SignedInEmployee, SignedOut,
};
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_shop_store::employees::{Opened, PinCheck, PinHash, Purpose, SESSION_IDLE_MS};
use counterfoil_shop_store::{EditOf, Presented, ShopStore, StoreError};
use http::request::Parts;
use std::convert::Infallible;
use std::sync::Arc;

/// What a request carries in its headers. Whether it is good is for the store to say.
pub(super) struct Headers(pub(super) Presented);

impl<S: Send + Sync> FromRequestParts<S> for Headers {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let digest = |name| {
            let value = parts.headers.get(name)?;
            Some(token_digest(value.to_str().unwrap_or_default()))
        };
        Ok(Self(Presented {
            session: digest(SESSION_HEADER),
            approval: digest(APPROVAL_HEADER),
        }))
    }
}

/// A secret that only its holder knows.
fn mint(node: &Node) -> String {
    let mut bytes = [0_u8; 32];
    node.inner.env.random.fill(&mut bytes);
    to_hex(&bytes)
}

/// Checks a PIN in its turn; what it opened, under the token that is made here.
async fn open(
    node: &Node,
    employee: String,
    pin: String,
    purpose: Purpose,
) -> Result<(String, Opened), Refusal> {
    let Ok(_place) = node.inner.pin_places.try_acquire() else {
        let detail = "too many PINs are being checked at the moment";
        return Err(Problem::new(Code::Busy, detail)
            .hint("try again in a moment")
            .into());
    };
    let _turn = node.inner.pin_turn.lock().await;
    let now_ms = node.now_ms();
    let look = move |store: &mut ShopStore| store.look_for_pin(&employee, purpose, now_ms);
    let check: PinCheck = node.store(look).await.map_err(refused)?;
    let hash = check.hash.clone();
    let fits = move || password::is_right(&pin, hash.as_ref().map(PinHash::as_str));
    let is_right = node.inner.env.execution.blocking(fits).await;
    let token = mint(node);
    let (digest, now_ms) = (token_digest(&token), node.now_ms());
    let opened = node
        .store(move |store| store.pin_checked(&check, is_right, digest, now_ms))
        .await;
    // Also a wrong one is in the journal by now.
    node.recorded(Topic::EmployeeEvent.priority());
    let opened = opened.map_err(refused)?;
    tracing::info!(employee = %opened.employee.id, ?purpose, "a PIN was right");
    Ok((token, opened))
}

fn refused(error: StoreError) -> Refusal {
    if let StoreError::Pin { employee, fault } = &error {
        tracing::warn!(
            employee,
            outcome = fault.outcome().name(),
            "a PIN opened nothing"
        );
    }
    error.into()
}

/// Signs an employee in with their PIN.
#[utoipa::path(
    post,
    path = "/v1/sign-in",
    tag = "employees",
    request_body = SignInRequest,
    responses((status = 200, body = SignedInEmployee)),
)]
pub(super) async fn sign_in(
    State(node): State<Node>,
    Json(request): Json<SignInRequest>,
) -> Result<axum::Json<SignedInEmployee>, Refusal> {
    let SignInRequest { employee, pin } = request;
    let (session, opened) = open(&node, employee, pin, Purpose::SignIn).await?;
    let Opened {
        employee,
        expires_ms,
    } = opened;
    Ok(axum::Json(SignedInEmployee {
        session,
        permissions: employee.permissions.iter().collect(),
        employee: employee.id,
        name: employee.name,
        idle_ms: SESSION_IDLE_MS,
        expires_ms,
    }))
}

/// Ends the session that the request carries.
#[utoipa::path(
    post,
    path = "/v1/sign-out",
    tag = "employees",
    responses((status = 200, body = SignedOut)),
)]
pub(super) async fn sign_out(
    State(node): State<Node>,
    Headers(presented): Headers,
) -> Result<axum::Json<SignedOut>, Refusal> {
    let ended = match presented.session {
        Some(token) => node.store(move |store| store.sign_out(token)).await?,
        None => false,
    };
    Ok(axum::Json(SignedOut { ended }))
}

/// Allows whoever is signed in one thing that they may not do, with the PIN of somebody who may.
#[utoipa::path(
    post,
    path = "/v1/approvals",
    tag = "employees",
    request_body = ApprovalRequest,
    responses((status = 200, body = Approved)),
)]
pub(super) async fn approve(
    State(node): State<Node>,
    Json(request): Json<ApprovalRequest>,
) -> Result<axum::Json<Approved>, Refusal> {
    let ApprovalRequest {
        employee,
        pin,
        permission,
    } = request;
    let purpose = Purpose::Approve(permission);
    let (approval, opened) = open(&node, employee, pin, purpose).await?;
    Ok(axum::Json(Approved {
        approval,
        employee: opened.employee.id,
        permission,
        expires_ms: opened.expires_ms,
    }))
}

/// Records that whoever is signed in opens the drawer without a sale.
#[utoipa::path(
    post,
    path = "/v1/no-sale",
    tag = "employees",
    request_body = NoSaleRequest,
    responses((status = 200, body = Recorded)),
)]
pub(super) async fn no_sale(
    State(node): State<Node>,
    Headers(presented): Headers,
    Json(request): Json<NoSaleRequest>,
) -> Result<axum::Json<Recorded>, Refusal> {
    let now_ms = node.now_ms();
    let recorded = node
        .store(move |store| store.no_sale(presented, request.id, now_ms))
        .await?;
    tracing::info!(id = %recorded.id, seq = recorded.seq, "no sale recorded");
    node.recorded(Topic::EmployeeEvent.priority());
    Ok(axum::Json(recorded))
}

/// Sets the PIN of an employee, or takes it away; it holds at every till after the next sync.
#[utoipa::path(
    put,
    path = "/v1/employees/{id}/pin",
    tag = "employees",
    request_body = PinRequest,
    responses((status = 200, body = PinSet)),
)]
pub(super) async fn set_pin(
    State(node): State<Node>,
    path: Result<Path<String>, PathRejection>,
    Headers(presented): Headers,
    Json(request): Json<PinRequest>,
) -> Result<axum::Json<PinSet>, Refusal> {
    let employee = named(path)?;
    let PinRequest { pin, by } = request;
    if let Some(by) = &by {
        check_who(by)?;
    }
    if let Some(pin) = &pin {
        check_pin(pin).map_err(StoreError::from)?;
    }
    let (row, now_ms) = (employee.clone(), node.now_ms());
    let is_set = pin.is_some();
    let admit = move |store: &mut ShopStore| {
        let of = EditOf {
            table: EMPLOYEES,
            row: &row,
            columns: &[PIN],
            sets_pin: is_set,
        };
        store.admit_edit(presented, of, now_ms)
    };
    node.store(admit).await?;
    let hash = match pin {
        Some(pin) => Some(hashed(&node, pin).await?),
        None => None,
    };
    let row = employee.clone();
    let set = move |store: &mut ShopStore| store.set_pin(&row, hash, now_ms);
    if let Some(recorded) = node.store(set).await? {
        tracing::info!(id = %recorded.id, seq = recorded.seq, employee, is_set, "PIN recorded");
        node.recorded(Priority::Normal);
    }
    Ok(axum::Json(PinSet {
        employee,
        pin: is_set,
    }))
}

async fn hashed(node: &Node, pin: String) -> Result<String, Refusal> {
    let _turn = node.inner.pin_turn.lock().await;
    let random = Arc::clone(&node.inner.env.random);
    let hash = move || password::hash(&pin, &*random);
    let hashed = node.inner.env.execution.blocking(hash).await;
    hashed.map_err(|error| internal(&error).into())
}
