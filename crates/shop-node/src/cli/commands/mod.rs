//! The commands that are one request each.

pub(crate) mod catalog;
pub(crate) mod closing;
pub(crate) mod conflicts;
pub(crate) mod control;
pub(crate) mod documents;
pub(crate) mod employees;
pub(crate) mod escrow;
pub(crate) mod pairing;
pub(crate) mod parked;
pub(crate) mod stock;
pub(crate) mod undo;

use crate::cli::{Common, Failure};
use crate::local_client::{CallError, LocalClient};
use counterfoil_domain::DocumentId;
use counterfoil_domain::env::document_id;
use counterfoil_replica::env::Env;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Attempts of a command whose daemon goes away under it.
const ATTEMPTS_MAX: u32 = 5;

/// One request. When the daemon goes away before it answers, the request is made again: every one of
/// them may be repeated, because a document's id is minted before the first attempt.
async fn ask<B: Serialize, A: DeserializeOwned>(
    common: &Common,
    env: Env,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<A, Failure> {
    ask_with(HeaderMap::new(), common, env, method, path, body).await
}

/// The same with headers beside those of whoever is signed in here.
async fn ask_with<B: Serialize, A: DeserializeOwned>(
    headers: HeaderMap,
    common: &Common,
    env: Env,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<A, Failure> {
    let headers = employees::signed_in(headers, &common.data)?;
    let mut attempt = 1;
    loop {
        let client = LocalClient::reach(&common.data, env.clone()).await?;
        let (headers, method) = (headers.clone(), method.clone());
        match client.call_with(headers, method, path, body).await {
            Err(CallError::Lost(_)) if attempt < ATTEMPTS_MAX => attempt += 1,
            answer => return Ok(answer?),
        }
    }
}

/// The same for a request that may take its time: others are let in meanwhile.
async fn ask_long<B: Serialize, A: DeserializeOwned>(
    common: &Common,
    env: Env,
    path: &str,
    body: Option<&B>,
) -> Result<A, Failure> {
    let client = LocalClient::reach(&common.data, env.clone()).await?;
    if let LocalClient::Daemon { .. } = client {
        return ask(common, env, Method::POST, path, body).await;
    }
    let shared = client
        .share(&common.data)
        .await
        .map_err(|error| Failure::failed(&error))?;
    let headers = employees::signed_in(HeaderMap::new(), &common.data)?;
    let answer = client.call_with(headers, Method::POST, path, body).await;
    if let Some(shared) = shared {
        shared.end().await;
    }
    Ok(answer?)
}

async fn get<A: DeserializeOwned>(common: &Common, env: Env, path: &str) -> Result<A, Failure> {
    ask::<(), A>(common, env, Method::GET, path, None).await
}

/// The id of a document whose command was given none.
fn mint(env: &Env) -> DocumentId {
    document_id(env.clock.now_ms(), env.random.as_ref())
}
