//! A till: the node of one lane as a process, and calls that are repeated until it answers.

use crate::binaries::Binaries;
use crate::client::{Api, CallError};
use crate::daemon::{Daemon, command};
use crate::directory::Directory;
use crate::hub::lock;
use anyhow::{Context as _, bail};
use counterfoil_protocol::wire::node::{
    ActivateCommand, CatalogDigest, CatalogRow, CatalogSetRequest, NodeStatus, SyncReport,
};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a call is repeated while the till does not answer.
const INSIST_LIMIT: Duration = Duration::from_secs(120);
const INSIST_PAUSE: Duration = Duration::from_millis(20);

/// A till.
#[derive(Debug)]
pub struct Till {
    /// `shop/lane`.
    pub name: String,
    /// Index of its shop.
    pub shop: usize,
    /// Number of the lane, from 1.
    pub lane: usize,
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    directory: Arc<Directory>,
    api: Api,
    environment: StdMutex<Vec<(String, String)>>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    daemon: Option<Daemon>,
    peak_memory: u64,
}

/// A request that was in flight when the till was killed.
#[derive(Debug)]
pub struct InFlight<A> {
    /// The answer, if it came before the kill.
    pub before: Option<A>,
    /// The answer to the same request after the restart.
    pub after: A,
    /// From the restart's beginning to that answer.
    pub back_after: Duration,
}

