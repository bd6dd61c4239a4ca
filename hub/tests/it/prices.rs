//! Prices are never merged by time: two that meet are for a person.

mod choices;

use crate::hub::{Client, TestHub, parse};
use crate::roles::machine;
use crate::till::{TIME_MS, Till};
use counterfoil_domain::env::import_id;
use counterfoil_domain::merge::{Policy, Stamp};
use counterfoil_domain::{CatalogEdit, Document, Hlc, ImportId, Scalar};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::decisions::{ConflictPage, ConflictRow, ConflictState};
use counterfoil_protocol::wire::hub::CatalogExport;
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_protocol::wire::policies::PolicyRow;
use counterfoil_protocol::wire::quarantine::QuarantineRow;
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};

/// Every column that states what something costs, and from when.
const COLUMNS: [(&str, &str); 3] = [
    ("products", "price_mills"),
    ("prices", "price_mills"),
    ("prices", "valid_from_ms"),
];

/// And those that say of what, and whether at all.
fn terms() -> impl Iterator<Item = (&'static str, &'static str)> {
    let more = [("prices", "product"), ("prices", "deleted")];
    COLUMNS.into_iter().chain(more)
}

fn number(value: i64) -> Scalar {
    Scalar::Integer(value)
}

/// What tills pull.
fn published(hub: &TestHub, (table, column): (&str, &str)) -> Option<i64> {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = format!("SELECT {column} FROM {table} WHERE id = 'TEA'");
    db.query_value(&sql, ()).unwrap()
}

