//! Lanes in trial that a person pairs by a code (ADR 0026): the first one makes a trial shop, takes others in, and signs
//! their certificates. From then on they meet as lanes of any shop do.
//!
//! `exchange` is what the two lanes say to each other.

mod exchange;

pub(super) use exchange::answer;

use super::settings::Peer;
use super::trust::{self, TrustError};
use crate::credentials::CredentialError;
use crate::limits::TRIAL_CERTIFICATE_DAYS;
use crate::node::Node;
use crate::problem::{internal, store_problem};
use counterfoil_domain::env::{Random, uuid_v7};
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::mesh::code::{CodeKey, CodeRefused, PairingCode, Parties, Shown};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::certificate::{
    LaneCertificate, Revocations, RevokedLane, SignedRevocations,
};
use counterfoil_protocol::wire::pairing::{
    PairedLane, PairingAnswer, PairingLeft, PairingOffer, PairingStatus, RevokeCommand,
};
use counterfoil_replica::env::{LaneAuthority, LaneAuthorityError, public_key};
use counterfoil_shop_store::{FIRST_LANE, ShopStore, StoreError, TrialLane, TrialShop};
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a certificate or a list of the trial shop cannot be made.
#[derive(Debug, thiserror::Error)]
enum SignError {
    /// The authority.
    #[error("the authority of the trial shop cannot sign")]
    Authority(#[from] LaneAuthorityError),
    /// Its key is gone.
    #[error(
        "the key of the trial shop's authority is gone: `counterfoil-node pair --forget`, then pair all lanes again"
    )]
    NoKey,
    /// Its key, or that of a lane.
    #[error("a key cannot be read or kept")]
    Key(#[from] CredentialError),
    /// A lane's own key.
    #[error("the key of this lane cannot be used")]
    Own(#[from] rustls::Error),
    /// What was signed cannot be taken.
    #[error("what was signed cannot be used")]
    Trust(#[from] TrustError),
    /// What is known of the trial shop.
    #[error("the store refused")]
    Store(#[from] StoreError),
}

/// The code that is shown here, if one is.
#[derive(Default)]
pub(crate) struct Pairing {
    shown: Mutex<Shown>,
}

impl Pairing {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        // Every change is whole before anything can panic.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows no code any more.
    pub(crate) fn hide(&self) {
        self.shown().hide();
    }

    fn take(
        &self,
        now_ms: i64,
        said: (&str, &str),
        parties: &Parties,
    ) -> Result<CodeKey, CodeRefused> {
        self.shown().take(now_ms, said, parties)
    }
}

/// Shows a code by which another lane is taken in; the first time this lane makes a trial shop.
///
/// # Errors
/// [`Code::Conflict`] when the lane belongs to a shop, or is another one than the first of its trial shop;
/// [`Code::Invalid`] when nobody can reach it.
pub(crate) async fn offer(node: &Node) -> Result<PairingAnswer, Problem> {
    let listen = node.inner.mesh.status().and_then(|mesh| mesh.listen);
    if listen.is_none() {
        return Err(not_met("no other lane reaches this one"));
    }
    let _one_at_a_time = node.inner.activating.lock().await;
    let (id, trial) = standing(node).await?;
    let trial = match trial {
        Some(trial) if !trial.is_first() => {
            let at = trial.with.unwrap_or_default();
            let detail = format!(
                "this is lane {} of a trial shop: codes are shown at lane 1 ({at})",
                trial.lane
            );
            return Err(Problem::new(Code::Conflict, detail).hint(
                "ask there, or leave this trial shop first: counterfoil-node pair --forget",
            ));
        }
        Some(trial) => trial,
        None => begin(node, id).await.map_err(|error| internal(&error))?,
    };
    certify_own(node, &trial)
        .await
        .map_err(|error| internal(&error))?;
    let now_ms = node.now_ms();
    let code = PairingCode::draw(node.inner.env.random.as_ref());
    node.inner.pairing.shown().show(&code, now_ms);
    let good = node.inner.pairing.shown().good_until_ms(now_ms);
    let good_until_ms = good.map_or(now_ms, |(until_ms, _)| until_ms);
    tracing::info!(
        good_until_ms,
        "a code is shown by which another lane comes in"
    );
    node.log_mesh(
        "info",
        "pairing_code",
        json!({"good_until_ms": good_until_ms}),
    )
    .await;
    node.inner.news.bound();
    Ok(PairingAnswer {
        shop_id: trial.shop,
        lane: trial.lane,
        offer: Some(PairingOffer {
            code: code.to_string(),
            good_until_ms,
            listen,
        }),
    })
}

/// Asks the lane that shows a code to take this one in.
///
/// # Errors
/// Why not; nothing was applied then.
pub(crate) async fn join(node: &Node, code: &str, with: &str) -> Result<PairingAnswer, Problem> {
    let bad = |text: String| Problem::new(Code::BadRequest, text);
    let code: PairingCode = code.parse().map_err(|error| bad(format!("{error}")))?;
    let peer = Peer::parse(with).map_err(|error| bad(error.to_string()))?;
    if node.inner.mesh.status().is_none() {
        return Err(not_met("this lane meets no other"));
    }
    let id = free_to_join(node).await?;
    let asked = exchange::ask(node, id, &code.key(), &peer).await;
    let granted = match asked {
        Ok(granted) => granted,
        Err(error) => return Err(exchange::not_joined(node, &error, &peer).await),
    };
    let _one_at_a_time = node.inner.activating.lock().await;
    node.inner.pairing.hide();
    // It may have been activated meanwhile, or have taken another one in.
    free_to_join(node).await?;
    let exchange::Granted { seed, grant } = granted;
    let (shop, lane) = (grant.shop, grant.lane);
    // Whoever is killed before the next step was not paired, and is paired again.
    trust::take(node, (id, shop), seed, grant.given)
        .await
        .map_err(|error| internal(&error))?;
    let trial = TrialShop {
        node: id,
        shop,
        lane,
        with: Some(peer.to_string()),
        lanes: Vec::new(),
        revocations: 0,
    };
    let now_ms = node.now_ms();
    let kept = node.store(move |store| store.keep_trial_shop(&trial, now_ms));
    let kept = kept.await;
    kept.map_err(|error| store_problem(&error))?;
    tracing::info!(%shop, lane, with = %peer, "this lane was paired");
    let detail = json!({"shop_id": shop, "lane": lane, "with": peer.to_string()});
    node.log_mesh("info", "paired", detail).await;
    node.inner.news.bound();
    Ok(PairingAnswer {
        shop_id: shop,
        lane,
        offer: None,
    })
}

/// Who this lane is, when it may be taken in by another one.
async fn free_to_join(node: &Node) -> Result<NodeId, Problem> {
    let (id, trial) = standing(node).await?;
    if trial.is_some_and(|trial| trial.is_first() && !trial.lanes.is_empty()) {
        let detail = "this is lane 1 of a trial shop that has other lanes";
        return Err(Problem::new(Code::Conflict, detail).hint(
            "show the code here and type it there; or leave this trial shop first: counterfoil-node pair --forget",
        ));
    }
    Ok(id)
}

/// Leaves the trial shop. A lane that was activated since forgets where it met the first one.
///
/// # Errors
/// When that cannot be kept.
pub(crate) async fn forget(node: &Node) -> Result<PairingLeft, Problem> {
    let _one_at_a_time = node.inner.activating.lock().await;
    node.inner.pairing.hide();
    let read = node.store(|store| (store.node(), store.binding().is_some()));
    let (id, is_bound) = read.await;
    let now_ms = node.now_ms();
    let left = node
        .store(move |store| store.leave_trial_shop(now_ms))
        .await;
    let left = left.map_err(|error| store_problem(&error))?;
    let credentials = node.inner.credentials.of(id);
    let changed = credentials.forget_trial_authority().and_then(|()| {
        if is_bound || left.is_none() {
            return Ok(());
        }
        // Who is paired again after a revocation needs another key.
        let random = node.inner.env.random.as_ref();
        credentials.renew_lane_seed(random).map(|_| ())
    });
    changed.map_err(|error| internal(&error))?;
    if !is_bound {
        node.inner.trust.leave();
    }
    if let Some(left) = &left {
        tracing::info!(shop = %left.shop, "this lane has left its trial shop");
        node.log_mesh("info", "pairing_left", json!({"shop_id": left.shop}))
            .await;
    }
    node.inner.news.bound();
    Ok(PairingLeft {
        shop_id: left.map(|left| left.shop),
    })
}

/// Puts a lane out of the trial shop: the others hear of it from this one.
///
/// # Errors
/// [`Code::Conflict`] at another lane than the first, [`Code::NotFound`] for a lane that was not paired.
pub(crate) async fn revoke(node: &Node, command: RevokeCommand) -> Result<PairingStatus, Problem> {
    let (lane, now_ms) = (command.lane, node.now_ms());
    let change = move |store: &mut ShopStore| -> Result<Result<TrialShop, Problem>, StoreError> {
        let Some(mut trial) = store.trial_shop()?.filter(TrialShop::is_first) else {
            let detail = "this is not lane 1 of a trial shop";
            return Ok(Err(Problem::new(Code::Conflict, detail).hint(
                "lanes are revoked at lane 1; lanes of a shop with a hub, at the hub",
            )));
        };
        let Some(out) = trial.lanes.iter_mut().find(|it| it.lane == lane) else {
            let detail = format!("no lane {lane} was paired here");
            return Ok(Err(Problem::new(Code::NotFound, detail)));
        };
        if !out.is_out() {
            (out.revoked_ms, out.is_back) = (Some(now_ms), false);
            trial.revocations = now_ms.max(trial.revocations + 1);
            store.keep_trial_shop(&trial, now_ms)?;
        }
        Ok(Ok(trial))
    };
    let changed = node.store(change).await;
    let trial = changed.map_err(|error| store_problem(&error))??;
    let signed = authority(node, &trial)
        .and_then(|authority| Ok(authority.sign(&revocations(&trial))?))
        .map_err(|error| internal(&error))?;
    trust::heard(node, &signed);
    Ok(status_of(node, &trial))
}

/// How this lane stands in its trial shop; nothing when it is in none.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn status(node: &Node) -> Result<Option<PairingStatus>, StoreError> {
    let trial = node.store(|store| store.trial_shop()).await?;
    Ok(trial.map(|trial| status_of(node, &trial)))
}

fn status_of(node: &Node, trial: &TrialShop) -> PairingStatus {
    let shown = node.inner.pairing.shown().good_until_ms(node.now_ms());
    let lanes = trial.lanes.iter().map(|it| PairedLane {
        lane: it.lane,
        node_id: it.node,
        revoked: it.is_out(),
    });
    PairingStatus {
        shop_id: trial.shop,
        lane: trial.lane,
        with: trial.with.clone(),
        code_good_until_ms: shown.map(|(until_ms, _)| until_ms),
        wrong_codes: shown.map_or(0, |(_, wrong)| wrong),
        lanes: lanes.collect(),
    }
}

fn not_met(what: &str) -> Problem {
    let detail = format!("{what}: its daemon must run with `peer_listen`");
    Problem::new(Code::Invalid, detail).hint(
        "set `peer_listen = \"0.0.0.0\"` in node.toml (or --peer-listen 0.0.0.0) and start counterfoil-node run",
    )
}

/// Who this lane is in trial.
async fn standing(node: &Node) -> Result<(NodeId, Option<TrialShop>), Problem> {
    let read = node.store(|store| -> Result<_, StoreError> {
        let shop = store.binding().map(|it| it.shop_name.clone());
        Ok((store.node(), shop, store.trial_shop()?))
    });
    let (id, shop, trial) = read.await.map_err(|error| store_problem(&error))?;
    match shop {
        None => Ok((id, trial)),
        Some(shop) => {
            let detail =
                format!("this lane belongs to {shop}: lanes of a shop know each other by its hub");
            Err(Problem::new(Code::Conflict, detail)
                .hint("activate the other lane with a join code of the same shop"))
        }
    }
}

/// Makes a trial shop of which this lane is the first.
async fn begin(node: &Node, id: NodeId) -> Result<TrialShop, SignError> {
    let random = node.inner.env.random.as_ref();
    node.inner.credentials.of(id).mint_trial_authority(random)?;
    let trial = TrialShop {
        node: id,
        shop: ShopId::from_uuid(uuid_v7(node.now_ms(), random)),
        lane: FIRST_LANE,
        with: None,
        lanes: Vec::new(),
        revocations: 0,
    };
    let kept = trial.clone();
    let now_ms = node.now_ms();
    node.store(move |store| store.keep_trial_shop(&kept, now_ms))
        .await?;
    Ok(trial)
}

fn authority(node: &Node, trial: &TrialShop) -> Result<LaneAuthority, SignError> {
    let seed = node.inner.credentials.of(trial.node).trial_authority()?;
    let seed = seed.ok_or(SignError::NoKey)?;
    Ok(LaneAuthority::new(trial.shop, seed, TRIAL_CERTIFICATE_DAYS))
}

/// The lanes that may not take part, or only with certificates of later.
fn revocations(trial: &TrialShop) -> Revocations {
    let lanes = trial.lanes.iter().filter(|it| it.revoked_ms.is_some());
    Revocations {
        shop: trial.shop,
        number: trial.revocations,
        lanes: lanes
            .map(|it| RevokedLane {
                node: it.node,
                issued_before_ms: it.revoked_ms.filter(|_| it.is_back),
            })
            .collect(),
    }
}

/// The certificate of the first lane, when it has none or a third of its time is over.
async fn certify_own(node: &Node, trial: &TrialShop) -> Result<(), SignError> {
    let me = (trial.node, trial.shop);
    let own = node.inner.trust.identity_of(me);
    let seed = node.inner.credentials.of(trial.node);
    let random: &dyn Random = node.inner.env.random.as_ref();
    let seed = seed.lane_seed_or_mint(random)?;
    let authority = authority(node, trial)?;
    let now_ms = node.now_ms();
    let is_good = |own: &std::sync::Arc<super::tls::Identity>| {
        own.authority_key() == authority.public_key().unwrap_or_default() && !own.is_due(now_ms)
    };
    if own.as_ref().is_some_and(is_good) {
        return Ok(());
    }
    let given = authority.issue(
        (trial.node, public_key(&seed)?),
        &revocations(trial),
        random,
        (i64::MIN, now_ms),
    )?;
    Ok(trust::take(node, me, seed, given).await?)
}

/// A lane that is taken in.
struct Admitted {
    lane: i64,
    shop: ShopId,
    given: LaneCertificate,
    /// It was revoked before: the others hear that it is back.
    list: Option<SignedRevocations>,
}

/// Gives a lane that has proved the code its number and its certificate. The same lane keeps its number.
async fn admit(
    node: &Node,
    shop: ShopId,
    newcomer: (NodeId, [u8; 32]),
) -> Result<Result<Admitted, &'static str>, SignError> {
    let (id, key) = newcomer;
    let (hex, now_ms) = (to_hex(&key), node.now_ms());
    let enter = move |store: &mut ShopStore| -> Result<_, StoreError> {
        let trial = store.trial_shop()?;
        let Some(mut trial) = trial.filter(|it| it.is_first() && it.shop == shop) else {
            return Ok(Err("this lane is not the first of a trial shop any more"));
        };
        let entered = enter(&mut trial, id, &hex, now_ms);
        if entered.is_ok() {
            store.keep_trial_shop(&trial, now_ms)?;
        }
        Ok(entered.map(|place| (trial, place)))
    };
    let (trial, place) = match node.store(enter).await? {
        Ok(entered) => entered,
        Err(why) => return Ok(Err(why)),
    };
    let authority = authority(node, &trial)?;
    let list = revocations(&trial);
    let random = node.inner.env.random.as_ref();
    let begins_ms = trial.lanes[place].revoked_ms.unwrap_or(i64::MIN);
    let given = authority.issue((id, key), &list, random, (begins_ms, now_ms))?;
    let is_back = trial.lanes[place].is_back;
    Ok(Ok(Admitted {
        lane: trial.lanes[place].lane,
        shop,
        list: is_back.then(|| given.revocations.clone()),
        given,
    }))
}

/// Enters a lane into the list of the first one; its place there.
fn enter(
    trial: &mut TrialShop,
    node: NodeId,
    key: &str,
    now_ms: i64,
) -> Result<usize, &'static str> {
    if let Some(place) = trial.lanes.iter().position(|it| it.node == node) {
        let known = &mut trial.lanes[place];
        if known.is_out() {
            if known.public_key == key {
                return Err(
                    "it was revoked, and whoever has its folder has its key: `counterfoil-node pair --forget` there \
                     makes another, then pair it again",
                );
            }
            known.is_back = true;
            trial.revocations = now_ms.max(trial.revocations + 1);
        }
        key.clone_into(&mut trial.lanes[place].public_key);
        return Ok(place);
    }
    let last = trial.lanes.iter().map(|it| it.lane).max();
    trial.lanes.push(TrialLane {
        node,
        lane: last.unwrap_or(FIRST_LANE) + 1,
        public_key: key.to_owned(),
        revoked_ms: None,
        is_back: false,
    });
    Ok(trial.lanes.len() - 1)
}
