//! L4 and X5: a till that is older than the hub is told to update; its sales go up all the same.

use crate::process::{Daemon, eventually, hub, join_code};
use crate::store::{assert_whole, hub_receipt_ids, receipt_ids};
use counterfoil_migrate::Kind;
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::lens::VERSIONS_BEHIND_MAX;
use counterfoil_protocol::wire::node::ActivateCommand;
use counterfoil_replica::env::Env;
use counterfoil_shop_node::config::Config;
use counterfoil_shop_node::credentials::Keyring;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_node::{activation, service};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

#[test]
fn an_older_till_is_told_to_update_and_still_delivers_its_sales() {
    let dir = TempDir::new("gate");
    let hub_data = dir.join("hub");
    let _hub = Daemon::hub(&hub_data);
    let code = join_code(&hub_data, "France");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = NodeOptions {
        schemas: Schemas {
            book: Kind::Book.schema_version() - VERSIONS_BEHIND_MAX,
            catalog: 1,
        },
        keyring: Keyring::Away,
        ..NodeOptions::default()
    };
    let data = dir.join("till");
    let node = Node::open(&data, Config::default(), Env::system(), &options).expect("opens");
    let url = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(service::run(node.clone(), listener, std::future::pending()));
        let command = ActivateCommand {
            join: Some(code),
            ..ActivateCommand::default()
        };
        let pending = activation::plan(&command).expect("a join code");
        activation::activate(&node, pending)
            .await
            .expect("activated");
        url
    });
    let sale =
        json!({"tender": "cash", "lines": [{"sku": "A", "quantity": "1", "unit_price": "1"}]});
    let post = |path: &str, body: &str| {
        crate::process::request(&url, "POST", path, &[], body.as_bytes()).expect("an answer")
    };
    assert_eq!(post("/v1/sales", &sale.to_string()).0, 200);
    let (status, report) = post("/v1/sync", "");
    assert_eq!((status, &report["update_required"]), (200, &true.into()));
    assert_eq!(report["frames_down"], 0);
    eventually("the status says so", || {
        let (_, shown) =
            crate::process::request(&url, "GET", "/v1/status", &[], b"").expect("an answer");
        let notice = shown["notice"].as_str().unwrap_or_default();
        shown["sync"] == "update_required" && notice.contains("update required")
    });
    eventually("the sale of an older till arrives", || {
        hub_receipt_ids(&hub_data).len() == 1
    });
}

/// What a till of the oldest release knows whose sales are counted.
fn old_schemas() -> String {
    let book = Kind::Book.schema_version() - VERSIONS_BEHIND_MAX;
    format!("book={book};catalog=1")
}

/// A hub, and a till of the oldest release that has delivered one sale to it.
struct Shop {
    _dir: TempDir,
    hub_data: PathBuf,
    _hub: Daemon,
    data: PathBuf,
    till: Daemon,
}

impl Shop {
    fn open(name: &str) -> Self {
        let dir = TempDir::new(name);
        let (hub_data, data) = (dir.join("hub"), dir.join("till"));
        let hub = Daemon::hub(&hub_data);
        let till = Daemon::old("node", &old_schemas(), &data, "127.0.0.1:0");
        let code = json!({"join": join_code(&hub_data, "France")});
        let (status, answer) = till.post("/v1/activate", &code).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        let shop = Self {
            _dir: dir,
            hub_data,
            _hub: hub,
            data,
            till,
        };
        shop.sell();
        eventually("the first sale arrives", || shop.delivered() == 1);
        shop
    }

    fn sell(&self) {
        let sale =
            json!({"tender": "cash", "lines": [{"sku": "A", "quantity": "1", "unit_price": "1"}]});
        let (status, answer) = self.till.post("/v1/sales", &sale).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    }

    fn delivered(&self) -> usize {
        hub_receipt_ids(&self.hub_data).len()
    }

    fn set(&self, policy: &str) {
        hub(&self.hub_data, &["gate", "set", policy, "--by", "Ann"]).succeeds();
    }

    fn gate(&self) -> Value {
        hub(&self.hub_data, &["gate", "show", "--json"]).json()
    }

    /// Until the till knows that nothing of it is taken; it is told, and does not find out by asking for it.
    fn until_shut_out(&self) {
        eventually("the till says what to do", || {
            let status = self.till.get("/v1/status");
            let notice = status["notice"].as_str().unwrap_or_default();
            status["sync"] == "update_required" && notice.contains("the hub takes nothing until")
        });
    }

    /// What was sold is at the hub, each sale once.
    fn assert_delivered(&self, receipts: usize) {
        let sold: BTreeSet<String> = receipt_ids(&self.data.join("book.db"));
        assert_eq!(sold.len(), receipts);
        assert_eq!(hub_receipt_ids(&self.hub_data), sold);
        assert_whole(&self.data.join("book.db"));
    }
}

#[test]
fn under_strict_a_till_sells_on_is_told_what_to_do_and_delivers_at_once_when_it_is_let_in() {
    let shop = Shop::open("gate-strict");
    shop.set("strict");
    shop.until_shut_out();
    for _ in 0..3 {
        shop.sell();
    }
    let (status, problem) = shop.till.post("/v1/sync", &Value::Null).expect("an answer");
    assert_eq!(status, 426, "{problem}");
    assert_eq!(problem["code"], "update_required");
    let waiting = &shop.gate()["tills"][0];
    assert_eq!(
        (&waiting["book"], &waiting["entries"]),
        (&json!("refused"), &json!(3))
    );
    let queue = shop.till.get("/v1/queue");
    let states = queue.as_array().expect("a list").iter();
    assert!(states.clone().count() >= 3 && states.into_iter().all(|row| row["state"] != "failed"));
    assert_eq!(shop.delivered(), 1);
    // Nobody asks the till: the hub's notice is enough.
    shop.set("uplink_open");
    eventually("everything arrives", || shop.delivered() == 4);
    shop.assert_delivered(4);
}

#[test]
fn under_strict_a_till_that_is_updated_delivers_what_it_kept() {
    let mut shop = Shop::open("gate-updated");
    shop.set("strict");
    shop.until_shut_out();
    shop.sell();
    shop.sell();
    let listen = shop.till.url.trim_start_matches("http://").to_owned();
    shop.till.stop();
    shop.till = Daemon::start(crate::process::NODE, &shop.data, &listen);
    eventually("everything arrives", || shop.delivered() == 3);
    shop.assert_delivered(3);
    eventually("the hub knows", || shop.gate()["tills"] == json!([]));
}
