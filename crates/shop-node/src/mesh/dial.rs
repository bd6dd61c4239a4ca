//! Seeking a peer at a configured address, again and again; dialing one that announced itself.

use super::Me;
use super::connection::{Came, carry, note_refusal};
use super::greeting::ConnectionError;
use super::line;
use super::settings::Peer;
use crate::config::Config;
use crate::limits::{
    PEER_BACKOFF_LAST_MS, PEER_GREETING_WITHIN, PEER_MARKS_PAUSE, PEER_REFUSAL_PAUSE,
};
use crate::node::Node;
use crate::sync::Pace;
use counterfoil_domain::NodeId;
use counterfoil_protocol::wire::lane::RefusalCode;
use counterfoil_protocol::wire::mesh::FoundBy;
use std::time::Duration;
#[cfg(feature = "lan")]
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A connection that held for this long was a good one: what failed before does not count any more.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Seeks a peer. Ends never.
pub(super) async fn seek(node: &Node, me: &Me, peer: &Peer) {
    let config = &node.inner.config;
    let mut pace = Pace::new(&Config {
        backoff_last_ms: config.backoff_last_ms.min(PEER_BACKOFF_LAST_MS),
        ..config.clone()
    });
    loop {
        let dialed = Instant::now();
        let (found, ended) = dial(node, me, peer, Came::Dialed(FoundBy::Configured, None)).await;
        note_refusal(node, &ended).await;
        match &ended {
            ConnectionError::Refused { code, .. } | ConnectionError::Refusing { code, .. }
                if *code == RefusalCode::Myself =>
            {
                // The copy may be another lane by then.
                tracing::info!(%peer, "this address is of this lane itself, or of a copy of its folder; it is tried again");
                tokio::time::sleep(PEER_REFUSAL_PAUSE).await;
            }
            _ => {}
        }
        // The two are connected by another way: this one is not needed until then.
        while found.is_some_and(|found| node.inner.mesh.is_connected(found)) {
            tokio::time::sleep(PEER_MARKS_PAUSE).await;
        }
        if dialed.elapsed() >= GOOD_CONNECTION {
            pace.rest();
        }
        pace.failed(node.inner.env.random.as_ref());
        tokio::time::sleep(pace.pause()).await;
    }
}

/// Dials whoever announced itself, in a place of its own, and converses to the end; whom it reached.
#[cfg(feature = "lan")]
pub(super) async fn once(
    node: &Node,
    me: &Me,
    peer: &Peer,
    place: OwnedSemaphorePermit,
) -> Option<NodeId> {
    let came = Came::Dialed(FoundBy::Discovered, Some(place));
    let (found, ended) = dial(node, me, peer, came).await;
    note_refusal(node, &ended).await;
    found
}

async fn dial(node: &Node, me: &Me, peer: &Peer, came: Came) -> (Option<NodeId>, ConnectionError) {
    let until = Instant::now() + PEER_GREETING_WITHIN;
    let (found, ended) = match tokio::time::timeout_at(until, line::open(node, me, peer)).await {
        Ok(Ok(line)) => carry(node, me, (line, until), came).await,
        Ok(Err(error)) => (None, error),
        Err(_) => (None, ConnectionError::Silent(PEER_GREETING_WITHIN)),
    };
    (found, line::explained(ended))
}
