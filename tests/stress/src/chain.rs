//! Hub, tills and the networks between them, as processes; and what becomes of them at the end.

use crate::account::Ledger;
use crate::copies;
use crate::faults::FaultCounts;
use crate::proxy::Proxy;
use anyhow::{Context as _, bail};
use counterfoil_demo::binaries::Binaries;
use counterfoil_demo::client::Api;
use counterfoil_demo::directory::Directory;
use counterfoil_demo::hub::Hub;
use counterfoil_demo::settle::{catalog_digests, in_parallel, settle, statuses};
use counterfoil_demo::till::Till;
use counterfoil_demo::verdict::{Books, compare};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Everything happens often: a till asks soon again, and folds a WAL of a few sales.
const TILL_SETTINGS: &str = "\
sync_interval_ms = 1_000
batch_delay_ms = 50
settle_delay_ms = 50
settle_max_ms = 500
backoff_first_ms = 20
backoff_last_ms = 150
wal_limit_mib = 1
";
/// The same for the hub.
const HUB_SETTINGS: [&str; 4] = ["--wal-limit-mib", "1", "--sweep-seconds", "1"];
/// From the end of all faults until all agree; a till whose last connection was half-open waits
/// for its own time-out first.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// Tills of a shop.
const LANES: usize = 2;
/// Products that all tills edit.
pub(crate) const SHARED_PRODUCTS: u64 = 5;

/// When a WAL is folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Folding {
    /// At every opportunity.
    Always,
    /// After some sales.
    Sometimes,
    /// At every opportunity, also what the hub does not have.
    Early,
}

/// The programs that a run starts.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `stress-hub`.
    pub hub: PathBuf,
    /// `stress-node`.
    pub node: PathBuf,
}

impl Programs {
    /// Those beside this program.
    ///
    /// # Errors
    /// This program's own place is not known.
    pub fn beside() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find this program's own directory")?;
        let folder = own
            .parent()
            .context("this program stands in no directory")?;
        let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        Ok(Self {
            hub: program("stress-hub"),
            node: program("stress-node"),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) hub: Hub,
    /// By shop, then by lane.
    pub(crate) tills: Vec<Arc<Till>>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Arc<FaultCounts>,
    /// By till and alarm: how often it was logged up to the last judgement.
    alarms: Mutex<Vec<usize>>,
}

/// What a till logs when it has lost what nobody took from it: its numbers, or its trust in a file.
/// Everything is healed then, at a price that nobody should have to pay.
const ALARMS: [&str; 6] = [
    "another program made a checkpoint",
    "the frame numbers are lost",
    "the pages that differ are sent",
    "the hub holds other pages than it should",
    "the catalog is not the hub's",
    "receipts are numbered in a new series",
];

/// Whether files were taken away before, or numbers given up, so that alarms are to be expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Files {
    Kept,
    Taken,
}

/// What the comparison at the end found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Acknowledged, and not at the hub.
    pub lost: u64,
    /// More than once at the hub.
    pub doubled: u64,
    /// What does not agree, in words; empty when all does.
    pub differences: Vec<String>,
}

impl Chain {
    /// Starts a hub and tills that are activated, have their products, and agree.
    pub(crate) async fn create(
        programs: &Programs,
        keep: Option<&Path>,
        seed: u64,
        tills: usize,
    ) -> anyhow::Result<Self> {
        let directory = Arc::new(Directory::create("stress", keep)?);
        let binaries = Arc::new(Binaries {
            hub: programs.hub.clone(),
            node: programs.node.clone(),
        });
        let hub = Hub::create(&binaries, &directory, &HUB_SETTINGS).await?;
        let faults = Arc::new(FaultCounts::default());
        let names: Vec<String> = (1..=tills.div_ceil(LANES))
            .map(|number| format!("Shop {number}"))
            .collect();
        let places = (0..tills).map(|till| (till.div_euclid(LANES), till % LANES + 1));
        let (api, shops) = (Api::default(), names.clone());
        let tills = in_parallel(places.collect(), move |(shop, lane)| {
            let (binaries, directory) = (Arc::clone(&binaries), Arc::clone(&directory));
            let (api, name) = (api.clone(), shops[shop].clone());
            async move {
                let till = Till::create(&binaries, &directory, api, (shop, &name), lane).await?;
                till.configure(TILL_SETTINGS)?;
                till.stop().await?;
                till.start().await?;
                Ok(Arc::new(till))
            }
        })
        .await?;
        let mut proxies = Vec::new();
        for (till, stream) in tills.iter().zip(1..) {
            let counts = Arc::clone(&faults);
            let own_seed = seed.wrapping_mul(1_000).wrapping_add(stream);
            let proxy = Proxy::to(hub.address(), own_seed, counts).await?;
            let added = match till.lane {
                1 => hub.add_shop(&names[till.shop], &proxy.url()).await?,
                _ => hub.join_shop(&names[till.shop], &proxy.url()).await?,
            };
            till.activate(added.join_code).await?;
            proxies.push(proxy);
        }
        for number in 0..SHARED_PRODUCTS {
            let columns = [("name", json!("tea")), ("price_mills", json!(1_000))];
            tills[0]
                .set_product(&shared_product(number), columns)
                .await?;
        }
        let chain = Self {
            ledger: Ledger::new(&names),
            hub,
            tills,
            proxies,
            faults,
            alarms: Mutex::default(),
        };
        settle(&chain.tills, &chain.hub, SETTLE_LIMIT).await?;
        chain.new_alarms();
        Ok(chain)
    }

