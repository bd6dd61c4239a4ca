//! Which catalog rows must be written, and with what?
//!
//! A crash between the two databases repeats the same rows, which changes nothing: a row is written
//! only when its content differs.

use super::catalog::{TableShape, scalars};
use super::fields::Fields;
use super::policies;
use super::undecided::{self, RowName};
use super::{Store, StoreError};
use crate::limits::PUBLISH_ROWS_MAX;
use counterfoil_domain::edit::DELETED;
use counterfoil_domain::merge::{Place, Stamp, creator};
use counterfoil_domain::{Hlc, NodeId, Scalar, ShopId};
use counterfoil_migrate::{Connection, Value, params, params_from_iter};
use std::collections::BTreeMap;

/// A row as it should be, in the order of the table's columns but `revision`.
struct Content {
    values: Vec<Scalar>,
    newest: Hlc,
}

impl Store {
    /// Decides the next rows and publishes them; whether more wait.
    pub(crate) fn publish(&mut self, now_ms: i64) -> Result<bool, StoreError> {
        let sql =
            "SELECT table_name, row_id FROM publish_queue ORDER BY table_name, row_id LIMIT ?1";
        let limit = i64::try_from(PUBLISH_ROWS_MAX).unwrap_or(i64::MAX);
        let queue: Vec<RowName> = self
            .hub
            .query_map(sql, params![limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let more = queue.len() == PUBLISH_ROWS_MAX;
        // Edits count as merged only when every row they touched is written.
        let merged = if more {
            Vec::new()
        } else {
            self.unpublished_progress()?
        };
        let policies = policies::unpublished(&self.shape, &self.catalog)?;
        if queue.is_empty() && merged.is_empty() && !policies {
            return Ok(false);
        }
        let fields = self
            .hub
            .transaction(|tx| undecided::settle(tx, &self.shape, &queue, now_ms))?;
        let mut rows = Vec::with_capacity(queue.len());
        for ((table, row), fields) in queue.iter().zip(fields) {
            if let Some(shape) = self.shape.table(table) {
                rows.push((shape, self.content(shape, row, &fields)?));
            }
        }
        let floor = self.published_revision()?;
        // A till's clock follows policies too: what it writes after it has seen one comes after it.
        let rows_newest = rows.iter().map(|(_, content)| content.newest).max();
        let newest = rows_newest
            .max(self.shape.policies.newest())
            .unwrap_or(Hlc::ZERO);
        let revision = self.catalog.transaction(|tx| {
            let stated = policies::publish(&self.shape, tx)?;
            write(tx, &rows, &merged, (floor, stated, newest))
        })?;
        self.hub.transaction(|tx| -> Result<(), StoreError> {
            tx.execute(
                "INSERT INTO meta VALUES ('published_revision', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![revision.to_string()],
            )?;
            for (table, row) in &queue {
                tx.execute(
                    "DELETE FROM publish_queue WHERE table_name = ?1 AND row_id = ?2",
                    params![table.as_str(), row.as_str()],
                )?;
            }
            Ok(())
        })?;
        self.count_transaction()?;
        Ok(more)
    }

    /// The newest revision that was ever published from this `hub.db`.
    fn published_revision(&self) -> Result<i64, StoreError> {
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'published_revision'";
        Ok(self
            .hub
            .query_optional(sql, (), |row| row.get(0))?
            .unwrap_or(0))
    }

    /// A catalog that is older than what was published was lost or restored: everything is written
    /// again, under revisions that no till has seen. Tells whether it is so.
    pub(super) fn republish_when_lost(&self) -> Result<bool, StoreError> {
        let held: i64 = self
            .catalog
            .query_value("SELECT revision FROM catalog_state", ())?;
        let published = self.published_revision()?;
        if held >= published {
            return Ok(false);
        }
        tracing::warn!(
            held,
            published,
            "the catalog is older than what was published: writing it again"
        );
        self.hub.execute(
            "INSERT OR IGNORE INTO publish_queue (table_name, row_id)
             SELECT DISTINCT table_name, row_id FROM field_version",
            (),
        )?;
        Ok(true)
    }

    /// Nodes whose merged edits the catalog does not state yet.
    fn unpublished_progress(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT node.id, edit_progress.seq FROM edit_progress
                   JOIN node ON node.number = edit_progress.node";
        let merged = self.hub.query_map(sql, (), |row| {
            let id = row.get_with(0, |bytes: Vec<u8>| NodeId::from_slice(&bytes))?;
            Ok((id.to_string(), row.get::<i64>(1)?))
        })?;
        let stated: BTreeMap<String, i64> = self
            .catalog
            .query_map("SELECT node, seq FROM merged_edits", (), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .into_iter()
            .collect();
        let news = |(node, seq): &(String, i64)| stated.get(node).is_none_or(|old| old < seq);
        Ok(merged.into_iter().filter(news).collect())
    }

    fn content(
        &self,
        table: &TableShape,
        row: &str,
        fields: &Fields,
    ) -> Result<Content, StoreError> {
        let mut current = BTreeMap::new();
        let mut versions: BTreeMap<&str, Stamp> = BTreeMap::new();
        let mut latest: Option<(Place, Option<ShopId>)> = None;
        let mut newest = Hlc::ZERO;
        for (column, field) in fields {
            newest = newest.max(field.newest().map_or(Hlc::ZERO, |place| place.time));
            let Some(decision) = self.shape.decide(&table.name, column, fields) else {
                continue;
            };
            let Some(version) = field.version(&decision.current) else {
                continue;
            };
            if latest.is_none_or(|(last, _)| decision.place > last) {
                latest = Some((decision.place, version.origin.shop));
            }
            versions.insert(column, decision.current);
            current.insert(column.as_str(), version.value.clone());
        }
        let shop =
            |shop: Option<ShopId>| shop.map_or(Scalar::Null, |shop| Scalar::Text(shop.to_string()));
        let versions = serde_json::to_string(&versions).map_err(|source| StoreError::Json {
            what: "map of stamps",
            source,
        })?;
        let value = |column: &str| match column {
            "id" => Scalar::Text(row.to_owned()),
            "origin_shop_id" => shop(creator(fields.values())),
            "last_modified_shop_id" => shop(latest.and_then(|(_, shop)| shop)),
            "last_modified_at" => Scalar::Integer(latest.map_or(0, |(place, _)| place.time.raw())),
            "versions" => Scalar::Text(versions.clone()),
            DELETED => current.get(DELETED).cloned().unwrap_or(Scalar::Integer(0)),
            other => current.get(other).cloned().unwrap_or(Scalar::Null),
        };
        let columns = table.columns.iter().filter(|name| *name != "revision");
        Ok(Content {
            values: columns.map(|name| value(name)).collect(),
            newest,
        })
    }
}

fn write(
    tx: &Connection,
    rows: &[(&TableShape, Content)],
    merged: &[(String, i64)],
    (floor, stated, newest): (i64, bool, Hlc),
) -> Result<i64, StoreError> {
    let held: i64 = tx.query_value("SELECT revision FROM catalog_state", ())?;
    let revision = held.max(floor) + 1;
    let mut changed = stated;
    for (table, content) in rows {
        changed |= write_row(tx, table, content, revision)?;
    }
    for (node, seq) in merged {
        tx.execute(
            "INSERT INTO merged_edits (node, seq) VALUES (?1, ?2)
             ON CONFLICT (node) DO UPDATE SET seq = max(seq, excluded.seq)",
            params![node.as_str(), *seq],
        )?;
    }
    tx.execute(
        "UPDATE catalog_state SET revision = CASE WHEN ?1 THEN ?2 ELSE revision END,
             hlc = max(hlc, ?3)
         WHERE ?1 OR hlc < ?3",
        params![i64::from(changed), revision, newest.raw()],
    )?;
    Ok(if changed { revision } else { held.max(floor) })
}

/// Writes the row unless it is there with the same content; whether it did.
fn write_row(
    tx: &Connection,
    table: &TableShape,
    content: &Content,
    revision: i64,
) -> Result<bool, StoreError> {
    let name = &table.name;
    let columns: Vec<_> = table
        .columns
        .iter()
        .filter(|name| *name != "revision")
        .collect();
    let listed = columns
        .iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let id = content.values.first().cloned().unwrap_or(Scalar::Null);
    let sql = format!("SELECT {listed} FROM {name} WHERE id = ?1");
    let held = tx.query_optional(&sql, params_from_iter([to_sql(&id)]), |row| {
        scalars(row, columns.len())
    })?;
    if held.as_ref() == Some(&content.values) {
        return Ok(false);
    }
    let places = (1..=columns.len() + 1)
        .map(|n| format!("?{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!("INSERT OR REPLACE INTO {name} ({listed}, revision) VALUES ({places})");
    let values = content
        .values
        .iter()
        .map(to_sql)
        .chain([Value::Integer(revision)]);
    tx.execute(&sql, params_from_iter(values))?;
    Ok(true)
}

fn to_sql(value: &Scalar) -> Value {
    match value {
        Scalar::Null => Value::Null,
        Scalar::Integer(number) => Value::Integer(*number),
        Scalar::Text(text) => Value::Text(text.clone()),
    }
}
