//! What would another policy have come to?

use super::catalog::CatalogShape;
use super::conflicts::{FieldName, GONE, side};
use super::fields::{Fields, load_fields};
use super::policies::{Policies, PolicyError, REST, WantedPolicy};
use super::{Reader, StoreError};
use crate::limits::REHEARSAL_ROWS_MAX;
use counterfoil_domain::Hlc;
use counterfoil_domain::merge::{Decision, Policy, Stamp};
use counterfoil_migrate::{Connection, SqlError, params};
use counterfoil_protocol::wire::policies::{Rehearsal, RehearsalRow};
use std::collections::{BTreeMap, BTreeSet};

/// By the index on who wrote when: the hub itself, and every node there was.
pub(super) const EDITED_SINCE: &str = "WITH writer (id) AS (
        SELECT id FROM node UNION
        SELECT unhex(replace(value, '-', '')) FROM meta WHERE key = 'hub_id')
    SELECT DISTINCT v.row_id, v.column_name FROM writer CROSS JOIN field_version AS v
    WHERE v.node = writer.id AND v.corrected_hlc >= ?3
        AND v.table_name = ?1 AND (?2 = '*' OR v.column_name = ?2)
    ORDER BY v.row_id, v.column_name";

/// Fields of the wanted columns that were edited since.
fn edited_since(
    hub: &Connection,
    policies: &Policies,
    wanted: &WantedPolicy,
    since: Stamp,
) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for named in &wanted.columns {
        let key = params![wanted.table.as_str(), named.as_str(), since.hlc.raw()];
        hub.query_each(EDITED_SINCE, key, |row| -> Result<(), SqlError> {
            let column: String = row.get(1)?;
            // The policy of the rest says nothing of a column that has its own.
            if named != REST || !policies.has_own(&wanted.table, &column) {
                rows.entry(row.get(0)?).or_default().insert(column);
            }
            Ok(())
        })?;
    }
    Ok(rows)
}

impl Reader {
    /// Decides every field that was edited since a moment as if the policy had held since then.
    pub(crate) fn rehearse(
        &self,
        wanted: &WantedPolicy,
        since_ms: i64,
    ) -> Result<Result<Rehearsal, PolicyError>, StoreError> {
        let since = Stamp {
            hlc: Hlc::at_millis(since_ms.max(1)),
            node_tag: 0,
        };
        self.hub.snapshot(|hub| {
            let shape = CatalogShape::load(&self.catalog, hub)?;
            if let Err(refused) = shape.check(wanted) {
                return Ok(Err(refused));
            }
            let mut rehearsal = Rehearsal {
                table: wanted.table.clone(),
                column: wanted.named(),
                policy: wanted.policy,
                since_ms,
                fields: 0,
                different: 0,
                rows: Vec::new(),
            };
            for (row, columns) in edited_since(hub, &shape.policies, wanted, since)? {
                let fields = load_fields(hub, &wanted.table, &row)?;
                for column in columns {
                    let name = FieldName {
                        table: &wanted.table,
                        row: &row,
                        column: &column,
                    };
                    rehearsal.fields += 1;
                    let found = differs(hub, &shape, name, &fields, (since, wanted.policy))?;
                    let Some(found) = found else {
                        continue;
                    };
                    rehearsal.different += 1;
                    if rehearsal.rows.len() < REHEARSAL_ROWS_MAX {
                        rehearsal.rows.push(found);
                    }
                }
            }
            Ok(Ok(rehearsal))
        })
    }
}

/// What a field would hold; `None` when it is what it holds.
fn differs(
    hub: &Connection,
    shape: &CatalogShape,
    name: FieldName<'_>,
    fields: &Fields,
    (since, policy): (Stamp, Policy),
) -> Result<Option<RehearsalRow>, StoreError> {
    let FieldName { table, row, column } = name;
    let held = shape.policies.of(table, column);
    let as_if = held.as_if(since, policy);
    let now = shape.decide(table, column, fields);
    let then = shape.decide_by(&as_if, (table, column), fields);
    // Nothing that was written there counts, under any policy.
    let Some((now, then)) = now.zip(then) else {
        return Ok(None);
    };
    let field = fields.get(column).ok_or(GONE)?;
    let value = |decision: &Decision| field.version(&decision.current).map(|held| &held.value);
    if value(&now) == value(&then) {
        return Ok(None);
    }
    let side = |stamp| -> Result<_, StoreError> { side(hub, name, stamp)?.ok_or(GONE) };
    Ok(Some(RehearsalRow {
        row: row.to_owned(),
        column: column.to_owned(),
        policy_now: held.at(&now.place.moment()),
        now: side(now.current)?,
        then: side(then.current)?,
    }))
}
