//! Asks the hub for what other lanes of the shop know this one by (P10), and which of them were revoked.

use super::SyncError;
use super::link::HubLink;
use crate::mesh::trust::{self, TrustError};
use crate::node::Node;
use counterfoil_domain::hex::to_hex;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::certificate::{
    LANE_CERTIFICATE_PATH, LaneCertificate, LaneCertificateRequest, SignedRevocations,
};
use counterfoil_protocol::wire::hub::HelloAnswer;
use counterfoil_replica::env::public_key;

/// Asks for a certificate when this lane lacks one or it is time for the next, or when other lanes were revoked. The
/// key is made and kept before the first request, so an answer that is lost costs another request and nothing else.
pub(super) async fn renew(
    node: &Node,
    hub: &HubLink<'_>,
    hello: &HelloAnswer,
) -> Result<(), SyncError> {
    let Some(standing) = &hello.lanes else {
        return Ok(());
    };
    let shop = node.store(|store| store.binding().map(|it| it.shop)).await;
    let Some(shop) = shop else {
        return Ok(());
    };
    let (trust, me) = (&node.inner.trust, (hub.node_id, shop));
    if trust.held().lacks(me, standing, hello.now_ms) {
        trust::load(node).await;
    }
    let held = trust.held();
    if !held.lacks(me, standing, hello.now_ms) {
        return Ok(());
    }
    let credentials = node.inner.credentials.of(hub.node_id);
    let seed = credentials.lane_seed_or_mint(node.inner.env.random.as_ref())?;
    let (seed, given) = match certified(hub, seed, held.signed()).await {
        // The till was revoked while it had this key, and is taken in again.
        Err(SyncError::Refused(problem)) if problem.code == Code::Conflict => {
            tracing::warn!(%problem, "the hub asks for another key of this lane");
            let seed = credentials.renew_lane_seed(node.inner.env.random.as_ref())?;
            certified(hub, seed, held.signed()).await?
        }
        certified => certified?,
    };
    Ok(trust::take(node, me, seed, given).await?)
}

async fn certified(
    hub: &HubLink<'_>,
    seed: [u8; 32],
    lists: Vec<SignedRevocations>,
) -> Result<([u8; 32], LaneCertificate), SyncError> {
    let public = public_key(&seed).map_err(|error| TrustError::Identity(error.into()))?;
    let request = LaneCertificateRequest {
        public_key: to_hex(&public),
        lists,
    };
    let given = hub.post(LANE_CERTIFICATE_PATH, &request).await?;
    Ok((seed, given))
}
