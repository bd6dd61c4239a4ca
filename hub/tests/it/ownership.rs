//! Rows that hold for one shop: whose they are is decided alike by hubs that hear of the claims in any order.

use crate::hub::{Client, TestHub};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::Scalar;
use counterfoil_domain::env::Random as _;
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::decisions::{ConflictPage, Undone};
use counterfoil_protocol::wire::hub::ShopRow;
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineRow};
use counterfoil_testkit::SeededRandom;
use serde_json::json;
use std::collections::BTreeMap;

const SHOPS: [&str; 3] = ["A", "B", "C"];
const ROWS: u64 = 3;
const EDITS: u64 = 8;

/// What a till does in its turn: a row, and what it sets there.
#[derive(Clone, Copy, Debug)]
enum Act {
    Claims,
    GivesUp,
    Prices(i64),
}

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    }
}

/// The same edits for every hub: row, act and time, by till.
fn script(seed: u64) -> Vec<Vec<(u64, Act, i64)>> {
    let dice = Dice(SeededRandom::new(seed));
    let mut script = vec![Vec::new(); SHOPS.len()];
    for number in 0..EDITS * 3 {
        let till = &mut script[usize::try_from(dice.below(3)).unwrap()];
        let at_ms = TIME_MS + i64::try_from(number).unwrap() * 1_000;
        // Rows are given up as often as they are claimed, so that they pass from shop to shop.
        let act = match dice.below(6) {
            0 | 1 => Act::Claims,
            2 | 3 => Act::GivesUp,
            _ => Act::Prices(at_ms - TIME_MS),
        };
        till.push((dice.below(ROWS), act, at_ms));
    }
    script
}

fn does(till: &mut Till, shop: &str, (row, act, at_ms): (u64, Act, i64)) {
    till.at_ms = Some(at_ms);
    let row = format!("p{row}");
    let set = match act {
        Act::Claims => ("shop", Scalar::Text(shop.to_owned())),
        Act::GivesUp => ("shop", Scalar::Null),
        Act::Prices(price) => ("price_mills", Scalar::Integer(price)),
    };
    till.edit_in("prices", &row, set, &[]);
}

async fn shops(client: &Client) -> BTreeMap<String, String> {
    let rows: Vec<ShopRow> = client.admin_get("shops").await;
    let named = rows.into_iter();
    named
        .map(|row| (row.name, row.shop_id.to_string()))
        .collect()
}

/// What a hub comes to: its prices, and what stands in quarantine, with shops by name.
async fn outcome(
    hub: &TestHub,
    client: &Client,
    tills: &[Till],
) -> (Vec<String>, Vec<(Option<usize>, i64, String)>) {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT id || ' ' || coalesce(shop, '-') || ' ' || coalesce(price_mills, '-') || ' ' || versions
               FROM prices ORDER BY id";
    let mut rows: Vec<String> = db.query_map(sql, (), |row| row.get(0)).unwrap();
    for (name, id) in shops(client).await {
        for row in &mut rows {
            *row = row.replace(&id, &name);
        }
    }
    let aside: Vec<QuarantineRow> = client.admin_get("quarantine?open=true").await;
    let place = |row: QuarantineRow| {
        let till = tills.iter().position(|till| till.id == row.node_id);
        (till, row.seq, row.code)
    };
    // Every conflict can be shown.
    client.admin_get::<ConflictPage>("conflicts").await;
    let mut aside: Vec<_> = aside.into_iter().map(place).collect();
    aside.sort();
    (rows, aside)
}

