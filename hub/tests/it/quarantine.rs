use crate::hub::{Client, TestHub, problem};
use crate::poison::{Cure, Poison, awaited, sums, values};
use crate::till::Till;
use counterfoil_domain::{Document, Scalar};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineDetail, QuarantineRow};
use counterfoil_replica::env::HttpResponse;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Entries that stand in quarantine, by till and position, with the rule they broke.
pub(crate) type Expected = BTreeMap<(usize, i64), &'static str>;

fn names(rows: &[QuarantineRow], tills: &[&Till]) -> BTreeMap<(usize, i64), String> {
    let lane = |row: &QuarantineRow| {
        tills
            .iter()
            .position(|till| till.id == row.node_id)
            .unwrap()
    };
    rows.iter()
        .map(|row| ((lane(row), row.seq), row.code.clone()))
        .collect()
}

fn expected_names(expected: &Expected) -> BTreeMap<(usize, i64), String> {
    let named = |(at, code): (&(usize, i64), &&str)| (*at, (*code).to_owned());
    expected.iter().map(named).collect()
}

/// Entries of a till that the hub's tables hold, each with how often.
fn consolidated(hub: &Connection, till: &Till) -> BTreeMap<i64, i64> {
    let sql = "SELECT seq, count(*) FROM (SELECT seq, node FROM receipt UNION ALL SELECT seq, node FROM document)
               WHERE node = (SELECT number FROM node WHERE id = ?1) GROUP BY seq";
    let rows = hub.query_map(sql, params![till.id.to_bytes()], |row| {
        Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
    });
    rows.unwrap().into_iter().collect()
}

/// Entries of a till that are no edits.
fn documents(till: &Till) -> BTreeSet<i64> {
    let sql = "SELECT seq FROM journal WHERE topic <> 7 ORDER BY seq";
    let rows = till.book.query_map(sql, (), |row| row.get::<i64>(0));
    rows.unwrap().into_iter().collect()
}

async fn decide(
    client: &Client,
    (till, seq): (&Till, i64),
    what: &str,
    body: &Value,
) -> HttpResponse {
    let path = format!("/v1/admin/quarantine/{}/{seq}/{what}", till.id);
    client.post(&path, Some(&client.admin), body).await
}

pub(crate) async fn decided(
    client: &Client,
    place: (&Till, i64),
    what: &str,
    body: &Value,
) -> QuarantineAnswer {
    crate::hub::parse(&decide(client, place, what, body).await)
}

async fn shown(client: &Client, till: &Till, seq: i64) -> QuarantineDetail {
    let path = format!("quarantine/{}/{seq}", till.id);
    client.admin_get(&path).await
}

fn hub_db(hub: &TestHub) -> Connection {
    Connection::open_read_only(hub.dir.join("hub.db")).unwrap()
}

/// A day of trade on three tills.
struct Day {
    tills: Vec<Till>,
    expected: Expected,
    /// The poisoned record of each way.
    causes: Vec<(usize, i64)>,
    /// For each record that waits for another: which one.
    waits_for: BTreeMap<(usize, i64), (usize, i64)>,
}

/// One record in a hundred is poisoned, has a refund, and that one a refund of its own.
async fn poisoned_day(client: &Client, poisons: &[Poison]) -> Day {
    let mut tills = Vec::new();
    for (shop, seed) in [("Leith", 1), ("Leith", 2), ("Crail", 3)] {
        let till = Till::of(client, shop, seed).await;
        // Not what is tested here, and it takes its time.
        till.book.execute_batch("PRAGMA synchronous=OFF").unwrap();
        // A program that numbers twice has no index against it either.
        till.book
            .execute_batch("DROP INDEX receipt_by_number")
            .unwrap();
        tills.push(till);
    }
    let (mut expected, mut causes) = (Expected::new(), Vec::new());
    let mut waits_for = BTreeMap::new();
    for (way, poison) in poisons.iter().enumerate() {
        let lane = way % 3;
        let till = &mut tills[lane];
        trade(till, 99);
        let (seq, id) = if poison.code == "refund_of_unknown" {
            till.take_back(None)
        } else {
            let (seq, id, _) = till.record(&Document::Sale(till.receipt(2)));
            (seq, id)
        };
        till.book.execute(poison.sql, params![seq]).unwrap();
        expected.insert((lane, seq), poison.code);
        causes.push((lane, seq));
        if poison.code == "id_damaged" {
            // Nothing can name it.
            continue;
        }
        let (refund, refund_id) = till.take_back(Some(id));
        let (again, _) = till.take_back(Some(refund_id));
        for (place, cause) in [(refund, seq), (again, refund)] {
            expected.insert((lane, place), "refund_of_quarantined");
            waits_for.insert((lane, place), (lane, cause));
        }
    }
    Day {
        tills,
        expected,
        causes,
        waits_for,
    }
}

