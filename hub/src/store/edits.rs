//! What does each catalog field hold after the edits of a batch, and which edits lost?

use super::catalog::{CatalogShape, TableShape};
use super::conflicts::{self, FieldName};
use super::consolidation::{NodeKey, condition};
use super::fields::{self, ANOTHERS};
use super::movement::Batch;
use super::policies::OWNER;
use super::stamps::{free_stamp, is_taken, name_as_here};
use super::undecided::{self, RowName};
use super::{StoreError, decisions, known, lineage};
use crate::limits::EDIT_AHEAD_MS_MAX;
use counterfoil_domain::clock::corrected_hlc;
use counterfoil_domain::edit::{DELETED, is_price_below_zero};
use counterfoil_domain::employee::{column_value, is_secret};
use counterfoil_domain::lineage::{Former, writer_of};
use counterfoil_domain::merge::{Origin, Stamp};
use counterfoil_domain::{CatalogEdit, DocumentId, Hlc, NodeId, Rule, Scalar, Topic};
use counterfoil_migrate::{Connection, params};
use std::collections::BTreeSet;

/// One entry of the journal that carries an edit.
struct Entry {
    seq: i64,
    id: Vec<u8>,
    hlc: Hlc,
    payload: Option<String>,
    import: Option<Vec<u8>>,
}

/// Merges the edits of a batch; gives their number.
pub(super) fn merge_batch(
    tx: &Connection,
    shape: &CatalogShape,
    batch: &Batch,
) -> Result<i64, StoreError> {
    let sql = format!(
        "SELECT j.seq, j.id, j.hlc, j.payload, j.import_id FROM {}journal AS j
         WHERE j.seq > ?2 AND j.seq <= ?3 AND j.topic = ?4 AND j.{}
           AND NOT EXISTS (SELECT 1 FROM main.quarantine AS q
                           WHERE q.node = ?1 AND q.seq = j.seq AND q.settled_ms IS NULL)
         ORDER BY j.seq",
        batch.source,
        condition(batch.priority)
    );
    let Batch {
        node,
        after,
        until,
        now_ms,
        ..
    } = *batch;
    let params = params![node.number, after, until, Topic::CatalogEdit.code()];
    let entries = tx.query_map(&sql, params, |row| {
        let hlc = Hlc::from_raw(row.get(2)?);
        Ok(Entry {
            seq: row.get(0)?,
            id: row.get(1)?,
            hlc,
            payload: row.get(3)?,
            import: row.get(4)?,
        })
    })?;
    let formers = if entries.is_empty() {
        Vec::new()
    } else {
        lineage::formers(tx, &node)?
    };
    let mut touched = BTreeSet::new();
    for entry in &entries {
        match accept(tx, shape, batch, entry)? {
            Ok((mut edit, id)) => {
                let origin = Origin {
                    edit: id,
                    node: node.id,
                    shop: Some(node.shop),
                    imported: entry.import.is_some(),
                };
                if let Some(decision) = &edit.decision {
                    decisions::note_of_till(tx, shape, &node, (&edit, id), decision, now_ms)?;
                }
                if batch.is_decided {
                    touched.append(&mut fields::give_up(tx, &node, entry.seq)?);
                }
                let stamp = stamp(tx, &node, &formers, entry, (&mut edit, id))?;
                let stamps = (stamp, corrected(batch, &edit, entry));
                let entered = Entered {
                    seq: Some(entry.seq),
                    import: entry.import.as_deref(),
                    waived: batch.waived.has(Rule::RowOfAnotherShop),
                    undoes: false,
                };
                insert_versions(tx, &edit, stamps, &origin, &entered)?;
                touched.insert((edit.table, edit.row));
            }
            Err(fault) => put_aside(tx, &node, entry, &fault, now_ms)?,
        }
    }
    if batch.is_decided {
        // A person waits to hear what becomes of it.
        let rows: Vec<RowName> = touched.into_iter().collect();
        undecided::settle(tx, shape, &rows, now_ms)?;
    }
    note_progress(tx, batch)?;
    Ok(i64::try_from(entries.len()).unwrap_or(i64::MAX))
}

