//! The lanes of one shop, connected (ADR 0015): what each holds, who is connected, and what is said next.
//!
//! `registry` is the state that all connections share; it decides nothing by itself, the rules stand in
//! `counterfoil_domain::mesh`. `line` opens a connection, `tls` secures it, `trust` says by what; `greeting` lets a peer in,
//! `meter` bounds what a stranger says, `connection` carries one conversation, `mouth` what goes out in it, `packing`
//! how, `dial` seeks configured peers and `lan` such as announce themselves, `pairing` takes lanes in by a code in trial,
//! `copies` waits for the second copy of a sale, `reconcile` compares stock by `letters`, `escrow` moves rights.

mod connection;
mod copies;
mod dial;
mod escrow;
mod events;
#[cfg(feature = "lan")]
mod found;
mod greeting;
#[cfg(feature = "lan")]
mod lan;
mod letters;
mod line;
mod meter;
mod mouth;
mod packing;
pub(crate) mod pairing;
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
    /// In a trial shop every lane has a certificate, and nothing is said in the clear.
    is_trial: bool,
    /// Where the first lane of the trial shop was reached.
    paired_with: Option<Peer>,
    heartbeat: Duration,
}

/// Takes part in the mesh as long as the node belongs to a shop, or was paired in trial. Ends only with the task.
pub(crate) async fn run<L: Listener>(node: Node, settings: Settings, mut listener: Option<L>) {
    let mesh = &node.inner.mesh;
    if settings.key.is_some() {
        tracing::warn!(
            "with lanes that have no certificate this one speaks in the clear, because of `peer_secret_file`; when all have \
             one, take it away"
        );
    }
    loop {
        // In trial nothing is said to anybody (T1), unless a person has paired this lane with another one.
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
        node.join_escrows().await;
        tracing::info!(lane = me.lane, "this lane meets the others of its shop");
        tokio::select! {
            biased;
            () = becomes_another(&node, &settings, &me) => {}
            () = meet(&node, &me, &settings, &mut listener) => {}
        }
        mesh.leave();
    }
}

/// As whom this lane speaks; `None` when it belongs to no shop and was not paired.
async fn who(node: &Node, settings: &Settings) -> Option<Me> {
    let read = node.store(|store| (store.node(), store.binding().cloned(), store.was_paired()));
    let (id, binding, paired) = read.await;
    let paired = paired.unwrap_or_else(|error| {
        tracing::error!(error = %chain(&error), "the trial shop of this lane cannot be read: it counts as none");
        None
    });
    let is_trial = binding.is_none();
    let (shop, lane) = match (&binding, &paired) {
        (Some(binding), _) => (binding.shop, binding.lane),
        (None, Some(paired)) if paired.node == id => (paired.shop, paired.lane),
        (None, _) => return None,
    };
    let with = paired.and_then(|paired| paired.with);
    Some(Me {
        node: id,
        shop,
        lane,
        key: settings.key.clone().filter(|_| !is_trial),
        takes_plain: settings.takes_plain() && !is_trial,
        is_trial,
        paired_with: with.and_then(|with| Peer::parse(&with).ok()),
        heartbeat: settings.heartbeat,
    })
}

/// Waits until this lane has another name, number or shop, or meets its first lane elsewhere. Another token is no reason.
async fn becomes_another(node: &Node, settings: &Settings, me: &Me) {
    loop {
        node.inner.news.rebound().await;
        let same = |now: &Me| {
            (now.node, now.shop, now.lane, &now.paired_with)
                == (me.node, me.shop, me.lane, &me.paired_with)
        };
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
    let mut peers = settings.peers.clone();
    peers.extend(
        me.paired_with
            .clone()
            .filter(|it| !settings.peers.contains(it)),
    );
    for peer in peers {
        let (node, me) = (node.clone(), me.clone());
        tasks.spawn(async move { dial::seek(&node, &me, &peer).await });
    }
    discover(node, me, settings, &mut tasks);
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

/// Announces this lane and dials those that announce themselves, when it is to; never in trial, paired or not.
#[cfg(feature = "lan")]
fn discover(node: &Node, me: &Me, settings: &Settings, tasks: &mut JoinSet<()>) {
    if settings.discovery && !me.is_trial {
        let (node, me, peers) = (node.clone(), me.clone(), settings.peers.clone());
        tasks.spawn(async move { lan::run(&node, &me, peers).await });
    }
}

#[cfg(not(feature = "lan"))]
fn discover(_node: &Node, _me: &Me, settings: &Settings, _tasks: &mut JoinSet<()>) {
    if settings.discovery {
        tracing::info!(
            "this program was built without `lan`: it finds the lanes that are configured"
        );
    }
}

async fn accept<L: Listener>(listener: &mut Option<L>) -> Box<dyn Io> {
    match listener {
        Some(listener) => Box::new(listener.accept().await.0),
        None => std::future::pending().await,
    }
}

/// Waits for a moment for a peer that may hold more of this lane's journal than the lane itself (X8). A lane that
/// was not paired in trial has no peers.
pub(crate) async fn hear_a_peer(node: &Node) {
    let meets =
        node.store(|store| store.binding().is_some() || matches!(store.trial_shop(), Ok(Some(_))));
    if meets.await {
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
