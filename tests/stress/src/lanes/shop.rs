//! The hub and the lanes of a run as processes, and the customers.

use super::account::Account;
use super::network::Network;
use super::old::{OLD_LANE, SCHEMAS, schemas};
use super::till::Till;
use super::weather::{Weather, pick};
use super::{LaneOptions, Storm};
use crate::chain::Programs;
use anyhow::{Context as _, ensure};
use counterfoil_demo::client::Api;
use counterfoil_demo::directory::Directory;
use counterfoil_testkit::SeededRandom;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Everything happens often.
const SETTINGS: &str = "peer_secret_file = \"lanes.secret\"\nrelay_pause_s = 1\n\
                        insecure_http = true\nsync_interval_ms = 1_000\nbackoff_first_ms = 50\nbackoff_last_ms = 500\n";
const HOUR_MS: i64 = 3_600_000;
/// By how much the clocks of the lanes are ahead.
const AHEAD_MS: [i64; 4] = [0, 7 * HOUR_MS, -5 * HOUR_MS, HOUR_MS];
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(90);
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(200);
const SALES_BEFORE_BURIAL_MAX: usize = 300;
/// A lane's clock of another time, in milliseconds; `stress-node` reads it.
pub(crate) const CLOCK: &str = "STRESS_CLOCK_AHEAD_MS";

/// What is left when the processes are gone.
#[derive(Debug)]
pub(super) struct Sold {
    pub(super) account: Account,
    /// Lanes by number: id and folder. The folder of one that was buried is gone.
    pub(super) lanes: Vec<(usize, String, PathBuf)>,
    pub(super) buried: Option<String>,
    pub(super) hub: PathBuf,
    /// Removed when this is dropped.
    _directory: Arc<Directory>,
}

pub(super) struct Shop {
    pub(super) network: Network,
    pub(super) directory: Arc<Directory>,
    pub(super) hub_data: PathBuf,
    hub: Child,
    pub(super) lanes: Vec<(Arc<Till>, Child)>,
    customers: JoinSet<anyhow::Result<()>>,
    pub(super) account: Arc<Mutex<Account>>,
    buried: Option<Arc<Till>>,
    pub(super) choice: SeededRandom,
}

/// A command of a lane's program.
pub(super) fn lane(
    network: &Network,
    programs: &Programs,
    till: &Till,
    arguments: &[&str],
) -> Command {
    command(network, programs, (till.number, &till.data), arguments)
}

fn command(
    network: &Network,
    programs: &Programs,
    (number, data): (usize, &Path),
    arguments: &[&str],
) -> Command {
    let ahead = AHEAD_MS[number % AHEAD_MS.len()].to_string();
    let mut command = network.command(number, &programs.node);
    command.args(arguments).arg("--data").arg(data);
    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
    command.env("COUNTERFOIL_LOG", "warn").env(CLOCK, &ahead);
    command.env("COUNTERFOIL_FENCE_DIR", data.with_extension("fence"));
    command
}

/// Its standard error goes into a file; where it listens.
pub(super) fn announced(mut command: Command, log: &Path) -> anyhow::Result<(Child, String)> {
    let log = File::options().create(true).append(true).open(log)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let mut line = String::new();
    let output = child.stdout.take().context("no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let url = line.trim().strip_prefix("listening on ");
    let url = url
        .with_context(|| format!("{command:?} said `{line}`"))?
        .to_owned();
    Ok((child, url))
}

pub(super) fn printed(mut command: Command) -> anyhow::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(output.stdout)
}

/// A lane's node.toml.
fn settings(storm: Storm) -> String {
    // A lane of which nothing is heard for two and a half of these is lost, and the connection is made anew.
    let heartbeat = match storm {
        Storm::Breaks => "200",
        Storm::Calm => "1_000",
        // With more of them on their way than TCP lets through, such a line is silent for seconds.
        Storm::Slow => "2_000",
    };
    format!("{SETTINGS}peer_heartbeat_ms = {heartbeat}\n")
}

