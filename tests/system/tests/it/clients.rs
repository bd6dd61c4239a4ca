//! Other clients of a node: batches of operations that are repeated, refused in part, cut off by a kill; and
//! what has changed, pulled in pages.

use crate::process::{Daemon, NODE, eventually, request, till};
use crate::store::{assert_whole, column};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Clients at the same time, batches of each, operations of each batch.
const CLIENTS: u128 = 6;
const BATCHES: u128 = ROUND * (KILLS + 1);
const OPERATIONS: u128 = 12;

/// Kills of the till, each in the middle of a round of batches that it has not seen; one more round follows.
const KILLS: u128 = 3;
const ROUND: u128 = 2;

/// An id that its client makes itself.
fn id(number: u128) -> String {
    uuid::Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0000 + number).to_string()
}

fn sale(number: u128, quantity: u128) -> Value {
    json!({"id": id(number), "kind": "sale", "content": {
        "tender": "cash",
        "lines": [{"sku": "TEA", "quantity": quantity.to_string(), "unit_price": "2.55"}],
    }})
}

/// A batch: sales, and one product without a price that nobody can sell.
fn batch(client: u128, number: u128) -> Vec<Value> {
    let first = (client * BATCHES + number) * OPERATIONS;
    let mut batch: Vec<Value> = (1..OPERATIONS)
        .map(|place| sale(first + place, place))
        .collect();
    let unknown = json!({"id": id(first), "kind": "sale", "content": {
        "tender": "cash", "lines": [{"sku": "NOTHING", "quantity": "1"}],
    }});
    batch.insert(
        usize::try_from(number % OPERATIONS).expect("small"),
        unknown,
    );
    batch
}

fn push(url: &str, operations: &[Value]) -> std::io::Result<Vec<Value>> {
    let body = json!({ "operations": operations }).to_string();
    let (status, answer) = request(url, "POST", "/v1/operations", &[], body.as_bytes())?;
    if status != 200 {
        return Err(std::io::Error::other(format!("{status} {answer}")));
    }
    Ok(answer["results"].as_array().expect("results").clone())
}

/// Sends until there is an answer, as a client does whose till goes away under it.
fn insist(url: &str, operations: &[Value]) -> Vec<Value> {
    let answer = Mutex::new(None);
    eventually("the till answers", || {
        let Ok(results) = push(url, operations) else {
            return false;
        };
        *answer.lock().expect("mine") = Some(results);
        true
    });
    answer.into_inner().expect("mine").expect("answered")
}

fn outcomes(results: &[Value]) -> Vec<&str> {
    results
        .iter()
        .map(|result| result["outcome"].as_str().expect("an outcome"))
        .collect()
}

/// Pulls to the end from a cursor; what came, and the cursor.
fn pull(daemon: &Daemon, types: &str, after: &str, limit: usize) -> (Vec<Value>, String) {
    let (mut changes, mut after) = (Vec::new(), after.to_owned());
    loop {
        let page = daemon.get(&format!(
            "/v1/changes?types={types}&after={after}&limit={limit}"
        ));
        let more = page["changes"].as_array().expect("a list");
        assert!(more.len() <= limit, "{} changes", more.len());
        changes.extend(more.iter().cloned());
        page["cursor"]
            .as_str()
            .expect("a cursor")
            .clone_into(&mut after);
        if page["more"] == false {
            return (changes, after);
        }
    }
}

