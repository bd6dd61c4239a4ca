//! Wrong codes, wrong tokens, a hub that is away, a database that was tampered with: a clear error,
//! the exit code that scripts rely on, and nothing lost.

use crate::process::{Daemon, hub, join_code, node, request, till};
use crate::store::{open, receipt_ids};
use counterfoil_testkit::TempDir;
use std::path::Path;

fn activated(hub_data: &Path, data: &Path) {
    till(data);
    let code = join_code(hub_data, "France");
    node(data, &["activate", "--join", &code, "--json"]).json();
}

#[test]
fn a_join_code_works_once_and_for_a_while() {
    let dir = TempDir::new("codes");
    let (hub_data, first, second) = (dir.join("hub"), dir.join("first"), dir.join("second"));
    let _hub = Daemon::hub(&hub_data);
    let code = join_code(&hub_data, "France");
    till(&first);
    till(&second);
    node(&first, &["activate", "--join", &code, "--json"]).json();
    node(&second, &["activate", "--join", &code]).fails(5, "used");
    node(&second, &["activate", "--join", "CF1-nonsense"]).fails(1, "join code");
    let minutes = ["shop", "add", "Spain", "--valid-minutes", "0", "--json"];
    let expired = hub(&hub_data, &minutes).json()["join_code"]
        .as_str()
        .expect("a code")
        .to_owned();
    node(&second, &["activate", "--join", &expired]).fails(5, "expired");
    // The till that was refused is in trial as before and sells.
    assert_eq!(
        node(&second, &["status", "--json"]).json()["tier"],
        "local_trial"
    );
    node(&second, &["sell", "--line", "TEA:1@1", "--json"]).json();
}

#[test]
fn a_shop_may_register_itself_from_this_machine() {
    let dir = TempDir::new("register");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let daemon = Daemon::hub(&hub_data);
    till(&data);
    let arguments = [
        "activate",
        "--hub",
        &daemon.url,
        "--name",
        "Café",
        "--phone",
        "+33 1",
        "--json",
    ];
    assert_eq!(node(&data, &arguments).json()["shop_name"], "Café");
    assert_eq!(node(&data, &arguments).json()["lane"], 1);
    assert_eq!(
        hub(&hub_data, &["shop", "list", "--json"]).json()[0]["name"],
        "Café"
    );
}

#[test]
fn a_revoked_till_goes_on_selling_and_delivers_after_a_new_join_code() {
    let dir = TempDir::new("revoked");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let _hub = Daemon::hub(&hub_data);
    activated(&hub_data, &data);
    let id = node(&data, &["status", "--json"]).json()["node_id"]
        .as_str()
        .expect("id")
        .to_owned();
    assert_eq!(hub(&hub_data, &["node", "revoke", &id]).code, Some(0));
    node(&data, &["sell", "--line", "TEA:1@1", "--json"]).json();
    node(&data, &["sync", "now"]).fails(5, "join code");
    assert_eq!(
        node(&data, &["status", "--json"]).json()["sync"],
        "auth_refused"
    );
    let code = join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code, "--json"]).json();
    crate::process::eventually("the sale arrives", || {
        crate::store::hub_receipt_ids(&hub_data) == receipt_ids(&data.join("book.db"))
    });
}

#[test]
fn a_new_join_code_helps_a_revoked_till_that_has_not_noticed_yet() {
    let dir = TempDir::new("unnoticed");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let _hub = Daemon::hub(&hub_data);
    activated(&hub_data, &data);
    let id = node(&data, &["status", "--json"]).json()["node_id"]
        .as_str()
        .expect("id")
        .to_owned();
    hub(&hub_data, &["node", "revoke", &id]).succeeds();
    // A wrong code costs nothing.
    node(&data, &["activate", "--join", "CF1-nonsense"]).fails(1, "join code");
    let code = join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    node(&data, &["sync", "now"]).succeeds();
    // The same command again, as after a lost answer.
    node(&data, &["activate", "--join", &code]).succeeds();
    let other = join_code(&hub_data, "Spain");
    node(&data, &["activate", "--join", &other]).fails(1, "belongs to the shop");
    node(&data, &["sync", "now"]).succeeds();
}

#[test]
fn a_token_opens_the_book_of_its_own_till_only() {
    let dir = TempDir::new("tokens");
    let (hub_data, first, second) = (dir.join("hub"), dir.join("first"), dir.join("second"));
    let daemon = Daemon::hub(&hub_data);
    activated(&hub_data, &first);
    activated(&hub_data, &second);
    let node_id = |data: &Path| {
        node(data, &["status", "--json"]).json()["node_id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let file = format!("credentials/counterfoil-node-{}", node_id(&first));
    let token = std::fs::read_to_string(first.join(file)).expect("a token is kept");
    let ask = |id: &str, token: &str| {
        let path = format!("/v1/db/book/{id}/info");
        let bearer = format!("Bearer {token}");
        request(
            &daemon.url,
            "GET",
            &path,
            &[("Authorization", &bearer)],
            b"",
        )
        .expect("an answer")
        .0
    };
    assert_eq!(ask(&node_id(&first), &token), 200);
    assert_eq!(ask(&node_id(&second), &token), 403);
    assert_eq!(ask(&node_id(&first), "cf_0000"), 401);
    let path = format!("/v1/db/book/{}/info", node_id(&first));
    assert_eq!(
        request(&daemon.url, "GET", &path, &[], b"")
            .expect("an answer")
            .0,
        401
    );
}

#[test]
fn a_hub_that_is_away_is_said_to_be_away() {
    let dir = TempDir::new("away");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let daemon = Daemon::hub(&hub_data);
    activated(&hub_data, &data);
    daemon.kill();
    node(&data, &["sell", "--line", "TEA:1@1", "--json"]).json();
    node(&data, &["sync", "now"]).fails(4, "cannot be reached");
    let status = node(&data, &["status", "--json"]).json();
    assert_eq!(
        (&status["sync"], &status["pending"]),
        (&"offline".into(), &1.into())
    );
    let queue = node(&data, &["queue", "--json"]).json();
    let waits = |row: &serde_json::Value| row["topic"] == "sale" && row["state"] == "pending";
    assert!(
        queue.as_array().expect("a list").iter().any(waits),
        "{queue}"
    );
}

#[test]
fn an_edited_migration_and_a_newer_database_are_refused_untouched() {
    let dir = TempDir::new("schema");
    let edited = dir.join("edited");
    till(&edited);
    let conn = open(&edited.join("book.db"));
    conn.execute("UPDATE refinery_schema_history SET checksum = '1'", ())
        .expect("edited");
    conn.abandon();
    node(&edited, &["sell", "--line", "TEA:1@1"]).fails(6, "hint:");
    let newer = dir.join("newer");
    till(&newer);
    let conn = open(&newer.join("book.db"));
    let row = "INSERT INTO refinery_schema_history SELECT 99, 'later', applied_on, checksum \
               FROM refinery_schema_history LIMIT 1";
    conn.execute(row, ()).expect("a later version");
    conn.abandon();
    node(&newer, &["sell", "--line", "TEA:1@1"]).fails(6, "newer");
    assert_eq!(receipt_ids(&newer.join("book.db")).len(), 0);
}
