//! Who goes on as whom, when two tills have one name (ADR 0008).

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::Till;
use counterfoil_domain::lineage::{Former, Point};
use counterfoil_domain::{Chain, NodeId, Scalar};
use counterfoil_migrate::{Connection, FromSql};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::decisions::ConflictPage;
use counterfoil_protocol::wire::hub::NodeRow;
use counterfoil_protocol::wire::lineage::{IdentityAnswer, LineageAnswer};
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineDetail};
use counterfoil_replica::env::HttpResponse;
use serde_json::json;

fn at_hub<T: FromSql>(hub: &TestHub, sql: &str) -> Vec<T> {
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    db.query_map(sql, (), |row| row.get(0)).unwrap()
}

pub(crate) fn point(till: &Till, seq: i64) -> Point {
    if seq == 0 {
        return Point::START;
    }
    let sql = format!("SELECT chain FROM journal WHERE seq = {seq}");
    let chain: Vec<u8> = till.book.query_value(&sql, ()).unwrap();
    let chain = Chain::from_slice(&chain).unwrap();
    Point { seq, chain }
}

fn name(number: u128) -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(number))
}

async fn claim(client: &Client, till: &Till, heir: &Till, common: Point) -> HttpResponse {
    let body = json!({
        "node": heir.id,
        "token_hash": heir.token_hash(),
        "common": common,
        "schemas": crate::till::schemas(),
    });
    client.post("/v1/identity", Some(&till.token), &body).await
}

/// Makes `clone` go on as the node of that number.
pub(crate) async fn part(
    client: &Client,
    till: &Till,
    clone: &mut Till,
    number: u128,
    common: Point,
) {
    let former = Former {
        node: till.id,
        lane: 1,
        until_seq: clone.seq,
        common,
    };
    let formers = serde_json::to_string(&[former]).unwrap();
    clone.tamper(&format!(
        "INSERT INTO meta VALUES ('former_nodes', '{formers}')"
    ));
    (clone.id, clone.token) = (name(number), format!("token {number}"));
    parse::<IdentityAnswer>(&claim(client, till, clone, common).await);
}

#[tokio::test]
async fn a_claim_may_be_repeated_until_its_node_has_spoken() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    client.settle().await;
    let mut heir = Till::new(2);
    let common = point(&till, 1);
    let first: IdentityAnswer = parse(&claim(&client, &till, &heir, common).await);
    assert_eq!(first, IdentityAnswer { lane: 2, epoch: 2 });
    let again: IdentityAnswer = parse(&claim(&client, &till, &heir, common).await);
    assert_eq!(again, first);
    let alerts = client.settle().await.alerts;
    let kinds: Vec<_> = alerts.iter().map(|alert| alert.kind.as_str()).collect();
    assert_eq!(kinds, ["till_forked"], "told once");

    let token = std::mem::replace(&mut heir.token, "another".to_owned());
    let taken = problem(&claim(&client, &till, &heir, common).await);
    assert_eq!(taken.code, Code::Conflict, "another folder's token");
    heir.token = token;
    heir.hello(&client).await;
    let taken = problem(&claim(&client, &till, &heir, common).await);
    assert_eq!(
        taken.code,
        Code::Conflict,
        "it has the identity and does not claim it"
    );
    // Its own heirs have the next epoch of the whole lineage.
    let last = Till::new(3);
    let next: IdentityAnswer = parse(&claim(&client, &heir, &last, Point::START).await);
    assert_eq!(next, IdentityAnswer { lane: 3, epoch: 3 });
}

#[tokio::test]
async fn an_entry_that_the_hub_does_not_hold_is_not_common() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    till.sell(1);
    let heir = Till::new(2);
    let refused = problem(&claim(&client, &till, &heir, point(&till, 2)).await);
    assert_eq!(refused.code, Code::Diverged);
    let nodes: Vec<NodeRow> = client.admin_get("nodes").await;
    assert_eq!(nodes.len(), 1, "nothing was made");
    let stranger = Till::of(&client, "Tartu", 4).await;
    let refused = problem(&claim(&client, &till, &stranger, point(&till, 1)).await);
    assert_eq!(refused.code, Code::Conflict, "somebody else's node");
}