/// The stamp of an edit, which names those before it by what they are called here.
fn stamp(
    tx: &Connection,
    node: &NodeKey,
    formers: &[Former],
    entry: &Entry,
    (edit, id): (&mut CatalogEdit, DocumentId),
) -> Result<Stamp, StoreError> {
    // Later edits of the till name this one by the stamp it got when it was made.
    let writer = writer_of(formers, node.id, entry.seq);
    let stamp = free_stamp(tx, edit, id, entry.hlc, [writer, node.id])?;
    if node.kin {
        let writers = formers.iter().map(|former| former.node);
        let writers: Vec<NodeId> = writers.chain([node.id]).collect();
        name_as_here(tx, edit, node.id, &writers)?;
    }
    Ok(stamp)
}

/// Notes that all edits of the batch are merged or put aside: their till may forget them.
pub(super) fn note_progress(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO main.edit_progress (node, seq)
         SELECT ?1, newest FROM (SELECT max(seq) AS newest FROM {}
                                 WHERE seq > ?2 AND seq <= ?3 AND topic = ?4 AND {})
         WHERE newest IS NOT NULL
         ON CONFLICT (node) DO UPDATE SET seq = max(seq, excluded.seq)",
        batch.node.journal,
        condition(batch.priority)
    );
    let topic = Topic::CatalogEdit.code();
    tx.execute(
        &sql,
        params![batch.node.number, batch.after, batch.until, topic],
    )?;
    Ok(())
}

/// The rule that an edit breaks.
pub(super) struct Fault {
    pub(super) rule: Rule,
    pub(super) sentence: String,
    /// The row of the catalog that it waits for.
    cause: Option<Vec<u8>>,
}

impl Fault {
    fn new(rule: Rule, sentence: impl Into<String>) -> Self {
        Self {
            rule,
            sentence: sentence.into(),
            cause: None,
        }
    }
}

type Accepted = Result<(CatalogEdit, DocumentId), Fault>;

fn accept(
    tx: &Connection,
    shape: &CatalogShape,
    batch: &Batch,
    entry: &Entry,
) -> Result<Accepted, StoreError> {
    let read = || -> Accepted {
        let damaged = |_| Fault::new(Rule::IdDamaged, "its id is damaged");
        let id = DocumentId::from_slice(&entry.id).map_err(damaged)?;
        let payload = entry
            .payload
            .as_deref()
            .ok_or_else(|| Fault::new(Rule::RecordMissing, "the change itself is missing"))?;
        let edit: CatalogEdit = serde_json::from_str(payload).map_err(|error| {
            let sentence = format!("the change cannot be read: {error}");
            Fault::new(Rule::EditUnreadable, sentence)
        })?;
        check_time(batch, &edit, entry)?;
        check_edit(shape, &edit)?;
        Ok((edit, id))
    };
    let accepted = read();
    if let Ok((edit, _)) = &accepted {
        if edit.decision.is_some() {
            // It is about a conflict, which may stand in what has just come.
            let row = (edit.table.clone(), edit.row.clone());
            undecided::settle(tx, shape, &[row], batch.now_ms)?;
        }
        let faults = [
            is_anothers(batch, edit),
            is_for_nothing(tx, edit)?,
            is_anothers_conflict(tx, batch, edit)?,
        ];
        let mut faults = faults.into_iter().flatten();
        if let Some(fault) = faults.find(|fault| !batch.waived.has(fault.rule)) {
            return Ok(Err(fault));
        }
    }
    Ok(accepted)
}

/// A price names its product: why one of a product that nobody has ever named is none.
fn is_for_nothing(tx: &Connection, edit: &CatalogEdit) -> Result<Option<Fault>, StoreError> {
    let Some(Scalar::Text(product)) = edit
        .columns
        .get("product")
        .filter(|_| edit.table == "prices")
    else {
        return Ok(None);
    };
    let sql = format!("SELECT {}", known::is_entered("products", "?1"));
    if tx.query_value(&sql, params![product.as_str()])? {
        return Ok(None);
    }
    let sentence = format!(
        "it is a price of the product `{product}`, which nobody has entered so far; when that \
         arrives, this follows by itself"
    );
    Ok(Some(Fault {
        cause: Some(product.clone().into_bytes()),
        ..Fault::new(Rule::ProductUnknown, sentence)
    }))
}

