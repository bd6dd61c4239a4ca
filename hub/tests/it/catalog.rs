use crate::hub::{Client, TestHub, problem};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{AuditPage, ConflictPage, ConflictState};
use counterfoil_protocol::wire::hub::{CatalogExport, CatalogSetAnswer, ShopRow};
use counterfoil_protocol::wire::quarantine::QuarantineRow;
use serde_json::{Map, Value, json};

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

async fn products(client: &Client) -> Vec<Map<String, Value>> {
    let CatalogExport { columns, rows } = client.admin_get("catalog/products").await;
    rows.into_iter()
        .map(|row| columns.iter().cloned().zip(row).collect())
        .collect()
}

async fn product(client: &Client, id: &str) -> Map<String, Value> {
    products(client)
        .await
        .into_iter()
        .find(|row| row["id"] == id)
        .unwrap()
}

fn merged(hub: &TestHub, till: &Till) -> Option<i64> {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT seq FROM merged_edits WHERE node = ?1";
    db.query_optional(sql, params![till.id.to_string()], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn an_edit_reaches_the_catalog_with_its_origin() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut first = Till::of(&client, "A", 1).await;
    let mut second = Till::of(&client, "B", 2).await;
    let shops = (
        client.code("A").await.shop_id,
        client.code("B").await.shop_id,
    );
    let stamp = first.edit("TEA", ("name", text("Tea")), &[]);
    first.push(&client).await.unwrap();
    let revision = client.settle().await.catalog_revision;
    let row = product(&client, "TEA").await;
    assert_eq!(row["name"], "Tea");
    assert_eq!(
        (&row["revision"], &row["deleted"]),
        (&json!(revision), &json!(0))
    );
    assert_eq!(row["origin_shop_id"], shops.0.to_string());
    assert_eq!(row["versions"], json!({"name": stamp}).to_string());
    assert_eq!(merged(&hub, &first), Some(first.seq));

    second.observe(stamp.hlc);
    let next = second.edit("TEA", ("name", text("Green tea")), &[stamp]);
    second.push(&client).await.unwrap();
    assert_eq!(client.settle().await.catalog_revision, revision + 1);
    let row = product(&client, "TEA").await;
    assert_eq!(row["name"], "Green tea");
    assert_eq!(row["origin_shop_id"], shops.0.to_string());
    assert_eq!(row["last_modified_shop_id"], shops.1.to_string());
    assert_eq!(row["last_modified_at"], next.hlc.raw());
    let page: ConflictPage = client.admin_get("conflicts").await;
    assert_eq!((page.conflicts, page.next), (vec![], None));
}

#[tokio::test]
async fn concurrent_edits_are_settled_and_both_values_are_kept() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut first = Till::of(&client, "A", 1).await;
    let mut second = Till::of(&client, "B", 2).await;
    second.sell(1);
    first.edit("TEA", ("name", text("Tea")), &[]);
    second.edit("TEA", ("name", text("Chai")), &[]);
    second.push(&client).await.unwrap();
    client.settle().await;
    first.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(status.conflicts, 1);
    // The later one by its own clock, not the later one to arrive.
    assert_eq!(product(&client, "TEA").await["name"], "Chai");
    let conflicts = client
        .admin_get::<ConflictPage>("conflicts")
        .await
        .conflicts;
    assert_eq!(conflicts[0].winner.value, "Chai");
    assert_eq!(conflicts[0].loser.value, "Tea");
    assert_ne!(conflicts[0].winner.shop_id, conflicts[0].loser.shop_id);
    assert_eq!(conflicts[0].state, ConflictState::ByPolicy);
    // An edit that changed nothing counts as merged all the same.
    assert_eq!(merged(&hub, &first), Some(first.seq));
}

#[tokio::test]
async fn an_edit_that_makes_no_sense_goes_to_quarantine_and_counts_as_merged() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.edit("TEA", ("nonsense", text("x")), &[]);
    till.edit("TEA", ("price_mills", text("cheap")), &[]);
    till.edit("TEA", ("deleted", Scalar::Integer(7)), &[]);
    till.edit("", ("name", text("x")), &[]);
    till.edit("TEA", ("revision", Scalar::Integer(9)), &[]);
    till.edit("TEA", ("name", text("Tea")), &[]);
    till.tamper("UPDATE journal SET payload = '{' WHERE seq = 4");
    // An edit of a program that ranks edits otherwise, and one whose text is no text.
    till.tamper("UPDATE journal SET priority = 9 WHERE seq = 6");
    till.edit("TEA", ("name", text("x")), &[]);
    till.tamper("UPDATE journal SET payload = CAST(x'FF' AS TEXT) WHERE seq = 7");
    till.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(
        (status.quarantined, status.catalog_rows["products"]),
        (6, 1)
    );
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    assert!(
        rows[0].reason.contains("no column `nonsense`"),
        "{}",
        rows[0].reason
    );
    assert!(
        rows[1].reason.contains("whole number"),
        "{}",
        rows[1].reason
    );
    assert_eq!(merged(&hub, &till), Some(till.seq));
}

