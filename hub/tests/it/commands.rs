use crate::hub::{HubProcess, command, command_json, program};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::decisions::AuditRow;
use counterfoil_protocol::wire::hub::{HubStatus, NodeRow, SalesGroup, ShopAdded, ShopRow};
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::process::{Output, Stdio};

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_script_that_provisions_a_shop_may_be_run_again() {
    let dir = TempDir::new("again");
    let added: ShopAdded = command_json(dir.path(), &["shop", "add", "Leith"]);
    let again: ShopAdded = command_json(dir.path(), &["shop", "add", "Leith"]);
    assert_eq!(again.shop_id, added.shop_id);
    assert_ne!(again.join_code, added.join_code);
    let stranger = command(dir.path(), &["shop", "join", "Crail"]);
    assert_eq!(code(&stranger), 1);
    assert!(
        errors(&stranger).contains("shop add"),
        "{}",
        errors(&stranger)
    );
}

#[test]
fn who_merges_rows_and_who_takes_that_back_may_be_named() {
    let dir = TempDir::new("merge");
    let data = dir.path();
    command_json::<ShopAdded>(data, &["shop", "add", "Leith"]);
    for (row, name) in [("TEA", "name=Tea"), ("TEE", "name=Tee")] {
        command_json::<Value>(data, &["catalog", "set", "products", row, name]);
    }
    let merge = ["catalog", "merge", "products", "TEE", "TEA", "--by", "Ann"];
    command_json::<Value>(data, &merge);
    let unmerge = ["catalog", "unmerge", "products", "TEE", "--by", "Bo"];
    command_json::<Value>(data, &unmerge);
    let trail: Vec<AuditRow> = command_json(data, &["audit"]);
    let last: Vec<_> = trail.iter().rev().take(2).map(|row| &*row.who).collect();
    assert_eq!(last, ["Bo", "Ann"]);
}

#[test]
fn every_command_works_before_the_first_start() {
    let dir = TempDir::new("commands");
    let data = dir.join("new/folder");
    let missing = command(&data, &["status"]);
    assert_eq!(code(&missing), 7);
    assert!(
        errors(&missing).contains("error: there is no hub in"),
        "{}",
        errors(&missing)
    );
    assert!(errors(&missing).contains("hint: "));
    let file = dir.join("file");
    std::fs::write(&file, "no folder").unwrap();
    let no_folder = command(&file, &["run", "--listen", "127.0.0.1:0"]);
    assert_eq!(code(&no_folder), 7, "{}", errors(&no_folder));

    let url = "http://10.0.0.1:9";
    let added: ShopAdded = command_json(&data, &["shop", "add", "Leith", "--hub-url", url]);
    assert_eq!(added.join_code.parse::<JoinCode>().unwrap().hub_url, url);
    let join: ShopAdded = command_json(&data, &["shop", "join", "Leith"]);
    assert_eq!(join.shop_id, added.shop_id);
    let shops: Vec<ShopRow> = command_json(&data, &["shop", "list"]);
    assert_eq!((shops.len(), shops[0].nodes), (1, 0));
    assert_eq!(command_json::<Vec<NodeRow>>(&data, &["node", "list"]), []);
    assert_eq!(
        command_json::<Value>(&data, &["conflicts", "list"]),
        Value::Array(vec![])
    );
    let status: HubStatus = command_json(&data, &["status"]);
    assert_eq!((status.shops, status.url), (1, None));
    let set = [
        "catalog",
        "set",
        "products",
        "a b/c",
        "name=Tea, \"loose\"",
        "price_mills=1250",
    ];
    let row: Value = command_json(&data, &set);
    assert_eq!(row["row"]["name"], "Tea, \"loose\"");
    let csv = command(&data, &["catalog", "export", "products"]);
    let text = String::from_utf8(csv.stdout).unwrap();
    assert!(text.starts_with("id,name,barcode,price_mills"), "{text}");
    assert!(
        text.contains("A B/C,\"Tea, \"\"loose\"\"\",,1250"),
        "{text}"
    );
    let wrong = command(
        &data,
        &["catalog", "set", "products", "x", "price_mills=cheap"],
    );
    assert_eq!(code(&wrong), 1);
    assert!(
        errors(&wrong).contains("whole number"),
        "{}",
        errors(&wrong)
    );
    let report: Vec<SalesGroup> = command_json(&data, &["report", "sales", "--by", "day"]);
    assert_eq!(report, []);
    for text in [
        &["shop", "list"][..],
        &["node", "list"],
        &["status"],
        &["conflicts", "list"],
    ] {
        assert_eq!(code(&command(&data, text)), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_while_the_hub_runs_and_after() {
    let dir = TempDir::new("commands");
    let data = dir.path();
    let hub = HubProcess::start(data, "127.0.0.1:0");
    let added: ShopAdded = command_json(data, &["shop", "add", "Leith"]);
    assert_eq!(
        added.join_code.parse::<JoinCode>().unwrap().hub_url,
        hub.url
    );
    let client = hub.client(data);
    let mut till = Till::new(1);
    assert!(
        till.activate(&client, &added.join_code)
            .await
            .status
            .is_success()
    );
    let total = till.sell(3) + till.sell(2);
    till.edit("TEA", ("name", Scalar::Text("Tea".to_owned())), &[]);
    till.push(&client).await.unwrap();
    client.settle().await;
    let running: HubStatus = command_json(data, &["status"]);
    assert_eq!(running.url.as_deref(), Some(hub.url.as_str()));
    let second = command(data, &["run", "--listen", "127.0.0.1:0"]);
    assert_eq!(code(&second), 7);
    assert!(
        errors(&second).contains("runs on this folder already"),
        "{}",
        errors(&second)
    );
    hub.terminate();
    for by in ["shop", "node", "day"] {
        let report: Vec<SalesGroup> = command_json(data, &["report", "sales", "--by", by]);
        assert_eq!(
            (report.len(), report[0].count, report[0].total_minor),
            (1, 2, total),
            "{by}"
        );
    }
    let stopped: HubStatus = command_json(data, &["status"]);
    assert_eq!(
        (stopped.url, stopped.catalog_digest),
        (None, running.catalog_digest)
    );
    let node = till.id.to_string();
    let revoked: NodeRow = command_json(data, &["node", "revoke", &node]);
    assert_eq!(revoked.state, "revoked");
    assert_eq!(code(&command(data, &["node", "revoke", "x"])), 1);
}

#[test]
fn commands_at_once_on_one_folder_all_succeed() {
    let dir = TempDir::new("commands");
    let mut children = Vec::new();
    for number in 0..8 {
        let name = format!("shop {number}");
        let mut command = program();
        command
            .args(["shop", "add", &name, "--json", "--data"])
            .arg(dir.path());
        children.push(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", errors(&output));
    }
    assert_eq!(
        command_json::<Vec<ShopRow>>(dir.path(), &["shop", "list"]).len(),
        8
    );
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_missing() {
    for args in [
        &["status"][..],
        &["shop", "add"],
        &["report", "sales", "--by", "moon"],
    ] {
        let output = program()
            .args(args)
            .env_remove("COUNTERFOIL_HUB_DATA")
            .output()
            .unwrap();
        assert_eq!(code(&output), 2, "{args:?} {}", errors(&output));
    }
    let help = program().arg("--help").output().unwrap();
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Exit codes:")
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = TempDir::new("commands");
    command_json::<ShopAdded>(dir.path(), &["shop", "add", "Leith"]);
    let mut command = program();
    command
        .args(["status", "--data"])
        .arg(dir.path())
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", errors(&output));
}
