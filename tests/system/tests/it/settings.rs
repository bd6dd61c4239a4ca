//! Settings of a node as processes read them: from its file, from the environment by both names, from flags (P9).

use crate::process::{Daemon, HUB, NODE, command, join_code, node};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const TABLE: &str = include_str!("../../../../docs/operating.md");
const NODE_ID: &str = "0198c0de-0000-7000-8000-00000000000a";
const OTHER_ID: &str = "0198c0de-0000-7000-8000-00000000000b";

fn with(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(NODE, data, arguments);
    command.envs(variables.iter().copied());
    command.output().expect("the program starts")
}

/// What a daemon would run with.
fn counts(data: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Value {
    let output = with(
        data,
        &[&["run", "--check", "--json"], flags].concat(),
        variables,
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn printed(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

/// A setting: its key, a value of each place, and by which names the places know it.
struct Setting {
    key: &'static str,
    values: [Value; 5],
    alias: Option<&'static str>,
    own: &'static str,
    flag: &'static str,
}

fn settings() -> [Setting; 6] {
    [
        Setting {
            key: "peer_listen",
            values: [
                json!(""),
                json!("10.0.0.1"),
                json!("8124"),
                json!("10.0.0.3"),
                json!("10.0.0.4:1"),
            ],
            alias: Some("COUNTERFOIL_PEER_PORT"),
            own: "COUNTERFOIL_NODE_PEER_LISTEN",
            flag: "--peer-listen",
        },
        Setting {
            key: "peers",
            values: [
                json!([]),
                json!(["a"]),
                json!(["b", "bb"]),
                json!(["c", "cc"]),
                json!(["d"]),
            ],
            alias: Some("COUNTERFOIL_PEERS"),
            own: "COUNTERFOIL_NODE_PEERS",
            flag: "--peer",
        },
        Setting {
            key: "peer_discovery",
            values: [
                json!(true),
                json!(false),
                Value::Null,
                json!(true),
                json!(false),
            ],
            alias: None,
            own: "COUNTERFOIL_NODE_PEER_DISCOVERY",
            flag: "--peer-discovery",
        },
        Setting {
            key: "sync_interval_ms",
            values: [json!(300_000), json!(1), json!(2), json!(3), json!(4)],
            alias: Some("COUNTERFOIL_SYNC_INTERVAL_MS"),
            own: "COUNTERFOIL_NODE_SYNC_INTERVAL_MS",
            flag: "--sync-interval-ms",
        },
        Setting {
            key: "attempts_max",
            values: [json!(5), json!(1), json!(2), json!(3), json!(4)],
            alias: Some("COUNTERFOIL_MAX_RETRIES"),
            own: "COUNTERFOIL_NODE_ATTEMPTS_MAX",
            flag: "--attempts-max",
        },
        Setting {
            key: "batch_size",
            values: [json!(128), json!(1), json!(2), json!(3), json!(512)],
            alias: Some("COUNTERFOIL_BATCH_SIZE"),
            own: "COUNTERFOIL_NODE_BATCH_SIZE",
            flag: "--batch-size",
        },
    ]
}

#[test]
fn a_flag_counts_before_the_environment_its_own_name_before_the_alias_and_the_file_before_the_default()
 {
    let dir = TempDir::new("settings");
    let data = dir.path();
    for Setting {
        key,
        values,
        alias,
        own,
        flag,
    } in settings()
    {
        let [default, in_file, by_alias, by_own, by_flag] = values;
        let text = |value: &Value| match value {
            Value::Array(all) => all
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(","),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (aliased, owned, flagged) = (text(&by_alias), text(&by_own), text(&by_flag));
        std::fs::write(data.join("node.toml"), "").expect("written");
        assert_eq!(counts(data, &[], &[])[key], default, "{key}");
        std::fs::write(data.join("node.toml"), format!("{key} = {in_file}\n")).expect("written");
        assert_eq!(counts(data, &[], &[])[key], in_file, "{key}");
        let mut variables = Vec::new();
        if let Some(alias) = alias {
            variables.push((alias, aliased.as_str()));
            assert_eq!(counts(data, &[], &variables)[key], by_alias, "{alias}");
            assert!(TABLE.contains(&format!("`{alias}`")), "{alias}");
        }
        variables.push((own, owned.as_str()));
        assert_eq!(counts(data, &[], &variables)[key], by_own, "{own}");
        assert_eq!(
            counts(data, &[flag, &flagged], &variables)[key],
            by_flag,
            "{flag}"
        );
        for name in [own, flag, key] {
            assert!(TABLE.contains(&format!("`{name}")), "{name} is documented");
        }
    }
}

#[test]
fn a_node_has_the_id_that_it_was_given_and_no_other_one_later() {
    let dir = TempDir::new("settings-id");
    let [one, two, three] = ["one", "two", "three"].map(|name| dir.join(name));
    let id = |output: &Output| -> Value {
        assert!(output.status.success(), "{:?}", printed(output));
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["node_id"].clone()
    };
    let init = ["init", "--json"];
    let flag = ["init", "--json", "--node-id", NODE_ID];
    assert_eq!(
        id(&with(&one, &flag, &[("COUNTERFOIL_NODE_ID", OTHER_ID)])),
        NODE_ID
    );
    let own = [
        ("COUNTERFOIL_NODE_ID", NODE_ID),
        ("COUNTERFOIL_TERMINAL_ID", OTHER_ID),
    ];
    assert_eq!(id(&with(&two, &init, &own)), NODE_ID);
    let alias = [("COUNTERFOIL_TERMINAL_ID", NODE_ID)];
    assert_eq!(id(&with(&three, &init, &alias)), NODE_ID);
    assert_eq!(
        id(&with(&one, &flag, &[])),
        NODE_ID,
        "the same again is nothing new"
    );
    for command in [&["init"][..], &["run", "--listen", "127.0.0.1:0"]] {
        let other = with(&one, command, &[("COUNTERFOIL_TERMINAL_ID", OTHER_ID)]);
        let (code, text) = printed(&other);
        assert_eq!(code, Some(7), "{text}");
        assert!(text.contains("keeps its id"), "{text}");
    }
    assert_eq!(id(&with(&one, &init, &[])), NODE_ID);
}

#[test]
fn a_batch_of_no_messages_or_of_more_than_a_hub_takes_is_refused() {
    let dir = TempDir::new("settings-batch");
    let data = dir.path();
    for size in ["0", "513"] {
        let (code, text) = printed(&with(data, &["run", "--check", "--batch-size", size], &[]));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("--batch-size"), "{text}");
        std::fs::write(data.join("node.toml"), format!("batch_size = {size}\n")).expect("written");
        let (code, text) = printed(&with(data, &["run", "--check"], &[]));
        assert_eq!(code, Some(7), "{text}");
        let says = format!("{size} is not between 1 and 512 messages");
        assert!(text.contains(&says), "{text}");
        std::fs::remove_file(data.join("node.toml")).expect("removed");
    }
}

#[test]
fn the_hub_and_the_token_come_from_the_environment_by_either_name() {
    let dir = TempDir::new("settings-hub");
    let hub = Daemon::start(HUB, &dir.join("hub"), "127.0.0.1:0");
    for (number, name) in ["COUNTERFOIL_NODE_HUB_URL", "COUNTERFOIL_HUB_URL"]
        .into_iter()
        .enumerate()
    {
        let (data, code) = (
            dir.join(name),
            join_code(&dir.join("hub"), &format!("Shop {number}")),
        );
        node(&data, &["init"]).succeeds();
        let activate = ["activate", "--join", &code];
        let nowhere = with(&data, &activate, &[(name, "http://127.0.0.1:1")]);
        assert_eq!(printed(&nowhere).0, Some(4), "{nowhere:?}");
        let there = with(&data, &activate, &[(name, &hub.url)]);
        assert!(there.status.success(), "{there:?}");
        // A token that is handed in counts before the one that is kept.
        let refused = with(&data, &["sync", "now"], &[("COUNTERFOIL_TOKEN", "made-up")]);
        assert_eq!(printed(&refused).0, Some(5), "{refused:?}");
        // One that is empty is none, and one for the hub's own commands is nothing to a till.
        for (name, text) in [
            ("COUNTERFOIL_TOKEN", ""),
            ("COUNTERFOIL_HUB_TOKEN", "made-up"),
        ] {
            let synced = with(&data, &["sync", "now"], &[(name, text)]);
            assert!(synced.status.success(), "{name}: {synced:?}");
        }
        node(&data, &["sync", "now"]).succeeds();
    }
}
