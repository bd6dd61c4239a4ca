use crate::hub::{Client, HubProcess, TestHub, command, command_json, problem};
use crate::till::Till;
use counterfoil_domain::merge::{Policy, Stamp};
use counterfoil_domain::{Hlc, Scalar};
use counterfoil_migrate::Connection;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{ConflictPage, ConflictState};
use counterfoil_protocol::wire::policies::{PolicyRow, PolicySet, Rehearsal};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};

pub(crate) fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

pub(crate) async fn set(client: &Client, field: &str, policy: Policy) -> PolicySet {
    let body = json!({"policy": policy, "by": "Jo"});
    client.admin_post(&format!("policies/{field}"), &body).await
}

pub(crate) async fn rehearse(client: &Client, field: &str, policy: Policy, days: u32) -> Rehearsal {
    let body = json!({"policy": policy, "days": days});
    client
        .admin_post(&format!("policies/{field}/rehearse"), &body)
        .await
}

/// What tills pull.
fn published(hub: &TestHub, sql: &str) -> Option<String> {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    db.query_optional(sql, (), |row| row.get(0)).unwrap()
}

const TEA: &str = "SELECT name FROM products WHERE id = 'TEA'";

/// A moment after everything that the hub does in the test.
fn later() -> Hlc {
    let now_ms = counterfoil_replica::env::Env::system().clock.now_ms();
    Hlc::at_millis(now_ms + 60 * 60 * 1000)
}

/// Two tills that name one product at the same time; `Chai` is the later one.
async fn two_names(client: &Client) -> ([Till; 2], [Stamp; 2]) {
    let mut tills = [
        Till::of(client, "A", 1).await,
        Till::of(client, "B", 2).await,
    ];
    tills[1].sell(1);
    let stamps = [
        tills[0].edit("TEA", ("name", text("Tea")), &[]),
        tills[1].edit("TEA", ("name", text("Chai")), &[]),
    ];
    for till in &tills {
        till.push(client).await.unwrap();
    }
    client.settle().await;
    (tills, stamps)
}

#[tokio::test]
async fn a_policy_goes_live_in_one_publication_and_is_on_record() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let rows: Vec<PolicyRow> = client.admin_get("policies").await;
    let tax = rows.iter().find(|row| row.column == "tax").unwrap();
    assert_eq!((tax.policy, tax.since_ms), (Policy::HubWins, None));
    let before = client.settle().await;
    let done = set(&client, "products/name", Policy::ShopWins).await;
    assert!(done.changed);
    assert_eq!(done.revision, before.catalog_revision + 1);
    let sql = "SELECT policy FROM policy WHERE table_name = 'products' AND column_name = 'name'";
    assert_eq!(published(&hub, sql).as_deref(), Some("shop_wins"));
    // Once more, because the answer was lost.
    let again = set(&client, "products/name", Policy::ShopWins).await;
    assert_eq!((again.changed, again.revision), (false, done.revision));
    let trail = client.decisions().await;
    let [made] = trail.as_slice() else {
        panic!("{trail:?}")
    };
    assert_eq!(
        (made.who.as_str(), made.action.as_str()),
        ("Jo", "policy_set")
    );
    assert_eq!(made.subject, "products name");
    assert_eq!(made.before, "last_writer_wins");
    assert_eq!(made.after, "shop_wins");
    let rows: Vec<PolicyRow> = client.admin_get("policies").await;
    let name = rows.iter().find(|row| row.column == "name").unwrap();
    assert_eq!(name.policy, Policy::ShopWins);
    assert!(name.since_ms.is_some());
}

#[tokio::test]
async fn a_till_that_has_seen_a_policy_writes_after_it() {
    let hub = TestHub::start().await;
    let client = hub.client();
    set(&client, "products/name", Policy::Manual).await;
    let number = |file: &str, sql: &str| {
        let db = Connection::open_read_only(hub.dir.join(file)).unwrap();
        db.query_value::<i64>(sql, ()).unwrap()
    };
    let since = number("hub.db", "SELECT max(hlc) FROM policy_change");
    // A till's clock is never behind the catalog that it holds.
    let carried = number("catalog.db", "SELECT hlc FROM catalog_state");
    assert!(carried >= since, "{carried} {since}");
}

