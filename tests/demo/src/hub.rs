//! The hub as a process, and its operator's commands.

use crate::binaries::Binaries;
use crate::daemon::{Daemon, command};
use crate::directory::Directory;
use anyhow::{Context as _, bail};
use counterfoil_protocol::wire::hub::{HubStatus, ShopAdded};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The port of a killed hub may be in use for a moment, by chance as the near end of somebody's
/// connection.
const START_ATTEMPTS_MAX: usize = 20;
const START_PAUSE: Duration = Duration::from_millis(250);

/// The hub.
#[derive(Debug)]
pub(crate) struct Hub {
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    directory: Arc<Directory>,
    address: SocketAddr,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    daemon: Option<Daemon>,
    peak_memory: u64,
}

impl Hub {
    /// Starts a new hub on a free port, which it keeps over restarts.
    pub(crate) async fn create(
        binaries: &Binaries,
        directory: &Arc<Directory>,
    ) -> anyhow::Result<Self> {
        let (data, log) = (directory.hub(), directory.log("hub"));
        let daemon = Daemon::start(
            &binaries.hub,
            run_arguments(&data, "127.0.0.1:0"),
            &log,
            directory,
        )
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
            running,
        })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it again on the same port.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let listen = self.address.to_string();
        let mut attempt = 1;
        let daemon = loop {
            let arguments = run_arguments(&self.data, &listen);
            match Daemon::start(&self.program, arguments, &self.log, &self.directory).await {
                Ok(daemon) => break daemon,
                Err(error) if attempt == START_ATTEMPTS_MAX => return Err(error.context("the hub")),
                Err(_) => tokio::time::sleep(START_PAUSE).await,
            }
            attempt += 1;
        };
        self.running.lock().await.daemon = Some(daemon);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        self.take().await?.kill().await.context("the hub")
    }

    /// SIGTERM.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
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
    pub(crate) async fn peak_memory(&self) -> u64 {
        self.running.lock().await.peak_memory
    }

    /// Makes a shop and a join code for its first lane.
    pub(crate) async fn add_shop(&self, name: &str, url: &str) -> anyhow::Result<ShopAdded> {
        self.command(&["shop", "add", name, "--hub-url", url]).await
    }

    /// Makes a join code for a further lane.
    pub(crate) async fn join_shop(&self, name: &str, url: &str) -> anyhow::Result<ShopAdded> {
        self.command(&["shop", "join", name, "--hub-url", url])
            .await
    }

    /// The hub at a glance.
    pub(crate) async fn status(&self) -> anyhow::Result<HubStatus> {
        self.command(&["status"]).await
    }

    async fn command<A: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<A> {
        let mut run = command(&self.program);
        run.args(arguments)
            .arg("--json")
            .arg("--data")
            .arg(&self.data);
        let output = run.output().await.context("cannot start counterfoil-hub")?;
        let what = arguments.join(" ");
        if !output.status.success() {
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

fn run_arguments(data: &Path, listen: &str) -> Vec<OsString> {
    [
        "run".into(),
        "--data".into(),
        data.into(),
        "--listen".into(),
        listen.into(),
    ]
    .to_vec()
}