impl Shop {
    /// A hub, and lanes that were activated, know each other, and sell.
    pub(super) async fn open(
        programs: &Programs,
        mut network: Network,
        options: &LaneOptions,
        random: &SeededRandom,
    ) -> anyhow::Result<Self> {
        let directory = Arc::new(Directory::create("lanes", options.keep.as_deref())?);
        let hub_data = directory.hub();
        let mut command = network.command(0, &programs.hub);
        command
            .args([
                "run",
                "--insecure-http",
                "--listen",
                &network.listen(0),
                "--data",
            ])
            .arg(&hub_data);
        let (hub, url) = announced(command, &directory.log("hub"))?;
        network.listens(0, url.trim_start_matches("http://"))?;
        let choice = SeededRandom::new(random.next());
        let mut shop = Self {
            network,
            directory,
            hub_data,
            hub,
            lanes: Vec::new(),
            customers: JoinSet::new(),
            account: Arc::default(),
            buried: None,
            choice,
        };
        let mut join = vec!["shop", "add", "France"];
        for number in 1..=options.lanes {
            let code = shop.join_code(programs, &join)?;
            join = vec!["shop", "join", "France"];
            shop.start(programs, number, &code, options).await?;
        }
        shop.meet().await?;
        shop.stock_up(options.old).await?;
        for (till, _) in &shop.lanes {
            let till = Arc::clone(till);
            shop.customers.spawn(async move {
                while !till.closed.load(Ordering::SeqCst) {
                    till.serve().await?;
                    tokio::time::sleep(Duration::from_millis(50 + till.random.below(250))).await;
                }
                Ok(())
            });
        }
        Ok(shop)
    }

    /// A command of the hub's program.
    pub(super) fn at_hub(&self, programs: &Programs, arguments: &[&str]) -> Command {
        let mut command = self.network.command(0, &programs.hub);
        command
            .args(arguments)
            .args(["--json", "--data"])
            .arg(&self.hub_data);
        command
    }

    fn join_code(&self, programs: &Programs, join: &[&str]) -> anyhow::Result<String> {
        let added: Value = serde_json::from_slice(&printed(self.at_hub(programs, join))?)?;
        Ok(added["join_code"]
            .as_str()
            .context("no join code")?
            .to_owned())
    }

