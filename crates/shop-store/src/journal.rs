//! Reading the own journal back: each entry with its document in the form that its chain value covers.

use crate::error::{StoreError, readable};
use crate::open::ShopStore;
use counterfoil_book::BookError;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Chain, Document, DocumentId, Hlc, Topic};
use counterfoil_migrate::{Row, SqlError, params};

const CORRUPT: StoreError = StoreError::Corrupt {
    what: "an entry of the journal",
};

/// A row of the journal.
struct Head {
    seq: i64,
    id: DocumentId,
    hlc: Hlc,
    kind: i64,
    chain: Option<Chain>,
    payload: Option<String>,
}

impl Head {
    fn of(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
            hlc: Hlc::from_raw(row.get(2)?),
            kind: row.get(3)?,
            chain: Chain::from_slice(&row.get::<Vec<u8>>(4)?),
            payload: row.get(5)?,
        })
    }
}

impl ShopStore {
    /// Own entries behind a position, which follows on `before`: at most so many, and no more once so many bytes are
    /// read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the first of them is not what was chained; entries before such a one are given.
    pub(crate) fn own_entries(
        &self,
        (after, mut before): (i64, Chain),
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<LaneEntry>, StoreError> {
        let sql = "SELECT seq, id, hlc, topic, chain, payload FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let heads = self
            .conn
            .query_map(sql, params![after, limit], |row| readable(Head::of(row)))?;
        let (mut entries, mut read) = (Vec::new(), 0);
        for head in heads {
            if read >= bytes {
                break;
            }
            let entry = head.ok_or(CORRUPT);
            match entry.and_then(|head| self.own_entry(&head, before)) {
                Ok(entry) => {
                    before = entry.chain;
                    read += entry.size();
                    entries.push(entry);
                }
                Err(StoreError::Corrupt { .. }) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    /// A document of the own journal; `None` when it is damaged.
    pub(crate) fn own_document(
        &self,
        topic: Topic,
        seq: i64,
        payload: Option<&str>,
    ) -> Result<Option<Document>, StoreError> {
        match counterfoil_book::document(&self.conn, topic, seq, payload) {
            Err(BookError::Sql(error)) => Ok(readable(Err(error))?),
            Err(BookError::Json(_)) => Ok(None),
            Ok(document) => Ok(document),
        }
    }

    /// Has what is derived from the own book follow it, as far as that has grown since the last call with this key; from its
    /// beginning when it is another book. `note` derives what stands behind a position, and drops what was derived of that.
    pub(crate) fn follow_journal(
        &self,
        key: &str,
        note: impl FnOnce(i64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let newest = "SELECT coalesce(max(seq), 0) FROM main.journal";
        let newest: i64 = self.conn.query_value(newest, ())?;
        let known = self.followed_until(key)?;
        let fits = self.chain_at(known.seq)? == Some(known.chain);
        if fits && known.seq == newest {
            return Ok(());
        }
        let follow = || {
            note(if fits { known.seq } else { 0 })?;
            let chain = self.chain_at(newest)?.unwrap_or(Chain::START);
            self.set_local_state(key, &format!("{newest} {chain}"))
        };
        match self.conn.is_autocommit() {
            true => self.conn.transaction(|_| follow()),
            // Within the transaction that may have written the newest entries, and is taken back with them.
            false => follow(),
        }
    }

    fn followed_until(&self, key: &str) -> Result<Point, StoreError> {
        let text = self.local_state(key)?;
        // What cannot be read is derived again.
        let read = |text: &str| -> Option<Point> {
            let (seq, chain) = text.split_once(' ')?;
            let chain = serde_json::from_value::<Chain>(chain.into()).ok()?;
            let seq = seq.parse().ok()?;
            Some(Point { seq, chain })
        };
        Ok(text.as_deref().and_then(read).unwrap_or(Point::START))
    }

    fn own_entry(&self, head: &Head, before: Chain) -> Result<LaneEntry, StoreError> {
        let topic = Topic::from_code(head.kind).ok_or(CORRUPT)?;
        let document = self.own_document(topic, head.seq, head.payload.as_deref())?;
        let canonical = document.ok_or(CORRUPT)?.canonical();
        let entry = LaneEntry {
            origin: self.node,
            seq: head.seq,
            id: head.id,
            hlc: head.hlc,
            kind: head.kind,
            before,
            chain: head.chain.ok_or(CORRUPT)?,
            document: String::from_utf8(canonical).map_err(|_| CORRUPT)?,
        };
        if entry.is_whole() {
            return Ok(entry);
        }
        Err(CORRUPT)
    }
}