#[test]
fn one_bad_operation_does_not_hold_up_the_others_and_each_says_what_is_wrong() {
    let dir = TempDir::new("operations");
    let data = dir.join("till");
    till(&data);
    let daemon = Daemon::node(&data);
    let catalog = |number, row: &str, columns: Value| {
        json!({"id": id(number), "kind": "catalog", "content":
               {"table": "products", "row": row, "columns": columns}})
    };
    let operations = [
        catalog(1, "tea", json!({"name": "TEA", "price": "2.55"})),
        // What came before it in the batch holds for it.
        json!({"id": id(2), "kind": "sale", "content":
               {"tender": "cash", "lines": [{"sku": "TEA", "quantity": "2"}]}}),
        json!({"id": id(3), "kind": "sale", "content":
               {"tender": "seashells", "lines": [{"sku": "TEA", "quantity": "2"}]}}),
        json!({"id": "no id", "kind": "sale", "content": {}}),
        json!({"kind": "sale"}),
        json!({"id": id(4), "kind": "dance", "content": {}}),
        json!({"id": id(5), "kind": "stock", "content": {"id": id(6), "sku": "TEA", "quantity": "1"}}),
        catalog(7, "tea", json!({"name": "TEA"})),
        catalog(8, "tea", json!({"colour": "green"})),
        json!({"id": id(1), "kind": "expense", "content": {"category": "rent", "amount": "5"}}),
        json!({"id": id(2), "kind": "sale", "content":
               {"tender": "cash", "lines": [{"sku": "TEA", "quantity": "2"}]}}),
        json!({"id": id(9), "kind": "ledger", "content": {"customer": "ANN", "amount": "5.00"}}),
        json!({"id": id(10), "kind": "ledger", "content": {"customer": "A\u{0}", "amount": "5.00"}}),
    ];
    let results = push(&daemon.url, &operations).expect("an answer");
    assert_eq!(
        outcomes(&results),
        [
            "recorded",
            "recorded",
            "refused",
            "refused",
            "refused",
            "refused",
            "refused",
            "unchanged",
            "refused",
            "refused",
            "repeated",
            "recorded",
            "refused",
        ],
        "{results:?}"
    );
    let codes = |place: usize| results[place]["problem"]["code"].as_str().expect("a code");
    let found: Vec<_> = [2, 3, 4, 5, 6, 8, 9, 12].map(codes).into();
    let (bad, invalid) = ("bad_request", "invalid");
    assert_eq!(
        found,
        [invalid, bad, bad, bad, bad, invalid, "conflict", invalid]
    );
    assert_eq!(results[1]["recorded"]["total_minor"], 510);
    assert_eq!(
        results[10]["recorded"]["number"],
        results[1]["recorded"]["number"]
    );
    assert_eq!(
        (&results[2]["id"], &results[3]["id"]),
        (&json!(id(3)), &Value::Null)
    );

    // The number that a refused sale would have had is the next one's.
    let next = push(&daemon.url, &[sale(20, 1)]).expect("an answer");
    assert_eq!(next[0]["recorded"]["number"], 2);
}

#[test]
fn a_batch_that_is_none_or_too_large_is_refused_whole() {
    let dir = TempDir::new("whole-batches");
    let data = dir.join("till");
    till(&data);
    let daemon = Daemon::node(&data);
    let (status, answer) = daemon
        .post("/v1/operations", &json!({"operations": 5}))
        .expect("an answer");
    assert_eq!((status, &answer["code"]), (400, &json!("bad_request")));
    let many: Vec<Value> = (0..501).map(|number| sale(1_000 + number, 1)).collect();
    let (status, answer) = daemon
        .post("/v1/operations", &json!({"operations": many}))
        .expect("an answer");
    assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
    assert_eq!(daemon.get("/v1/status")["receipts"], 0);
}

/// How far clients and the one who kills are.
#[derive(Default)]
struct Progress {
    /// Batches that were answered for the first time.
    answered: Mutex<u128>,
    kills: Mutex<u128>,
}

impl Progress {
    fn answered(&self) -> u128 {
        *self.answered.lock().expect("whole")
    }

    fn kills(&self) -> u128 {
        *self.kills.lock().expect("whole")
    }
}

/// Every client sends each batch, and again; the till is killed meanwhile.
fn clients_push(url: &str, progress: &Progress) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for number in 0..BATCHES {
                    // No client is through with its batches before the last kill, and none is idle at one.
                    while (progress.kills() + 1) * ROUND <= number {
                        insist(url, &batch(client, number - 1));
                    }
                    let batch = batch(client, number);
                    let first = insist(url, &batch);
                    *progress.answered.lock().expect("whole") += 1;
                    let refused = outcomes(&first)
                        .iter()
                        .filter(|it| **it == "refused")
                        .count();
                    assert_eq!(refused, 1, "{first:?}");
                    let again = insist(url, &batch);
                    let known = outcomes(&again)
                        .iter()
                        .filter(|it| **it == "repeated")
                        .count();
                    assert_eq!(known, batch.len() - 1, "{again:?}");
                    for (first, again) in first.iter().zip(&again) {
                        assert_eq!(first["recorded"]["number"], again["recorded"]["number"]);
                    }
                }
            });
        }
    });
}

fn assert_all_there_once(data: &Path) {
    let book = data.join("book.db");
    let ids: Vec<String> = column(
        &book,
        "SELECT lower(hex(id)) FROM journal WHERE number IS NOT NULL",
    );
    let expected = CLIENTS * BATCHES * (OPERATIONS - 1);
    assert_eq!(ids.len() as u128, expected);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len() as u128, expected);
    let numbers: Vec<i64> = column(
        &book,
        "SELECT number FROM journal WHERE number IS NOT NULL ORDER BY 1",
    );
    let dense: Vec<i64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, dense, "numbers are dense");
    assert_whole(&book);
}

