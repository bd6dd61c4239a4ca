//! Where entries about escrow stand, and what moved such products.

use crate::error::{StoreError, readable};
use crate::open::ShopStore;
use counterfoil_domain::escrow::{Deed, Escrow, deed_of, ended};
use counterfoil_domain::lineage::writer_of;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::stock::{What, effects};
use counterfoil_domain::{Chain, DocumentId, Hlc, NodeId, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How far the own book is looked through: position and chain value.
const UNTIL_KEY: &str = "escrow_until";

/// In the place of a peer's journal: the own book.
const OWN: i64 = 0;

const OWN_ENTRIES: &str = "SELECT j.id, j.hlc, j.seq, j.payload FROM local.escrow_entry AS p
    JOIN main.journal AS j ON j.seq = p.seq WHERE p.sku = ?1 AND p.origin = ?2";

const THEIR_ENTRIES: &str =
    "SELECT e.id, e.hlc, e.seq, e.document, j.node, e.chain, coalesce(b.chain, j.begin_chain)
    FROM local.escrow_entry AS p
    JOIN local.peer_entry AS e ON e.origin = p.origin AND e.seq = p.seq
    JOIN local.peer_journal AS j ON j.origin = p.origin
    LEFT JOIN local.peer_entry AS b ON b.origin = e.origin AND b.seq = e.seq - 1
    WHERE p.sku = ?1 AND p.origin <> ?2";

/// Lines of receipts that were made here behind `?2`, of the codes in `?3`.
const OWN_RECEIPTS: &str =
    "INSERT OR REPLACE INTO local.escrow_line (sku, origin, seq, item, milli)
    SELECT i.sku, ?1, i.key >> 16, i.key & 65535, -i.quantity_milli
    FROM main.receipt_item AS i CROSS JOIN main.journal AS j ON j.seq = i.key >> 16
    WHERE i.key > (?2 + 1) << 16 AND i.sku IN (SELECT value FROM json_each(?3))
      AND j.external_ref IS NULL";

const OWN_MOVEMENTS: &str =
    "INSERT OR REPLACE INTO local.escrow_line (sku, origin, seq, item, milli)
    SELECT sku, ?1, seq, 0, quantity_milli FROM main.stock_movement
    WHERE seq > ?2 AND sku IN (SELECT value FROM json_each(?3)) AND external_ref IS NULL";

/// Codes of products that moved here behind `?1`; lines that are no products have none.
const OWN_MOVED: &str =
    "SELECT sku FROM main.receipt_item WHERE key > (?1 + 1) << 16 AND sku IS NOT NULL
    UNION SELECT sku FROM main.stock_movement WHERE seq > ?1";

/// Codes that were looked at, and whether what moves of them is noted.
pub(crate) type Watched = BTreeMap<String, bool>;

fn their_entry(row: &Row<'_>) -> Result<LaneEntry, SqlError> {
    let chain = |index| -> Result<Chain, SqlError> {
        let bytes: Vec<u8> = row.get(index)?;
        // No entry is whole with this one.
        Ok(Chain::from_slice(&bytes).unwrap_or(Chain::START))
    };
    Ok(LaneEntry {
        origin: row.get_with(4, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?,
        seq: row.get(2)?,
        id: row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
        hlc: Hlc::from_raw(row.get(1)?),
        kind: Topic::Escrow.code(),
        before: chain(6)?,
        chain: chain(5)?,
        document: row.get(3)?,
    })
}

impl ShopStore {
    /// Reads of which products something about escrow is known here.
    pub(crate) fn reload_escrowed(&self) -> Result<(), StoreError> {
        let sql = "SELECT DISTINCT sku FROM local.escrow_entry";
        let known: Vec<String> = self.conn.query_map(sql, (), |row| row.get(0))?;
        self.escrowed.borrow_mut().extend(known);
        match self.follow_escrow() {
            // A till whose disk is full still opens and delivers, and forgets no escrow when there is room again.
            Err(error) if error.is_full() => {
                for (_, sku) in self.own_escrow_entries(0)? {
                    self.escrowed.borrow_mut().insert(sku);
                }
                Ok(())
            }
            followed => followed,
        }
    }

    /// Own entries about escrow behind a position, with the product.
    fn own_escrow_entries(&self, after: i64) -> Result<Vec<(i64, String)>, StoreError> {
        let sql =
            "SELECT seq, payload FROM main.journal WHERE seq > ?1 AND topic = ?2 ORDER BY seq";
        let key = params![after, Topic::Escrow.code()];
        let entries = self.conn.query_map(sql, key, |row| {
            Ok((row.get::<i64>(0)?, row.get::<Option<String>>(1)?))
        })?;
        let product = |(seq, payload): (i64, Option<String>)| {
            // No more of it is read than says which product it is about.
            let value: Value = serde_json::from_str(&payload?).ok()?;
            Some((seq, value.get("sku")?.as_str()?.to_owned()))
        };
        Ok(entries.into_iter().filter_map(product).collect())
    }

    /// Every escrow of a product that anything is known of, also of its end alone.
    pub(super) fn escrows_begun(&self, sku: &str) -> Result<Vec<DocumentId>, StoreError> {
        let (_, codes) = self.codes_of(sku)?;
        self.follow_escrow()?;
        let (deeds, mut known) = self.escrow_deeds(&codes)?;
        known.extend(ended(&deeds));
        known.extend(deeds.iter().filter_map(Deed::of));
        Ok(known.into_iter().collect())
    }

    /// The entries about these products; also own ones that cannot be read, by their ids, until a person has ended the escrow.
    pub(super) fn escrow_deeds(
        &self,
        codes: &BTreeSet<String>,
    ) -> Result<(Vec<Deed>, BTreeSet<DocumentId>), StoreError> {
        let (mut deeds, mut unread) = (Vec::new(), BTreeSet::new());
        let id = |row: &Row<'_>| row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes));
        for code in codes {
            let key = params![code.as_str(), OWN];
            let own = self.conn.query_map(OWN_ENTRIES, key, |row| {
                let payload: Option<String> = row.get(3)?;
                Ok((
                    id(row)?,
                    Hlc::from_raw(row.get(1)?),
                    row.get::<i64>(2)?,
                    payload,
                ))
            })?;
            for (id, hlc, seq, payload) in own {
                let read = payload.as_deref().map(serde_json::from_str::<Escrow>);
                let Some(Ok(escrow)) = read else {
                    unread.insert(id);
                    continue;
                };
                let origin = writer_of(&self.formers, self.node, seq);
                deeds.push(Deed {
                    id,
                    origin,
                    seq,
                    hlc,
                    escrow,
                });
            }
            let key = params![code.as_str(), OWN];
            let theirs = self
                .conn
                .query_map(THEIR_ENTRIES, key, |row| readable(their_entry(row)))?;
            // What is damaged here makes no rights, and is had again from whoever has it.
            let whole = theirs.iter().flatten().filter(|entry| entry.is_whole());
            deeds.extend(whole.filter_map(deed_of));
        }
        let over = ended(&deeds);
        unread.retain(|id| !over.contains(id));
        Ok((deeds, unread))
    }

    /// What a journal moved of a product behind a position, thousandths of the unit; positive came in.
    pub(super) fn moved(
        &self,
        codes: &BTreeSet<String>,
        (node, since): (NodeId, i64),
    ) -> Result<i64, StoreError> {
        let line =
            |row: &Row<'_>| -> Result<(i64, i64), SqlError> { Ok((row.get(0)?, row.get(1)?)) };
        let own =
            "SELECT seq, milli FROM local.escrow_line WHERE sku = ?1 AND origin = ?2 AND seq > ?3";
        let theirs = "SELECT seq, milli FROM local.escrow_line WHERE sku = ?1 AND origin =
                          (SELECT origin FROM local.peer_journal WHERE node = ?2) AND seq > ?3";
        let (mut here, mut there) = (0_i64, 0_i64);
        for code in codes {
            let key = params![code.as_str(), OWN, since];
            for (seq, milli) in self.conn.query_map(own, key, line)? {
                if writer_of(&self.formers, self.node, seq) == node {
                    here = here.saturating_add(milli);
                }
            }
            if node != self.node {
                let key = params![code.as_str(), node.to_bytes(), since];
                for (_, milli) in self.conn.query_map(theirs, key, line)? {
                    there = there.saturating_add(milli);
                }
            }
        }
        // What a former identity wrote stands in the own book, and more of it may have come from others.
        Ok(if node == self.node {
            here
        } else {
            here.min(there)
        })
    }

    /// Notes what the own book has of escrow since it was looked through, or all of it when it is another book.
    pub(super) fn follow_escrow(&self) -> Result<(), StoreError> {
        self.follow_journal(UNTIL_KEY, |after| self.note_own_escrow(after))
    }

    fn note_own_escrow(&self, after: i64) -> Result<(), StoreError> {
        for table in ["escrow_entry", "escrow_line"] {
            let sql = format!("DELETE FROM local.{table} WHERE origin = ?1 AND seq > ?2");
            self.conn.execute(&sql, params![OWN, after])?;
        }
        for (seq, sku) in self.own_escrow_entries(after)? {
            note_entry(&self.conn, &sku, (OWN, seq))?;
            self.escrowed.borrow_mut().insert(sku);
        }
        if self.escrowed.borrow().is_empty() {
            return Ok(());
        }
        let mut watched = Watched::new();
        let mut codes = Vec::new();
        let moved = self
            .conn
            .query_map(OWN_MOVED, [after], |row| readable(row.get::<String>(0)))?;
        // A code that cannot be read is that of no product.
        for code in moved.into_iter().flatten() {
            if self.is_watched(&code, &mut watched)? {
                codes.push(code);
            }
        }
        if !codes.is_empty() {
            let codes = serde_json::to_string(&codes)?;
            for sql in [OWN_RECEIPTS, OWN_MOVEMENTS] {
                self.conn
                    .execute(sql, params![OWN, after, codes.as_str()])?;
            }
        }
        Ok(())
    }

    /// Whether anything about escrow is known of a product, under whatever code.
    fn is_watched(&self, code: &str, watched: &mut Watched) -> Result<bool, StoreError> {
        if let Some(known) = watched.get(code) {
            return Ok(*known);
        }
        let (_, codes) = self.codes_of(code)?;
        let is_watched = !codes.is_disjoint(&self.escrowed.borrow());
        watched.insert(code.to_owned(), is_watched);
        Ok(is_watched)
    }

    /// Notes what an entry of another lane says of escrow, or moves of a product under it.
    pub(crate) fn note_escrow(
        &self,
        (journal, watched): (i64, &mut Watched),
        entry: &LaneEntry,
    ) -> Result<(), StoreError> {
        if let Some(deed) = deed_of(entry) {
            watched.clear();
            note_entry(&self.conn, &deed.escrow.sku, (journal, entry.seq))?;
            self.escrowed.borrow_mut().insert(deed.escrow.sku);
            return Ok(());
        }
        if self.escrowed.borrow().is_empty() {
            return Ok(());
        }
        for effect in effects(entry).0 {
            // What another system's data say was before.
            let What::Moved {
                milli,
                dated_ms: None,
            } = effect.what
            else {
                continue;
            };
            if self.is_watched(&effect.sku, watched)? {
                let sql = "INSERT OR REPLACE INTO local.escrow_line (sku, origin, seq, item, milli)
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                let line = params![effect.sku.as_str(), journal, effect.seq, effect.item, milli];
                self.conn.execute(sql, line)?;
            }
        }
        Ok(())
    }
}

fn note_entry(conn: &Connection, sku: &str, (origin, seq): (i64, i64)) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO local.escrow_entry (sku, origin, seq) VALUES (?1, ?2, ?3)";
    conn.execute(sql, params![sku, origin, seq])?;
    Ok(())
}