/// What the catalog states about a column: the policy, and since when.
fn stated(hub: &TestHub, (table, column): (&str, &str)) -> (String, Option<i64>) {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = format!(
        "SELECT policy, since_ms FROM policy WHERE table_name = '{table}' AND column_name = '{column}'"
    );
    db.query_row(&sql, (), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

async fn conflicts(client: &Client) -> Vec<ConflictRow> {
    let page: ConflictPage = client.admin_get("conflicts").await;
    page.conflicts
}

/// The shops of which prices wait, as the alerts that last say.
async fn told(client: &Client) -> Vec<String> {
    client.settle().await;
    told_to(client, &client.admin).await
}

/// The same, as somebody sees them.
async fn told_to(client: &Client, token: &str) -> Vec<String> {
    let rows: Vec<AlertRow> = parse(&client.get("/v1/admin/alerts", Some(token)).await);
    let rows = rows.into_iter();
    let lasts = rows.filter(|row| row.kind == "price_open" && row.cleared_ms.is_none());
    let mut shops: Vec<String> = lasts.map(|row| row.subject).collect();
    shops.sort();
    shops
}

/// Two shops that hold the same row, and the version that both have seen.
async fn two_shops(client: &Client, (table, column): (&str, &str)) -> ([Till; 2], Stamp) {
    let mut tills = [
        Till::of(client, "A", 1).await,
        Till::of(client, "B", 2).await,
    ];
    let name = ("name", Scalar::Text("Tea".to_owned()));
    tills[0].edit("TEA", name, &[]);
    if table == "prices" {
        let product = ("product", Scalar::Text("TEA".to_owned()));
        tills[0].edit_in(table, "TEA", product, &[]);
    }
    let seen = tills[0].edit_in(table, "TEA", (column, number(1_000)), &[]);
    tills[0].push(client).await.unwrap();
    client.settle().await;
    tills[1].observe(seen.hlc);
    (tills, seen)
}

#[tokio::test]
async fn two_shops_that_reprice_at_the_same_time_wait_for_a_person() {
    for column in COLUMNS {
        for order in [[0, 1], [1, 0]] {
            let hub = TestHub::start().await;
            let client = hub.client();
            let (mut tills, seen) = two_shops(&client, column).await;
            assert_eq!(told(&client).await, [""; 0]);
            let (table, name) = column;
            let first = tills[0].edit_in(table, "TEA", (name, number(1_100)), &[seen]);
            // Later by its clock.
            tills[1].observe(first.hlc);
            tills[1].edit_in(table, "TEA", (name, number(1_200)), &[seen]);
            for till in order {
                tills[till].push(&client).await.unwrap();
                client.settle().await;
            }
            let found = conflicts(&client).await;
            let [conflict] = found.as_slice() else {
                panic!("{column:?} {order:?}: {found:?}")
            };
            assert_eq!(conflict.state, ConflictState::Open, "{column:?} {order:?}");
            assert_eq!(conflict.policy, "manual");
            let values = (&conflict.current.value, &conflict.loser.value);
            assert_eq!(values, (&json!(1_100), &json!(1_200)));
            assert_eq!(published(&hub, column), Some(1_100));
            assert_eq!(told(&client).await, ["A", "B"]);
            let resolve = json!({"choice": "loser", "by": "Jo"});
            let path = format!("conflicts/{}/resolve", conflict.id);
            client.admin_post::<Value>(&path, &resolve).await;
            assert_eq!(published(&hub, column), Some(1_200));
            assert_eq!(told(&client).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn what_is_told_of_prices_ends_when_the_last_is_decided() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = Vec::new();
    for (seed, shop) in (1..).zip(["A", "B", "C"]) {
        tills.push(Till::of(&client, shop, seed).await);
    }
    for (at, row, value) in [
        (0, "MILK", 1_100),
        (1, "MILK", 1_200),
        (1, "TEA", 1_300),
        (2, "TEA", 1_400),
    ] {
        let till = &mut tills[at];
        till.edit(row, ("price_mills", number(value)), &[]);
        // No price: it waits for nobody.
        let name = Scalar::Text(format!("Tea for {value}"));
        till.edit("OOLONG", ("name", name), &[]);
        till.push(&client).await.unwrap();
    }
    assert_eq!(told(&client).await, ["A", "B", "C"]);
    let rows: Vec<AlertRow> = client.admin_get("alerts?open=true").await;
    let row = rows.iter().find(|row| row.kind == "price_open").unwrap();
    assert!(row.detail.contains("conflicts list --open"), "{row:?}");
    // Whoever manages a shop and may decide hears of it, and of no other.
    let a = machine(&client, "a", "shop_manager", Some("A")).await;
    let c = machine(&client, "c", "shop_manager", Some("C")).await;
    assert_eq!(told_to(&client, &a).await, ["A"]);
    assert_eq!(told_to(&client, &c).await, ["C"]);
    for (row, left) in [("MILK", &["B", "C"][..]), ("TEA", &[])] {
        let page: ConflictPage = client.admin_get("conflicts?state=open").await;
        let open = page.conflicts.iter().find(|open| open.row == row).unwrap();
        let path = format!("conflicts/{}/resolve", open.id);
        let winner = json!({"choice": "winner", "by": "Jo"});
        client.admin_post::<Value>(&path, &winner).await;
        assert_eq!(told(&client).await, left);
        assert_eq!(told_to(&client, &a).await, [""; 0]);
    }
    assert_eq!(told_to(&client, &c).await, [""; 0]);
}

/// All columns of a row of `prices` at once.
fn dated(till: &mut Till, product: &str, price: i64, from_ms: i64) {
    let columns = [
        ("product".to_owned(), Scalar::Text(product.to_owned())),
        ("price_mills".to_owned(), number(price)),
        ("valid_from_ms".to_owned(), number(from_ms)),
    ];
    till.record(&Document::CatalogEdit(CatalogEdit {
        table: "prices".to_owned(),
        row: "TEA".to_owned(),
        columns: columns.into(),
        base: [].into(),
        base_revision: 0,
        decision: None,
        at_ms: None,
    }));
}

#[tokio::test]
async fn a_dated_price_that_two_shops_make_is_that_of_one_of_them() {
    for order in [[0, 1], [1, 0]] {
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut tills = [
            Till::of(&client, "A", 1).await,
            Till::of(&client, "B", 2).await,
        ];
        for (till, product) in tills.iter_mut().zip(["TEA", "MILK"]) {
            let name = ("name", Scalar::Text(product.to_owned()));
            till.edit(product, name, &[]);
        }
        dated(&mut tills[0], "TEA", 10_000, 1);
        tills[1].sell(1);
        dated(&mut tills[1], "MILK", 500, 2);
        for till in order {
            tills[till].push(&client).await.unwrap();
            client.settle().await;
        }
        let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
        let sql = "SELECT product || ' ' || price_mills || ' ' || valid_from_ms || ' ' || deleted FROM prices";
        let row: String = db.query_value(sql, ()).unwrap();
        assert_eq!(row, "TEA 10000 1 0", "{order:?}");
        let page: ConflictPage = client.admin_get("conflicts?state=open").await;
        let open: Vec<_> = page.conflicts.iter().map(|row| &row.column).collect();
        assert_eq!(open, ["price_mills", "product", "valid_from_ms"]);
        assert_eq!(told(&client).await, ["A", "B"]);
    }
}

/// Policies as an older program left them.
fn of_a_released_hub(hub: &TestHub) {
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    db.execute_batch(
        "DELETE FROM policy_change WHERE table_name IN ('products', 'prices');
         DELETE FROM audit;
         INSERT INTO policy_change (table_name, column_name, hlc, node_tag, policy) VALUES
             ('products', '*', 0, 0, 'last_writer_wins'),
             ('products', 'tax', 0, 0, 'hub_wins'),
             ('products', 'supplier', 0, 0, 'hub_wins'),
             ('products', 'price_mills', 0, 0, 'last_writer_wins'),
             ('prices', '*', 0, 0, 'hub_wins'),
             ('prices', 'product', 1, 0, 'shop_wins');",
    )
    .unwrap();
    db.close();
    let db = Connection::open_existing(hub.dir.join("catalog.db"), Durability::Full).unwrap();
    db.execute_batch(
        "DELETE FROM policy WHERE table_name = 'prices' AND column_name <> '*';
         UPDATE policy SET policy = 'last_writer_wins' WHERE column_name = 'price_mills';",
    )
    .unwrap();
    db.close();
}

/// A moment after everything that the hub does in the test.
fn later() -> Hlc {
    let now_ms = counterfoil_replica::env::Env::system().clock.now_ms();
    Hlc::at_millis(now_ms + 60 * 60 * 1000)
}

#[tokio::test]
async fn a_hub_that_runs_takes_prices_from_the_clock_once() {
    let mut hub = TestHub::start().await;
    hub.stop().await;
    of_a_released_hub(&hub);
    let hub = hub.restart().await;
    let client = hub.client();
    let before = client.settle().await;
    for column in terms() {
        let (policy, since) = stated(&hub, column);
        assert_eq!((policy.as_str(), since.is_some()), ("manual", true));
    }
    let trail = client.decisions().await;
    let subjects: Vec<_> = trail.iter().map(|row| row.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "prices product,price_mills,valid_from_ms,deleted",
            "products price_mills"
        ]
    );
    let was = [
        json!({
            "product": "shop_wins",
            "price_mills": "hub_wins",
            "valid_from_ms": "hub_wins",
            "deleted": "hub_wins",
        }),
        json!("last_writer_wins"),
    ];
    for (row, was) in trail.iter().zip(was) {
        assert_eq!((&row.before, &row.after), (&was, &json!("manual")));
        assert_eq!(
            (row.who.as_str(), row.action.as_str()),
            ("counterfoil-hub", "policy_set")
        );
        assert_eq!(row.detail, "prices are never merged by time");
    }
    // Others stay as they were.
    let rows: Vec<PolicyRow> = client.admin_get("policies").await;
    let name = |row: &&PolicyRow| row.table == "products" && row.column == "*";
    assert_eq!(
        rows.iter().find(name).unwrap().policy,
        Policy::LastWriterWins
    );
    // Once.
    let mut hub = hub;
    for _ in 0..2 {
        hub.stop().await;
        hub = hub.restart().await;
        let after = hub.client().settle().await;
        assert_eq!(after.catalog_revision, before.catalog_revision);
        assert_eq!(hub.client().decisions().await, trail);
    }
}

#[tokio::test]
async fn a_hub_that_ran_and_has_lost_its_catalog_takes_prices_from_the_clock_from_now_on() {
    let mut hub = TestHub::start().await;
    hub.client().settle().await;
    hub.stop().await;
    of_a_released_hub(&hub);
    for file in std::fs::read_dir(hub.dir.path()).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("catalog.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let hub = hub.restart().await;
    let client = hub.client();
    client.settle().await;
    for column in terms() {
        let (policy, since) = stated(&hub, column);
        assert_eq!(policy, "manual", "{column:?}");
        assert!(since.is_some_and(|since| since > TIME_MS), "{column:?}");
    }
    let subjects: Vec<_> = client.decisions().await;
    assert_eq!(subjects.len(), 2, "{subjects:?}");
}

#[tokio::test]
async fn what_a_clock_had_decided_stays_when_prices_become_a_persons() {
    let mut hub = TestHub::start().await;
    hub.stop().await;
    of_a_released_hub(&hub);
    let hub = hub.restart().await;
    let client = hub.client();
    // These tills write years before that.
    let (mut tills, seen) = two_shops(&client, COLUMNS[0]).await;
    let first = tills[0].edit("TEA", ("price_mills", number(1_100)), &[seen]);
    tills[1].observe(first.hlc);
    let second = tills[1].edit("TEA", ("price_mills", number(1_200)), &[seen]);
    for till in &tills {
        till.push(&client).await.unwrap();
    }
    client.settle().await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_200));
    let found = conflicts(&client).await;
    let values: Vec<_> = found
        .iter()
        .map(|row| (&row.loser.value, row.state))
        .collect();
    assert_eq!(values, [(&json!(1_100), ConflictState::ByPolicy)]);
    // An ordinary edit of what is visible brings back nothing that had lost.
    tills[0].observe(later());
    let next = tills[0].edit("TEA", ("price_mills", number(1_300)), &[second]);
    tills[0].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 0);
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_300));
    // Two that meet from now on are for a person.
    tills[1].observe(next.hlc);
    tills[1].edit("TEA", ("price_mills", number(1_400)), &[second]);
    tills[1].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 1);
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_300));
    // What the clock had decided against can be put back.
    let lost = found[0].id;
    let path = format!("conflicts/{lost}/put-back");
    let back = json!({"seen": next, "by": "Jo"});
    client.admin_post::<Value>(&path, &back).await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_100));
}

