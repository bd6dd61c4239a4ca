//! Each engine rule, and what a call leaves behind.

use std::time::Duration;

use counterfoil_migrate::{
    Connection, Durability, FromSqlError, OpenError, Retry, SqlError, Value, named_params, params,
};

use crate::temp::{TempFolder, length};

fn pragma(conn: &Connection, name: &str) -> String {
    match conn.query_value(&format!("PRAGMA {name}"), ()).unwrap() {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    }
}

fn opened(folder: &TempFolder) -> Connection {
    let conn = Connection::open(folder.file("a.db"), Durability::Full).unwrap();
    conn.execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        .unwrap();
    conn
}

#[test]
fn every_engine_rule_holds_after_opening() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let check = |name: &str, value: &str| assert_eq!(pragma(&conn, name), value, "{name}");
    check("journal_mode", "wal");
    check("synchronous", "2");
    check("wal_autocheckpoint", "0");
    check("foreign_keys", "1");
    check("busy_timeout", "5000");
    check("trusted_schema", "0");
    check("cell_size_check", "1");
    check("mmap_size", "0");
    check("temp_store", "2");
}

#[test]
fn only_normal_durability_leaves_commits_unsynced() {
    let folder = TempFolder::new();
    let conn = Connection::open(folder.file("hub.db"), Durability::Normal).unwrap();
    assert_eq!(pragma(&conn, "synchronous"), "1");
    assert_eq!(conn.durability(), Durability::Normal);
}

#[test]
fn the_wal_grows_past_the_automatic_checkpoint() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let before = length(conn.path()).unwrap();
    for _ in 0..1200 {
        conn.execute("INSERT INTO item (name) VALUES ('x')", ())
            .unwrap();
    }
    assert_eq!(length(conn.path()), Some(before));
    assert!(length(&folder.file("a.db-wal")).unwrap() > 1000 * 4096);
}

#[test]
fn a_file_that_must_exist_is_not_created() {
    let folder = TempFolder::new();
    let path = folder.file("none.db");
    let write = Connection::open_existing(&path, Durability::Full);
    assert!(matches!(write, Err(OpenError::Missing { .. })));
    let read = Connection::open_read_only(&path);
    assert!(matches!(read, Err(OpenError::Missing { .. })));
    assert!(!path.exists());
}

#[test]
fn a_path_that_looks_like_a_uri_is_a_file_name() {
    let folder = TempFolder::new();
    let path = folder.file("file:a.db?mode=memory");
    let conn = Connection::open(&path, Durability::Full).unwrap();
    conn.execute_batch("CREATE TABLE item (id INTEGER)")
        .unwrap();
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_database_is_an_error() {
    let folder = TempFolder::new();
    let path = folder.file("a.db");
    std::fs::write(&path, [b'x'; 5000]).unwrap();
    let opened = Connection::open(&path, Durability::Full);
    let Err(OpenError::Rule { source, .. }) = opened else {
        panic!("opened garbage: {opened:?}");
    };
    assert!(source.is_corrupt());
    assert_eq!(source.retry(), Retry::Never);
}

#[test]
fn a_truncating_checkpoint_succeeds_after_every_kind_of_call() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let other = Connection::open(folder.file("a.db"), Durability::Full).unwrap();
    for id in 1..=10 {
        conn.execute("INSERT INTO item VALUES (?1, 'x')", [id])
            .unwrap();
    }
    let all = "SELECT id FROM item";
    // Each of these stops before the last row, on either connection.
    for conn in [&conn, &other] {
        conn.query_value::<i64>(all, ()).unwrap();
        conn.query_optional(all, (), |row| row.get::<i64>(0))
            .unwrap();
        let wrong = conn.query_map(all, (), |row| row.get::<String>(0));
        assert!(matches!(wrong, Err(SqlError::Column { .. })));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            conn.query_map(all, (), |_| -> Result<(), SqlError> {
                panic!("in the middle")
            })
        }));
        unwound.unwrap_err();
        let rows = conn.execute("INSERT INTO item VALUES (NULL, 'y') RETURNING id", ());
        assert!(matches!(rows, Err(SqlError::Statement { .. })));
        conn.execute_batch(all).unwrap();
    }
    let done = conn.checkpoint_truncate().unwrap();
    assert!(!done.busy, "{done:?}");
    assert_eq!(length(&folder.file("a.db-wal")), Some(0));
}

#[test]
fn a_statement_can_be_used_again_inside_its_own_rows() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    conn.execute_batch("INSERT INTO item VALUES (1, 'a'), (2, 'b')")
        .unwrap();
    let all = "SELECT id FROM item ORDER BY id";
    let pairs = conn
        .query_map(all, (), |outer| {
            let inner = conn.query_map(all, (), |row| row.get::<i64>(0))?;
            Ok((outer.get::<i64>(0)?, inner))
        })
        .unwrap();
    assert_eq!(pairs, [(1, vec![1, 2]), (2, vec![1, 2])]);
}

#[test]
fn a_cached_statement_survives_a_schema_change() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    conn.execute_batch("INSERT INTO item VALUES (1, 'a')")
        .unwrap();
    let count = || conn.query_map("SELECT * FROM item", (), |row| row.get::<Value>(2));
    assert!(matches!(
        count(),
        Err(SqlError::Column {
            source: FromSqlError::NoColumn,
            ..
        })
    ));
    conn.execute_batch("ALTER TABLE item ADD COLUMN price INTEGER DEFAULT 7")
        .unwrap();
    assert_eq!(count().unwrap(), [Value::Integer(7)]);
}

