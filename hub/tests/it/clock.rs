//! The clocks of tills (X1).

use crate::hub::{Client, TestHub, parse};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_domain::env::Clock as _;
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::decisions::ConflictPage;
use counterfoil_protocol::wire::hub::{HelloAnswer, HubStatus, NodeRow, SalesGroup};
use counterfoil_testkit::ManualClock;
use serde_json::{Value, json};
use std::sync::Arc;

const YEARS_MS: i64 = 10 * 365 * 86_400_000;

/// The alerts that were raised so far, and whether each is over.
async fn raised(client: &Client) -> Vec<(String, bool)> {
    let alerts = client.settle().await.alerts.into_iter();
    alerts
        .map(|alert| (alert.kind, alert.cleared_ms.is_some()))
        .collect()
}

#[tokio::test]
async fn a_wrong_clock_is_told_once_and_told_again_when_it_is_right() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    till.hello(&client).await;
    assert_eq!(raised(&client).await, []);
    for behind in [0, 2_000, 4_000] {
        till.hello_at(&client, till.now_ms() - YEARS_MS - behind)
            .await;
        let wrong = ("clock_wrong".to_owned(), false);
        assert_eq!(raised(&client).await, [wrong], "told once");
    }
    let nodes: Vec<NodeRow> = client.admin_get("nodes").await;
    let offset = nodes[0].clock_offset_ms.unwrap();
    assert!(offset < 60_000 - YEARS_MS, "{offset}");
    till.hello(&client).await;
    let over = ("clock_wrong".to_owned(), true);
    assert_eq!(raised(&client).await, std::slice::from_ref(&over));
    till.hello_at(&client, till.now_ms() + 86_400_000).await;
    let again = ("clock_wrong".to_owned(), false);
    assert_eq!(raised(&client).await, [again, over]);
}

const DAY_MS: i64 = 86_400_000;

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

/// When the hub is at first.
const START_MS: i64 = 1_795_000_000_000;

/// A hub whose clock stands still between the steps of a test, so that what is measured is exact.
struct World {
    hub: TestHub,
    client: Client,
    clock: Arc<ManualClock>,
}

impl World {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(START_MS));
        let hub = TestHub::start_at(Arc::clone(&clock)).await;
        let client = hub.client();
        Self { hub, client, clock }
    }

    async fn till(&self, seed: u64, offset_ms: i64) -> Wrong {
        Wrong {
            till: Till::of(&self.client, "Leith", seed).await,
            offset_ms,
            clock: Arc::clone(&self.clock),
        }
    }
}

/// A till of one shop whose clock is wrong, and which sells and says things at true times.
struct Wrong {
    till: Till,
    offset_ms: i64,
    clock: Arc<ManualClock>,
}

impl Wrong {
    /// True time.
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Its clock at a true time.
    fn at(&mut self, true_ms: i64) -> &mut Till {
        self.till.at_ms = Some(true_ms + self.offset_ms);
        &mut self.till
    }

    /// A contact now, and everything sent.
    async fn meet(&self, client: &Client) -> HubStatus {
        let till = &self.till;
        till.hello_at(client, self.now_ms() + self.offset_ms).await;
        till.push(client).await.unwrap();
        client.settle().await
    }
}

/// Raw and corrected times of a till's receipts, with what is said of the error.
fn dated(hub: &TestHub, table: &str, till: &Till) -> Vec<(i64, i64, Option<i64>)> {
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    let sql = format!(
        "SELECT at_ms, corrected_ms, corrected_error_ms FROM {table}
         JOIN node ON node.number = {table}.node WHERE node.id = ?1 ORDER BY seq"
    );
    db.query_map(&sql, [till.id.to_bytes()], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
    .unwrap()
}

#[tokio::test]
async fn sales_of_a_clock_ten_years_wrong_are_dated_right_and_nothing_is_in_quarantine() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    for (seed, offset_ms) in [(1, YEARS_MS), (2, -YEARS_MS), (3, -DAY_MS)] {
        let mut wrong = world.till(seed, offset_ms).await;
        let now_ms = wrong.now_ms();
        let truths = [now_ms - 3 * DAY_MS, now_ms - 3_600_000, now_ms - 60_000];
        for truth in truths {
            wrong.at(truth).sell(2);
        }
        let status = wrong.meet(client).await;
        assert_eq!(status.quarantined, 0);
        let found = dated(hub, "receipt", &wrong.till);
        assert_eq!(found.len(), truths.len());
        for ((raw, corrected, error), truth) in found.into_iter().zip(truths) {
            assert_eq!(raw, truth + offset_ms, "the raw time is kept");
            assert_eq!(corrected, truth);
            assert_eq!(error, None, "the till was not heard of before");
        }
    }
    // Reports count a sale on the day on which it was made.
    let mut right = world.till(9, 0).await;
    let now_ms = right.now_ms();
    right.at(now_ms - 3 * DAY_MS).sell(1);
    right.at(now_ms).sell(1);
    right.meet(client).await;
    let report: Vec<SalesGroup> = client.admin_get("reports/sales?by=day").await;
    assert!(report.len() <= 3, "{report:?}");
}

