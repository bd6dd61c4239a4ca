//! Which customers and products were merged into which others?

use super::catalog::CatalogShape;
use super::fields::load_fields;
use super::hub_edits::{HubEdit, HubEditError};
use super::{Reader, Store, StoreError};
use counterfoil_domain::Scalar;
use counterfoil_domain::alias::{ALIASES, MERGEABLE, SURVIVOR, alias_id, survivor};
use counterfoil_domain::edit::{DELETED, row_id};
use counterfoil_migrate::{Connection, params};
use std::collections::BTreeMap;

/// What a column of a row holds by everything that was merged, published or not.
fn held(
    hub: &Connection,
    shape: &CatalogShape,
    (table, row, column): (&str, &str, &str),
) -> Result<Option<Scalar>, StoreError> {
    let fields = load_fields(hub, table, row)?;
    let decision = shape.decide(table, column, &fields);
    let version = decision.and_then(|decision| fields.get(column)?.version(&decision.current));
    Ok(version.map(|version| version.value.clone()))
}

impl Store {
    /// The row that stands for a row, by everything that was merged, published or not.
    pub(super) fn survivor(&self, table: &str, row: &str) -> Result<String, StoreError> {
        if !MERGEABLE.contains(&table) {
            return Ok(row.to_owned());
        }
        survivor(row, |at| {
            let id = alias_id(table, at);
            let is = |column| held(&self.hub, &self.shape, (ALIASES, &id, column));
            if is(DELETED)? == Some(Scalar::Integer(1)) {
                return Ok(None);
            }
            Ok(match is(SURVIVOR)? {
                Some(Scalar::Text(onward)) => Some(onward),
                _ => None,
            })
        })
    }

    /// Merges a row into another one, or takes that back, by an edit of the hub.
    pub(crate) fn merge_at_hub(
        &self,
        (table, row): (&str, &str),
        into: Option<&str>,
        by: &HubEdit,
    ) -> Result<Result<(), HubEditError>, StoreError> {
        let refused = |reason: String| Ok(Err(HubEditError::Refused(reason)));
        if !MERGEABLE.contains(&table) {
            let known = MERGEABLE.join(" and ");
            return refused(format!("rows of `{table}` are not merged; {known} are"));
        }
        let row = row_id(table, row);
        let id = alias_id(table, &row);
        let mut columns = BTreeMap::new();
        match into.map(|into| row_id(table, into)) {
            Some(into) => {
                let target = self.survivor(table, &into)?;
                if row == into || target == row {
                    return refused(format!(
                        "`{into}` stands for `{row}`, or the other way round, already"
                    ));
                }
                let fields = load_fields(&self.hub, table, &target)?;
                let deleted = held(&self.hub, &self.shape, (table, &target, DELETED))?;
                if fields.is_empty() || deleted == Some(Scalar::Integer(1)) {
                    return refused(format!("`{table}` has no row `{into}`"));
                }
                columns.insert(SURVIVOR.to_owned(), Some(into));
                columns.insert(DELETED.to_owned(), Some("0".to_owned()));
            }
            None => {
                if load_fields(&self.hub, ALIASES, &id)?.is_empty() {
                    return refused(format!("`{row}` was not merged into another row"));
                }
                columns.insert(DELETED.to_owned(), Some("1".to_owned()));
            }
        }
        let made = self.edit_at_hub(ALIASES, &id, &columns, by)?;
        Ok(made.map(|_| ()))
    }
}

impl Reader {
    /// The row that stands for a row, as tills see it.
    pub(crate) fn survivor(&self, table: &str, row: &str) -> Result<String, StoreError> {
        let aliases = self.aliases(table)?;
        let row = row_id(table, row);
        Ok(aliases.get(&row).cloned().unwrap_or(row))
    }

    /// Every row of a table that was merged, with the row that stands for it.
    pub(super) fn aliases(&self, table: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let sql = "SELECT substr(id, length(?1) + 1), survivor FROM aliases
                   WHERE deleted = 0 AND survivor IS NOT NULL AND substr(id, 1, length(?1)) = ?1";
        // A catalog from before there were aliases has none.
        let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
        if !self.catalog.query_value::<bool>(there, params![ALIASES])? {
            return Ok(BTreeMap::new());
        }
        let prefix = alias_id(table, "");
        let direct: BTreeMap<String, String> = self
            .catalog
            .query_map(sql, params![prefix], |row| Ok((row.get(0)?, row.get(1)?)))?
            .into_iter()
            .collect();
        let mut ends = BTreeMap::new();
        for row in direct.keys() {
            let end = survivor::<StoreError>(row, |at| Ok(direct.get(at).cloned()))?;
            ends.insert(row.clone(), end);
        }
        Ok(ends)
    }
}
