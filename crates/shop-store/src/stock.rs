//! Counting stock: what the journals of the shop say of each product goes into the levels of `local.db`, each entry once.
//!
//! A sale does not wait for it: the book alone is written then, and counted a moment later. What is counted is derived, and where
//! it does not fit the journals any more (a book that was restored, another identity) it is counted anew.

use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::stock::{Count, Effect, Movement, Seen, SeenLane, What, effects};
use counterfoil_domain::{Chain, Document, Hlc, NodeId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use std::collections::{BTreeMap, BTreeSet};

const CORRUPT: StoreError = StoreError::Corrupt {
    what: "the levels of stock",
};

/// Bytes of entries that are counted at a time, give or take one: sales wait meanwhile.
const BATCH_BYTES: usize = 256 * 1024;

/// What became of a round of counting.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// Entries that were counted.
    pub entries: usize,
    /// Entries that are held here and not counted yet.
    pub behind: i64,
    /// Products of which more was sold than somebody had counted, since this round.
    pub oversold: BTreeSet<String>,
    /// Journals that cannot be counted any further, because what is held of them is damaged.
    pub unreadable: BTreeSet<NodeId>,
}

/// A journal of the shop, or what one identity of this book has of it.
struct Source {
    node: NodeId,
    holding: Holding,
    /// Where its entries stand.
    is_own: bool,
}

impl Source {
    /// How far it is counted.
    fn counted(&self, progress: &BTreeMap<NodeId, Point>) -> Point {
        let begin = self.holding.begin;
        let known = progress.get(&self.node).copied();
        known
            .filter(|known| known.seq >= begin.seq)
            .unwrap_or(begin)
    }
}

impl ShopStore {
    /// Counts entries that are held and not counted yet, at most so many.
    ///
    /// # Errors
    /// [`StoreError`]; what was counted before stays.
    pub fn count_stock(&mut self, limit: usize, now_ms: i64) -> Result<Counted, StoreError> {
        let sources = self.sources()?;
        let mut progress = self.progress()?;
        if !self.fits(&sources, &progress)? {
            self.forget_stock()?;
            progress.clear();
        }
        let mut counted = Counted::default();
        let (mut unfinished, mut bytes) = (BTreeSet::new(), 0);
        for source in &sources {
            let done = source.counted(&progress);
            let left = source.holding.end.seq - done.seq;
            let room = Window {
                messages: limit - counted.entries,
                bytes: BATCH_BYTES.saturating_sub(bytes),
            };
            // What one identity wrote is counted in its order, wherever the parts of it stand.
            let is_next = unfinished.insert(source.node) && room.messages > 0 && room.bytes > 0;
            if left <= 0 {
                unfinished.remove(&source.node);
                continue;
            }
            if !is_next {
                counted.behind += left;
                continue;
            }
            let read = self.entries_of(source, done, room);
            let end = read.and_then(|entries| {
                bytes += entries.iter().map(LaneEntry::size).sum::<usize>();
                counted.entries += entries.len();
                let twins = self.twins(source, &entries, (&sources, &progress))?;
                self.count_entries(source.node, &entries, &twins, now_ms)?;
                Ok(entries.last().map_or(done, LaneEntry::point))
            });
            let end = match end {
                Ok(end) => end,
                Err(error @ StoreError::Sql(_)) => return Err(error),
                // It holds up no other journal.
                Err(error) => {
                    tracing::debug!(%error, node = %source.node, "a journal cannot be counted any further");
                    counted.unreadable.insert(source.node);
                    done
                }
            };
            progress.insert(source.node, end);
            counted.behind += source.holding.end.seq - end.seq;
            if end.seq == source.holding.end.seq {
                unfinished.remove(&source.node);
            }
        }
        if counted.behind == 0 || counted.entries == 0 {
            counted.oversold = self.take_oversold()?;
        }
        Ok(counted)
    }

    /// What went below zero since it was told last, and is there still.
    fn take_oversold(&mut self) -> Result<BTreeSet<String>, StoreError> {
        let mut oversold = std::mem::take(&mut self.oversold);
        let mut gone = BTreeSet::new();
        for sku in &oversold {
            let is_oversold = level(&self.conn, sku)?.is_some_and(|milli| milli < 0);
            if !is_oversold {
                gone.insert(sku.clone());
            }
        }
        oversold.retain(|sku| !gone.contains(sku));
        Ok(oversold)
    }

