//! The runner: all or nothing, foreign keys safe, newer and edited schemas refused.

use std::path::PathBuf;

use counterfoil_migrate::{
    ApplyError, Connection, Divergence, Durability, Kind, ProblemCode, Schema, SchemaError, State,
    apply, check, open_and_migrate, schema_version, status,
};

use crate::temp::TempFolder;

/// 2026-01-02T03:04:05.678Z
const NOW_MS: i64 = 1_767_323_045_678;

const V1: (&str, &str) = (
    "V1__init",
    "CREATE TABLE sale (id INTEGER PRIMARY KEY, total_minor INTEGER);
     CREATE TABLE line (
         id INTEGER PRIMARY KEY,
         sale INTEGER NOT NULL REFERENCES sale (id) ON DELETE CASCADE
     );",
);
const V2_REBUILD: (&str, &str) = (
    "V2__rebuild",
    "CREATE TABLE sale_new (id INTEGER PRIMARY KEY, total_minor INTEGER NOT NULL);
     INSERT INTO sale_new SELECT id, total_minor FROM sale;
     DROP TABLE sale;
     ALTER TABLE sale_new RENAME TO sale;",
);
const V3: (&str, &str) = ("V3__note", "CREATE TABLE note (text TEXT);");

fn schema(files: &[(&'static str, &'static str)]) -> Schema {
    Schema::new(files.iter().copied()).unwrap()
}

fn opened(folder: &TempFolder) -> Connection {
    Connection::open(folder.file("a.db"), Durability::Full).unwrap()
}

fn tables(conn: &Connection) -> Vec<String> {
    conn.query_map(
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
        (),
        |row| row.get(0),
    )
    .unwrap()
}

fn foreign_keys_are_on(conn: &Connection) -> bool {
    conn.query_value("PRAGMA foreign_keys", ()).unwrap()
}

#[test]
fn a_new_database_gets_every_migration_once() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let schema = schema(&[V1, V2_REBUILD, V3]);
    assert_eq!(schema_version(&conn).unwrap(), None);
    assert_eq!(schema.status(&conn).unwrap().state, State::Pending);
    let first = schema.apply(&conn, NOW_MS).unwrap();
    assert_eq!((first.from, first.to, first.applied.len()), (None, 3, 3));
    let second = schema.apply(&conn, NOW_MS).unwrap();
    assert_eq!(
        (second.from, second.to, second.applied.len()),
        (Some(3), 3, 0)
    );
    let status = schema.status(&conn).unwrap();
    assert_eq!(status.state, State::Current);
    assert_eq!(status.applied[2].applied_on, "2026-01-02T03:04:05.678Z");
    assert_eq!(schema_version(&conn).unwrap(), Some(3));
    assert_eq!(schema.check(&conn).unwrap(), []);
    assert!(foreign_keys_are_on(&conn));
}

#[test]
fn an_upgrade_reports_from_and_to() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let schema = schema(&[V1, V2_REBUILD, V3]);
    schema.clone().up_to(1).apply(&conn, NOW_MS).unwrap();
    let report = schema.apply(&conn, NOW_MS + 1000).unwrap();
    assert_eq!((report.from, report.to), (Some(1), 3));
    let names: Vec<String> = report.applied.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["V2__rebuild", "V3__note"]);
    let applied = schema.status(&conn).unwrap().applied;
    assert_eq!(applied[0].applied_on, "2026-01-02T03:04:05.678Z");
    assert_eq!(applied[1].applied_on, "2026-01-02T03:04:06.678Z");
}

#[test]
fn a_table_rebuild_does_not_delete_the_children() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    schema(&[V1]).apply(&conn, NOW_MS).unwrap();
    conn.execute_batch("INSERT INTO sale VALUES (1, 500); INSERT INTO line VALUES (1, 1), (2, 1)")
        .unwrap();
    schema(&[V1, V2_REBUILD]).apply(&conn, NOW_MS).unwrap();
    let lines: i64 = conn.query_value("SELECT count(*) FROM line", ()).unwrap();
    assert_eq!(lines, 2);
    assert!(foreign_keys_are_on(&conn));
}

