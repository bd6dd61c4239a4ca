//! Hosts in network namespaces. Each has one interface to the others, whose packets `python/switch.py` carries, and one
//! to this side, by which the driver reaches it whatever the weather.

use super::weather::Weather;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

const SWITCH: &str = include_str!("../../python/switch.py");
const PAIR: &str = include_str!("../../python/pair.py");
/// How long the switch may take to answer; it answers between two packets.
const PATIENCE: Duration = Duration::from_secs(20);
/// Runs at the same time, of one machine.
const RUNS_MAX: u32 = 100;
/// Of them of one process; an interface's name has room for no longer number.
const RUNS_OF_A_PROCESS: u32 = 10;
static RUNS: AtomicU32 = AtomicU32::new(0);

/// Gone when dropped.
#[derive(Debug)]
pub(super) struct Spaces {
    /// Tells the interfaces of this run from those of others.
    run: u32,
    hosts: usize,
    switch: Option<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)>,
    counts: Value,
}

fn carry_out(arguments: &[&str]) -> anyhow::Result<()> {
    let (program, rest) = arguments.split_first().context("no program")?;
    let output = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {}", errors.trim());
    Ok(())
}

fn ip(line: &str) -> anyhow::Result<()> {
    let arguments: Vec<&str> = std::iter::once("ip").chain(line.split(' ')).collect();
    carry_out(&arguments)
}

impl Spaces {
    /// Makes so many hosts; needs root, `ip` and `python3`.
    pub(super) async fn new(hosts: usize, seed: u64) -> anyhow::Result<Self> {
        // Runs of one process are side by side too.
        let turn = RUNS.fetch_add(1, Ordering::Relaxed) % RUNS_OF_A_PROCESS;
        let run = std::process::id() * RUNS_OF_A_PROCESS + turn;
        let mut spaces = Self {
            run,
            hosts,
            switch: None,
            counts: Value::Null,
        };
        let mut ends = Vec::new();
        for host in 0..hosts {
            ends.push(spaces.make(host).with_context(|| format!("host {host}"))?);
        }
        let mut switch = tokio::process::Command::new("python3")
            .args(["-c", SWITCH, &seed.to_string()])
            .args(ends)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = switch.stdin.take().context("no input")?;
        let mut lines = BufReader::new(switch.stdout.take().context("no output")?).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        ensure!(
            ready.as_deref() == Some("ready"),
            "the switch does not start"
        );
        spaces.switch = Some((switch, input, lines));
        Ok(spaces)
    }

    fn name(&self, host: usize) -> String {
        format!("cf{}h{host}", self.run)
    }

    /// A host's address among the others.
    pub(super) fn inside(&self, host: usize) -> String {
        format!("10.123.0.{}", host + 1)
    }

    /// Its address for the driver.
    pub(super) fn outside(&self, host: usize) -> String {
        format!("10.{}.{host}.2", 124 + self.run % RUNS_MAX)
    }

    /// Makes a host; the end of its interface on this side.
    fn make(&self, host: usize) -> anyhow::Result<String> {
        let (name, net) = (self.name(host), 124 + self.run % RUNS_MAX);
        let [end, within, driver, driven] =
            ["e", "i", "m", "d"].map(|kind| format!("{name}{kind}"));
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {end} type veth peer name {within}"))?;
        carry_out(&["python3", "-c", PAIR, &within])?;
        ip(&format!(
            "link set {within} address 02:00:00:00:00:{host:02x}"
        ))?;
        ip(&format!("link set {within} netns {name}"))?;
        ip(&format!(
            "-n {name} addr add {}/24 dev {within}",
            self.inside(host)
        ))?;
        ip(&format!("link add {driver} type veth peer name {driven}"))?;
        ip(&format!("link set {driven} netns {name}"))?;
        ip(&format!("addr add 10.{net}.{host}.1/30 dev {driver}"))?;
        ip(&format!(
            "-n {name} addr add {}/30 dev {driven}",
            self.outside(host)
        ))?;
        for interface in [&within, &driven, &"lo".to_owned()] {
            ip(&format!("-n {name} link set {interface} up"))?;
        }
        ip(&format!("link set {end} up"))?;
        ip(&format!("link set {driver} up"))?;
        Ok(end)
    }

    /// Gives a host another address among the others, as a router does when it forgot the one before.
    pub(super) fn readdress(&self, host: usize) -> anyhow::Result<()> {
        let name = self.name(host);
        let [before, after] = [host + 1, host + 101].map(|last| format!("10.123.0.{last}/24"));
        ip(&format!("-n {name} addr del {before} dev {name}i"))?;
        ip(&format!("-n {name} addr add {after} dev {name}i"))
    }

    pub(super) fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name(host)])
            .arg(program);
        command
    }

    pub(super) async fn set(&mut self, weather: &Weather) -> anyhow::Result<()> {
        let (_, input, lines) = self.switch.as_mut().context("no switch")?;
        input
            .write_all(format!("{}\n", weather.rules()).as_bytes())
            .await?;
        let answer = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let answer = answer.context("the switch does not answer")??;
        self.counts = serde_json::from_str(&answer.context("the switch is gone")?)?;
        Ok(())
    }

    /// What the switch did, up to the newest weather.
    pub(super) const fn counts(&self) -> &Value {
        &self.counts
    }

    pub(super) fn unmet(&self) -> Vec<String> {
        let kinds = ["passed", "cut", "lost", "delayed", "repeated", "late"];
        let never = kinds
            .iter()
            .filter(|kind| self.counts[**kind].as_u64().unwrap_or(0) == 0);
        never
            .map(|kind| format!("no packet was ever {kind}"))
            .collect()
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        self.switch = None;
        for host in 0..self.hosts {
            let name = self.name(host);
            // One that was never made cannot be removed; interfaces go with their namespace.
            ip(&format!("netns del {name}")).ok();
            ip(&format!("link del {name}e")).ok();
            ip(&format!("link del {name}m")).ok();
        }
    }
}
