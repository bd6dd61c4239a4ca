use crate::hub::{Client, HubProcess, TestHub, command, command_json, parse, problem};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::env::{Clock as _, import_id};
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{ImportId, Scalar};
use counterfoil_migrate::Connection;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{ImportRow, Undone};
use counterfoil_replica::env::HttpResponse;
use counterfoil_testkit::{ManualClock, SeededRandom, TempDir};
use serde_json::{Value, json};
use std::sync::Arc;

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

/// What tills pull.
fn published(hub: &TestHub) -> Vec<(String, Option<String>, i64)> {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT id, name, deleted FROM products ORDER BY id";
    db.query_map(sql, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
}

fn row(id: &str, name: &str, deleted: i64) -> (String, Option<String>, i64) {
    let name = Some(name).filter(|name| !name.is_empty());
    (id.to_owned(), name.map(str::to_owned), deleted)
}

/// A till that renames what another made, by mistake, and makes a row of its own; the other works on.
/// The stamps of the first and the last mistake.
async fn mistakes(client: &Client) -> (Till, [Stamp; 2]) {
    let mut good = Till::of(client, "A", 1).await;
    let mut bad = Till::of(client, "B", 2).await;
    let mut made = Vec::new();
    for id in ["P0", "P1", "P2"] {
        made.push(good.edit(id, ("name", text("right")), &[]));
    }
    // Before the time that is undone.
    let early = bad.edit("P3", ("name", text("early")), &[]);
    bad.observe(made[2].hlc);
    bad.sell(1);
    let first = bad.edit("P0", ("name", text("wrong")), &made[..1]);
    let twice = bad.edit("P0", ("name", text("wrong again")), &[first]);
    let fixed = bad.edit("P1", ("name", text("wrong")), &made[1..2]);
    bad.edit("P2", ("deleted", Scalar::Integer(1)), &[]);
    bad.edit("P3", ("name", text("late")), &[early]);
    let last = bad.edit("P4", ("name", text("nonsense")), &[]);
    assert!(twice.hlc < last.hlc);
    good.observe(last.hlc);
    good.edit("P1", ("name", text("better")), &[fixed]);
    for till in [&good, &bad] {
        till.push(client).await.unwrap();
    }
    client.settle().await;
    (bad, [first, last])
}

fn request(till: &Till, [first, last]: [Stamp; 2], dry_run: bool) -> Value {
    json!({
        "node_id": till.id,
        "from_ms": first.hlc.millis(),
        "to_ms": last.hlc.millis() + 1,
        "dry_run": dry_run,
        "by": "Jo",
    })
}

#[tokio::test]
async fn what_a_till_wrote_in_a_time_goes_back_and_others_edits_stay() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (bad, stamps) = mistakes(&client).await;
    let before = client.settle().await;
    let wrong = [
        row("P0", "wrong again", 0),
        row("P1", "better", 0),
        row("P2", "right", 1),
        row("P3", "late", 0),
        row("P4", "nonsense", 0),
    ];
    assert_eq!(published(&hub), wrong);
    let dry: Undone = client
        .admin_post("undo", &request(&bad, stamps, true))
        .await;
    assert_eq!((dry.fields.len(), dry.kept, dry.dry_run), (4, 1, true));
    assert_eq!(published(&hub), wrong);
    assert_eq!(
        client.settle().await.catalog_revision,
        before.catalog_revision
    );

    let done: Undone = client
        .admin_post("undo", &request(&bad, stamps, false))
        .await;
    assert_eq!((&done.fields, done.kept), (&dry.fields, 1));
    let right = [
        row("P0", "right", 0),
        row("P1", "better", 0),
        row("P2", "right", 0),
        row("P3", "early", 0),
        row("P4", "nonsense", 1),
    ];
    assert_eq!(published(&hub), right);
    assert_eq!(client.settle().await.catalog_revision, done.revision);
    let trail = client.decisions().await;
    let undone: Vec<_> = trail.iter().map(|row| row.subject.as_str()).collect();
    assert_eq!(
        undone,
        ["products P0", "products P2", "products P3", "products P4"]
    );
    assert_eq!(
        (trail[0].action.as_str(), trail[0].who.as_str()),
        ("undone", "Jo")
    );
    assert_eq!(trail[0].before, json!({"name": "wrong again"}));
    assert_eq!(trail[0].after, json!({"name": "right"}));
    // Once more, because the answer was lost.
    let again: Undone = client
        .admin_post("undo", &request(&bad, stamps, false))
        .await;
    assert_eq!(
        (again.fields.as_slice(), again.revision),
        (&[][..], done.revision)
    );
    assert_eq!(published(&hub), right);
    assert_eq!(client.decisions().await.len(), 4);
}

