//! The proof of a business day (X9): what tills say they took, against what was consolidated.

use crate::counter::{Counter, MONDAY, TUESDAY, day};
use crate::hub::{Client, TestHub, command};
use crate::till::Till;
use counterfoil_domain::document::Tender;
use counterfoil_domain::lineage::{Former, Point};
use counterfoil_domain::{Document, NodeId};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::closure::{Proof, ProofRow, ProofState};
use counterfoil_testkit::SeededRandom;
use serde_json::json;

async fn proof(client: &Client, date: &str) -> Proof {
    client.admin_get(&format!("proof?day={date}")).await
}

fn kinds(row: &ProofRow) -> Vec<(&str, Option<&str>)> {
    let findings = row.findings.iter();
    findings
        .map(|it| (it.kind.as_str(), it.receipt.as_deref()))
        .collect()
}

/// Runs statements on the database of a hub that was stopped.
fn alter(hub: &TestHub, sql: &str) {
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    db.execute_batch(sql).unwrap();
    db.close();
}

/// A busy Monday, closed and delivered.
async fn monday(client: &Client) -> Counter {
    let mut counter = Counter::of(client, "Leith", 1).await;
    for _ in 0..3 {
        counter.sell(MONDAY, Tender::Cash);
    }
    counter.sell(MONDAY, Tender::Card);
    counter.refund(MONDAY);
    counter.till.move_stock(1_000);
    counter.close(MONDAY);
    counter.deliver(client).await;
    counter
}

#[tokio::test]
async fn a_day_that_was_closed_and_arrived_whole_is_proved() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = monday(&client).await;
    let found = proof(&client, MONDAY).await;
    assert!(found.proved, "{found:?}");
    let row = &found.rows[0];
    assert_eq!((row.found.sales, row.found.refunds), (4, 1));
    // 2 x 1.25 and 2 x 1.26, four times; 2 x 1.25 taken back.
    assert_eq!((found.receipts, found.total_minor), (5, 4 * 502 - 250));
    let tenders = [(Tender::Cash, 3 * 502 - 250), (Tender::Card, 502)];
    assert_eq!(row.found.tenders, tenders.into());

    counter.sell(TUESDAY, Tender::Voucher);
    counter.deliver(&client).await;
    let open = proof(&client, TUESDAY).await;
    assert_eq!((open.proved, open.rows[0].state), (false, ProofState::Open));
    assert_eq!(open.total_minor, 502);
    assert!(
        proof(&client, MONDAY).await.proved,
        "Tuesday is another day"
    );
    counter.close(TUESDAY);
    counter.deliver(&client).await;
    assert!(proof(&client, TUESDAY).await.proved);
    // Nothing was sold before that, and the till was not there.
    assert_eq!(proof(&client, "2011-03-06").await.rows, []);
}

/// What somebody changes in `hub.db`, the kind of finding, and the receipt that it names.
const ALTERATIONS: [(&str, &str, &str); 14] = [
    (
        "UPDATE receipt_line SET description = CAST(x'FF' AS TEXT) WHERE seq = 3 AND line = 1",
        "differs",
        "L1-3",
    ),
    (
        "UPDATE receipt SET employee = CAST(x'FF' AS TEXT) WHERE seq = 2",
        "differs",
        "L1-2",
    ),
    ("UPDATE closure SET day = 'x'", "closure_altered", ""),
    ("UPDATE closure SET day = '2011-03-09'", "", ""),
    (
        "UPDATE payment SET amount_minor = 501 WHERE seq = 2",
        "differs",
        "L1-2",
    ),
    (
        "UPDATE receipt_line SET description = 'coffee' WHERE seq = 3 AND line = 2",
        "differs",
        "L1-3",
    ),
    (
        "UPDATE receipt SET customer = 'nobody' WHERE seq = 1",
        "differs",
        "L1-1",
    ),
    (
        "DELETE FROM receipt_line WHERE seq = 4 AND line = 1",
        "differs",
        "L1-4",
    ),
    ("DELETE FROM receipt WHERE seq = 3", "missing", "L1-3"),
    (
        "UPDATE receipt SET number = 77 WHERE seq = 5",
        "extra",
        "L1-77",
    ),
    (
        "UPDATE receipt SET at_ms = at_ms + 86400000 WHERE seq = 5",
        "differs",
        "L1-5",
    ),
    (
        "UPDATE document SET content = replace(content, '\"sales\":4', '\"sales\":5')",
        "closure_altered",
        "",
    ),
    (
        "UPDATE link SET before = zeroblob(32) WHERE seq = 7",
        "chain",
        "",
    ),
    (
        "DELETE FROM closure; DELETE FROM document WHERE topic = 10",
        "",
        "",
    ),
];

