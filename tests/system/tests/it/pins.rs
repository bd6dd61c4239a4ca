//! Employees with PINs: set at the hub or a till, good at every till, also offline; wrong ones lock, and no hash is shown.

use crate::process::{
    Daemon, Done, HUB, NODE, command, eventually, hub, join_code, node, request, till,
};
use crate::world::settle;
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A command that reads a PIN from standard input.
pub(crate) fn typed(program: &str, data: &Path, arguments: &[&str], pin: &str) -> Done {
    let mut command = command(program, data, arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // One that refuses its arguments reads nothing.
    let _unread = writeln!(stdin, "{pin}");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A hub with employees, and tills of one shop.
pub(crate) struct Shop {
    dir: TempDir,
    pub(crate) hub_data: PathBuf,
}

impl Shop {
    /// Ann may refund, Bob may nothing but sell, Eve may everything.
    pub(crate) fn new(name: &str) -> (Self, Daemon) {
        let dir = TempDir::new(name);
        let hub_data = dir.join("hub");
        let hub = Daemon::hub(&hub_data);
        let shop = Self { dir, hub_data };
        shop.set("products", "TEA", &["name=Tea", "price_mills=2550"]);
        shop.set("employees", "ANN", &["name=Ann", "permissions=refund"]);
        shop.set("employees", "BOB", &["name=Bob"]);
        let all = "permissions=refund,discount,price_override,no_sale,manage";
        shop.set("employees", "EVE", &["name=Eve", all]);
        for (employee, pin) in [("ANN", "4711"), ("BOB", "0815"), ("EVE", "900913")] {
            shop.pin(employee, pin).succeeds();
        }
        (shop, hub)
    }

    fn set(&self, table: &str, row: &str, columns: &[&str]) {
        let arguments = [&["catalog", "set", table, row], columns].concat();
        hub(&self.hub_data, &arguments).succeeds();
    }

    fn pin(&self, employee: &str, pin: &str) -> Done {
        typed(HUB, &self.hub_data, &["employees", "pin", employee], pin)
    }

    pub(crate) fn ask_for_pins(&self) {
        self.set("shop_settings", "pin_required", &["value=true"]);
    }

    /// A till of the shop that has what the hub published.
    pub(crate) fn till(&self, name: &str) -> (PathBuf, Daemon) {
        let data = self.dir.join(name);
        till(&data);
        let code = join_code(&self.hub_data, "France");
        node(&data, &["activate", "--join", &code]).succeeds();
        settle(&data);
        let daemon = Daemon::node(&data);
        (data, daemon)
    }
}

pub(crate) fn sign_in(till: &Daemon, employee: &str, pin: &str) -> (u16, Value) {
    let request = json!({"employee": employee, "pin": pin});
    till.post("/v1/sign-in", &request).expect("an answer")
}

pub(crate) fn session(till: &Daemon, employee: &str, pin: &str) -> String {
    let (status, answer) = sign_in(till, employee, pin);
    assert_eq!(status, 200, "{answer}");
    answer["session"].as_str().expect("a token").to_owned()
}

pub(crate) fn ask(
    till: &Daemon,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (u16, Value) {
    let body = body.to_string();
    request(&till.url, "POST", path, headers, body.as_bytes()).expect("an answer")
}

pub(crate) fn tea(price: Option<&str>) -> Value {
    json!({"tender": "cash", "lines": [{"sku": "TEA", "quantity": "1", "unit_price": price}]})
}

pub(crate) const SESSION: &str = "x-counterfoil-session";
const APPROVAL: &str = "x-counterfoil-approval";

#[test]
fn a_pin_that_the_hub_set_opens_every_till_also_offline_and_a_changed_one_is_everywhere_after_a_sync()
 {
    let (shop, hub) = Shop::new("pins-everywhere");
    shop.ask_for_pins();
    let ((one_data, one), (_, other)) = (shop.till("one"), shop.till("other"));
    let url = hub.kill();
    for till in [&one, &other] {
        let (status, answer) = ask(till, "/v1/sales", &[], &tea(None));
        assert_eq!((status, &answer["code"]), (401, &json!("unauthorized")));
        assert_eq!(sign_in(till, "BOB", "4711").0, 401);
        let session = session(till, "BOB", "0815");
        let (status, sold) = ask(till, "/v1/sales", &[(SESSION, &session)], &tea(None));
        assert_eq!(status, 200, "{sold}");
        let page = till.get("/v1/changes?types=sale");
        let newest = page["changes"].as_array().and_then(|all| all.last());
        assert_eq!(newest.expect("a sale")["content"]["employee"], "BOB");
        // Somebody else's name is not taken, and a session that was ended is none.
        let mut named = tea(None);
        named["employee"] = json!("ANN");
        assert_eq!(
            ask(till, "/v1/sales", &[(SESSION, &session)], &named).0,
            422
        );
        let out = ask(till, "/v1/sign-out", &[(SESSION, &session)], &Value::Null);
        assert_eq!(out, (200, json!({"ended": true})));
        assert_eq!(
            ask(till, "/v1/sales", &[(SESSION, &session)], &tea(None)).0,
            401
        );
    }
    // Bob changes his own, at one till, while the hub is away; nobody else's.
    typed(NODE, &one_data, &["sign-in", "BOB"], "0815").succeeds();
    let refused = typed(NODE, &one_data, &["employee", "pin", "ANN"], "2580");
    refused.fails(5, "manage");
    typed(NODE, &one_data, &["employee", "pin", "BOB"], "2580").succeeds();
    assert_eq!(sign_in(&one, "BOB", "0815").0, 401);
    assert_eq!(sign_in(&other, "BOB", "0815").0, 200);
    let listen = url.strip_prefix("http://").expect("an address");
    let _hub = Daemon::start(HUB, &shop.hub_data, listen);
    one.post("/v1/sync", &Value::Null).expect("an answer");
    eventually("the PIN is at the other till", || {
        other.post("/v1/sync", &Value::Null).expect("an answer");
        sign_in(&other, "BOB", "2580").0 == 200
    });
    assert_eq!(sign_in(&other, "BOB", "0815").0, 401);
}

#[test]
fn wrong_pins_lock_an_employee_over_a_kill_and_nobody_else() {
    let (shop, _hub) = Shop::new("pins-locked");
    shop.ask_for_pins();
    let (data, till) = shop.till("till");
    for wrong in 1..=5 {
        let (status, answer) = sign_in(&till, "ANN", "4712");
        assert_eq!(status, 401, "{answer}");
        let waits = answer["detail"].as_str().expect("a text").contains("30 s");
        assert_eq!(waits, wrong == 5, "{answer}");
    }
    // The right one is not looked at, before a kill and after it.
    assert_eq!(sign_in(&till, "ANN", "4711").0, 429);
    till.kill();
    let till = Daemon::node(&data);
    let (status, answer) = sign_in(&till, "ANN", "4711");
    assert_eq!(
        (status, &answer["code"]),
        (429, &json!("too_many_attempts"))
    );
    let session = session(&till, "BOB", "0815");
    let sold = ask(&till, "/v1/sales", &[(SESSION, &session)], &tea(None));
    assert_eq!(sold.0, 200, "{sold:?}");
    // Each attempt reaches the hub once, however often the till syncs; of those too early in a row the first.
    settle(&data);
    settle(&data);
    let listed = ["employees", "events", "--json"];
    let events = hub(&shop.hub_data, &listed).json();
    let told = events.as_array().expect("a list").iter().rev();
    let told: Vec<_> = told
        .map(|row| {
            let text = |field: &str| row[field].as_str().expect("a text").to_owned();
            assert_eq!((text("shop").as_str(), &row["lane"]), ("France", &json!(1)));
            format!("{} {} {}", text("employee"), text("event"), text("outcome"))
        })
        .collect();
    let wrong = "ANN sign_in wrong_pin";
    let locked = "ANN sign_in locked";
    let expected = [
        wrong,
        wrong,
        wrong,
        wrong,
        wrong,
        locked,
        "BOB sign_in granted",
    ];
    assert_eq!(told, expected, "{events}");
}

#[test]
fn what_an_employee_may_not_do_another_allows_once() {
    let (shop, _hub) = Shop::new("pins-permissions");
    shop.ask_for_pins();
    let (_, till) = shop.till("till");
    let (ann, bob) = (session(&till, "ANN", "4711"), session(&till, "BOB", "0815"));
    let with =
        |session: &str, path: &str, body: &Value| ask(&till, path, &[(SESSION, session)], body);
    assert_eq!(with(&ann, "/v1/refunds", &tea(None)).0, 200);
    let refused = with(&bob, "/v1/refunds", &tea(None));
    assert_eq!((refused.0, &refused.1["code"]), (403, &json!("forbidden")));
    assert!(detail(&refused).contains("refund"), "{refused:?}");
    // Below the list, above it, and what the catalog does not know.
    let dear = with(&bob, "/v1/sales", &tea(Some("9.99")));
    assert!(detail(&dear).contains("price_override"), "{dear:?}");
    let cheap = with(&bob, "/v1/sales", &tea(Some("2.54")));
    assert!(detail(&cheap).contains("discount"), "{cheap:?}");
    assert_eq!(
        with(&bob, "/v1/sales", &tea(Some("2.55"))).0,
        200,
        "the list's own price"
    );

    let asks = |employee: &str, pin: &str| {
        let wanted = json!({"employee": employee, "pin": pin, "permission": "discount"});
        till.post("/v1/approvals", &wanted).expect("an answer")
    };
    assert_eq!(asks("ANN", "4711").0, 403, "she may not herself");
    let (status, allowed) = asks("EVE", "900913");
    assert_eq!(status, 200, "{allowed}");
    let allowed = allowed["approval"].as_str().expect("a token");
    let headers = [(SESSION, bob.as_str()), (APPROVAL, allowed)];
    assert_eq!(
        ask(&till, "/v1/refunds", &headers, &tea(None)).0,
        403,
        "for a discount"
    );
    assert_eq!(ask(&till, "/v1/sales", &headers, &tea(Some("2.54"))).0, 200);
    assert_eq!(
        ask(&till, "/v1/sales", &headers, &tea(Some("2.54"))).0,
        403,
        "once"
    );
}

/// The detail of an answer that refuses.
fn detail(answer: &(u16, Value)) -> &str {
    answer.1["detail"].as_str().expect("a text")
}

#[test]
fn at_the_counter_one_employee_allows_another_a_refund_and_to_open_the_drawer() {
    let (shop, _hub) = Shop::new("pins-counter");
    shop.ask_for_pins();
    let (data, till) = shop.till("till");
    typed(NODE, &data, &["sign-in", "BOB"], "0815").succeeds();
    let refund = ["refund", "--line", "TEA:1"];
    node(&data, &refund).fails(5, "refund");
    let refund = [&refund[..], &["--approved-by", "ANN"]].concat();
    typed(NODE, &data, &refund, "4711").succeeds();
    node(&data, &["sign-out"]).succeeds();
    node(&data, &["sell", "--line", "TEA:1"]).fails(5, "nobody is signed in");

    // The drawer, with the name of who opened it and of who allowed that.
    let bob = session(&till, "BOB", "0815");
    let refused = ask(&till, "/v1/no-sale", &[(SESSION, &bob)], &json!({}));
    assert_eq!(refused.0, 403, "{refused:?}");
    typed(NODE, &data, &["sign-in", "BOB"], "0815").succeeds();
    typed(NODE, &data, &["no-sale", "--approved-by", "EVE"], "900913").succeeds();
    settle(&data);
    let listed = ["employees", "events", "--json", "--limit", "2"];
    let events = hub(&shop.hub_data, &listed).json();
    let told = |row: usize, field: &str| events[row][field].as_str().unwrap_or_default();
    assert_eq!(
        [
            told(0, "employee"),
            told(0, "event"),
            told(1, "employee"),
            told(1, "permission")
        ],
        ["BOB", "no_sale", "EVE", "no_sale"],
        "{events}"
    );
}

#[test]
fn a_batch_is_judged_item_by_item_and_nobody_gives_himself_what_he_lacks() {
    let (shop, _hub) = Shop::new("pins-batch");
    shop.ask_for_pins();
    let (_, till) = shop.till("till");
    let bob = session(&till, "BOB", "0815");
    let operation = |number: u8, kind: &str, content: Value| {
        let id = format!("0198c0de-0000-7000-8000-0000000000{number:02}");
        json!({"id": id, "kind": kind, "content": content})
    };
    let edit = |table: &str, row: &str, columns: Value| json!({"table": table, "row": row, "columns": columns});
    let batch = json!({"operations": [
        operation(1, "sale", tea(None)),
        operation(2, "refund", tea(None)),
        operation(3, "catalog", edit("employees", "BOB", json!({"permissions": "refund"}))),
        operation(4, "catalog", edit("shop_settings", "pin_required", json!({"value": "false"}))),
        operation(5, "catalog", edit("products", "TEA", json!({"price": "0.01"}))),
        operation(6, "catalog", edit("products", "TEA", json!({"name": "Green tea"}))),
    ]});
    let (status, answer) = ask(&till, "/v1/operations", &[(SESSION, &bob)], &batch);
    assert_eq!(status, 200, "{answer}");
    let outcomes = answer["results"].as_array().expect("a list").iter();
    let outcomes: Vec<_> = outcomes
        .map(|it| it["outcome"].as_str().expect("a word"))
        .collect();
    let refused = "refused";
    assert_eq!(
        outcomes,
        ["recorded", refused, refused, refused, refused, "recorded"]
    );
}

/// Whether a text holds a hash, or a PIN that a test typed.
fn shows_a_secret(text: &str, pins: &[&str]) -> bool {
    text.contains("argon2") || pins.iter().any(|pin| text.contains(pin))
}

/// Everything that can be read without naming a thing, as the description of the API says.
fn readable(description: &Value) -> Vec<String> {
    let paths = description["paths"].as_object().expect("paths").iter();
    let paths = paths.filter(|(path, calls)| calls.get("get").is_some() && !path.contains('{'));
    // Notices come as long as one listens.
    paths
        .map(|(path, _)| path.clone())
        .filter(|path| !path.ends_with("/events"))
        .collect()
}

/// Long enough that no time and no id has them in it.
const PINS: [&str; 4] = [
    "774411982735",
    "885522119046",
    "996633470218",
    "553311846092",
];

/// What a till prints that has part in a conflict about a PIN; it is not put back there.
fn said_by_till(data: &Path) -> Vec<Done> {
    settle(data);
    let listed = ["conflicts", "list", "--json"];
    eventually("the till hears of it", || {
        node(data, &listed).stdout.contains("\"pin\"")
    });
    let id = node(data, &listed).json();
    let id = id
        .as_array()
        .map_or(&id["conflicts"][0]["id"], |all| &all[0]["id"]);
    let id = id.to_string();
    let put_back = node(data, &["conflicts", "put-back", &id]);
    assert_eq!(put_back.code, Some(1), "{put_back:?}");
    let mut said = vec![put_back];
    for arguments in [
        &["catalog", "get", "employees", "ANN"][..],
        &["catalog", "get", "employees", "ANN", "--json"],
        &["conflicts", "list"],
        &["conflicts", "show", &id],
        &["logs"],
        &["queue"],
    ] {
        said.push(node(data, arguments));
    }
    said
}

/// What the hub prints that knows of it.
fn said_by_hub(data: &Path) -> Vec<Done> {
    let exported = hub(data, &["catalog", "export", "employees", "--json"]);
    let rows = exported.json();
    assert!(rows[0]["pin"] == "set", "{rows}");
    let mut said = vec![exported];
    for arguments in [
        &["catalog", "export", "employees"][..],
        &["catalog", "set", "employees", "ANN", "name=Anne", "--json"],
        &["conflicts", "list"],
        &["conflicts", "list", "--json"],
        &["audit"],
        &["audit", "--json"],
        &["quarantine", "list", "--json"],
    ] {
        said.push(hub(data, arguments));
    }
    said
}

#[test]
fn no_hash_of_a_pin_is_shown_by_a_till_or_the_hub() {
    let (shop, hub_daemon) = Shop::new("pins-hidden");
    let ((one_data, one), (other_data, other)) = (shop.till("one"), shop.till("other"));
    let url = hub_daemon.kill();
    let log = shop.dir.join("one.log");
    drop(one);
    let one = Daemon::noting(NODE, &one_data, "127.0.0.1:0", &log);
    // Two tills and the hub give Ann another PIN at the same time: a conflict with two hashes.
    let set = ["employee", "pin", "ANN"];
    typed(NODE, &one_data, &set, PINS[0]).succeeds();
    typed(NODE, &other_data, &set, PINS[1]).succeeds();
    for refused in ["4712a", "1234", "0000", "471"] {
        typed(NODE, &one_data, &set, refused).fails(1, "employee");
    }
    // A PIN is no column that takes just anything.
    let plain = ["catalog", "set", "employees", "ANN", "pin=553311846092"];
    let mut said = vec![node(&one_data, &plain), hub(&shop.hub_data, &plain)];
    assert!(said.iter().all(|done| done.code == Some(1)), "{said:?}");
    let mut argument = set.to_vec();
    argument.push("4711");
    assert_eq!(
        node(&one_data, &argument).code,
        Some(2),
        "never an argument"
    );
    assert_eq!(sign_in(&one, "ANN", PINS[1]).0, 401);
    assert_eq!(sign_in(&one, "ANN", PINS[0]).0, 200);
    let listen = url.strip_prefix("http://").expect("an address");
    let hub_daemon = Daemon::start(HUB, &shop.hub_data, listen);
    for data in [&one_data, &other_data] {
        settle(data);
    }
    said.push(shop.pin("BOB", PINS[2]));
    let listed = ["conflicts", "list", "--json"];
    let conflicts = hub(&shop.hub_data, &listed).json().to_string();
    assert!(conflicts.contains("\"pin\""), "{conflicts}");
    for data in [&one_data, &other_data] {
        said.extend(said_by_till(data));
    }
    said.extend(said_by_hub(&shop.hub_data));
    for done in &said {
        assert!(!shows_a_secret(&format!("{done:?}"), &PINS), "{done:?}");
    }
    for till in [&one, &other] {
        for path in readable(&till.get("/v1/openapi.json")) {
            let answer = request(&till.url, "GET", &path, &[], b"").expect("an answer");
            let text = format!("{answer:?}");
            assert!(!shows_a_secret(&text, &PINS), "{path}: {text}");
        }
        let row = till.get("/v1/catalog/employees/ANN");
        assert_eq!(row["columns"]["pin"], "set");
        let changed = till.get("/v1/changes?types=employees").to_string();
        assert!(changed.contains("\"pin\":\"set\""), "{changed}");
    }
    let token = std::fs::read_to_string(shop.hub_data.join("admin.token"));
    let bearer = token.map(|token| format!("Bearer {}", token.trim()));
    let bearer = bearer.expect("the operator's token");
    for path in readable(&hub_daemon.get("/v1/openapi.json")) {
        let headers = [("Authorization", bearer.as_str())];
        let answer = request(&hub_daemon.url, "GET", &path, &headers, b"").expect("an answer");
        assert!(
            !shows_a_secret(&format!("{answer:?}"), &PINS),
            "{path}: {answer:?}"
        );
    }
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("PIN recorded"), "{log}");
    let shown = log.lines().find(|line| shows_a_secret(line, &PINS));
    assert_eq!(shown, None);
}
