//! What stands in the files, read with a connection of its own after the processes are gone.

use counterfoil_migrate::{Connection, Durability, FromSql};
use std::collections::BTreeSet;
use std::path::Path;

pub(crate) fn open(file: &Path) -> Connection {
    Connection::open_existing(file, Durability::Full).expect("the database opens")
}

pub(crate) fn column<T: FromSql>(file: &Path, sql: &str) -> Vec<T> {
    let conn = open(file);
    let rows = conn.query_map(sql, (), |row| row.get(0)).expect("rows");
    // Not the last to close: a checkpoint here would be a foreign one.
    conn.abandon();
    rows
}

/// Asserts that a book is whole: sound pages, dense numbers and journal, sums that agree.
pub(crate) fn assert_whole(book: &Path) {
    let check: Vec<String> = column(book, "PRAGMA integrity_check");
    assert_eq!(check, ["ok"]);
    let gaps: Vec<i64> = column(book, "SELECT count(*) - coalesce(max(seq), 0) FROM journal");
    assert_eq!(gaps, [0], "the journal is dense");
    let gaps: Vec<i64> = column(
        book,
        "SELECT count(*) - max(number) FROM receipt GROUP BY series",
    );
    assert!(
        gaps.iter().all(|gap| *gap == 0),
        "receipt numbers are dense: {gaps:?}"
    );
    let torn: Vec<i64> = column(
        book,
        "SELECT seq FROM receipt r WHERE total_minor <> \
         (SELECT coalesce(sum(amount_minor), 0) FROM receipt_line l WHERE l.seq = r.seq) \
         OR total_minor <> (SELECT coalesce(sum(amount_minor), 0) FROM payment p WHERE p.seq = r.seq)",
    );
    assert_eq!(torn, [] as [i64; 0], "lines, payments and totals agree");
}

/// The ids of all receipts of a book, as text.
pub(crate) fn receipt_ids(book: &Path) -> BTreeSet<String> {
    let sql = "SELECT j.id FROM receipt JOIN journal j USING (seq)";
    let rows: Vec<Vec<u8>> = column(book, sql);
    hyphenated(&rows)
}

/// The ids of all receipts that a hub has consolidated, as text; each once.
pub(crate) fn hub_receipt_ids(hub_data: &Path) -> BTreeSet<String> {
    let rows: Vec<Vec<u8>> = column(&hub_data.join("hub.db"), "SELECT id FROM receipt");
    let ids = hyphenated(&rows);
    assert_eq!(ids.len(), rows.len(), "no receipt is consolidated twice");
    ids
}

fn hyphenated(rows: &[Vec<u8>]) -> BTreeSet<String> {
    let id = |bytes: &Vec<u8>| uuid::Uuid::from_slice(bytes).expect("an id").to_string();
    rows.iter().map(id).collect()
}
