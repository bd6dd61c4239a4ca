use crate::hub::{Ask, Client, HubProcess, command, command_json};
use crate::till::Till;
use counterfoil_domain::Document;
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::hub::HubStatus;
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineDetail, QuarantineRow};
use counterfoil_testkit::TempDir;
use http::Method;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Broken sales, each with a refund that waits for it.
const SALES: i64 = 120;

/// Records in quarantine.
const RECORDS: i64 = 2 * SALES;

/// Decisions between two kills.
const STRIDE: i64 = 20;

fn hub_db(data: &Path) -> Connection {
    Connection::open_read_only(data.join("hub.db")).unwrap()
}

fn count(db: &Connection, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM quarantine AS q WHERE {condition}");
    db.query_value(&sql, ()).unwrap()
}

/// At every moment: what is settled is consolidated and decided about once, what is not is neither.
fn check_settled_once(data: &Path) {
    let db = hub_db(data);
    let wrong = count(
        &db,
        "(settled_ms IS NOT NULL) <> EXISTS (SELECT 1 FROM receipt AS r
             WHERE r.node = q.node AND r.seq = q.seq AND r.id = q.id)
         OR (settled_ms IS NOT NULL) <> (SELECT count(*) FROM quarantine_decision AS d
             WHERE d.node = q.node AND d.seq = q.seq)",
    );
    assert_eq!(wrong, 0);
    let early = count(
        &db,
        "settled_ms IS NOT NULL AND cause IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM receipt AS r WHERE r.id = q.cause)",
    );
    assert_eq!(early, 0, "consolidated before what they refer to");
}

