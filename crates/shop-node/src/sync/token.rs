//! The till's token changes by itself (L9), and no answer that is lost on the way leaves it without one.
//!
//! The next token is made and kept here before the hub hears its hash. Both are good at the hub until the
//! next one is used, and the till uses it only when the hub has said that it may.

use super::SyncError;
use super::link::HubLink;
use crate::credentials::{CredentialError, Credentials, token_hash};
use crate::node::Node;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::hub::HelloAnswer;
use counterfoil_protocol::wire::node::LogRow;
use counterfoil_protocol::wire::token::{TOKEN_PATH, TokenAnswer, TokenRequest};
use counterfoil_replica::crash::{self, CrashPoint};
use serde_json::json;

/// Tokens that are tried in one run; a second one is needed when the hub knows the first, from a backup. At the
/// limit the next run goes on.
const MADE_MAX: usize = 2;

/// Changes the token when the hub asks for it; whether the link was opened with one that is not the present one
/// any more.
pub(super) async fn rotate(
    node: &Node,
    hub: &HubLink<'_>,
    hello: &HelloAnswer,
) -> Result<bool, SyncError> {
    if !hello.token.is_some_and(|token| token.rotate) {
        return Ok(false);
    }
    let credentials = node.inner.credentials.of(hub.node_id);
    if credentials.is_handed_in() {
        // Whoever hands it in changes it; the status says until when.
        return Ok(false);
    }
    // An activation that is asked for now makes a token too.
    let _one_at_a_time = node.inner.activating.lock().await;
    if !hub.has_token(credentials.token()?.as_deref()) {
        return Ok(true);
    }
    for _ in 0..MADE_MAX {
        let token = make(node, &credentials)?;
        crash::pass(CrashPoint::TokenMinted);
        match name(hub, &token).await {
            Ok(answer) => {
                crash::pass(CrashPoint::TokenAnswered);
                credentials.advance(&token)?;
                return tell(node, &answer).await;
            }
            Err(SyncError::Refused(problem)) if problem.code == Code::Conflict => {
                tracing::info!(%problem, "the hub does not take this token");
                credentials.next().forget()?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The next token, kept before anybody hears of it.
fn make(node: &Node, credentials: &Credentials) -> Result<String, CredentialError> {
    let next = credentials.next();
    // What was put in its place is not the next one, if the till was killed before it was taken away here.
    if next.token()? == credentials.token()? {
        next.forget()?;
    }
    next.token_or_mint(node.inner.env.random.as_ref())
}

/// Names a token to the hub as the next one.
async fn name(hub: &HubLink<'_>, token: &str) -> Result<TokenAnswer, SyncError> {
    let request = TokenRequest {
        token_hash: token_hash(token),
    };
    hub.post(TOKEN_PATH, &request).await
}

async fn tell(node: &Node, answer: &TokenAnswer) -> Result<bool, SyncError> {
    tracing::info!(expires_ms = answer.expires_ms, "the token was changed");
    // Whoever listens with the old one is heard no more.
    node.inner.news.bound();
    node.log(LogRow {
        at_ms: node.now_ms(),
        level: "info".to_owned(),
        event: "token_changed".to_owned(),
        detail: json!(answer),
    })
    .await;
    Ok(true)
}

/// The hub does not take the token. It may know one that another store kept while this one was away; or the next
/// one, when its answer was lost; or only the previous one, when it was restored from a backup: then the present one
/// is named to it again. Whether the hub takes the present token now.
pub(super) async fn other(node: &Node, refused: &HubLink<'_>) -> Result<bool, SyncError> {
    let credentials = node.inner.credentials.of(refused.node_id);
    if credentials.is_handed_in() {
        return Ok(false);
    }
    let _one_at_a_time = node.inner.activating.lock().await;
    let Some(present) = credentials.token()? else {
        return Ok(false);
    };
    if !refused.has_token(Some(&present)) {
        return Ok(true);
    }
    let catalog_revision = node.store(|store| store.catalog_revision()).await?;
    let kept = |place: &Credentials| -> Result<_, CredentialError> {
        let tokens = place.tokens()?.into_iter();
        Ok(tokens.filter(|token| *token != present))
    };
    for token in kept(&credentials)? {
        let link = refused.with_token(token.clone());
        if is_taken(link.hello(catalog_revision).await)? {
            credentials.settle(&token)?;
            node.inner.news.bound();
            return Ok(true);
        }
    }
    for next in kept(&credentials.next())? {
        let link = refused.with_token(next.clone());
        if is_taken(link.hello(catalog_revision).await)? {
            credentials.advance(&next)?;
            node.inner.news.bound();
            return Ok(true);
        }
    }
    for previous in kept(&credentials.previous())? {
        let link = refused.with_token(previous);
        if is_taken(link.hello(catalog_revision).await)? {
            tracing::warn!(
                "the hub knows an older token of this till only: it was restored from a backup"
            );
            return is_taken(name(&link, &present).await);
        }
    }
    Ok(false)
}

/// Whether the hub answered; a refusal is no error here.
fn is_taken<T>(answer: Result<T, SyncError>) -> Result<bool, SyncError> {
    match answer {
        Ok(_) => Ok(true),
        Err(SyncError::Refused(Problem {
            code: Code::Unauthorized | Code::Conflict,
            ..
        })) => Ok(false),
        Err(error) => Err(error),
    }
}
