//! Activation and the first call of every sync.

use super::ApiError;
use super::Peer;
use super::bodies::read_json;
use super::tokens::{read_hash, standing_of};
use crate::config::Registration;
use crate::hub::Hub;
use crate::limits::{NAME_CHARS_MAX, ROUND_TRIP_MS_MAX};
use crate::secrets;
use crate::store::{Activation, Admitted, AuthedNode, Contact, Refusal, Right};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use counterfoil_domain::ShopId;
use counterfoil_domain::clock::Measurement;
use counterfoil_domain::env::uuid_v7;
use counterfoil_protocol::gate::gate;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::{
    ACTIVATE_PATH, ActivateAnswer, ActivateRequest, Admission, HELLO_PATH, HelloAnswer,
    HelloRequest,
};
use http::HeaderMap;
use http::request::Parts;
use std::convert::Infallible;
use std::sync::Arc;

/// Whether the caller is a program on this machine. A call without a connection is one of our own.
pub(crate) struct FromHere(bool);

impl<S: Send + Sync> FromRequestParts<S> for FromHere {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // Through a proxy on this machine everybody comes from here.
        let is_forwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
            .iter()
            .any(|name| parts.headers.contains_key(*name));
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, state).await;
        let is_near = peer.map_or(true, |ConnectInfo(Peer(address))| {
            address.ip().is_loopback()
        });
        Ok(Self(is_near && !is_forwarded))
    }
}

fn checked_text(what: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.contains('\0') {
        let detail = format!("{what} has 1 to {NAME_CHARS_MAX} characters");
        return Err(ApiError::new(Code::Invalid, detail));
    }
    Ok(text.to_owned())
}

/// A shop's name as it is stored.
pub(crate) fn checked_name(name: &str) -> Result<String, ApiError> {
    checked_text("the name of a shop", name)
}

fn right(hub: &Hub, admission: &Admission, from_here: bool) -> Result<Right, ApiError> {
    Ok(match admission {
        Admission::JoinSecret(secret) => Right::Code(secrets::hash(secret.trim())),
        Admission::Registration { name, phone, email } => Right::Registration {
            name: checked_name(name)?,
            phone: checked_text("the phone number of a shop", phone)?,
            email: email
                .as_deref()
                .map(|email| checked_text("an address", email))
                .transpose()?,
            new_id: ShopId::from_uuid(uuid_v7(hub.now_ms(), &*hub.env.random)),
            allowed: match hub.config.registration {
                Registration::Open => true,
                Registration::Loopback => from_here,
                Registration::Closed => false,
            },
        },
    })
}

fn refused(refusal: &Refusal) -> (&'static str, ApiError) {
    const NEW_CODE: &str = "ask for a new join code: `counterfoil-hub shop join NAME` prints one";
    let code = |text: &str| ApiError::new(Code::JoinCodeRefused, text).hint(NEW_CODE);
    match refusal {
        Refusal::CodeUnknown => (
            "join_code_unknown",
            code("the hub does not know this join code"),
        ),
        Refusal::CodeExpired => ("join_code_expired", code("this join code has expired")),
        Refusal::CodeUsed => (
            "join_code_reused",
            code("this join code was already used by another till"),
        ),
        Refusal::RegistrationClosed => {
            let text = "this hub takes no registrations from here";
            let error = ApiError::new(Code::RegistrationClosed, text);
            (
                "registration_refused",
                error.hint("ask the operator for a join code"),
            )
        }
        Refusal::NameTaken => {
            let error = ApiError::new(Code::Conflict, "a shop of this name is registered already");
            let hint = "to add a till to it ask for a join code; else choose another name";
            ("registration_refused", error.hint(hint))
        }
        Refusal::OtherShop { shop_name } => {
            let text = format!("this till belongs to the shop `{shop_name}`");
            let error = ApiError::new(Code::Conflict, text);
            (
                "activation_refused",
                error.hint("start the till with a new data folder"),
            )
        }
        Refusal::TokenRevoked => {
            let error = ApiError::new(Code::Unauthorized, "the token of this till was revoked");
            (
                "token_revoked",
                error.hint("the till makes a new one when it is activated again"),
            )
        }
        Refusal::TokenEnded => {
            let error = ApiError::new(Code::Unauthorized, "the token of this till has ended");
            (
                "token_ended",
                error.hint("the till makes a new one when it is activated again"),
            )
        }
        Refusal::NodeTaken => {
            let text = "another till has this name";
            let error = ApiError::new(Code::Conflict, text);
            let hint = "a data folder was copied; the copy goes on under another name";
            ("activation_refused", error.hint(hint))
        }
        Refusal::TokenTaken => {
            let error = ApiError::new(Code::Conflict, "another till has this token");
            let hint = "a data folder was copied; start this till with a new one";
            ("activation_refused", error.hint(hint))
        }
    }
}

