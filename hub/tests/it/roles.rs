//! Role x endpoint x own or foreign shop, over real sockets, against a list that is written down here and not
//! taken from the program.

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::Scalar;
use counterfoil_domain::env::import_id;
use counterfoil_hub::endpoint_table;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{AccessLogPage, LoggedIn, TokenAdded};
use counterfoil_protocol::wire::closure::Proof;
use counterfoil_protocol::wire::decisions::{AuditPage, ConflictDecided, ConflictPage, ImportRow};
use counterfoil_protocol::wire::hub::{HubStatus, NodeRow, ShopRow};
use counterfoil_protocol::wire::quarantine::{QuarantineAnswer, QuarantineRow};
use counterfoil_replica::env::HttpResponse;
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a role gets: `y` let in, `n` refused; for shop managers about the own shop, then about another one.
/// Owners are let in everywhere.
///
/// method path support manager-own manager-foreign
const EXPECTED: &str = "
GET  /v1/session                                        y y y
POST /v1/logout                                         y y y
POST /v1/password                                       y y y
GET  /v1/admin/status                                   y y y
GET  /v1/admin/shops                                    y y y
POST /v1/admin/shops                                    n n n
POST /v1/admin/join-codes                               n n n
GET  /v1/admin/nodes                                    y y y
POST /v1/admin/nodes/{node}/revoke                      n n n
POST /v1/admin/nodes/{node}/rotate-token                n n n
GET  /v1/admin/catalog/{table}                          y y y
POST /v1/admin/catalog/{table}/{row}                    n n n
POST /v1/admin/catalog/{table}/{row}/merge              n n n
POST /v1/admin/catalog/{table}/{row}/unmerge            n n n
POST /v1/admin/employees/{employee}/pin                 n n n
GET  /v1/admin/employee-events                          y y y
GET  /v1/admin/reports/sales                            y n n
POST /v1/admin/consolidate                              n n n
GET  /v1/admin/gate                                     y n n
POST /v1/admin/gate                                     n n n
POST /v1/admin/gate/rehearse                            y n n
GET  /v1/admin/conflicts                                y y y
GET  /v1/admin/conflicts/{conflict}                     y y n
POST /v1/admin/conflicts/{conflict}/resolve             n y n
POST /v1/admin/conflicts/{conflict}/put-back            n y n
GET  /v1/admin/audit                                    y n n
GET  /v1/admin/access-log                               y n n
POST /v1/admin/undo                                     n n n
GET  /v1/admin/imports                                  y y y
GET  /v1/admin/policies                                 y y y
POST /v1/admin/policies/{table}/{columns}               n n n
POST /v1/admin/policies/{table}/{columns}/rehearse      y n n
GET  /v1/admin/databases                                y n n
POST /v1/admin/databases                                n n n
POST /v1/admin/databases/{database}/token               n n n
POST /v1/admin/databases/{database}/remove              n n n
POST /v1/admin/databases/{database}/fold                n n n
GET  /v1/admin/history                                  y n n
GET  /v1/admin/history/catalog                          y n n
POST /v1/admin/history/catalog                          n n n
GET  /v1/admin/history/nodes/{node}                     y n n
POST /v1/admin/history/nodes/{node}                     n n n
GET  /v1/admin/history/databases/{database}             y n n
POST /v1/admin/history/databases/{database}             n n n
GET  /v1/admin/quarantine                               y y y
POST /v1/admin/quarantine/retry                         n n n
GET  /v1/admin/quarantine/{node}/{seq}                  y y n
POST /v1/admin/quarantine/{node}/{seq}/waive            n y n
POST /v1/admin/quarantine/{node}/{seq}/fix              n y n
POST /v1/admin/quarantine/{node}/{seq}/retry            n y n
GET  /v1/admin/proof                                    y y y
GET  /v1/admin/relays                                   y y y
GET  /v1/admin/stock                                    y y y
GET  /v1/admin/users                                    y n n
POST /v1/admin/users                                    n n n
POST /v1/admin/users/{user}/disable                     n n n
POST /v1/admin/users/{user}/password                    n n n
GET  /v1/admin/sessions                                 y n n
POST /v1/admin/sessions/{session}/revoke                n n n
GET  /v1/admin/tokens                                   y n n
POST /v1/admin/tokens                                   n n n
POST /v1/admin/tokens/{machine}/revoke                  n n n
GET  /v1/admin/endpoints                                y n n
GET  /metrics                                           y n n
GET  /v1/admin/runs                                     y n n
GET  /v1/admin/alerts                                   y y y
POST /v1/admin/alerts/acknowledge                       n n n
POST /v1/admin/alerts/{alert}/acknowledge               n n n
";