#[tokio::test]
async fn undoing_what_is_not_there_is_refused() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (bad, stamps) = mistakes(&client).await;
    let stranger = Till::new(9);
    let mut backwards = request(&bad, stamps, false);
    backwards["to_ms"] = json!(1);
    for (body, code) in [
        (request(&stranger, stamps, false), Code::NotFound),
        (backwards, Code::Invalid),
        (json!({}), Code::BadRequest),
        (json!({"node_id": bad.id}), Code::BadRequest),
        (json!({"import_id": import(9)}), Code::NotFound),
        (
            json!({"import_id": import(9), "node_id": bad.id}),
            Code::BadRequest,
        ),
    ] {
        let answer = client
            .post("/v1/admin/undo", Some(&client.admin), &body)
            .await;
        assert_eq!(problem(&answer).code, code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_is_undone_by_command() {
    let dir = TempDir::new("undo");
    let hub = HubProcess::start(dir.path(), "127.0.0.1:0");
    let (bad, _) = mistakes(&hub.client(dir.path())).await;
    assert_eq!(TIME_MS, 1_700_000_000_000);
    let node = bad.id.to_string();
    let undo = [
        "undo",
        "--node",
        &node,
        "--from",
        "2023-11-14T22:00:00Z",
        "--to",
        "2023-11-15T00:00:00Z",
    ];
    let dry = command(dir.path(), &[&undo[..], &["--dry-run"]].concat());
    let printed = String::from_utf8(dry.stdout).unwrap();
    for part in ["would go back", "products P0 name", "wrong again", "right"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    hub.terminate();
    // All that it ever wrote: the row it made goes away whole.
    let done: Undone = command_json(dir.path(), &undo);
    assert_eq!((done.fields.len(), done.kept), (4, 1));
    let deleted = done.fields.iter().filter(|field| field.column == "deleted");
    assert_eq!(deleted.count(), 3);
}

fn import(number: i64) -> ImportId {
    import_id(TIME_MS + number, &SeededRandom::new(number.unsigned_abs()))
}

/// Everything that an undoing could write.
fn written(hub: &TestHub) -> Vec<i64> {
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    [
        "field_version",
        "audit",
        "field_version WHERE undone <> 0",
        "receipt",
        "document",
    ]
    .iter()
    .map(|table| {
        db.query_value(&format!("SELECT count(*) FROM {table}"), ())
            .unwrap()
    })
    .collect()
}

/// Two imports at one till, one on top of the other, and the edits of another shop under and over them.
async fn two_imports(client: &Client) -> Till {
    let mut good = Till::of(client, "A", 1).await;
    let right = good.edit("P0", ("name", text("right")), &[]);
    let mut till = Till::of(client, "B", 2).await;
    till.observe(right.hlc);
    till.import = Some(import(1));
    till.sell(1);
    till.move_stock(-1_000);
    till.edit("P0", ("name", text("wrong")), &[right]);
    let first = till.edit("P1", ("name", text("first")), &[]);
    let shared = till.edit("P2", ("name", text("first")), &[]);
    let again = till.edit("P3", ("name", text("first")), &[]);
    till.import = Some(import(2));
    till.sell(1);
    till.edit("P3", ("name", text("second")), &[again]);
    let last = till.edit("P4", ("name", text("second")), &[]);
    till.import = None;
    till.edit("P5", ("name", text("by hand")), &[]);
    good.observe(last.hlc);
    good.edit("P2", ("name", text("better")), &[shared]);
    good.edit("P1", ("price_mills", Scalar::Integer(5)), &[]);
    assert!(first.hlc < last.hlc);
    for till in [&good, &till] {
        till.push(client).await.unwrap();
    }
    client.settle().await;
    till
}

#[tokio::test]
async fn an_import_goes_back_and_other_imports_and_others_edits_stay() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = two_imports(&client).await;
    let listed: Vec<ImportRow> = client.admin_get("imports").await;
    let shown = listed.iter().map(|row| {
        assert_eq!((row.node_id, row.shop.as_str()), (till.id, "B"));
        (row.import_id, row.documents, row.edits)
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [(import(2), 1, 2), (import(1), 2, 4)]
    );
    assert_eq!(listed[1].begun_ms, Some(TIME_MS + 1));

    let undo = |number, dry_run| json!({"import_id": import(number), "dry_run": dry_run});
    let before = written(&hub);
    let dry: Undone = client.admin_post("undo", &undo(1, true)).await;
    assert_eq!((dry.count, dry.kept, dry.documents), (2, 2, Some(2)));
    assert_eq!(written(&hub), before);
    let done: Undone = client.admin_post("undo", &undo(1, false)).await;
    assert_eq!((&done.fields, done.documents), (&dry.fields, Some(2)));
    let after_first = [
        row("P0", "right", 0),
        row("P1", "", 0),
        row("P2", "better", 0),
        row("P3", "second", 0),
        row("P4", "second", 0),
        row("P5", "by hand", 0),
    ];
    assert_eq!(published(&hub), after_first);
    let trail = client.decisions().await;
    assert_eq!(trail[0].detail, format!("import {}", import(1)));
    // Once more, because the answer was lost.
    let before = written(&hub);
    let again: Undone = client.admin_post("undo", &undo(1, false)).await;
    assert_eq!((again.count, again.documents), (0, Some(2)));
    assert_eq!(written(&hub), before, "and no document is gone");
    // What the second one wrote over the first does not bring that back.
    let second: Undone = client.admin_post("undo", &undo(2, false)).await;
    assert_eq!(
        (second.count, second.kept, second.documents),
        (2, 0, Some(1))
    );
    let gone = published(&hub);
    assert_eq!(gone[3..5], [row("P3", "second", 1), row("P4", "second", 1)]);
    assert_eq!(gone[..3], after_first[..3]);
    assert_eq!(gone[5], after_first[5]);
}

/// A row of which a till changes the name twice; the stamps of both.
async fn changed_twice(client: &Client) -> (Till, [Stamp; 2]) {
    let mut good = Till::of(client, "A", 1).await;
    let right = good.edit("P0", ("name", text("right")), &[]);
    let mut bad = Till::of(client, "B", 2).await;
    bad.observe(right.hlc);
    bad.at_ms = Some(TIME_MS + 1_000);
    let first = bad.edit("P0", ("name", text("wrong")), &[right]);
    bad.at_ms = Some(TIME_MS + 2_000);
    let second = bad.edit("P0", ("name", text("wrong again")), &[first]);
    for till in [&good, &bad] {
        till.push(client).await.unwrap();
    }
    client.settle().await;
    (bad, [first, second])
}

#[tokio::test]
async fn undoing_one_time_after_another_ends_where_nothing_was_written() {
    for [first, second] in [[0, 1], [1, 0]] {
        let hub = TestHub::start().await;
        let client = hub.client();
        let (bad, stamps) = changed_twice(&client).await;
        let undo = |index: usize| request(&bad, [stamps[index]; 2], false);
        let done: Undone = client.admin_post("undo", &undo(first)).await;
        let expected = [(0, 1, "wrong again"), (1, 0, "wrong")][first];
        assert_eq!((done.count, done.kept), (expected.0, expected.1));
        assert_eq!(published(&hub), [row("P0", expected.2, 0)]);
        let done: Undone = client.admin_post("undo", &undo(second)).await;
        assert_eq!((done.count, done.kept), (1, 0));
        assert_eq!(published(&hub), [row("P0", "right", 0)]);
        let before = written(&hub);
        for index in [first, second] {
            let again: Undone = client.admin_post("undo", &undo(index)).await;
            assert_eq!((again.count, again.kept), (0, 0));
        }
        assert_eq!(written(&hub), before);
    }
}

/// Under `shop_wins` the shop that created a row wins. When what it created goes back, the next one did.
#[tokio::test]
async fn a_row_whose_creation_goes_back_was_created_by_the_next_one() {
    let clock = Arc::new(ManualClock::at(TIME_MS));
    let hub = TestHub::start_at(clock.clone()).await;
    let client = hub.client();
    let body = json!({"policy": "shop_wins", "by": "Jo"});
    client
        .admin_post::<Value>("policies/products/name", &body)
        .await;
    let mut tills = Vec::new();
    for (seed, shop) in (1..).zip(["A", "B", "C"]) {
        tills.push(Till::of(&client, shop, seed).await);
    }
    for (till, set) in tills.iter_mut().zip([
        ("price_mills", Scalar::Integer(5)),
        ("name", text("second")),
        ("name", text("third")),
    ]) {
        clock.advance(10_000);
        till.at_ms = Some(clock.now_ms());
        till.import = (set.0 == "price_mills").then(|| import(1));
        till.edit("P0", set, &[]);
        till.push(&client).await.unwrap();
    }
    client.settle().await;
    assert_eq!(published(&hub), [row("P0", "third", 0)]);
    let undo = json!({"import_id": import(1)});
    let done: Undone = client.admin_post("undo", &undo).await;
    let columns = done.fields.iter().map(|field| field.column.as_str());
    assert_eq!(columns.collect::<Vec<_>>(), ["name", "price_mills"]);
    assert_eq!(published(&hub), [row("P0", "second", 0)]);
}

async fn undo_at(client: &Client, till: &Till, body: &Value) -> HttpResponse {
    client.post("/v1/undo", Some(&till.token), body).await
}

#[tokio::test]
async fn a_till_undoes_what_its_own_shop_wrote_and_nothing_else() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (bad, stamps) = mistakes(&client).await;
    let (own, other) = (
        Till::of(&client, "B", 3).await,
        Till::of(&client, "A", 4).await,
    );
    let before = (published(&hub), written(&hub));
    let at_hub: Undone = client
        .admin_post("undo", &request(&bad, stamps, true))
        .await;
    let refused = undo_at(&client, &other, &request(&bad, stamps, false)).await;
    assert_eq!(problem(&refused).code, Code::Forbidden);
    let stranger = request(&Till::new(9), stamps, false);
    let unknown = undo_at(&client, &own, &stranger).await;
    assert_eq!(problem(&unknown).code, Code::NotFound);
    let mut nameless = request(&bad, stamps, false);
    nameless["by"] = json!("\u{7}");
    let nobody = undo_at(&client, &own, &nameless).await;
    assert_eq!(problem(&nobody).code, Code::Invalid);
    // Without a name of a till it is the caller's own, which wrote nothing.
    let mut of_caller = request(&bad, stamps, false);
    of_caller.as_object_mut().unwrap().remove("node_id");
    let nothing: Undone = parse(&undo_at(&client, &own, &of_caller).await);
    assert_eq!((nothing.count, nothing.kept), (0, 0));
    let dry: Undone = parse(&undo_at(&client, &own, &request(&bad, stamps, true)).await);
    assert_eq!(dry, at_hub);
    assert_eq!((published(&hub), written(&hub)), before);

    let done: Undone = parse(&undo_at(&client, &own, &request(&bad, stamps, false)).await);
    assert_eq!((&done.fields, done.kept), (&dry.fields, 1));
    assert_eq!(
        published(&hub)[1],
        row("P1", "better", 0),
        "another's later edit"
    );
    let trail = client.decisions().await;
    assert!(
        trail
            .iter()
            .all(|row| row.who == "Jo at B/2" && row.action == "undone"),
        "{trail:?}"
    );
    let again: Undone = parse(&undo_at(&client, &own, &request(&bad, stamps, false)).await);
    assert_eq!(
        (again.count, client.decisions().await.len()),
        (0, trail.len())
    );
}

/// Two shops took part in one import, as when both read the same file under one id.
#[tokio::test]
async fn a_till_undoes_its_own_shops_part_of_an_import() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = Vec::new();
    for (seed, shop) in (1..).zip(["A", "B", "C"]) {
        let mut till = Till::of(&client, shop, seed).await;
        if shop != "C" {
            till.import = Some(import(1));
            till.sell(1);
            till.edit(&format!("P{shop}"), ("name", text(shop)), &[]);
            till.push(&client).await.unwrap();
        }
        tills.push(till);
    }
    client.settle().await;
    let undo = |number| json!({"import_id": import(number)});
    let refused = undo_at(&client, &tills[2], &undo(1)).await;
    assert_eq!(problem(&refused).code, Code::Forbidden);
    let unknown = undo_at(&client, &tills[0], &undo(2)).await;
    assert_eq!(problem(&unknown).code, Code::NotFound);
    let done: Undone = parse(&undo_at(&client, &tills[0], &undo(1)).await);
    assert_eq!((done.count, done.documents), (1, Some(1)));
    assert_eq!(published(&hub), [row("PA", "A", 1), row("PB", "B", 0)]);
    let rest: Undone = client.admin_post("undo", &undo(1)).await;
    assert_eq!((rest.count, rest.documents), (1, Some(2)));
    assert_eq!(published(&hub), [row("PA", "A", 1), row("PB", "B", 1)]);
}
