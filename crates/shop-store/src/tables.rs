//! The catalog tables as their schema describes them: a new table needs a migration and policy
//! rows, no code.

use crate::error::StoreError;
use counterfoil_domain::Scalar;
use counterfoil_domain::edit::{BOOKKEEPING, DELETED, is_price_below_zero};
use counterfoil_domain::employee::{self, InvalidEmployee, is_secret};
use counterfoil_domain::money::{MoneyError, parse_fixed};
use counterfoil_domain::password::without_hashes;
use counterfoil_migrate::{Connection, Row, SqlError, Value};
use std::collections::BTreeMap;

/// A catalog table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The columns that an edit may set, `deleted` among them, in schema order.
    pub editable: Vec<Column>,
    /// All columns in schema order.
    pub columns: Vec<Column>,
    /// The indexed columns, for the pending copy to be indexed alike.
    pub indexes: Vec<String>,
}

/// A column of a catalog table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether it holds whole numbers; text otherwise.
    pub integer: bool,
}

impl Table {
    /// The column list for a SELECT or INSERT.
    pub fn column_list(&self) -> String {
        let names: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        names.join(", ")
    }

    /// The columns that a digest covers: all but `revision`, in schema order.
    pub fn digest_columns(&self) -> Vec<&str> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        names.filter(|name| *name != "revision").collect()
    }

    /// The column that an edit means and the value in its type. An amount may also be named without
    /// its unit and typed as a decimal number: `price=2.55` sets `price_mills` to 2550.
    pub(crate) fn convert(
        &self,
        column: &str,
        value: &serde_json::Value,
    ) -> Result<(String, Scalar), StoreError> {
        let described = self.editable.iter().find(|known| known.name == column);
        let Some(described) = described else {
            return self.convert_amount(column, value);
        };
        let value = self.convert_typed(described, value);
        if is_secret(&self.name, column) && value.is_err() {
            // What it would say shows what was given.
            return Err(InvalidEmployee::NoHash.into());
        }
        let value = employee::column_value(&self.name, &described.name, value?)?;
        self.check_price(&described.name, &value)?;
        Ok((described.name.clone(), value))
    }

    /// A price is never below zero: nothing could be sold at it.
    fn check_price(&self, column: &str, value: &Scalar) -> Result<(), StoreError> {
        match is_price_below_zero(column, value) {
            false => Ok(()),
            true => Err(StoreError::ColumnType {
                table: self.name.clone(),
                column: column.to_owned(),
                expected: "a price of zero or more",
                value: value.to_string(),
            }),
        }
    }

    fn convert_amount(
        &self,
        column: &str,
        value: &serde_json::Value,
    ) -> Result<(String, Scalar), StoreError> {
        let meant = AMOUNT_UNITS.iter().find_map(|(unit, decimals)| {
            let name = format!("{column}_{unit}");
            let known = self.editable.iter().find(|known| known.name == name)?;
            Some((known, *decimals))
        });
        // Minor units where the column counts mills: `price_minor=255` is exact as well.
        let in_minor = column.strip_suffix("_minor").and_then(|name| {
            let name = format!("{name}_mills");
            self.editable.iter().find(|known| known.name == name)
        });
        if let Some(described) = in_minor {
            let Scalar::Integer(minor) = self.convert_typed(described, value)? else {
                return Ok((described.name.clone(), Scalar::Null));
            };
            let mills = minor.checked_mul(10).ok_or(MoneyError::Overflow)?;
            self.check_price(&described.name, &Scalar::Integer(mills))?;
            return Ok((described.name.clone(), Scalar::Integer(mills)));
        }
        let Some((described, decimals)) = meant else {
            let known: Vec<&str> = self
                .editable
                .iter()
                .map(|known| known.name.as_str())
                .collect();
            return Err(StoreError::UnknownColumn {
                table: self.name.clone(),
                column: column.to_owned(),
                known: known.join(", "),
            });
        };
        let amount = match value {
            serde_json::Value::Null => Scalar::Null,
            serde_json::Value::String(text) => Scalar::Integer(parse_fixed(text, decimals)?),
            other => Scalar::Integer(parse_fixed(&other.to_string(), decimals)?),
        };
        self.check_price(&described.name, &amount)?;
        Ok((described.name.clone(), amount))
    }

    fn convert_typed(
        &self,
        described: &Column,
        value: &serde_json::Value,
    ) -> Result<Scalar, StoreError> {
        let wrong = || StoreError::ColumnType {
            table: self.name.clone(),
            column: described.name.clone(),
            expected: if described.integer {
                "a whole number"
            } else {
                "text"
            },
            value: value.to_string(),
        };
        let may_be_empty = described.name != DELETED;
        match (described.integer, value) {
            (_, serde_json::Value::Null) if may_be_empty => Ok(Scalar::Null),
            (true, serde_json::Value::Number(number)) => {
                number.as_i64().map(Scalar::Integer).ok_or_else(wrong)
            }
            (true, serde_json::Value::Bool(flag)) => Ok(Scalar::Integer(i64::from(*flag))),
            (true, serde_json::Value::String(text)) if text.is_empty() && may_be_empty => {
                Ok(Scalar::Null)
            }
            (true, serde_json::Value::String(text)) => text
                .trim()
                .parse()
                .map(Scalar::Integer)
                .map_err(|_| wrong()),
            (false, serde_json::Value::String(text)) => Ok(Scalar::Text(text.clone())),
            (false, serde_json::Value::Number(number)) => Ok(Scalar::Text(number.to_string())),
            _ => Err(wrong()),
        }
    }
}

