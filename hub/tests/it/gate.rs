//! What the operator lets tills do that are older than the hub (L4, X5), and what the hub says of it.

use crate::hub::{Client, TestHub};
use crate::till::{Till, schemas};
use counterfoil_migrate::Kind;
use counterfoil_protocol::gate::{Gate, GatePolicy, Schemas};
use counterfoil_protocol::wire::gate::{
    BookGate, GateRehearsal, GateReport, GateSet, HeldBackBy, HeldChange,
};
use counterfoil_replica::{PushError, RemoteError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn older() -> Schemas {
    let Schemas { book, catalog } = schemas();
    Schemas {
        book: book - 1,
        catalog: catalog - 1,
    }
}

async fn set(client: &Client, policy: &str) -> bool {
    let wanted = json!({"policy": policy, "by": "Ann"});
    client.admin_post::<GateSet>("gate", &wanted).await.changed
}

async fn report(client: &Client) -> GateReport {
    client.admin_get("gate").await
}

async fn receipts(client: &Client) -> i64 {
    client.settle().await.receipts
}

fn change(report: &GateReport, database: &str, version: i32) -> HeldChange {
    let mut changes = report.changes.iter();
    let wanted =
        |change: &&HeldChange| (change.database.as_str(), change.version) == (database, version);
    changes.find(wanted).cloned().expect("it is listed")
}

/// The alerts of tills that are shut out: whether each lasts.
async fn told(client: &Client) -> Vec<bool> {
    let alerts = client.settle().await.alerts.into_iter();
    let told = alerts.filter(|alert| alert.kind == "shut_out");
    told.map(|alert| alert.is_open()).collect()
}

#[tokio::test]
async fn under_strict_nothing_of_an_older_till_is_taken_until_it_is_let_in() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of_version(&client, "Leith", 1, older().book).await;
    till.sell(1);
    assert!(till.hello_as(&client, older()).await.takes_book);
    till.push(&client).await.unwrap();
    assert_eq!(receipts(&client).await, 1);

    // A rehearsal names the till and changes nothing.
    let wanted = json!({"policy": "strict"});
    let found: GateRehearsal = client.admin_post("gate/rehearse", &wanted).await;
    assert_eq!(
        (found.policy_now, found.tills.len()),
        (GatePolicy::UplinkOpen, 1)
    );
    assert_eq!(found.tills[0].book, BookGate::Refused);
    assert_eq!(report(&client).await.policy, GatePolicy::UplinkOpen);

    assert!(set(&client, "strict").await);
    assert!(!set(&client, "strict").await);
    till.sell(1);
    till.sell(2);
    for _ in 0..3 {
        let hello = till.hello_as(&client, older()).await;
        assert_eq!(
            (hello.gate, hello.takes_book),
            (Gate::UpdateRequired, false)
        );
    }
    // A program that does not heed it, or knows nothing of it, gets no further.
    let refused = till.push(&client).await.unwrap_err();
    let is_refusal = matches!(refused, PushError::Remote(RemoteError::UpdateRequired));
    assert!(is_refusal, "{refused:?}");
    assert_eq!(receipts(&client).await, 1);
    let found = report(&client).await;
    let [waiting] = &found.tills[..] else {
        panic!("{found:?}");
    };
    assert_eq!((waiting.book, waiting.entries), (BookGate::Refused, 2));
    assert_eq!(
        (waiting.till.as_str(), waiting.schemas),
        ("Leith/1", older())
    );
    assert_eq!(told(&client).await, [true]);

    // Who is up to date is not concerned.
    let mut other = Till::of(&client, "Leith", 2).await;
    other.sell(1);
    assert!(other.hello(&client).await.takes_book);
    other.push(&client).await.unwrap();
    assert_eq!(receipts(&client).await, 2);

    assert!(set(&client, "uplink_open").await);
    assert_eq!(told(&client).await, [false]);
    assert!(till.hello_as(&client, older()).await.takes_book);
    till.push(&client).await.unwrap();
    assert_eq!(receipts(&client).await, 4);
    let decisions = client.decisions().await;
    let said: Vec<_> = decisions
        .iter()
        .map(|made| {
            (
                made.who.as_str(),
                made.action.as_str(),
                &made.before,
                &made.after,
            )
        })
        .collect();
    let (open, strict) = (json!("uplink_open"), json!("strict"));
    let expected = [
        ("Ann", "gate_set", &open, &strict),
        ("Ann", "gate_set", &strict, &open),
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_till_that_is_updated_under_strict_is_taken_again() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of_version(&client, "Leith", 1, older().book).await;
    set(&client, "strict").await;
    till.sell(1);
    till.hello_as(&client, older()).await;
    till.push(&client).await.unwrap_err();
    Kind::Book.schema().apply(&till.book, 0).unwrap();
    till.sell(1);
    assert!(till.hello(&client).await.takes_book);
    till.push(&client).await.unwrap();
    assert_eq!(receipts(&client).await, 2);
    let found = report(&client).await;
    assert_eq!((found.tills, found.changes), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn the_hub_says_which_till_holds_back_which_change_and_what_waits_for_it() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let behind = Till::of_version(&client, "Leith", 1, 1).await;
    let first = Schemas {
        book: 1,
        catalog: 1,
    };
    behind.hello_as(&client, first).await;
    let near = Till::of_version(&client, "Leith", 2, older().book).await;
    near.hello_as(&client, older()).await;
    Till::of(&client, "Leith", 3).await.hello(&client).await;
    for (table, row) in [("products", "P1"), ("products", "P2"), ("suppliers", "S1")] {
        let columns = json!({"columns": {"name": "Tea"}});
        let path = format!("catalog/{table}/{row}");
        client.admin_post::<Value>(&path, &columns).await;
    }
    let found = report(&client).await;
    let tills: Vec<_> = found.tills.iter().map(|till| till.till.as_str()).collect();
    assert_eq!(tills, ["Leith/1", "Leith/2"]);
    for till in &found.tills {
        assert_eq!((till.book, till.entries), (BookGate::Counted, 0));
        assert!(till.catalog_waits);
        assert_eq!(till.publications, client.settle().await.catalog_revision);
        let rows = BTreeMap::from([("products".to_owned(), 2), ("suppliers".to_owned(), 1)]);
        assert_eq!(till.rows, rows);
    }
    let newest = schemas();
    for (database, version, tills) in [
        ("book", 2, vec!["Leith/1"]),
        ("book", newest.book, vec!["Leith/1", "Leith/2"]),
        ("catalog", 2, vec!["Leith/1"]),
        ("catalog", newest.catalog, vec!["Leith/1", "Leith/2"]),
    ] {
        let change = change(&found, database, version);
        assert_eq!(change.held_back_by, HeldBackBy::Tills);
        assert_eq!(change.tills, tills, "{database} {version}");
        assert!(change.name.is_some());
    }
    // One whose access was taken back holds nothing back.
    let path = format!("nodes/{}/revoke", behind.id);
    client.admin_post::<Value>(&path, &Value::Null).await;
    assert_eq!(report(&client).await.tills.len(), 1);
}

#[tokio::test]
async fn the_hub_says_when_it_is_itself_too_old_for_a_till() {
    let hub = TestHub::start_with(|config| config.schemas.book = schemas().book - 1).await;
    let client = hub.client();
    set(&client, "strict").await;
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.sell(1);
    assert!(till.hello(&client).await.takes_book, "newer ones are kept");
    till.push(&client).await.unwrap();
    assert_eq!(receipts(&client).await, 0);
    let found = report(&client).await;
    assert_eq!(
        (found.tills[0].book, found.tills[0].entries),
        (BookGate::Kept, 2)
    );
    let change = change(&found, "book", schemas().book);
    assert_eq!((change.held_back_by, change.name), (HeldBackBy::Hub, None));
    assert_eq!(change.tills, ["Leith/1"]);
    let why = till.hello(&client).await.waits.unwrap();
    assert!(why.contains("upgrade the hub"), "{why}");
}
