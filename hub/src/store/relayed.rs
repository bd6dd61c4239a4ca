//! What have other lanes brought of a node's journal that its own till has not sent (X7)?
//!
//! It stands in `relayed_entry` as it came, until the till sends the same itself. While a book is attached, its
//! journal goes on with it, and entries are consolidated by the same statements from where the watermarks stand:
//! whichever way an entry came first, it is moved once.

use super::alerts::{self, NewAlert};
use super::consolidation::{NodeBook, NodeKey, is_about_a_record};
use super::contact::AuthedNode;
use super::{Reader, Store, StoreError, lineage, node_id, shop_id};
use counterfoil_book::BookError;
use counterfoil_domain::document::{RECEIPT_LINES_MAX, RECEIPT_PAYMENTS_MAX};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::{Holding, LaneEntry, Place};
use counterfoil_domain::{Chain, Document, DocumentId, Hlc, NodeId, Priority, ShopId, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::relay::{RelayEnd, RelayedRow};

/// The journal of a book of which nothing was brought by others.
pub(super) const SENT: &str = "book.journal";

/// The journal of a book, and behind it what others brought.
const WHOLE: &str = "temp.whole_journal";

/// What stands before the names of tables that are laid out beside a book.
pub(super) const LAID_OUT: &str = "temp.";

/// The alert of entries that only another lane has.
const RELAY_DIVERGED: &str = "relay_diverged";

/// What became of entries that a lane brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relayed {
    /// They are durable; how far the journal is here now, and whether any of them was new.
    Taken { known: Point, new: bool },
    /// Entries before them are missing.
    Gap { known: Point },
    /// Another entry stands where one of them does.
    Diverged { known: Point },
}

/// A lane whose journal others may bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    number: i64,
    id: NodeId,
}

/// What is here of a journal.
struct Known {
    /// Where what its till has sent ends.
    sent: Point,
    /// Where it ends with what others brought behind that.
    end: Point,
}

impl Known {
    /// The chain value of an entry, in what the till has sent or in what others brought.
    fn chain_at(
        &self,
        hub: &Connection,
        lane: Lane,
        seq: i64,
    ) -> Result<Option<Chain>, StoreError> {
        let point = match seq <= self.sent.seq {
            true => lineage::point_at(hub, SENT, seq)?,
            false => lineage::point_at(hub, &brought(lane.number), seq)?,
        };
        Ok(point.map(|point| point.chain))
    }
}

impl Store {
    /// Keeps entries of one lane that another lane of its shop brings: all or none, durable when this returns.
    pub(crate) fn relay(
        &mut self,
        by: &AuthedNode,
        (origin, book): (Lane, Option<&NodeBook>),
        entries: &[LaneEntry],
        now_ms: i64,
    ) -> Result<Relayed, StoreError> {
        let placed = self.on_journal((origin, book), |hub, known| {
            let mut held = Holding::empty(known.end);
            let mut fresh = Vec::with_capacity(entries.len());
            for entry in entries {
                let place = held.place(entry);
                if place == Place::Ahead {
                    return Ok(Err(Relayed::Gap { known: known.end }));
                }
                // Whatever is here already is only the same when its chain value is.
                let here = known.chain_at(hub, origin, entry.seq)?;
                let is_other = here.is_some_and(|chain| chain != entry.chain);
                if place == Place::Forked || is_other {
                    return Ok(Err(Relayed::Diverged { known: known.end }));
                }
                if place == Place::Next {
                    held.end = entry.point();
                    // What did not join before may be here.
                    fresh.extend(here.is_none().then_some(entry));
                }
            }
            Ok(Ok((fresh, held.end)))
        })?;
        match placed {
            Ok((fresh, known)) => {
                let new = !fresh.is_empty();
                if new {
                    let of = (origin.number, by.number);
                    self.hub.transaction(|tx| keep(tx, of, &fresh, now_ms))?;
                }
                Ok(Relayed::Taken { known, new })
            }
            Err(refused) => {
                if matches!(refused, Relayed::Diverged { .. }) {
                    self.tell_diverged(by, origin.id, now_ms)?;
                }
                Ok(refused)
            }
        }
    }

