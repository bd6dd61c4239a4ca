//! What does the hub know of a node's journal, and who goes on as whom?
//!
//! A till that was restored from a backup or cloned gets a new identity (ADR 0008). Its book holds the
//! former node's entries too: consolidation begins behind them, and an entry that is counted with
//! another node of the lineage already is not counted again.

use super::alerts::{NewAlert, insert_alert};
use super::consolidation::{NodeBook, NodeKey, condition};
use super::movement::Batch;
use super::{AuthedNode, Reader, Store, StoreError, closures, node_id, relayed, tokens};
use crate::limits::{IDENTITIES_MAX, LINEAGE_POINTS_MAX};
use counterfoil_domain::lineage::{Former, Point, spaced};
use counterfoil_domain::{Chain, NodeId, Priority, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::wire::lineage::{IdentityAnswer, LineageRequest};
use std::collections::BTreeMap;

/// A request for a new identity, checked for form.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Who asks, under the identity it gives up.
    pub(crate) from: AuthedNode,
    pub(crate) node: NodeId,
    pub(crate) token_hash: Vec<u8>,
    /// When the token ends by itself.
    pub(crate) token_expires_ms: Option<i64>,
    pub(crate) common: Point,
    pub(crate) schemas: Schemas,
    pub(crate) now_ms: i64,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claimed {
    /// The node exists; `new` at the first time.
    Given { answer: IdentityAnswer, new: bool },
    /// Another till has this identity: a folder was copied after the claim.
    Taken,
    /// The hub does not hold the entry that is said to be common.
    NotCommon,
    /// The lineage has as many nodes as it may have.
    TooMany,
}

pub(super) fn point(row: &Row<'_>) -> Result<Point, SqlError> {
    Ok(Point {
        seq: row.get(0)?,
        chain: row.get_with(1, |bytes: Vec<u8>| {
            Chain::from_slice(&bytes).ok_or(DamagedChain)
        })?,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("a stored chain value has not 32 bytes")]
struct DamagedChain;

/// The points up to which a node's priorities are consolidated.
pub(super) fn consolidated_points(hub: &Connection, node: i64) -> Result<Vec<Point>, StoreError> {
    let sql = "SELECT DISTINCT seq, chain FROM watermark WHERE node = ?1 AND seq > 0 ORDER BY seq";
    Ok(hub.query_map(sql, params![node], point)?)
}

/// The point of a journal at a position.
pub(super) fn point_at(
    hub: &Connection,
    journal: &str,
    seq: i64,
) -> Result<Option<Point>, StoreError> {
    if seq == 0 {
        return Ok(Some(Point::START));
    }
    let sql = format!("SELECT seq, chain FROM {journal} WHERE seq = ?1");
    Ok(hub.query_optional(&sql, params![seq], point)?)
}

/// Points of a journal behind one position and before another: the newest, and others evenly spaced.
fn points_within(
    hub: &Connection,
    journal: &str,
    (after, before): (i64, i64),
) -> Result<Vec<Point>, StoreError> {
    let sql = format!("SELECT coalesce(max(seq), 0) FROM {journal} WHERE seq < ?1");
    let newest: i64 = hub.query_value(&sql, params![before])?;
    let mut found = Vec::new();
    for seq in spaced(after, newest, LINEAGE_POINTS_MAX) {
        found.extend(point_at(hub, journal, seq)?);
    }
    Ok(found)
}

/// Whether the attached database can be what this node sent. Whatever else stands in its place says
/// nothing about the node's history.
pub(super) fn is_book_of(hub: &Connection, node: NodeId) -> Result<bool, StoreError> {
    let tables: i64 = hub.query_value(
        "SELECT count(*) FROM book.sqlite_schema WHERE type = 'table' AND name IN ('journal', 'meta')",
        (),
    )?;
    if tables != 2 {
        return Ok(false);
    }
    let sql = "SELECT value FROM book.meta WHERE key = 'node_id'";
    let name = hub.query_optional(sql, (), |row| row.get::<String>(0))?;
    Ok(name.is_none_or(|name| name == node.to_string()))
}

impl Store {
    /// What the hub knows of a node's journal in a range: of its copy, when there is one, and of what is
    /// consolidated from it.
    pub(crate) fn lineage(
        &mut self,
        node: &AuthedNode,
        book: Option<&NodeBook>,
        range: LineageRequest,
    ) -> Result<Vec<Point>, StoreError> {
        let mut points: BTreeMap<i64, Point> = BTreeMap::new();
        let before = range.before_seq.unwrap_or(i64::MAX);
        let within = (range.after_seq.max(0), before);
        let mut found = Vec::new();
        if let Some(book) = book {
            found = self.with_attached(book, |hub| match is_book_of(hub, node.id)? {
                true => points_within(hub, relayed::SENT, within),
                false => Ok(Vec::new()),
            })?;
        }
        found.extend(points_within(
            &self.hub,
            &relayed::brought(node.number),
            within,
        )?);
        points.extend(found.into_iter().map(|point| (point.seq, point)));
        for point in consolidated_points(&self.hub, node.number)? {
            if point.seq <= range.after_seq || point.seq >= before {
                continue;
            }
            // A copy that contradicts what was consolidated from it does not hide that.
            points.insert(point.seq, point);
        }
        Ok(points.into_values().collect())
    }

    /// Gives a till a new identity, or says why not. The same request may arrive any number of times.
    pub(crate) fn claim(
        &mut self,
        claim: &Claim,
        book: Option<&NodeBook>,
    ) -> Result<Claimed, StoreError> {
        if let Some(known) = known(&self.hub, claim)? {
            return Ok(known);
        }
        let mut is_common = claim.common == Point::START
            || consolidated_points(&self.hub, claim.from.number)?.contains(&claim.common);
        if let Some(book) = book.filter(|_| !is_common) {
            let held = self.with_attached(book, |hub| match is_book_of(hub, claim.from.id)? {
                true => point_at(hub, relayed::SENT, claim.common.seq),
                false => Ok(None),
            })?;
            is_common = held == Some(claim.common);
        }
        if !is_common {
            let brought = relayed::brought(claim.from.number);
            is_common = point_at(&self.hub, &brought, claim.common.seq)? == Some(claim.common);
        }
        if !is_common {
            return Ok(Claimed::NotCommon);
        }
        self.hub.transaction(|tx| fork(tx, claim))
    }

    /// Attaches what a till has sent; false when that is nothing, and then nothing is attached.
    pub(super) fn attach_sent(&self, book: Option<&NodeBook>) -> Result<bool, StoreError> {
        let Some(path) = book.and_then(|book| book.path.as_ref()) else {
            return Ok(false);
        };
        self.hub.attach(path, "book")?;
        let begun = self.begun();
        if !matches!(begun, Ok(true)) {
            self.hub.detach("book")?;
        }
        begun
    }

    /// Nothing when the book is still empty.
    fn with_attached<T: Default>(
        &mut self,
        book: &NodeBook,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.attach_sent(Some(book))? {
            return Ok(T::default());
        }
        let done = work(&self.hub);
        self.hub.detach("book")?;
        done
    }
}

/// The answer to a claim that was made before.
fn known(hub: &Connection, claim: &Claim) -> Result<Option<Claimed>, StoreError> {
    // Whoever has spoken under the new identity has it on disk and does not claim it any more.
    let sql = "SELECT lane, epoch,
                      forked_from IS ?2 AND token_hash = ?3 AND revoked_ms IS NULL
                      AND seen_ms IS NULL
               FROM node WHERE id = ?1";
    let row = params![
        claim.node.to_bytes(),
        claim.from.number,
        claim.token_hash.clone()
    ];
    let found = hub.query_optional(sql, row, |row| {
        let answer = IdentityAnswer {
            lane: row.get(0)?,
            epoch: row.get(1)?,
        };
        Ok(match row.get(2)? {
            true => Claimed::Given { answer, new: false },
            false => Claimed::Taken,
        })
    })?;
    if found.is_some() {
        return Ok(found);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE token_hash = ?1 OR next_token_hash = ?1)";
    let taken: bool = hub.query_value(sql, params![claim.token_hash.clone()])?;
    let taken = taken || tokens::has_ended(hub, &claim.token_hash)?;
    Ok(taken.then_some(Claimed::Taken))
}

fn fork(tx: &Connection, claim: &Claim) -> Result<Claimed, StoreError> {
    let sql = "SELECT coalesce(root, number) FROM node WHERE number = ?1";
    let root: i64 = tx.query_value(sql, params![claim.from.number])?;
    let sql = "SELECT count(*), max(epoch) FROM node WHERE root = ?1 OR number = ?1";
    let (nodes, epoch) = tx.query_row(sql, params![root], |row| {
        Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
    })?;
    if nodes >= IDENTITIES_MAX {
        return Ok(Claimed::TooMany);
    }
    tx.execute(
        "INSERT INTO node (id, shop, lane, token_hash, created_ms, book_schema, catalog_schema,
                           schema_ms, forked_from, forked_seq, forked_chain, root, epoch,
                           token_expires_ms)
         VALUES (?1, ?2, (SELECT max(lane) + 1 FROM node WHERE shop = ?2),
                 ?3, ?4, ?5, ?6, ?4, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            claim.node.to_bytes(),
            claim.from.shop.to_bytes(),
            claim.token_hash.clone(),
            claim.now_ms,
            i64::from(claim.schemas.book),
            i64::from(claim.schemas.catalog),
            claim.from.number,
            claim.common.seq,
            claim.common.chain.as_bytes().to_vec(),
            root,
            epoch + 1,
            claim.token_expires_ms,
        ],
    )?;
    closures::keep_key(tx, claim.node, &claim.token_hash, claim.now_ms)?;
    let lane = tell(tx, claim.node, claim.now_ms)?;
    let epoch = epoch + 1;
    let answer = IdentityAnswer { lane, epoch };
    Ok(Claimed::Given { answer, new: true })
}

/// Tells the operator who goes on as whom; the lane of the new node.
fn tell(tx: &Connection, node: NodeId, now_ms: i64) -> Result<i64, StoreError> {
    let sql = "SELECT new.lane, shop.name, old.lane, new.forked_seq FROM node AS new
               JOIN node AS old ON old.number = new.forked_from
               JOIN shop ON shop.id = new.shop WHERE new.id = ?1";
    let (lane, shop, old, common): (i64, String, i64, i64) =
        tx.query_row(sql, params![node.to_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    let detail = format!(
        "{shop}/{old} was restored from a backup or cloned: this till goes on as {shop}/{lane}, \
         entries up to {common} stay {shop}/{old}'s"
    );
    let alert = NewAlert {
        at_ms: now_ms,
        kind: "till_forked",
        node: Some(node),
        subject: String::new(),
        detail,
    };
    insert_alert(tx, &alert)?;
    Ok(lane)
}

/// Joins a node that was just bound to the lineage of the one whose folder it was copied from, in trial:
/// what they recorded before counts once. A till of another shop is not believed.
pub(super) fn note_copy(
    tx: &Connection,
    node: NodeId,
    former: NodeId,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE node SET forked_from = old.number, forked_seq = ?3, forked_chain = ?4,
                   root = coalesce(old.root, old.number),
                   epoch = 1 + (SELECT max(kin.epoch) FROM node AS kin
                                WHERE coalesce(kin.root, kin.number) = coalesce(old.root, old.number))
               FROM node AS old
               WHERE node.id = ?1 AND old.id = ?2 AND old.shop = node.shop AND old.number < node.number";
    let start = Point::START;
    let row = params![
        node.to_bytes(),
        former.to_bytes(),
        start.seq,
        start.chain.as_bytes().to_vec()
    ];
    if tx.execute(sql, row)? > 0 {
        tell(tx, node, now_ms)?;
    }
    Ok(())
}

/// Where a former node stands: its key, and up to where its entries are also the heir's.
pub(super) struct Ancestor {
    pub(super) number: i64,
    pub(super) common: Point,
}

/// The nodes that this one was before, latest first.
pub(super) fn ancestors(hub: &Connection, node: i64) -> Result<Vec<Ancestor>, StoreError> {
    let sql = "SELECT forked_from, forked_seq, forked_chain FROM node
               WHERE number = ?1 AND forked_from IS NOT NULL";
    let mut found: Vec<Ancestor> = Vec::new();
    let mut child = node;
    // A node's parent is always older than itself, so the walk ends.
    while let Some((number, common)) = hub.query_optional(sql, params![child], |row| {
        let chain = row.get_with(2, |bytes: Vec<u8>| {
            Chain::from_slice(&bytes).ok_or(DamagedChain)
        })?;
        let seq = row.get(1)?;
        Ok((row.get::<i64>(0)?, Point { seq, chain }))
    })? {
        let common = match found.last() {
            Some(later) if later.common.seq < common.seq => later.common,
            _ => common,
        };
        found.push(Ancestor { number, common });
        child = number;
    }
    Ok(found)
}

/// Sets the watermarks of a new identity, at its first book: behind what its former nodes have had
/// consolidated, and never behind what they have in common. Does nothing when it has watermarks.
pub(super) fn begin(tx: &Connection, node: &NodeKey, now_ms: i64) -> Result<(), StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM watermark WHERE node = ?1)";
    if tx.query_value(sql, params![node.number])? {
        return Ok(());
    }
    let ancestors = ancestors(tx, node.number)?;
    for priority in Priority::ALL {
        let mut start = Point::START;
        for ancestor in &ancestors {
            let sql = "SELECT seq, chain FROM watermark WHERE node = ?1 AND priority = ?2";
            let mark = tx.query_optional(sql, params![ancestor.number, priority.code()], point)?;
            // What lies between the mark and the common end is in this book alone, as far as the hub
            // knows: it is consolidated from here.
            let reached = match mark {
                Some(mark) if mark.seq < ancestor.common.seq => mark,
                Some(_) => ancestor.common,
                None => Point::START,
            };
            if reached.seq > start.seq && point_at(tx, node.journal, reached.seq)? == Some(reached)
            {
                start = reached;
            }
        }
        if start.seq == 0 {
            continue;
        }
        tx.execute(
            "INSERT INTO watermark (node, priority, seq, chain, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                node.number,
                priority.code(),
                start.seq,
                start.chain.as_bytes().to_vec(),
                now_ms
            ],
        )?;
        let edits = Topic::CatalogEdit;
        if priority == edits.priority() {
            tx.execute(
                "INSERT INTO main.edit_progress (node, seq)
                 SELECT ?1, newest FROM (SELECT max(seq) AS newest FROM book.journal
                                         WHERE seq <= ?2 AND topic = ?3) WHERE newest IS NOT NULL",
                params![node.number, start.seq, edits.code()],
            )?;
        }
    }
    Ok(())
}

/// Notes the entries of the batch that are counted with another node of the lineage: a clone had
/// them before they were sent, or the former node's copy arrived again later.
pub(super) fn inherit(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT OR IGNORE INTO main.inherited (node, seq, owner)
         SELECT ?1, seq, owner FROM (
             SELECT j.seq, coalesce(
                 (SELECT h.node FROM main.receipt AS h WHERE h.id = j.id AND h.seq = j.seq),
                 (SELECT h.node FROM main.document AS h WHERE h.id = j.id AND h.seq = j.seq)
             ) AS owner
             FROM {} AS j WHERE j.seq > ?2 AND j.seq <= ?3 AND j.{}
         ) WHERE owner <> ?1 AND owner IN (SELECT kin.number FROM main.node AS kin, main.node AS own
             WHERE own.number = ?1
               AND coalesce(kin.root, kin.number) = coalesce(own.root, own.number))",
        batch.node.journal,
        condition(batch.priority)
    );
    tx.execute(&sql, params![batch.node.number, batch.after, batch.until])?;
    Ok(())
}