#[tokio::test]
async fn a_till_is_told_points_of_its_own_journal_in_the_range_it_asks_for() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let ask = async |till: &Till, body: serde_json::Value| -> Vec<Point> {
        let answer = client.post("/v1/lineage", Some(&till.token), &body).await;
        parse::<LineageAnswer>(&answer).points
    };
    assert_eq!(
        ask(&till, json!({ "after_seq": 0 })).await,
        [],
        "nothing arrived"
    );
    for _ in 0..150 {
        till.sell(1);
    }
    till.push(&client).await.unwrap();
    let points = ask(&till, json!({ "after_seq": 0 })).await;
    assert_eq!(
        points.last(),
        Some(&point(&till, 150)),
        "the newest is among them"
    );
    assert_eq!(points.len(), 64);
    for found in points {
        assert_eq!(found, point(&till, found.seq));
    }
    let within = ask(&till, json!({ "after_seq": 40, "before_seq": 44 })).await;
    assert_eq!(within, [41, 42, 43].map(|seq| point(&till, seq)));
    let other = Till::of(&client, "Tartu", 4).await;
    assert_eq!(ask(&other, json!({ "after_seq": 0 })).await, []);
}

#[tokio::test]
async fn entries_that_two_clones_share_count_once_and_with_the_first() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    // The same seed makes the same entries: three folders that were copied after the second, two of them
    // from one that had sold once more.
    let (mut left, mut right) = (Till::new(1), Till::new(1));
    for folder in [&mut till, &mut left, &mut right] {
        folder.sell(1);
        folder.sell(2);
    }
    till.push(&client).await.unwrap();
    client.settle().await;
    for clone in [&mut left, &mut right] {
        clone.sell(3);
    }
    right.sell(4);
    let common = point(&till, 2);
    part(&client, &till, &mut left, 21, common).await;
    left.push(&client).await.unwrap();
    client.settle().await;
    part(&client, &till, &mut right, 22, common).await;
    right.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (4, 0));
    let nodes: Vec<NodeRow> = client.admin_get("nodes").await;
    let seqs: Vec<_> = nodes.iter().map(|node| node.consolidated_seq).collect();
    assert_eq!(seqs, [2, 3, 4], "each book is through");
    let counted = "SELECT count(*) FROM receipt GROUP BY node ORDER BY node";
    assert_eq!(at_hub::<i64>(&hub, counted), [2, 1, 1]);
    let inherited = "SELECT seq FROM inherited WHERE node = 3 AND owner = 2";
    assert_eq!(at_hub::<i64>(&hub, inherited), [3]);
}

#[tokio::test]
async fn an_entry_that_stands_in_quarantine_for_two_clones_comes_back_with_one_of_them() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let (mut left, mut right) = (Till::new(1), Till::new(1));
    for folder in [&mut till, &mut left, &mut right] {
        folder.sell(1);
    }
    till.push(&client).await.unwrap();
    client.settle().await;
    let common = point(&till, 1);
    for (number, clone) in [(21, &mut left), (22, &mut right)] {
        clone.sell(2);
        clone.tamper("UPDATE journal SET total_minor = 503 WHERE seq = 2");
        part(&client, &till, clone, number, common).await;
        clone.push(&client).await.unwrap();
        client.settle().await;
    }
    let status = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (1, 2));
    let path = format!("quarantine/{}/2/waive", left.id);
    let body = json!({"who": "Ann", "why": "seen"});
    let answer: QuarantineAnswer = client.admin_post(&path, &body).await;
    assert_eq!(answer.open, 0, "the other's is the same sale");
    assert_eq!(client.settle().await.receipts, 2);
    let settled = "SELECT settled_as FROM quarantine ORDER BY node";
    assert_eq!(at_hub::<String>(&hub, settled), ["waived", "inherited"]);
}

