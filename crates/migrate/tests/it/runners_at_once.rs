//! Several runners on one new database: one migrates, the others wait and find it done.

use std::process::{Command, Stdio};

use counterfoil_migrate::{Connection, Durability, Kind, Schema, open_and_migrate, schema_version};

use crate::temp::TempFolder;

const RUNNERS: usize = 20;

#[test]
fn threads_that_start_at_once_migrate_once() {
    let folder = TempFolder::new();
    let path = folder.file("a.db");
    let v1 = Schema::new([("V1__init", "CREATE TABLE one (id INTEGER PRIMARY KEY);")]).unwrap();
    let created = Connection::open(&path, Durability::Full).unwrap();
    let barrier = std::sync::Barrier::new(RUNNERS);
    let applied: usize = std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            let conn = Connection::open(&path, Durability::Full).unwrap();
            v1.apply(&conn, 0).unwrap().applied.len()
        };
        let runners: Vec<_> = (0..RUNNERS).map(|_| scope.spawn(run)).collect();
        runners.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert_eq!(applied, 1);
    created.close();
}

#[test]
fn daemons_that_create_one_file_at_once_all_succeed() {
    let folder = TempFolder::new();
    let path = folder.file("a.db");
    std::thread::scope(|scope| {
        for _ in 0..RUNNERS {
            scope.spawn(|| open_and_migrate(&path, Kind::Book, 0).unwrap());
        }
    });
    let conn = Connection::open_read_only(&path).unwrap();
    let version = schema_version(&conn).unwrap();
    assert_eq!(version, Some(Kind::Book.schema_version()));
}

#[test]
fn processes_that_start_at_once_migrate_once() {
    let folder = TempFolder::new();
    let path = folder.file("book.db");
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_counterfoil-migrate"))
            .args(["apply", "--kind", "book", "--json", "--db"])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let started: Vec<_> = (0..RUNNERS).map(|_| start()).collect();
    let mut new = 0;
    for runner in started {
        let output = runner.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        if document["from"].is_null() {
            new += 1;
        }
    }
    assert_eq!(new, 1);
}