#[tokio::test]
async fn an_edit_from_the_far_future_reaches_neither_the_catalog_nor_the_clocks() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.edit("TEA", ("name", text("Tea")), &[]);
    till.tamper("UPDATE journal SET hlc = 9223372036854775807 WHERE seq = 1");
    till.edit("TEA", ("name", text("Chai")), &[]);
    till.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(status.quarantined, 1);
    let catalog = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let hlc: i64 = catalog
        .query_value("SELECT hlc FROM catalog_state", ())
        .unwrap();
    assert!(hlc < 1 << 60, "{hlc}");
    let name: String = catalog
        .query_value("SELECT name FROM products", ())
        .unwrap();
    assert_eq!(name, "Chai");
}

#[tokio::test]
async fn a_row_that_holds_for_one_shop_is_changed_by_that_shop_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut owner = Till::of(&client, "A", 1).await;
    let mut other = Till::of(&client, "B", 2).await;
    let shops: Vec<ShopRow> = client.admin_get("shops").await;
    let a = shops
        .iter()
        .find(|shop| shop.name == "A")
        .unwrap()
        .shop_id
        .to_string();
    let claim = owner.edit_in("prices", "p1", ("shop", text(&a)), &[]);
    other.observe(claim.hlc);
    owner.edit_in("prices", "p1", ("price_mills", Scalar::Integer(900)), &[]);
    owner.push(&client).await.unwrap();
    client.settle().await;
    other.edit_in("prices", "p1", ("price_mills", Scalar::Integer(1)), &[]);
    other.edit_in("prices", "p2", ("shop", text(&a)), &[]);
    other.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(status.quarantined, 2);
    let catalog = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT price_mills FROM prices WHERE id = 'p1'";
    assert_eq!(catalog.query_value::<i64>(sql, ()).unwrap(), 900);
}

#[tokio::test]
async fn a_catalog_that_the_hub_has_lost_is_written_again_from_what_was_merged() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.edit("TEA", ("name", text("Tea")), &[]);
    till.push(&client).await.unwrap();
    let before = client.settle().await;
    let rows = products(&client).await;
    hub.stop().await;
    for file in [
        "catalog.db",
        "catalog.db-wal",
        "catalog.db-shm",
        "catalog.db-sync",
    ] {
        std::fs::remove_file(hub.dir.join(file)).ok();
    }
    let hub = hub.restart().await;
    // The first who asks finds it whole: a till would take an empty catalog for the newest.
    let names = |rows: Vec<Map<String, Value>>| -> Vec<Value> {
        rows.into_iter().map(|row| row["name"].clone()).collect()
    };
    assert_eq!(names(products(&hub.client()).await), names(rows));
    assert_eq!(merged(&hub, &till), Some(till.seq));
    let after = hub.client().settle().await;
    assert_eq!(after.catalog_digest, before.catalog_digest);
    assert!(after.catalog_revision > before.catalog_revision);
}

#[tokio::test]
async fn two_hubs_fed_in_different_order_hold_the_same_catalog() {
    let (left, right) = (TestHub::start().await, TestHub::start().await);
    let mut digests = Vec::new();
    let mut versions = Vec::new();
    for (hub, order) in [(&left, [0, 1, 2]), (&right, [2, 0, 1])] {
        let client = hub.client();
        let mut tills = Vec::new();
        for seed in 0..3 {
            // One shop for all: shop ids are the hub's own and differ between hubs.
            tills.push(Till::of(&client, "Chain", seed + 10).await);
        }
        for (lane, till) in tills.iter_mut().enumerate() {
            for product in 0..4 {
                let name = text(&format!("name {lane}"));
                let first = till.edit(&format!("P{product}"), ("name", name.clone()), &[]);
                if product == lane {
                    till.edit(&format!("P{product}"), ("name", text("final")), &[first]);
                }
            }
            till.edit("GONE", ("deleted", Scalar::Integer(1)), &[]);
        }
        for lane in order {
            tills[lane].push(&client).await.unwrap();
            client.settle().await;
        }
        let rows = products(&client).await;
        let content = rows.into_iter().map(|mut row| {
            for own in ["revision", "origin_shop_id", "last_modified_shop_id"] {
                row.remove(own);
            }
            row
        });
        versions.push(content.collect::<Vec<_>>());
        digests.push(client.settle().await.catalog_digest);
    }
    assert_eq!(versions[0], versions[1]);
    assert_eq!(digests[0].len(), 64);
}

