//! Databases on temporary folders, and what they hold.

use std::{path::Path, sync::Arc};

use counterfoil_replica::env::{Env, Files, OsFiles};
use tempfile::TempDir;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn files() -> Arc<dyn Files> {
    Arc::new(OsFiles)
}

pub(crate) fn env() -> Env {
    Env::system()
}

/// A plain connection as the node's store has it: WAL, no automatic checkpoints.
pub(crate) async fn connect(path: &Path) -> libsql::Connection {
    let connection = connect_foreign(path).await;
    pragma(&connection, "PRAGMA wal_autocheckpoint=0").await;
    connection
}

/// A connection of a program that knows nothing of us, with automatic checkpoints.
pub(crate) async fn connect_foreign(path: &Path) -> libsql::Connection {
    let database = libsql::Builder::new_local(path).build().await.unwrap();
    let connection = database.connect().unwrap();
    pragma(&connection, "PRAGMA journal_mode=WAL").await;
    pragma(&connection, "PRAGMA busy_timeout=5000").await;
    connection
}

pub(crate) async fn pragma(connection: &libsql::Connection, sql: &str) {
    let mut rows = connection.query(sql, ()).await.unwrap();
    rows.next().await.unwrap();
}

pub(crate) async fn create_sales(connection: &libsql::Connection) {
    let sql = "CREATE TABLE IF NOT EXISTS sale(id INTEGER PRIMARY KEY, note TEXT NOT NULL)";
    connection.execute(sql, ()).await.unwrap();
}

/// Commits that many sales, one transaction each.
pub(crate) async fn sell(connection: &libsql::Connection, count: usize) {
    for _ in 0..count {
        let sql = "INSERT INTO sale(note) VALUES(hex(randomblob(100)))";
        connection.execute(sql, ()).await.unwrap();
    }
}

/// Commits that many sales in one transaction.
pub(crate) async fn sell_at_once(connection: &libsql::Connection, count: usize) {
    let sql = format!(
        "INSERT INTO sale(note) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n \
         WHERE i<{count}) SELECT hex(randomblob(100)) FROM n"
    );
    connection.execute(&sql, ()).await.unwrap();
}

/// Every sale of the database, in order, and the result of the integrity check.
pub(crate) async fn content(path: &Path) -> (Vec<String>, String) {
    let connection = connect(path).await;
    let mut rows = connection
        .query("SELECT id||':'||note FROM sale ORDER BY id", ())
        .await
        .unwrap();
    let mut sales = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        sales.push(row.get::<String>(0).unwrap());
    }
    let mut rows = connection
        .query("PRAGMA integrity_check", ())
        .await
        .unwrap();
    let row = rows.next().await.unwrap().unwrap();
    (sales, row.get::<String>(0).unwrap())
}

/// Both databases hold the same sales and are sound.
pub(crate) async fn assert_same_content(one: &Path, other: &Path, count: usize) {
    let (one, other) = (content(one).await, content(other).await);
    assert_eq!(one.1, "ok");
    assert_eq!(other.1, "ok");
    assert_eq!(one.0.len(), count);
    assert_eq!(one.0, other.0);
}
