//! From trial to a shop (T2): the only step that waits for the network. Every attempt sends the same
//! request; the node's token is made and kept before the first one and never travels, only its
//! hash does.

use crate::credentials::{CredentialError, token_hash};
use crate::node::Node;
use crate::problem::chain;
use crate::sync::{SyncError, post};
use counterfoil_domain::NodeId;
use counterfoil_protocol::hub_url::{HubUrl, ParseHubUrlError, Pin};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::hub::{ACTIVATE_PATH, ActivateAnswer, ActivateRequest, Admission};
use counterfoil_protocol::wire::node::{ActivateCommand, LogRow};
use counterfoil_shop_store::PendingActivation;
use serde_json::json;

/// What a person asked for, as a request that can be repeated.
///
/// # Errors
/// [`Code::BadRequest`] when neither a join code nor hub, name and phone are given.
pub fn plan(command: &ActivateCommand) -> Result<PendingActivation, Problem> {
    let bad = |text: &str| Problem::new(Code::BadRequest, text);
    if let Some(join) = &command.join {
        let code: JoinCode = join.parse().map_err(|error| bad(&format!("{error}")))?;
        let mut hub_url = parse_url(command.hub.as_deref().unwrap_or(&code.hub_url))?;
        if let Some(named) = &code.certificate {
            let malformed = || {
                bad("the certificate in the join code is malformed")
                    .hint("copy the whole code again, or ask the hub's operator for a new one")
            };
            hub_url = hub_url.with_pin(Pin::parse(named).ok_or_else(malformed)?);
        }
        return Ok(PendingActivation {
            hub_url: hub_url.to_string(),
            admission: Admission::JoinSecret(code.secret),
        });
    }
    match (&command.hub, &command.name, &command.phone) {
        (Some(hub), Some(name), Some(phone)) => Ok(PendingActivation {
            hub_url: parse_url(hub)?.to_string(),
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

/// Reads the address of a hub that a person or a join code gives.
pub(crate) fn parse_url(url: &str) -> Result<HubUrl, Problem> {
    url.parse()
        .map_err(|error: ParseHubUrlError| Problem::new(Code::BadRequest, error.to_string()))
}

/// Refuses to speak in the clear to another machine, unless the settings say so, and to an address that is kept
/// here and damaged.
pub(crate) fn check_way(node: &Node, url: &str) -> Result<(), Problem> {
    let parsed: Result<HubUrl, _> = url.parse();
    let parsed = parsed.map_err(|error| {
        Problem::new(Code::Invalid, error.to_string()).hint(
            "`counterfoil-node hub URL` gives the till its hub's address again; selling goes on",
        )
    })?;
    if node.inner.config.insecure_http || !parsed.is_open_to_others() {
        return Ok(());
    }
    let text = format!("{url} is plain HTTP to another machine, which can be read on the way");
    Err(Problem::new(Code::Invalid, text).hint(
        "run the hub with --tls and ask for a new join code; or set `insecure_http = true` in \
         node.toml where the way is secured otherwise",
    ))
}

/// Activates the node, or completes an activation that was cut off. The hub is asked even when the
/// node belongs to a shop: it may have been told to give this till a new token, or may refuse the code.
///
/// # Errors
/// The hub's refusal, or that it cannot be reached; then the daemon goes on trying.
pub async fn activate(node: &Node, pending: PendingActivation) -> Result<ActivateAnswer, Problem> {
    check_way(node, &pending.hub_url)?;
    let _one_at_a_time = node.inner.activating.lock().await;
    if node.is_bound().await {
        return renew(node, &pending).await;
    }
    let stored = pending.clone();
    let begun = node
        .store(move |store| store.begin_activation(&stored))
        .await;
    begun.map_err(|error| crate::problem::store_problem(&error))?;
    complete(node, &pending).await
}

/// Goes on with an activation that a kill or an outage cut off; `None` when there is none.
pub async fn resume(node: &Node) -> Option<Result<ActivateAnswer, Problem>> {
    let _one_at_a_time = node.inner.activating.lock().await;
    if node.is_bound().await {
        return None;
    }
    match node.store(|store| store.pending_activation()).await {
        Ok(Some(pending)) => {
            // The settings may be stricter than when it was begun; then it waits for a person.
            let outcome = match check_way(node, &pending.hub_url) {
                Ok(()) => complete(node, &pending).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = &outcome {
                tracing::warn!(%problem, hub = %pending.hub_url, "the activation is not complete");
            }
            Some(outcome)
        }
        Ok(None) => None,
        Err(error) => {
            tracing::error!(error = %chain(&error), "the activation cannot be read");
            None
        }
    }
}

/// Sends again what this node was activated with, under the identity it had then, to where its hub is now: a
/// hub that was restored from a backup has forgotten the till, but may know the join code. Whether the till
/// is known again.
pub(crate) async fn repeat(node: &Node, identity: NodeId) -> bool {
    let _one_at_a_time = node.inner.activating.lock().await;
    let outcome = match ask_again(node, identity).await {
        Ok(Some(answer)) => {
            let own = node.store(|store| store.node()).await;
            if identity == own {
                readmitted(node, answer).await.map(|()| true)
            } else {
                Ok(true)
            }
        }
        Ok(None) => Ok(false),
        Err(error) => Err(error.problem()),
    };
    outcome.unwrap_or_else(|problem| {
        tracing::info!(%problem, "the hub does not take this till in again");
        false
    })
}

async fn ask_again(node: &Node, identity: NodeId) -> Result<Option<ActivateAnswer>, SyncError> {
    let used = node.store(|store| store.used_activation()).await?;
    let binding = node.store(|store| store.binding().cloned()).await;
    let token = node.inner.credentials.of(identity).token()?;
    let (Some(used), Some(binding), Some(token)) = (used, binding, token) else {
        return Ok(None);
    };
    if !joins(&used) {
        return Ok(None);
    }
    let request = ActivateRequest {
        node: identity,
        token_hash: token_hash(&token),
        admission: used.admission,
        schemas: node.inner.schemas,
        first: false,
        formerly: None,
    };
    let answer = post(node, &binding.hub_url, ACTIVATE_PATH, None, &request).await?;
    Ok(Some(answer))
}

/// The first activation: the node is in trial until the hub says yes.
async fn complete(node: &Node, pending: &PendingActivation) -> Result<ActivateAnswer, Problem> {
    let mut renamed = false;
    loop {
        let credentials = node.credentials().await;
        let token = credentials.token_or_mint(node.inner.env.random.as_ref());
        let token = token.map_err(|error| crate::problem::internal(&error))?;
        match request(node, pending, &token).await {
            Ok(answer) => return finish(node, pending, answer).await,
            Err(SyncError::Refused(problem))
                if problem.code == Code::Conflict && joins(pending) && !renamed =>
            {
                tracing::warn!(%problem, "this folder is a copy of another till's: it goes on as another node");
                let now_ms = node.now_ms();
                node.store(move |store| store.rename_in_trial(now_ms))
                    .await
                    .map_err(|error| crate::problem::store_problem(&error))?;
                node.inner.to_mark.notify_one();
                renamed = true;
            }
            Err(SyncError::Refused(problem)) if problem.status < 500 => {
                give_up(node, &problem).await;
                return Err(problem);
            }
            Err(error) => return Err(error.problem()),
        }
    }
}

/// A registration may be refused for the name of its shop too, and would make another shop.
fn joins(pending: &PendingActivation) -> bool {
    matches!(pending.admission, Admission::JoinSecret(_))
}

/// A node that belongs to a shop asks again: with the tokens it has and, when they are refused, with a
/// new one that is kept beside them until the hub says yes.
async fn renew(node: &Node, pending: &PendingActivation) -> Result<ActivateAnswer, Problem> {
    let credentials = node.credentials().await;
    let internal = |error: CredentialError| crate::problem::internal(&error);
    for token in credentials.tokens().map_err(internal)? {
        match request(node, pending, &token).await {
            Ok(answer) => {
                credentials.settle(&token).map_err(internal)?;
                return finish(node, pending, answer).await;
            }
            Err(SyncError::Refused(problem)) if problem.status < 500 => {
                tracing::info!(%problem, "the token at hand is refused, trying a new one");
            }
            Err(error) => return Err(error.problem()),
        }
    }
    if credentials.is_handed_in() {
        let text = "the hub refuses the token that the environment hands in";
        return Err(Problem::new(Code::Unauthorized, text)
            .hint("hand in another one, and activate with a new join code; selling goes on"));
    }
    let next = credentials.next();
    let mut kept = next.token().map_err(internal)?.is_some();
    loop {
        let token = next
            .token_or_mint(node.inner.env.random.as_ref())
            .map_err(internal)?;
        match request(node, pending, &token).await {
            Ok(answer) => {
                // Whoever had a copy of the folder has the key of its lane too.
                let random = node.inner.env.random.as_ref();
                credentials.renew_lane_seed(random).map_err(internal)?;
                credentials.replace(&token).map_err(internal)?;
                node.inner.trust.forget();
                next.forget().map_err(internal)?;
                return finish(node, pending, answer).await;
            }
            // One that was kept here may have ended too; the code is good still.
            Err(SyncError::Refused(problem)) if kept && problem.code == Code::Unauthorized => {
                next.forget().map_err(internal)?;
                kept = false;
            }
            Err(SyncError::Refused(problem)) => return Err(problem),
            Err(error) => return Err(error.problem()),
        }
    }
}

async fn request(
    node: &Node,
    pending: &PendingActivation,
    token: &str,
) -> Result<ActivateAnswer, SyncError> {
    let (own, first, formerly) = node
        .store(|store| {
            let first = store.binding().is_none();
            let former = store.formers().last().filter(|_| first);
            (store.node(), first, former.map(|former| former.node))
        })
        .await;
    let request = ActivateRequest {
        node: own,
        token_hash: token_hash(token),
        admission: pending.admission.clone(),
        schemas: node.inner.schemas,
        first,
        formerly,
    };
    post(node, &pending.hub_url, ACTIVATE_PATH, None, &request).await
}

async fn finish(
    node: &Node,
    pending: &PendingActivation,
    answer: ActivateAnswer,
) -> Result<ActivateAnswer, Problem> {
    let (bound, used, now_ms) = (answer.clone(), pending.clone(), node.now_ms());
    let finished = node.store(move |store| {
        let was_in_trial = store.binding().is_none();
        let finished = store.finish_activation(&bound, &used, now_ms);
        finished.map(|()| was_in_trial)
    });
    let was_in_trial = finished
        .await
        .map_err(|error| crate::problem::store_problem(&error))?;
    if was_in_trial {
        // From now on the hub says who is a lane of the shop.
        node.inner.pairing.hide();
        node.inner.trust.leave();
    }
    welcome(node, &answer, now_ms).await;
    Ok(answer)
}

/// The hub knows this node again.
async fn readmitted(node: &Node, answer: ActivateAnswer) -> Result<(), Problem> {
    let (bound, now_ms) = (answer.clone(), node.now_ms());
    let renewed = node
        .store(move |store| store.renew_activation(&bound, now_ms))
        .await;
    renewed.map_err(|error| crate::problem::store_problem(&error))?;
    welcome(node, &answer, now_ms).await;
    Ok(())
}

/// The hub has taken this node in: what it refused before does not count any more.
async fn welcome(node: &Node, answer: &ActivateAnswer, now_ms: i64) {
    node.state().forgive();
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
    node.inner.news.bound();
    node.nudge();
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
