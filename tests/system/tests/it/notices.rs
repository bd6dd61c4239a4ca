//! Notices: a till hears of a change in the catalog at once. All tills here ask by themselves every ten
//! minutes only, which is longer than any test waits.

use crate::process::{Daemon, HUB, eventually, hub, join_code, node, till};
use crate::relay::Relay;
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::path::Path;

/// A till that runs, is activated, has nothing left to do, and listens.
fn listening_till(hub_data: &Path, data: &Path, hub_url: Option<&str>) -> Daemon {
    till(data);
    std::fs::write(data.join("node.toml"), "sync_interval_ms = 600_000\n").expect("written");
    let daemon = Daemon::node(data);
    let code = join_code(hub_data, "France");
    let mut arguments = vec!["activate", "--join", &code];
    if let Some(url) = hub_url {
        arguments.extend(["--hub", url]);
    }
    node(data, &arguments).succeeds();
    eventually("the till listens and has nothing left to do", || {
        let status = daemon.get("/v1/status");
        listens(&daemon)
            && status["sync"] == "online"
            && status["hub_consolidated_seq"] == status["journal_seq"]
            && pending(hub_data).iter().all(|pending| *pending == 0)
    });
    daemon
}

fn listens(till: &Daemon) -> bool {
    till.get("/v1/status")["listening"] == true
}

/// Edits the catalog at the hub; the revision that holds the edit.
fn edit(hub_data: &Path, name: &str) -> Value {
    let name = format!("name={name}");
    let arguments = ["catalog", "set", "products", "TEA", &name, "--json"];
    hub(hub_data, &arguments).json()["revision"].clone()
}

fn has(till: &Daemon, revision: &Value) -> bool {
    till.get("/v1/status")["catalog_revision"] == *revision
}

/// Publications that each till has not reported as pulled.
fn pending(hub_data: &Path) -> Vec<i64> {
    let nodes = hub(hub_data, &["node", "list", "--json"]).json();
    let nodes = nodes.as_array().expect("a list");
    let pending = |node: &Value| node["catalog_pending"].as_i64().expect("a number");
    nodes.iter().map(pending).collect()
}

#[test]
fn a_change_is_at_every_listening_till_without_being_asked_for() {
    let dir = TempDir::new("notices");
    let hub_data = dir.join("hub");
    let _hub = Daemon::hub(&hub_data);
    let tills = ["one", "two"].map(|name| listening_till(&hub_data, &dir.join(name), None));
    let revision = edit(&hub_data, "green tea");
    eventually("both tills have the change", || {
        tills.iter().all(|till| has(till, &revision))
    });
    eventually("the operator sees that they have it", || {
        pending(&hub_data) == [0, 0]
    });
}

#[test]
fn tills_listen_again_to_a_hub_that_was_killed() {
    let dir = TempDir::new("notices-kill");
    let hub_data = dir.join("hub");
    let daemon = Daemon::hub(&hub_data);
    let tills = ["one", "two"].map(|name| listening_till(&hub_data, &dir.join(name), None));
    let url = daemon.kill();
    eventually("the tills know that they do not listen", || {
        !tills.iter().any(listens)
    });
    let listen = url.strip_prefix("http://").expect("an address");
    let _hub = Daemon::start(HUB, &hub_data, listen);
    // Also when it comes before they listen again.
    let revision = edit(&hub_data, "green tea");
    eventually("the tills have what changed meanwhile", || {
        tills.iter().all(|till| has(till, &revision))
    });
    eventually("the tills listen again", || tills.iter().all(listens));
    let revision = edit(&hub_data, "black tea");
    eventually("the tills have the change", || {
        tills.iter().all(|till| has(till, &revision))
    });
}

#[test]
fn a_line_that_swallows_everything_is_noticed_and_opened_again() {
    let dir = TempDir::new("notices-swallow");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let arguments = ["--listen", "127.0.0.1:0", "--heartbeat-seconds", "1"];
    let hub = Daemon::start_with(HUB, &hub_data, &arguments);
    let line = Relay::to(&hub.url);
    let till = listening_till(&hub_data, &data, Some(&line.url));
    let streams = || line.asked("/v1/events").len();
    let before = streams();
    line.swallow();
    eventually("the till opens another stream", || streams() > before);
    let revision = edit(&hub_data, "green tea");
    eventually("the till has the change", || has(&till, &revision));
}