fn import(number: i64) -> ImportId {
    import_id(TIME_MS + number, &SeededRandom::new(number.unsigned_abs()))
}

/// Shops take over the same file, each with a price of its own; at one of them somebody types another.
#[tokio::test]
async fn what_imports_disagree_about_asks_nobody_and_can_be_put_back() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = Vec::new();
    for shop in 0..4_i64 {
        let mut till = Till::of(&client, &format!("Shop {shop}"), 20 + shop.unsigned_abs()).await;
        till.import = Some(import(shop));
        till.edit("TEA", ("price_mills", number(1_000 + shop)), &[]);
        till.edit("MILK", ("price_mills", number(2_000 + shop)), &[]);
        till.push(&client).await.unwrap();
        client.settle().await;
        tills.push(till);
    }
    let states = |rows: &[ConflictRow]| rows.iter().map(|row| row.state).collect::<Vec<_>>();
    let found = conflicts(&client).await;
    assert_eq!(states(&found), [ConflictState::ByPolicy; 6]);
    assert_eq!(told(&client).await, [""; 0]);
    // What a person types counts beside what files say, though their data is older, and asks nobody.
    let by_hand = &mut tills[3];
    by_hand.import = None;
    by_hand.edit("TEA", ("price_mills", number(1_500)), &[]);
    by_hand.push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_500));
    let after = conflicts(&client).await;
    assert_eq!(states(&after), [ConflictState::ByPolicy; 7]);
    assert_eq!(told(&client).await, [""; 0]);
    let tea = after.iter().find(|row| row.row == "TEA").unwrap();
    let path = format!("conflicts/{}/put-back", tea.id);
    client
        .admin_post::<Value>(&path, &json!({"seen": tea.current.stamp, "by": "Jo"}))
        .await;
    let back = tea.loser.value.as_i64();
    assert_eq!(published(&hub, COLUMNS[0]), back);
    assert_eq!(told(&client).await, [""; 0]);
}

