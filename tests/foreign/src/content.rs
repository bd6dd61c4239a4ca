//! What stands in a database file, read by none of the programs that wrote it.

use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who reads.
#[derive(Clone, Debug)]
pub enum Reader {
    /// This process, with libSQL's engine.
    Engine,
    /// `python/reader.py` under this interpreter, with an SQLite that is not libSQL's.
    Python {
        /// The interpreter.
        interpreter: PathBuf,
        /// The script.
        script: PathBuf,
    },
}

impl Reader {
    /// All notes of a sound database, ascending by id. The file is copied first, with its WAL: whoever
    /// has it open is not disturbed.
    ///
    /// # Errors
    /// When the file cannot be read, or is not sound.
    pub async fn notes(&self, database: &Path) -> anyhow::Result<Vec<(i64, String)>> {
        let folder = tempfile::tempdir()?;
        let copy = folder.path().join("copy.db");
        std::fs::copy(database, &copy).with_context(|| database.display().to_string())?;
        let wal = database.with_extension("db-wal");
        if wal.exists() {
            std::fs::copy(&wal, folder.path().join("copy.db-wal"))?;
        }
        let notes = match self {
            Self::Engine => by_engine(&copy).await,
            Self::Python {
                interpreter,
                script,
            } => by_program(Command::new(interpreter).arg(script).arg(&copy)),
        };
        notes.with_context(|| database.display().to_string())
    }

    /// Checks that databases hold the same notes, that many.
    ///
    /// # Errors
    /// When they do not.
    pub async fn same(&self, databases: &[&Path], count: usize) -> anyhow::Result<()> {
        let mut first = None;
        for database in databases {
            let held = self.notes(database).await?;
            let path = database.display();
            ensure!(
                held.len() == count,
                "{path} has {} notes, not {count}",
                held.len()
            );
            let expected = first.get_or_insert_with(|| held.clone());
            ensure!(*expected == held, "{path} has other notes");
        }
        Ok(())
    }
}

async fn by_engine(copy: &Path) -> anyhow::Result<Vec<(i64, String)>> {
    let opened = libsql::Builder::new_local(copy).build().await?;
    let connection = opened.connect()?;
    let mut sound = connection.query("PRAGMA integrity_check", ()).await?;
    let verdict = sound.next().await?.context("no verdict")?;
    let verdict = verdict.get::<String>(0)?;
    ensure!(verdict == "ok", "{verdict}");
    let mut rows = connection
        .query("SELECT id, text FROM note ORDER BY id", ())
        .await?;
    let mut notes = Vec::new();
    while let Some(row) = rows.next().await? {
        notes.push((row.get(0)?, row.get(1)?));
    }
    Ok(notes)
}

fn by_program(command: &mut Command) -> anyhow::Result<Vec<(i64, String)>> {
    let output = command.stdin(Stdio::null()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
