//! What must hold of the files when all processes are gone.

use anyhow::Context as _;
use counterfoil_migrate::{Connection, SqlError, Value};
use std::path::Path;

/// What is wrong with a till's files, or differs between its book and the hub's copy.
pub(crate) fn differences(name: &str, till: &Path, copy: &Path) -> anyhow::Result<Vec<String>> {
    let book_file = till.join("book.db");
    let mut found = unsound(&book_file)?;
    found.extend(unsound(&till.join("catalog.db"))?);
    found.extend(unsound(copy)?);
    let book = open(&book_file)?;
    for (what, sql) in RULES {
        let broken: i64 = book.query_value(sql, ())?;
        if broken != 0 {
            found.push(format!("{name}: {what} ({broken})"));
        }
    }
    let (own, hubs) = (digest(&book)?, digest(&open(copy)?)?);
    if own != hubs {
        found.push(format!(
            "{name}: the hub's copy {hubs} is not the book {own}"
        ));
    }
    Ok(found)
}

/// Each counts what must not be.
const RULES: [(&str, &str); 4] = [
    (
        "the journal has gaps",
        "SELECT count(*) - coalesce(max(seq), 0) FROM journal",
    ),
    (
        "receipt numbers have gaps",
        "SELECT count(*) FROM (SELECT 1 FROM receipt GROUP BY series
         HAVING count(*) <> max(number) OR min(number) <> 1 OR count(DISTINCT number) <> count(*))",
    ),
    (
        "receipts differ from the sum of their lines",
        "SELECT count(*) FROM receipt r WHERE total_minor <>
         (SELECT coalesce(sum(amount_minor), 0) FROM receipt_line l WHERE l.seq = r.seq)",
    ),
    (
        "receipts differ from the sum of their payments",
        "SELECT count(*) FROM receipt r WHERE total_minor <>
         (SELECT coalesce(sum(amount_minor), 0) FROM payment p WHERE p.seq = r.seq)",
    ),
];

/// What the engine finds wrong with a file.
pub(crate) fn unsound(file: &Path) -> anyhow::Result<Vec<String>> {
    let rows: Vec<String> =
        open(file)?.query_map("PRAGMA integrity_check", (), |row| row.get(0))?;
    let found = rows.into_iter().filter(|row| row != "ok");
    Ok(found
        .map(|row| format!("{}: {row}", file.display()))
        .collect())
}

fn open(file: &Path) -> anyhow::Result<Connection> {
    Connection::open_read_only(file).with_context(|| format!("cannot open {}", file.display()))
}

/// Digest of schema and content: tables by name, rows in their order.
fn digest(database: &Connection) -> Result<String, SqlError> {
    let schema = "SELECT coalesce(sql, name) FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                 ORDER BY name";
    let mut hasher = blake3::Hasher::new();
    for sql in database.query_map(schema, (), |row| row.get::<String>(0))? {
        hasher.update(sql.as_bytes());
    }
    for table in database.query_map(names, (), |row| row.get::<String>(0))? {
        let columns = "SELECT count(*) FROM pragma_table_xinfo(?1)";
        let count: usize = database.query_value(columns, [table.as_str()])?;
        hasher.update(table.as_bytes());
        // Every table has a key, and without ORDER BY the engine walks along it on both sides.
        let sql = format!("SELECT * FROM {table}");
        database.query_map(&sql, (), |row| {
            let values: Result<Vec<Value>, _> = (0..count).map(|index| row.get(index)).collect();
            hasher.update(format!("{:?}", values?).as_bytes());
            Ok(())
        })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
