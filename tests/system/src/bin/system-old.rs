//! A hub, or a till's daemon, of an earlier release, as far as schemas go: today's code, which migrates up to the
//! given versions, refuses what is newer, and states them; or one of an earlier day, as far as the clock goes.
//!
//! `system-old hub|node 'book=1;catalog=1' DIR ADDRESS [DAYS]`; the clock is so many days behind.

use anyhow::{Context as _, bail};
use counterfoil_domain::env::Clock;
use counterfoil_hub::service::{Tcp, serve};
use counterfoil_hub::{Hub, HubConfig};
use counterfoil_protocol::gate::Schemas;
use counterfoil_replica::env::{Env, SystemClock};
use counterfoil_shop_node::config::Config;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_node::service;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// The time of so many milliseconds ago.
struct Behind(i64);

impl Clock for Behind {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() - self.0
    }
}

/// Says where it listens, as the product's daemons do.
fn announce(listener: &TcpListener) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    Ok(out.flush()?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().context(what);
    let program = next("hub or node")?;
    let schemas = Schemas::from_header(&next("schemas")?).context("book=1;catalog=1")?;
    let (data, address) = (PathBuf::from(next("a folder")?), next("an address")?);
    let days: i64 = arguments.next().map_or(Ok(0), |days| days.parse())?;
    let env = Env {
        clock: Arc::new(Behind(days * DAY_MS)),
        ..Env::system()
    };
    let never = std::future::pending();
    match program.as_str() {
        "hub" => {
            let mut config = HubConfig::new(data);
            config.schemas = schemas;
            let hub = Hub::open(config, env).await?;
            let listener = TcpListener::bind(address).await?;
            announce(&listener)?;
            Ok(serve(hub, Tcp(listener), never).await?)
        }
        "node" => {
            let options = NodeOptions {
                schemas,
                ..NodeOptions::default()
            };
            let config = Config::load(&data)?;
            let node = Node::open(&data, config, env, &options)?;
            let listener = TcpListener::bind(address).await?;
            announce(&listener)?;
            Ok(service::run(node, listener, never).await?)
        }
        other => bail!("`{other}` is neither hub nor node"),
    }
}