#[tokio::test]
async fn two_clones_that_edit_one_field_in_the_same_moment_keep_both_values() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    // Another seed: the clone makes an edit of its own.
    let mut clone = Till::new(2);
    (clone.id, clone.token) = (till.id, till.token.clone());
    let named = |text: &str| Scalar::Text(text.to_owned());
    let stamp = till.edit("TEA", ("name", named("Chai")), &[]);
    assert_eq!(clone.edit("TEA", ("name", named("Masala")), &[]), stamp);
    till.push(&client).await.unwrap();
    client.settle().await;
    part(&client, &till, &mut clone, 7, Point::START).await;
    clone.push(&client).await.unwrap();
    let status = client.settle().await;
    assert_eq!(
        status.conflicts, 1,
        "both are kept, and the conflict is on record"
    );
    let values = "SELECT value FROM field_version ORDER BY value";
    assert_eq!(at_hub::<String>(&hub, values), ["\"Chai\"", "\"Masala\""]);
    // The clone names its own by the stamp that both gave out; it replaces that, and not the other's.
    clone.edit("TEA", ("name", named("Masala, loose")), &[stamp]);
    clone.push(&client).await.unwrap();
    client.settle().await;
    let open: ConflictPage = client.admin_get("conflicts?state=by_policy").await;
    let lost = open.conflicts.iter().map(|it| &it.loser.value);
    assert_eq!(lost.collect::<Vec<_>>(), ["Chai"]);
}

#[tokio::test]
async fn edits_made_before_the_change_are_named_by_those_made_after_it() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    let mut clone = Till::new(1);
    let named = |text: &str| Scalar::Text(text.to_owned());
    let first = clone.edit("TEA", ("name", named("Chai")), &[]);
    till.push(&client).await.unwrap();
    client.settle().await;
    part(&client, &till, &mut clone, 7, Point::START).await;
    clone.edit("TEA", ("name", named("Masala")), &[first]);
    clone.push(&client).await.unwrap();
    assert_eq!(
        client.settle().await.conflicts,
        0,
        "the second replaces the first"
    );
    let stamps = "SELECT node_tag FROM field_version ORDER BY hlc";
    let tags: Vec<i64> = at_hub(&hub, stamps);
    assert_eq!(tags, [i64::from(first.node_tag), 7]);
}

#[tokio::test]
async fn a_record_of_a_former_till_comes_back_from_the_book_of_its_heir() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    // The same seed makes the same entries.
    let mut heir = Till::new(1);
    for it in [&mut till, &mut heir] {
        it.sell(2);
        it.tamper("UPDATE journal SET total_minor = total_minor + 1");
    }
    till.push(&client).await.unwrap();
    client.settle().await;
    let common = point(&till, 1);
    part(&client, &till, &mut heir, 7, common).await;
    heir.sell(2);
    heir.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 1);
    hub.stop().await;
    let books = hub.dir.join("books");
    for file in std::fs::read_dir(&books).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with(&till.id.to_string()) {
            std::fs::remove_file(&path).unwrap();
        }
    }
    let hub = hub.restart().await;
    let client = hub.client();
    let found: QuarantineDetail = client.admin_get(&format!("quarantine/{}/1", till.id)).await;
    assert_eq!(found.record.unwrap()["total_minor"], 503);
    let path = format!("/v1/admin/quarantine/{}/1/fix", till.id);
    let fix = json!({"who": "Ann", "why": "typo", "changes": {"total_minor": "502"}});
    let answer = client.post(&path, Some(&client.admin), &fix).await;
    assert_eq!(parse::<QuarantineAnswer>(&answer).taken_in, 1);
    let node = "SELECT node FROM receipt ORDER BY seq";
    assert_eq!(
        at_hub::<i64>(&hub, node),
        [1, 2],
        "it counts with the former"
    );
}