/// Units that amounts carry in their names, with the decimals of the major currency unit they count.
const AMOUNT_UNITS: [(&str, u32); 2] = [("mills", 3), ("minor", 2)];

/// Reads the tables of an attached catalog.
pub(crate) fn describe(conn: &Connection) -> Result<BTreeMap<String, Table>, SqlError> {
    let names: Vec<String> = conn.query_map(
        "SELECT s.name FROM catalog.sqlite_schema s WHERE s.type = 'table' AND EXISTS \
         (SELECT 1 FROM pragma_table_xinfo(s.name, 'catalog') c WHERE c.name = 'versions') \
         ORDER BY s.name",
        (),
        |row| row.get(0),
    )?;
    let mut tables = BTreeMap::new();
    for name in names {
        let columns: Vec<Column> = conn.query_map(
            "SELECT name, type = 'INTEGER' FROM pragma_table_xinfo(?1, 'catalog') ORDER BY cid",
            [name.clone()],
            |row| {
                Ok(Column {
                    name: row.get(0)?,
                    integer: row.get(1)?,
                })
            },
        )?;
        let indexes = conn.query_map(
            "SELECT DISTINCT i.name FROM pragma_index_list(?1, 'catalog') l \
             JOIN pragma_index_info(l.name, 'catalog') i \
             WHERE l.origin = 'c' AND i.seqno = 0 AND i.name <> 'revision' ORDER BY 1",
            [name.clone()],
            |row| row.get(0),
        )?;
        let editable = columns
            .iter()
            .filter(|column| !BOOKKEEPING.contains(&column.name.as_str()));
        let editable = editable.cloned().collect();
        tables.insert(
            name.clone(),
            Table {
                name,
                editable,
                columns,
                indexes,
            },
        );
    }
    Ok(tables)
}

/// Reads a catalog value; blobs and floats do not occur in a STRICT catalog.
pub(crate) fn scalar(row: &Row<'_>, index: usize) -> Result<Scalar, SqlError> {
    Ok(match row.get::<Value>(index)? {
        Value::Integer(number) => Scalar::Integer(number),
        Value::Text(text) => Scalar::Text(text),
        Value::Null | Value::Real(_) | Value::Blob(_) => Scalar::Null,
    })
}

/// The value as a parameter.
pub(crate) fn to_sql(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Integer(number) => Value::Integer(*number),
        Scalar::Text(text) => Value::Text(text.clone()),
    }
}

/// The value as JSON, as it is shown: without the hash of a PIN.
pub(crate) fn to_json(scalar: &Scalar) -> serde_json::Value {
    match scalar {
        Scalar::Null => serde_json::Value::Null,
        Scalar::Integer(number) => (*number).into(),
        Scalar::Text(text) => without_hashes(text).into(),
    }
}