    /// When WALs are folded, at hub and tills, from the next starts on.
    pub(crate) fn fold(&self, folding: Folding) -> anyhow::Result<()> {
        let mebibytes = match folding {
            Folding::Always | Folding::Early => "0",
            Folding::Sometimes => "1",
        };
        let mut settings = HUB_SETTINGS;
        settings[1] = mebibytes;
        self.hub.set_settings(&settings);
        let mut tills =
            TILL_SETTINGS.replace("wal_limit_mib = 1", &format!("wal_limit_mib = {mebibytes}"));
        if folding == Folding::Early {
            tills.push_str("wal_offline_limit_mib = 0\n");
        }
        for till in &self.tills {
            till.configure(&tills)?;
        }
        Ok(())
    }

    /// Starts all processes.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        self.hub.start().await?;
        in_parallel(self.tills.clone(), |till| async move { till.start().await }).await?;
        Ok(())
    }

    /// Stops all processes.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        in_parallel(self.tills.clone(), |till| async move { till.stop().await }).await?;
        self.hub.stop().await
    }

    /// Waits until all agree; the networks are healed first. Says how long it took.
    pub(crate) async fn settle(&self) -> anyhow::Result<Duration> {
        for proxy in &self.proxies {
            proxy.heal();
        }
        if !self.hub.is_running().await {
            bail!("the hub ended by itself");
        }
        for till in &self.tills {
            if !till.is_running().await {
                bail!("{} ended by itself", till.name);
            }
        }
        settle(&self.tills, &self.hub, SETTLE_LIMIT).await
    }

    /// What tills have logged since this was asked last.
    fn new_alarms(&self) -> Vec<String> {
        let pairs = self
            .tills
            .iter()
            .flat_map(|till| ALARMS.map(|alarm| (till, alarm)));
        let pairs: Vec<_> = pairs.collect();
        let counts = pairs
            .iter()
            .map(|(till, alarm)| till.logged(alarm))
            .collect();
        let mut known = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, counts);
        let before = before.into_iter().chain(std::iter::repeat(0));
        let news = pairs.iter().zip(known.iter().zip(before));
        news.filter(|(_, (now, before))| **now > *before)
            .map(|((till, alarm), _)| format!("{}: {alarm:?}, and nobody did that", till.name))
            .collect()
    }

    /// Stops everything and compares the account with what stands in the files.
    pub(crate) async fn judge(&self, files: Files) -> anyhow::Result<Verdict> {
        let status = self.hub.status().await?;
        let digests = catalog_digests(&self.tills, &status).await?;
        let ids = statuses(&self.tills).await?;
        self.stop().await?;
        let account = self.ledger.account();
        let comparison = compare(&account, &Books::read(self.hub.data())?, &digests);
        let mut differences = comparison.differences;
        for (till, status) in self.tills.iter().zip(&ids) {
            let copy = self.hub.data().join("books");
            let copy = copy.join(format!("{}.db", status.node_id));
            differences.extend(copies::differences(&till.name, till.data(), &copy)?);
        }
        differences.extend(copies::unsound(&self.hub.data().join("hub.db"))?);
        differences.extend(copies::unsound(&self.hub.data().join("catalog.db"))?);
        let alarms = self.new_alarms();
        if files == Files::Kept {
            differences.extend(alarms);
        }
        Ok(Verdict {
            lost: comparison.lost,
            doubled: comparison.duplicated,
            differences,
        })
    }
}

/// Name of a product that all tills edit.
pub(crate) fn shared_product(number: u64) -> String {
    format!("SHARED-{number}")
}
