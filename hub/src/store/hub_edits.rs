//! An edit made at the hub itself.

use super::catalog::TableShape;
use super::edits::{Touched, check_edit, insert_versions, load_fields, settle};
use super::{Store, StoreError};
use counterfoil_domain::merge::{Origin, Stamp};
use counterfoil_domain::{CatalogEdit, DocumentId, Hlc, HlcClock, NodeId, Scalar};
use counterfoil_migrate::{Connection, params};
use std::collections::BTreeMap;

/// An edit made at the hub itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubEdit {
    pub(crate) edit: DocumentId,
    /// The hub's id, as the node of the edit.
    pub(crate) hub: NodeId,
    pub(crate) now_ms: i64,
}

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
    /// Makes an edit at the hub. It replaces everything known of the columns, so it also settles
    /// their conflicts.
    pub(crate) fn edit_at_hub(
        &self,
        table: &str,
        row: &str,
        columns: &BTreeMap<String, Option<String>>,
        by: &HubEdit,
    ) -> Result<Result<(), HubEditError>, StoreError> {
        let Some(shape) = self.shape.table(table) else {
            return Ok(Err(HubEditError::NoTable));
        };
        let mut values = BTreeMap::new();
        for (column, text) in columns {
            match typed(shape, column, text.as_deref()) {
                Ok(value) => values.insert(column.clone(), value),
                Err(reason) => return Ok(Err(HubEditError::Refused(reason))),
            };
        }
        let base_revision = self.catalog_revision()?;
        self.hub.transaction(|tx| {
            let fields = load_fields(tx, table, row)?;
            let mut base = BTreeMap::new();
            for column in values.keys() {
                let decision = fields
                    .get(column)
                    .and_then(|field| field.decide(self.shape.policy(table, column)));
                let seen = decision.map(|found| [found.losers, vec![found.current]].concat());
                base.insert(column.clone(), seen.unwrap_or_default());
            }
            let (table, row) = (table.to_owned(), row.to_owned());
            let edit = CatalogEdit {
                table,
                row,
                columns: values,
                base,
                base_revision,
            };
            if let Err(fault) = check_edit(&self.shape, &edit) {
                return Ok(Err(HubEditError::Refused(fault.sentence)));
            }
            let stamp = Stamp::new(next_hlc(tx, self.newest_hlc()?, by.now_ms)?, by.hub);
            let origin = Origin {
                edit: by.edit,
                node: by.hub,
                shop: None,
            };
            insert_versions(tx, &edit, stamp, &origin)?;
            let columns = edit.columns.into_keys().collect();
            let touched = Touched::from([((edit.table, edit.row), columns)]);
            settle(tx, &self.shape, &touched, by.now_ms)?;
            Ok(Ok(()))
        })
    }
}

/// The hub's logical clock: after everything it has merged and given out.
fn next_hlc(tx: &Connection, published: Hlc, now_ms: i64) -> Result<Hlc, StoreError> {
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

pub(super) fn typed(
    shape: &TableShape,
    column: &str,
    text: Option<&str>,
) -> Result<Scalar, String> {
    let Some(text) = text else {
        return Ok(Scalar::Null);
    };
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
