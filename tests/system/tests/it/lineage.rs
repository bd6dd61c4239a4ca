//! Changes of identity in the middle, before activation, and over again at a hub that forgot them.

use crate::process::{Daemon, HUB, hub, join_code, node, request, till};
use crate::store::{assert_whole, column};
use crate::world::{Account, World, at_hub, copy, is_first_in, replace, settle};
use counterfoil_domain::lineage::Point;
use counterfoil_protocol::wire::lineage::{IDENTITY_PATH, IdentityAnswer};
use counterfoil_replica::BookReplica;
use counterfoil_replica::env::{Env, Execution};
use counterfoil_shop_node::credentials::{Credentials, token_hash};
use counterfoil_shop_store::{Paths, ShopStore};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Steps of a change of identity, each of which may be the last one before a kill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
enum Step {
    Claimed,
    TokenKept,
    Answered,
    Taken,
}

/// Carries out a change of identity up to a step, as the till does; entries up to `common_seq` are common.
fn cut_off_after(step: Step, data: &Path, hub_url: &str, common_seq: i64) {
    let env = Env::system();
    let paths = Paths::of(data);
    let _pin = BookReplica::open(&paths.book, Arc::clone(&env.files), Execution::Inline);
    let now_ms = env.clock.now_ms();
    let mut store = ShopStore::open(&paths, now_ms, Arc::clone(&env.random)).expect("opens");
    let chain = store.chain_at(common_seq).expect("read").expect("an entry");
    let common = Point {
        seq: common_seq,
        chain,
    };
    let claim = store.claim_identity(common, now_ms).expect("claimed");
    if step < Step::TokenKept {
        return;
    }
    let present = Credentials::in_files(data, store.node());
    let token = present
        .of(claim.node)
        .token_or_mint(env.random.as_ref())
        .expect("kept");
    if step < Step::Answered {
        return;
    }
    let bearer = present.token().expect("read").expect("a token");
    let body = json!({
        "node": claim.node,
        "token_hash": token_hash(&token),
        "common": common,
        "schemas": counterfoil_hub::HubConfig::new("").schemas,
    });
    let authorization = format!("Bearer {bearer}");
    let headers = [("Authorization", authorization.as_str())];
    let body = body.to_string();
    let answer = request(hub_url, "POST", IDENTITY_PATH, &headers, body.as_bytes());
    let (status, answer) = answer.expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let answer: IdentityAnswer = serde_json::from_value(answer).expect("the answer");
    if step >= Step::Taken {
        store.take_identity(&claim, &answer).expect("taken");
    }
}

#[test]
fn a_change_of_identity_cut_off_after_any_step_is_completed() {
    let mut world = World::new("steps");
    let url = world.stop_hub();
    world.start_hub(&url);
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    let common = settle(&world.till)["journal_seq"].as_i64().expect("a seq");
    world.account.sell(&world.till, 1);
    settle(&world.till);
    let steps = [Step::Claimed, Step::TokenKept, Step::Answered, Step::Taken];
    for (step, lane) in steps.into_iter().zip(2_usize..) {
        replace(&world.till, &backup);
        world.account.sell(&world.till, 1);
        cut_off_after(step, &world.till, &url, common);
        let sold = world.account.sell(&world.till, 1);
        if step != Step::Taken {
            // From the claim on, before the hub has said anything that arrived.
            assert!(is_first_in(&sold[0], "L1"), "after {step:?}: {sold:?}");
        }
        let status = settle(&world.till);
        assert_eq!(status["lane"], lane, "after {step:?}");
        assert_eq!(world.nodes().len(), lane);
        world.account.sell(&world.till, 1);
        settle(&world.till);
    }
    world.finish();
}

#[test]
fn a_folder_copied_in_the_middle_of_a_change_does_not_take_its_twins_identity() {
    let mut world = World::new("claim");
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    world.account.sell(&world.till, 1);
    settle(&world.till);
    replace(&world.till, &backup);
    world.account.sell(&world.till, 1);
    // The claim is in the book, and its answer never arrives.
    let url = world.stop_hub();
    cut_off_after(Step::Claimed, &world.till, &url, 0);
    let clone = world.dir.join("clone");
    copy(&world.till, &clone);
    world.start_hub(&url);
    let first = settle(&world.till);
    world.account.sell(&clone, 1);
    let second = settle(&clone);
    assert_ne!(first["node_id"], second["node_id"]);
    assert_eq!(world.nodes().len(), 3);
    for data in [&world.till, &clone] {
        world.account.sell(data, 1);
        settle(data);
        assert_whole(&data.join("book.db"));
    }
    world.finish();
}