#[tokio::test]
async fn a_row_that_was_changed_or_removed_in_the_hubs_database_is_named() {
    let mut hub = TestHub::start().await;
    monday(&hub.client()).await;
    hub.stop().await;
    let saved = std::fs::read(hub.dir.join("hub.db")).unwrap();
    for (sql, kind, receipt) in ALTERATIONS {
        alter(&hub, sql);
        let output = command(hub.dir.path(), &["proof", "--day", MONDAY, "--json"]);
        assert_eq!(output.status.code(), Some(3), "{sql}");
        let found: Proof = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!found.proved, "{sql}");
        let named = kinds(&found.rows[0]);
        let wanted = (kind, Some(receipt).filter(|it| !it.is_empty()));
        assert!(
            kind.is_empty() || named.contains(&wanted),
            "{sql}: {named:?}"
        );
        for leftover in ["hub.db-wal", "hub.db-shm"] {
            drop(std::fs::remove_file(hub.dir.join(leftover)));
        }
        std::fs::write(hub.dir.join("hub.db"), &saved).unwrap();
    }
    let output = command(hub.dir.path(), &["proof", "--day", MONDAY]);
    assert_eq!(output.status.code(), Some(0), "unchanged, it is proved");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("2011-03-07: proved, 5 receipts, 17.58"),
        "{text}"
    );
}

#[tokio::test]
async fn a_sale_in_quarantine_is_named_with_its_number_and_its_reason() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    for _ in 0..4 {
        counter.sell(MONDAY, Tender::Cash);
    }
    counter.close(MONDAY);
    counter
        .till
        .tamper("DELETE FROM receipt_item WHERE key >> 16 = 3");
    counter.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    let row = &found.rows[0];
    assert_eq!(row.state, ProofState::Failed);
    assert!(
        kinds(row).contains(&("quarantined", Some("L1-3"))),
        "{row:?}"
    );
    let finding = row
        .findings
        .iter()
        .find(|it| it.kind == "quarantined")
        .unwrap();
    assert_eq!(finding.seq, Some(3));
    assert!(finding.detail.contains("no lines"), "{}", finding.detail);
}

#[tokio::test]
async fn a_late_sale_is_named_and_belongs_to_the_next_closure() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = monday(&client).await;
    let late = format!("L1-{}", counter.sell(MONDAY, Tender::Cash));
    counter.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    assert!(found.proved, "a closed day is not reopened: {found:?}");
    let entry = &found.rows[0].late[0];
    assert_eq!(
        (entry.receipt.as_str(), entry.closed_with),
        (late.as_str(), None)
    );
    assert_eq!(found.receipts, 5);

    counter.sell(TUESDAY, Tender::Cash);
    counter.close(TUESDAY);
    counter.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    assert!(found.proved);
    assert_eq!(found.rows[0].late[0].closed_with, Some(day(TUESDAY)));
    let found = proof(&client, TUESDAY).await;
    assert!(found.proved, "{found:?}");
    let entry = &found.rows[0].late[0];
    assert_eq!(
        (entry.receipt.as_str(), entry.day),
        (late.as_str(), day(MONDAY))
    );
    assert_eq!(found.receipts, 2, "the late one counts with Tuesday");
}

#[tokio::test]
async fn a_sale_dated_ahead_waits_for_its_own_day() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut counter = Counter::of(&client, "Leith", 1).await;
    counter.sell(MONDAY, Tender::Cash);
    counter.sell(TUESDAY, Tender::Card);
    counter.sell(MONDAY, Tender::Cash);
    counter.close(MONDAY);
    counter.close(TUESDAY);
    counter.deliver(&client).await;
    for (date, receipts) in [(MONDAY, 2), (TUESDAY, 1)] {
        let found = proof(&client, date).await;
        assert!(found.proved, "{found:?}");
        assert_eq!(found.receipts, receipts, "{date}");
    }
}

#[tokio::test]
async fn a_seal_of_somebody_else_or_none_is_not_believed() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let stranger = Counter::of(&client, "Tartu", 9).await;
    for (seed, seal) in [(1, None), (2, Some(stranger.key()))] {
        let mut counter = Counter::of(&client, &format!("Shop {seed}"), seed).await;
        counter.sell(MONDAY, Tender::Cash);
        let mut closure = counter.closure(MONDAY);
        closure.seal = seal.map(|key| key.seal(&closure));
        counter.till.record(&Document::Closure(closure));
        counter.deliver(&client).await;
        let found = proof(&client, MONDAY).await;
        let row = found
            .rows
            .iter()
            .find(|row| row.node_id == counter.till.id)
            .unwrap();
        assert_eq!(
            (row.state, kinds(row)),
            (ProofState::Failed, vec![("seal", None)])
        );
    }
}

