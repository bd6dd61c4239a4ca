//! Reading columns without panics and without silent conversions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libsql::Value;

use super::error::{SqlError, shortened};

/// Why a value is not what the reader expects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FromSqlError {
    /// The storage class differs.
    #[error("expected {expected}, found {found}")]
    Type {
        /// The class asked for.
        expected: &'static str,
        /// The class stored.
        found: &'static str,
    },
    /// The number does not fit.
    #[error("{value} does not fit into {expected}")]
    Range {
        /// The type asked for.
        expected: &'static str,
        /// The number stored.
        value: i64,
    },
    /// A BLOB of fixed size has another one.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// Bytes asked for.
        expected: usize,
        /// Bytes stored.
        found: usize,
    },
    /// The result has fewer columns.
    #[error("the result has no such column")]
    NoColumn,
    /// The text is not UTF-8. SQLite stores any bytes, so a damaged or foreign file may hold them.
    #[error("the text is not UTF-8")]
    NotUtf8,
}

/// A type that can be read from a column, exactly or not at all.
///
/// libsql's own `FromValue` panics on another storage class and cuts numbers to size.
pub trait FromSql: Sized {
    /// Converts a stored value.
    ///
    /// # Errors
    ///
    /// [`FromSqlError`] when storage class, range or length differ.
    fn from_sql(value: Value) -> Result<Self, FromSqlError>;
}

fn class_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Integer(_) => "INTEGER",
        Value::Real(_) => "REAL",
        Value::Text(_) => "TEXT",
        Value::Blob(_) => "BLOB",
    }
}

fn wrong_type<T>(expected: &'static str, value: &Value) -> Result<T, FromSqlError> {
    let found = class_of(value);
    Err(FromSqlError::Type { expected, found })
}

impl FromSql for Value {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        Ok(value)
    }
}

impl FromSql for i64 {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        match value {
            Value::Integer(number) => Ok(number),
            other => wrong_type("INTEGER", &other),
        }
    }
}

macro_rules! from_integer {
    ($($target:ident),*) => {$(
        impl FromSql for $target {
            fn from_sql(value: Value) -> Result<Self, FromSqlError> {
                let value = i64::from_sql(value)?;
                Self::try_from(value).map_err(|_| FromSqlError::Range {
                    expected: stringify!($target),
                    value,
                })
            }
        }
    )*};
}

from_integer!(i32, u8, u16, u32, u64, usize);

impl FromSql for bool {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        match i64::from_sql(value)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(FromSqlError::Range {
                expected: "bool",
                value,
            }),
        }
    }
}

impl FromSql for f64 {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        match value {
            Value::Real(number) => Ok(number),
            other => wrong_type("REAL", &other),
        }
    }
}

impl FromSql for String {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        match value {
            Value::Text(text) => Ok(text),
            other => wrong_type("TEXT", &other),
        }
    }
}

impl FromSql for Vec<u8> {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            other => wrong_type("BLOB", &other),
        }
    }
}

impl<const N: usize> FromSql for [u8; N] {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        let bytes = Vec::from_sql(value)?;
        Self::try_from(bytes).map_err(|bytes: Vec<u8>| FromSqlError::Length {
            expected: N,
            found: bytes.len(),
        })
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn from_sql(value: Value) -> Result<Self, FromSqlError> {
        match value {
            Value::Null => Ok(None),
            other => T::from_sql(other).map(Some),
        }
    }
}

/// One row of a running query; gone when the closure that received it returns.
#[derive(Debug)]
pub struct Row<'r> {
    row: &'r libsql::Row,
    sql: &'r str,
}

impl<'r> Row<'r> {
    pub(super) fn new(row: &'r libsql::Row, sql: &'r str) -> Self {
        Self { row, sql }
    }

    /// Reads the column at `index`, counted from 0.
    ///
    /// # Errors
    ///
    /// [`SqlError::Column`] when the column does not hold exactly a `T`.
    pub fn get<T: FromSql>(&self, index: usize) -> Result<T, SqlError> {
        self.value(index)
            .and_then(T::from_sql)
            .map_err(|source| SqlError::Column {
                sql: shortened(self.sql),
                index,
                source,
            })
    }

    /// Reads the column at `index` and converts it with `decode`.
    ///
    /// # Errors
    ///
    /// [`SqlError::Column`] as for [`Self::get`]; [`SqlError::Decode`] when `decode` refuses.
    pub fn get_with<T, U, E>(
        &self,
        index: usize,
        decode: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, SqlError>
    where
        T: FromSql,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        decode(self.get(index)?).map_err(|cause| SqlError::Decode {
            sql: shortened(self.sql),
            index,
            source: cause.into(),
        })
    }

    fn value(&self, index: usize) -> Result<Value, FromSqlError> {
        let column = i32::try_from(index).map_err(|_| FromSqlError::NoColumn)?;
        if column >= self.row.column_count() {
            return Err(FromSqlError::NoColumn);
        }
        // libsql unwraps the UTF-8 check of a text column. One bad row of a pulled database must
        // not end the thread that consolidates every shop.
        let read = catch_unwind(AssertUnwindSafe(|| self.row.get_value(column)));
        let read = read.map_err(|_| FromSqlError::NotUtf8)?;
        read.map_err(|_| FromSqlError::NoColumn)
    }
}