#[tokio::test]
async fn a_sale_from_before_the_clock_was_set_is_corrected_by_what_was_measured_then() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    let mut wrong = world.till(1, YEARS_MS).await;
    wrong.meet(client).await;
    world.clock.advance(3_600_000);
    let now_ms = wrong.now_ms();
    let truths = [now_ms - 900_000, now_ms - 600_000, now_ms - 300_000];
    wrong.at(truths[0]).sell(1);
    wrong.at(truths[1]).sell(1);
    wrong.offset_ms = 0;
    wrong.at(truths[2]).sell(1);
    let status = wrong.meet(client).await;
    assert_eq!(status.quarantined, 0);
    let found = dated(hub, "receipt", &wrong.till);
    for ((_, corrected, _), truth) in found.iter().zip(truths) {
        assert_eq!(*corrected, truth);
    }
    assert_eq!(found[0].0, truths[0] + YEARS_MS);
    assert_eq!(found[2].0, truths[2]);
    assert!(
        found.iter().all(|(_, _, error)| *error == Some(1_000)),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_no_measured_offset_explains_is_bounded_by_contacts_or_stands_aside() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    // Wrong in trial, put right before the first contact: nobody knows by how much.
    let mut trial = world.till(1, YEARS_MS).await;
    let now_ms = trial.now_ms();
    trial.at(now_ms).sell(1);
    trial.offset_ms = 0;
    assert_eq!(trial.meet(client).await.quarantined, 1);
    // The battery was empty in trial, and the clock put right before the first contact: that may be so long ago.
    let mut empty = world.till(3, -YEARS_MS).await;
    empty.at(now_ms).sell(1);
    empty.offset_ms = 0;
    assert_eq!(empty.meet(client).await.quarantined, 1, "the other till's");
    let raw = now_ms - YEARS_MS;
    assert_eq!(dated(hub, "receipt", &empty.till), [(raw, raw, None)]);
    // The same between two contacts.
    let mut known = world.till(2, 0).await;
    known.meet(client).await;
    known.offset_ms = -YEARS_MS;
    known.at(now_ms).sell(1);
    known.offset_ms = 0;
    assert_eq!(known.meet(client).await.quarantined, 1, "the other till's");
    let [(raw, corrected, error)] = dated(hub, "receipt", &known.till)[..] else {
        panic!("one receipt");
    };
    assert_eq!(raw, now_ms - YEARS_MS);
    assert!((corrected - now_ms).abs() <= error.unwrap(), "{error:?}");
}

#[tokio::test]
async fn the_truly_later_edit_wins_whatever_the_clocks_say() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    let mut ahead = world.till(1, YEARS_MS).await;
    let mut behind = world.till(2, -DAY_MS).await;
    let now_ms = ahead.now_ms();
    let name = |value: &str| ("name", text(value));
    ahead.at(now_ms - 50_000).edit("TEA", name("early"), &[]);
    behind.at(now_ms - 40_000).edit("TEA", name("late"), &[]);
    behind.at(now_ms - 30_000).edit("JAM", name("early"), &[]);
    let seen = ahead.at(now_ms - 20_000).edit("JAM", name("late"), &[]);
    // Who replaces a value comes after it, with whatever clock.
    behind
        .at(now_ms - 10_000)
        .edit("JAM", name("next"), &[seen]);
    for till in [&ahead, &behind] {
        assert_eq!(till.meet(client).await.quarantined, 0);
    }
    let wrong = ("clock_wrong".to_owned(), false);
    assert_eq!(raised(client).await, [wrong.clone(), wrong]);
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let names: Vec<(String, String)> = db
        .query_map("SELECT id, name FROM products ORDER BY id", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let expected = [("JAM", "next"), ("TEA", "late")];
    assert_eq!(
        names,
        expected.map(|(id, name)| (id.to_owned(), name.to_owned()))
    );
    let hlc: i64 = db.query_value("SELECT hlc FROM catalog_state", ()).unwrap();
    assert!(hlc >> 16 <= now_ms, "no wrong clock drives the others");
    let page: ConflictPage = client.admin_get("conflicts").await;
    let lost: Vec<_> = page.conflicts.iter().map(|it| &it.loser.value).collect();
    assert_eq!(lost, ["early", "early"]);
    let tea = page.conflicts.iter().find(|it| it.row == "TEA").unwrap();
    assert_eq!(tea.loser.at_ms, now_ms - 50_000);
}