/// A hub that hears of the edits in an order of its own.
async fn life(
    script: &[Vec<(u64, Act, i64)>],
    order: u64,
) -> (Vec<String>, Vec<(Option<usize>, i64, String)>) {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = Vec::new();
    for (seed, shop) in (50..).zip(SHOPS) {
        tills.push(Till::of(&client, shop, seed).await);
    }
    let ids = shops(&client).await;
    let dice = Dice(SeededRandom::new(order));
    let mut done = [0; 3];
    loop {
        let open: Vec<usize> = (0..3)
            .filter(|till| done[*till] < script[*till].len())
            .collect();
        if open.is_empty() {
            break;
        }
        let at = open[usize::try_from(dice.below(open.len() as u64)).unwrap()];
        let until = done[at] + 1 + usize::try_from(dice.below(4)).unwrap();
        let until = until.min(script[at].len());
        for step in &script[at][done[at]..until] {
            does(&mut tills[at], &ids[SHOPS[at]], *step);
        }
        done[at] = until;
        tills[at].push(&client).await.unwrap();
        // Or the next one's arrive with these.
        if dice.below(2) == 0 {
            client.settle().await;
        }
    }
    client.settle().await;
    outcome(&hub, &client, &tills).await
}

#[tokio::test]
async fn hubs_that_hear_of_claims_in_any_order_decide_alike_whose_a_row_is() {
    let mut aside = 0;
    for seed in 0..4 {
        let script = script(seed);
        let first = life(&script, 100 * seed).await;
        aside += first.1.len();
        for order in 1..4 {
            let other = life(&script, 100 * seed + order).await;
            assert_eq!(other, first, "seed {seed}, order {order}: {script:?}");
        }
    }
    assert!(aside > 0, "somebody wrote to another shop's row");
}

#[tokio::test]
async fn an_earlier_claim_that_arrives_late_puts_aside_what_another_shop_wrote() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut early = Till::of(&client, "A", 1).await;
    let mut late = Till::of(&client, "B", 2).await;
    let ids = shops(&client).await;
    for (till, shop, at_ms) in [
        (&mut late, "B", TIME_MS + 2_000),
        (&mut early, "A", TIME_MS + 1_000),
    ] {
        does(till, &ids[shop], (0, Act::Claims, at_ms));
        does(
            till,
            &ids[shop],
            (0, Act::Prices(at_ms - TIME_MS), at_ms + 10),
        );
    }
    late.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 0);
    early.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 2);
    let (rows, aside) = outcome(&hub, &client, &[early, late]).await;
    assert!(rows[0].starts_with("p0 A 1000 "), "{rows:?}");
    let code = "row_of_another_shop".to_owned();
    assert_eq!(aside, [(Some(1), 1, code.clone()), (Some(1), 2, code)]);
}

/// The prices with their columns alone, and the codes of what stands in quarantine.
async fn prices(hub: &TestHub, client: &Client, tills: &[&Till]) -> (Vec<String>, Vec<String>) {
    for till in tills {
        till.push(client).await.unwrap();
        client.settle().await;
    }
    let (rows, aside) = outcome(hub, client, &[]).await;
    let rows = rows.iter().map(|row| {
        let mut parts: Vec<&str> = row.split(' ').collect();
        parts.truncate(3);
        parts.join(" ")
    });
    (
        rows.collect(),
        aside.into_iter().map(|(.., code)| code).collect(),
    )
}

async fn moved_to(client: &Client, till: &Till, row: &str) -> QuarantineAnswer {
    let path = format!("quarantine/{}/1/fix", till.id);
    let body = json!({"who": "Ann", "why": format!("meant {row}"), "changes": {"row": row}});
    client.admin_post(&path, &body).await
}

