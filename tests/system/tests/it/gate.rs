//! L4 and X5: a till that is older than the hub is told to update; its sales go up all the same.

use crate::process::{Daemon, eventually, join_code};
use crate::store::hub_receipt_ids;
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::wire::node::ActivateCommand;
use counterfoil_replica::env::Env;
use counterfoil_shop_node::config::Config;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_node::{activation, service};
use counterfoil_testkit::TempDir;
use serde_json::json;

#[test]
fn an_older_till_is_told_to_update_and_still_delivers_its_sales() {
    let dir = TempDir::new("gate");
    let hub_data = dir.join("hub");
    let _hub = Daemon::hub(&hub_data);
    let code = join_code(&hub_data, "France");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = NodeOptions {
        schemas: Schemas {
            book: 1,
            catalog: 1,
        },
        credentials_in_files: true,
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