    async fn start(
        &mut self,
        programs: &Programs,
        number: usize,
        code: &str,
        options: &LaneOptions,
    ) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let data = self.directory.node("lane", number);
        std::fs::create_dir_all(&data)?;
        std::fs::write(data.join("node.toml"), settings(options.storm))?;
        let secret = data.join("lanes.secret");
        std::fs::write(&secret, "of this shop alone ".repeat(3))?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let hub = self
            .network
            .way(number, 0)
            .await?
            .context("no way to the hub")?;
        let hub = format!("http://{hub}");
        let listen = self.network.lane_port(number, options.configured)?;
        let is_old = options.old && number == OLD_LANE;
        let activate = ["activate", "--join", code, "--hub", &hub];
        if !is_old {
            for arguments in [&["init"][..], &activate] {
                let command = command(&self.network, programs, (number, &data), arguments);
                drop(printed(command)?);
            }
        }
        let api = self.network.api(number);
        let mut arguments = vec!["run".to_owned(), "--listen".to_owned(), api];
        arguments.extend(["--peer-listen".to_owned(), listen]);
        let others = (1..=options.lanes).filter(|other| options.configured && *other != number);
        for other in others {
            if let Some(way) = self.network.way(number, other).await? {
                arguments.extend(["--peer".to_owned(), format!("ws://{way}")]);
            }
        }
        let run: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = self.directory.log(&format!("lane-{number}"));
        let mut daemon = command(&self.network, programs, (number, &data), &run);
        if is_old {
            daemon.env(SCHEMAS, schemas());
        }
        let (process, url) = announced(daemon, &log)?;
        if is_old {
            // By then it has made its book, and activates itself.
            let command = command(&self.network, programs, (number, &data), &activate);
            drop(printed(command)?);
        }
        let mut till = Till {
            number,
            id: String::new(),
            data,
            url,
            run: arguments,
            api: Api::default(),
            random: SeededRandom::new(self.choice.next()),
            counter: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            is_old,
            account: Arc::clone(&self.account),
        };
        let status = till.status().await?;
        status["node_id"]
            .as_str()
            .context("no id")?
            .clone_into(&mut till.id);
        let address = status["mesh"]["listen"].as_str().context("no lane port")?;
        self.network
            .listens(number, address.trim_start_matches("ws://"))?;
        self.lanes.push((Arc::new(till), process));
        Ok(())
    }

    /// The driver's account as it is now.
    pub(super) fn account(&self) -> Account {
        let account = self.account.lock();
        account.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all lanes are connected.
    pub(super) async fn meet(&self) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        loop {
            let apart = self.apart().await?;
            if apart.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < SETTLE_LIMIT, "they never met: {apart:?}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Which lanes are not connected with all others.
    async fn apart(&self) -> anyhow::Result<Vec<String>> {
        let mut apart = Vec::new();
        for (till, _) in &self.lanes {
            let connections = till.status().await?["mesh"]["connections"].clone();
            if connections != self.lanes.len() - 1 {
                apart.push(format!(
                    "lane {} has {connections} connections",
                    till.number
                ));
            }
        }
        Ok(apart)
    }

    /// The internet is gone, a lane sells, another one has the receipt, and the lane is killed with all that it has.
    pub(super) async fn bury_one(&mut self) -> anyhow::Result<()> {
        self.network
            .set(&Weather::without_internet(self.lanes.len()))
            .await?;
        let (till, mut process) = self.lanes.swap_remove(pick(self.lanes.len(), &self.choice));
        // Customers that come meanwhile find it closed.
        let counter = till.counter.lock().await;
        let mut tries = 0;
        while till.sell().await? {
            ensure!(
                tries < SALES_BEFORE_BURIAL_MAX,
                "lane {} finds nobody",
                till.number
            );
            tries += 1;
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        process.kill()?;
        till.closed.store(true, Ordering::SeqCst);
        process.wait()?;
        std::fs::remove_dir_all(&till.data)?;
        drop(counter);
        self.buried = Some(till);
        Ok(())
    }

    /// The last customers leave.
    pub(super) async fn close(&mut self) -> anyhow::Result<()> {
        for (till, _) in &self.lanes {
            till.closed.store(true, Ordering::SeqCst);
        }
        while let Some(served) = self.customers.join_next().await {
            served.context("a customer of the driver failed")??;
        }
        Ok(())
    }

    /// Waits until every lane holds what every other one has, and the hub has counted it. What does not come true.
    pub(super) async fn settle(&self) -> anyhow::Result<Vec<String>> {
        let began = tokio::time::Instant::now();
        loop {
            let mut open = self.apart().await?;
            open.extend(self.unsettled().await?);
            if open.is_empty() || began.elapsed() >= SETTLE_LIMIT {
                return Ok(open);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn unsettled(&self) -> anyhow::Result<Vec<String>> {
        let mut statuses = Vec::new();
        for (till, _) in &self.lanes {
            statuses.push((till, till.status().await?));
        }
        let ends = |of: &str| {
            let row = |row: &&Value| row["node_id"] == *of;
            let held = statuses.iter().filter_map(move |(till, status)| {
                let rows = status["mesh"]["journals"].as_array()?;
                Some((till.number, rows.iter().find(row).cloned()?))
            });
            held.collect::<Vec<_>>()
        };
        let mut open = Vec::new();
        for (till, status) in &statuses {
            let end = &status["journal_seq"];
            if status["hub_consolidated_seq"] != *end || status["pending"] != 0 {
                open.push(format!(
                    "the hub lacks something of lane {}: {status}",
                    till.number
                ));
            }
            let held = ends(&till.id);
            if held.len() + 1 < statuses.len()
                || held.iter().any(|(_, row)| row["held_seq"] != *end)
            {
                open.push(format!(
                    "lane {} ends at {end}, the others hold {held:?}",
                    till.number
                ));
            }
        }
        if let Some(till) = &self.buried {
            let held = ends(&till.id);
            let end = held.first().map(|(_, row)| row["held_seq"].clone());
            let is_whole = |(_, row): &(usize, Value)| Some(&row["held_seq"]) == end.as_ref();
            let at_hub = held
                .iter()
                .any(|(_, row)| row["hub_seq"] == row["held_seq"]);
            if held.len() < statuses.len() || !held.iter().all(is_whole) || !at_hub {
                open.push(format!(
                    "of the dead lane {} the others hold {held:?}",
                    till.number
                ));
            }
        }
        Ok(open)
    }

    /// Kills all processes.
    pub(super) async fn stop(mut self) -> anyhow::Result<Sold> {
        self.customers.shutdown().await;
        let mut lanes = Vec::new();
        for (till, mut process) in std::mem::take(&mut self.lanes) {
            process.kill()?;
            process.wait()?;
            lanes.push((till.number, till.id.clone(), till.data.clone()));
        }
        self.hub.kill()?;
        self.hub.wait()?;
        Ok(Sold {
            account: self.account(),
            lanes,
            buried: self.buried.as_ref().map(|till| till.id.clone()),
            hub: self.hub_data.clone(),
            _directory: Arc::clone(&self.directory),
        })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Some may have ended by themselves.
        for (_, process) in &mut self.lanes {
            process.kill().ok();
            process.wait().ok();
        }
        self.hub.kill().ok();
        self.hub.wait().ok();
    }
}
