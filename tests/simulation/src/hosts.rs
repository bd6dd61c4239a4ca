//! The programs under test, started as their `main` would start them.

use crate::environment::{Machine, SimulatedListener};
use crate::plan::Plan;
use counterfoil_hub::{HubConfig, Registration};
use counterfoil_shop_node::credentials::Keyring;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_node::service;
use std::path::PathBuf;
use std::time::Duration;

/// Port of the hub.
pub(crate) const HUB_PORT: u16 = 8700;
/// Port of every node.
pub(crate) const NODE_PORT: u16 = 8701;
/// Where tills find the hub.
pub(crate) const HUB_URL: &str = "http://hub:8700";

/// Runs the hub until it is crashed.
pub(crate) async fn hub(data: PathBuf, plan: Plan, machine: Machine) -> turmoil::Result {
    let config = HubConfig {
        public_url: HUB_URL.parse().ok(),
        registration: Registration::Open,
        wal_limit_bytes: plan.hub_wal_limit_bytes,
        sweep: Duration::from_secs(3),
        ..HubConfig::new(data)
    };
    let listener = SimulatedListener::bind(HUB_PORT).await?;
    counterfoil_hub::service::run(config, listener, std::future::pending(), machine.env()).await?;
    Ok(())
}

/// Runs a node until it is crashed.
pub(crate) async fn node(data: PathBuf, plan: Plan, machine: Machine) -> turmoil::Result {
    let options = NodeOptions {
        keyring: Keyring::Away,
        ..NodeOptions::default()
    };
    let node = Node::open(&data, plan.node_config(), machine.env(), &options)?;
    let listener = SimulatedListener::bind(NODE_PORT).await?;
    service::run(node, listener, std::future::pending()).await?;
    Ok(())
}