/// When an edit was made, corrected, in milliseconds since the Unix epoch. Without a time of its till's clock it
/// comes from the data of another system, and its logical time says when; a clock that was ahead has driven
/// that, and then it counts as made when it arrived.
fn made_ms(batch: &Batch, edit: &CatalogEdit, entry: &Entry) -> i64 {
    match edit.at_ms {
        Some(at_ms) => batch.clock.correct(entry.seq, at_ms),
        None if batch.clock.is_measured(entry.seq) => entry.hlc.millis().min(batch.now_ms),
        None => entry.hlc.millis(),
    }
}

/// The logical time by which an edit is merged. What has arrived was not made later than now.
fn corrected(batch: &Batch, edit: &CatalogEdit, entry: &Entry) -> Hlc {
    let at_ms = made_ms(batch, edit, entry).min(batch.now_ms).max(0);
    corrected_hlc(entry.hlc, at_ms)
}

/// A time that is far ahead though it is corrected says nothing of when the edit was made.
fn check_time(batch: &Batch, edit: &CatalogEdit, entry: &Entry) -> Result<(), Fault> {
    let at_ms = made_ms(batch, edit, entry);
    let latest = batch.now_ms.saturating_add(EDIT_AHEAD_MS_MAX);
    if entry.hlc < Hlc::ZERO || at_ms < 0 || at_ms > latest {
        let sentence = format!(
            "it is dated {at_ms} ms after 1970, far from the hub's clock: set the clock of the till and \
             make the change again"
        );
        return Err(Fault::new(Rule::EditTimeImpossible, sentence));
    }
    Ok(())
}

/// A shop claims a row for itself: why one may not for another. Whether the row was another shop's already
/// is a matter of the merge (`fields::tend_owned`).
fn is_anothers(batch: &Batch, edit: &CatalogEdit) -> Option<Fault> {
    let own = batch.node.shop.to_string();
    let is_foreign = match edit.columns.get(OWNER) {
        Some(Scalar::Text(shop)) => *shop != own,
        Some(Scalar::Null | Scalar::Integer(_)) | None => false,
    };
    is_foreign.then(|| Fault::new(Rule::RowOfAnotherShop, ANOTHERS))
}

/// A conflict is decided by whoever has a part in it: why another shop may not.
fn is_anothers_conflict(
    tx: &Connection,
    batch: &Batch,
    edit: &CatalogEdit,
) -> Result<Option<Fault>, StoreError> {
    let Some(decision) = &edit.decision else {
        return Ok(None);
    };
    for column in edit.columns.keys() {
        let (table, row) = (edit.table.as_str(), edit.row.as_str());
        let name = FieldName { table, row, column };
        let found = conflicts::conflict_lost_by(tx, name, decision.loser, batch.node.shop)?;
        if let Some((id, false)) = found {
            let sentence =
                format!("it decides conflict {id}, in which the till's shop has no part");
            return Ok(Some(Fault::new(Rule::ConflictOfAnotherShop, sentence)));
        }
    }
    Ok(None)
}

pub(super) fn check_edit(shape: &CatalogShape, edit: &CatalogEdit) -> Result<(), Fault> {
    let table = shape.table(&edit.table).ok_or_else(|| {
        let sentence = format!("the catalog has no table `{}`; update the hub", edit.table);
        Fault::new(Rule::TableUnknown, sentence)
    })?;
    let unreadable = |sentence: &str| Err(Fault::new(Rule::EditUnreadable, sentence));
    if edit.row.trim().is_empty() || edit.row.contains('\0') {
        return unreadable("the id of the row is empty or damaged");
    }
    if edit.columns.is_empty() {
        return unreadable("no column is changed");
    }
    for (column, value) in &edit.columns {
        check_value(table, column, value)?;
    }
    Ok(())
}

