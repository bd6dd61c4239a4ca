//! A shop for these scenes: lanes of ours and lanes in Python as processes.

use super::Programs;
use crate::client::Kind;
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

/// How a lane in Python is started.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    /// Of its file, and of its id when the hub does not know it.
    pub(super) name: &'a str,
    pub(super) activated: Option<&'a Activated>,
    pub(super) shop: &'a str,
    /// The file that the lanes share.
    pub(super) secret: Option<&'a Path>,
    /// The folder with its certificate; with it it speaks TLS.
    pub(super) certificate: Option<&'a Path>,
}

/// What the hub answered a lane in Python that it has activated, and where its certificate is.
pub(super) struct Activated {
    pub(super) id: String,
    pub(super) shop: String,
    /// Number of the lane in its shop.
    pub(super) lane: i64,
    /// Of its receipts.
    series: String,
    pub(super) folder: PathBuf,
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

    /// A till in Python of this name, which the hub does not know.
    pub(super) fn python(
        &self,
        name: &str,
        shop: &str,
        secret: Option<&Path>,
        dial: &[&str],
    ) -> anyhow::Result<Python> {
        let start = Start {
            name,
            activated: None,
            shop,
            secret,
            certificate: None,
        };
        self.python_of(&self.programs.till, start, dial)
    }

    /// One that also writes what no till writes.
    pub(super) fn writer(&self, name: &str, shop: &str, dial: &[&str]) -> anyhow::Result<Python> {
        let start = Start {
            name,
            activated: None,
            shop,
            secret: Some(&self.secret),
            certificate: None,
        };
        self.python_of(&self.programs.writer, start, dial)
    }

    /// One that is started like this.
    pub(super) fn python_as(&self, start: Start<'_>, dial: &[&str]) -> anyhow::Result<Python> {
        self.python_of(&self.programs.till, start, dial)
    }

    fn python_of(&self, kind: &Kind, start: Start<'_>, dial: &[&str]) -> anyhow::Result<Python> {
        let of_name = |name: &str| {
            let bytes = name.bytes();
            let id = bytes.fold(0x0198 << 112, |id, byte| (id << 8) ^ u128::from(byte));
            Uuid::from_u128(id).to_string()
        };
        let known = start.activated;
        let id = known.map_or_else(|| of_name(start.name), |known| known.id.clone());
        let state = self.folder.path().join(format!("{}.jsonl", start.name));
        let mut command = Command::new(&kind.program);
        command.args(&kind.arguments).arg("--state").arg(&state);
        command.args(["--shop", start.shop, "--node", &id]);
        if let Some(known) = known {
            let lane = known.lane.to_string();
            command.args(["--lane", &lane, "--series", &known.series]);
        }
        for (name, path) in [
            ("--secret", start.secret),
            ("--certificate", start.certificate),
        ] {
            if let Some(path) = path {
                command.arg(name).arg(path);
            }
        }
        command.args(dial.iter().flat_map(|peer| ["--dial", peer]));
        Python::start(command, id, state)
    }

    /// Lets Python ask the hub for a place in the shop, with a join code.
    pub(super) fn activated(&self, name: &str, join: &[&str]) -> anyhow::Result<Activated> {
        let added: Value = self.hub.command(join)?;
        let code = added["join_code"].as_str().context("no join code")?;
        let folder = self.folder.path().join(name);
        let kind = &self.programs.activate;
        let mut command = Command::new(&kind.program);
        command.args(&kind.arguments).arg(code).arg(&folder);
        let output = command.output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "it is not activated: {words}");
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        Ok(Activated {
            id: text("node").context("no node")?,
            shop: text("shop").context("no shop")?,
            lane: told["lane"].as_i64().context("no lane")?,
            series: format!("L{}", told["epoch"].as_i64().context("no epoch")?),
            folder,
        })
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

    /// Sells: codes, quantities and prices in thousandths. The id of the receipt.
    pub(super) async fn sell(&mut self, goods: &[(&str, i64, i64)]) -> anyhow::Result<String> {
        let sold = |it: &&Value| it["event"] == "sold";
        let before = self.told().iter().filter(sold).count();
        self.write(&json!(goods))?;
        until("it has sold", async || {
            let told = self.told();
            let receipt = told.iter().filter(sold).nth(before);
            Ok(receipt.and_then(|it| it["id"].as_str().map(str::to_owned)))
        })
        .await
    }

    /// Orders a sale, or an entry of its own.
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
            let entry: Value = serde_json::from_str(line)?;
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

    /// Asks for something to be recorded that must be.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        self.daemon.ask(Method::POST, path, None, body).await
    }

    /// Waits until the hub has given it a certificate.
    pub(super) async fn has_a_certificate(&self) -> anyhow::Result<()> {
        until("it has a certificate", async || {
            let status = self.get("/v1/status").await;
            Ok(status["mesh"]["certificate_expires_ms"].as_i64())
        })
        .await?;
        Ok(())
    }

    /// Waits until its level of a product is that, in thousandths.
    pub(super) async fn has_level(&self, sku: &str, milli: i64) -> anyhow::Result<()> {
        let mut last = Value::Null;
        let is_there = until("the level", async || {
            last = self.get(&format!("/v1/stock?sku={sku}")).await;
            Ok((last["levels"][0]["level_milli"] == milli).then_some(()))
        });
        let is_there = is_there.await;
        is_there.with_context(|| format!("not {milli}: {last}"))
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
        let mut last = Value::Null;
        let logged = until("the log has it", async || {
            last = self.get("/v1/logs?limit=10000").await;
            let rows = last.as_array().context("no logs")?;
            let says =
                |row: &Value| row["event"] == *event && row["detail"].to_string().contains(words);
            Ok(rows.iter().any(says).then_some(()))
        });
        let logged = logged.await;
        logged.with_context(|| format!("no {event} with `{words}`: {last}"))
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
