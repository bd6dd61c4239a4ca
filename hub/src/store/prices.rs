//! How are conflicts about prices settled? By a person, whatever a catalog's schema says (ADR 0016).

use super::catalog::{CatalogShape, TableShape};
use super::policies::{Setter, WantedPolicy};
use super::{Store, StoreError};
use counterfoil_domain::edit::is_price_term;
use counterfoil_domain::merge::Policy;
use counterfoil_domain::{HubId, NodeId};
use counterfoil_migrate::{Connection, params};

/// Who changes the policies of a hub that ran before this rule was made.
const WHO: &str = "counterfoil-hub";

/// What the audit trail says of that.
const WHY: &str = "prices are never merged by time";

fn columns(table: &TableShape) -> impl Iterator<Item = &str> {
    let columns = table.editable.iter().map(|(name, _)| name.as_str());
    columns.filter(|column| is_price_term(column))
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
            columns: columns(table).map(str::to_owned).collect(),
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
