//! X6, X8, G9: a till that is restored from a backup or cloned, and a hub that lost part of its disk, come
//! together again without a person and without losing a sale that only one side has.

use crate::process::{Daemon, HUB, NODE, command, eventually, hub, join_code, node, till};
use crate::relay::{Relay, kill_until_through};
use crate::store::{assert_whole, receipt_ids};
use crate::world::{Account, World, at_hub, copy, is_first_in, replace, settle};
use counterfoil_protocol::wire::hub::ACTIVATE_PATH;
use counterfoil_testkit::{SeededRandom, TempDir};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

#[test]
fn a_till_restored_from_a_backup_and_sold_on_goes_on_as_another_lane() {
    let mut world = World::new("restored");
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    let printed = world.account.sell(&world.till, 3);
    assert_eq!(printed, ["L1-3", "L1-4", "L1-5"]);
    settle(&world.till);

    let url = world.stop_hub();
    replace(&world.till, &backup);
    for number in world.account.sell(&world.till, 2) {
        assert!(!printed.contains(&number), "{number} a second time");
    }
    world.start_hub(&url);
    let status = settle(&world.till);
    assert_eq!(
        (&status["lane"], &status["formers"][0]["lane"]),
        (&2.into(), &1.into())
    );
    let sold = world.account.sell(&world.till, 2);
    assert!(
        is_first_in(&sold[0], "L2") && sold[1].ends_with("-2"),
        "{sold:?}"
    );
    settle(&world.till);

    let nodes = world.nodes();
    assert_eq!(nodes.len(), 2, "one change of identity: {nodes:?}");
    assert_eq!(nodes[1]["forked_from"], nodes[0]["node_id"]);
    assert_eq!(nodes[1]["forked_from_lane"], 1);
    let alerts = hub(&world.hub_data, &["status", "--json"]).json();
    let alerts = alerts["alerts"].as_array().expect("a list").clone();
    assert!(
        alerts.iter().any(|alert| alert["kind"] == "till_forked"),
        "{alerts:?}"
    );
    let log = node(&world.till, &["logs", "--json"]);
    assert!(log.stdout.contains("identity_changed"), "{log:?}");
    world.finish();
}

#[test]
fn a_till_restored_without_new_sales_never_repeats_a_number() {
    let mut world = World::new("behind");
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    world.account.sell(&world.till, 3);
    settle(&world.till);
    replace(&world.till, &backup);
    settle(&world.till);
    let sold = world.account.sell(&world.till, 1);
    assert!(is_first_in(&sold[0], "L2"), "{sold:?}");
    settle(&world.till);
    // The same backup once more: the third till of the lineage has the third series.
    replace(&world.till, &backup);
    settle(&world.till);
    let sold = world.account.sell(&world.till, 1);
    assert!(is_first_in(&sold[0], "L3"), "{sold:?}");
    settle(&world.till);
    assert_eq!(world.nodes().len(), 3);
    world.finish();
}

#[test]
fn clones_that_all_sell_become_lanes_of_their_own() {
    let mut world = World::new("clones");
    // What is not delivered yet is in every clone, and counted once.
    world.account.sell(&world.till, 2);
    let mut tills = vec![world.till.clone()];
    for number in 0..3 {
        let data = world.dir.join(&format!("clone{number}"));
        copy(&world.till, &data);
        tills.push(data);
    }
    for _ in 0..3 {
        for data in &tills {
            world.account.sell(data, 2);
        }
        for data in tills.iter().rev() {
            settle(data);
        }
    }
    // A clone of a clone.
    let again = world.dir.join("again");
    copy(&tills[2], &again);
    tills.push(again);
    for data in &tills {
        world.account.sell(data, 1);
        settle(data);
    }
    assert_eq!(world.nodes().len(), tills.len());
    let mut identities = BTreeSet::new();
    for data in &tills {
        let status = settle(data);
        identities.insert(status["node_id"].to_string());
        assert_whole(&data.join("book.db"));
    }
    assert_eq!(identities.len(), tills.len(), "each is its own node");
    world.finish();
}

#[test]
fn clones_that_run_as_daemons_at_the_same_time_come_apart() {
    let mut world = World::new("daemons");
    let clone = world.dir.join("clone");
    copy(&world.till, &clone);
    let tills = [world.till.clone(), clone];
    let daemons = tills.each_ref().map(|data| Daemon::node(data));
    for _ in 0..6 {
        for data in &tills {
            world.account.sell(data, 1);
        }
    }
    eventually("both are counted", || {
        at_hub(&world.hub_data) == world.account.0
    });
    let statuses = daemons.each_ref().map(|daemon| daemon.get("/v1/status"));
    assert_ne!(statuses[0]["node_id"], statuses[1]["node_id"]);
    drop(daemons);
    assert_eq!(world.nodes().len(), 2);
    world.finish();
}

#[test]
fn a_change_of_identity_killed_at_any_answer_makes_one_lane() {
    const RESTORES: usize = 8;
    let (mut world, line) = World::behind_a_line("fire");
    let random = SeededRandom::new(17);
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    world.account.sell(&world.till, 1);
    settle(&world.till);
    let mut kills = 0;
    for number in 1..=RESTORES {
        replace(&world.till, &backup);
        world.account.sell(&world.till, 1);
        kills += sync_under_fire(&world.till, &line, &random);
        let status = settle(&world.till);
        assert_eq!(status["lane"], number + 1);
        let sold = world.account.sell(&world.till, 1);
        assert!(
            is_first_in(&sold[0], &format!("L{}", number + 1)),
            "{sold:?}"
        );
        // The folder goes away next, with whatever is not delivered.
        settle(&world.till);
    }
    println!("{kills} kills over {RESTORES} changes of identity");
    assert!(kills >= RESTORES, "each is killed at least once");
    assert_eq!(world.nodes().len(), RESTORES + 1, "no lane without a till");
    world.finish();
}