#[test]
fn a_migration_that_orphans_rows_is_refused() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    schema(&[V1]).apply(&conn, NOW_MS).unwrap();
    conn.execute_batch("INSERT INTO sale VALUES (1, 500); INSERT INTO line VALUES (1, 1)")
        .unwrap();
    let wrong = schema(&[V1, ("V2__forget", "DELETE FROM sale;")]);
    let refused = wrong.apply(&conn, NOW_MS).unwrap_err();
    let ApplyError::ForeignKeys { violations } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        violations[0].to_string(),
        "line row 1 has no parent in sale"
    );
    let sales: i64 = conn.query_value("SELECT count(*) FROM sale", ()).unwrap();
    assert_eq!(sales, 1);
    assert_eq!(schema_version(&conn).unwrap(), Some(1));
    assert!(foreign_keys_are_on(&conn));
}

#[test]
fn a_failing_statement_leaves_the_old_schema_and_names_its_file() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    schema(&[V1]).apply(&conn, NOW_MS).unwrap();
    let before = tables(&conn);
    let v3 = (
        "V3__broken",
        "CREATE TABLE half (id INTEGER); INSERT INTO nowhere VALUES (1);",
    );
    let failed = schema(&[V1, V2_REBUILD, v3])
        .apply(&conn, NOW_MS)
        .unwrap_err();
    assert_eq!(failed.to_string(), "migration V3__broken failed");
    assert!(!failed.is_schema_conflict());
    // Version 2 went with it: the program before the upgrade finds the schema it knows.
    assert_eq!(tables(&conn), before);
    assert_eq!(schema(&[V1]).status(&conn).unwrap().state, State::Current);
    assert!(conn.is_autocommit());
    assert!(foreign_keys_are_on(&conn));
}

#[test]
fn a_migration_must_not_end_its_transaction() {
    for script in [
        "commit;",
        "ROLLBACK; BEGIN;",
        "COMMIT; BEGIN; CREATE TABLE b (id);",
    ] {
        let folder = TempFolder::new();
        let conn = opened(&folder);
        let sly = schema(&[V1, ("V2__sly", script)]);
        let failed = sly.apply(&conn, NOW_MS).unwrap_err();
        assert!(
            matches!(failed, ApplyError::EndedTransaction { .. }),
            "{script}: {failed:?}"
        );
        assert!(conn.is_autocommit());
    }
}

#[test]
fn a_newer_database_is_refused_with_a_clear_message() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    schema(&[V1, V2_REBUILD, V3]).apply(&conn, NOW_MS).unwrap();
    let old = schema(&[V1]);
    assert_eq!(old.status(&conn).unwrap().state, State::Newer);
    let refused = old.apply(&conn, NOW_MS).unwrap_err();
    assert!(refused.is_schema_conflict());
    assert_eq!(
        format!("{refused}: {}", refused.hint()),
        "database has schema 3, this program knows up to 1: install a newer Counterfoil"
    );
    assert_eq!(old.check(&conn).unwrap()[0].code, ProblemCode::Newer);
}

#[test]
fn an_edited_migration_is_refused() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    schema(&[V1]).apply(&conn, NOW_MS).unwrap();
    // One blank is enough.
    let text = V1.1.replace("total_minor", "total_minor ");
    let edited = Schema::new([("V1__init", text.as_str()), V2_REBUILD]).unwrap();
    assert_eq!(edited.status(&conn).unwrap().state, State::Divergent);
    let refused = edited.apply(&conn, NOW_MS).unwrap_err();
    assert!(refused.is_schema_conflict());
    assert!(refused.hint().contains("edited"), "{}", refused.hint());
    let ApplyError::Divergent { divergence } = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(*divergence, Divergence::Edited { .. }));
    assert_eq!(schema_version(&conn).unwrap(), Some(1));
}

#[test]
fn a_history_with_a_gap_is_refused() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let all = schema(&[V1, V2_REBUILD, V3]);
    all.apply(&conn, NOW_MS).unwrap();
    conn.execute_batch("DELETE FROM refinery_schema_history WHERE version = 2")
        .unwrap();
    let status = all.status(&conn).unwrap();
    assert!(matches!(
        status.divergence,
        Some(Divergence::Skipped { .. })
    ));
    assert!(all.apply(&conn, NOW_MS).unwrap_err().is_schema_conflict());
    conn.execute_batch("UPDATE refinery_schema_history SET version = 0 WHERE version = 1")
        .unwrap();
    let status = all.status(&conn).unwrap();
    assert!(matches!(
        status.divergence,
        Some(Divergence::Unknown { .. })
    ));
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    conn.execute_batch("CREATE TABLE theirs (id INTEGER)")
        .unwrap();
    let refused = schema(&[V1]).apply(&conn, NOW_MS).unwrap_err();
    let ApplyError::Divergent { divergence } = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(
        *divergence,
        Divergence::Foreign { table_count: 1 }
    ));
    assert_eq!(tables(&conn), ["theirs"]);
}

