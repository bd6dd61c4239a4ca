//! `counterfoil-node run`.

use crate::cli::lane_port::LanePort;
use crate::cli::{Common, Failure, output};
use crate::config::{BATCH_SIZE, Config, RECONCILE_PAUSE_S, RELAY_PAUSE_S};
use crate::local_client::{Announcement, wait_for_lock};
use crate::mesh::Settings;
use crate::node::{Node, NodeOptions};
use crate::service::{self, Lanes};
use clap::Args;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Former;
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::wire::node::Address;
use counterfoil_replica::env::Env;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How the daemon runs.
#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Where the local API listens; port 0 takes a free port.
    #[arg(long, value_name = "ADDR", env = "COUNTERFOIL_NODE_LISTEN")]
    listen: Option<String>,
    /// Id of the node, when there is none in the directory yet; without it one is drawn.
    #[arg(long, value_name = "UUID", env = "COUNTERFOIL_NODE_ID")]
    node_id: Option<NodeId>,
    /// The longest pause between two syncs with the hub, in milliseconds.
    #[arg(
        long,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..),
        env = "COUNTERFOIL_NODE_SYNC_INTERVAL_MS"
    )]
    sync_interval_ms: Option<u64>,
    /// Failures in a row after which the status says `failed`; trying goes on.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(i64).range(1..),
        env = "COUNTERFOIL_NODE_ATTEMPTS_MAX"
    )]
    attempts_max: Option<i64>,
    /// Messages of lanes that are read, sent, stored or brought to the hub at once.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(i64).range(BATCH_SIZE),
        env = "COUNTERFOIL_NODE_BATCH_SIZE"
    )]
    batch_size: Option<i64>,
    #[command(flatten)]
    lanes: LaneArgs,
    /// Print the settings that would count, and end.
    #[arg(long)]
    check: bool,
}

impl RunArgs {
    fn overlay(self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(interval) = self.sync_interval_ms {
            config.sync_interval_ms = interval;
        }
        if let Some(attempts) = self.attempts_max {
            config.attempts_max = attempts;
        }
        if let Some(size) = self.batch_size {
            config.batch_size = size;
        }
        self.lanes.overlay(config);
    }
}

/// How the daemon meets the other lanes of its shop.
#[derive(Args)]
struct LaneArgs {
    /// Where other lanes of the shop reach this one: an address, or a port alone for all addresses; port 8123 when none is named.
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1",
        env = "COUNTERFOIL_NODE_PEER_LISTEN"
    )]
    peer_listen: Option<String>,
    /// Another lane of the shop, as ws://HOST:PORT; may be repeated.
    #[arg(
        long = "peer",
        value_name = "URL",
        value_delimiter = ',',
        env = "COUNTERFOIL_NODE_PEERS"
    )]
    peers: Vec<String>,
    /// Announce this lane on the local network, and dial the lanes of its shop that do.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        env = "COUNTERFOIL_NODE_PEER_DISCOVERY"
    )]
    peer_discovery: Option<bool>,
    /// How often this lane looks whether the hub lacks something of another lane that is held here, in seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(i64).range(RELAY_PAUSE_S),
        env = "COUNTERFOIL_NODE_RELAY_PAUSE_S"
    )]
    relay_pause_s: Option<i64>,
    /// How long after its start this lane compares its stock with that of the other lanes, in seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "COUNTERFOIL_NODE_RECONCILE_AFTER_START_S"
    )]
    reconcile_after_start_s: Option<u32>,
    /// How often it does so after that, in seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(i64).range(RECONCILE_PAUSE_S),
        env = "COUNTERFOIL_NODE_RECONCILE_PAUSE_S"
    )]
    reconcile_pause_s: Option<i64>,
}

