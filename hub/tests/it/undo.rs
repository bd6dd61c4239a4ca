use crate::hub::{Client, HubProcess, TestHub, command, command_json, problem};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::Scalar;
use counterfoil_domain::merge::Stamp;
use counterfoil_migrate::Connection;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::{AuditPage, Undone};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};

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
    let trail = client.admin_get::<AuditPage>("audit").await.decisions;
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
    assert_eq!(
        client.admin_get::<AuditPage>("audit").await.decisions.len(),
        4
    );
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
