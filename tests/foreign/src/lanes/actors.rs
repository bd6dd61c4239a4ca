//! A shop for these scenes: lanes of ours and lanes in Python as processes.

use super::Programs;
use crate::hub::Hub;
use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use system_tests::daemon::{ANY_PORT, Daemon, command, run, till_folder};
use tempfile::TempDir;
use uuid::Uuid;

/// How often something is looked for before it counts as missing, and how long a look rests.
const LOOKS: u32 = 600;
const REST: Duration = Duration::from_millis(50);
/// A sale waits for its second copy; what the hub lacks is looked for all the time.
const SETTINGS: &str = "peer_secret_file = \"lanes.secret\"\nsecond_copy_wait_ms = 50_000\nrelay_pause_s = 1\n\
                        backoff_first_ms = 50\nbackoff_last_ms = 500\n";

/// A shop: its hub, and the secret of its lanes.
pub(super) struct Shop {
    programs: Programs,
    pub(super) folder: TempDir,
    pub(super) hub: Hub,
    pub(super) secret: PathBuf,
}

/// A lane of ours, and its id.
pub(super) struct Till {
    pub(super) daemon: Daemon,
    pub(super) data: PathBuf,
    pub(super) id: String,
    /// Its shop.
    pub(super) shop: String,
    pub(super) url: String,
}

/// A lane in Python, and what it has told.
pub(super) struct Python {
    process: Child,
    told: Arc<Mutex<Vec<Value>>>,
    pub(super) id: String,
    pub(super) state: PathBuf,
    pub(super) url: String,
}

/// An entry as it is compared: position, id, chain value.
pub(super) type Entry = (i64, String, String);

pub(super) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    for _ in 0..LOOKS {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(REST).await;
    }
    anyhow::bail!("it never came: {what}")
}

impl Shop {
    pub(super) fn new(programs: &Programs) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let hub = Hub::start(&programs.hub, &folder.path().join("hub"))?;
        let secret = folder.path().join("lanes.secret");
        std::fs::write(&secret, "of this shop alone ".repeat(3))?;
        let programs = programs.clone();
        Ok(Self {
            programs,
            folder,
            hub,
            secret,
        })
    }

    /// A lane's folder, activated.
    pub(super) fn till(&self, name: &str, join: &[&str]) -> anyhow::Result<PathBuf> {
        let data = self.folder.path().join(name);
        let node = self.programs.node.to_string_lossy();
        till_folder(&data, SETTINGS);
        let secret = data.join("lanes.secret");
        std::fs::copy(&self.secret, &secret)?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let added: Value = self.hub.command(join)?;
        let code = added["join_code"].as_str().context("no join code")?;
        run(&node, &data, &["init"]);
        run(
            &node,
            &data,
            &["activate", "--join", code, "--hub", &self.hub.url()],
        );
        Ok(data)
    }

    pub(super) async fn start(&self, data: &Path, peers: &[&str]) -> anyhow::Result<Till> {
        let mut arguments = vec!["run", "--listen", ANY_PORT, "--peer-listen", ANY_PORT];
        arguments.extend(peers.iter().flat_map(|&peer| ["--peer", peer]));
        let node = self.programs.node.to_string_lossy();
        let daemon = Daemon::announced(command(&node, data, &arguments));
        let status = daemon
            .ask(Method::GET, "/v1/status", None, &Value::Null)
            .await;
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .with_context(|| status.to_string())
        };
        let (id, shop, url) = (
            text(&status["node_id"])?,
            text(&status["shop_id"])?,
            text(&status["mesh"]["listen"])?,
        );
        Ok(Till {
            daemon,
            data: data.to_owned(),
            id,
            shop,
            url,
        })
    }

    /// A lane in Python of this name: a state file, an id, and how it is started.
    pub(super) fn python(
        &self,
        name: &str,
        shop: &str,
        secret: Option<&Path>,
        dial: &[&str],
    ) -> anyhow::Result<Python> {
        let id = Uuid::from_u128(
            name.bytes()
                .fold(0x0198 << 112, |id, byte| (id << 8) ^ u128::from(byte)),
        );
        let state = self.folder.path().join(format!("{name}.jsonl"));
        let kind = &self.programs.lane;
        let mut command = Command::new(&kind.program);
        command.args(&kind.arguments).arg("--state").arg(&state);
        command.args(["--shop", shop, "--node", &id.to_string()]);
        if let Some(secret) = secret {
            command.arg("--secret").arg(secret);
        }
        command.args(dial.iter().flat_map(|peer| ["--dial", peer]));
        Python::start(command, id.to_string(), state)
    }
}