#[tokio::test]
async fn a_price_that_waits_and_is_taken_back_waits_no_longer() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, seen) = two_shops(&client, COLUMNS[0]).await;
    let first = tills[0].edit("TEA", ("price_mills", number(1_100)), &[seen]);
    tills[1].observe(first.hlc);
    tills[1].edit("TEA", ("price_mills", number(1_200)), &[seen]);
    for till in &tills {
        till.push(&client).await.unwrap();
    }
    assert_eq!(told(&client).await, ["A", "B"]);
    let undo = json!({"node_id": tills[1].id, "from_ms": 0, "to_ms": TIME_MS * 2, "by": "Jo"});
    client.admin_post::<Value>("undo", &undo).await;
    assert_eq!(published(&hub, COLUMNS[0]), Some(1_100));
    assert_eq!(told(&client).await, [""; 0]);
    let states: Vec<_> = conflicts(&client)
        .await
        .iter()
        .map(|row| row.state)
        .collect();
    assert_eq!(states, [ConflictState::ByPolicy]);
}

#[tokio::test]
async fn a_price_below_zero_of_a_till_steps_aside_and_what_follows_is_merged() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    for (table, column) in COLUMNS
        .into_iter()
        .filter(|(_, name)| *name == "price_mills")
    {
        till.edit_in(table, "TEA", (column, number(-1)), &[]);
        till.edit_in(table, "JAM", (column, number(0)), &[]);
    }
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 2);
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    assert!(rows.iter().all(|row| row.code == "column_value_wrong"));
    for table in ["products", "prices"] {
        let held: CatalogExport = client.admin_get(&format!("catalog/{table}")).await;
        let id = held.columns.iter().position(|name| name == "id").unwrap();
        let ids: Vec<&Value> = held.rows.iter().map(|row| &row[id]).collect();
        assert_eq!(ids, ["JAM"], "{table}");
    }
}