/// Binds a node to a shop.
#[utoipa::path(
    post,
    path = ACTIVATE_PATH,
    tag = "nodes",
    request_body = ActivateRequest,
    responses((status = 200, body = ActivateAnswer)),
)]
pub(crate) async fn activate(
    State(hub): State<Arc<Hub>>,
    FromHere(from_here): FromHere,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ActivateAnswer>, ApiError> {
    let request: ActivateRequest = read_json(&headers, body).await?;
    let token_hash = read_hash(&request.token_hash)?;
    let right = right(&hub, &request.admission, from_here)?;
    let (node, schemas, now_ms) = (request.node, request.schemas, hub.now_ms());
    let activation = Activation {
        node,
        token_hash,
        token_expires_ms: hub.token_expires_ms().await?,
        right,
        schemas,
        first: request.first,
        formerly: request.formerly,
        now_ms,
    };
    match hub
        .writer
        .call(move |store| store.activate(&activation))
        .await?
    {
        Admitted::Bound {
            shop,
            shop_name,
            lane,
            epoch,
        } => {
            tracing::info!(%node, %shop, shop_name, lane, "node activated");
            Ok(Json(ActivateAnswer {
                hub: hub.id,
                shop,
                shop_name,
                lane,
                epoch: Some(epoch),
            }))
        }
        Admitted::Refused(refusal) => {
            let (kind, error) = refused(&refusal);
            hub.alert(kind, Some(node), &error.0.detail).await;
            Err(error)
        }
    }
}

/// Opens a sync.
#[utoipa::path(
    post,
    path = HELLO_PATH,
    tag = "nodes",
    request_body = HelloRequest,
    responses((status = 200, body = HelloAnswer)),
)]
pub(crate) async fn hello(
    State(hub): State<Arc<Hub>>,
    node: AuthedNode,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HelloAnswer>, ApiError> {
    let request: HelloRequest = read_json(&headers, body).await?;
    let now_ms = hub.now_ms();
    let way_ms = request.round_trip_ms.clamp(0, ROUND_TRIP_MS_MAX) >> 1;
    let clock_offset_ms = request.now_ms.saturating_add(way_ms).saturating_sub(now_ms);
    let contact = Contact {
        schemas: request.schemas,
        catalog_revision: request.catalog_revision,
        clock_offset_ms,
        measured: request.book_seq.map(|seq| Measurement {
            seq: seq.max(0),
            at_ms: now_ms,
            offset_ms: clock_offset_ms,
            error_ms: way_ms,
        }),
        clock_limit_ms: i64::try_from(hub.config.clock_limit.as_millis()).unwrap_or(i64::MAX),
        waiting: request.waiting.max(0),
        failed: request.failed.max(0),
    };
    let look_up = move |reader: &mut crate::store::Reader| reader.standing(&node, &contact, now_ms);
    let standing = hub.lookups.call(look_up).await?;
    if !standing.contact_known {
        let record = move |store: &mut crate::store::Store| {
            store.record_contact(node.number, &contact, now_ms)
        };
        hub.writer.call(record).await?;
    }
    let gate = gate(hub.config.schemas, request.schemas);
    let takes_book = standing.gate_policy.takes_book(gate);
    match (takes_book, standing.shut_out) {
        (true, None) => {}
        (true, Some(_)) => {
            let open = move |store: &mut crate::store::Store| store.let_in(&node, now_ms);
            hub.writer.call(open).await?;
        }
        (false, Some(told)) if told.says(request.book_seq) => {}
        (false, _) => {
            let (has, seq) = (request.schemas, request.book_seq);
            let note =
                move |store: &mut crate::store::Store| store.shut_out(&node, has, seq, now_ms);
            hub.writer.call(note).await?;
        }
    }
    Ok(Json(HelloAnswer {
        gate,
        takes_book,
        waits: standing.waits,
        schemas: hub.config.schemas,
        now_ms,
        consolidated_seq: standing.consolidated_seq,
        halted: standing.halted,
        quarantined: standing.quarantined,
        catalog_revision: standing.catalog_revision,
        known: standing.known,
        conflicts: Some(standing.conflicts),
        token: Some(standing_of(&hub, standing.token)),
        lanes: Some(super::lanes::standing(&hub, node.shop).await?),
    }))
}
