//! Edits of the catalog by this lane and the others of its shop: what the hub has merged of them, and what a row shows
//! with those that it has not (ADR 0023).
//!
//! The index by row follows from the journals alone; the pending rows from that and the catalog.

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::tables::Table;
use counterfoil_domain::edit::{CatalogEdit, DELETED, OWNER, Scalar, is_price_below_zero};
use counterfoil_domain::employee::{column_value, is_secret};
use counterfoil_domain::lineage::writer_of;
use counterfoil_domain::merge::{LaneEdit, Origin, Policy, Stamp};
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::{Chain, Document, DocumentId, Hlc, NodeId, ShopId, Topic};
use counterfoil_migrate::{Connection, SqlError, params};
use std::collections::{BTreeMap, BTreeSet};

/// The own journal in the index.
pub(crate) const OWN: i64 = 0;

/// The column whose policy holds for the columns that have none of their own.
const REST: &str = "*";

/// Edits of a row that the hub has merged and that are looked at, the newest of each journal, because they may build on one that
/// it has not merged. Between the two lies what a shop's lanes change in a row while one of them is cut off from the hub.
const MERGED_EDITS_MAX: usize = 64;

/// A row of the catalog: its table and its id.
pub(crate) type RowName = (String, String);

/// What the catalog says of those who write it, and of how they are settled.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Settlement {
    /// The own journal is merged up to here.
    pub(crate) own: i64,
    /// And the journals of other lanes up to here.
    pub(crate) peers: BTreeMap<NodeId, i64>,
    policies: BTreeMap<(String, String), Policy>,
    /// Lanes that were left with the trial, and that no lane of the shop has spoken of since: their edits show nothing.
    left: BTreeSet<NodeId>,
    /// Tags of all lanes of all shops whose edits were ever merged.
    tags: BTreeSet<u32>,
}

impl Settlement {
    pub(crate) fn policy(&self, table: &str, column: &str) -> Policy {
        let of = |column: &str| {
            let name = (table.to_owned(), column.to_owned());
            self.policies.get(&name).copied()
        };
        of(column)
            .or_else(|| of(REST))
            .unwrap_or(Policy::LastWriterWins)
    }

    /// Whether some lane of some shop wrote a version, and not the hub.
    pub(crate) fn is_a_lanes(&self, stamp: &Stamp) -> bool {
        self.tags.contains(&stamp.node_tag)
    }

    /// How far a journal is merged: another lane's, or the own one.
    pub(crate) fn merged(&self, node: Option<NodeId>) -> i64 {
        match node {
            None => self.own,
            Some(node) => self.peers.get(&node).copied().unwrap_or(0),
        }
    }

    /// The journals that may have edits: the own one, and those of other lanes.
    pub(crate) fn journals(&self) -> impl Iterator<Item = Option<NodeId>> {
        std::iter::once(None).chain(self.peers.keys().copied().map(Some))
    }

    /// Whether rows that wait may be settled otherwise now.
    pub(crate) fn settles_otherwise(&self, before: &Self) -> bool {
        self.policies != before.policies
    }

    /// Whether rows that have none of the edits merged since `before` are as they were.
    pub(crate) fn goes_on_from(&self, before: &Self) -> bool {
        let mut journals = before.journals();
        let grew = journals.all(|node| self.merged(node) >= before.merged(node));
        grew && !self.settles_otherwise(before) && self.left == before.left
    }
}

/// Notes which row an edit is of.
pub(crate) fn note_edit(
    conn: &Connection,
    (origin, seq): (i64, i64),
    edit: &CatalogEdit,
) -> Result<(), SqlError> {
    let sql = "INSERT OR IGNORE INTO local.lane_edit (table_name, row_id, origin, seq) VALUES (?1, ?2, ?3, ?4)";
    let row = params![edit.table.as_str(), edit.row.as_str(), origin, seq];
    conn.execute(sql, row)?;
    Ok(())
}

/// The edit of an entry of another lane; `None` for another document, and for what no row of a catalog can be.
pub(crate) fn edit_of(entry: &LaneEntry) -> Option<CatalogEdit> {
    if entry.kind != Topic::CatalogEdit.code() {
        return None;
    }
    match serde_json::from_str(&entry.document) {
        Ok(Document::CatalogEdit(edit)) => {
            let is_a_row = !edit.row.trim().is_empty() && !edit.row.contains('\0');
            is_a_row.then_some(edit)
        }
        // The hub says what is wrong with it.
        Ok(_) | Err(_) => None,
    }
}

