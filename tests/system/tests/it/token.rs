//! A till's token changes (L9): answers that are lost, kills at any moment, tokens that end, backups of either side.
//! Whatever happens the till sells, and each sale is at the hub once in the end.

use crate::process::{NODE, command, hub, join_code, node, request};
use crate::relay::kill_until_through;
use crate::store::open;
use crate::world::{World, copy, replace, settle};
use counterfoil_protocol::wire::node::SyncReport;
use counterfoil_replica::env::Env;
use counterfoil_shop_node::config::Config;
use counterfoil_shop_node::credentials::Keyring;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_node::sync::sync_once;
use counterfoil_testkit::SeededRandom;
use keyring_core::{CredentialStore, mock};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

const REFUSED: i32 = 5;

/// The token that a till shows now.
fn token(data: &Path) -> String {
    let id = status(data)["node_id"].as_str().expect("an id").to_owned();
    let file = data
        .join("credentials")
        .join(format!("counterfoil-node-{id}"));
    std::fs::read_to_string(file).expect("a token is kept")
}

fn status(data: &Path) -> Value {
    node(data, &["status", "--json"]).json()
}

/// What the hub answers to a token.
fn answer(world: &World, token: &str) -> u16 {
    let running = std::fs::read(world.hub_data.join("hub.json")).expect("it runs");
    let running: Value = serde_json::from_slice(&running).expect("JSON");
    let url = running["url"].as_str().expect("an address");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let (status, _) = request(url, "GET", "/v1/db/catalog/info", &headers, b"").expect("an answer");
    status
}

