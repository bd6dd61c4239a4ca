//! A stock client in a process of its own.

use crate::hub::Access;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a client is asked, one line of JSON; `javascript/client.js` and `python/client.py` read it too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Opens a replica.
    Open {
        /// Its file.
        path: PathBuf,
        /// Where it syncs.
        url: String,
        /// What it shows there.
        token: String,
    },
    /// Carries out a statement and commits.
    Run {
        /// The statement.
        sql: String,
    },
    /// Asks for one whole number.
    Number {
        /// The query.
        sql: String,
    },
    /// Pushes what is new here, or pulls what is new there.
    Sync,
}

/// A kind of stock client: how its program is started.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name for people.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<PathBuf>,
}

/// A running client with one replica.
pub struct Client {
    /// The replica's file.
    pub path: PathBuf,
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Starts a client on a folder of its own.
    ///
    /// # Errors
    /// When the program does not start, or cannot open the replica.
    pub fn start(kind: &Kind, folder: &Path, access: &Access) -> anyhow::Result<Self> {
        let mut client = Self::idle(kind, folder)?;
        client.open(access)?;
        Ok(client)
    }

    /// Starts a client that has nothing open yet.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn idle(kind: &Kind, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut process = Command::new(&kind.program)
            .args(&kind.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", kind.program.display()))?;
        let requests = process.stdin.take();
        let answers = process.stdout.take().context("no standard output")?;
        Ok(Self {
            path: folder.join("notes.db"),
            process,
            requests,
            answers: BufReader::new(answers),
        })
    }

    /// Opens the replica.
    ///
    /// # Errors
    /// What the client reports.
    pub fn open(&mut self, access: &Access) -> anyhow::Result<()> {
        let open = Request::Open {
            path: self.path.clone(),
            url: access.sync_url.clone(),
            token: access.auth_token.clone(),
        };
        self.ask(&open).map(|_| ())
    }

    /// Carries out a statement.
    ///
    /// # Errors
    /// What the client reports.
    pub fn run(&mut self, sql: &str) -> anyhow::Result<()> {
        let sql = sql.to_owned();
        self.ask(&Request::Run { sql }).map(|_| ())
    }

    /// Writes that many notes in one transaction.
    ///
    /// # Errors
    /// What the client reports.
    pub fn write(&mut self, notes: u32) -> anyhow::Result<()> {
        self.run(&format!(
            "WITH RECURSIVE counter (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < {notes})
             INSERT INTO note (text) SELECT hex(randomblob(200)) FROM counter"
        ))
    }

    /// How many notes the replica has.
    ///
    /// # Errors
    /// What the client reports.
    pub fn count(&mut self) -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM note".to_owned();
        let number = self.ask(&Request::Number { sql })?;
        number.as_i64().context("not a number")
    }

    /// Syncs.
    ///
    /// # Errors
    /// What the client reports.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.ask(&Request::Sync).map(|_| ())
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Value> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        let requests = self.requests.as_mut().context("the client has ended")?;
        requests.write_all(line.as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let mut answer: Value = serde_json::from_str(&answer)
            .with_context(|| format!("the client answered {request:?} with `{answer}`"))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{error}");
        }
        Ok(answer["ok"].take())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Without input it ends by itself, and closes its database.
        drop(self.requests.take());
        // The test is over; its result does not depend on how the client ended.
        self.process.wait().ok();
    }
}