/// Syncs a till that is killed at one answer after the other; the number of kills.
fn sync_under_fire(data: &Path, line: &Relay, random: &SeededRandom) -> usize {
    kill_until_through(line, random, || {
        let mut command = command(NODE, data, &["sync", "now"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    })
}

#[test]
fn a_hub_restored_from_an_older_backup_gets_everything_again() {
    let mut world = World::new("old-hub");
    let backup = world.dir.join("hub-backup");
    let url = world.stop_hub();
    copy(&world.hub_data, &backup);
    world.start_hub(&url);
    world.account.sell(&world.till, 3);
    settle(&world.till);
    // A till that changed its identity since is unknown to the backup.
    let clone = world.dir.join("clone");
    copy(&world.till, &clone);
    for data in [&world.till, &clone] {
        world.account.sell(data, 2);
        settle(data);
    }
    let url = world.stop_hub();
    let hub_data = world.hub_data.clone();
    replace(&hub_data, &backup);
    world.start_hub(&url);
    for data in [&clone, &world.till.clone()] {
        world.account.sell(data, 1);
        settle(data);
    }
    assert_eq!(world.nodes().len(), 2);
    world.finish();
}

/// A hub with a shop that waits for its till, and a backup of that moment.
struct BackedUp {
    daemon: Daemon,
    data: PathBuf,
    backup: PathBuf,
    url: String,
    code: String,
}

impl BackedUp {
    fn in_folder(dir: &TempDir) -> Self {
        let (data, backup) = (dir.join("hub"), dir.join("backup"));
        let daemon = Daemon::hub(&data);
        let code = join_code(&data, "Spain");
        let url = daemon.kill();
        copy(&data, &backup);
        Self {
            daemon: Self::start(&data, &url),
            data,
            backup,
            url,
            code,
        }
    }

    fn start(data: &Path, url: &str) -> Daemon {
        let address = url.strip_prefix("http://").expect("an address");
        Daemon::start(HUB, data, address)
    }

    /// The hub dies and comes back as it was at the backup.
    fn restored(self) -> Self {
        self.daemon.kill();
        replace(&self.data, &self.backup);
        Self {
            daemon: Self::start(&self.data, &self.url),
            ..self
        }
    }
}

#[test]
fn a_till_that_is_younger_than_the_hubs_backup_is_taken_in_again() {
    let dir = TempDir::new("young");
    let data = dir.join("till");
    let hub = BackedUp::in_folder(&dir);
    let mut account = Account::default();
    till(&data);
    node(&data, &["activate", "--join", &hub.code]).succeeds();
    account.sell(&data, 2);
    settle(&data);
    let hub = hub.restored();
    account.sell(&data, 1);
    settle(&data);
    account.assert_settled(&hub.data);
}

#[test]
fn a_till_that_was_moved_is_taken_in_again_where_its_hub_is_now() {
    let dir = TempDir::new("moved");
    let data = dir.join("till");
    let hub = BackedUp::in_folder(&dir);
    let (url, former) = (hub.url.clone(), Relay::to(&hub.url));
    let mut account = Account::default();
    till(&data);
    node(
        &data,
        &["activate", "--join", &hub.code, "--hub", &former.url],
    )
    .succeeds();
    account.sell(&data, 2);
    settle(&data);
    node(&data, &["hub", &url]).succeeds();
    former.lose_answer_of(ACTIVATE_PATH);
    let hub = hub.restored();
    account.sell(&data, 1);
    let status = settle(&data);
    assert_eq!(status["hub_url"], url.as_str());
    assert!(!former.has_lost_it(), "nobody asks there any more");
    account.assert_settled(&hub.data);
}

#[test]
fn a_hub_that_lost_a_book_or_everything_but_its_own_database_gets_it_again() {
    let mut world = World::new("lost");
    let books = world.hub_data.join("books");
    let url = world.stop_hub();
    std::fs::remove_dir_all(&books).expect("removed");
    world.start_hub(&url);
    world.account.sell(&world.till, 1);
    settle(&world.till);
    let url = world.stop_hub();
    for entry in std::fs::read_dir(&world.hub_data).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            std::fs::remove_dir_all(&path).expect("removed");
        } else if !name.starts_with("hub.db") {
            std::fs::remove_file(&path).expect("removed");
        }
    }
    world.start_hub(&url);
    world.account.sell(&world.till, 1);
    settle(&world.till);
    assert_eq!(world.nodes().len(), 1, "it is the same till");
    assert_eq!(
        receipt_ids(&world.till.join("book.db")).len(),
        world.account.0.len()
    );
    world.finish();
}

#[test]
fn a_restored_till_whose_copy_the_hub_has_lost_counts_nothing_twice() {
    let mut world = World::new("both-lost");
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    world.account.sell(&world.till, 3);
    settle(&world.till);
    let url = world.stop_hub();
    std::fs::remove_dir_all(world.hub_data.join("books")).expect("removed");
    world.start_hub(&url);
    replace(&world.till, &backup);
    world.account.sell(&world.till, 2);
    settle(&world.till);
    let sold = world.account.sell(&world.till, 1);
    assert!(is_first_in(&sold[0], "L2"), "{sold:?}");
    settle(&world.till);
    world.finish();
}
