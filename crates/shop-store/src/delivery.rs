//! What has been delivered and what waits. Nothing here is written into the book: a delivery state
//! is derived from watermarks, so an acknowledgement is not a new thing to sync.

use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::lineage::writer_of;
use counterfoil_domain::{DocumentId, Hlc, Priority, Topic};
use counterfoil_migrate::{Connection, params, schema_version};
use counterfoil_protocol::wire::node::{LogRow, ReceiptRow};
use counterfoil_protocol::wire::queue::{QueueRow, Stages};
use std::collections::BTreeMap;

/// Log entries kept; older ones are pruned.
const LOG_ENTRIES_MAX: i64 = 10_000;

const SYNC_STATE_KEY: &str = "sync_state";

/// Who has got how far in this node's journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// The hub has the frames, durably.
    HubReceived,
    /// The hub has consolidated the documents.
    HubConsolidated,
}

impl Reader {
    const fn name(self) -> &'static str {
        match self {
            Self::HubReceived => "hub_received",
            Self::HubConsolidated => "hub_consolidated",
        }
    }
}

/// Sums over the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookTotals {
    /// Sales and refunds.
    pub receipts: i64,
    /// Their sum in minor units.
    pub total_minor: i64,
}

const PEER: &str = "peer_ack";
const CLOUD: &str = "cloud_ack";

/// Takes note of when another lane has the own journal up to a position.
pub(crate) fn note_copied(conn: &Connection, seq: i64, now_ms: i64) -> Result<(), StoreError> {
    note_delivered(conn, PEER, seq, now_ms)
}

/// No other lane has the own journal behind a position.
pub(crate) fn forget_copied(conn: &Connection, seq: i64) -> Result<(), StoreError> {
    forget_delivered(conn, PEER, seq)
}

fn forget_delivered(conn: &Connection, stage: &str, seq: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM local.delivered WHERE stage = ?1 AND seq > ?2";
    conn.execute(sql, params![stage, seq])?;
    Ok(())
}

/// Keeps the time of the first; what is behind it was lost where it was.
fn note_delivered(conn: &Connection, stage: &str, seq: i64, now_ms: i64) -> Result<(), StoreError> {
    forget_delivered(conn, stage, seq)?;
    // What the hub has consolidated waits no longer.
    let sql = "INSERT OR IGNORE INTO local.delivered (stage, seq, at_ms) SELECT ?1, ?2, ?3
               WHERE ?2 > coalesce((SELECT seq FROM local.watermark WHERE reader = ?4), 0)";
    conn.execute(
        sql,
        params![stage, seq, now_ms, Reader::HubConsolidated.name()],
    )?;
    Ok(())
}

/// How far an entry is (P1): the hub has it, another lane has it, or nobody else.
const fn stage(seq: i64, received: i64, copied: i64) -> &'static str {
    if seq <= received {
        CLOUD
    } else if seq <= copied {
        PEER
    } else {
        "pending"
    }
}

impl ShopStore {
    /// The newest journal entry.
    pub fn journal_seq(&self) -> i64 {
        self.head.seq
    }