    /// How far the journal of a lane is here; `held` is where what the caller has of it ends.
    pub(crate) fn relay_end(
        &mut self,
        by: &AuthedNode,
        (origin, book): (Lane, Option<&NodeBook>),
        held: Point,
        now_ms: i64,
    ) -> Result<RelayEnd, StoreError> {
        let found = self.on_journal((origin, book), |hub, known| {
            // What is not here cannot be compared.
            let here = known.chain_at(hub, origin, held.seq)?;
            let is_same = here.map(|chain| chain == held.chain);
            let end = RelayEnd {
                origin: origin.id,
                known: known.end,
                diverged: is_same == Some(false),
            };
            Ok((end, is_same))
        })?;
        let (end, is_same) = found;
        match is_same {
            Some(false) => self.tell_diverged(by, origin.id, now_ms)?,
            Some(true) => end_told(&self.hub, (origin.id, &by.id.to_string()), now_ms)?,
            None => {}
        }
        Ok(end)
    }

    /// Attaches the book meanwhile, when its till has sent one.
    fn on_journal<T>(
        &mut self,
        (lane, book): (Lane, Option<&NodeBook>),
        work: impl FnOnce(&Connection, Known) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_sent = self.attach_sent(book)?;
        let look = |hub: &Connection| {
            let sent = match is_sent && lineage::is_book_of(hub, lane.id)? {
                true => last(hub, SENT)?,
                false => None,
            };
            let sent = sent.unwrap_or(Point::START);
            let end = joined(hub, lane.number, sent)?.unwrap_or(sent);
            work(hub, Known { sent, end })
        };
        let done = look(&self.hub);
        if is_sent {
            self.hub.detach("book")?;
        }
        done
    }

    fn tell_diverged(
        &self,
        by: &AuthedNode,
        origin: NodeId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let alert = NewAlert {
            at_ms: now_ms,
            kind: RELAY_DIVERGED,
            node: Some(origin),
            subject: by.id.to_string(),
            detail: format!(
                "lane {} of the shop holds entries of this till that the till itself does not have: what it sold before \
                 it was restored or copied. They are not counted; keep that lane's data",
                by.id
            ),
        };
        self.hub.transaction(|tx| alerts::raise(tx, &alert))
    }
}

/// Ends what was told of a till's entries, by the lane that holds them or of those that are kept here.
fn end_told(
    hub: &Connection,
    (origin, holder): (NodeId, &str),
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "SELECT id FROM alert WHERE lasting = 1 AND cleared_ms IS NULL AND kind = ?1
               AND coalesce(node, x'') = ?2 AND subject = ?3";
    let of = params![RELAY_DIVERGED, origin.to_bytes(), holder];
    match hub.query_optional(sql, of, |row| row.get::<i64>(0))? {
        Some(alert) => hub.transaction(|tx| alerts::clear_one(tx, alert, now_ms)),
        None => Ok(()),
    }
}

/// What others brought of a node, as a table.
pub(super) fn brought(node: i64) -> String {
    format!("(SELECT seq, chain FROM main.relayed_entry WHERE node = {node})")
}

/// The last entry of a journal.
fn last(hub: &Connection, journal: &str) -> Result<Option<Point>, StoreError> {
    let sql = format!("SELECT seq, chain FROM {journal} ORDER BY seq DESC LIMIT 1");
    Ok(hub.query_optional(&sql, (), lineage::point)?)
}

/// Where what others brought ends that follows on what the till has sent; `None` when nothing does.
fn joined(hub: &Connection, node: i64, sent: Point) -> Result<Option<Point>, StoreError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM relayed_entry WHERE node = ?1 AND seq = ?2 AND before = ?3)";
    let next = params![node, sent.seq + 1, sent.chain.as_bytes().to_vec()];
    if !hub.query_value::<bool>(sql, next)? {
        return Ok(None);
    }
    // It is one run without a gap, unless the till's own copy was lost since: then another one may lie behind.
    let sql =
        "SELECT seq, chain FROM relayed_entry AS r WHERE node = ?1 AND seq > ?2 AND NOT EXISTS (
                   SELECT 1 FROM relayed_entry AS next
                   WHERE next.node = ?1 AND next.seq = r.seq + 1 AND next.before = r.chain)
               ORDER BY seq LIMIT 1";
    Ok(hub.query_optional(sql, params![node, sent.seq], lineage::point)?)
}