#[test]
fn many_clients_that_repeat_batches_to_a_till_that_is_killed_record_each_operation_once() {
    let dir = TempDir::new("clients");
    let data = dir.join("till");
    till(&data);
    let daemon = Daemon::node(&data);
    let url = daemon.url.clone();
    let listen = url.strip_prefix("http://").expect("an address").to_owned();
    let progress = Progress::default();
    let daemon = std::thread::scope(|scope| {
        scope.spawn(|| clients_push(&url, &progress));
        let mut daemon = daemon;
        for kill in 0..KILLS {
            let half = CLIENTS * ROUND * (2 * kill + 1);
            eventually("half of a round is answered", || {
                2 * progress.answered() >= half
            });
            daemon.kill();
            let answered = progress.answered();
            assert!(
                answered < CLIENTS * BATCHES,
                "{answered} answered at kill {kill}"
            );
            // Started again on its port.
            daemon = Daemon::start(NODE, &data, &listen);
            *progress.kills.lock().expect("whole") += 1;
        }
        daemon
    });
    let (changes, _) = pull(&daemon, "sale", "", 50);
    let ids: BTreeSet<_> = changes.iter().map(|change| change["id"].as_str()).collect();
    assert_eq!(ids.len(), changes.len(), "each sale comes once");
    assert_eq!(changes.len() as u128, CLIENTS * BATCHES * (OPERATIONS - 1));
    assert_eq!(changes[0]["content"]["lines"][0]["sku"], "TEA");
    daemon.kill();
    assert_all_there_once(&data);
}

#[test]
fn a_client_that_pulls_page_by_page_while_others_write_misses_nothing() {
    let dir = TempDir::new("changes");
    let data = dir.join("till");
    till(&data);
    let daemon = Daemon::node(&data);
    let url = daemon.url.clone();
    let writers_done = AtomicBool::new(false);
    let names = |number: u128| {
        json!({"id": id(50_000 + number), "kind": "catalog", "content": {"table": "products",
               "row": format!("P{}", number % 7), "columns": {"name": format!("name {number}")}}})
    };
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let mut sales = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..40 {
                insist(&url, &[names(number), sale(number + 1, 1)]);
            }
            writers_done.store(true, Ordering::SeqCst);
        });
        let mut after = String::new();
        loop {
            let last = writers_done.load(Ordering::SeqCst);
            let (changes, cursor) = pull(&daemon, "products,sale", &after, 3);
            for change in changes {
                match change["type"].as_str() {
                    Some("products") => {
                        let id = change["id"].as_str().expect("an id").to_owned();
                        seen.insert(id, change["content"]["name"].clone());
                    }
                    _ => sales.push(change["id"].to_string()),
                }
            }
            after = cursor;
            if last {
                break;
            }
        }
    });
    let expected: BTreeMap<String, Value> = (33..40)
        .map(|number| (format!("P{}", number % 7), json!(format!("name {number}"))))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(sales.len(), 40);
    assert_eq!(sales.iter().collect::<BTreeSet<_>>().len(), 40);
}

#[test]
fn a_cursor_tells_of_deleted_rows_and_is_good_for_its_own_types_only() {
    let dir = TempDir::new("cursor");
    let data = dir.join("till");
    till(&data);
    let daemon = Daemon::node(&data);
    let named = json!({"id": id(80_000), "kind": "catalog", "content":
        {"table": "products", "row": "P1", "columns": {"name": "one"}}});
    insist(&daemon.url, &[named]);
    let (_, end) = pull(&daemon, "products", "", 100);
    let deleted = json!({"id": id(90_000), "kind": "catalog", "content":
        {"table": "products", "row": "P1", "columns": {"deleted": 1}}});
    insist(&daemon.url, &[deleted]);
    let (changes, cursor) = pull(&daemon, "products", &end, 100);
    assert_eq!(changes.len(), 1);
    let told = (
        &changes[0]["id"],
        &changes[0]["deleted"],
        &changes[0]["pending"],
    );
    assert_eq!(told, (&json!("P1"), &json!(true), &json!(true)));
    assert_eq!(pull(&daemon, "products", &cursor, 100).0, [] as [Value; 0]);

    for (query, status, code) in [
        (format!("types=sale&after={cursor}"), 400, "bad_request"),
        ("after=77".to_owned(), 400, "bad_request"),
        ("types=moon".to_owned(), 400, "bad_request"),
        ("limit=0".to_owned(), 400, "bad_request"),
    ] {
        let path = format!("/v1/changes?{query}");
        let (found, answer) = request(&daemon.url, "GET", &path, &[], b"").expect("an answer");
        assert_eq!(
            (found, &answer["code"]),
            (status, &json!(code)),
            "{path}: {answer}"
        );
    }
}
