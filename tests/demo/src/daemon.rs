//! A child process that serves HTTP: started, asked for its memory, killed or stopped.

use crate::directory::Directory;
use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

/// What a daemon prints first.
const READY_PREFIX: &str = "listening on ";
/// Longest time from start to that line; a till with a long WAL to recover stays far below.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest time from SIGTERM to the end.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Longest time from SIGKILL to the end when nobody can wait properly.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Lines of a log that an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// A running process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    /// Base URL of what it serves.
    pub url: String,
    /// Stays as long as the process may write to it.
    _directory: Arc<Directory>,
}

/// A command of one of the programs under test, cut off from the desktop's keyring.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Daemon {
    /// Starts a program and waits until it says where it listens.
    pub async fn start(
        program: Command,
        log: &Path,
        directory: &Arc<Directory>,
    ) -> anyhow::Result<Self> {
        let name = PathBuf::from(program.as_std().get_program());
        let mut child = spawn(program, log)?;
        let stdout = child.stdout.take().context("the process has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(START_LIMIT, lines.next_line()).await;
        let url = match first {
            Ok(Ok(Some(line))) => line
                .strip_prefix(READY_PREFIX)
                .map(|url| url.trim().to_owned()),
            Ok(_) => None,
            Err(_) => bail!("{} did not start within {START_LIMIT:?}", name.display()),
        };
        let url = url.ok_or_else(|| {
            let name = name.display();
            anyhow!(
                "{name} did not say where it listens; its log ends with\n{}",
                tail(log)
            )
        })?;
        drop(tokio::spawn(drain(lines)));
        Ok(Self {
            child,
            log: log.to_path_buf(),
            url,
            _directory: Arc::clone(directory),
        })
    }

    /// Starts a program and sends SIGKILL a moment later, whatever it is doing then.
    pub async fn cut_short(program: Command, log: &Path, after: Duration) -> anyhow::Result<()> {
        let mut child = spawn(program, log)?;
        tokio::time::sleep(after).await;
        child.kill().await.context("cannot kill a process")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Most memory that it ever held, in bytes; absent where the system does not say.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    }

    /// SIGKILL; returns when the process is gone.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill a process")
    }

    /// SIGTERM; returns when the process has ended by itself and said that all is well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let id = id.with_context(|| {
            format!(
                "the process had ended by itself; its log ends with\n{}",
                tail(&self.log)
            )
        })?;
        kill_process(id, Signal::TERM).context("cannot send SIGTERM")?;
        let ended = timeout(STOP_LIMIT, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("still running {STOP_LIMIT:?} after SIGTERM"))?;
        let status = status.context("cannot wait for a process")?;
        if !status.success() {
            bail!(
                "ended with {status} after SIGTERM; its log ends with\n{}",
                tail(&self.log)
            );
        }
        Ok(())
    }
}

impl Drop for Daemon {
    /// Waits for the end too, so that nothing writes to the directory while it is removed.
    fn drop(&mut self) {
        let start = Instant::now();
        // An error says that it has ended already.
        while self.child.start_kill().is_ok()
            && matches!(self.child.try_wait(), Ok(None))
            && start.elapsed() < KILL_LIMIT
        {
            std::thread::yield_now();
        }
    }
}

/// What it writes to stderr is added to the log.
fn spawn(mut program: Command, log: &Path) -> anyhow::Result<Child> {
    let stderr = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    program.stdout(Stdio::piped()).stderr(stderr);
    let name = PathBuf::from(program.as_std().get_program());
    let child = program.spawn();
    child.with_context(|| format!("cannot start {}", name.display()))
}

/// A process whose stdout nobody reads would stop at a full pipe.
async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