#[tokio::test]
async fn what_a_person_made_of_anothers_edit_counts_once_whosever_the_row_turns_out_to_be() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut first = Till::of(&client, "A", 1).await;
    let mut second = Till::of(&client, "A", 2).await;
    let mut other = Till::of(&client, "B", 3).await;
    let a = shops(&client).await["A"].clone();
    does(&mut first, &a, (0, Act::Claims, TIME_MS + 1_000));
    does(&mut other, "B", (0, Act::Prices(7), TIME_MS + 5_000));
    let found = prices(&hub, &client, &[&first, &other]).await;
    assert_eq!(found.0, ["p0 A -"]);
    assert_eq!(found.1, ["row_of_another_shop"]);
    assert_eq!(moved_to(&client, &other, "p1").await.taken_in, 1);
    let found = prices(&hub, &client, &[]).await;
    assert_eq!(
        found,
        (vec!["p0 A -".to_owned(), "p1 - 7".to_owned()], vec![])
    );
    // The row was given up before, as it turns out.
    does(&mut second, &a, (0, Act::GivesUp, TIME_MS + 2_000));
    let found = prices(&hub, &client, &[&second]).await;
    assert_eq!(
        found,
        (vec!["p0 - -".to_owned(), "p1 - 7".to_owned()], vec![])
    );
    // And the row to which the edit went is another shop's too.
    does(&mut second, &a, (1, Act::Claims, TIME_MS + 3_000));
    let found = prices(&hub, &client, &[&second]).await;
    assert_eq!(found.0, ["p0 - -", "p1 A -"]);
    assert_eq!(found.1, ["row_of_another_shop"]);
    assert_eq!(moved_to(&client, &other, "p2").await.taken_in, 1);
    does(&mut second, &a, (1, Act::GivesUp, TIME_MS + 4_000));
    let found = prices(&hub, &client, &[&second]).await;
    assert_eq!(found.0, ["p0 - -", "p1 - -", "p2 - 7"]);
    assert_eq!(found.1, Vec::<String>::new());
}

/// What is left at a hub that hears of everything and undoes a till, and at one that never heard of that till's edits.
async fn without_first(script: &[Vec<(u64, Act, i64)>], undoes: bool) -> (Vec<String>, usize) {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = Vec::new();
    for (seed, shop) in (50..).zip(SHOPS) {
        tills.push(Till::of(&client, shop, seed).await);
    }
    let ids = shops(&client).await;
    for (at, till) in tills.iter_mut().enumerate() {
        let steps = script[at].iter().filter(|_| undoes || at > 0);
        steps.for_each(|step| does(till, &ids[SHOPS[at]], *step));
        till.push(&client).await.unwrap();
    }
    client.settle().await;
    if undoes {
        let undo = |dry_run: bool| json!({"node_id": tills[0].id, "from_ms": 0, "to_ms": TIME_MS * 2, "dry_run": dry_run});
        let dry: Undone = client.admin_post("undo", &undo(true)).await;
        let done: Undone = client.admin_post("undo", &undo(false)).await;
        assert_eq!((dry.fields, dry.kept), (done.fields, done.kept));
        client.settle().await;
        let left = left(&hub, &client, &ids).await;
        let again: Undone = client.admin_post("undo", &undo(false)).await;
        assert_eq!((again.count, again.revision), (0, done.revision));
        return left;
    }
    left(&hub, &client, &ids).await
}

/// The prices that are published, and how many records stand in quarantine.
async fn left(
    hub: &TestHub,
    client: &Client,
    ids: &BTreeMap<String, String>,
) -> (Vec<String>, usize) {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT id || ' ' || coalesce(shop, '-') || ' ' || coalesce(price_mills, '-')
               FROM prices WHERE deleted = 0 ORDER BY id";
    let mut rows: Vec<String> = db.query_map(sql, (), |row| row.get(0)).unwrap();
    for (name, id) in ids {
        for row in &mut rows {
            *row = row.replace(id, name);
        }
    }
    let aside: Vec<QuarantineRow> = client.admin_get("quarantine?open=true").await;
    (rows, aside.len())
}

#[tokio::test]
async fn undoing_a_till_leaves_rows_to_whom_they_would_be_without_it() {
    let mut differs = 0;
    for seed in 0..6 {
        let script = script(seed);
        let never = without_first(&script, false).await;
        let undone = without_first(&script, true).await;
        assert_eq!(undone, never, "seed {seed}: {script:?}");
        differs += usize::from(never.1 > 0);
    }
    assert!(differs > 0, "somebody wrote to another shop's row");
}
