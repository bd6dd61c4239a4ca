//! The lanes of one shop, connected (ADR 0015): what each holds, who is connected, and what is said next.
//!
//! `registry` is the state that all connections share; it decides nothing by itself, the rules stand in
//! `counterfoil_domain::mesh`. `line` opens a connection, `tls` secures it, `trust` says by what; `greeting` lets a peer in,
//! `gate` bounds what a stranger says, `connection` carries one conversation, `mouth` what goes out in it, `packing`
//! how, `dial` seeks peers, `copies` waits for the second copy of a sale, `reconcile` compares stock by `letters`,
//! `escrow` moves rights.

mod connection;
mod copies;
mod dial;
mod escrow;
mod gate;
mod greeting;
mod letters;
mod line;
mod mouth;
mod packing;
mod parked;
mod rate;
pub(crate) mod reconcile;
mod refunds;
mod registry;
mod settings;
mod tls;
pub(crate) mod trust;
mod verifier;

pub use settings::{MeshError, Peer, Settings};
pub use tls::IdentityError;
pub use trust::TrustError;

pub(crate) use packing::Traffic;
pub(crate) use registry::Mesh;

use crate::limits::{PEER_GREETINGS_MAX, PEER_MARKS_PAUSE};
use crate::node::Node;
use crate::problem::chain;
use axum::serve::Listener;
use counterfoil_domain::mesh::pairing::PairingKey;
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::wire::node::LogRow;
use counterfoil_replica::env::Io;
use counterfoil_shop_store::StoreError;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// As whom this lane speaks; when any of it changes, every connection is made anew.
#[derive(Clone, Debug)]
struct Me {
    node: NodeId,
    shop: ShopId,
    lane: i64,
    key: Option<PairingKey>,
    /// Whether somebody who comes may speak in the clear.
    takes_plain: bool,
    heartbeat: Duration,
}

/// Takes part in the mesh as long as the node belongs to a shop. Ends only with the task.
pub(crate) async fn run<L: Listener>(node: Node, settings: Settings, mut listener: Option<L>) {
    let mesh = &node.inner.mesh;
    if settings.key.is_some() {
        tracing::warn!(
            "with lanes that have no certificate this one speaks in the clear, because of `peer_secret_file`; when all have \
             one, take it away"
        );
    }
    loop {
        // In trial nothing is said to anybody (T1).
        let Some(me) = who(&node, &settings).await else {
            node.inner.news.rebound().await;
            continue;
        };
        if let Err(error) = join(&node).await {
            tracing::error!(error = %chain(&error), "what this lane holds of the others cannot be read");
            tokio::time::sleep(PEER_MARKS_PAUSE).await;
            continue;
        }
        trust::load(&node).await;
        tracing::info!(lane = me.lane, "this lane meets the others of its shop");
        tokio::select! {
            biased;
            () = becomes_another(&node, &settings, &me) => {}
            () = meet(&node, &me, &settings, &mut listener) => {}
        }
        mesh.leave();
    }
}

/// As whom this lane speaks; `None` when it belongs to no shop.
async fn who(node: &Node, settings: &Settings) -> Option<Me> {
    let read = node.store(|store| (store.node(), store.binding().cloned()));
    let (id, binding) = read.await;
    let binding = binding?;
    Some(Me {
        node: id,
        shop: binding.shop,
        lane: binding.lane,
        key: settings.key.clone(),
        takes_plain: settings.takes_plain(),
        heartbeat: settings.heartbeat,
    })
}

/// Waits until this lane has another name, number or shop. Another token is no reason.
async fn becomes_another(node: &Node, settings: &Settings, me: &Me) {
    loop {
        node.inner.news.rebound().await;
        let same = |now: &Me| (now.node, now.shop, now.lane) == (me.node, me.shop, me.lane);
        if !who(node, settings).await.as_ref().is_some_and(same) {
            return;
        }
    }
}

/// Reads what this lane holds, and what peers hold of it.
async fn join(node: &Node) -> Result<(), StoreError> {
    let read = node.store(|store| -> Result<_, StoreError> {
        Ok((store.node(), store.holdings()?, store.peer_marks()?))
    });
    let (id, holdings, marks) = read.await?;
    node.inner.mesh.join(id, holdings, marks);
    Ok(())
}

/// Lets peers in and seeks them. Everything that it started ends with it.
async fn meet<L: Listener>(node: &Node, me: &Me, settings: &Settings, listener: &mut Option<L>) {
    let mut tasks = JoinSet::new();
    for peer in settings.peers.clone() {
        let (node, me) = (node.clone(), me.clone());
        tasks.spawn(async move { dial::seek(&node, &me, &peer).await });
    }
    let greetings = Arc::new(Semaphore::new(PEER_GREETINGS_MAX));
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(PEER_MARKS_PAUSE) => node.keep_marks().await,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection with a lane ended by a failed assertion");
                }
            }
            io = accept(listener) => {
                // Whoever does not get a place is dropped, and comes again.
                if let Ok(place) = Arc::clone(&greetings).try_acquire_owned() {
                    let (node, me) = (node.clone(), me.clone());
                    tasks.spawn(async move { connection::incoming(&node, &me, io, place).await });
                }
            }
        }
    }
}

async fn accept<L: Listener>(listener: &mut Option<L>) -> Box<dyn Io> {
    match listener {
        Some(listener) => Box::new(listener.accept().await.0),
        None => std::future::pending().await,
    }
}

/// Waits for a moment for a peer that may hold more of this lane's journal than the lane itself (X8). A lane in trial has
/// no peers.
pub(crate) async fn hear_a_peer(node: &Node) {
    if node.is_bound().await {
        let wait = Duration::from_millis(node.inner.config.first_peer_wait_ms);
        node.inner.mesh.first_peer(wait).await;
    }
}

impl Node {
    /// Keeps how far peers have this lane's journal, when that is news.
    pub(crate) async fn keep_marks(&self) {
        let Some((origin, marks)) = self.inner.mesh.marks_to_keep() else {
            return;
        };
        let now_ms = self.now_ms();
        let kept = self.store(move |store| store.note_peers(origin, &marks, now_ms));
        if let Err(error) = kept.await {
            tracing::warn!(error = %chain(&error), "what peers have cannot be kept; it is tried again");
            self.inner.mesh.marks_were_not_kept();
        }
    }

    pub(crate) async fn log_mesh(&self, level: &str, event: &str, detail: Value) {
        self.log(LogRow {
            at_ms: self.now_ms(),
            level: level.to_owned(),
            event: event.to_owned(),
            detail,
        })
        .await;
    }
}