#[test]
fn clones_of_a_folder_in_trial_become_lanes_of_their_own() {
    let dir = TempDir::new("trial-clones");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let _daemon = Daemon::hub(&hub_data);
    let mut account = Account::default();
    till(&data);
    account.sell(&data, 2);
    let tills = [data.clone(), dir.join("second"), dir.join("third")];
    for clone in &tills[1..] {
        copy(&data, clone);
    }
    let mut codes = vec![join_code(&hub_data, "France")];
    for _ in 1..tills.len() {
        let more = hub(&hub_data, &["shop", "join", "France", "--json"]).json();
        codes.push(more["join_code"].as_str().expect("a code").to_owned());
    }
    for (data, code) in tills.iter().zip(&codes) {
        account.sell(data, 1);
        node(data, &["activate", "--join", code]).succeeds();
        account.sell(data, 1);
    }
    for _ in 0..2 {
        for data in tills.iter().rev() {
            settle(data);
            account.sell(data, 1);
        }
    }
    let mut lanes = BTreeSet::new();
    for data in &tills {
        let status = settle(data);
        lanes.insert(status["lane"].as_i64().expect("a lane"));
        assert_whole(&data.join("book.db"));
    }
    assert_eq!(lanes, BTreeSet::from([1, 2, 3]));
    account.assert_settled(&hub_data);

    // A clone that goes to another shop: what it has in common stays France's, and is put aside.
    let trial = dir.join("trial");
    till(&trial);
    account.sell(&trial, 1);
    let twin = dir.join("twin");
    copy(&trial, &twin);
    let code = hub(&hub_data, &["shop", "join", "France", "--json"]).json();
    let code = code["join_code"].as_str().expect("a code");
    node(&trial, &["activate", "--join", code]).succeeds();
    settle(&trial);
    let spain = join_code(&hub_data, "Spain");
    node(&twin, &["activate", "--join", &spain]).succeeds();
    account.sell(&twin, 1);
    settle(&twin);
    assert_eq!(at_hub(&hub_data), account.0);
    let aside: Vec<i64> = column(&hub_data.join("hub.db"), "SELECT seq FROM quarantine");
    assert_eq!(aside, [1]);
}

#[test]
fn a_till_restored_to_before_its_activation_is_activated_as_another_lane() {
    let dir = TempDir::new("before");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let _daemon = Daemon::hub(&hub_data);
    let mut account = Account::default();
    till(&data);
    account.sell(&data, 2);
    let backup = dir.join("backup");
    copy(&data, &backup);
    let code = join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    account.sell(&data, 2);
    settle(&data);
    replace(&data, &backup);
    let again = hub(&hub_data, &["shop", "join", "France", "--json"]).json();
    let code = again["join_code"].as_str().expect("a code");
    node(&data, &["activate", "--join", code]).succeeds();
    let sold = account.sell(&data, 1);
    assert!(is_first_in(&sold[0], "L2"), "no number twice: {sold:?}");
    let status = settle(&data);
    assert_eq!(status["lane"], 2);
    account.assert_settled(&hub_data);
    let shown = node(&data, &["status"]).stdout;
    assert!(
        shown.contains("a copy of one that was activated"),
        "{shown}"
    );
}

/// A till, its clone, and a clone of the clone, all settled.
fn three_generations(dir: &TempDir, data: &Path, account: &mut Account) -> [std::path::PathBuf; 3] {
    let (clone, again) = (dir.join("clone"), dir.join("again"));
    for (from, to) in [(data, &clone), (&clone, &again)] {
        copy(from, to);
        for data in [from, to] {
            account.sell(data, 1);
            settle(data);
        }
    }
    [again, clone, data.to_path_buf()]
}

#[test]
fn a_clone_of_a_clone_finds_back_to_a_hub_that_knows_only_the_first_or_none() {
    for knows_the_first in [true, false] {
        let dir = TempDir::new("generations");
        let (hub_data, data, backup) = (dir.join("hub"), dir.join("till"), dir.join("backup"));
        let daemon = Daemon::hub(&hub_data);
        let code = join_code(&hub_data, "France");
        let mut account = Account::default();
        till(&data);
        let url = daemon.url.clone();
        let address = url.strip_prefix("http://").expect("an address");
        let mut daemon = Some(daemon);
        if !knows_the_first {
            drop(daemon.take());
            copy(&hub_data, &backup);
            daemon = Some(Daemon::start(HUB, &hub_data, address));
        }
        node(&data, &["activate", "--join", &code]).succeeds();
        account.sell(&data, 2);
        settle(&data);
        if knows_the_first {
            drop(daemon.take());
            copy(&hub_data, &backup);
            daemon = Some(Daemon::start(HUB, &hub_data, address));
        }
        let tills = three_generations(&dir, &data, &mut account);
        drop(daemon.take());
        replace(&hub_data, &backup);
        let _daemon = Daemon::start(HUB, &hub_data, address);
        for _ in 0..2 {
            for data in &tills {
                account.sell(data, 1);
                settle(data);
            }
        }
        account.assert_settled(&hub_data);
        let identities: BTreeSet<String> = tills
            .iter()
            .map(|data| settle(data)["node_id"].to_string())
            .collect();
        assert_eq!(identities.len(), tills.len());
    }
}

#[test]
fn the_catalog_comes_also_when_the_book_cannot_go() {
    let mut world = World::new("no-book");
    let status = settle(&world.till);
    let name = status["node_id"].as_str().expect("an id").to_owned();
    let url = world.stop_hub();
    // Something that no program can open as a database, and that is not the hub's to remove.
    let copy = world.hub_data.join("books").join(format!("{name}.db"));
    std::fs::remove_file(&copy).expect("removed");
    std::fs::create_dir_all(copy.join("kept")).expect("made");
    world.start_hub(&url);
    let set = ["catalog", "set", "products", "TEA", "name=Green tea"];
    hub(&world.hub_data, &set).succeeds();
    world.account.sell(&world.till, 1);
    let synced = node(&world.till, &["sync", "now"]);
    assert_ne!(synced.code, Some(0), "the book did not go: {synced:?}");
    let after = node(&world.till, &["status", "--json"]).json();
    assert_ne!(after["last_error"], Value::Null);
    assert!(
        after["catalog_revision"].as_i64() > status["catalog_revision"].as_i64(),
        "{after}"
    );
    let url = world.stop_hub();
    std::fs::remove_dir_all(&copy).expect("removed");
    world.start_hub(&url);
    settle(&world.till);
    world.finish();
}