#[tokio::test]
async fn the_hub_can_edit_and_settles_conflicts_by_it() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut first = Till::of(&client, "A", 1).await;
    let mut second = Till::of(&client, "B", 2).await;
    first.edit("TEA", ("name", text("Tea")), &[]);
    second.edit("TEA", ("name", text("Chai")), &[]);
    first.push(&client).await.unwrap();
    second.push(&client).await.unwrap();
    client.settle().await;
    let set = json!({"columns": {"name": "Tea, loose", "price_mills": "1250"}});
    let answer: Value = client.admin_post("catalog/products/TEA", &set).await;
    assert_eq!(answer["row"]["name"], "Tea, loose");
    assert_eq!(answer["row"]["price_mills"], 1250);
    assert_eq!(answer["row"]["last_modified_shop_id"], Value::Null);
    let before = client.settle().await;
    assert_eq!(answer["revision"], before.catalog_revision);
    assert_eq!((before.conflicts, before.conflicts_open), (1, 0));
    let conflicts = client
        .admin_get::<ConflictPage>("conflicts")
        .await
        .conflicts;
    assert_eq!(conflicts[0].state, ConflictState::ByEdit);
    assert_eq!(conflicts[0].current.value, "Tea, loose");
}

#[tokio::test]
async fn nothing_new_makes_no_revision() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "A", 1).await;
    till.edit("TEA", ("name", text("Tea")), &[]);
    till.push(&client).await.unwrap();
    let first = client.settle().await;
    till.sell(1);
    till.push(&client).await.unwrap();
    let second = client.settle().await;
    assert_eq!(first.catalog_revision, second.catalog_revision);
    assert_eq!(first.catalog_digest, second.catalog_digest);
}

#[tokio::test]
async fn an_edit_at_the_hub_keeps_the_rules_that_tills_keep() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let set = |columns: Value| json!({"columns": columns, "by": "Jo"});
    let tea = set(json!({"name": "Tea", "price_mills": "2500"}));
    let made: CatalogSetAnswer = client.admin_post("catalog/products/%20tea", &tea).await;
    assert_eq!(made.row["id"], "TEA");
    for (row, columns) in [
        ("TEA", json!({"price_mills": "-1"})),
        ("%20", json!({"name": "x"})),
    ] {
        let path = format!("/v1/admin/catalog/products/{row}");
        let answer = client.post(&path, Some(&client.admin), &set(columns)).await;
        assert_eq!(problem(&answer).code, Code::Invalid, "{row}");
    }
    // Whoever edits a product that was merged means the one that stands for it.
    let tee = set(json!({"name": "Tee"}));
    client
        .admin_post::<Value>("catalog/products/tee", &tee)
        .await;
    let into = json!({"into": "TEA", "by": "Ann"});
    client
        .admin_post::<Value>("catalog/products/TEE/merge", &into)
        .await;
    let leaf = set(json!({"name": "Leaf"}));
    let made: CatalogSetAnswer = client.admin_post("catalog/products/tee", &leaf).await;
    assert_eq!(
        (&made.row["id"], &made.row["name"]),
        (&json!("TEA"), &json!("Leaf"))
    );
    assert_eq!(product(&client, "TEE").await["name"], "Tee");
    // Who merges, and who takes that back, is named like whoever else decides.
    let back = json!({"by": "Bo"});
    client
        .admin_post::<Value>("catalog/products/TEE/unmerge", &back)
        .await;
    // As clients from before it could be said.
    let path = "catalog/products/TEE/merge";
    client
        .admin_post::<Value>(path, &json!({"into": "TEA"}))
        .await;
    let path = "catalog/products/TEE/unmerge";
    client.admin_post::<Value>(path, &Value::Null).await;
    let trail = client.admin_get::<AuditPage>("audit").await.decisions;
    let merges = trail.iter().filter(|row| row.subject.contains("aliases"));
    let merges: Vec<_> = merges.map(|row| row.who.as_str()).collect();
    assert_eq!(merges, ["Ann", "Bo", "operator", "operator"], "{trail:?}");
    let first = trail.first().unwrap();
    assert_eq!(
        (first.who.as_str(), first.subject.as_str()),
        ("Jo", "products TEA")
    );
}