/// An operator asks the till for another token.
fn ask(world: &World) {
    let id = status(&world.till)["node_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    hub(&world.hub_data, &["node", "rotate-token", &id]).succeeds();
}

/// The till shows another token, and the hub takes that one alone.
fn assert_changed(world: &World, before: &str) {
    let now = token(&world.till);
    assert_ne!(now, before);
    assert_eq!((answer(world, &now), answer(world, before)), (200, 401));
}

#[test]
fn a_token_changes_though_the_answer_to_its_name_is_lost_and_though_the_answer_to_its_first_use_is()
{
    let (mut world, line) = World::behind_a_line("token-lost");
    let before = token(&world.till);
    ask(&world);
    line.lose_answer_of("/v1/token");
    world.account.sell(&world.till, 1);
    node(&world.till, &["sync", "now"]).fails(4, "cannot be reached");
    assert!(line.has_lost_it());
    assert_eq!(token(&world.till), before, "it may not be known at the hub");
    // Once with the old token, which is good still, then with the new one, whose first answer is lost.
    let id = status(&world.till)["node_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let next = world
        .till
        .join("credentials")
        .join(format!("counterfoil-node-{id}-next"));
    let next = std::fs::read_to_string(next).expect("it is kept before it is named");
    node(&world.till, &["sync", "now"]).succeeds();
    assert_eq!(token(&world.till), next, "the same one was named again");
    settle(&world.till);
    assert_changed(&world, &before);

    let before = token(&world.till);
    ask(&world);
    line.lose_answer_of("/v1/token");
    node(&world.till, &["sync", "now"]).fails(4, "cannot be reached");
    // The hub has heard of it, and hears it now: as if the till had been cut off after its first use.
    let next = world
        .till
        .join("credentials")
        .join(format!("counterfoil-node-{id}-next"));
    let next = std::fs::read_to_string(next).expect("it is kept before it is named");
    assert_eq!((answer(&world, &next), answer(&world, &before)), (200, 401));
    world.account.sell(&world.till, 2);
    settle(&world.till);
    assert_eq!(token(&world.till), next);
    world.finish();
}

#[test]
fn a_till_that_is_killed_at_any_answer_while_its_token_changes_goes_on_by_itself() {
    const CHANGES: usize = 3;
    let (mut world, line) = World::behind_a_line("token-kill");
    let random = SeededRandom::new(17);
    let mut kills = 0;
    for _ in 0..CHANGES {
        let before = token(&world.till);
        ask(&world);
        world.account.sell(&world.till, 1);
        kills += kill_until_through(&line, &random, || {
            let mut command = command(NODE, &world.till, &["sync", "now"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        });
        settle(&world.till);
        assert_changed(&world, &before);
    }
    println!("{kills} kills in {CHANGES} changes");
    assert!(kills >= CHANGES, "each is cut off at least once");
    world.finish();
}

#[test]
fn an_expired_token_stops_sync_and_never_selling_and_a_join_code_brings_everything_to_the_hub_once()
{
    let mut world = World::new("token-expired");
    let before = token(&world.till);
    let url = world.stop_hub();
    let db = open(&world.hub_data.join("hub.db"));
    db.execute("UPDATE node SET token_expires_ms = 1_000_000_000_000", ())
        .expect("its time is over");
    db.close();
    world.start_hub(&url);
    world.account.sell(&world.till, 2);
    node(&world.till, &["sync", "now"]).fails(REFUSED, "token expired on 2001-09-09");
    let told = status(&world.till);
    assert_eq!(told["sync"], "auth_refused");
    let notice = told["notice"].as_str().expect("what to do");
    assert!(
        notice.contains("join code") && notice.contains("selling goes on"),
        "{notice}"
    );
    let nodes = world.nodes();
    assert_eq!(nodes[0]["state"], "token_expired");
    // The day is closed meanwhile, under the token that has ended.
    world.account.sell(&world.till, 1);
    let closed = node(&world.till, &["close-day", "--json"]).json();
    let day = closed["closure"]["day"].as_str().expect("a day").to_owned();
    node(&world.till, &["sync", "now"]).fails(REFUSED, "join code");
    let code = join_code(&world.hub_data, "France");
    node(&world.till, &["activate", "--join", &code]).succeeds();
    settle(&world.till);
    assert_changed(&world, &before);
    hub(&world.hub_data, &["proof", "--day", &day]).succeeds();
    world.finish();
}

#[test]
fn a_hub_that_is_restored_from_before_the_change_is_told_again_without_a_person() {
    let mut world = World::new("token-hub-restored");
    let url = world.stop_hub();
    let backup = world.dir.join("backup");
    copy(&world.hub_data, &backup);
    world.start_hub(&url);
    let before = token(&world.till);
    ask(&world);
    world.account.sell(&world.till, 2);
    settle(&world.till);
    assert_changed(&world, &before);
    world.stop_hub();
    replace(&world.hub_data, &backup);
    world.start_hub(&url);
    world.account.sell(&world.till, 1);
    settle(&world.till);
    assert_changed(&world, &before);
    world.finish();
}

#[test]
fn a_till_that_is_restored_from_before_the_change_needs_a_join_code_and_loses_nothing() {
    let mut world = World::new("token-till-restored");
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    ask(&world);
    world.account.sell(&world.till, 2);
    settle(&world.till);
    replace(&world.till, &backup);
    // It may be anybody who found an old disk.
    node(&world.till, &["sync", "now"]).fails(REFUSED, "has had another token since");
    let code = join_code(&world.hub_data, "France");
    node(&world.till, &["activate", "--join", &code]).succeeds();
    settle(&world.till);
    world.account.sell(&world.till, 2);
    settle(&world.till);
    world.finish();
}

/// Syncs in this process, with that keyring in front of the files.
fn sync_with(keyring: &Arc<CredentialStore>, data: &Path) -> SyncReport {
    let options = NodeOptions {
        keyring: Keyring::Given(Arc::clone(keyring)),
        ..NodeOptions::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let opened = Node::open(data, Config::default(), Env::system(), &options);
    let node = opened.expect("opens");
    runtime
        .block_on(sync_once(&node))
        .expect("the hub takes it")
}

#[test]
fn a_token_that_changes_under_a_desktops_keyring_is_found_by_a_service_that_has_none() {
    let mut world = World::new("token-service");
    let before = token(&world.till);
    let keyring: Arc<CredentialStore> = mock::Store::new().expect("a keyring in memory");
    ask(&world);
    world.account.sell(&world.till, 1);
    sync_with(&keyring, &world.till);
    // The commands of these tests have no keyring, as a service has none.
    settle(&world.till);
    assert_changed(&world, &before);
    world.finish();
}

#[test]
fn a_token_that_another_store_kept_is_found_when_the_one_at_hand_is_refused() {
    let mut world = World::new("token-stores");
    let good = token(&world.till);
    let keyring: Arc<CredentialStore> = mock::Store::new().expect("a keyring in memory");
    // The keyring was away while the token changed.
    let id = status(&world.till)["node_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let entry = keyring.build("counterfoil", &format!("node-{id}"), None);
    let entry = entry.expect("an entry");
    entry.set_password("cf_ended").expect("kept");
    world.account.sell(&world.till, 1);
    sync_with(&keyring, &world.till);
    assert!(entry.get_password().is_err(), "it is asked with no more");
    assert_eq!(token(&world.till), good);
    assert_eq!(answer(&world, &good), 200);
    world.finish();
}
