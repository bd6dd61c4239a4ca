//! How are conflicts about prices settled? By a person, whatever a catalog's schema says (ADR 0016).

use super::catalog::{CatalogShape, TableShape};
use super::policies::{OWNER, Setter, WantedPolicy};
use super::{Store, StoreError};
use counterfoil_domain::edit::is_price;
use counterfoil_domain::merge::Policy;
use counterfoil_domain::{HubId, NodeId};
use counterfoil_migrate::{Connection, params};

/// Who changes the policies of a hub that ran before this rule was made.
const WHO: &str = "counterfoil-hub";

/// What the audit trail says of that.
const WHY: &str = "prices are never merged by time";

/// A column by which the rows of a table take turns: they state prices.
pub(super) const EFFECTIVE: &str = "valid_from_ms";

/// Whether the rows of a table take turns.
pub(super) fn is_dated(table: &TableShape) -> bool {
    table.is_integer(EFFECTIVE).is_some()
}

/// Whether what two shops set there at the same time is for a person: a price; and in rows that take turns everything,
/// so that one shop's price never stands beside another one's product or day. Not for whom a row holds: of two claims
/// the earlier one does, and what others write there does not count (`domain::merge::of_others`).
pub(super) fn is_term(table: &TableShape, column: &str) -> bool {
    is_price(column) || is_dated(table) && column != OWNER && table.is_integer(column).is_some()
}

fn columns(table: &TableShape) -> Vec<String> {
    let columns = table.editable.iter().map(|(name, _)| name);
    columns
        .filter(|column| is_term(table, column))
        .cloned()
        .collect()
}

/// States in a catalog that nobody has pulled yet that prices are for a person.
pub(super) fn state(catalog: &Connection) -> Result<(), StoreError> {
    for table in CatalogShape::tables(catalog)? {
        for column in columns(&table) {
            catalog.execute(
                "INSERT INTO policy (table_name, column_name, policy) VALUES (?1, ?2, ?3)
                 ON CONFLICT (table_name, column_name) DO UPDATE SET policy = excluded.policy",
                params![table.name.as_str(), column, Policy::Manual.name()],
            )?;
        }
    }
    Ok(())
}

impl Store {
    /// Takes prices from the clock where a hub ran before this rule was made, from now on: what was decided stays.
    /// Done once, it finds nothing to do.
    pub(crate) fn settle_price_policies(
        &mut self,
        hub: HubId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let tables = self.shape.tables.iter();
        let wanted = tables.map(|table| WantedPolicy {
            table: table.name.clone(),
            columns: columns(table),
            policy: Policy::Manual,
        });
        let wanted: Vec<_> = wanted.collect();
        let setter = Setter {
            hub: NodeId::from_uuid(hub.uuid()),
            now_ms,
            who: WHO,
            why: WHY,
        };
        for wanted in wanted {
            if self.put_in_force(&wanted, &setter)? {
                let (table, column) = (&wanted.table, wanted.named());
                tracing::warn!(table, column, "prices are for a person from now on");
            }
        }
        Ok(())
    }
}