fn keep(
    tx: &Connection,
    (node, by): (i64, i64),
    entries: &[&LaneEntry],
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO relayed_entry (node, seq, id, hlc, topic, priority, before, chain, document)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    for entry in entries {
        let priority = Topic::from_code(entry.kind).map_or(Priority::Low, Topic::priority);
        let row = params![
            node,
            entry.seq,
            entry.id.to_bytes(),
            entry.hlc.raw(),
            entry.kind,
            priority.code(),
            entry.before.as_bytes().to_vec(),
            entry.chain.as_bytes().to_vec(),
            entry.document.as_str()
        ];
        tx.execute(sql, row)?;
    }
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Ok(());
    };
    let sql = "UPDATE relayed SET until_seq = ?3, at_ms = ?5
               WHERE node = ?1 AND until_seq = ?2 - 1 AND by = ?4";
    let row = || params![node, first.seq, last.seq, by, now_ms];
    if tx.execute(sql, row())? == 0 {
        let sql = "INSERT INTO relayed (node, from_seq, until_seq, by, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (node, from_seq) DO UPDATE SET
                       until_seq = max(until_seq, excluded.until_seq), by = excluded.by, at_ms = excluded.at_ms";
        tx.execute(sql, row())?;
    }
    Ok(())
}

/// Lets the journal of the attached book go on with what others brought, when that follows on it.
pub(super) fn begin_reading(hub: &Connection, node: &mut NodeKey) -> Result<(), StoreError> {
    if last(hub, &brought(node.number))?.is_none() {
        return Ok(());
    }
    let sent = last(hub, SENT)?.unwrap_or(Point::START);
    let Some(end) = joined(hub, node.number, sent)? else {
        return Ok(());
    };
    let columns = "seq, id, hlc, topic, priority, chain";
    let sql = format!(
        "CREATE TEMP VIEW whole_journal AS SELECT {columns} FROM book.journal
         UNION ALL SELECT {columns} FROM main.relayed_entry
                   WHERE node = {} AND seq > {} AND seq <= {}",
        node.number, sent.seq, end.seq
    );
    hub.execute(&sql, ())?;
    (node.journal, node.sent_until, node.brought_until) = (WHOLE, sent.seq, end.seq);
    Ok(())
}

/// Whether less is here of a node, whose till has sent nothing, than was consolidated: its copy was lost, and other lanes
/// bring it anew.
pub(super) fn is_refilled(hub: &Connection, node: &NodeKey) -> Result<bool, StoreError> {
    let sql = "SELECT coalesce(max(seq), 0) > ?2 FROM watermark WHERE node = ?1";
    Ok(hub.query_value(sql, params![node.number, node.brought_until])?)
}

/// Takes the view away, so that the book can be detached.
pub(super) fn end_reading(hub: &Connection) -> Result<(), StoreError> {
    hub.execute("DROP VIEW IF EXISTS temp.whole_journal", ())?;
    Ok(())
}

/// Whether something is here that others brought.
fn is_any(hub: &Connection, node: &NodeKey) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM relayed_entry WHERE node = ?1)";
    Ok(hub.query_value(sql, params![node.number])?)
}

/// Forgets what the till has sent itself since, the same; the book that sent it is attached. What is another history than
/// the till's is told of, as long as it is here.
pub(super) fn tend(hub: &Connection, node: &NodeKey, now_ms: i64) -> Result<(), StoreError> {
    if is_any(hub, node)? {
        let sql = "DELETE FROM relayed_entry WHERE node = ?1 AND seq <= (
                       SELECT max(own.seq) FROM relayed_entry AS r JOIN book.journal AS own ON own.seq = r.seq
                       WHERE r.node = ?1 AND own.chain = r.chain)";
        hub.execute(sql, params![node.number])?;
    }
    if node.journal == WHOLE || !is_any(hub, node)? {
        return end_told(hub, (node.id, ""), now_ms);
    }
    let alert = NewAlert {
        at_ms: now_ms,
        kind: RELAY_DIVERGED,
        node: Some(node.id),
        subject: String::new(),
        detail: "other lanes brought entries of this till that do not follow what it has sent: it sold them before it was \
                 restored or copied. They are kept and not counted"
            .to_owned(),
    };
    hub.transaction(|tx| alerts::raise(tx, &alert))
}