fn check_value(table: &TableShape, column: &str, value: &Scalar) -> Result<(), Fault> {
    let name = &table.name;
    let integer = table.is_integer(column).ok_or_else(|| {
        let sentence = format!("`{name}` has no column `{column}` that a shop may change");
        Fault::new(Rule::ColumnUnknown, sentence)
    })?;
    let wrong = |sentence: String| Err(Fault::new(Rule::ColumnValueWrong, sentence));
    match value {
        Scalar::Integer(0 | 1) if column == DELETED => Ok(()),
        _ if column == DELETED => wrong("`deleted` is 0 or 1".to_owned()),
        Scalar::Integer(_) if !integer => wrong(format!("`{name}.{column}` takes text")),
        Scalar::Text(_) if integer => wrong(format!("`{name}.{column}` takes a whole number")),
        Scalar::Text(text) if text.contains('\0') => {
            wrong(format!("`{name}.{column}` holds a damaged text"))
        }
        Scalar::Integer(_) if is_price_below_zero(column, value) => {
            wrong(format!("`{name}.{column}` is a price below zero"))
        }
        Scalar::Null | Scalar::Integer(_) | Scalar::Text(_) => {
            match is_secret(name, column).then(|| column_value(name, column, value.clone())) {
                Some(Err(error)) => wrong(error.to_string()),
                Some(Ok(_)) | None => Ok(()),
            }
        }
    }
}

fn put_aside(
    tx: &Connection,
    node: &NodeKey,
    entry: &Entry,
    fault: &Fault,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO main.quarantine (node, seq, id, topic, reason, found_ms, code, cause)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (node, seq) DO UPDATE SET code = excluded.code, reason = excluded.reason,
             cause = excluded.cause, settled_ms = NULL, settled_as = NULL, told = 0",
        params![
            node.number,
            entry.seq,
            entry.id.clone(),
            Topic::CatalogEdit.code(),
            fault.sentence.replace('\0', " "),
            now_ms,
            fault.rule.name(),
            fault.cause.clone()
        ],
    )?;
    Ok(())
}

/// How a version came in.
#[derive(Default)]
pub(super) struct Entered<'a> {
    /// Its entry's position in the journal of its node.
    pub(super) seq: Option<i64>,
    pub(super) import: Option<&'a [u8]>,
    /// It counts though the row was another shop's.
    pub(super) waived: bool,
    /// It takes back what others wrote.
    pub(super) undoes: bool,
}

/// Adds the versions of an edit; their fields are undecided then.
pub(super) fn insert_versions(
    tx: &Connection,
    edit: &CatalogEdit,
    (stamp, corrected): (Stamp, Hlc),
    origin: &Origin,
    entered: &Entered<'_>,
) -> Result<(), StoreError> {
    for (column, value) in &edit.columns {
        let base = edit.base.get(column).map_or(&[][..], Vec::as_slice);
        let added = tx.execute(
            "INSERT INTO field_version
                 (table_name, row_id, column_name, hlc, node_tag, value, base, edit, node, shop,
                  base_revision, import_id, corrected_hlc, seq, waived, undone)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT DO UPDATE SET waived = max(waived, excluded.waived), gone = 0
                 WHERE edit = excluded.edit AND value = excluded.value
                   AND (excluded.waived > waived OR gone <> 0)",
            params![
                edit.table.as_str(),
                edit.row.as_str(),
                column.as_str(),
                stamp.hlc.raw(),
                i64::from(stamp.node_tag),
                to_json("field value", value)?,
                to_json("list of stamps", base)?,
                origin.edit.to_bytes(),
                origin.node.to_bytes(),
                origin.shop.map(counterfoil_domain::ShopId::to_bytes),
                edit.base_revision,
                entered.import.map(<[u8]>::to_vec),
                corrected.raw(),
                entered.seq,
                i64::from(entered.waived),
                i64::from(entered.undoes),
            ],
        )?;
        if added == 0 && is_taken(tx, edit, origin.edit, stamp)? {
            return Err(StoreError::Missing {
                what: "place for a version of a field",
            });
        }
    }
    undecided::leave(tx, (&edit.table, &edit.row), edit.columns.keys())
}

pub(super) fn to_json<T: serde::Serialize + ?Sized>(
    what: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Json { what, source })
}
