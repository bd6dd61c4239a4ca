//! What is in the catalog? Tables are described by their schema, not by code.

use super::policies::Policies;
use super::{Reader, Store, StoreError};
use counterfoil_domain::digest::CatalogHasher;
use counterfoil_domain::edit::{BOOKKEEPING, DELETED};
use counterfoil_domain::password::without_hashes;
use counterfoil_domain::{Hlc, Scalar};
use counterfoil_migrate::{Connection, Row, SqlError, Value, params};
use counterfoil_protocol::wire::hub::{CatalogExport, CatalogSetAnswer};
use std::collections::BTreeMap;

/// A catalog table.
#[derive(Clone, Debug)]
pub(crate) struct TableShape {
    pub(crate) name: String,
    /// All columns in the schema's order.
    pub(crate) columns: Vec<String>,
    /// Columns that an edit may set, with whether they hold whole numbers.
    pub(crate) editable: Vec<(String, bool)>,
}

/// All catalog tables by name, and how their conflicts are settled.
#[derive(Clone, Debug)]
pub(crate) struct CatalogShape {
    pub(crate) tables: Vec<TableShape>,
    pub(super) policies: Policies,
}

/// The catalog's content in one number, and its size.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    pub(super) revision: i64,
    pub(super) digest: String,
    pub(super) rows: BTreeMap<String, i64>,
}

impl TableShape {
    /// Whether an editable column holds whole numbers; `None` for other columns.
    pub(crate) fn is_integer(&self, column: &str) -> Option<bool> {
        self.editable
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, integer)| *integer)
    }
}

impl CatalogShape {
    /// Reads the schema and the policies.
    pub(crate) fn load(catalog: &Connection, hub: &Connection) -> Result<Self, StoreError> {
        Ok(Self {
            tables: Self::tables(catalog)?,
            policies: Policies::load(hub)?,
        })
    }

    /// Reads the schema: a catalog table has the columns `id`, `deleted` and `versions`.
    pub(super) fn tables(catalog: &Connection) -> Result<Vec<TableShape>, StoreError> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let names = catalog.query_map(sql, (), |row| row.get::<String>(0))?;
        let mut tables = Vec::new();
        for name in names {
            let sql = "SELECT name, type FROM pragma_table_xinfo(?1) ORDER BY cid";
            let columns = catalog.query_map(sql, params![name.as_str()], |row| {
                Ok((row.get::<String>(0)?, row.get::<String>(1)? == "INTEGER"))
            })?;
            let has = |wanted: &str| columns.iter().any(|(name, _)| name == wanted);
            if !(has("id") && has(DELETED) && has("versions")) {
                continue;
            }
            let editable = columns
                .iter()
                .filter(|(name, _)| !BOOKKEEPING.contains(&name.as_str()));
            let editable = editable.cloned().collect();
            let columns = columns.into_iter().map(|(name, _)| name).collect();
            tables.push(TableShape {
                name,
                columns,
                editable,
            });
        }
        Ok(tables)
    }

    /// The table of that name.
    pub(crate) fn table(&self, name: &str) -> Option<&TableShape> {
        self.tables.iter().find(|table| table.name == name)
    }
}

fn revision_of(catalog: &Connection) -> Result<i64, StoreError> {
    Ok(catalog.query_value("SELECT revision FROM catalog_state", ())?)
}

fn scalar(row: &Row<'_>, index: usize) -> Result<Scalar, SqlError> {
    row.get_with(index, |value: Value| match value {
        Value::Null => Ok(Scalar::Null),
        Value::Integer(number) => Ok(Scalar::Integer(number)),
        Value::Text(text) => Ok(Scalar::Text(text)),
        Value::Real(_) | Value::Blob(_) => Err("the catalog holds text and whole numbers only"),
    })
}

/// Reads the columns of a row as scalars.
pub(super) fn scalars(row: &Row<'_>, count: usize) -> Result<Vec<Scalar>, SqlError> {
    (0..count).map(|index| scalar(row, index)).collect()
}

/// A value as it is shown: without the hash of a PIN.
fn to_json(value: Scalar) -> serde_json::Value {
    match value {
        Scalar::Null => serde_json::Value::Null,
        Scalar::Integer(number) => number.into(),
        Scalar::Text(text) => without_hashes(&text).into(),
    }
}

fn rows_where(
    catalog: &Connection,
    table: &TableShape,
    only: Option<&str>,
) -> Result<CatalogExport, StoreError> {
    let (name, columns) = (&table.name, table.columns.join(", "));
    let sql = format!("SELECT {columns} FROM {name} WHERE ?1 IS NULL OR id = ?1 ORDER BY id");
    let rows = catalog.query_map(&sql, params![only], |row| {
        Ok(scalars(row, table.columns.len())?
            .into_iter()
            .map(to_json)
            .collect())
    })?;
    Ok(CatalogExport {
        columns: table.columns.clone(),
        rows,
    })
}

fn digest_of(catalog: &Connection) -> Result<Digest, StoreError> {
    let tables = CatalogShape::tables(catalog)?;
    let mut hasher = CatalogHasher::new();
    let mut rows = BTreeMap::new();
    for table in &tables {
        let content = table.columns.iter().filter(|name| *name != "revision");
        let content: Vec<_> = content.map(String::as_str).collect();
        let (columns, name) = (content.join(", "), &table.name);
        hasher.table(name);
        let sql = format!("SELECT {columns} FROM {name} ORDER BY id");
        catalog.query_each(&sql, (), |row| -> Result<(), SqlError> {
            hasher.row(&scalars(row, content.len())?);
            Ok(())
        })?;
        let sql = format!("SELECT count(*) FROM {name} WHERE deleted = 0");
        rows.insert(name.clone(), catalog.query_value(&sql, ())?);
    }
    Ok(Digest {
        revision: revision_of(catalog)?,
        digest: hasher.finish(),
        rows,
    })
}

impl Store {
    /// Newest revision.
    pub(super) fn catalog_revision(&self) -> Result<i64, StoreError> {
        revision_of(&self.catalog)
    }

    /// Newest logical time among the published edits.
    pub(super) fn newest_hlc(&self) -> Result<Hlc, StoreError> {
        let raw = self
            .catalog
            .query_value("SELECT hlc FROM catalog_state", ())?;
        Ok(Hlc::from_raw(raw))
    }
}

impl Reader {
    /// Newest revision.
    pub(crate) fn catalog_revision(&self) -> Result<i64, StoreError> {
        revision_of(&self.catalog)
    }

    /// Digest and size, of one moment.
    pub(super) fn catalog_digest(&self) -> Result<Digest, StoreError> {
        self.catalog.snapshot(|catalog| digest_of(catalog))
    }

    /// All rows of a table by id, deleted ones included; `None` when there is no such table.
    pub(crate) fn catalog_table(&self, table: &str) -> Result<Option<CatalogExport>, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        let table = shape.table(table);
        table
            .map(|table| rows_where(&self.catalog, table, None))
            .transpose()
    }

    /// One row and the catalog's revision.
    pub(crate) fn catalog_row(
        &self,
        table: &str,
        id: &str,
    ) -> Result<Option<CatalogSetAnswer>, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        let Some(table) = shape.table(table) else {
            return Ok(None);
        };
        self.catalog.snapshot(|catalog| {
            let CatalogExport { columns, rows } = rows_where(catalog, table, Some(id))?;
            let revision = revision_of(catalog)?;
            let row = rows
                .into_iter()
                .next()
                .map(|row| columns.into_iter().zip(row).collect());
            Ok(row.map(|row| CatalogSetAnswer { revision, row }))
        })
    }
}
