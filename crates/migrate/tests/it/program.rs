//! The program: exit codes, documents, and that looking changes nothing.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use counterfoil_migrate::{Connection, Durability, Kind};
use serde_json::{Value, json};

use crate::temp::{TempFolder, beside, length};

fn program(arguments: &[&str], db: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_counterfoil-migrate"))
        .args(arguments)
        .arg("--db")
        .arg(db)
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Gives a database a version that no program knows yet.
fn make_newer(db: &Path) {
    let conn = Connection::open_existing(db, Durability::Full).unwrap();
    conn.execute_batch(
        "INSERT INTO refinery_schema_history
         VALUES (99, 'future', '2030-01-01T00:00:00Z', '1')",
    )
    .unwrap();
}

#[test]
fn status_of_a_missing_file_does_not_create_it() {
    let folder = TempFolder::new();
    let db = folder.file("book.db");
    let output = program(&["status", "--kind", "book", "--json"], &db);
    assert_eq!(code(&output), 0);
    let status = document(&output);
    assert_eq!(status["state"], "missing");
    assert_eq!(status["exists"], false);
    assert_eq!(status["current"], Value::Null);
    assert_eq!(status["latest"], Kind::Book.schema_version());
    let first = json!({ "version": 1, "name": "init" });
    assert_eq!(status["pending"][0], first);
    let output = program(&["check", "--kind", "book", "--json"], &db);
    assert_eq!(code(&output), 3);
    assert_eq!(document(&output)["problems"][0]["code"], "missing");
    let output = program(&["apply", "--kind", "book", "--dry-run", "--json"], &db);
    assert_eq!(code(&output), 0);
    assert_eq!(document(&output)["pending"][0], first);
    assert_eq!(document(&output)["applied"], json!([]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn apply_then_status_and_check_are_clean() {
    let folder = TempFolder::new();
    let db = folder.file("local.db");
    let output = program(&["apply", "--kind", "local", "--json"], &db);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = document(&output);
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["applied", "db", "dry_run", "from", "kind", "pending", "to"]
    );
    assert_eq!(report["from"], Value::Null);
    assert_eq!(report["to"], Kind::Local.schema_version());
    assert_eq!(report["applied"][0]["name"], "init");
    let output = program(&["status", "--kind", "local", "--json"], &db);
    let status = document(&output);
    assert_eq!(status["state"], "current");
    assert_eq!(status["kind"], "local");
    assert_eq!(status["db"], db.to_str().unwrap());
    assert_eq!(status["applied"][0]["version"], 1);
    let applied_on = status["applied"][0]["applied_on"].as_str().unwrap();
    assert!(applied_on.starts_with("20") && applied_on.ends_with('Z'));
    let output = program(&["check", "--kind", "local"], &db);
    assert_eq!(code(&output), 0);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("no problems\n")
    );
}

#[test]
fn apply_leaves_the_wal_to_the_database_s_owner() {
    let folder = TempFolder::new();
    let db = folder.file("book.db");
    assert_eq!(code(&program(&["apply", "--kind", "book"], &db)), 0);
    let sizes = || (length(&db), length(&beside(&db, "-wal")));
    let before = sizes();
    assert!(before.1.unwrap() > 0, "a checkpoint at close took the WAL");
    for command in ["status", "check", "apply"] {
        assert_eq!(code(&program(&[command, "--kind", "book"], &db)), 0);
        assert_eq!(sizes(), before, "{command}");
    }
}

#[test]
fn a_newer_database_is_exit_code_6_with_a_hint() {
    let folder = TempFolder::new();
    let db = folder.file("hub.db");
    assert_eq!(code(&program(&["apply", "--kind", "hub"], &db)), 0);
    make_newer(&db);
    for arguments in [
        vec!["apply", "--kind", "hub", "--json"],
        vec!["apply", "--kind", "hub", "--dry-run"],
    ] {
        let output = program(&arguments, &db);
        assert_eq!(code(&output), 6);
        assert!(output.stdout.is_empty());
        let text = stderr(&output);
        assert!(text.starts_with("error: database has schema 99, this program knows up to"));
        assert!(
            text.ends_with("hint: install a newer Counterfoil\n"),
            "{text}"
        );
    }
    let output = program(&["check", "--kind", "hub", "--json"], &db);
    assert_eq!(code(&output), 6);
    assert_eq!(document(&output)["state"], "newer");
    let output = program(&["status", "--kind", "hub", "--json"], &db);
    assert_eq!(code(&output), 0);
    assert_eq!(document(&output)["current"], 99);
}

#[test]
fn the_wrong_kind_is_exit_code_6() {
    let folder = TempFolder::new();
    let db = folder.file("a.db");
    assert_eq!(code(&program(&["apply", "--kind", "hub"], &db)), 0);
    let output = program(&["apply", "--kind", "book"], &db);
    assert_eq!(code(&output), 6);
    assert!(stderr(&output).contains("check --kind and --db first"));
}

#[test]
fn garbage_is_exit_code_1_and_usage_is_2() {
    let folder = TempFolder::new();
    let db = folder.file("a.db");
    std::fs::write(&db, [b'x'; 5000]).unwrap();
    for command in ["status", "check", "apply"] {
        let output = program(&[command, "--kind", "book"], &db);
        assert_eq!(code(&output), 1, "{command}");
        assert!(stderr(&output).contains("file is not a database"));
    }
    assert_eq!(code(&program(&["status", "--kind", "boook"], &db)), 2);
    assert_eq!(code(&program(&["migrate"], &db)), 2);
    let help = Command::new(env!("CARGO_BIN_EXE_counterfoil-migrate"))
        .arg("--help")
        .output()
        .unwrap();
    assert_eq!(code(&help), 0);
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Exit codes")
    );
}

#[test]
fn a_reader_that_went_away_is_success() {
    let folder = TempFolder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_counterfoil-migrate"))
        .args(["status", "--kind", "book", "--json", "--db"])
        .arg(folder.file("book.db"))
        .stdout(Stdio::from(writer))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_log_says_from_and_to() {
    let folder = TempFolder::new();
    let db = folder.file("book.db");
    let output = program(&["apply", "--kind", "book", "--verbose"], &db);
    let text = stderr(&output);
    assert!(text.contains("schema migrated"), "{text}");
    assert!(text.contains("from"), "{text}");
}
