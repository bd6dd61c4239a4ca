//! An edit made at the hub itself.

use super::audit::{Decided, write_down};
use super::catalog::TableShape;
use super::conflicts::plain;
use super::edits::{Entered, check_edit, insert_versions};
use super::fields::{Fields, load_fields};
use super::{Store, StoreError, undecided};
use counterfoil_domain::edit::{DELETED, is_price_below_zero, row_id};
use counterfoil_domain::employee;
use counterfoil_domain::merge::{Field, Origin, Stamp};
use counterfoil_domain::{CatalogEdit, DocumentId, Hlc, HlcClock, NodeId, Scalar};
use counterfoil_migrate::{Connection, params};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An edit made at the hub itself.
#[derive(Clone, Debug)]
pub(crate) struct HubEdit {
    pub(crate) edit: DocumentId,
    /// The hub's id, as the node of the edit.
    pub(crate) hub: NodeId,
    pub(crate) now_ms: i64,
    /// Who makes it, for the audit trail.
    pub(crate) who: String,
}

/// An edit that is ready to be made, with its stamp.
pub(super) struct Prepared {
    pub(super) edit: CatalogEdit,
    pub(super) stamp: Stamp,
    /// It takes back what others wrote, and says nothing of its own.
    pub(super) undoes: bool,
}

/// The versions of a column that an edit replaces.
pub(super) type Replaced<'a> = &'a dyn Fn(&str) -> Vec<Stamp>;

/// Why an edit at the hub was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HubEditError {
    /// There is no such table.
    #[error("the catalog has no such table")]
    NoTable,
    /// The edit breaks a rule.
    #[error("{0}")]
    Refused(String),
}

impl Store {
    /// Makes an edit at the hub; the row it went to, as it is stored. It replaces everything known of the columns,
    /// so it also settles their conflicts.
    pub(crate) fn edit_at_hub(
        &self,
        table: &str,
        row: &str,
        columns: &BTreeMap<String, Option<String>>,
        by: &HubEdit,
    ) -> Result<Result<String, HubEditError>, StoreError> {
        let Some(shape) = self.shape.table(table) else {
            return Ok(Err(HubEditError::NoTable));
        };
        // As at a till: whoever edits a row that was merged means the one that stands for it, unless they delete it.
        let named = row_id(table, row);
        let stored = match columns.contains_key(DELETED) {
            true => named,
            false => self.survivor(table, &named)?,
        };
        let row = stored.as_str();
        let mut values = BTreeMap::new();
        for (column, text) in columns {
            match typed(shape, column, text.as_deref()) {
                Ok(value) => values.insert(column.clone(), value),
                Err(reason) => return Ok(Err(HubEditError::Refused(reason))),
            };
        }
        self.hub.transaction(|tx| {
            let fields = load_fields(tx, table, row)?;
            let before = self.current(table, &fields, values.keys());
            let all = |column: &str| fields.get(column).map(Field::heads).unwrap_or_default();
            let prepared = match self.prepare(tx, (table, row), &fields, (values, &all), by)? {
                Ok(prepared) => prepared,
                Err(refused) => return Ok(Err(refused)),
            };
            let after = prepared.edit.columns.iter();
            let after = after.map(|(column, value)| (column.clone(), plain(value)));
            let decided = Decided {
                at_ms: by.now_ms,
                who: &by.who,
                action: "catalog_set",
                subject: format!("{table} {row}"),
                detail: "",
                before: before.into(),
                after: after.collect::<Map<_, _>>().into(),
                edit: Some(by.edit),
                conflict: None,
            };
            write_down(tx, decided)?;
            self.carry_out(tx, prepared, by)?;
            Ok(Ok(stored.clone()))
        })
    }