/// Whether a row takes an edit of this shop: one that it does not take goes to quarantine at the hub, as it came.
pub(crate) fn fits(table: &Table, edit: &CatalogEdit, shop: Option<ShopId>) -> bool {
    let takes = |(column, value): (&String, &Scalar)| {
        let described = table.editable.iter().find(|known| known.name == *column);
        match (described.map(|known| known.integer), value) {
            (None, _) => false,
            (Some(_), Scalar::Integer(0 | 1)) if column == DELETED => true,
            (Some(_), _) if column == DELETED => false,
            (Some(integer), Scalar::Integer(_)) => integer && !is_price_below_zero(column, value),
            (Some(_), Scalar::Text(owner))
                if column == OWNER && shop.is_some_and(|shop| *owner != shop.to_string()) =>
            {
                false
            }
            (Some(integer), Scalar::Text(text)) => {
                let is_refused = is_secret(&table.name, column)
                    && column_value(&table.name, column, value.clone()).is_err();
                !integer && !text.contains('\0') && !is_refused
            }
            (Some(_), Scalar::Null) => true,
        }
    };
    !edit.columns.is_empty() && edit.columns.iter().all(takes)
}

impl ShopStore {
    /// Reads what the catalog says.
    pub(crate) fn settlement(&self) -> Result<Settlement, StoreError> {
        let sql = "SELECT table_name, column_name, policy FROM catalog.policy";
        let policies = self.conn.query_map(sql, (), |row| {
            let policy = row.get_with(2, |name: String| {
                Policy::from_name(&name).ok_or("unknown policy")
            })?;
            Ok(((row.get(0)?, row.get(1)?), policy))
        })?;
        let sql = "SELECT node FROM catalog.merged_edits";
        let nodes: Vec<NodeId> = self
            .conn
            .query_map(sql, (), |row| row.get_with(0, |text: String| text.parse()))?;
        let tag = |node: NodeId| Stamp::new(Hlc::ZERO, node).node_tag;
        let peers = self.peers()?;
        let formers = self.formers.iter().map(|former| former.node);
        let own = formers.chain(peers.keys().copied()).chain([self.node]);
        Ok(Settlement {
            own: self.merged_seq()?,
            policies: policies.into_iter().collect(),
            left: self.left_lanes()?,
            tags: nodes.into_iter().chain(own).map(tag).collect(),
            peers,
        })
    }

    /// How far the journals of other lanes are merged. What two of them have in common, because a lane went on under another
    /// name, is merged with either; until then it is shown, once.
    fn peers(&self) -> Result<BTreeMap<NodeId, i64>, StoreError> {
        let mut journals: Vec<(NodeId, Holding)> = self.peer_holdings()?.into_iter().collect();
        journals.sort_unstable_by_key(|(node, holding)| (holding.begin.seq, *node));
        let mut stated = BTreeMap::new();
        let mut peers = BTreeMap::new();
        for (node, holding) in &journals {
            let merged = self.merged_seq_of(*node)?.unwrap_or(0);
            stated.insert(*node, merged);
            peers.insert(*node, merged.max(self.own_of(*node, holding.end.seq)?));
        }
        let first = "SELECT j.node, e.chain FROM local.peer_entry AS e
                     JOIN local.peer_journal AS j ON j.origin = e.origin WHERE e.seq = 1 AND j.begin_seq = 0";
        let first = self.conn.query_map(first, (), |row| {
            let node = row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?;
            Ok((node, row.get::<Vec<u8>>(1)?))
        })?;
        let first: BTreeMap<NodeId, Vec<u8>> = first.into_iter().collect();
        let mut kin = Vec::new();
        for (index, (later, continued)) in journals.iter().enumerate() {
            for (former, holding) in journals.get(..index).unwrap_or_default() {
                let begin = continued.begin;
                let is_kin = match begin.seq {
                    0 => first.contains_key(later) && first.get(later) == first.get(former),
                    seq => self.peer_chain(*former, seq)? == Some(begin.chain),
                };
                if !is_kin {
                    continue;
                }
                let until = holding.end.seq.min(continued.end.seq);
                let agreed = last_where(begin.seq, until, |seq| {
                    Ok(self.peer_chain(*former, seq)? == self.peer_chain(*later, seq)?)
                })?;
                kin.push((*former, *later, agreed));
            }
        }
        let mut raise = |node, merged: i64| {
            let known = peers.entry(node).or_insert(0);
            *known = merged.max(*known);
            *known
        };
        for (former, later, agreed) in &kin {
            raise(
                *former,
                stated.get(later).copied().unwrap_or(0).min(*agreed),
            );
        }
        for (former, later, agreed) in &kin {
            let merged = raise(*former, 0).min(*agreed);
            raise(*later, merged);
        }
        Ok(peers)
    }