/// Entries that are nobody's fault: sales, refunds of known and of no sale, stock, edits.
fn trade(till: &mut Till, entries: i64) {
    let end = till.seq + entries;
    while till.seq < end {
        match till.seq % 7 {
            3 => till.move_stock(1_000),
            4 => {
                let name = Scalar::Text(format!("tea {}", till.seq));
                till.edit("TEA", ("name", name), &[]);
            }
            5 => {
                till.take_back(None);
            }
            6 if till.seq + 2 <= end => {
                let (_, sale, _) = till.record(&Document::Sale(till.receipt(1)));
                till.take_back(Some(sale));
            }
            _ => {
                till.sell(2);
            }
        }
    }
}

/// Edits that a rule refuses, and a document that two tills have.
fn poison_the_rest(day: &mut Day) -> [(usize, i64); 3] {
    let text = |text: &str| Scalar::Text(text.to_owned());
    day.tills[0].edit("TEA", ("colour", text("green")), &[]);
    day.tills[1].edit_in("prices", "p1", ("product", text("GHOST")), &[]);
    let (id, sale) = (day.tills[0].next_id(), day.tills[0].receipt(1));
    day.tills[0].record_as(&Document::Sale(sale), id);
    let sale = day.tills[2].receipt(1);
    day.tills[2].record_as(&Document::Sale(sale), id);
    let places = [
        (0, day.tills[0].seq - 1),
        (1, day.tills[1].seq),
        (2, day.tills[2].seq),
    ];
    let codes = ["column_unknown", "product_unknown", "id_known"];
    day.expected.extend(places.into_iter().zip(codes));
    places
}

async fn push_and_settle(client: &Client, tills: &[Till]) {
    for till in tills {
        till.push(client).await.unwrap();
        // Whose document comes first is not for chance to say.
        client.settle().await;
    }
}

/// What the hub holds of each till is everything but what is expected in quarantine, each once.
pub(crate) async fn check_held(
    hub: &TestHub,
    client: &Client,
    tills: &[&Till],
    expected: &Expected,
) {
    let open: Vec<QuarantineRow> = client.admin_get("quarantine?open=true").await;
    assert_eq!(names(&open, tills), expected_names(expected));
    let db = hub_db(hub);
    for (lane, till) in tills.iter().enumerate() {
        let mut due = documents(till);
        due.retain(|seq| !expected.contains_key(&(lane, *seq)));
        let once = due.into_iter().map(|seq| (seq, 1)).collect();
        assert_eq!(consolidated(&db, till), once, "till {lane}");
    }
}

async fn check(hub: &TestHub, client: &Client, day: &Day) {
    let tills: Vec<_> = day.tills.iter().collect();
    check_held(hub, client, &tills, &day.expected).await;
}

#[tokio::test]
async fn exactly_what_is_poisoned_steps_aside_and_comes_back_once_and_in_causal_order() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let poisons: Vec<_> = sums().into_iter().chain(values()).collect();
    let mut day = poisoned_day(&client, &poisons).await;
    let rest = poison_the_rest(&mut day);
    push_and_settle(&client, &day.tills).await;
    check(&hub, &client, &day).await;
    let status = client.settle().await;
    assert_eq!(
        status.quarantined,
        i64::try_from(day.expected.len()).unwrap()
    );
    for till in &day.tills {
        let told = |alert: &&counterfoil_protocol::wire::monitor::AlertRow| {
            alert.kind == "quarantine_not_empty" && alert.node_id == Some(till.id)
        };
        assert_eq!(
            status.alerts.iter().filter(told).count(),
            1,
            "{:?}",
            status.alerts
        );
    }

    for (poison, place) in poisons.iter().zip(day.causes.clone()) {
        cure(&client, &mut day, place, poison).await;
        check(&hub, &client, &day).await;
    }
    cure_the_rest(&client, &mut day, rest).await;
    check(&hub, &client, &day).await;

    // What two records waited for comes from a till that was away.
    let mut late = Till::of(&client, "Crail", 4).await;
    late.record_as(&Document::Sale(late.receipt(1)), awaited());
    late.edit("GHOST", ("name", Scalar::Text("Ghost".to_owned())), &[]);
    late.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 0);
    day.expected.clear();
    check(&hub, &client, &day).await;
    // And again, however often it is asked for.
    push_and_settle(&client, &day.tills).await;
    check(&hub, &client, &day).await;
    check_order(&hub, &day);
    check_sums(&hub, &day);
    check_trail(&hub, &client).await;
}

