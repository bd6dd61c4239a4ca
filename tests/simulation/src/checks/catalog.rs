//! G5 and G6: one catalog everywhere, and no entered value gone.

use super::evidence::{Evidence, columns, difference, dump, tables};
use super::{Guarantee, Judgement};
use crate::record::Record;
use counterfoil_migrate::{Connection, params};

pub(super) fn check(
    evidence: &Evidence,
    record: &Record,
    judgement: &mut Judgement,
) -> anyhow::Result<()> {
    let revision = |database: &Connection| -> anyhow::Result<i64> {
        Ok(database.query_value("SELECT revision FROM catalog_state", ())?)
    };
    let (hub, shared) = (
        revision(&evidence.hub_catalog)?,
        shared_tables(&evidence.hub_catalog)?,
    );
    for node in &evidence.nodes {
        let held = revision(&node.catalog)?;
        judgement.require(Guarantee::G5, held == hub, || {
            format!("{} holds catalog revision {held}, the hub {hub}", node.name)
        });
        for table in &shared {
            let (hub, node_rows) = (
                dump(&evidence.hub_catalog, table)?,
                dump(&node.catalog, table)?,
            );
            if let Some(found) = difference(&hub, &node_rows) {
                let text = format!("{} {table}, hub against node: {found}", node.name);
                judgement.breaks(Guarantee::G5, text);
            }
        }
    }
    for edit in &record.edits {
        // An unset flag is the default of a row: setting it to that records nothing.
        if edit.column == "deleted" && edit.value == "0" {
            continue;
        }
        let sql = "SELECT count(*) FROM field_version
                   WHERE table_name = ?1 AND row_id = ?2 AND column_name = ?3 AND value = ?4";
        let key = params![
            edit.table,
            edit.row.as_str(),
            edit.column,
            edit.value.as_str()
        ];
        let kept: i64 = evidence.hub.query_value(sql, key)?;
        judgement.require(Guarantee::G6, kept > 0, || {
            format!("the hub has no trace of the acknowledged edit {edit:?}")
        });
    }
    judgement.conflicts = evidence
        .hub
        .query_value("SELECT count(*) FROM conflict", ())?;
    Ok(())
}

/// The tables that edits change; the rest is bookkeeping that may be newer at the hub.
fn shared_tables(catalog: &Connection) -> anyhow::Result<Vec<String>> {
    let mut shared = Vec::new();
    for table in tables(catalog)? {
        if columns(catalog, &table)?
            .iter()
            .any(|column| column == "versions")
        {
            shared.push(table);
        }
    }
    Ok(shared)
}