    /// How far a reader has got.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn watermark(&self, reader: Reader) -> Result<i64, StoreError> {
        let sql = "SELECT seq FROM local.watermark WHERE reader = ?1";
        let seq = self
            .conn
            .query_optional(sql, [reader.name()], |row| row.get(0))?;
        Ok(seq.unwrap_or(0))
    }

    /// Takes note of how far a reader has got; backwards too, for a hub that was restored.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn note(&mut self, reader: Reader, seq: i64, now_ms: i64) -> Result<(), StoreError> {
        self.conn.transaction(|tx| {
            tx.execute(
                "INSERT INTO local.watermark (reader, seq, at_ms) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (reader) DO UPDATE SET seq = excluded.seq, at_ms = excluded.at_ms \
                 WHERE excluded.seq <> seq",
                params![reader.name(), seq, now_ms],
            )?;
            match reader {
                Reader::HubReceived => note_delivered(tx, CLOUD, seq, now_ms),
                Reader::HubConsolidated => {
                    tx.execute("DELETE FROM local.delivered WHERE seq <= ?1", [seq])?;
                    Ok(())
                }
            }
        })
    }

    /// How much of what waits is how far.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn stages(&self) -> Result<Stages, StoreError> {
        let received = self.watermark(Reader::HubReceived)?;
        let consolidated = self.watermark(Reader::HubConsolidated)?;
        let copied = self.peer_marks()?.values().copied().max().unwrap_or(0);
        let copied = copied.max(received);
        Ok(Stages {
            pending: (self.head.seq - copied).max(0),
            peer_ack: copied.min(self.head.seq) - received.min(self.head.seq),
            cloud_ack: (received - consolidated).max(0),
        })
    }

    /// Entries that the hub has not consolidated, most urgent first, then oldest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn queue(&self, limit: i64) -> Result<Vec<QueueRow>, StoreError> {
        let received = self.watermark(Reader::HubReceived)?;
        let consolidated = self.watermark(Reader::HubConsolidated)?;
        let copied = self.peer_marks()?.values().copied().max().unwrap_or(0);
        let waiting = if self.binding.is_some() {
            "pending"
        } else {
            "local"
        };
        let rows = self.conn.query_map(
            "SELECT j.seq, j.id, j.topic, j.priority, j.hlc, \
             (SELECT at_ms FROM local.delivered WHERE stage = ?3 AND seq >= j.seq ORDER BY seq LIMIT 1), \
             (SELECT at_ms FROM local.delivered WHERE stage = ?4 AND seq >= j.seq ORDER BY seq LIMIT 1) \
             FROM journal AS j WHERE j.seq > ?1 ORDER BY j.priority, j.seq LIMIT ?2",
            params![consolidated, limit, PEER, CLOUD],
            |row| {
                let seq: i64 = row.get(0)?;
                let priority = row.get::<i64>(3)?;
                let priority = Priority::ALL
                    .into_iter()
                    .find(|known| known.code() == priority);
                Ok(QueueRow {
                    seq,
                    id: row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
                    terminal: Some(writer_of(&self.formers, self.node, seq)),
                    topic: Topic::from_code(row.get(2)?)
                        .map_or("unknown", Topic::name)
                        .to_owned(),
                    priority: priority.map_or("low", Priority::name).to_owned(),
                    stage: stage(seq, received, copied).to_owned(),
                    state: if seq <= received { "received" } else { waiting }.to_owned(),
                    created_ms: Hlc::from_raw(row.get(4)?).millis(),
                    peer_acked_ms: row.get(5)?,
                    cloud_acked_ms: row.get(6)?,
                    retry_count: 0,
                    last_error: None,
                })
            },
        )?;
        Ok(rows)
    }

    /// Entries that the hub has not received, by priority; those without any are left out.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn pending_by_priority(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let received = self.watermark(Reader::HubReceived)?;
        let sql = "SELECT priority, count(*) FROM journal WHERE seq > ?1 GROUP BY priority";
        let counts = self.conn.query_map(sql, [received], |row| {
            Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
        })?;
        let mut pending = BTreeMap::new();
        for (code, count) in counts {
            let known = Priority::ALL.into_iter().find(|it| it.code() == code);
            *pending
                .entry(known.map_or("low", Priority::name).to_owned())
                .or_insert(0) += count;
        }
        Ok(pending)
    }

    /// Writes something beside the book, durably, while the book is locked for writing: so it is known that a sale
    /// could be recorded now. The book itself is not touched, because every write to it is a thing to send.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn try_writing(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO local.state VALUES ('written_ms', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.conn.transaction(|tx| {
            tx.execute(sql, [now_ms.to_string()])?;
            Ok(())
        })
    }

    /// The schema version of the book; `None` when it has none.
    ///
    /// # Errors
    /// [`StoreError::Schema`].
    pub fn book_schema(&self) -> Result<Option<i32>, StoreError> {
        Ok(schema_version(&self.conn)?)
    }

    /// Catalog edits of this node that are not merged yet.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn pending_edits(&mut self) -> Result<i64, StoreError> {
        Ok(i64::try_from(self.unmerged()?.len()).unwrap_or(i64::MAX))
    }

    /// Count and sum of the receipts in the book.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn totals(&self) -> Result<BookTotals, StoreError> {
        let sql = "SELECT count(*), coalesce(sum(total_minor), 0) FROM receipt";
        Ok(self.conn.query_row(sql, (), |row| {
            Ok(BookTotals {
                receipts: row.get(0)?,
                total_minor: row.get(1)?,
            })
        })?)
    }

    /// Sales and refunds, newest first (L11).
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn receipts(&self, limit: i64, offset: i64) -> Result<Vec<ReceiptRow>, StoreError> {
        Ok(self.conn.query_map(
            "SELECT id, topic, seq, series, number, at_ms, total_minor, trial \
             FROM journal WHERE number IS NOT NULL ORDER BY seq DESC LIMIT ?1 OFFSET ?2",
            params![limit, offset],
            |row| {
                Ok(ReceiptRow {
                    id: row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
                    topic: Topic::from_code(row.get(1)?)
                        .map_or("unknown", Topic::name)
                        .to_owned(),
                    seq: row.get(2)?,
                    series: row.get(3)?,
                    number: row.get(4)?,
                    at_ms: row.get(5)?,
                    total_minor: row.get(6)?,
                    trial: row.get(7)?,
                })
            },
        )?)
    }

    /// Adds a line to the sync log, and removes those older than so many milliseconds.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn log(&mut self, row: &LogRow, keep_ms: i64) -> Result<(), StoreError> {
        self.conn.execute(
            "INSERT INTO local.sync_log (at_ms, level, event, detail) VALUES (?1, ?2, ?3, ?4)",
            params![
                row.at_ms,
                row.level.as_str(),
                row.event.as_str(),
                row.detail.to_string()
            ],
        )?;
        self.conn.execute(
            "DELETE FROM local.sync_log WHERE entry <= (SELECT max(entry) FROM local.sync_log) - ?1
             OR at_ms < ?2",
            params![LOG_ENTRIES_MAX, row.at_ms.saturating_sub(keep_ms)],
        )?;
        Ok(())
    }

    /// The newest lines of the sync log, oldest of them first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn logs(&self, limit: i64) -> Result<Vec<LogRow>, StoreError> {
        let mut rows = self.conn.query_map(
            "SELECT at_ms, level, event, detail FROM local.sync_log ORDER BY entry DESC LIMIT ?1",
            [limit],
            |row| {
                Ok(LogRow {
                    at_ms: row.get(0)?,
                    level: row.get(1)?,
                    event: row.get(2)?,
                    detail: row.get_with(3, |text: String| serde_json::from_str(&text))?,
                })
            },
        )?;
        rows.reverse();
        Ok(rows)
    }

    /// What the node knew about the hub at the end of its last sync, as it was kept.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn sync_state(&self) -> Result<Option<String>, StoreError> {
        self.local_state(SYNC_STATE_KEY)
    }

    /// Keeps what the node knows about the hub.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn keep_sync_state(&mut self, state: &str) -> Result<(), StoreError> {
        self.set_local_state(SYNC_STATE_KEY, state)
    }

    /// Folds the WAL of `local.db` back into its file; nobody reads its frames.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn tidy_local(&self) -> Result<(), StoreError> {
        let sql = "PRAGMA local.wal_checkpoint(TRUNCATE)";
        self.conn.query_map(sql, (), |_| Ok(()))?;
        Ok(())
    }
}
