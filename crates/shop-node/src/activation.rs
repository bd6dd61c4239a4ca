//! From trial to a shop (T2): the only step that waits for the network. Every attempt sends the same
//! request; the node's token is made and kept before the first one and never travels, only its
//! hash does.

use crate::credentials::token_hash;
use crate::node::Node;
use crate::problem::chain;
use crate::sync::{Phase, SyncError, post};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::hub::{ACTIVATE_PATH, ActivateAnswer, ActivateRequest, Admission};
use counterfoil_protocol::wire::node::{ActivateCommand, LogRow};
use counterfoil_shop_store::{Binding, PendingActivation, StoreError};
use serde_json::json;

/// What a person asked for, as a request that can be repeated.
///
/// # Errors
/// [`Code::BadRequest`] when neither a join code nor hub, name and phone are given.
pub fn plan(command: &ActivateCommand) -> Result<PendingActivation, Problem> {
    let bad = |text: &str| Problem::new(Code::BadRequest, text);
    if let Some(join) = &command.join {
        let code: JoinCode = join.parse().map_err(|error| bad(&format!("{error}")))?;
        let hub_url = command.hub.clone().unwrap_or(code.hub_url);
        return Ok(PendingActivation {
            hub_url: clean_url(&hub_url)?,
            admission: Admission::JoinSecret(code.secret),
        });
    }
    match (&command.hub, &command.name, &command.phone) {
        (Some(hub), Some(name), Some(phone)) => Ok(PendingActivation {
            hub_url: clean_url(hub)?,
            admission: Admission::Registration {
                name: name.clone(),
                phone: phone.clone(),
                email: command.email.clone(),
            },
        }),
        _ => Err(
            bad("an activation needs a join code, or hub, shop name and phone")
                .hint("--join CODE, or --hub URL --name NAME --phone PHONE"),
        ),
    }
}

pub(crate) fn clean_url(url: &str) -> Result<String, Problem> {
    let url = url.trim().trim_end_matches('/');
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url.to_owned());
    }
    Err(
        Problem::new(Code::BadRequest, format!("`{url}` is not a hub's URL"))
            .hint("it looks like http://hub.example:8700"),
    )
}

/// Activates the node, or completes an activation that was cut off. A node that belongs to a shop
/// already is told so and nothing changes, unless the hub does not take its token any more: then a
/// join code of the same shop gives it a new one.
///
/// # Errors
/// The hub's refusal, or that it cannot be reached; then the daemon goes on trying.
pub async fn activate(node: &Node, pending: PendingActivation) -> Result<ActivateAnswer, Problem> {
    let (binding, waiting) = node
        .store(|store| -> Result<_, StoreError> {
            Ok((store.binding().cloned(), store.pending_activation()?))
        })
        .await
        .map_err(|error| crate::problem::store_problem(&error))?;
    if let Some(binding) = binding {
        let credentials = &node.inner.credentials;
        let has_token = || credentials.token().map(|token| token.is_some());
        let refused = node.state().phase == Phase::AuthRefused;
        let lost = refused || !has_token().map_err(|error| crate::problem::internal(&error))?;
        if waiting.is_none() && !lost {
            return Ok(answer_of(binding));
        }
        if waiting.is_none() {
            credentials
                .forget()
                .map_err(|error| crate::problem::internal(&error))?;
        }
    }
    let stored = pending.clone();
    let begun = node
        .store(move |store| store.begin_activation(&stored))
        .await;
    begun.map_err(|error| crate::problem::store_problem(&error))?;
    complete(node, pending).await
}

/// Completes an activation that a kill or an outage cut off.
pub async fn resume(node: &Node) {
    match node.store(|store| store.pending_activation()).await {
        Ok(Some(pending)) => {
            tracing::info!(hub = %pending.hub_url, "an activation was cut off, going on with it");
            let mut pause = std::time::Duration::from_millis(node.inner.config.backoff_first_ms);
            let longest = std::time::Duration::from_millis(node.inner.config.backoff_last_ms);
            while let Err(problem) = complete(node, pending.clone()).await {
                tracing::warn!(%problem, "the activation is not complete");
                if problem.code != Code::HubUnreachable {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
        Ok(None) => {}
        Err(error) => tracing::error!(error = %chain(&error), "the activation cannot be read"),
    }
}

async fn complete(node: &Node, pending: PendingActivation) -> Result<ActivateAnswer, Problem> {
    let token = node
        .inner
        .credentials
        .token_or_mint(node.inner.env.random.as_ref())
        .map_err(|error| crate::problem::internal(&error))?;
    let request = ActivateRequest {
        node: node.store(|store| store.node()).await,
        token_hash: token_hash(&token),
        admission: pending.admission.clone(),
        schemas: node.inner.schemas,
    };
    let answer: ActivateAnswer =
        match post(node, &pending.hub_url, ACTIVATE_PATH, None, &request).await {
            Ok(answer) => answer,
            Err(SyncError::Refused(problem)) if problem.status < 500 => {
                give_up(node, &problem).await;
                return Err(problem);
            }
            Err(error) => return Err(error.problem()),
        };
    let (bound, now_ms) = (answer.clone(), node.now_ms());
    let finished = node
        .store(move |store| store.finish_activation(&bound, &pending.hub_url, now_ms))
        .await;
    finished.map_err(|error| crate::problem::store_problem(&error))?;
    tracing::info!(shop = %answer.shop, lane = answer.lane, "activated");
    let detail = json!({"shop_id": answer.shop, "shop": answer.shop_name, "lane": answer.lane});
    let event = "activated".to_owned();
    node.log(LogRow {
        at_ms: now_ms,
        level: "info".to_owned(),
        event,
        detail,
    })
    .await;
    node.nudge();
    Ok(answer)
}

/// The hub said no: the node is in trial as before.
async fn give_up(node: &Node, problem: &Problem) {
    tracing::warn!(%problem, "the hub refused the activation");
    if let Err(error) = node.store(|store| store.abandon_activation()).await {
        tracing::error!(error = %chain(&error), "the refused activation cannot be taken back");
    }
    let detail = json!({"problem": problem});
    let event = "activation_refused".to_owned();
    let at_ms = node.now_ms();
    node.log(LogRow {
        at_ms,
        level: "error".to_owned(),
        event,
        detail,
    })
    .await;
}

fn answer_of(binding: Binding) -> ActivateAnswer {
    ActivateAnswer {
        hub: binding.hub,
        shop: binding.shop,
        shop_name: binding.shop_name,
        lane: binding.lane,
    }
}