    /// How far a journal that others hold is merged, as far as it stands in the own book under a name that this till has or had.
    fn own_of(&self, node: NodeId, end: i64) -> Result<i64, StoreError> {
        let merged = self.merged_seq()?;
        if node == self.node {
            return Ok(merged);
        }
        let at = self.formers.iter().position(|former| former.node == node);
        let later = at.and_then(|at| self.formers.get(at..)).unwrap_or_default();
        let common = later.iter().map(|former| former.common.seq).min();
        let (Some(common), Some(former)) = (common, later.first()) else {
            return Ok(0);
        };
        // It may have gone on under that name beyond what the hub knew.
        let agreed = last_where(common, former.until_seq.min(end), |seq| {
            Ok(self.chain_at(seq)? == self.peer_chain(node, seq)?)
        })?;
        Ok(merged.min(agreed))
    }

    /// Takes note of a journal that is about to begin. What is known of the others stays what the pending rows were made by.
    pub(crate) fn know_peer(&mut self, node: NodeId) -> Result<(), StoreError> {
        let merged = self
            .merged_seq_of(node)?
            .unwrap_or(0)
            .max(self.own_of(node, 0)?);
        let tag = Stamp::new(Hlc::ZERO, node).node_tag;
        self.settlement.tags.insert(tag);
        self.settlement.peers.insert(node, merged);
        Ok(())
    }

    /// The edits of a row, by every lane, with what the hub has merged of them; nothing when it has merged all.
    pub(crate) fn edits_of(
        &self,
        table: &Table,
        row: &str,
        shop: Option<ShopId>,
    ) -> Result<Vec<LaneEdit>, StoreError> {
        let sql = "SELECT l.origin, l.seq, j.node FROM local.lane_edit AS l
                   LEFT JOIN local.peer_journal AS j ON j.origin = l.origin
                   WHERE l.table_name = ?1 AND l.row_id = ?2 ORDER BY l.origin, l.seq";
        let key = params![table.name.as_str(), row];
        let noted = self.conn.query_map(sql, key, |found| {
            let node: Option<NodeId> = found.get_with(2, |bytes: Option<Vec<u8>>| {
                bytes.map(|bytes| NodeId::from_slice(&bytes)).transpose()
            })?;
            let (origin, seq) = (found.get(0)?, found.get(1)?);
            if node.is_some_and(|node| self.settlement.left.contains(&node)) {
                return Ok(None);
            }
            let is_merged = seq <= self.settlement.merged(node);
            Ok(Some(Noted {
                origin,
                seq,
                is_merged,
            }))
        })?;
        let noted: Vec<Noted> = noted.into_iter().flatten().collect();
        let mut edits = Vec::new();
        if noted.iter().all(|noted| noted.is_merged) {
            return Ok(edits);
        }
        for Noted {
            origin,
            seq,
            is_merged,
        } in looked_at(noted)
        {
            let place = (origin, seq);
            let Some((node, stamp, id, edit)) = self.noted_edit(place)? else {
                continue;
            };
            if edit.table == table.name && edit.row == row && fits(table, &edit, shop) {
                let origin = Origin {
                    edit: id,
                    node,
                    shop,
                    // What another system's data say has no time of a till's clock.
                    imported: edit.at_ms.is_none(),
                };
                edits.push(LaneEdit {
                    stamp,
                    origin,
                    edit,
                    is_merged,
                });
            }
        }
        Ok(edits)
    }