/// The identities that the attached book says it had. One that is a node of somebody else's is not
/// believed.
pub(super) fn formers(tx: &Connection, node: &NodeKey) -> Result<Vec<Former>, StoreError> {
    let sql = "SELECT value FROM book.meta WHERE key = 'former_nodes'";
    let Some(text) = tx.query_optional(sql, (), |row| row.get::<String>(0))? else {
        return Ok(Vec::new());
    };
    let mut formers: Vec<Former> = match serde_json::from_str(&text) {
        Ok(formers) => formers,
        Err(error) => {
            // The entries count all the same, as written by the node that sent them.
            tracing::warn!(node = %node.id, %error, "the former identities of a book cannot be read");
            return Ok(Vec::new());
        }
    };
    let sql = "SELECT EXISTS (SELECT 1 FROM node AS other, node AS own
               WHERE other.id = ?1 AND own.number = ?2
                 AND coalesce(other.root, other.number) <> coalesce(own.root, own.number))";
    let mut foreign = false;
    for former in &formers {
        foreign |= tx.query_value::<bool>(sql, params![former.node.to_bytes(), node.number])?;
    }
    if foreign {
        formers.clear();
    }
    Ok(formers)
}

impl Reader {
    /// Nodes that go on in the place of another and have an entry of it in their book, newest first.
    pub(crate) fn heirs_with(&self, node: NodeId, seq: i64) -> Result<Vec<NodeId>, StoreError> {
        let sql = "SELECT kin.id, kin.number, own.number FROM node AS kin, node AS own
                   WHERE own.id = ?1 AND kin.number > own.number
                     AND kin.root = coalesce(own.root, own.number) ORDER BY kin.number DESC";
        let kin = self.hub.query_map(sql, params![node.to_bytes()], |row| {
            Ok((node_id(row, 0)?, row.get::<i64>(1)?, row.get::<i64>(2)?))
        })?;
        let mut heirs = Vec::new();
        for (heir, number, own) in kin {
            let holds = |it: &Ancestor| it.number == own && it.common.seq >= seq;
            if ancestors(&self.hub, number)?.iter().any(holds) {
                heirs.push(heir);
            }
        }
        Ok(heirs)
    }

    /// The former nodes of one whose own consolidation has not begun, oldest first: theirs goes first.
    pub(crate) fn formers_to_consolidate(&self, node: NodeId) -> Result<Vec<NodeId>, StoreError> {
        let sql = "WITH RECURSIVE line (number, depth) AS (
                       SELECT forked_from, 1 FROM node WHERE id = ?1 AND NOT EXISTS
                           (SELECT 1 FROM watermark WHERE watermark.node = node.number)
                       UNION ALL
                       SELECT node.forked_from, depth + 1 FROM line JOIN node USING (number)
                       WHERE node.forked_from IS NOT NULL)
                   SELECT node.id FROM line JOIN node USING (number) ORDER BY depth DESC";
        Ok(self
            .hub
            .query_map(sql, params![node.to_bytes()], |row| node_id(row, 0))?)
    }
}
