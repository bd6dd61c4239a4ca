//! The hub in a process of its own, and its commands.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `database add` prints.
#[derive(Clone, Debug, Deserialize)]
pub struct Access {
    /// Where a client syncs.
    pub sync_url: String,
    /// What it shows there.
    pub auth_token: String,
}

/// A running hub.
pub struct Hub {
    program: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    process: Option<Child>,
    listen: String,
}

impl Hub {
    /// Starts a hub on a folder.
    ///
    /// # Errors
    /// When it does not start, or does not say where it listens.
    pub fn start(program: &Path, data: &Path) -> anyhow::Result<Self> {
        let mut hub = Self {
            program: program.to_owned(),
            data: data.to_owned(),
            process: None,
            listen: "127.0.0.1:0".to_owned(),
        };
        hub.run()?;
        Ok(hub)
    }

    /// Starts the hub again where it was.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run(&mut self) -> anyhow::Result<()> {
        let mut process = Command::new(&self.program)
            .args(["run", "--listen", &self.listen, "--data"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let output = process.stdout.take().context("no standard output")?;
        self.process = Some(process);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://");
        address
            .context("the hub did not say where it listens")?
            .clone_into(&mut self.listen);
        Ok(())
    }

    /// Where it is reached.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Kills the hub.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Runs a command that must succeed and gives what it printed.
    ///
    /// # Errors
    /// What the command reports.
    pub fn command<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg("--json")
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The file of the only database.
    ///
    /// # Errors
    /// When there is none, or another one.
    pub fn copy(&self) -> anyhow::Result<PathBuf> {
        let folders: Result<Vec<_>, _> = std::fs::read_dir(self.data.join("databases"))?.collect();
        match folders?.as_slice() {
            [only] => Ok(only.path().join("database.db")),
            others => bail!("{} databases where one was made", others.len()),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
    }
}
