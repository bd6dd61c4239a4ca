//! The shim VFS: one seed, one database, byte for byte. A process of its own, because the VFS is.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise"
)]

use counterfoil_replica::{Durability, Wal, vfs};

async fn run(seed: u64) -> (Vec<u8>, String) {
    vfs::register_deterministic(seed);
    vfs::set_time_ms(1_700_000_000_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("book.db");
    let mut wal = Wal::open(&path, Durability::Full).unwrap();
    let database = libsql::Builder::new_local(&path).build().await.unwrap();
    let connection = database.connect().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(a, b DEFAULT (strftime('%Y-%m-%dT%H:%M:%f','now')));
             INSERT INTO t(a) VALUES(randomblob(20)), (random());",
        )
        .await
        .unwrap();
    let mut rows = connection.query("SELECT max(b) FROM t", ()).await.unwrap();
    let time = rows
        .next()
        .await
        .unwrap()
        .unwrap()
        .get::<String>(0)
        .unwrap();
    let last = wal.position().unwrap().frames;
    let mut frames = Vec::new();
    wal.read(|reading| reading.frames_into(1, last, &mut frames))
        .unwrap();
    (frames, time)
}

#[tokio::test]
async fn a_seed_replays_byte_for_byte() {
    let first = run(7).await;
    assert_eq!(first.1, "2023-11-14T22:13:20.000");
    assert_eq!(run(7).await, first);
    assert_ne!(run(8).await.0, first.0);
}