/// What a person decided stands in the audit trail, once for each decision; what followed by itself does not.
async fn check_trail(hub: &TestHub, client: &Client) {
    let sql = "SELECT 'quarantine_' || CASE d.decision WHEN 'waive' THEN 'waived' WHEN 'fix' THEN 'fixed'
                   WHEN 'retry' THEN 'retried' END, shop.name || '/' || node.lane || ' entry ' || d.seq,
                   d.who, d.why, d.code, d.changes, d.at_ms
               FROM quarantine_decision AS d JOIN node ON node.number = d.node
               JOIN shop ON shop.id = node.shop WHERE d.decision <> 'follow' ORDER BY d.number";
    let decided = hub_db(hub).query_map(sql, (), |row| {
        let [action, subject, who, why, code, changes] = [0, 1, 2, 3, 4, 5].map(|at| row.get(at));
        Ok((
            [action?, subject?, who?, why?, code?, changes?],
            row.get::<i64>(6)?,
        ))
    });
    let decided: Vec<([String; 6], i64)> = decided.unwrap();
    let trail = client.decisions().await;
    let told: Vec<_> = trail
        .into_iter()
        .filter(|row| row.action.starts_with("quarantine_"))
        .map(|row| {
            let code = row.before.as_str().unwrap().to_owned();
            let changes = row.after.to_string();
            let words = [row.action, row.subject, row.who, row.detail, code, changes];
            (words, row.at_ms)
        })
        .collect();
    assert_eq!(told, decided);
    let has = |action: &str| told.iter().any(|(words, _)| words[0] == action);
    assert!(has("quarantine_waived") && has("quarantine_fixed"));
}

impl Day {
    /// What waits for a record, and what waits for that, in causal order.
    fn following(&self, lane: usize, seq: i64) -> Vec<i64> {
        let next = |cause: &i64| {
            let found = self.waits_for.iter().find(|(_, of)| **of == (lane, *cause));
            found.map(|((_, at), _)| *at)
        };
        std::iter::successors(Some(seq), next).skip(1).collect()
    }
}

/// Cures a record, and those that waited for it follow.
async fn cure(client: &Client, day: &mut Day, (lane, seq): (usize, i64), poison: &Poison) {
    let (code, following) = (poison.code, day.following(lane, seq));
    let place = (&day.tills[lane], seq);
    let before = shown(client, place.0, seq).await;
    let named: Vec<_> = before.dependants.iter().map(|row| row.seq).collect();
    assert_eq!(
        named,
        following.iter().take(1).copied().collect::<Vec<_>>(),
        "{code}"
    );
    let mut body = json!({"who": "Ann", "why": "seen on the paper copy"});
    let (what, changes) = match &poison.cure {
        Cure::Wait => {
            let answer = decided(client, place, "retry", &json!({"who": "Ann"})).await;
            assert_eq!((answer.taken_in, answer.row.unwrap().settled_ms), (0, None));
            return;
        }
        Cure::Waive => ("waive", json!({})),
        Cure::Fix(changes) => ("fix", changes.clone()),
    };
    let never = ["value_out_of_range", "id_damaged", "value_damaged"].contains(&code);
    assert_eq!(before.may_be_waived, !never, "{code}");
    if never {
        let refused = problem(&decide(client, place, "waive", &body).await);
        assert_eq!(refused.code, Code::Invalid, "{code}");
    }
    body["changes"] = changes;
    let answer = decided(client, place, what, &body).await;
    assert_eq!(
        answer.taken_in,
        1 + i64::try_from(following.len()).unwrap(),
        "{code}"
    );
    check_decided(client, place, what, &body).await;

    let after = shown(client, place.0, seq).await;
    assert_eq!(after.record, before.record, "the original stays");
    assert_eq!(
        (after.decisions.len(), after.decisions[0].who.as_str()),
        (1, "Ann")
    );
    assert_eq!(after.decisions[0].code, code);
    let [book, hub] = [after.record, after.consolidated].map(Option::unwrap);
    if code == "total_wrong" {
        assert_eq!(
            (&book["total_minor"], &hub["total_minor"]),
            (&json!(503), &json!(502))
        );
    }
    day.expected.remove(&(lane, seq));
    for seq in following {
        day.expected.remove(&(lane, seq));
    }
}

