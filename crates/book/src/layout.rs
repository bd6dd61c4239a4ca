//! Tables beside a book that hold entries in the same form: what is written there reads like a book.

use counterfoil_migrate::{Connection, SqlError};

/// The tables of a book that hold entries, each with its columns; the first column is the key.
const TABLES: [(&str, &[&str]); 11] = [
    (
        "journal",
        &[
            "seq INTEGER",
            "id BLOB",
            "hlc INTEGER",
            "topic INTEGER",
            "priority INTEGER",
            "chain BLOB",
            "payload TEXT",
            "trial INTEGER",
            "series TEXT",
            "number INTEGER",
            "at_ms INTEGER",
            "currency TEXT",
            "total_minor INTEGER",
            "customer TEXT",
            "employee TEXT",
            "refund_of BLOB",
            "external_ref TEXT",
            "import_id BLOB",
        ],
    ),
    (
        "receipt_item",
        &[
            "key INTEGER",
            "sku TEXT",
            "description TEXT",
            "quantity_milli INTEGER",
            "unit_price_mills INTEGER",
            "tender TEXT",
            "amount_minor INTEGER",
        ],
    ),
    (
        "stock_movement",
        &[
            "seq INTEGER",
            "sku TEXT",
            "quantity_milli INTEGER",
            "reason TEXT",
            "at_ms INTEGER",
            "external_ref TEXT",
        ],
    ),
    (
        "stock_count",
        &[
            "seq INTEGER",
            "sku TEXT",
            "quantity_milli INTEGER",
            "at_ms INTEGER",
            "seen TEXT",
        ],
    ),
    (
        "expense",
        &[
            "seq INTEGER",
            "category TEXT",
            "amount_minor INTEGER",
            "currency TEXT",
            "note TEXT",
            "at_ms INTEGER",
            "employee TEXT",
        ],
    ),
    (
        "ledger_entry",
        &[
            "seq INTEGER",
            "customer TEXT",
            "amount_minor INTEGER",
            "currency TEXT",
            "note TEXT",
            "at_ms INTEGER",
        ],
    ),
    (
        "advance_order",
        &[
            "seq INTEGER",
            "customer TEXT",
            "due_ms INTEGER",
            "lines TEXT",
            "total_minor INTEGER",
            "deposit_minor INTEGER",
            "currency TEXT",
            "at_ms INTEGER",
        ],
    ),
    (
        "cash_session",
        &[
            "seq INTEGER",
            "event TEXT",
            "counted_minor INTEGER",
            "currency TEXT",
            "employee TEXT",
            "at_ms INTEGER",
        ],
    ),
    (
        "activation",
        &[
            "seq INTEGER",
            "shop BLOB",
            "shop_name TEXT",
            "at_ms INTEGER",
        ],
    ),
    (
        "closure",
        &["seq INTEGER", "day TEXT", "content TEXT", "at_ms INTEGER"],
    ),
    (
        "employee_event",
        &[
            "seq INTEGER",
            "employee TEXT",
            "event TEXT",
            "permission TEXT",
            "outcome TEXT",
            "unlooked INTEGER",
            "at_ms INTEGER",
        ],
    ),
];

/// Makes the tables, empty, in a schema of the connection: `temp`, or one that was attached. In `temp` they stand before
/// those of every other schema, so [`crate::insert`] writes to them.
///
/// # Errors
/// [`SqlError`], also when there is one of them already.
pub fn lay_tables(conn: &Connection, schema: &str) -> Result<(), SqlError> {
    for (table, columns) in TABLES {
        let columns = columns
            .join(", ")
            .replacen(" INTEGER", " INTEGER PRIMARY KEY", 1);
        conn.execute(&format!("CREATE TABLE {schema}.{table} ({columns})"), ())?;
    }
    Ok(())
}

/// Takes them out of `temp` again, as far as they are there.
///
/// # Errors
/// [`SqlError`].
pub fn take_away(conn: &Connection) -> Result<(), SqlError> {
    for (table, _) in TABLES {
        conn.execute(&format!("DROP TABLE IF EXISTS temp.{table}"), ())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_migrate::{Kind, open_and_migrate};
    use counterfoil_testkit::TempDir;

    fn columns(conn: &Connection, schema: &str) -> Vec<(String, String, String)> {
        let sql = format!(
            "SELECT t.name, c.name, c.type FROM {schema}.sqlite_schema AS t,
             pragma_table_xinfo(t.name, '{schema}') AS c WHERE t.type = 'table'
               AND t.name NOT IN ('meta', 'refinery_schema_history') ORDER BY t.name, c.cid"
        );
        let row = |row: &counterfoil_migrate::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        conn.query_map(&sql, (), row).unwrap()
    }

    #[test]
    fn tables_beside_a_book_have_the_columns_of_a_book() {
        let dir = TempDir::new("layout");
        let book = open_and_migrate(dir.join("book.db"), Kind::Book, 0).unwrap();
        lay_tables(&book, "temp").unwrap();
        assert_eq!(columns(&book, "temp"), columns(&book, "main"));
        take_away(&book).unwrap();
        assert!(columns(&book, "temp").is_empty());
    }
}