    /// The journals of the shop, in parts that stand in one place each: first what the own book holds, under the identities
    /// that wrote it.
    fn sources(&self) -> Result<Vec<Source>, StoreError> {
        let mut sources = Vec::new();
        let mut begin = Point::START;
        for (index, former) in self.formers.iter().enumerate() {
            // A later identity may have gone on from before.
            let later = self.formers.iter().skip(index).map(|it| it.common);
            let end = later
                .min_by_key(|common| common.seq)
                .unwrap_or(former.common);
            if end.seq > begin.seq {
                let holding = Holding { begin, end };
                let (node, is_own) = (former.node, true);
                sources.push(Source {
                    node,
                    holding,
                    is_own,
                });
                begin = end;
            }
        }
        sources.push(Source {
            node: self.node,
            holding: self.own_holding(),
            is_own: true,
        });
        for (node, mut holding) in self.peer_holdings()? {
            if node == self.node {
                continue;
            }
            // What a former identity wrote up to where this one went on stands in the own book.
            let own = sources.iter().find(|source| source.node == node);
            if let Some(own) = own
                .map(|own| own.holding.end)
                .filter(|own| own.seq > holding.begin.seq)
            {
                if own.seq >= holding.end.seq {
                    continue;
                }
                holding.begin = own;
            }
            sources.push(Source {
                node,
                holding,
                is_own: false,
            });
        }
        Ok(sources)
    }

    fn entries_of(
        &self,
        source: &Source,
        after: Point,
        room: Window,
    ) -> Result<Vec<LaneEntry>, StoreError> {
        if !source.is_own {
            return self.lane_entries(source.node, after.seq, room);
        }
        let left = usize::try_from(source.holding.end.seq - after.seq).unwrap_or(usize::MAX);
        let from = (after.seq, after.chain);
        let mut entries = self.own_entries(from, room.messages.min(left), room.bytes)?;
        for entry in &mut entries {
            entry.origin = source.node;
        }
        Ok(entries)
    }

    /// Counts entries of one journal in one transaction, but those that are counted already.
    fn count_entries(
        &mut self,
        node: NodeId,
        entries: &[LaneEntry],
        twins: &BTreeSet<i64>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let oversold = self.conn.transaction(|tx| -> Result<_, StoreError> {
            let origin = note_progress(tx, node, last.point())?;
            let mut ledger = Ledger {
                conn: tx,
                origin,
                node,
                now_ms,
                oversold: BTreeSet::new(),
            };
            for entry in entries {
                ledger.count(entry, twins.contains(&entry.seq))?;
            }
            Ok(ledger.oversold)
        })?;
        self.oversold.extend(oversold);
        Ok(())
    }

    /// Positions of entries that are counted already under another name: journals that went on from one book have them in
    /// common. Chain values tell, and where two journals differ once, they differ from there on.
    fn twins(
        &self,
        source: &Source,
        entries: &[LaneEntry],
        (sources, progress): (&[Source], &BTreeMap<NodeId, Point>),
    ) -> Result<BTreeSet<i64>, StoreError> {
        let mut twins = BTreeSet::new();
        for other in sources.iter().filter(|other| other.node != source.node) {
            let counted = progress.get(&other.node).map_or(0, |point| point.seq);
            let Holding { begin, end } = other.holding;
            let both = entries
                .iter()
                .filter(|entry| entry.seq > begin.seq && entry.seq <= end.seq.min(counted));
            for entry in both {
                if self.chain_in(other, entry.seq)? != Some(entry.chain) {
                    break;
                }
                twins.insert(entry.seq);
            }
        }
        Ok(twins)
    }

    fn chain_in(&self, source: &Source, seq: i64) -> Result<Option<Chain>, StoreError> {
        match source {
            Source { holding, .. } if holding.begin.seq == seq => Ok(Some(holding.begin.chain)),
            Source { is_own: true, .. } => self.chain_at(seq),
            Source { node, .. } => self.peer_chain(*node, seq),
        }
    }

