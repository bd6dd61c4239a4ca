//! What the lanes of a shop hold of each other's journals (ADR 0015): own entries are read from the book, those of
//! others stand in `local.db` as they came.

use crate::delivery::{forget_copied, note_copied};
use crate::error::{StoreError, readable};
use crate::escrow::Watched;
use crate::open::ShopStore;
use crate::parked::note_parked;
use crate::refunds::note_refund;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::mesh::{Holding, LaneEntry, Place};
use counterfoil_domain::{Chain, DocumentId, Hlc, NodeId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use std::collections::BTreeMap;

mod mend;

const CORRUPT: StoreError = StoreError::Corrupt {
    what: "what is held of another lane's journal",
};

/// Before the id of a peer in the table of watermarks.
const READER_PREFIX: &str = "peer:";

/// A peer's journal as it stands in `local.db`.
struct Journal {
    origin: i64,
    holding: Holding,
}

/// Where the certificate is kept by which other lanes know this one.
const CERTIFICATE_KEY: &str = "lane_certificate";
/// Where the lists of revoked lanes are kept, behind the key of the authority and the number of the newest.
const REVOCATIONS_KEY: &str = "lane_revocations";

/// Why no more entries are read.
enum Reading {
    /// As many as fit were read.
    Full,
    /// What follows is not what was chained.
    Broken,
    Sql(SqlError),
}

impl From<SqlError> for Reading {
    fn from(error: SqlError) -> Self {
        match readable::<()>(Err(error)) {
            // No entry was kept with a value like that.
            Ok(_) => Self::Broken,
            Err(error) => Self::Sql(error),
        }
    }
}

impl ShopStore {
    /// The certificate by which other lanes know this one, as it was kept.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn lane_certificate(&self) -> Result<Option<String>, StoreError> {
        self.local_state(CERTIFICATE_KEY)
    }

    /// Keeps the certificate by which other lanes know this one.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn keep_lane_certificate(&mut self, text: &str) -> Result<(), StoreError> {
        self.set_local_state(CERTIFICATE_KEY, text)
    }

    /// Forgets it, and the lists of revoked lanes.
    pub(crate) fn forget_lane_certificate(&mut self) -> Result<(), StoreError> {
        self.remove_local_state(CERTIFICATE_KEY)?;
        self.remove_local_state(REVOCATIONS_KEY)
    }

    /// The lists of revoked lanes, as they were kept.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn lane_revocations(&self) -> Result<Option<String>, StoreError> {
        let kept = self.local_state(REVOCATIONS_KEY)?;
        Ok(kept.and_then(|kept| Some(kept.split_once(' ')?.1.to_owned())))
    }

    /// Keeps the lists of revoked lanes, unless newer ones of the same authority are kept; whether it did. Two lists may
    /// come at the same time, and the older one be here last.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn keep_lane_revocations(
        &mut self,
        (authority, number): (&str, i64),
        text: &str,
    ) -> Result<bool, StoreError> {
        let newer = |kept: String| {
            let (of, kept) = kept.split_once(' ')?.0.split_once('/')?;
            Some(of == authority && kept.parse::<i64>().ok()? > number)
        };
        if self.local_state(REVOCATIONS_KEY)?.and_then(newer) == Some(true) {
            return Ok(false);
        }
        let kept = format!("{authority}/{number} {text}");
        self.set_local_state(REVOCATIONS_KEY, &kept)?;
        Ok(true)
    }

    /// What is held of every journal of the shop: the own one as far as it belongs to the present identity, and those of
    /// peers, but for lanes of a trial shop that were left and not met again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn holdings(&self) -> Result<BTreeMap<NodeId, Holding>, StoreError> {
        let mut holdings = self.without_left(self.peer_holdings()?)?;
        // A book that was restored is known to its peers, who may hold more of it.
        holdings.insert(self.node, self.own_holding());
        Ok(holdings)
    }

    /// What is held of peers' journals.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn peer_holdings(&self) -> Result<BTreeMap<NodeId, Holding>, StoreError> {
        let sql = "SELECT node, origin, begin_seq, begin_chain, end_seq, end_chain FROM local.peer_journal";
        let rows = self.conn.query_map(sql, (), |row| {
            let node = row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?;
            Ok((node, journal(row)?))
        })?;
        let mut holdings = BTreeMap::new();
        for (node, journal) in rows {
            holdings.insert(node, journal.ok_or(CORRUPT)?.holding);
        }
        Ok(holdings)
    }

    /// The chain value of an entry of a peer's journal; `None` when it is not held.
    pub(crate) fn peer_chain(&self, origin: NodeId, seq: i64) -> Result<Option<Chain>, StoreError> {
        let sql = "SELECT e.chain FROM local.peer_journal AS j
                   JOIN local.peer_entry AS e ON e.origin = j.origin AND e.seq = ?2 WHERE j.node = ?1";
        let key = params![origin.to_bytes(), seq];
        let found = self.conn.query_optional(sql, key, |row| row.get(0))?;
        let chain = |bytes: Vec<u8>| Chain::from_slice(&bytes).ok_or(CORRUPT);
        found.map(chain).transpose()
    }

    /// The own journal: what is common with a former identity stays that one's.
    pub fn own_holding(&self) -> Holding {
        let begin = self.formers.last().map_or(Point::START, |it| it.common);
        let end = match self.end() {
            end if end.seq < begin.seq => begin,
            end => end,
        };
        Holding { begin, end }
    }

    /// Entries of a journal behind a position, as many as fit.
    ///
    /// # Errors
    /// [`StoreError::Gap`] when the journal is not held so far back, [`StoreError::Corrupt`] when what follows is
    /// not what was chained.
    pub fn lane_entries(
        &self,
        origin: NodeId,
        after: i64,
        room: Window,
    ) -> Result<Vec<LaneEntry>, StoreError> {
        let gap = || StoreError::Gap { origin, seq: after };
        if origin == self.node {
            if after < self.own_holding().begin.seq {
                return Err(gap());
            }
            let Some(chain) = self.chain_at(after)? else {
                return Err(gap());
            };
            return self.own_entries((after, chain), room.messages, room.bytes);
        }
        let journal = self.peer_journal(origin)?.ok_or_else(gap)?;
        if !(journal.holding.begin.seq..=journal.holding.end.seq).contains(&after) {
            return Err(gap());
        }
        self.peer_entries(origin, &journal, after, room)
    }

    fn peer_entries(
        &self,
        origin: NodeId,
        journal: &Journal,
        after: i64,
        room: Window,
    ) -> Result<Vec<LaneEntry>, StoreError> {
        let begin = journal.holding.begin;
        let mut before = begin.chain;
        if after != begin.seq {
            let sql = "SELECT chain FROM local.peer_entry WHERE origin = ?1 AND seq = ?2";
            let key = params![journal.origin, after];
            let found = self
                .conn
                .query_optional(sql, key, |row| readable(row.get(0)))?;
            let bytes: Vec<u8> = found.flatten().ok_or(CORRUPT)?;
            before = Chain::from_slice(&bytes).ok_or(CORRUPT)?;
        }
        self.entries_behind(origin, journal, (after, before), room)
    }

    fn entries_behind(
        &self,
        origin: NodeId,
        journal: &Journal,
        (after, mut before): (i64, Chain),
        room: Window,
    ) -> Result<Vec<LaneEntry>, StoreError> {
        let sql = "SELECT seq, id, hlc, kind, chain, document FROM local.peer_entry
                   WHERE origin = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let limit = i64::try_from(room.messages).unwrap_or(i64::MAX);
        let (mut entries, mut read) = (Vec::new(), 0);
        let key = params![journal.origin, after, limit];
        let ended = self.conn.query_each(sql, key, |row| {
            // What does not fit is not read.
            if read >= room.bytes {
                return Err(Reading::Full);
            }
            let chain = Chain::from_slice(&row.get::<Vec<u8>>(4)?);
            let entry = LaneEntry {
                origin,
                seq: row.get(0)?,
                id: row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
                hlc: Hlc::from_raw(row.get(2)?),
                kind: row.get(3)?,
                before,
                chain: chain.unwrap_or(Chain::START),
                document: row.get(5)?,
            };
            if !entry.is_whole() {
                return Err(Reading::Broken);
            }
            before = entry.chain;
            read += entry.size();
            entries.push(entry);
            Ok(())
        });
        match ended {
            Err(Reading::Sql(error)) => return Err(error.into()),
            Err(Reading::Broken) if entries.is_empty() => return Err(CORRUPT),
            Ok(()) | Err(Reading::Full | Reading::Broken) => {}
        }
        Ok(entries)
    }

    /// Keeps entries of another lane's journal: all or none, durable when this returns. Those that are held already
    /// change nothing, but take the place of what is damaged ([`Self::expect_again`]). `begin` is where the journal begins, for one of which nothing is held.
    ///
    /// # Errors
    /// [`StoreError::Forked`], [`StoreError::Gap`], [`StoreError::Sql`]; nothing was kept.
    pub fn keep_entries(
        &mut self,
        origin: NodeId,
        begin: Point,
        entries: &[LaneEntry],
    ) -> Result<Holding, StoreError> {
        let known = self.peer_journal(origin)?;
        let held = known
            .as_ref()
            .map_or(Holding::empty(begin), |it| it.holding);
        let mut holding = held;
        let (mut fresh, mut again) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            let seq = entry.seq;
            match holding.place(entry) {
                Place::Known => again.push(entry),
                Place::Next => {
                    holding.end = entry.point();
                    fresh.push(entry);
                }
                Place::Ahead => return Err(StoreError::Gap { origin, seq }),
                Place::Forked => return Err(StoreError::Forked { origin, seq }),
            }
        }
        self.meet_again(origin)?;
        if let Some(journal) = &known {
            let mended = self.mend(origin, journal, &again)?;
            if mended > 0 {
                tracing::info!(%origin, entries = mended, "a damaged journal of another lane was mended");
            }
        }
        if fresh.is_empty() {
            return Ok(held);
        }
        if known.is_none() {
            self.know_peer(origin)?;
        }
        self.conn.transaction(|tx| -> Result<(), StoreError> {
            let row = note_journal(tx, origin, holding)?;
            let mut watched = Watched::new();
            for entry in &fresh {
                insert_entry(tx, row, entry)?;
                note_refund(tx, row, entry)?;
                note_parked(tx, row, entry)?;
                self.note_escrow((row, &mut watched), entry)?;
            }
            self.show_entries(row, &fresh)
        })?;
        Ok(holding)
    }

    fn peer_journal(&self, origin: NodeId) -> Result<Option<Journal>, StoreError> {
        let sql = "SELECT node, origin, begin_seq, begin_chain, end_seq, end_chain FROM local.peer_journal
                   WHERE node = ?1";
        let found = self
            .conn
            .query_optional(sql, [origin.to_bytes()], journal)?;
        found.map(|journal| journal.ok_or(CORRUPT)).transpose()
    }

    /// How far each peer has the own journal, durably, as far as it has told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn peer_marks(&self) -> Result<BTreeMap<NodeId, i64>, StoreError> {
        let sql = "SELECT substr(reader, length(?1) + 1), seq FROM local.watermark
                   WHERE reader >= ?1 AND reader < ?1 || '~'";
        let rows = self.conn.query_map(sql, [READER_PREFIX], |row| {
            Ok((row.get_with(0, |text: String| text.parse())?, row.get(1)?))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Takes note of how far peers have the journal of `origin`; backwards too, for one that lost what it had. Nothing
    /// is noted when that is not the own journal any more.
    ///
    /// # Errors
    /// [`StoreError::Sql`]; nothing was noted.
    pub fn note_peers(
        &mut self,
        origin: NodeId,
        marks: &BTreeMap<NodeId, i64>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if origin != self.node {
            return Ok(());
        }
        let sql = "INSERT INTO local.watermark (reader, seq, at_ms) VALUES (?1, ?2, ?3)
                   ON CONFLICT (reader) DO UPDATE SET seq = excluded.seq, at_ms = excluded.at_ms
                   WHERE excluded.seq <> seq";
        self.conn.transaction(|tx| {
            for (peer, seq) in marks {
                tx.execute(sql, params![format!("{READER_PREFIX}{peer}"), *seq, now_ms])?;
            }
            let sql = "SELECT coalesce(max(seq), 0) FROM local.watermark
                       WHERE reader >= ?1 AND reader < ?1 || '~'";
            let copied = tx.query_value(sql, [READER_PREFIX])?;
            note_copied(tx, copied, now_ms)
        })
    }

    /// Peers have no more of the book than there is: what they had of a lost end is not what comes in its place.
    pub(crate) fn lower_peer_marks(&self) -> Result<(), StoreError> {
        let sql = "UPDATE local.watermark SET seq = ?2
                   WHERE reader >= ?1 AND reader < ?1 || '~' AND seq > ?2";
        self.conn
            .execute(sql, params![READER_PREFIX, self.head.seq])?;
        forget_copied(&self.conn, self.head.seq)
    }

    /// What peers have belongs to another journal from here on.
    pub(crate) fn forget_peer_marks(&self) -> Result<(), StoreError> {
        let sql = "DELETE FROM local.watermark WHERE reader >= ?1 AND reader < ?1 || '~'";
        self.conn.execute(sql, [READER_PREFIX])?;
        forget_copied(&self.conn, 0)
    }
}

fn journal(row: &Row<'_>) -> Result<Option<Journal>, SqlError> {
    let point = |index: usize| -> Result<Option<Point>, SqlError> {
        let seq = row.get(index)?;
        let chain = Chain::from_slice(&row.get::<Vec<u8>>(index + 1)?);
        Ok(chain.map(|chain| Point { seq, chain }))
    };
    let origin = row.get(1)?;
    let ends = point(2)?.zip(point(4)?);
    Ok(ends.map(|(begin, end)| Journal {
        origin,
        holding: Holding { begin, end },
    }))
}

/// The number of the journal.
fn note_journal(conn: &Connection, origin: NodeId, holding: Holding) -> Result<i64, SqlError> {
    let Holding { begin, end } = holding;
    let sql = "INSERT INTO local.peer_journal (node, begin_seq, begin_chain, end_seq, end_chain)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (node) DO UPDATE SET end_seq = excluded.end_seq, end_chain = excluded.end_chain
               RETURNING origin";
    let row = params![
        origin.to_bytes(),
        begin.seq,
        begin.chain.as_bytes().to_vec(),
        end.seq,
        end.chain.as_bytes().to_vec()
    ];
    conn.query_value(sql, row)
}

fn insert_entry(conn: &Connection, journal: i64, entry: &LaneEntry) -> Result<(), SqlError> {
    let sql = "INSERT INTO local.peer_entry (origin, seq, id, hlc, kind, chain, document)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        journal,
        entry.seq,
        entry.id.to_bytes(),
        entry.hlc.raw(),
        entry.kind,
        entry.chain.as_bytes().to_vec(),
        entry.document.as_str()
    ];
    conn.execute(sql, row)?;
    Ok(())
}
