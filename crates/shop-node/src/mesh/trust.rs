//! By what this lane is known to the others of its shop, and by what it knows them (P10): its certificate, the shop's
//! authority, and which lanes were revoked. It is kept in `local.db`, the key where the token is.

use super::tls::{Identity, IdentityError};
use crate::credentials::CredentialError;
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::hex::from_hex;
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::wire::certificate::{
    LaneCertificate, LaneStanding, Revocations, SignedRevocations,
};
use counterfoil_replica::env::is_signed_by;
use counterfoil_shop_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::json;
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
    pub(crate) signed: SignedRevocations,
    list: Revocations,
}

/// What a lane has to show, and whom it refuses.
#[derive(Clone, Default)]
pub(crate) struct Held {
    /// Without one it cannot speak TLS.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) revoked: Option<Arc<Revoked>>,
}

impl Held {
    /// Number of the list of revoked lanes; 0 without one.
    pub(crate) fn number(&self) -> i64 {
        self.revoked.as_ref().map_or(0, |it| it.list.number)
    }

    pub(crate) fn is_revoked(&self, node: NodeId) -> bool {
        let revoked = self.revoked.as_ref();
        revoked.is_some_and(|it| it.list.nodes.contains(&node))
    }

    /// Whether the hub has something that this lane lacks: it has no certificate, or one of another authority, or one a
    /// third of whose time is over; or it has another list.
    pub(crate) fn lacks(&self, me: (NodeId, ShopId), hub: &LaneStanding, hub_ms: i64) -> bool {
        let Some(identity) = self.identity.as_ref().filter(|it| it.is_of(me)) else {
            return true;
        };
        identity.authority_key() != hub.authority_key
            || identity.is_due(hub_ms)
            || self.number() != hub.revocations
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
            // The list of another authority says nothing here.
            let same = held.identity.as_ref();
            if same.is_none_or(|it| it.authority_key() != identity.authority_key()) {
                held.revoked = None;
            }
            held.identity = Some(Arc::new(identity));
        });
    }

    /// Takes a list of revoked lanes, whoever brings it, when the authority signed it and it is newer; whether it was.
    pub(super) fn offer(&self, signed: &SignedRevocations) -> bool {
        self.held.send_if_modified(|held| {
            let Some(identity) = &held.identity else {
                return false;
            };
            let Some(list) = read(identity, signed) else {
                return false;
            };
            let is_newer = held.revoked.is_none() || list.number > held.number();
            if is_newer {
                let signed = signed.clone();
                held.revoked = Some(Arc::new(Revoked { signed, list }));
            }
            is_newer
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
        let (id, binding) = (store.node(), store.binding().cloned());
        let (kept, revoked) = (store.lane_certificate()?, store.lane_revocations()?);
        Ok((id, binding, kept, revoked))
    });
    let (id, binding, Some(kept), revoked) = read.await? else {
        return Ok(());
    };
    let kept: Kept = serde_json::from_str(&kept).map_err(StoreError::from)?;
    let is_ours = kept.node == id && binding.is_some_and(|it| it.shop == kept.shop);
    let seed = node.inner.credentials.of(id).lane_seed()?;
    let (true, Some(seed)) = (is_ours, seed) else {
        return Ok(());
    };
    let trust = &node.inner.trust;
    trust.set(Identity::new((kept.node, kept.shop), seed, &kept.given)?);
    trust.offer(&kept.given.revocations);
    if let Some(revoked) = revoked {
        trust.offer(&serde_json::from_str(&revoked).map_err(StoreError::from)?);
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
        note(node, &revocations).await;
    }
    Ok(())
}

/// Takes a list of revoked lanes that another lane brings: it holds at once, and is kept beside.
pub(super) fn heard(node: &Node, signed: &SignedRevocations) {
    if node.inner.trust.offer(signed) {
        let (node, signed) = (node.clone(), signed.clone());
        tokio::spawn(async move { note(&node, &signed).await });
    }
}

/// Keeps a list of revoked lanes that holds already, and tells it.
async fn note(node: &Node, signed: &SignedRevocations) {
    let held = node.inner.trust.held();
    let revoked = held.revoked.as_ref().map(|it| it.list.nodes.as_slice());
    let revoked = revoked.unwrap_or_default();
    tracing::info!(
        number = held.number(),
        lanes = revoked.len(),
        "a list of revoked lanes has come"
    );
    let detail = json!({"number": held.number(), "nodes": revoked});
    node.log_mesh("info", "lanes_revoked", detail).await;
    let kept = match serde_json::to_string(signed) {
        Ok(text) => {
            let keep = node.store(move |store| store.keep_lane_revocations(&text));
            keep.await
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