    fn progress(&self) -> Result<BTreeMap<NodeId, Point>, StoreError> {
        let sql = "SELECT node, seq, chain FROM local.stock_journal";
        let rows = self.conn.query_map(sql, (), |row| {
            let node = row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?;
            let chain = Chain::from_slice(&row.get::<Vec<u8>>(2)?);
            Ok((node, row.get(1)?, chain))
        })?;
        let mut progress = BTreeMap::new();
        for (node, seq, chain) in rows {
            let chain = chain.ok_or(CORRUPT)?;
            progress.insert(node, Point { seq, chain });
        }
        Ok(progress)
    }

    /// Whether what is counted is of these journals: each one counted to an entry that stands there still.
    fn fits(
        &self,
        sources: &[Source],
        progress: &BTreeMap<NodeId, Point>,
    ) -> Result<bool, StoreError> {
        for (node, point) in progress {
            let mut of_node = sources.iter().filter(|source| source.node == *node);
            let holds = of_node.find(|source| {
                let Holding { begin, end } = source.holding;
                (begin.seq..=end.seq).contains(&point.seq)
            });
            let found = match holds {
                None => None,
                Some(source) => self.chain_in(source, point.seq)?,
            };
            if found != Some(point.chain) {
                tracing::info!(%node, seq = point.seq, "stock is counted anew: a journal is not the one that was counted");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts nothing as counted.
    ///
    /// # Errors
    /// [`StoreError::Sql`]; nothing was changed.
    pub(crate) fn forget_stock(&mut self) -> Result<(), StoreError> {
        self.conn.transaction(|tx| -> Result<(), StoreError> {
            for table in [
                "stock_seen",
                "stock_level",
                "inventory_changes",
                "stock_journal",
            ] {
                tx.execute(&format!("DELETE FROM local.{table}"), ())?;
            }
            Ok(())
        })
    }

    /// What a count that is recorded now says of the others' journals: what is held of each, and which lanes are connected, as far
    /// as that differs from what the count before said; and where it stands when a count with a later time is known. Nothing
    /// in a book whose schema has no place for it.
    pub(crate) fn seen(
        &self,
        (sku, hlc): (&str, Hlc),
        said: &BTreeMap<NodeId, SeenLane>,
    ) -> Result<Option<Seen>, StoreError> {
        let mut held: BTreeMap<NodeId, i64> =
            said.iter().map(|(node, lane)| (*node, lane.seq)).collect();
        let formers = self
            .formers
            .iter()
            .map(|former| (former.node, former.common.seq));
        let peers = self.peer_holdings()?.into_iter();
        for (node, seq) in formers.chain(peers.map(|(node, holding)| (node, holding.end.seq))) {
            // What was seen once was there, whatever became of it here.
            let known = held.entry(node).or_insert(seq);
            *known = (*known).max(seq);
        }
        let connected = (self.connected)();
        let lanes = held.into_iter().filter(|(node, _)| *node != self.node);
        let lanes = lanes.map(|(node, seq)| SeenLane {
            node,
            seq,
            connected: connected.contains(&node),
        });
        let news = lanes
            .filter(|lane| said.get(&lane.node) != Some(lane))
            .collect();
        let known = self.latest_count(sku)?;
        let place = known.filter(|known| *known >= hlc).map(Hlc::next);
        let seen = Seen {
            place: place.map(|place| place.raw().to_string()),
            lanes: news,
        };
        Ok((!seen.is_empty()).then_some(seen))
    }

    /// Whether the book has a place for what a count had seen.
    pub(crate) fn counts_say_what_was_seen(&self) -> Result<bool, StoreError> {
        Ok(self.book_schema()? >= Some(SEEN_SINCE))
    }

    /// The latest place of the counts of a product, and of those that were merged into it, that are held here, counted into levels or
    /// not.
    fn latest_count(&self, sku: &str) -> Result<Option<Hlc>, StoreError> {
        let mut codes = self.duplicates_of(sku)?;
        codes.insert(sku.to_owned());
        let mut latest = None;
        for code in &codes {
            latest = latest.max(standing(&self.conn, code)?.map(|count| count.place));
        }
        // Own counts that are not counted yet had seen the same.
        let sql = "SELECT e.hlc, e.document FROM local.peer_journal AS j
                   CROSS JOIN local.peer_entry AS e ON e.origin = j.origin AND e.kind = 9 AND e.seq >
                       coalesce((SELECT s.seq FROM local.stock_journal AS s WHERE s.node = j.node), 0)";
        let waiting = self.conn.query_map(sql, (), |row| {
            Ok((Hlc::from_raw(row.get(0)?), row.get::<String>(1)?))
        })?;
        for (hlc, text) in waiting {
            if let Ok(Document::StockCount(count)) = serde_json::from_str(&text)
                && codes.contains(&count.sku)
            {
                latest = latest.max(Some(Seen::place(count.seen.as_ref(), hlc)));
            }
        }
        Ok(latest)
    }

    /// What the counts of this lane have said so far.
    pub(crate) fn said(&self) -> Result<BTreeMap<NodeId, SeenLane>, StoreError> {
        // Counts from before were another node's, in whose journal others look them up.
        let begin = self.formers.last().map_or(0, |former| former.until_seq);
        let sql =
            "SELECT seen FROM main.stock_count WHERE seq > ?1 AND seen IS NOT NULL ORDER BY seq";
        let said = self.conn.query_map(sql, [begin], |row| {
            row.get_with(0, |text: String| serde_json::from_str::<Seen>(&text))
        })?;
        let lanes = said.into_iter().flat_map(|seen| seen.lanes);
        Ok(lanes.map(|lane| (lane.node, lane)).collect())
    }

    /// Whom counts that are recorded from now on ask which lanes are connected.
    pub fn ask_connected(&mut self, lanes: impl Fn() -> BTreeSet<NodeId> + Send + 'static) {
        self.connected = Box::new(lanes);
    }
}

/// The first schema of the book whose counts say what they had seen.
const SEEN_SINCE: i32 = 4;

/// The levels in a transaction, and whose entries are being counted.
struct Ledger<'c> {
    conn: &'c Connection,
    origin: i64,
    node: NodeId,
    now_ms: i64,
    oversold: BTreeSet<String>,
}

impl Ledger<'_> {
    /// Of an entry that is counted under another name, only what it had seen is kept: later counts under this name refer to it.
    fn count(&mut self, entry: &LaneEntry, is_known: bool) -> Result<(), StoreError> {
        let (said, seen) = effects(entry);
        for lane in seen.iter().flat_map(|seen| &seen.lanes) {
            let sql =
                "INSERT OR REPLACE INTO local.stock_seen (origin, lane, since_seq, seq, connected)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let connected = i64::from(lane.connected);
            let row = params![
                self.origin,
                lane.node.to_bytes(),
                entry.seq,
                lane.seq,
                connected
            ];
            self.conn.execute(sql, row)?;
        }
        if is_known {
            return Ok(());
        }
        for effect in &said {
            self.apply(entry, effect)?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &LaneEntry, effect: &Effect) -> Result<(), StoreError> {
        let sku = effect.sku.as_str();
        let before = level(self.conn, sku)?;
        let holds = standing(self.conn, sku)?;
        let (milli, is_standing) = match (effect.count(), effect.movement()) {
            (Some(count), _) if holds.is_none_or(|held| held.order() < count.order()) => {
                (self.sum_after(sku, &count)?, true)
            }
            (None, Some(movement)) => {
                let is_before = match holds {
                    Some(count) => {
                        let seen = seen_of(self.conn, &count, self.node)?;
                        movement.is_before(&count, seen)
                    }
                    None => false,
                };
                let moved = if is_before { 0 } else { movement.milli };
                (before.unwrap_or(0).saturating_add(moved), false)
            }
            // A count that an earlier one which came first does not give way to.
            _ => (before.unwrap_or(0), false),
        };
        let change = self.note(entry, effect, milli)?;
        let sql = "INSERT INTO local.stock_level (sku, level_milli, count) VALUES (?1, ?2, ?3)
                   ON CONFLICT (sku) DO UPDATE SET level_milli = excluded.level_milli,
                       count = coalesce(excluded.count, count)";
        let count = is_standing.then_some(change);
        self.conn.execute(sql, params![sku, milli, count])?;
        let was_oversold = holds.is_some() && before.is_some_and(|it| it < 0);
        if milli < 0 && !was_oversold && (is_standing || holds.is_some()) {
            self.oversold.insert(sku.to_owned());
        } else if milli >= 0 {
            self.oversold.remove(sku);
        }
        Ok(())
    }

    /// What a count and the movements after it come to, of those that are counted.
    fn sum_after(&self, sku: &str, count: &Count) -> Result<i64, StoreError> {
        let sql = "SELECT j.node, c.seq, c.hlc, c.quantity_milli, c.dated_ms
                   FROM local.inventory_changes AS c JOIN local.stock_journal AS j ON j.origin = c.origin
                   WHERE c.sku = ?1 AND c.place IS NULL";
        let movements = self.conn.query_map(sql, [sku], |row| {
            Ok(Movement {
                origin: row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?,
                seq: row.get(1)?,
                hlc: Hlc::from_raw(row.get(2)?),
                milli: row.get(3)?,
                dated_ms: row.get(4)?,
            })
        })?;
        let mut seen: BTreeMap<NodeId, Option<SeenLane>> = BTreeMap::new();
        let mut milli = count.milli;
        for movement in movements {
            let lane = movement.origin;
            let seen = match seen.get(&lane) {
                Some(seen) => *seen,
                None => *seen.entry(lane).or_insert(seen_of(self.conn, count, lane)?),
            };
            if !movement.is_before(count, seen) {
                milli = milli.saturating_add(movement.milli);
            }
        }
        Ok(milli)
    }

    fn note(
        &self,
        entry: &LaneEntry,
        effect: &Effect,
        level_milli: i64,
    ) -> Result<i64, StoreError> {
        let (milli, place, dated_ms) = match effect.what {
            What::Moved { milli, dated_ms } => (milli, None, dated_ms),
            What::Counted {
                milli,
                place,
                at_ms,
            } => (milli, Some(place.raw()), Some(at_ms)),
        };
        let sql = "INSERT INTO local.inventory_changes (sku, origin, seq, item, kind, id, hlc, quantity_milli, place, dated_ms,
                       level_milli, noted_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING change";
        let row = params![
            effect.sku.as_str(),
            self.origin,
            effect.seq,
            effect.item,
            entry.kind,
            entry.id.to_bytes(),
            effect.hlc.raw(),
            milli,
            place,
            dated_ms,
            level_milli,
            self.now_ms
        ];
        Ok(self.conn.query_value(sql, row)?)
    }
}

/// The number of the journal.
fn note_progress(conn: &Connection, node: NodeId, point: Point) -> Result<i64, SqlError> {
    let sql = "INSERT INTO local.stock_journal (node, seq, chain) VALUES (?1, ?2, ?3)
               ON CONFLICT (node) DO UPDATE SET seq = excluded.seq, chain = excluded.chain RETURNING origin";
    let chain = point.chain.as_bytes().to_vec();
    conn.query_value(sql, params![node.to_bytes(), point.seq, chain])
}

fn level(conn: &Connection, sku: &str) -> Result<Option<i64>, SqlError> {
    let sql = "SELECT level_milli FROM local.stock_level WHERE sku = ?1";
    conn.query_optional(sql, [sku], |row| row.get(0))
}

fn standing(conn: &Connection, sku: &str) -> Result<Option<Count>, StoreError> {
    let sql = "SELECT j.node, c.seq, c.hlc, c.place, c.dated_ms, c.quantity_milli
               FROM local.stock_level AS l
               CROSS JOIN local.inventory_changes AS c ON c.change = l.count
               CROSS JOIN local.stock_journal AS j ON j.origin = c.origin
               WHERE l.sku = ?1";
    Ok(conn.query_optional(sql, [sku], standing_row)?)
}

fn standing_row(row: &Row<'_>) -> Result<Count, SqlError> {
    Ok(Count {
        origin: row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?,
        seq: row.get(1)?,
        hlc: Hlc::from_raw(row.get(2)?),
        place: Hlc::from_raw(row.get(3)?),
        at_ms: row.get(4)?,
        milli: row.get(5)?,
    })
}

/// What the lane of a count had of a journal then.
pub(crate) fn seen_of(
    conn: &Connection,
    count: &Count,
    lane: NodeId,
) -> Result<Option<SeenLane>, SqlError> {
    let sql = "SELECT s.seq, s.connected FROM local.stock_journal AS j
               CROSS JOIN local.stock_seen AS s ON s.origin = j.origin AND s.lane = ?2 AND s.since_seq <= ?3
               WHERE j.node = ?1 ORDER BY s.since_seq DESC LIMIT 1";
    let key = params![count.origin.to_bytes(), lane.to_bytes(), count.seq];
    conn.query_optional(sql, key, |row| {
        Ok(SeenLane {
            node: lane,
            seq: row.get(0)?,
            connected: row.get(1)?,
        })
    })
}
