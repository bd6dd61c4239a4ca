//! By what this lane is known to the others of its shop, and by what it knows them (P10): its certificate, the shop's
//! authority, and which lanes were revoked. It is kept in `local.db`, the key where the token is.

use super::tls::{Identity, IdentityError};
use crate::credentials::CredentialError;
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::hex::from_hex;
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::wire::certificate::{
    LaneCertificate, LaneStanding, REVOKED_LISTS_MAX, Revocations, RevokedLane, SignedRevocations,
};
use counterfoil_replica::env::is_signed_by;
use counterfoil_shop_store::{ShopStore, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// A certificate that cannot be taken; what was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be used.
    #[error("the certificate of this lane cannot be used")]
    Identity(#[from] IdentityError),
    /// It, or its key, cannot be read or kept.
    #[error("what this lane is known by cannot be kept")]
    Store(#[from] StoreError),
    /// Its key cannot be read or kept.
    #[error("the key of this lane cannot be kept")]
    Key(#[from] CredentialError),
}

/// A list of revoked lanes that the authority signed.
pub(crate) struct Revoked {
    /// As it is handed on.
    pub(super) signed: SignedRevocations,
    list: Revocations,
}

impl Revoked {
    pub(super) fn number(&self) -> i64 {
        self.list.number
    }

    fn names(&self, node: NodeId) -> Option<&RevokedLane> {
        self.list.lanes.iter().find(|lane| lane.node == node)
    }
}

/// What a lane has to show, and whom it refuses.
#[derive(Clone, Default)]
pub(crate) struct Held {
    /// Without one it cannot speak TLS.
    pub(crate) identity: Option<Arc<Identity>>,
    /// The newest first. There is an older one only when it names somebody whom the newer ones do not: the hub was restored
    /// from a backup, and has forgotten what it signed.
    pub(super) revoked: Vec<Arc<Revoked>>,
}

impl Held {
    /// Number of the newest list of revoked lanes; 0 without one.
    pub(crate) fn number(&self) -> i64 {
        self.revoked.first().map_or(0, |it| it.number())
    }

    /// The lists of revoked lanes, for the hub.
    pub(crate) fn signed(&self) -> Vec<SignedRevocations> {
        let signed = self.revoked.iter().map(|it| it.signed.clone());
        signed.collect()
    }

    /// What the newest list that names a lane says of it.
    pub(super) fn revoked(&self, node: NodeId) -> Option<&RevokedLane> {
        self.revoked.iter().find_map(|it| it.names(node))
    }

    /// Takes in a list; whether that says anything new.
    fn add(&mut self, signed: &SignedRevocations, list: Revocations) -> bool {
        if self.revoked.iter().any(|it| it.signed.list == signed.list) {
            return false;
        }
        let signed = signed.clone();
        let added = Arc::new(Revoked { signed, list });
        let mut all = self.revoked.clone();
        all.push(Arc::clone(&added));
        all.sort_by_key(|it| std::cmp::Reverse(it.number()));
        let mut kept: Vec<Arc<Revoked>> = Vec::new();
        for it in all {
            let is_named = |lane: &RevokedLane| kept.iter().any(|it| it.names(lane.node).is_some());
            if kept.is_empty() || !it.list.lanes.iter().all(is_named) {
                kept.push(it);
            }
        }
        kept.truncate(REVOKED_LISTS_MAX);
        let is_news = kept.iter().any(|it| Arc::ptr_eq(it, &added));
        if is_news {
            self.revoked = kept;
        }
        is_news
    }

    /// Whether the hub has something that this lane lacks: it has no certificate, or one of another authority, or one a
    /// third of whose time is over; or it has another list, or lacks what this lane has heard.
    pub(crate) fn lacks(&self, me: (NodeId, ShopId), hub: &LaneStanding, hub_ms: i64) -> bool {
        let Some(identity) = self.identity.as_ref().filter(|it| it.is_of(me)) else {
            return true;
        };
        identity.authority_key() != hub.authority_key
            || identity.is_due(hub_ms)
            || self.number() != hub.revocations
            || self.revoked.len() > 1
    }
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    node: NodeId,
    shop: ShopId,
    given: LaneCertificate,
}

/// See the module.
pub(crate) struct Trust {
    held: watch::Sender<Held>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            held: watch::Sender::new(Held::default()),
        }
    }
}

impl Trust {
    pub(crate) fn held(&self) -> Held {
        self.held.borrow().clone()
    }

    /// What this node, in this shop, has to show.
    pub(super) fn identity_of(&self, me: (NodeId, ShopId)) -> Option<Arc<Identity>> {
        self.held().identity.filter(|it| it.is_of(me))
    }

    pub(super) fn watch(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    pub(super) fn set(&self, identity: Identity) {
        self.held.send_modify(|held| {
            // The lists of another authority say nothing here.
            held.revoked
                .retain(|it| read(&identity, &it.signed).is_some());
            held.identity = Some(Arc::new(identity));
        });
    }

    /// Shows nothing any more until the hub has given another certificate.
    pub(crate) fn forget(&self) {
        self.held.send_modify(|held| held.identity = None);
    }

    /// Shows nothing and believes nobody any more: what was known is of another shop.
    pub(crate) fn leave(&self) {
        self.held.send_replace(Held::default());
    }

    /// Takes a list of revoked lanes, whoever brings it, when the authority signed it and it says something new; whether it
    /// did.
    pub(super) fn offer(&self, signed: &SignedRevocations) -> bool {
        self.held.send_if_modified(|held| {
            let Some(identity) = &held.identity else {
                return false;
            };
            match read(identity, signed) {
                Some(list) => held.add(signed, list),
                None => false,
            }
        })
    }
}

/// What the authority of a lane's shop signed; nothing when somebody else did.
fn read(identity: &Identity, signed: &SignedRevocations) -> Option<Revocations> {
    let message = SignedRevocations::signed(&signed.list);
    let signature = from_hex(&signed.signature)?;
    if !is_signed_by(&identity.authority, &message, &signature) {
        return None;
    }
    let list: Revocations = serde_json::from_str(&signed.list).ok()?;
    (list.shop == identity.shop).then_some(list)
}

/// Reads what is kept of this node's certificate; what cannot be used is as good as none, and the hub gives another.
pub(crate) async fn load(node: &Node) {
    let outcome = read_kept(node).await;
    if let Err(error) = outcome {
        tracing::warn!(error = %chain(&error), "the certificate of this lane cannot be used; the hub is asked for another");
    }
}

async fn read_kept(node: &Node) -> Result<(), TrustError> {
    let read = node.store(|store| -> Result<_, StoreError> {
        let binding = store.binding().map(|it| it.shop);
        let trial = store.trial_shop()?.map(|it| it.shop);
        let (id, shop) = (store.node(), binding.or(trial));
        let (kept, revoked) = (store.lane_certificate()?, store.lane_revocations()?);
        Ok((id, shop, kept, revoked))
    });
    let (id, shop, Some(kept), revoked) = read.await? else {
        return Ok(());
    };
    let kept: Kept = serde_json::from_str(&kept).map_err(StoreError::from)?;
    let is_ours = kept.node == id && shop == Some(kept.shop);
    let seed = node.inner.credentials.of(id).lane_seed()?;
    let (true, Some(seed)) = (is_ours, seed) else {
        return Ok(());
    };
    let trust = &node.inner.trust;
    trust.set(Identity::new((kept.node, kept.shop), seed, &kept.given)?);
    trust.offer(&kept.given.revocations);
    if let Some(revoked) = revoked {
        let lists: Vec<SignedRevocations> =
            serde_json::from_str(&revoked).map_err(StoreError::from)?;
        for signed in &lists {
            trust.offer(signed);
        }
    }
    Ok(())
}

/// Keeps a certificate that the hub gave, and shows it from now on.
pub(crate) async fn take(
    node: &Node,
    me: (NodeId, ShopId),
    seed: [u8; 32],
    given: LaneCertificate,
) -> Result<(), TrustError> {
    let identity = Identity::new(me, seed, &given)?;
    let (expires_ms, revocations) = (given.expires_ms, given.revocations.clone());
    let (node_id, shop) = me;
    let kept = Kept {
        node: node_id,
        shop,
        given,
    };
    let text = serde_json::to_string(&kept).map_err(StoreError::from)?;
    node.store(move |store| store.keep_lane_certificate(&text))
        .await?;
    node.inner.trust.set(identity);
    tracing::info!(expires_ms, "this lane has a certificate");
    let detail = json!({"expires_ms": expires_ms});
    node.log_mesh("info", "lane_certificate", detail).await;
    if node.inner.trust.offer(&revocations) {
        note(node).await;
    }
    Ok(())
}

/// Takes a list of revoked lanes that another lane brings: it holds at once, and is kept beside.
pub(super) fn heard(node: &Node, signed: &SignedRevocations) {
    if node.inner.trust.offer(signed) {
        let node = node.clone();
        tokio::spawn(async move { note(&node).await });
    }
}

/// Keeps the lists of revoked lanes that hold already, and tells them.
async fn note(node: &Node) {
    let held = node.inner.trust.held();
    let lanes = held.revoked.iter().flat_map(|it| it.list.lanes.iter());
    let out: BTreeSet<NodeId> = lanes.map(|lane| lane.node).collect();
    let number = held.number();
    tracing::info!(
        number,
        lanes = out.len(),
        "a list of revoked lanes has come"
    );
    let detail = json!({"number": number, "nodes": out});
    node.log_mesh("info", "lanes_revoked", detail).await;
    let Some(identity) = held.identity.clone() else {
        return;
    };
    let kept = match serde_json::to_string(&held.signed()) {
        Ok(text) => {
            let keep = move |store: &mut ShopStore| {
                store.keep_lane_revocations((identity.authority_key(), number), &text)
            };
            node.store(keep).await
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = kept {
        // Whoever brought it brings it again after a restart.
        tracing::warn!(error = %chain(&error), "the list of revoked lanes cannot be kept");
    }
}

impl Node {
    /// The time at which this lane judges certificates, milliseconds since the Unix epoch: its own clock, corrected by
    /// what the hub said of it.
    pub(super) fn lane_time_ms(&self) -> i64 {
        let offset_ms = self.state().clock_offset_ms.unwrap_or(0);
        self.now_ms().saturating_sub(offset_ms)
    }
}
