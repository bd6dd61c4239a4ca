use crate::hub::{HubProcess, command_json};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::hub::{HubStatus, SalesGroup};
use counterfoil_testkit::{SeededRandom, TempDir};
use std::time::Duration;
use tokio::time::Instant;

/// How often the hub is killed.
const KILLS: u64 = 30;

/// Sums of a table's column over what one till wrote: in its book, and at the hub.
fn compare(hub: &Connection, till: &Till, table: &str, column: &str) {
    let sql = format!("SELECT count(*), coalesce(sum({column}), 0) FROM {table}");
    let read = |row: &counterfoil_migrate::Row<'_>| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
    let book = till.book.query_row(&sql, (), read).unwrap();
    let sql = format!("{sql} WHERE node = (SELECT number FROM node WHERE id = ?1)");
    let consolidated = hub
        .query_row(&sql, params![till.id.to_bytes()], read)
        .unwrap();
    assert_eq!(book, consolidated, "{table} of {}", till.id);
}

/// One round of sales, edits and stock on every till.
fn trade(tills: &mut [Till], round: u64) {
    for (lane, till) in tills.iter_mut().enumerate() {
        for _ in 0..40 {
            till.sell(6);
        }
        let name = Scalar::Text(format!("name {round} of {lane}"));
        till.edit(&format!("P{}", round % 7), ("name", name), &[]);
        till.move_stock(1_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_while_it_takes_in_and_consolidates_loses_and_doubles_nothing() {
    let (dir, random) = (TempDir::new("killed-hub"), SeededRandom::new(42));
    let mut hub = HubProcess::start(dir.path(), "127.0.0.1:0");
    let listen = hub.url.strip_prefix("http://").unwrap().to_owned();
    let client = hub.client(dir.path());
    let mut tills = Vec::new();
    for seed in 0..3 {
        tills.push(Till::of(&client, &format!("shop {seed}"), seed).await);
    }
    let (mut broken, mut whole) = (0, 0);
    // How long the pushes of a round take on this machine.
    let mut undisturbed_ms = 0;
    for round in 0..KILLS {
        trade(&mut tills, round);
        let is_left_alone = round % 3 == 0;
        let span_ms = if is_left_alone { 25 } else { undisturbed_ms };
        let pause = Duration::from_millis(random.below(span_ms));
        let pushes = async {
            for till in &tills {
                match till.push(&client).await {
                    Ok(_) => whole += 1,
                    Err(_) => broken += 1,
                }
            }
        };
        let kill = async {
            tokio::time::sleep(pause).await;
            hub.kill();
        };
        if is_left_alone {
            // Nothing but consolidation and publication is left to be hit.
            let begun = Instant::now();
            pushes.await;
            undisturbed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap().max(1);
            kill.await;
        } else {
            tokio::join!(pushes, kill);
        }
        hub = HubProcess::start(dir.path(), &listen);
    }
    for till in &tills {
        till.push(&client).await.unwrap();
    }
    let status = client.settle().await;
    println!("{KILLS} kills, {whole} pushes whole, {broken} pushes broken");
    assert!(broken > 0 && whole > 0, "no kill met a push under way");
    let receipts = i64::try_from(KILLS * 40 * 3).unwrap();
    assert_eq!(
        (status.receipts, status.quarantined),
        (receipts, 0),
        "{:?}",
        status.alerts
    );
    hub.terminate();

    let db = Connection::open_read_only(dir.join("hub.db")).unwrap();
    for till in &tills {
        compare(&db, till, "receipt", "total_minor");
        compare(&db, till, "receipt_line", "amount_minor");
        compare(&db, till, "payment", "amount_minor");
    }
    let versions: i64 = db
        .query_value("SELECT count(*) FROM field_version", ())
        .unwrap();
    assert_eq!(versions, i64::try_from(KILLS * 3).unwrap());
    drop(db);
    let after: HubStatus = command_json(dir.path(), &["status"]);
    assert_eq!(after.catalog_digest, status.catalog_digest);
    let report: Vec<SalesGroup> = command_json(dir.path(), &["report", "sales", "--by", "node"]);
    assert_eq!(
        report.iter().map(|group| group.count).sum::<i64>(),
        receipts
    );
}