/// Waives everything that is broken, in turn, until the hub is gone.
async fn waive_all(client: &Client) {
    let open: Vec<QuarantineRow> = client
        .admin_get("quarantine?open=true&reason=total_wrong")
        .await;
    for row in open {
        let body = serde_json::to_vec(&json!({"who": "Ann", "why": "counted"})).unwrap();
        let answer = client
            .try_send(Ask {
                method: Method::POST,
                path: &format!("/v1/admin/quarantine/{}/{}/waive", row.node_id, row.seq),
                token: Some(&client.admin),
                headers: &[],
                body: body.into(),
            })
            .await;
        if answer.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_while_records_come_back_takes_each_in_once() {
    let dir = TempDir::new("killed-reentry");
    let mut hub = HubProcess::start(dir.path(), "127.0.0.1:0");
    let listen = hub.url.strip_prefix("http://").unwrap().to_owned();
    let client = hub.client(dir.path());
    let mut till = Till::of(&client, "Leith", 1).await;
    till.book.execute_batch("PRAGMA synchronous=OFF").unwrap();
    for _ in 0..SALES {
        let (seq, sale, _) = till.record(&Document::Sale(till.receipt(2)));
        till.take_back(Some(sale));
        let sql = "UPDATE journal SET total_minor = total_minor - 2 WHERE seq = ?1";
        till.book.execute(sql, params![seq]).unwrap();
    }
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, RECORDS);
    check_settled_once(dir.path());
    loop {
        let settled = count(&hub_db(dir.path()), "settled_ms IS NOT NULL");
        let waiving = tokio::spawn({
            let client = client.clone();
            async move { waive_all(&client).await }
        });
        // However fast the machine is: some decisions are made, and the next one may be under way.
        let data = dir.path().to_owned();
        loop {
            let now = count(&hub_db(&data), "settled_ms IS NOT NULL");
            if now >= settled + STRIDE || now == RECORDS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        hub.kill();
        waiving.await.unwrap();
        hub = HubProcess::start(dir.path(), &listen);
        // What was cut off between a record and those that wait for it is completed.
        client.settle().await;
        check_settled_once(dir.path());
        if count(&hub_db(dir.path()), "settled_ms IS NULL") == 0 {
            break;
        }
    }
    let status: HubStatus = client.settle().await;
    assert_eq!((status.receipts, status.quarantined), (RECORDS, 0));
    let sum = "SELECT sum(total_minor) FROM receipt";
    let book = "SELECT sum(total_minor) FROM journal";
    let held: i64 = hub_db(dir.path()).query_value(sum, ()).unwrap();
    assert_eq!(held, till.book.query_value::<i64>(book, ()).unwrap());
    hub.terminate();
}

/// A till with two wrong totals and a refund of a sale that nobody has.
async fn poisoned(client: &Client) -> Till {
    let mut till = Till::of(client, "Leith", 1).await;
    for _ in 0..3 {
        till.sell(2);
    }
    let unknown = "0190aaaa-0000-7000-8000-000000000099".parse().unwrap();
    till.take_back(Some(unknown));
    till.tamper("UPDATE journal SET total_minor = total_minor + 1 WHERE seq <= 2");
    till.push(client).await.unwrap();
    client.settle().await;
    till
}

fn listed(data: &Path, args: &[&str]) -> Vec<i64> {
    let rows: Vec<QuarantineRow> = command_json(data, &[&["quarantine", "list"], args].concat());
    rows.iter().map(|row| row.seq).collect()
}

fn decided(data: &Path, args: &[&str]) -> (i64, i64) {
    let answer: QuarantineAnswer = command_json(data, &[&["quarantine"], args].concat());
    (answer.taken_in, answer.open)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_shown_and_decided_about_by_command() {
    let dir = TempDir::new("quarantine-commands");
    let data = dir.path();
    let hub = HubProcess::start(data, "127.0.0.1:0");
    let till = poisoned(&hub.client(data)).await;
    let node = till.id.to_string();
    assert_eq!(listed(data, &[]), [1, 2, 4]);
    let wrong = listed(data, &["--reason", "total_wrong", "--node", &node]);
    assert_eq!(wrong, [1, 2]);
    let show = command(data, &["quarantine", "show", &node, "1"]);
    let text = String::from_utf8(show.stdout).unwrap();
    for part in [
        "total_wrong",
        "may be waived",
        "total_minor       503",
        "Leith/1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let why = ["--why", "typo", "--by", "Ann"];
    let fix = ["fix", &node, "1", "--set", "total_minor=502"];
    assert_eq!(decided(data, &[&fix[..], &why].concat()), (1, 2));
    // The hub needs not run for it.
    hub.terminate();
    let waive = ["waive", &node, "2"];
    assert_eq!(decided(data, &[&waive[..], &why].concat()), (1, 1));
    let found: QuarantineDetail = command_json(data, &["quarantine", "show", &node, "2"]);
    let who: Vec<_> = found.decisions.iter().map(|by| by.who.as_str()).collect();
    assert_eq!(who, ["Ann"]);
    assert_eq!(decided(data, &["retry", "--all"]), (0, 1));
    assert_eq!(decided(data, &["retry", &node, "4"]), (0, 1));
    assert_eq!(listed(data, &["--open"]), [4]);
    let status: HubStatus = command_json(data, &["status"]);
    assert_eq!((status.receipts, status.quarantined), (3, 1));
    let empty = [
        "fix",
        &node,
        "4",
        "--why",
        "no receipt",
        "--set",
        "refund_of=",
    ];
    assert_eq!(decided(data, &empty), (1, 0));
    assert_eq!(
        command(data, &["quarantine", "list"]).status.code(),
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_cannot_be_carried_out_says_why() {
    let dir = TempDir::new("quarantine-refusals");
    let data = dir.path();
    let hub = HubProcess::start(data, "127.0.0.1:0");
    let till = poisoned(&hub.client(data)).await;
    let node = till.id.to_string();
    hub.terminate();
    let fails = |args: &[&str], exit: i32, part: &str| {
        let output = command(data, &[&["quarantine"], args].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {errors}");
        assert!(errors.contains(part), "{args:?}: {errors}");
    };
    let fix = [
        "fix",
        &node,
        "1",
        "--set",
        "total_minor=502",
        "--why",
        "typo",
    ];
    assert_eq!(decided(data, &fix), (1, 2));
    fails(&["waive", &node, "1", "--why", "x"], 1, "was fixed before");
    fails(&["retry", &node, "1"], 1, "was fixed before");
    fails(&["waive", &node, "3", "--why", "x"], 1, "never was");
    fails(&["show", &node, "77"], 1, "never was");
    fails(
        &["show", "0190aaaa-0000-7000-8000-000000000001", "1"],
        1,
        "never was",
    );
    fails(&["retry"], 2, "--all");
    fails(&["waive", &node, "4"], 2, "--why");
    fails(&["waive", &node, "4", "--why", " "], 1, "is missing");
    fails(&["list", "--reason", "luck"], 1, "total_wrong");
    let set = |field: &'static str, part: &str| {
        fails(&["fix", &node, "2", "--why", "x", "--set", field], 1, part);
    };
    set("colour=red", "refund_of");
    set("total_minor=much", "whole number");
    set("line.0.sku=X", "line.N.FIELD");
    set("refund_of=yesterday", "takes an id");
    // The total is right, and now the payments are not.
    set("payment.1.amount_minor=1", "breaks a rule still");
    assert_eq!(listed(data, &["--open"]), [2, 4]);
}