#[tokio::test]
async fn an_imported_edit_of_a_till_that_was_ahead_counts_as_made_when_it_arrived() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    let mut ahead = world.till(1, YEARS_MS).await;
    let now_ms = ahead.now_ms();
    ahead.at(now_ms - 60_000).sell(1);
    let driven = ahead.till.edit("TEA", ("name", text("by hand")), &[]);
    // What comes from other data states no time of the clock.
    ahead.till.at_ms = None;
    ahead
        .till
        .edit("TEA", ("name", text("imported")), &[driven]);
    assert_eq!(ahead.meet(client).await.quarantined, 0);
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    let sql = "SELECT corrected_hlc >> 16 FROM field_version ORDER BY corrected_hlc";
    let placed: Vec<i64> = db.query_map(sql, (), |row| row.get(0)).unwrap();
    assert_eq!(placed, [now_ms - 60_000, now_ms]);
}

#[tokio::test]
async fn measurements_of_a_clock_that_stays_the_same_do_not_grow() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    let mut wrong = world.till(1, YEARS_MS).await;
    for revision in 0..12 {
        let now_ms = wrong.now_ms();
        wrong.at(now_ms).sell(1);
        // A contact that says something new is on record, however soon it comes.
        let body = json!({
            "schemas": { "book": 1, "catalog": 1 },
            "catalog_revision": revision,
            "now_ms": now_ms + YEARS_MS,
            "book_seq": wrong.till.seq,
        });
        let hello: HelloAnswer = parse(
            &client
                .post("/v1/hello", Some(&wrong.till.token), &body)
                .await,
        );
        assert_eq!(hello.now_ms, now_ms);
        wrong.till.push(client).await.unwrap();
        client.settle().await;
    }
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    let sql = "SELECT count(*), min(seq), max(seq) FROM clock_measurement";
    let kept = db.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (count, first, last): (i64, i64, i64) = kept.unwrap();
    assert!(count <= 5, "{count}");
    assert_eq!((first, last), (1, 12), "since when, and until when");
}

/// It says hello under the old name before it learns that its book is older than it was.
#[tokio::test]
async fn a_restored_tills_hello_does_not_date_what_was_sold_before_the_backup_was_taken_back() {
    let world = World::start().await;
    let (hub, client) = (&world.hub, &world.client);
    let mut wrong = world.till(1, YEARS_MS).await;
    wrong.meet(client).await;
    world.clock.advance(3_600_000);
    let truth = wrong.now_ms();
    let total = wrong.at(truth).sell(1);
    wrong.at(truth).sell(1);
    wrong.at(truth).sell(1);
    wrong
        .till
        .tamper("UPDATE journal SET total_minor = total_minor + 1 WHERE seq = 2");
    assert_eq!(wrong.meet(client).await.quarantined, 1);
    world.clock.advance(3_600_000);
    wrong.till.seq = 1;
    let said = wrong.now_ms() + YEARS_MS;
    wrong.till.hello_at(client, said).await;
    let path = format!("quarantine/{}/2/fix", wrong.till.id);
    let changes = json!({"total_minor": total.to_string()});
    let fixed = json!({"who": "Ann", "why": "a slip", "changes": changes});
    client.admin_post::<Value>(&path, &fixed).await;
    let expected = (truth + YEARS_MS, truth, Some(1_000));
    assert_eq!(dated(hub, "receipt", &wrong.till), [expected; 3]);
}