impl Python {
    pub(super) fn start(mut command: Command, id: String, state: PathBuf) -> anyhow::Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let first: Value = serde_json::from_str(&lines.next().context("it told nothing")??)?;
        let url = first["url"].as_str().context("no address")?.to_owned();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tells = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                tells
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
            }
        });
        Ok(Self {
            process,
            told,
            id,
            state,
            url,
        })
    }

    pub(super) fn told(&self) -> Vec<Value> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes an entry of its own.
    pub(super) fn write(&mut self, entry: &Value) -> anyhow::Result<()> {
        let input = self.process.stdin.as_mut().context("no input")?;
        Ok(writeln!(input, "{entry}")?)
    }

    /// Waits until it has told of an event with these words.
    pub(super) async fn tells(&self, event: &str, words: &str) -> anyhow::Result<()> {
        let heard = || {
            self.told()
                .iter()
                .any(|it| it["event"] == event && it.to_string().contains(words))
        };
        let came = until(&format!("{event} with {words}"), async || {
            Ok(heard().then_some(()))
        })
        .await;
        came.with_context(|| format!("{:?}", self.told()))
    }

    /// What stands in its file of a journal.
    pub(super) fn entries(&self, origin: &str) -> anyhow::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for line in std::fs::read_to_string(&self.state)?.lines() {
            let (_, entry): (Value, Value) = serde_json::from_str(line)?;
            if entry["fromTerminal"] == *origin {
                entries.push(of_message(&entry).context("not an entry")?);
            }
        }
        Ok(entries)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn of_message(entry: &Value) -> Option<Entry> {
    let payload = &entry["payload"];
    let id = entry["id"].as_str()?.replace('-', "");
    Some((
        payload["seq"].as_i64()?,
        id,
        payload["chain"].as_str()?.to_owned(),
    ))
}

impl Till {
    pub(super) async fn get(&self, path: &str) -> Value {
        self.daemon.ask(Method::GET, path, None, &Value::Null).await
    }

    /// Sells, and says what was answered.
    pub(super) async fn sell(&self) -> Value {
        let line = json!({"sku": "TEA", "quantity": "2", "unit_price": "2.55"});
        let request = json!({"lines": [line], "tender": "cash"});
        self.daemon
            .ask(Method::POST, "/v1/sales", None, &request)
            .await
    }

    /// Waits until the lane in Python takes this one's journal.
    pub(super) async fn is_heard_by(&self, lane: &Python) -> anyhow::Result<()> {
        until("the Python lane has the journal", async || {
            let status = self.get("/v1/status").await;
            let rows = status["mesh"]["peers"].as_array().context("no peers")?;
            let has = |row: &Value| {
                row["node_id"] == lane.id && row["acknowledged_seq"] == status["journal_seq"]
            };
            Ok(rows.iter().any(has).then_some(()))
        })
        .await
    }

    pub(super) async fn has_logged(&self, event: &str, words: &str) -> anyhow::Result<()> {
        until(&format!("{event}: {words}"), async || {
            let rows = self.get("/v1/logs?limit=10000").await;
            let rows = rows.as_array().context("no logs")?;
            let says =
                |row: &Value| row["event"] == *event && row["detail"].to_string().contains(words);
            Ok(rows.iter().any(says).then_some(()))
        })
        .await
    }

    /// Rows of a copy of one of its databases: nobody that has it open is disturbed.
    async fn rows(&self, name: &str, sql: &str) -> anyhow::Result<Vec<Entry>> {
        let folder = tempfile::tempdir()?;
        for file in [name.to_owned(), format!("{name}-wal")] {
            let from = self.data.join(&file);
            if from.exists() {
                std::fs::copy(from, folder.path().join(file))?;
            }
        }
        let opened = libsql::Builder::new_local(folder.path().join(name))
            .build()
            .await?;
        let mut rows = opened.connect()?.query(sql, ()).await?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().await? {
            found.push((row.get(0)?, row.get(1)?, row.get(2)?));
        }
        Ok(found)
    }

    /// Its own journal.
    pub(super) async fn own(&self) -> anyhow::Result<Vec<Entry>> {
        let sql = "SELECT seq, lower(hex(id)), lower(hex(chain)) FROM journal ORDER BY seq";
        self.rows("book.db", sql).await
    }

    /// What it holds of another one's.
    pub(super) async fn held(&self, origin: &str) -> anyhow::Result<Vec<Entry>> {
        let origin = origin.replace('-', "");
        let sql = format!(
            "SELECT e.seq, lower(hex(e.id)), lower(hex(e.chain)) FROM peer_entry AS e
             JOIN peer_journal AS j ON j.origin = e.origin WHERE lower(hex(j.node)) = '{origin}' ORDER BY e.seq"
        );
        self.rows("local.db", &sql).await
    }

    /// Whether it holds nothing of anybody, and nobody is connected.
    pub(super) async fn has_applied_nothing(&self) -> anyhow::Result<()> {
        let sql = "SELECT origin, '', '' FROM peer_journal";
        ensure!(
            self.rows("local.db", sql).await?.is_empty(),
            "something was kept"
        );
        let status = self.get("/v1/status").await;
        ensure!(status["mesh"]["connections"] == 0, "{status}");
        Ok(())
    }
}