struct Expected {
    method: &'static str,
    path: &'static str,
    support: bool,
    own: bool,
    foreign: bool,
}

fn expected() -> Vec<Expected> {
    let lines = EXPECTED.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            Expected {
                method: words[0],
                path: words[1],
                support: words[2] == "y",
                own: words[3] == "y",
                foreign: words[4] == "y",
            }
        })
        .collect()
}

/// A shop with a conflict between its two tills, and a record in quarantine.
pub(crate) struct Shop {
    pub(crate) tills: [Till; 2],
    /// The poisoned entry of the first till.
    pub(crate) seq: i64,
    pub(crate) conflict: i64,
}

pub(crate) async fn shop(client: &Client, name: &str, seed: u64) -> Shop {
    let mut tills = [
        Till::of(client, name, seed).await,
        Till::of(client, name, seed + 1).await,
    ];
    tills[0].sell(1);
    let seq = tills[0].seq;
    tills[1].sell(1);
    tills[0].tamper(&format!(
        "UPDATE journal SET at_ms = 86400000 WHERE seq = {seq}"
    ));
    tills[0].import = Some(import_id(TIME_MS, &SeededRandom::new(seed)));
    for (till, text) in tills.iter_mut().zip(["Tea", "Chai"]) {
        let value = Scalar::Text(format!("{text} of {name}"));
        till.edit(&format!("TEA-{name}"), ("name", value), &[]);
        till.push(client).await.unwrap();
    }
    client.settle().await;
    let page: ConflictPage = client.admin_get(&format!("conflicts?shop={name}")).await;
    assert_eq!(page.conflicts.len(), 1, "{:?}", page.conflicts);
    Shop {
        tills,
        seq,
        conflict: page.conflicts[0].id,
    }
}

/// An address about a shop's things.
fn address(path: &str, shop: &Shop) -> String {
    let (node, seq) = (shop.tills[0].id.to_string(), shop.seq.to_string());
    let conflict = shop.conflict.to_string();
    let filled = path.split('/').map(|part| match part {
        "{node}" => node.as_str(),
        "{seq}" => seq.as_str(),
        "{conflict}" => conflict.as_str(),
        "{table}" => "products",
        "{column}" => "name",
        // Nobody's: the sessions of the test go on.
        "{session}" => "999999",
        part if part.starts_with('{') => "1",
        part => part,
    });
    filled.collect::<Vec<_>>().join("/")
}

async fn ask(client: &Client, method: &str, path: &str, token: &str) -> HttpResponse {
    match method {
        "GET" => client.get(path, Some(token)).await,
        // Nothing that any of them understands: who is let in hears of that.
        _ => client.post(path, Some(token), &json!(["nothing"])).await,
    }
}

pub(crate) async fn machine(client: &Client, name: &str, role: &str, shop: Option<&str>) -> String {
    let body = json!({"name": name, "role": role, "shop": shop});
    client.admin_post::<TokenAdded>("tokens", &body).await.token
}

pub(crate) async fn person(client: &Client, name: &str, role: &str, shop: Option<&str>) -> String {
    let password = format!("the password of {name}");
    let body = json!({"name": name, "role": role, "shop": shop, "password": password});
    client.admin_post::<Value>("users", &body).await;
    let body = json!({"name": name, "password": password});
    parse::<LoggedIn>(&client.post("/v1/login", None, &body).await).token
}