#[tokio::test]
async fn policies_outlive_a_restart_and_the_loss_of_the_catalog() {
    let mut hub = TestHub::start().await;
    set(&hub.client(), "customers/*", Policy::Manual).await;
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
    let client = hub.client();
    client.settle().await;
    let sql = "SELECT policy FROM policy WHERE table_name = 'customers' AND column_name = '*'";
    assert_eq!(published(&hub, sql).as_deref(), Some("manual"));
    let rows: Vec<PolicyRow> = client.admin_get("policies").await;
    let rest = |row: &&PolicyRow| row.table == "customers" && row.column == "*";
    assert_eq!(rows.iter().find(rest).unwrap().policy, Policy::Manual);
}

#[tokio::test]
async fn prices_are_never_merged_by_time_and_nonsense_is_refused() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let before = client.settle().await.catalog_revision;
    for (field, policy, code) in [
        ("prices/*", "last_writer_wins", Code::Invalid),
        ("prices/price_mills", "last_writer_wins", Code::Invalid),
        ("prices/price_mills", "shop_wins", Code::Invalid),
        ("prices/valid_from_ms", "hub_wins", Code::Invalid),
        ("prices/product", "shop_wins", Code::Invalid),
        ("products/price_mills", "last_writer_wins", Code::Invalid),
        ("products/price_mills", "hub_wins", Code::Invalid),
        ("products/price_mills", "shop_wins", Code::Invalid),
        ("products/revision", "manual", Code::Invalid),
        ("products/colour", "manual", Code::Invalid),
        ("sales/*", "manual", Code::NotFound),
        ("products/name", "biggest_wins", Code::BadRequest),
    ] {
        for (call, body) in [
            (field.to_owned(), json!({"policy": policy})),
            (
                format!("{field}/rehearse"),
                json!({"policy": policy, "days": 3}),
            ),
        ] {
            let path = format!("/v1/admin/policies/{call}");
            let answer = client.post(&path, Some(&client.admin), &body).await;
            let problem = problem(&answer);
            assert_eq!(problem.code, code, "{call}");
            if field.contains("price_mills") {
                let detail = problem.detail;
                assert!(detail.contains("a person decides"), "{detail}");
            }
        }
    }
    let path = "/v1/admin/policies/products/name/rehearse";
    for days in [0, 100_000] {
        let body = json!({"policy": "manual", "days": days});
        let answer = client.post(path, Some(&client.admin), &body).await;
        assert_eq!(problem(&answer).code, Code::Invalid);
    }
    // What holds for the rest of a table holds for no price.
    set(&client, "products/*", Policy::ShopWins).await;
    let rows: Vec<PolicyRow> = client.admin_get("policies").await;
    let manual = rows.iter().filter(|row| row.policy == Policy::Manual);
    let manual: Vec<_> = manual
        .map(|row| (row.table.as_str(), row.column.as_str()))
        .collect();
    for price in [
        ("products", "price_mills"),
        ("prices", "product"),
        ("prices", "price_mills"),
        ("prices", "valid_from_ms"),
        ("prices", "deleted"),
    ] {
        assert!(manual.contains(&price), "{price:?}");
    }
    // For whom a row holds is no price.
    assert!(set(&client, "prices/*", Policy::ShopWins).await.changed);
    for field in ["prices/product", "products/price_mills"] {
        let same = set(&client, field, Policy::Manual).await;
        assert_eq!((same.changed, same.revision), (false, before + 2));
    }
}