impl Till {
    /// A new till with an empty directory, running in trial.
    pub async fn create(
        binaries: &Binaries,
        directory: &Arc<Directory>,
        api: Api,
        (shop, shop_name): (usize, &str),
        lane: usize,
    ) -> anyhow::Result<Self> {
        let name = format!("{shop_name}/{lane}");
        let till = Self {
            shop,
            lane,
            program: binaries.node.clone(),
            data: directory.node(shop_name, lane),
            log: directory.log(&name),
            directory: Arc::clone(directory),
            api,
            environment: StdMutex::default(),
            running: Mutex::default(),
            name,
        };
        let mut init = till.command();
        let output = init
            .arg("init")
            .arg("--data")
            .arg(&till.data)
            .output()
            .await?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{}: init: {}: {}", till.name, output.status, error.trim());
        }
        till.start().await?;
        Ok(till)
    }

    /// Starts its process.
    pub async fn start(&self) -> anyhow::Result<()> {
        let daemon = Daemon::start(self.run_command(), &self.log, &self.directory)
            .await
            .with_context(|| self.name.clone())?;
        self.running.lock().await.daemon = Some(daemon);
        Ok(())
    }

    /// Starts its process and sends SIGKILL a moment later.
    pub async fn cut_short(&self, after: Duration) -> anyhow::Result<()> {
        let cut = Daemon::cut_short(self.run_command(), &self.log, after).await;
        cut.with_context(|| self.name.clone())
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

    /// Writes its settings file; it holds from the next start on.
    pub fn configure(&self, text: &str) -> anyhow::Result<()> {
        let path = self.data.join("node.toml");
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Whether its process runs.
    pub async fn is_running(&self) -> bool {
        let mut running = self.running.lock().await;
        running
            .daemon
            .as_mut()
            .is_some_and(|daemon| !daemon.has_ended())
    }

    /// A command whose marks lie with those of the other tills of the run.
    fn command(&self) -> Command {
        let mut command = command(&self.program);
        command.env("COUNTERFOIL_FENCE_DIR", self.directory.fence());
        command
    }

    fn run_command(&self) -> Command {
        let mut run = self.command();
        run.arg("run").arg("--data").arg(&self.data);
        run.args(["--listen", "127.0.0.1:0"]);
        run.envs(lock(&self.environment).iter().cloned());
        run
    }

    /// Forgets a process that has ended by itself.
    pub async fn forget(&self) {
        self.running.lock().await.daemon = None;
    }

    /// SIGKILL.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.take()
            .await?
            .kill()
            .await
            .with_context(|| self.name.clone())
    }

    /// SIGTERM.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.take()
            .await?
            .stop()
            .await
            .with_context(|| self.name.clone())
    }

    async fn take(&self) -> anyhow::Result<Daemon> {
        let mut running = self.running.lock().await;
        let daemon = running.daemon.take();
        let daemon = daemon.with_context(|| format!("{} is not running", self.name))?;
        running.peak_memory = running
            .peak_memory
            .max(daemon.peak_memory().unwrap_or_default());
        Ok(daemon)
    }

    /// Most memory that any of its processes ever held, in bytes.
    pub async fn peak_memory(&self) -> u64 {
        self.running.lock().await.peak_memory
    }

    async fn url(&self, path: &str) -> Result<String, CallError> {
        let running = self.running.lock().await;
        match &running.daemon {
            Some(daemon) => Ok(format!("{}{path}", daemon.url)),
            None => {
                let reason = format!("{} is not running", self.name);
                Err(CallError::NoAnswer {
                    url: path.to_owned(),
                    reason,
                    is_sent: false,
                })
            }
        }
    }

    /// One attempt.
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<A, CallError> {
        self.api
            .send(Method::POST, self.url(path).await?, body)
            .await
    }

    /// The same request again until the till answers, as a cash register program does it.
    pub async fn insist<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> anyhow::Result<A> {
        let deadline = Instant::now() + INSIST_LIMIT;
        loop {
            let attempt = match self.url(path).await {
                Ok(url) => self.api.send(method.clone(), url, body).await,
                Err(error) => Err(error),
            };
            match attempt {
                Err(CallError::NoAnswer { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(INSIST_PAUSE).await;
                }
                result => return result.with_context(|| self.name.clone()),
            }
        }
    }

    /// Kills the till while it works on a request, starts it again and repeats the request.
    pub async fn kill_in_flight<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        delay: Duration,
    ) -> anyhow::Result<InFlight<A>> {
        let kill = async {
            // A timer counts in milliseconds; a sale takes about one.
            let start = Instant::now();
            while start.elapsed() < delay {
                tokio::task::yield_now().await;
            }
            self.kill().await
        };
        let (before, killed) = tokio::join!(self.post(path, body), kill);
        killed?;
        let before = match before {
            Ok(answer) => Some(answer),
            Err(CallError::NoAnswer { .. }) => None,
            Err(error) => return Err(error).with_context(|| self.name.clone()),
        };
        let start = Instant::now();
        self.start().await?;
        let after = self.insist(Method::POST, path, body).await?;
        Ok(InFlight {
            before,
            after,
            back_after: start.elapsed(),
        })
    }

    /// Where it stands.
    pub async fn status(&self) -> anyhow::Result<NodeStatus> {
        let url = self.url("/v1/status").await?;
        self.api.get(url).await.with_context(|| self.name.clone())
    }

    /// Digest of the catalog that it holds.
    pub async fn catalog_digest(&self) -> anyhow::Result<CatalogDigest> {
        let url = self.url("/v1/catalog-digest").await?;
        self.api.get(url).await.with_context(|| self.name.clone())
    }

    /// A product as it sees it; a code may hold a slash or a space.
    pub async fn product(&self, id: &str) -> anyhow::Result<CatalogRow> {
        let id: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = self.url(&format!("/v1/catalog/products/{id}")).await?;
        self.api.get(url).await.with_context(|| self.name.clone())
    }

    /// Sets columns of a product.
    pub async fn set_product(
        &self,
        id: &str,
        columns: impl IntoIterator<Item = (&str, Value)>,
    ) -> anyhow::Result<()> {
        let columns = columns
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let path = format!("/v1/catalog/products/{id}");
        let request = CatalogSetRequest { columns };
        let _row: Value = self.insist(Method::PUT, &path, &request).await?;
        Ok(())
    }

    /// Hands the join code over and waits until the till is bound to its shop.
    pub async fn activate(&self, join: String) -> anyhow::Result<()> {
        let request = ActivateCommand {
            join: Some(join),
            ..ActivateCommand::default()
        };
        let _answer: Value = self.insist(Method::POST, "/v1/activate", &request).await?;
        let deadline = Instant::now() + INSIST_LIMIT;
        loop {
            let status = self.status().await?;
            if status.tier == "active" {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is still {} {INSIST_LIMIT:?} after its join code",
                    self.name,
                    status.tier
                );
            }
            tokio::time::sleep(INSIST_PAUSE).await;
        }
    }

    /// Asks for a sync now. What comes of it shows in the status, also when it fails.
    pub async fn nudge(&self) {
        let nothing = serde_json::Map::new();
        drop(self.post::<SyncReport>("/v1/sync", &nothing).await);
    }
}