#[test]
fn what_each_role_may_call_is_written_down_for_every_endpoint() {
    let rows = endpoint_table();
    let for_people = rows.iter().filter(|row| !row.anyone && !row.till);
    let there: BTreeSet<_> = for_people
        .map(|row| (row.method.as_str(), row.path.as_str()))
        .collect();
    let written = expected();
    let written: BTreeSet<_> = written.iter().map(|it| (it.method, it.path)).collect();
    assert_eq!(there, written);
}

/// Calls every endpoint in one role, and compares with what is expected of it.
async fn each_endpoint(
    client: &Client,
    (token, about): (&str, &Shop),
    wanted: impl Fn(&Expected) -> bool,
) {
    for row in expected() {
        // What would end the session of the test itself.
        if row.path == "/v1/logout" {
            continue;
        }
        let path = address(row.path, about);
        let answer = ask(client, row.method, &path, token).await;
        let refused = answer.status == 401 || answer.status == 403;
        let (method, status) = (row.method, answer.status);
        assert_eq!(!refused, wanted(&row), "{method} {path}: {status}");
        if refused {
            assert_eq!(problem(&answer).code, Code::Forbidden, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn each_role_reaches_what_it_may_and_nothing_else() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (own, foreign) = (shop(&client, "A", 1).await, shop(&client, "B", 3).await);
    let owners = [
        client.admin.clone(),
        machine(&client, "m-owner", "owner", None).await,
        person(&client, "olga", "owner", None).await,
    ];
    for owner in &owners {
        each_endpoint(&client, (owner, &own), |_| true).await;
    }
    let supports = [
        machine(&client, "m-support", "support", None).await,
        person(&client, "sam", "support", None).await,
    ];
    for support in &supports {
        each_endpoint(&client, (support, &own), |row| row.support).await;
    }
    let managers = [
        machine(&client, "m-manager", "shop_manager", Some("A")).await,
        person(&client, "mia", "shop_manager", Some("A")).await,
    ];
    for manager in &managers {
        each_endpoint(&client, (manager, &own), |row| row.own).await;
        each_endpoint(&client, (manager, &foreign), |row| row.foreign).await;
    }
    // Who was refused what is on record, under names that no request could give.
    let log: AccessLogPage = client.admin_get("access-log").await;
    let foreign_conflict = format!("POST /v1/admin/conflicts/{}/resolve", foreign.conflict);
    for who in ["mia", "machine m-manager"] {
        let found = log
            .rows
            .iter()
            .find(|row| row.who == who && row.what == foreign_conflict);
        assert_eq!(found.unwrap().outcome, "refused");
    }
}

#[tokio::test]
async fn lists_hold_the_own_shop_only() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (own, foreign) = (shop(&client, "A", 1).await, shop(&client, "B", 3).await);
    // An alert about each of the two.
    for (mine, other) in [(&own, &foreign), (&foreign, &own)] {
        let path = format!("/v1/db/book/{}/info", other.tills[0].id);
        let answer = client.get(&path, Some(&mine.tills[0].token)).await;
        assert_eq!(answer.status, 403);
    }
    let token = machine(&client, "manager", "shop_manager", Some("A")).await;
    async fn told<T: serde::de::DeserializeOwned>(client: &Client, token: &str, path: &str) -> T {
        parse(&client.get(&format!("/v1/admin/{path}"), Some(token)).await)
    }
    let nodes: Vec<NodeRow> = told(&client, &token, "nodes").await;
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().all(|row| row.shop == "A"), "{nodes:?}");
    let shops: Vec<ShopRow> = told(&client, &token, "shops").await;
    assert_eq!(
        shops
            .iter()
            .map(|row| row.name.as_str())
            .collect::<Vec<_>>(),
        ["A"]
    );
    let page: ConflictPage = told(&client, &token, "conflicts").await;
    assert_eq!(
        page.conflicts.iter().map(|row| row.id).collect::<Vec<_>>(),
        [own.conflict]
    );
    let asked = client.get("/v1/admin/conflicts?shop=B", Some(&token)).await;
    assert_eq!(problem(&asked).code, Code::Forbidden);
    let rows: Vec<ImportRow> = told(&client, &token, "imports").await;
    assert_eq!(
        rows.iter().map(|row| row.node_id).collect::<Vec<_>>(),
        [own.tills[0].id]
    );
    let rows: Vec<QuarantineRow> = told(&client, &token, "quarantine").await;
    assert_eq!(
        rows.iter().map(|row| row.node_id).collect::<Vec<_>>(),
        [own.tills[0].id]
    );
    let proof: Proof = told(&client, &token, "proof?day=2023-11-14").await;
    assert!(proof.rows.iter().all(|row| row.shop == "A"), "{proof:?}");
    let all: Proof = client.admin_get("proof?day=2023-11-14").await;
    assert!(all.rows.iter().any(|row| row.shop == "B"), "{all:?}");
    let status: HubStatus = told(&client, &token, "status").await;
    let ids = own.tills.each_ref().map(|till| till.id);
    let is_own = |node: Option<_>| node.is_some_and(|node| ids.contains(&node));
    assert!(!status.alerts.is_empty());
    assert!(
        status.alerts.iter().all(|alert| is_own(alert.node_id)),
        "{:?}",
        status.alerts
    );
}

#[tokio::test]
async fn a_decision_stands_under_the_name_of_who_signed_in_whatever_the_request_says() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let own = shop(&client, "A", 1).await;
    let mia = person(&client, "mia", "shop_manager", Some("A")).await;
    let path = format!("/v1/admin/conflicts/{}/put-back", own.conflict);
    let forged = json!({"by": "olga"});
    let made: ConflictDecided = parse(&client.post(&path, Some(&mia), &forged).await);
    assert_eq!(made.conflict.current.value, made.conflict.loser.value);
    let page: AuditPage = client.admin_get("audit").await;
    let last = page.decisions.last().unwrap();
    assert_eq!(
        (last.who.as_str(), last.action.as_str()),
        ("mia", "conflict_put_back")
    );
    // The same in quarantine.
    let path = format!("/v1/admin/quarantine/{}/{}/waive", own.tills[0].id, own.seq);
    let forged = json!({"who": "olga", "why": "the clock was wrong", "changes": {}});
    let answer = client.post(&path, Some(&mia), &forged).await;
    let row = parse::<QuarantineAnswer>(&answer).row.unwrap();
    assert_eq!(row.settled_as.as_deref(), Some("waived"));
    let detail: Value = client
        .admin_get(&format!("quarantine/{}/{}", own.tills[0].id, own.seq))
        .await;
    assert_eq!(detail["decisions"][0]["who"], "mia");
    let page: AuditPage = client.admin_get("audit").await;
    let last = page.decisions.last().unwrap();
    assert_eq!(
        (last.who.as_str(), last.action.as_str(), &*last.detail),
        ("mia", "quarantine_waived", "the clock was wrong")
    );
    assert_eq!(last.subject, format!("A/1 entry {}", own.seq));
    assert_eq!((&last.before, &last.after), (&json!(row.code), &json!({})));
    assert_eq!((last.edit, last.conflict), (None, None));
    // The admin token is used by whoever is logged in on that machine, who says so.
    let other = shop(&client, "B", 3).await;
    let path = format!("/v1/admin/conflicts/{}/put-back", other.conflict);
    let said = json!({"by": "olga"});
    let made: ConflictDecided = parse(&client.post(&path, Some(&client.admin), &said).await);
    assert!(!made.repeated);
    let page: AuditPage = client.admin_get("audit").await;
    let last = page.decisions.last().unwrap();
    assert_eq!(
        (last.who.as_str(), last.action.as_str(), last.conflict),
        ("olga", "conflict_put_back", Some(other.conflict))
    );
}
