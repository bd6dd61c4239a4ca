//! Counting stock: what the journals of the shop say of each product goes into the levels of `local.db`, each entry once.
//!
//! A sale does not wait for it: the book alone is written then, and counted a moment later. What is counted is derived, and where
//! it does not fit the journals any more (a book that was restored, another identity) it is counted anew.

mod ledger;
pub mod reconcile;

pub(crate) use ledger::{CORRECTION, seen_of};

use crate::error::{StoreError, readable};
use crate::open::ShopStore;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::stock::{Seen, SeenLane};
use counterfoil_domain::{Chain, Document, Hlc, NodeId};
use ledger::{Ledger, level, note_progress, standing};
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
    /// Journals that cannot be counted any further, because what is held of them is damaged; behind which position
    /// they may be had again, as the own book may not.
    pub unreadable: BTreeMap<NodeId, Option<i64>>,
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
        let (mut progress, is_whole) = match self.progress() {
            Ok(progress) => (progress, true),
            Err(StoreError::Corrupt { .. }) => (BTreeMap::new(), false),
            Err(error) => return Err(error),
        };
        if !is_whole || !self.fits(&sources, &progress)? {
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
                    let again = (!source.is_own).then_some(done.seq);
                    counted.unreadable.insert(source.node, again);
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
            let hlc = row.get(0).map(Hlc::from_raw);
            readable(hlc.and_then(|hlc| Ok((hlc, row.get::<String>(1)?))))
        })?;
        for (hlc, text) in waiting.into_iter().flatten() {
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

    /// Whom a takeover of rights asks which lanes are there, whatever is outstanding.
    pub fn ask_reachable(&mut self, lanes: impl Fn() -> BTreeSet<NodeId> + Send + 'static) {
        self.reachable = Box::new(lanes);
    }

    /// Whom counts that are recorded from now on ask which lanes are connected.
    pub fn ask_connected(&mut self, lanes: impl Fn() -> BTreeSet<NodeId> + Send + 'static) {
        self.connected = Box::new(lanes);
    }
}

/// The first schema of the book whose counts say what they had seen.
const SEEN_SINCE: i32 = 4;
