//! Files of the hub that are not what was written: set aside, put on record, filled again.

use crate::hub::TestHub;
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_protocol::wire::hub::{HubStatus, book_path};
use counterfoil_replica::limits::FRAME_BYTES;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

fn is_alert(status: &HubStatus) -> bool {
    let mut alerts = status.alerts.iter();
    alerts.any(|alert| alert.kind == "copy_damaged")
}

/// Turns one byte of a file over.
fn flip(path: &Path, at: usize) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let (mut byte, at) = ([0], u64::try_from(at).unwrap());
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

fn part(book: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", book.display()))
}

#[tokio::test]
async fn a_book_that_the_hub_cannot_read_is_set_aside_and_sent_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("no record", |book| {
            std::fs::write(part(book, "-sync"), "{}").unwrap();
        }),
        ("record gone", |book| {
            std::fs::remove_file(part(book, "-sync")).unwrap();
        }),
        ("no database", |book| {
            std::fs::write(book, vec![7; 20_000]).unwrap();
        }),
        ("empty", |book| std::fs::write(book, "").unwrap()),
        ("cut", |book| {
            let file = std::fs::OpenOptions::new().write(true).open(book).unwrap();
            file.set_len(2 * 4096).unwrap();
        }),
    ];
    for (name, damage) in damages {
        // Every pass of the consolidator begins a generation, so that the main file holds sales.
        let mut hub = TestHub::start_with(|config| config.wal_limit_bytes = 0).await;
        let mut till = Till::of(&hub.client(), "A", 1).await;
        for _ in 0..5 {
            till.sell(3);
        }
        till.push(&hub.client()).await.unwrap();
        hub.client().settle().await;
        let book = hub.dir.join("books").join(format!("{}.db", till.id));
        hub.stop().await;
        damage(&book);
        let hub = hub.restart().await;
        let client = hub.client();
        till.sell(3);
        let report = till.push(&client).await.unwrap();
        assert!(report.divergence.is_some(), "{name}: {report:?}");
        till.sell(3);
        assert_eq!(till.push(&client).await.unwrap().divergence, None, "{name}");
        let status = client.settle().await;
        assert_eq!(status.receipts, 7, "{name}");
        assert!(is_alert(&status), "{name}: {:?}", status.alerts);
        let mut kept = std::fs::read_dir(hub.dir.join("books")).unwrap();
        let is_kept = kept.any(|entry| {
            let name = entry.unwrap().file_name();
            name.to_string_lossy().contains(".damaged-")
        });
        assert!(is_kept, "{name}");
    }
}

#[tokio::test]
async fn a_frame_that_the_disk_changes_while_the_hub_runs_is_never_given_out() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    for _ in 0..5 {
        till.sell(3);
    }
    till.push(&client).await.unwrap();
    client.settle().await;
    let book = hub.dir.join("books").join(format!("{}.db", till.id));
    flip(&part(&book, "-wal"), 32 + 4 * FRAME_BYTES + 2_000);
    let path = format!("{}/sync/1/1/20", book_path(till.id));
    let answer = client.get(&path, Some(&till.token)).await;
    assert_eq!(answer.status, 500);
    till.sell(3);
    let report = till.push(&client).await.unwrap();
    assert!(
        report.divergence.is_some() && report.generation > 1,
        "{report:?}"
    );
    let status = client.settle().await;
    assert_eq!(status.receipts, 6);
    assert!(is_alert(&status), "{:?}", status.alerts);
}

#[tokio::test]
async fn a_catalog_that_the_hub_cannot_read_is_written_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("no database", |catalog| {
            std::fs::write(catalog, vec![7; 20_000]).unwrap();
        }),
        ("no record", |catalog| {
            std::fs::write(part(catalog, "-sync"), "{}").unwrap();
        }),
        ("a byte", |catalog| flip(catalog, 3 * 4096 + 4000)),
    ];
    for (name, damage) in damages {
        let mut hub = TestHub::start().await;
        let client = hub.client();
        let mut till = Till::of(&client, "A", 1).await;
        till.edit("TEA", ("name", Scalar::Text("Tea".to_owned())), &[]);
        till.push(&client).await.unwrap();
        let before = client.settle().await;
        hub.stop().await;
        damage(&hub.dir.join("catalog.db"));
        let hub = hub.restart().await;
        let after = hub.client().settle().await;
        assert_eq!(after.catalog_digest, before.catalog_digest, "{name}");
        assert!(after.catalog_revision > before.catalog_revision, "{name}");
        assert!(is_alert(&after), "{name}: {:?}", after.alerts);
        till.edit("TEA", ("name", Scalar::Text("Green tea".to_owned())), &[]);
        till.push(&hub.client()).await.unwrap();
        let changed = hub.client().settle().await;
        assert_ne!(changed.catalog_digest, before.catalog_digest, "{name}");
    }
}