#[tokio::test]
async fn the_shop_whose_own_row_it_is_wins() {
    let hub = TestHub::start().await;
    let client = hub.client();
    set(&client, "products/*", Policy::ShopWins).await;
    set(&client, "shop_settings/*", Policy::ShopWins).await;
    let mut owner = Till::of(&client, "A", 1).await;
    let mut other = Till::of(&client, "B", 2).await;
    let shop = client.code("A").await.shop_id.to_string();
    owner.observe(later());
    let made = owner.edit("TEA", ("name", text("Tea")), &[]);
    owner.edit_in("shop_settings", "greeting", ("shop", text(&shop)), &[]);
    let greeting = ("value", text("Hello"));
    let greeting = owner.edit_in("shop_settings", "greeting", greeting, &[]);
    owner.push(&client).await.unwrap();
    client.settle().await;
    // Both edit the same name, the other shop later; the hub edits the greeting meanwhile.
    let ours = owner.edit("TEA", ("name", text("Our tea")), &[made]);
    owner.edit_in(
        "shop_settings",
        "greeting",
        ("value", text("Hi")),
        &[greeting],
    );
    other.observe(ours.hlc);
    other.edit("TEA", ("name", text("Their tea")), &[made]);
    let greet = json!({"columns": {"value": "Dear customer"}});
    client
        .admin_post::<Value>("catalog/shop_settings/greeting", &greet)
        .await;
    for till in [&other, &owner] {
        till.push(&client).await.unwrap();
        client.settle().await;
    }
    assert_eq!(published(&hub, TEA).as_deref(), Some("Our tea"));
    let sql = "SELECT value FROM shop_settings WHERE id = 'greeting'";
    assert_eq!(published(&hub, sql).as_deref(), Some("Hi"));
    let lost = client
        .admin_get::<ConflictPage>("conflicts")
        .await
        .conflicts;
    assert_eq!(lost.len(), 2);
    for row in lost {
        assert_eq!(row.policy, "shop_wins");
        assert_eq!(row.state, ConflictState::ByPolicy);
    }
}

#[tokio::test]
async fn a_changed_policy_leaves_what_was_decided_and_holds_from_then_on() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, stamps) = two_names(&client).await;
    let before = client.settle().await;
    set(&client, "products/name", Policy::Manual).await;
    let after = client.settle().await;
    assert_eq!(after.catalog_digest, before.catalog_digest);
    assert_eq!((after.conflicts, after.conflicts_open), (1, 0));
    // An edit of what is visible is no reason to bring back what had lost.
    tills[0].observe(later());
    let next = tills[0].edit("TEA", ("name", text("Chai, loose")), &stamps[1..]);
    tills[0].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 0);
    assert_eq!(published(&hub, TEA).as_deref(), Some("Chai, loose"));
    // A concurrent one is a question for a person now.
    tills[1].observe(next.hlc);
    tills[1].edit("TEA", ("name", text("Leaves")), &stamps[1..]);
    tills[1].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 1);
    assert_eq!(published(&hub, TEA).as_deref(), Some("Chai, loose"));
}

#[tokio::test]
async fn a_rehearsal_shows_what_would_have_come_out_and_changes_nothing() {
    let hub = TestHub::start().await;
    let client = hub.client();
    two_names(&client).await;
    let before = client.settle().await;
    // The edits of these tills are years old.
    let found = rehearse(&client, "products/name", Policy::Manual, 3_000).await;
    assert_eq!((found.fields, found.different), (1, 1));
    let [row] = found.rows.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((row.row.as_str(), row.column.as_str()), ("TEA", "name"));
    assert_eq!(row.policy_now, Policy::LastWriterWins);
    assert_eq!(
        (&row.now.value, row.now.shop.as_deref()),
        (&json!("Chai"), Some("B"))
    );
    assert_eq!(
        (&row.then.value, row.then.shop.as_deref()),
        (&json!("Tea"), Some("A"))
    );
    for (field, policy, days, fields, different) in [
        ("products/*", Policy::Manual, 3_000, 1, 1),
        ("products/name", Policy::ShopWins, 3_000, 1, 1),
        ("products/name", Policy::LastWriterWins, 3_000, 1, 0),
        ("products/barcode", Policy::Manual, 3_000, 0, 0),
        ("products/name", Policy::Manual, 1, 0, 0),
    ] {
        let found = rehearse(&client, field, policy, days).await;
        assert_eq!(
            (found.fields, found.different),
            (fields, different),
            "{field} {days}"
        );
    }
    let after = client.settle().await;
    assert_eq!(after.catalog_revision, before.catalog_revision);
    assert_eq!(client.decisions().await, []);
    // With a policy of its own, the column is no part of the rest any more.
    set(&client, "products/name", Policy::HubWins).await;
    let found = rehearse(&client, "products/*", Policy::Manual, 3_000).await;
    assert_eq!(found.fields, 0);
}