    /// The edit at a place of a journal; `None` when something else stands there by now.
    fn noted_edit(
        &self,
        (origin, seq): (i64, i64),
    ) -> Result<Option<(NodeId, Stamp, DocumentId, CatalogEdit)>, StoreError> {
        if origin == OWN {
            let sql = "SELECT id, hlc, payload FROM main.journal WHERE seq = ?1 AND topic = 7 AND payload IS NOT NULL";
            return Ok(self.conn.query_optional(sql, [seq], |row| {
                let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
                let edit = row.get_with(2, |text: String| serde_json::from_str(&text))?;
                // Later edits name this one by the stamp it got then.
                let writer = writer_of(&self.formers, self.node, seq);
                let stamp = Stamp::new(Hlc::from_raw(row.get(1)?), writer);
                Ok((self.node, stamp, id, edit))
            })?);
        }
        let sql =
            "SELECT j.node, e.id, e.hlc, e.chain, e.document, coalesce(b.chain, j.begin_chain)
                   FROM local.peer_entry AS e JOIN local.peer_journal AS j ON j.origin = e.origin
                   LEFT JOIN local.peer_entry AS b ON b.origin = e.origin AND b.seq = e.seq - 1
                   WHERE e.origin = ?1 AND e.seq = ?2 AND e.kind = ?3";
        let key = params![origin, seq, Topic::CatalogEdit.code()];
        let found = self.conn.query_optional(sql, key, |row| {
            let node = row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?;
            let id = row.get_with(1, |bytes: Vec<u8>| DocumentId::from_slice(&bytes));
            let (hlc, text) = (row.get::<i64>(2).ok(), row.get::<String>(4).ok());
            // No till's time is before the epoch.
            let hlc = hlc.filter(|hlc| *hlc >= 0).map(Hlc::from_raw);
            let chain = |index| Chain::from_slice(&row.get::<Vec<u8>>(index).ok()?);
            let chains = chain(3).zip(chain(5));
            let read = id.ok().zip(hlc).zip(text).zip(chains);
            Ok(
                read.map(|(((id, hlc), document), (chain, before))| LaneEntry {
                    origin: node,
                    seq,
                    id,
                    hlc,
                    kind: Topic::CatalogEdit.code(),
                    before,
                    chain,
                    document,
                }),
            )
        })?;
        // It was whole when it came: what is damaged since is not shown, and is said to be when it is counted or handed on.
        let whole = found.flatten().filter(LaneEntry::is_whole);
        Ok(whole.and_then(|entry| {
            let stamp = Stamp::new(entry.hlc, entry.origin);
            edit_of(&entry).map(|edit| (entry.origin, stamp, entry.id, edit))
        }))
    }

    /// The rows that have edits which the hub has not merged.
    pub(crate) fn waiting_rows(&self) -> Result<BTreeSet<RowName>, StoreError> {
        let mut rows = BTreeSet::new();
        let left = &self.settlement.left;
        let journals = self.settlement.journals();
        for node in journals.filter(|node| node.is_none_or(|node| !left.contains(&node))) {
            rows.extend(self.rows_between(node, self.settlement.merged(node), i64::MAX)?);
        }
        Ok(rows)
    }

    /// The rows with edits of a journal behind one position and up to another.
    pub(crate) fn rows_between(
        &self,
        node: Option<NodeId>,
        after: i64,
        until: i64,
    ) -> Result<Vec<RowName>, StoreError> {
        let sql = "SELECT DISTINCT table_name, row_id FROM local.lane_edit
                   WHERE seq > ?2 AND seq <= ?3 AND origin = CASE WHEN ?1 IS NULL THEN 0
                       ELSE (SELECT origin FROM local.peer_journal WHERE node = ?1) END";
        let key = params![node.map(NodeId::to_bytes), after, until];
        let rows = self
            .conn
            .query_map(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows)
    }

    /// Shows the edits among entries that have just been kept, within their transaction.
    pub(crate) fn show_entries(
        &self,
        origin: i64,
        entries: &[&LaneEntry],
    ) -> Result<(), StoreError> {
        let mut rows = BTreeSet::new();
        for entry in entries {
            if let Some(edit) = edit_of(entry) {
                note_edit(&self.conn, (origin, entry.seq), &edit)?;
                rows.insert((edit.table, edit.row));
            }
        }
        for (table, row) in &rows {
            if table == "prices" {
                // From now on sales look for one; they find none if this is taken back.
                self.has_dated_prices.set(true);
            }
            self.show_row(table, row)?;
        }
        Ok(())
    }
}

/// The last position up to `until` at which two journals agree that agree at `from`: where they differ once, they differ from there on.
fn last_where(
    from: i64,
    until: i64,
    mut agree: impl FnMut(i64) -> Result<bool, StoreError>,
) -> Result<i64, StoreError> {
    let (mut agreed, mut parted) = (from, until.max(from) + 1);
    while parted - agreed > 1 {
        let middle = agreed + (parted - agreed).div_euclid(2);
        match agree(middle)? {
            true => agreed = middle,
            false => parted = middle,
        }
    }
    Ok(agreed)
}

/// Where an edit of a row stands.
struct Noted {
    origin: i64,
    seq: i64,
    is_merged: bool,
}

/// Those that the hub has not merged, and of each journal the newest that it has; `noted` is ascending.
fn looked_at(noted: Vec<Noted>) -> Vec<Noted> {
    let mut merged: BTreeMap<i64, usize> = BTreeMap::new();
    let newest = noted.into_iter().rev().filter(|noted| {
        let of_origin = merged.entry(noted.origin).or_default();
        *of_origin += usize::from(noted.is_merged);
        !noted.is_merged || *of_origin <= MERGED_EDITS_MAX
    });
    newest.collect()
}
