//! Which fields have new versions that nobody has decided about, and what comes of them?
//!
//! A batch leaves its fields here, and the publication of their rows decides them: what several tills have written
//! meanwhile is looked at together, once.

use super::StoreError;
use super::catalog::CatalogShape;
use super::conflicts::FieldName;
use super::fields::{Fields, load_fields, tend_owned};
use super::losers::{self, Change};
use super::policies::OWNER;
use counterfoil_migrate::{Connection, params};
use std::collections::BTreeSet;

/// A row of the catalog: its table and its id.
pub(crate) type RowName = (String, String);

/// Notes that versions came to fields of a row: they are to be decided, and the row is to be published.
pub(super) fn leave<'a>(
    tx: &Connection,
    (table, row): (&str, &str),
    columns: impl IntoIterator<Item = &'a String>,
) -> Result<(), StoreError> {
    for column in columns {
        tx.execute(
            "INSERT OR IGNORE INTO undecided (table_name, row_id, column_name) VALUES (?1, ?2, ?3)",
            params![table, row, column.as_str()],
        )?;
    }
    tx.execute(
        "INSERT OR IGNORE INTO publish_queue (table_name, row_id) VALUES (?1, ?2)",
        params![table, row],
    )?;
    Ok(())
}

/// Decides what is undecided in the rows, and records who lost; gives what counts in each.
pub(super) fn settle(
    tx: &Connection,
    shape: &CatalogShape,
    rows: &[RowName],
    now_ms: i64,
) -> Result<Vec<Fields>, StoreError> {
    let mut change = Change::default();
    let settled = rows.iter().map(|(table, row)| {
        let fields = load_fields(tx, table, row)?;
        let columns = take(tx, table, row)?;
        if !columns.is_empty() {
            let row = ((table.as_str(), row.as_str()), &fields);
            decide(tx, shape, row, (columns, &mut change, now_ms))?;
        }
        Ok(fields)
    });
    settled.collect()
}

fn take(tx: &Connection, table: &str, row: &str) -> Result<BTreeSet<String>, StoreError> {
    let sql = "DELETE FROM undecided WHERE table_name = ?1 AND row_id = ?2 RETURNING column_name";
    let columns = tx.query_map(sql, params![table, row], |found| found.get(0))?;
    Ok(columns.into_iter().collect())
}

/// Decides each field once.
fn decide(
    tx: &Connection,
    shape: &CatalogShape,
    ((table, row), fields): ((&str, &str), &Fields),
    (mut columns, change, now_ms): (BTreeSet<String>, &mut Change, i64),
) -> Result<(), StoreError> {
    let is_owned = fields.contains_key(OWNER);
    if is_owned {
        // Whose the row is may have changed, and with it what counts in every column.
        tend_owned(tx, (table, row), now_ms)?;
        columns.extend(fields.keys().cloned());
    }
    columns.extend(shape.owned_columns(table, fields).cloned());
    for column in &columns {
        let name = FieldName { table, row, column };
        let Some(field) = fields.get(column) else {
            continue;
        };
        // A field that has one version has never had a conflict, unless others do not count any more.
        if !is_owned && field.versions().nth(1).is_none() {
            continue;
        }
        match shape.decide(table, column, fields) {
            Some(decision) => losers::note(tx, name, (field, &decision), change, now_ms)?,
            None => losers::settle_uncounted(tx, name, change, now_ms)?,
        }
    }
    Ok(())
}