#[test]
fn changed_rows_are_counted_and_ddl_counts_none() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let run = |sql: &str| conn.execute(sql, ()).unwrap();
    assert_eq!(run("INSERT INTO item VALUES (1, 'a'), (2, 'b')"), 2);
    assert_eq!(run("CREATE TABLE other (id INTEGER)"), 0);
    assert_eq!(run("UPDATE item SET name = 'c' WHERE id = 9"), 0);
    assert_eq!(run("DELETE FROM item"), 2);
}

#[test]
fn wrong_parameters_are_refused_instead_of_stored_as_null() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let insert = "INSERT INTO item VALUES (?1, ?2)";
    conn.execute(insert, params![1, "kept by the cached statement"])
        .unwrap();
    let few = conn.execute(insert, [2]);
    assert!(matches!(
        few,
        Err(SqlError::ParameterCount {
            expected: 2,
            given: 1,
            ..
        })
    ));
    let named = "INSERT INTO item VALUES (:id, :name)";
    let unknown = conn.execute(named, named_params! { ":id": 2, ":nmae": "b" });
    assert!(matches!(unknown, Err(SqlError::ParameterName { .. })));
    let nul = conn.execute(insert, params![2, "cut\0short"]);
    assert!(matches!(nul, Err(SqlError::ParameterNul { .. })));
    conn.execute(named, named_params! { ":id": 2, ":name": "b" })
        .unwrap();
    let count: i64 = conn.query_value("SELECT count(*) FROM item", ()).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn columns_are_read_exactly_or_not_at_all() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let error = |result: Result<(), SqlError>| match result {
        Err(SqlError::Column { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let as_i32 = conn.query_value::<i32>("SELECT 4294967297", ()).map(drop);
    assert!(matches!(error(as_i32), FromSqlError::Range { .. }));
    let as_u64 = conn.query_value::<u64>("SELECT -1", ()).map(drop);
    assert!(matches!(error(as_u64), FromSqlError::Range { .. }));
    let as_text = conn.query_value::<String>("SELECT x'00'", ()).map(drop);
    assert!(matches!(error(as_text), FromSqlError::Type { .. }));
    let as_id = conn.query_value::<[u8; 16]>("SELECT x'00'", ()).map(drop);
    assert!(matches!(error(as_id), FromSqlError::Length { .. }));
    let bad = "SELECT CAST(x'ff41' AS TEXT)";
    let not_utf8 = conn.query_value::<String>(bad, ()).map(drop);
    assert_eq!(error(not_utf8), FromSqlError::NotUtf8);
    let none: Option<i64> = conn.query_value("SELECT NULL", ()).unwrap();
    assert_eq!(none, None);
    let empty: Vec<u8> = conn.query_value("SELECT x''", ()).unwrap();
    assert_eq!(empty, Vec::<u8>::new());
    let decoded = conn.query_row("SELECT 'seven'", (), |row| {
        row.get_with(0, |text: String| text.parse::<u8>())
    });
    assert!(matches!(decoded, Err(SqlError::Decode { .. })));
}

#[test]
fn an_attached_database_follows_the_same_rules() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let book = folder.file("it's a book.db");
    let missing = conn.attach(&book, "book");
    assert!(matches!(missing, Err(SqlError::Attach { .. })));
    assert!(!book.exists());
    let other = Connection::open(&book, Durability::Full).unwrap();
    other
        .execute_batch("CREATE TABLE sale (id INTEGER); INSERT INTO sale VALUES (5)")
        .unwrap();
    conn.attach(&book, "book").unwrap();
    assert_eq!(pragma(&conn, "book.journal_mode"), "wal");
    assert_eq!(pragma(&conn, "book.synchronous"), "2");
    assert_eq!(pragma(&conn, "book.mmap_size"), "0");
    let sale = "SELECT id FROM book.sale";
    assert_eq!(conn.query_value::<i64>(sale, ()).unwrap(), 5);
    conn.detach("book").unwrap();
    assert!(conn.query_value::<i64>(sale, ()).is_err());
    for name in ["main", "temp", "", "a b", "x;y"] {
        let refused = conn.attach(&book, name);
        assert!(matches!(refused, Err(SqlError::AttachName { .. })));
    }
}

#[test]
fn a_busy_database_is_an_error_after_the_timeout() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let other = Connection::open(folder.file("a.db"), Durability::Full).unwrap();
    other.set_busy_timeout(Duration::from_millis(50)).unwrap();
    conn.transaction(|_| -> Result<(), SqlError> {
        let refused = other.transaction(|_| -> Result<(), SqlError> { Ok(()) });
        let error = refused.unwrap_err();
        assert!(matches!(error, SqlError::Begin { .. }));
        assert!(error.is_busy());
        assert_eq!(error.retry(), Retry::Now);
        Ok(())
    })
    .unwrap();
    // Free again at once.
    other
        .transaction(|_| -> Result<(), SqlError> { Ok(()) })
        .unwrap();
}

#[test]
fn a_connection_moves_to_another_thread() {
    fn check<T: Send>() {}
    check::<Connection>();
    check::<SqlError>();
}
