//! The hub as a process, and its operator's commands.

use crate::binaries::Binaries;
use crate::daemon::{Daemon, command};
use crate::directory::Directory;
use anyhow::{Context as _, bail};
use counterfoil_domain::NodeId;
use counterfoil_domain::closure::Day;
use counterfoil_protocol::wire::closure::Proof;
use counterfoil_protocol::wire::decisions::{ConflictDecided, ConflictRow};
use counterfoil_protocol::wire::hub::{HubStatus, NodeRow, ShopAdded};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;

/// The port of a killed hub may be in use for a moment, by chance as the near end of somebody's
/// connection.
const START_ATTEMPTS_MAX: usize = 20;
/// How a command ends that found something wrong.
const PROBLEMS_FOUND: i32 = 3;
const START_PAUSE: Duration = Duration::from_millis(250);

/// The hub.
#[derive(Debug)]
pub struct Hub {
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    directory: Arc<Directory>,
    address: SocketAddr,
    settings: StdMutex<Vec<String>>,
    environment: StdMutex<Vec<(String, String)>>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    daemon: Option<Daemon>,
    peak_memory: u64,
}

impl Hub {
    /// Starts a new hub on a free port, which it keeps over restarts. The settings are further
    /// arguments of each start.
    pub async fn create(
        binaries: &Binaries,
        directory: &Arc<Directory>,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let (data, log) = (directory.hub(), directory.log("hub"));
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        let first = run_command(&binaries.hub, &data, "127.0.0.1:0", &settings);
        let daemon = Daemon::start(first, &log, directory)
            .await
            .context("the hub")?;
        let address = daemon
            .url
            .strip_prefix("http://")
            .and_then(|text| text.parse().ok());
        let address = address.with_context(|| format!("the hub listens on {}", daemon.url))?;
        let running = Mutex::new(Running {
            daemon: Some(daemon),
            peak_memory: 0,
        });
        let (program, directory) = (binaries.hub.clone(), Arc::clone(directory));
        Ok(Self {
            program,
            data,
            log,
            directory,
            address,
            settings: StdMutex::new(settings),
            environment: StdMutex::default(),
            running,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it again on the same port.
    pub async fn start(&self) -> anyhow::Result<()> {
        let mut attempt = 1;
        while let Err(error) = self.start_once().await {
            if attempt == START_ATTEMPTS_MAX {
                return Err(error);
            }
            tokio::time::sleep(START_PAUSE).await;
            attempt += 1;
        }
        Ok(())
    }

    /// The same in one attempt, for a hub that may be meant to die while it starts.
    pub async fn start_once(&self) -> anyhow::Result<()> {
        let command = self.run_command(&self.address.to_string());
        let daemon = Daemon::start(command, &self.log, &self.directory).await;
        self.running.lock().await.daemon = Some(daemon.context("the hub")?);
        Ok(())
    }

    /// Starts it and sends SIGKILL a moment later.
    pub async fn cut_short(&self, after: Duration) -> anyhow::Result<()> {
        let command = self.run_command(&self.address.to_string());
        let cut = Daemon::cut_short(command, &self.log, after).await;
        cut.context("the hub")
    }

    /// How often a text stands in its log.
    pub fn logged(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.matches(text).count()
    }

    /// Environment variables of the starts that follow.
    pub fn set_environment(&self, variables: Vec<(String, String)>) {
        *lock(&self.environment) = variables;
    }

    /// Further arguments of the starts that follow.
    pub fn set_settings(&self, settings: &[&str]) {
        *lock(&self.settings) = settings.iter().map(|text| (*text).to_owned()).collect();
    }

    /// Whether it runs.
    pub async fn is_running(&self) -> bool {
        let mut running = self.running.lock().await;
        running
            .daemon
            .as_mut()
            .is_some_and(|daemon| !daemon.has_ended())
    }

    fn run_command(&self, listen: &str) -> Command {
        let mut command = run_command(&self.program, &self.data, listen, &lock(&self.settings));
        command.envs(lock(&self.environment).iter().cloned());
        command
    }

    /// Forgets a process that has ended by itself.
    pub async fn forget(&self) {
        self.running.lock().await.daemon = None;
    }

    /// SIGKILL.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.take().await?.kill().await.context("the hub")
    }

    /// SIGTERM.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.take().await?.stop().await.context("the hub")
    }

    async fn take(&self) -> anyhow::Result<Daemon> {
        let mut running = self.running.lock().await;
        let daemon = running.daemon.take().context("the hub is not running")?;
        running.peak_memory = running
            .peak_memory
            .max(daemon.peak_memory().unwrap_or_default());
        Ok(daemon)
    }

    /// Most memory that any of its processes ever held, in bytes.
    pub async fn peak_memory(&self) -> u64 {
        self.running.lock().await.peak_memory
    }

    /// Makes a shop and a join code for its first lane.
    pub async fn add_shop(&self, name: &str, url: &str) -> anyhow::Result<ShopAdded> {
        self.command(&["shop", "add", name, "--hub-url", url]).await
    }

    /// Makes a join code for a further lane.
    pub async fn join_shop(&self, name: &str, url: &str) -> anyhow::Result<ShopAdded> {
        self.command(&["shop", "join", name, "--hub-url", url])
            .await
    }

    /// Has a till change its token at its next contact.
    pub async fn rotate_token(&self, node: NodeId) -> anyhow::Result<NodeRow> {
        self.command(&["node", "rotate-token", &node.to_string()])
            .await
    }

    /// The hub at a glance.
    pub async fn status(&self) -> anyhow::Result<HubStatus> {
        self.command(&["status"]).await
    }

    /// All rows of a catalog table, by column.
    pub async fn catalog(&self, table: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        self.command(&["catalog", "export", table]).await
    }

    /// All conflicts of a catalog table.
    pub async fn conflicts(&self, table: &str) -> anyhow::Result<Vec<ConflictRow>> {
        self.command(&["conflicts", "list", "--table", table]).await
    }

    /// Makes the value that lost in a conflict current again.
    pub async fn put_back(&self, conflict: i64) -> anyhow::Result<ConflictDecided> {
        self.command(&["conflicts", "put-back", &conflict.to_string()])
            .await
    }

    /// Whether a business day is proved.
    pub async fn proof(&self, day: Day) -> anyhow::Result<Proof> {
        let day = day.to_string();
        // That it is not proved is an answer as well.
        self.ask(&["proof", "--day", &day], &[0, PROBLEMS_FOUND])
            .await
    }

    async fn command<A: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<A> {
        self.ask(arguments, &[0]).await
    }

    /// Runs a command that may end with these codes.
    async fn ask<A: DeserializeOwned>(
        &self,
        arguments: &[&str],
        codes: &[i32],
    ) -> anyhow::Result<A> {
        let mut run = command(&self.program);
        run.args(arguments)
            .arg("--json")
            .arg("--data")
            .arg(&self.data);
        let output = run.output().await.context("cannot start counterfoil-hub")?;
        let what = arguments.join(" ");
        let code = output.status.code();
        if !code.is_some_and(|code| codes.contains(&code)) {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!(
                "counterfoil-hub {what}: {}: {}",
                output.status,
                error.trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("counterfoil-hub {what} printed something else than agreed"))
    }
}

/// The daemon's command line.
fn run_command(program: &Path, data: &Path, listen: &str, settings: &[String]) -> Command {
    let mut run = command(program);
    run.arg("run").arg("--data").arg(data);
    run.args(["--listen", listen]).args(settings);
    run
}

/// What a panicking holder left is as good as any.
pub(crate) fn lock<T>(mutex: &StdMutex<T>) -> StdMutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
