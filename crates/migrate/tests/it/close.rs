//! What happens to the WAL when the last handle goes.

use counterfoil_migrate::{Connection, Durability};

use crate::temp::{TempFolder, beside, length};

fn written(folder: &TempFolder) -> Connection {
    let conn = Connection::open(folder.file("book.db"), Durability::Full).unwrap();
    conn.execute_batch("CREATE TABLE sale (id INTEGER); INSERT INTO sale VALUES (1)")
        .unwrap();
    conn
}

#[test]
fn closing_the_last_handle_checkpoints() {
    // Not wanted on a book, but out of reach of safe code: see the crate's `engine` module. If this
    // fails, libsql has learned to keep the WAL and `abandon` can go.
    let folder = TempFolder::new();
    let conn = written(&folder);
    let wal = beside(conn.path(), "-wal");
    assert!(length(&wal).unwrap() > 0);
    conn.close();
    assert_eq!(length(&wal), None);
}

#[test]
fn abandoning_the_last_handle_keeps_the_wal() {
    let folder = TempFolder::new();
    let conn = written(&folder);
    let db = folder.file("book.db");
    let wal = beside(&db, "-wal");
    let before = (length(&db), std::fs::read(&wal).unwrap());
    conn.abandon();
    assert_eq!((length(&db), std::fs::read(&wal).unwrap()), before);
    let again = Connection::open_existing(&db, Durability::Full).unwrap();
    let count: i64 = again.query_value("SELECT count(*) FROM sale", ()).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn reading_changes_neither_file_nor_wal() {
    // The WAL of a crashed program, copied while its handle is open.
    let crashed = TempFolder::new();
    let conn = written(&crashed);
    let folder = TempFolder::new();
    let db = folder.file("book.db");
    std::fs::copy(conn.path(), &db).unwrap();
    std::fs::copy(beside(conn.path(), "-wal"), beside(&db, "-wal")).unwrap();
    let bytes = || {
        let wal = std::fs::read(beside(&db, "-wal")).unwrap();
        (std::fs::read(&db).unwrap(), wal)
    };
    let before = bytes();
    let reader = Connection::open_read_only(&db).unwrap();
    let count: i64 = reader.query_value("SELECT count(*) FROM sale", ()).unwrap();
    assert_eq!(count, 1);
    reader.execute("DELETE FROM sale", ()).unwrap_err();
    reader.close();
    assert_eq!(bytes(), before);
}
