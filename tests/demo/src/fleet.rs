//! The whole chain: hub, network and tills, and what can be done to all of them.

use crate::account::Account;
use crate::binaries::Binaries;
use crate::client::Api;
use crate::directory::Directory;
use crate::format::{plural, seconds};
use crate::hub::Hub;
use crate::network::Network;
use crate::settle::{in_parallel, settle, statuses};
use crate::till::Till;
use crate::timeline::Timeline;
use anyhow::{Context as _, bail};
use counterfoil_protocol::wire::node::NodeStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a killed hub stays away.
const HUB_ABSENCE: Duration = Duration::from_millis(400);
/// Bytes that tills must have sent before the hub is killed "while tills push".
const PUSH_SIZE_MIN: u64 = 4 * 1024;
const PUSH_LIMIT: Duration = Duration::from_secs(5);

/// The chain.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) timeline: Timeline,
    pub(crate) names: Vec<String>,
    pub(crate) hub: Hub,
    pub(crate) network: Network,
    /// By shop, then by lane.
    pub(crate) tills: Vec<Arc<Till>>,
    account: Mutex<Account>,
    hub_kills: AtomicU64,
    node_kills: AtomicU64,
}

/// Processes killed with SIGKILL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KillCount {
    pub(crate) hub: u64,
    pub(crate) nodes: u64,
}

impl Fleet {
    /// Starts hub, network and tills; the tills are in trial and know of no hub.
    pub(crate) async fn create(
        binaries: &Binaries,
        directory: &Arc<Directory>,
        timeline: Timeline,
        names: Vec<String>,
        lanes: usize,
    ) -> anyhow::Result<Arc<Self>> {
        let hub = Hub::create(binaries, directory, &[]).await?;
        timeline.say("hub", format!("listening on http://{}", hub.address()));
        let network = Network::to(hub.address()).await?;
        timeline.say(
            "network",
            format!("{} leads to the hub and can be cut", network.url()),
        );
        let api = Api::default();
        let (binaries, directory) = (Arc::new(binaries.clone()), Arc::clone(directory));
        let places = names
            .iter()
            .enumerate()
            .flat_map(|(index, name)| (1..=lanes).map(move |lane| ((index, name.clone()), lane)));
        let tills = in_parallel(places.collect(), move |((index, name), lane)| {
            let (binaries, directory) = (Arc::clone(&binaries), Arc::clone(&directory));
            let api = api.clone();
            async move {
                let till = Till::create(&binaries, &directory, api, (index, &name), lane).await?;
                Ok(Arc::new(till))
            }
        })
        .await?;
        let what = format!(
            "{} started, all in trial",
            plural(tills.len() as u64, "node")
        );
        timeline.say("tills", what);
        let account = Mutex::new(Account::new(&names));
        let (hub_kills, node_kills) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(Self {
            timeline,
            names,
            hub,
            network,
            tills,
            account,
            hub_kills,
            node_kills,
        }))
    }

    /// The driver's account.
    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the story.
    pub(crate) fn say(&self, who: &str, what: impl AsRef<str>) {
        self.timeline.say(who, what);
    }

    /// Counts a node that was killed.
    pub(crate) fn count_node_kill(&self) {
        self.node_kills.fetch_add(1, Ordering::Relaxed);
    }

    /// Processes killed so far.
    pub(crate) fn kills(&self) -> KillCount {
        KillCount {
            hub: self.hub_kills.load(Ordering::Relaxed),
            nodes: self.node_kills.load(Ordering::Relaxed),
        }
    }

    /// Statuses of all tills, in their order.
    pub(crate) async fn statuses(&self) -> anyhow::Result<Vec<NodeStatus>> {
        statuses(&self.tills).await
    }

    /// Makes sure that a till in trial is really alone.
    pub(crate) async fn check_trial(&self) -> anyhow::Result<()> {
        for (till, status) in self.tills.iter().zip(self.statuses().await?) {
            if status.tier != "local_trial" {
                bail!("{} is {}, not in trial", till.name, status.tier);
            }
        }
        match self.network.connections() {
            0 => self.say(
                "network",
                "0 connections so far: a till in trial talks to nobody",
            ),
            count => bail!("tills in trial made {count} connections; there must be none"),
        }
        Ok(())
    }

    /// Makes the shops at the hub and hands a join code to every till. Returns when all that was
    /// sold in trial is consolidated, with the time that took.
    pub(crate) async fn activate(self: &Arc<Self>) -> anyhow::Result<Duration> {
        let mut joins = Vec::new();
        let url = self.network.url();
        for till in &self.tills {
            let name = &self.names[till.shop];
            let added = match till.lane {
                1 => self.hub.add_shop(name, &url).await?,
                _ => self.hub.join_shop(name, &url).await?,
            };
            joins.push((Arc::clone(till), added.join_code));
        }
        let shops = plural(self.names.len() as u64, "shop");
        let codes = plural(joins.len() as u64, "join code");
        self.say("hub", format!("{shops} made, {codes} printed"));
        let start = Instant::now();
        in_parallel(
            joins,
            |(till, code)| async move { till.activate(code).await },
        )
        .await?;
        self.say(
            "tills",
            format!("all activated in {}", seconds(start.elapsed())),
        );
        // Patience for a slow machine: a file may have a thousand receipts of the trial.
        let receipts = self.account().receipts();
        self.settle(Duration::from_secs(120) + Duration::from_millis(100 * receipts))
            .await?;
        Ok(start.elapsed())
    }

    /// Waits until every till has everything consolidated and holds the newest catalog.
    pub(crate) async fn settle(&self, limit: Duration) -> anyhow::Result<Duration> {
        settle(&self.tills, &self.hub, limit).await
    }

    /// Kills the hub as soon as tills have pushed something, and starts it again on its port.
    async fn kill_hub_while_pushing(&self) -> anyhow::Result<()> {
        let (start, sent) = (Instant::now(), self.network.bytes_up());
        while self.network.bytes_up() < sent + PUSH_SIZE_MIN && start.elapsed() < PUSH_LIMIT {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.hub.kill().await?;
        self.hub_kills.fetch_add(1, Ordering::Relaxed);
        self.say("hub", "killed (SIGKILL) while tills push");
        tokio::time::sleep(HUB_ABSENCE).await;
        let start = Instant::now();
        self.hub.start().await?;
        self.say(
            "hub",
            format!("back on the same port after {}", seconds(start.elapsed())),
        );
        Ok(())
    }

    /// Two kills, so that the second may hit the work that the first one left over.
    pub(crate) async fn kill_hub_twice(&self) -> anyhow::Result<()> {
        self.kill_hub_while_pushing().await?;
        self.kill_hub_while_pushing().await
    }

    /// What waits at the tills.
    pub(crate) async fn pending(&self) -> anyhow::Result<u64> {
        let pending = self
            .statuses()
            .await?
            .into_iter()
            .map(|status| status.pending)
            .sum::<i64>();
        u64::try_from(pending).context("a till reports a negative number of pending entries")
    }

    /// SIGTERM to all; the tills first, as in a shop.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        in_parallel(self.tills.clone(), |till| async move { till.stop().await }).await?;
        self.hub.stop().await?;
        self.say("all", "stopped (SIGTERM), every process with exit code 0");
        Ok(())
    }

    /// Most memory of any node, in bytes; known once it was stopped.
    pub(crate) async fn peak_memory_of_nodes(&self) -> u64 {
        let mut peak = 0;
        for till in &self.tills {
            peak = peak.max(till.peak_memory().await);
        }
        peak
    }
}