#[tokio::test]
async fn two_hubs_with_edits_and_policies_in_another_order_hold_the_same_catalog() {
    let (mut seen, moment) = (Vec::new(), later());
    // Whose early edits arrive before the policy changes, and in which order everybody pushes after.
    let lives: [(&[usize], [usize; 3]); 4] = [
        (&[], [0, 1, 2]),
        (&[2, 0], [2, 1, 0]),
        (&[1], [1, 0, 2]),
        (&[0, 1, 2], [0, 2, 1]),
    ];
    for (early, order) in lives {
        let hub = TestHub::start().await;
        let client = hub.client();
        let (mut tills, mut made) = (Vec::new(), Vec::new());
        for (lane, seed) in (30..33).enumerate() {
            let mut till = Till::of(&client, "Chain", seed).await;
            let name = text(&format!("{lane} before"));
            for row in 0..4 {
                made.push(till.edit(&format!("P{row}"), ("name", name.clone()), &[]));
            }
            tills.push(till);
        }
        for lane in early {
            tills[*lane].push(&client).await.unwrap();
            client.settle().await;
        }
        set(&client, "products/name", Policy::Manual).await;
        for (lane, till) in tills.iter_mut().enumerate() {
            till.observe(moment);
            let name = text(&format!("{lane} after"));
            for row in (0..4).filter(|row| *row != lane) {
                let base = made[lane * 4 + row];
                till.edit(&format!("P{row}"), ("name", name.clone()), &[base]);
            }
        }
        for lane in order {
            tills[lane].push(&client).await.unwrap();
            client.settle().await;
        }
        let sql = "SELECT group_concat(id || ' ' || name || ' ' || versions, '; ') FROM products";
        let page: ConflictPage = client.admin_get("conflicts?state=open").await;
        let open = page.conflicts.into_iter();
        let mut open: Vec<_> = open
            .map(|row| (row.row, row.loser.stamp, row.current.stamp))
            .collect();
        open.sort();
        seen.push((published(&hub, sql).unwrap(), open));
    }
    assert!(seen[0].0.contains("after"), "{}", seen[0].0);
    assert!(!seen[0].1.is_empty());
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_listed_rehearsed_and_set_by_commands() {
    let dir = TempDir::new("policies");
    let hub = HubProcess::start(dir.path(), "127.0.0.1:0");
    two_names(&hub.client(dir.path())).await;
    let rehearse = [
        "policy",
        "set",
        "products",
        "*",
        "manual",
        "--rehearse",
        "--days",
        "3000",
    ];
    let printed = String::from_utf8(command(dir.path(), &rehearse).stdout).unwrap();
    for part in [
        "1 of 1",
        "TEA",
        "Chai",
        "B/1",
        "Tea",
        "A/1",
        "last_writer_wins",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let found: Rehearsal = command_json(dir.path(), &rehearse);
    assert_eq!(found.different, 1);
    hub.terminate();
    let done: PolicySet = command_json(dir.path(), &["policy", "set", "products", "*", "manual"]);
    assert!(done.changed);
    let group = ["policy", "set", "customers", "phone,email", "shop_wins"];
    let printed = String::from_utf8(command(dir.path(), &group).stdout).unwrap();
    assert!(
        printed.contains("customers phone,email: shop_wins"),
        "{printed}"
    );
    let printed = String::from_utf8(command(dir.path(), &["policy", "list"]).stdout).unwrap();
    assert!(printed.contains("email,phone"), "{printed}");
    let rows: Vec<PolicyRow> = command_json(dir.path(), &["policy", "list"]);
    let rest = |row: &&PolicyRow| row.table == "products" && row.column == "*";
    assert_eq!(rows.iter().find(rest).unwrap().policy, Policy::Manual);
    for (args, code) in [
        (&["policy", "set", "prices", "*", "last_writer_wins"][..], 1),
        (&["policy", "set", "products", "*", "biggest_wins"], 2),
        (
            &["policy", "set", "products", "*", "manual", "--days", "3"],
            2,
        ),
        (&["policy", "list"], 0),
    ] {
        assert_eq!(
            command(dir.path(), args).status.code(),
            Some(code),
            "{args:?}"
        );
    }
}
