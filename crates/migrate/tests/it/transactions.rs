//! Transactions end with their closure, whatever happens in it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use counterfoil_migrate::{CommitOutcome, Connection, Durability, SqlError};

use crate::temp::TempFolder;

const TABLES: &str = "
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (
        id INTEGER PRIMARY KEY,
        parent INTEGER NOT NULL REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED
    );
    CREATE TRIGGER no_nine BEFORE INSERT ON parent WHEN NEW.id = 9
    BEGIN SELECT RAISE(ROLLBACK, 'nine is not allowed'); END;
";

fn opened(folder: &TempFolder) -> Connection {
    let conn = Connection::open(folder.file("a.db"), Durability::Full).unwrap();
    conn.execute_batch(TABLES).unwrap();
    conn
}

fn parents(conn: &Connection) -> i64 {
    conn.query_value("SELECT count(*) FROM parent", ()).unwrap()
}

fn is_usable(conn: &Connection) {
    assert!(conn.is_autocommit());
    let inserted = conn.transaction(|tx| tx.execute("INSERT INTO parent VALUES (100)", ()));
    assert_eq!(inserted.unwrap(), 1);
}

#[test]
fn a_finished_transaction_is_stored() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let value = conn.transaction(|tx| -> Result<_, SqlError> {
        assert!(!tx.is_autocommit());
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        Ok(tx.last_insert_rowid())
    });
    assert_eq!(value.unwrap(), 1);
    assert_eq!(parents(&conn), 1);
    is_usable(&conn);
}

#[test]
fn a_failing_body_is_rolled_back() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let failed = conn.transaction(|tx| -> Result<(), SqlError> {
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        Ok(())
    });
    assert!(failed.unwrap_err().is_constraint());
    assert_eq!(parents(&conn), 0);
    is_usable(&conn);
}

#[test]
fn a_panicking_body_is_rolled_back() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        conn.transaction(|tx| -> Result<(), SqlError> {
            tx.execute("INSERT INTO parent VALUES (1)", ())?;
            panic!("in the middle")
        })
    }));
    assert!(unwound.is_err());
    assert_eq!(parents(&conn), 0);
    is_usable(&conn);
}

#[test]
fn a_commit_refused_by_a_deferred_foreign_key_leaves_no_transaction_open() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let failed = conn.transaction(|tx| -> Result<(), SqlError> {
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        tx.execute("INSERT INTO child VALUES (1, 77)", ())?;
        Ok(())
    });
    let error = failed.unwrap_err();
    assert!(error.is_constraint());
    assert!(matches!(
        error,
        SqlError::Commit {
            outcome: CommitOutcome::RolledBack,
            ..
        }
    ));
    assert_eq!(parents(&conn), 0);
    is_usable(&conn);
}

#[test]
fn the_error_of_an_automatic_rollback_is_not_masked() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let failed = conn.transaction(|tx| -> Result<(), SqlError> {
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        tx.execute("INSERT INTO parent VALUES (9)", ())?;
        Ok(())
    });
    let error = failed.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("nine is not allowed"), "{cause}");
    assert_eq!(parents(&conn), 0);
    is_usable(&conn);
}

#[test]
fn a_savepoint_tells_the_error_of_an_automatic_rollback_too() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let failed = conn.transaction(|tx| -> Result<(), SqlError> {
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        tx.savepoint(|| tx.execute("INSERT INTO parent VALUES (9)", ()))?;
        Ok(())
    });
    let error = failed.unwrap_err();
    assert!(error.is_constraint(), "{error:?}");
    assert_eq!(parents(&conn), 0);
    is_usable(&conn);
}

#[test]
fn a_swallowed_automatic_rollback_is_noticed() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let failed = conn.transaction(|tx| -> Result<(), SqlError> {
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        tx.execute("INSERT INTO parent VALUES (9)", ()).ok();
        tx.execute("INSERT INTO parent VALUES (2)", ())?;
        Ok(())
    });
    // Row 2 was stored on its own, so the caller must not believe in its transaction.
    assert!(matches!(failed, Err(SqlError::EndedEarly)));
    is_usable(&conn);
}

#[test]
fn transactions_do_not_nest() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    conn.transaction(|tx| -> Result<(), SqlError> {
        let inner = tx.transaction(|_| -> Result<(), SqlError> { Ok(()) });
        assert!(matches!(inner, Err(SqlError::Nested)));
        tx.execute("INSERT INTO parent VALUES (1)", ())?;
        Ok(())
    })
    .unwrap();
    assert_eq!(parents(&conn), 1);
}

#[test]
fn a_transaction_begun_by_hand_is_taken_back() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let begin = conn.execute_batch("BEGIN; INSERT INTO parent VALUES (1)");
    assert!(matches!(begin, Err(SqlError::LeftOpen { .. })));
    let begin = conn.execute("BEGIN IMMEDIATE", ());
    assert!(matches!(begin, Err(SqlError::LeftOpen { .. })));
    let half = conn.execute_batch("BEGIN; INSERT INTO parent VALUES (1); SELECT nonsense");
    assert!(matches!(half, Err(SqlError::Batch { .. })));
    assert_eq!(parents(&conn), 0);
    is_usable(&conn);
}

#[test]
fn a_snapshot_sees_one_state() {
    let folder = TempFolder::new();
    let conn = opened(&folder);
    let writer = Connection::open(folder.file("a.db"), Durability::Full).unwrap();
    conn.snapshot(|view| -> Result<(), SqlError> {
        assert_eq!(parents(view), 0);
        writer.execute("INSERT INTO parent VALUES (1)", ())?;
        assert_eq!(parents(view), 0);
        Ok(())
    })
    .unwrap();
    assert_eq!(parents(&conn), 1);
    assert!(!writer.checkpoint_truncate().unwrap().busy);
}