#[test]
fn a_connection_inside_a_transaction_is_refused() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let refused = conn
        .transaction(|tx| schema(&[V1]).apply(tx, NOW_MS).map(drop))
        .unwrap_err();
    assert!(matches!(refused, ApplyError::TransactionOpen));
    assert!(foreign_keys_are_on(&conn));
}

#[test]
fn a_damaged_history_row_is_an_error() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    schema(&[V1]).apply(&conn, NOW_MS).unwrap();
    conn.execute_batch("UPDATE refinery_schema_history SET applied_on = 'yesterday'")
        .unwrap();
    let failed = schema(&[V1, V2_REBUILD]).apply(&conn, NOW_MS).unwrap_err();
    assert!(matches!(failed, ApplyError::HistoryRow { version: 1 }));
}

#[test]
fn check_finds_orphans_and_damage() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let v1 = schema(&[V1]);
    v1.apply(&conn, NOW_MS).unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; INSERT INTO line VALUES (1, 42); PRAGMA foreign_keys = ON;
         INSERT INTO sale VALUES (1, NULL);
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'total_minor INTEGER',
             'total_minor INTEGER NOT NULL') WHERE name = 'sale';",
    )
    .unwrap();
    let codes = |conn: &Connection| -> Vec<ProblemCode> {
        let problems = v1.check(conn).unwrap();
        problems.iter().map(|problem| problem.code).collect()
    };
    let again = opened(&folder);
    let found = codes(&again);
    assert!(found.contains(&ProblemCode::ForeignKey), "{found:?}");
    assert!(found.contains(&ProblemCode::Integrity), "{found:?}");
}

#[test]
fn numbering_is_checked_before_anything_runs() {
    let gap = Schema::new([V1, V3]);
    assert!(matches!(
        gap,
        Err(SchemaError::Numbering { expected: 2, .. })
    ));
    let twice = Schema::new([V1, ("V1__again", "SELECT 1")]);
    assert!(matches!(
        twice,
        Err(SchemaError::Numbering { expected: 2, .. })
    ));
    let undo = Schema::new([("U1__undo", "SELECT 1")]);
    assert!(matches!(undo, Err(SchemaError::Unversioned { .. })));
    let nul = Schema::new([(
        "V1__nul",
        "CREATE TABLE a (id INTEGER);\0 CREATE TABLE b (id);",
    )]);
    assert!(matches!(nul, Err(SchemaError::Nul { .. })));
    let name = Schema::new([("first", "SELECT 1")]);
    assert!(matches!(name, Err(SchemaError::Read { .. })));
}

#[test]
fn each_kind_opens_migrates_and_passes_its_check() {
    for kind in Kind::ALL {
        let folder = TempFolder::new();
        let conn = open_and_migrate(folder.file("a.db"), kind, NOW_MS).unwrap();
        assert_eq!(schema_version(&conn).unwrap(), Some(kind.schema_version()));
        assert_eq!(status(&conn, kind).unwrap().state, State::Current);
        assert_eq!(check(&conn, kind).unwrap(), [], "{kind}");
        assert_eq!(apply(&conn, kind, NOW_MS).unwrap().applied, []);
        assert_eq!(kind.to_string().parse(), Ok(kind));
        let others = Kind::ALL.into_iter().filter(|other| *other != kind);
        for other in others {
            let refused = apply(&conn, other, NOW_MS).unwrap_err();
            assert!(refused.is_schema_conflict(), "{kind} opened as {other}");
        }
    }
}

#[test]
fn a_missing_folder_is_named() {
    let path = PathBuf::from("/nonexistent/folder/a.db");
    let failed = open_and_migrate(&path, Kind::Book, NOW_MS).unwrap_err();
    assert!(failed.to_string().contains("/nonexistent/folder"));
    assert!(failed.hint().contains("folder exists"));
}