/// Lays entries that others brought out in `temp`, as a book has them, and says what stands before the names of the
/// tables. An entry that this hub cannot read stands in the journal alone, and steps aside.
pub(super) fn lay_out(
    tx: &Connection,
    node: &NodeKey,
    (after, until): (i64, i64),
) -> Result<&'static str, StoreError> {
    counterfoil_book::lay_tables(tx, "temp")?;
    let sql = "SELECT seq, id, hlc, topic, chain, document, priority FROM main.relayed_entry
               WHERE node = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq";
    let rows = tx.query_map(sql, params![node.number, after, until], |row| {
        let head = (
            row.get::<i64>(0)?,
            row.get::<Vec<u8>>(1)?,
            row.get::<i64>(2)?,
        );
        let kind: (i64, Vec<u8>) = (row.get(3)?, row.get(4)?);
        Ok((head, kind, row.get::<String>(5)?, row.get::<i64>(6)?))
    })?;
    for ((seq, id, hlc), (topic, chain), document, priority) in rows {
        let read = read(topic, &document).zip(DocumentId::from_slice(&id).ok());
        if let Some(((topic, document), id)) = read
            && let Some(chain) = Chain::from_slice(&chain)
        {
            let hlc = Hlc::from_raw(hlc);
            let entry = EntryHead {
                seq,
                id,
                hlc,
                topic,
            };
            let laid =
                tx.savepoint(|| counterfoil_book::insert(tx, &entry, &document, (&chain, None)));
            match laid {
                // A batch has one priority for an entry, that of the journal.
                Ok(()) => {
                    let sql =
                        "UPDATE temp.journal SET priority = ?2 WHERE seq = ?1 AND priority <> ?2";
                    tx.execute(sql, params![seq, priority])?;
                    continue;
                }
                Err(BookError::Sql(error)) if is_about_a_record(&error) => {
                    tracing::warn!(node = %node.id, seq, error = &error as &dyn std::error::Error, "a relayed entry");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let sql = "INSERT INTO temp.journal (seq, id, hlc, topic, priority, chain)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        tx.execute(sql, params![seq, id, hlc, topic, priority, chain])?;
    }
    Ok(LAID_OUT)
}

/// A document, as this program would have written it.
fn read(topic: i64, text: &str) -> Option<(Topic, Document)> {
    let topic = Topic::from_code(topic)?;
    let document: Document = serde_json::from_str(text).ok()?;
    if let Document::Sale(receipt) | Document::Refund(receipt) = &document
        && (receipt.lines.len() > RECEIPT_LINES_MAX
            || receipt.payments.len() > RECEIPT_PAYMENTS_MAX)
    {
        // No book has room for it.
        return None;
    }
    let is_all = document.topic() == topic && document.canonical() == text.as_bytes();
    is_all.then_some((topic, document))
}

impl Reader {
    /// A lane of a shop.
    pub(crate) fn lane_of(&self, shop: ShopId, id: NodeId) -> Result<Option<Lane>, StoreError> {
        let sql = "SELECT number FROM node WHERE id = ?1 AND shop = ?2";
        let of = params![id.to_bytes(), shop.to_bytes()];
        Ok(self.hub.query_optional(sql, of, |row| {
            let number = row.get(0)?;
            Ok(Lane { number, id })
        })?)
    }

    /// Nodes of which something is here that only others brought.
    pub(crate) fn relayed_nodes(&self) -> Result<Vec<NodeId>, StoreError> {
        let sql = "SELECT id FROM node WHERE EXISTS (SELECT 1 FROM relayed_entry AS r WHERE r.node = node.number)";
        Ok(self.hub.query_map(sql, (), |row| node_id(row, 0))?)
    }

    /// Whether something is here of a node that only others brought.
    pub(crate) fn is_relayed(&self, node: NodeId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM relayed_entry WHERE node = (SELECT number FROM node WHERE id = ?1))";
        Ok(self.hub.query_value(sql, params![node.to_bytes()])?)
    }

    /// Entries that reached the hub by another lane, newest first.
    pub(crate) fn relayed(&self, shop: Option<ShopId>) -> Result<Vec<RelayedRow>, StoreError> {
        let sql = "SELECT node.shop, node.id, node.lane, r.from_seq, r.until_seq, by.id, by.lane, r.at_ms,
                       NOT EXISTS (SELECT 1 FROM relayed_entry AS e WHERE e.node = r.node
                                   AND e.seq BETWEEN r.from_seq AND r.until_seq)
                   FROM relayed AS r JOIN node ON node.number = r.node JOIN node AS by ON by.number = r.by
                   WHERE ?1 IS NULL OR node.shop = ?1 ORDER BY r.at_ms DESC, r.node, r.from_seq DESC LIMIT 1000";
        let row = |row: &Row<'_>| -> Result<RelayedRow, SqlError> {
            Ok(RelayedRow {
                shop: shop_id(row, 0)?,
                node: node_id(row, 1)?,
                lane: row.get(2)?,
                from_seq: row.get(3)?,
                until_seq: row.get(4)?,
                by: node_id(row, 5)?,
                by_lane: row.get(6)?,
                at_ms: row.get(7)?,
                sent_since: row.get(8)?,
            })
        };
        Ok(self
            .hub
            .query_map(sql, params![shop.map(ShopId::to_bytes)], row)?)
    }
}