/// A decision whose answer was lost may be repeated, and changes nothing; another one is refused.
async fn check_decided(client: &Client, place: (&Till, i64), what: &str, body: &Value) {
    let again = decided(client, place, what, body).await;
    assert_eq!(again.taken_in, 0);
    assert!(again.row.unwrap().settled_ms.is_some());
    let mut otherwise = body.clone();
    let other = match what {
        "fix" => {
            otherwise["changes"] = json!({});
            "waive"
        }
        _ => {
            otherwise["changes"] = json!({"employee": "E1"});
            "fix"
        }
    };
    let refused = problem(&decide(client, place, other, &otherwise).await);
    assert_eq!(refused.code, Code::Conflict, "{}", refused.detail);
    // Nor the same one with other words.
    otherwise.clone_from(body);
    otherwise["why"] = json!("no reason");
    let refused = problem(&decide(client, place, what, &otherwise).await);
    assert_eq!(refused.code, Code::Conflict, "{}", refused.detail);
}

async fn cure_the_rest(client: &Client, day: &mut Day, rest: [(usize, i64); 3]) {
    let [column, product, known] = rest;
    let fix = |changes: Value| json!({"who": "Ann", "why": "looked it up", "changes": changes});
    let place = |(lane, seq): (usize, i64)| (&day.tills[lane], seq);
    let changes = json!({"column.colour": null, "column.unit": "box"});
    let answer = decided(client, place(column), "fix", &fix(changes)).await;
    assert_eq!(answer.taken_in, 1);
    let table: Value = client.admin_get("catalog/products").await;
    assert!(table.to_string().contains("\"box\""), "{table}");
    // It is another sale than the one it shares its id with.
    let id = json!({"id": "0190aaaa-0000-7000-8000-00000000ab02"});
    assert_eq!(
        decided(client, place(known), "fix", &fix(id))
            .await
            .taken_in,
        1
    );
    let answer = decided(client, place(product), "retry", &json!({"who": "Ann"})).await;
    assert_eq!(answer.row.unwrap().settled_ms, None);
    for place in [column, known] {
        day.expected.remove(&place);
    }
}

/// Each record was decided about once, and none before the one that it waited for.
fn check_order(hub: &TestHub, day: &Day) {
    let db = hub_db(hub);
    let sql = "SELECT node.id, seq, d.number FROM quarantine_decision AS d
               JOIN node ON node.number = d.node ORDER BY d.number";
    let rows = db.query_map(sql, (), |row| {
        Ok((
            row.get::<Vec<u8>>(0)?,
            row.get::<i64>(1)?,
            row.get::<i64>(2)?,
        ))
    });
    let mut order = BTreeMap::new();
    for (node, seq, number) in rows.unwrap() {
        let lane = day.tills.iter().position(|till| till.id.to_bytes() == node);
        assert_eq!(
            order.insert((lane.unwrap(), seq), number),
            None,
            "decided twice"
        );
    }
    assert!(day.waits_for.len() > 20);
    for (waiting, cause) in &day.waits_for {
        assert!(
            order[waiting] > order[cause],
            "{waiting:?} before {cause:?}"
        );
    }
}

/// The hub's sums are the books', but for the one total that was fixed.
fn check_sums(hub: &TestHub, day: &Day) {
    let db = hub_db(hub);
    for (lane, till) in day.tills.iter().enumerate() {
        let sql = "SELECT sum(total_minor) FROM journal WHERE topic IN (1, 2)";
        let book: i64 = till.book.query_value(sql, ()).unwrap();
        let sql = "SELECT sum(total_minor) FROM receipt
                   WHERE node = (SELECT number FROM node WHERE id = ?1)";
        let held: i64 = db.query_value(sql, params![till.id.to_bytes()]).unwrap();
        assert_eq!(held, book - i64::from(lane == 0), "till {lane}");
    }
}
