//! Another program that reads a database and takes its time.

use anyhow::Context as _;
use counterfoil_migrate::{Connection, SqlError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Holds a read transaction until it is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Dropped to end it.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads what the database holds now.
    pub(crate) fn of(file: &Path) -> anyhow::Result<Self> {
        let (stop, stopped) = channel();
        let (begun, begins) = channel();
        let file = file.to_owned();
        let thread = std::thread::spawn(move || {
            let failed = read(&file, &begun, &stopped).err();
            // Nobody waits for it any more when the reading itself went well.
            drop(begun.send(failed.map_or(Ok(()), Err)));
        });
        let reader = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        begins.recv().context("the reader is gone")??;
        Ok(reader)
    }
}

fn read(
    file: &PathBuf,
    begun: &Sender<anyhow::Result<()>>,
    stopped: &Receiver<()>,
) -> anyhow::Result<()> {
    let database = Connection::open_read_only(file)?;
    database.snapshot(|database| -> Result<(), SqlError> {
        let _tables: i64 = database.query_value("SELECT count(*) FROM sqlite_schema", ())?;
        let told = begun.send(Ok(()));
        if told.is_ok() {
            // An error says that the other end was dropped, which is the sign.
            stopped.recv().ok();
        }
        Ok(())
    })?;
    Ok(())
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by it.
            thread.join().ok();
        }
    }
}