    /// What columns of a row hold now.
    fn current<'a>(
        &self,
        table: &str,
        fields: &Fields,
        columns: impl Iterator<Item = &'a String>,
    ) -> Map<String, Value> {
        let value = |column: &String| {
            let decision = self.shape.decide(table, column, fields)?;
            Some(plain(
                &fields.get(column)?.version(&decision.current)?.value,
            ))
        };
        columns
            .map(|column| (column.clone(), value(column).unwrap_or(Value::Null)))
            .collect()
    }

    /// Makes ready an edit that replaces some versions of its columns.
    pub(super) fn prepare(
        &self,
        tx: &Connection,
        (table, row): (&str, &str),
        fields: &Fields,
        (columns, replaced): (BTreeMap<String, Scalar>, Replaced<'_>),
        by: &HubEdit,
    ) -> Result<Result<Prepared, HubEditError>, StoreError> {
        let mut base = BTreeMap::new();
        let mut seen = None;
        for column in columns.keys() {
            base.insert(column.clone(), replaced(column));
            let last = fields.get(column).and_then(Field::newest);
            seen = seen.max(last.map(|place| place.time));
        }
        let edit = CatalogEdit {
            table: table.to_owned(),
            row: row.to_owned(),
            columns,
            base,
            base_revision: self.catalog_revision()?,
            decision: None,
            at_ms: None,
        };
        if let Err(fault) = check_edit(&self.shape, &edit) {
            return Ok(Err(HubEditError::Refused(fault.sentence)));
        }
        // What was merged may not be published yet.
        let newest = self.newest_hlc()?.max(seen.unwrap_or(Hlc::ZERO));
        let stamp = Stamp::new(next_hlc(tx, newest, by.now_ms)?, by.hub);
        Ok(Ok(Prepared {
            edit,
            stamp,
            undoes: false,
        }))
    }

    /// Merges an edit of the hub.
    pub(super) fn carry_out(
        &self,
        tx: &Connection,
        Prepared {
            edit,
            stamp,
            undoes,
        }: Prepared,
        by: &HubEdit,
    ) -> Result<(), StoreError> {
        let origin = Origin {
            edit: by.edit,
            node: by.hub,
            shop: None,
            imported: false,
        };
        let entered = Entered {
            undoes,
            ..Entered::default()
        };
        insert_versions(tx, &edit, (stamp, stamp.hlc), &origin, &entered)?;
        undecided::settle(tx, &self.shape, &[(edit.table, edit.row)], by.now_ms)?;
        Ok(())
    }
}

/// The hub's logical clock: after everything it has merged and given out.
pub(super) fn next_hlc(tx: &Connection, published: Hlc, now_ms: i64) -> Result<Hlc, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'hlc'";
    let given = tx.query_optional(sql, (), |row| {
        row.get_with(0, |text: String| text.parse::<i64>())
    })?;
    let last = published.max(Hlc::from_raw(given.unwrap_or(0)));
    let next = HlcClock::restored(last).tick(now_ms);
    tx.execute(
        "INSERT INTO meta VALUES ('hlc', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![next.raw().to_string()],
    )?;
    Ok(next)
}

/// A value as a person gives it, in the type of its column.
pub(super) fn typed(
    shape: &TableShape,
    column: &str,
    text: Option<&str>,
) -> Result<Scalar, String> {
    let Some(text) = text else {
        return Ok(Scalar::Null);
    };
    let value = converted(shape, column, text)?;
    if is_price_below_zero(column, &value) {
        let name = &shape.name;
        return Err(format!(
            "`{name}.{column}` takes a price of zero or more, not `{text}`"
        ));
    }
    employee::column_value(&shape.name, column, value).map_err(|error| error.to_string())
}

fn converted(shape: &TableShape, column: &str, text: &str) -> Result<Scalar, String> {
    match shape.is_integer(column) {
        Some(true) => text.trim().parse().map(Scalar::Integer).map_err(|_| {
            format!(
                "`{}.{column}` takes a whole number, not `{text}`",
                shape.name
            )
        }),
        Some(false) => Ok(Scalar::Text(text.to_owned())),
        None => Err(format!(
            "`{}` has no column `{column}`; it has {}",
            shape.name,
            shape
                .editable
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}