impl LaneArgs {
    fn overlay(self, config: &mut Config) {
        if let Some(listen) = self.peer_listen {
            config.peer_listen = listen;
        }
        // A variable may be set to nothing, or end in a comma.
        let mut peers = self.peers;
        peers.retain(|peer| !peer.trim().is_empty());
        if !peers.is_empty() {
            config.peers = peers;
        }
        if let Some(discovery) = self.peer_discovery {
            config.peer_discovery = discovery;
        }
        if let Some(pause) = self.relay_pause_s {
            config.relay_pause_s = pause;
        }
        if let Some(pause) = self.reconcile_after_start_s {
            config.reconcile_after_start_s = pause;
        }
        if let Some(pause) = self.reconcile_pause_s {
            config.reconcile_pause_s = pause;
        }
    }
}

/// A directory that holds another node than was named.
#[derive(Debug, thiserror::Error)]
#[error(
    "{folder} holds node {found}, not {wanted}; a node keeps its id: take the id away, or name another directory"
)]
struct OtherNode {
    folder: String,
    found: NodeId,
    wanted: NodeId,
}

/// A node keeps the id it was made with, and may go on under another one when it was restored or copied.
///
/// # Errors
/// [`Failure::configuration`] when the directory was never the node that was named.
pub(crate) fn check_id(
    data: &Path,
    wanted: Option<NodeId>,
    (found, formers): (NodeId, &[Former]),
) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if wanted != found && !formers.iter().any(|it| it.node == wanted) => {
            let folder = data.display().to_string();
            Err(Failure::configuration(&OtherNode {
                folder,
                found,
                wanted,
            }))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn run(args: RunArgs, env: Env, schemas: Schemas) -> Result<(), Failure> {
    let (common, wanted, check) = (args.common.clone(), args.node_id, args.check);
    let data = &common.data;
    let mut config = Config::load(data)?;
    args.overlay(&mut config);
    let settings = Settings::of(&config, data).map_err(|error| Failure::configuration(&error))?;
    if check {
        return output::show(common.json, &config, |config| {
            // Every value of it stands in the defaults too, which were read.
            toml::to_string(config).unwrap_or_else(|error| error.to_string())
        });
    }
    let _lock = wait_for_lock(data, &env).await?;
    let (listen, files) = (config.listen.clone(), Arc::clone(&env.files));
    let options = NodeOptions {
        schemas,
        id: wanted,
        ..NodeOptions::of_machine(&config)
    };
    let node = Node::open(data, config, env, &options)?;
    let identity = node.store(|store| (store.node(), store.formers().to_vec()));
    let (found, formers) = identity.await;
    check_id(data, wanted, (found, &formers))?;
    let listener = bind(&listen).await?;
    let lanes = match settings {
        Some(settings) => Some(bind_for_lanes(&node, settings).await),
        None => None,
    };
    let address = listener
        .local_addr()
        .map_err(|error| Failure::configuration(&error))?;
    let url = format!("http://{address}");
    let instance = node.inner.instance.clone();
    let address = Address {
        url: url.clone(),
        instance,
        daemon: true,
    };
    let announcement = Announcement::write(data, files, &address)
        .map_err(|error| Failure::configuration(&error))?;
    let shutdown = shutdown().map_err(|error| Failure::configuration(&error))?;
    output::print(&format!("listening on {url}"))?;
    tracing::info!(%url, data = %data.display(), "the node runs");
    let served = service::run_among(node, listener, lanes, shutdown).await;
    drop(announcement);
    tracing::info!("the node has stopped");
    served.map_err(|error| Failure::failed(&error))
}

async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let text = format!("cannot listen on {address}: {error}");
        Failure::configuration(&io::Error::new(error.kind(), text))
    })
}

async fn bind_for_lanes(node: &Node, settings: Settings) -> Lanes<LanePort> {
    let listener = match &settings.listen {
        Some(listen) => Some(LanePort::open(node, listen.to_string()).await),
        None => None,
    };
    Lanes { settings, listener }
}

/// Done when the process is asked to end.
fn shutdown() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
