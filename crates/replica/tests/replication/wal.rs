//! The engine rules of design 12, and that frame numbers come from a real read.

use counterfoil_replica::{Checkpoint, Durability, Wal, WalError};

use crate::support::{connect, connect_foreign, create_sales, folder, pragma, sell};

#[tokio::test]
async fn our_handle_keeps_frames_and_salt_when_everybody_closes() {
    let folder = folder();
    let path = folder.path().join("book.db");
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    let connection = connect(&path).await;
    create_sales(&connection).await;
    // More pages than SQLite's automatic checkpoint waits for.
    sell(&connection, 1500).await;
    let before = wal.position().unwrap();
    assert!(before.frames > 1000, "{before:?}");
    drop(connection);
    assert_eq!(wal.position().unwrap(), before);
    drop(wal);
    assert!(
        std::fs::metadata(folder.path().join("book.db-wal"))
            .unwrap()
            .len()
            > 1000 * 4096
    );
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    assert_eq!(wal.position().unwrap(), before);
}

#[tokio::test]
async fn our_handle_never_checkpoints_by_itself() {
    let folder = folder();
    let (source, target) = (
        folder.path().join("source.db"),
        folder.path().join("target.db"),
    );
    let mut from = Wal::open(&source, Durability::Full).unwrap();
    let mut to = Wal::open(&target, Durability::Normal).unwrap();
    let connection = connect(&source).await;
    create_sales(&connection).await;
    sell(&connection, 1500).await;
    let main = to.main_digest().unwrap();
    let last = from.position().unwrap().frames;
    let mut body = Vec::new();
    from.read(|reading| reading.frames_into(1, last, &mut body))
        .unwrap();
    to.insert(1, &body).unwrap();
    assert_eq!(to.position().unwrap().frames, last);
    assert_eq!(
        to.main_digest().unwrap(),
        main,
        "the main file is untouched"
    );
}

#[tokio::test]
async fn frames_are_counted_while_somebody_writes() {
    let folder = folder();
    let path = folder.path().join("book.db");
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    let connection = connect(&path).await;
    create_sales(&connection).await;
    sell(&connection, 10).await;
    let before = wal.position().unwrap();
    let behavior = libsql::TransactionBehavior::Immediate;
    let transaction = connection
        .transaction_with_behavior(behavior)
        .await
        .unwrap();
    transaction
        .execute("INSERT INTO sale(note) VALUES('open')", ())
        .await
        .unwrap();
    assert_eq!(
        wal.position().unwrap(),
        before,
        "an open transaction does not count"
    );
    transaction.commit().await.unwrap();
    assert!(wal.position().unwrap().frames > before.frames);
}

#[tokio::test]
async fn uncommitted_pages_that_spilled_into_the_wal_do_not_count() {
    let folder = folder();
    let path = folder.path().join("book.db");
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    let connection = connect(&path).await;
    create_sales(&connection).await;
    pragma(&connection, "PRAGMA cache_size=5").await;
    let before = wal.position().unwrap();
    let behavior = libsql::TransactionBehavior::Immediate;
    let transaction = connection
        .transaction_with_behavior(behavior)
        .await
        .unwrap();
    for _ in 0..2000 {
        let sql = "INSERT INTO sale(note) VALUES(hex(randomblob(200)))";
        transaction.execute(sql, ()).await.unwrap();
    }
    let length = std::fs::metadata(folder.path().join("book.db-wal"))
        .unwrap()
        .len();
    assert!(
        length > 100 * 4096,
        "the transaction has spilled: {length} bytes"
    );
    assert_eq!(wal.position().unwrap(), before);
    transaction.rollback().await.unwrap();
    assert_eq!(wal.position().unwrap(), before);
}

#[tokio::test]
async fn a_checkpoint_is_whole_or_not_at_all() {
    let folder = folder();
    let path = folder.path().join("book.db");
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    let connection = connect(&path).await;
    create_sales(&connection).await;
    sell(&connection, 20).await;
    let before = wal.position().unwrap();
    let reader = connect(&path).await;
    let mut rows = reader.query("SELECT id FROM sale", ()).await.unwrap();
    rows.next().await.unwrap();
    sell(&connection, 1).await;
    assert_eq!(wal.checkpoint_truncate().unwrap(), Checkpoint::Busy);
    assert_eq!(wal.position().unwrap().salt, before.salt);
    drop(rows);
    drop(reader);
    assert_eq!(wal.checkpoint_truncate().unwrap(), Checkpoint::Done);
    assert_eq!(wal.position().unwrap().frames, 0);
    assert_eq!(
        std::fs::metadata(folder.path().join("book.db-wal"))
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn a_database_with_other_pages_is_refused() {
    let folder = folder();
    let path = folder.path().join("book.db");
    let connection = {
        let database = libsql::Builder::new_local(&path).build().await.unwrap();
        database.connect().unwrap()
    };
    pragma(&connection, "PRAGMA page_size=8192").await;
    create_sales(&connection).await;
    drop(connection);
    let error = Wal::open(&path, Durability::Full).unwrap_err();
    assert!(
        matches!(error, WalError::PageSize { bytes: 8192, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_foreign_checkpoint_changes_the_salt() {
    let folder = folder();
    let path = folder.path().join("book.db");
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    let connection = connect_foreign(&path).await;
    create_sales(&connection).await;
    let before = wal.position().unwrap();
    pragma(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert_eq!(wal.position().unwrap().salt, None);
    sell(&connection, 1).await;
    let after = wal.position().unwrap();
    assert!(after.salt.is_some() && after.salt != before.salt);
}