#[tokio::test]
async fn a_till_that_was_not_heard_of_since_the_day_is_waited_for() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Counter::of(&client, "Leith", 1).await;
    let far = "2999-01-01";
    let found = proof(&client, far).await;
    assert_eq!(found.rows[0].state, ProofState::Waiting);
    assert_eq!(found.rows[0].node_id, till.till.id);
    // Today the day is not over; a till that spoke is still waited for.
    till.till.hello(&client).await;
    assert_eq!(proof(&client, far).await.rows[0].state, ProofState::Waiting);
    let path = format!("nodes/{}/revoke", till.till.id);
    client
        .admin_post::<serde_json::Value>(&path, &json!(null))
        .await;
    assert!(
        proof(&client, far).await.proved,
        "nobody sells there any more"
    );
}

#[tokio::test]
async fn entries_of_a_restored_till_are_counted_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut former = Counter::of(&client, "Leith", 1).await;
    // The same seed makes the same entries: a folder that was copied after the second sale.
    let mut heir = Counter::at(Till::new(1));
    for counter in [&mut former, &mut heir] {
        counter.sell(MONDAY, Tender::Cash);
        counter.sell(MONDAY, Tender::Card);
    }
    former.deliver(&client).await;
    let common = Point {
        seq: 2,
        chain: former.till.chain,
    };
    assert_eq!(heir.till.chain, common.chain);
    let formers = [Former {
        node: former.till.id,
        lane: 1,
        until_seq: 2,
        common,
    }];
    let formers = serde_json::to_string(&formers).unwrap();
    heir.till.tamper(&format!(
        "INSERT INTO meta VALUES ('former_nodes', '{formers}')"
    ));
    (heir.till.id, heir.till.token) = (
        NodeId::from_uuid(uuid::Uuid::from_u128(7)),
        "token 7".to_owned(),
    );
    let claim = json!({
        "node": heir.till.id,
        "token_hash": heir.till.token_hash(),
        "common": common,
        "schemas": crate::till::schemas(),
    });
    let answer = client
        .post("/v1/identity", Some(&former.till.token), &claim)
        .await;
    assert!(answer.status.is_success());
    heir.number = 0;
    heir.series = "L2";
    heir.sell(MONDAY, Tender::Cash);
    heir.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    assert!(!found.proved, "nobody has closed it");
    heir.close(MONDAY);
    heir.deliver(&client).await;
    let found = proof(&client, MONDAY).await;
    assert!(found.proved, "{found:?}");
    assert_eq!((found.receipts, found.total_minor), (3, 3 * 502));
    let [first, second] = found.rows.as_slice() else {
        unreachable!("{found:?}")
    };
    assert_eq!(first.notice.as_deref(), Some("closed by Leith/2"));
    assert_eq!((first.found.sales, second.found.sales), (2, 3));
    assert_eq!(second.elsewhere.sales, 2);
}

/// Two days of two tills, pushed and consolidated in pieces, in an order of chance.
#[tokio::test]
async fn any_order_of_arrival_comes_to_the_same_proof() {
    let mut proofs = Vec::new();
    for round in 0..6 {
        let hub = TestHub::start().await;
        let client = hub.client();
        let chance = SeededRandom::new(round);
        let mut counters = [
            Counter::of(&client, "Leith", 1).await,
            Counter::of(&client, "Tartu", 2).await,
        ];
        let mut steps = [0, 0];
        while steps != [9, 9] {
            let which = usize::try_from(chance.below(2)).unwrap();
            let counter = &mut counters[which];
            match steps[which] {
                step @ (0..=2 | 5) => {
                    let tender = if step == 1 {
                        Tender::Card
                    } else {
                        Tender::Cash
                    };
                    counter.sell(MONDAY, tender);
                }
                3 => counter.refund(MONDAY),
                4 => counter.close(MONDAY),
                6 => {
                    counter.sell(TUESDAY, Tender::Cash);
                }
                7 => counter.close(TUESDAY),
                _ => continue,
            }
            steps[which] += 1;
            if steps[which] == 8 {
                steps[which] = 9;
            }
            if chance.below(2) == 0 {
                counter.till.push(&client).await.unwrap();
            }
            if chance.below(3) == 0 {
                client.settle().await;
            }
        }
        for counter in &counters {
            counter.till.push(&client).await.unwrap();
            counter.till.push(&client).await.unwrap();
        }
        client.settle().await;
        let mut found = [proof(&client, MONDAY).await, proof(&client, TUESDAY).await];
        for row in found.iter_mut().flat_map(|proof| &mut proof.rows) {
            row.shop_id = counterfoil_domain::ShopId::from_uuid(uuid::Uuid::nil());
        }
        assert!(found.iter().all(|proof| proof.proved), "{found:?}");
        proofs.push(found);
    }
    for found in &proofs[1..] {
        assert_eq!(*found, proofs[0]);
    }
}
