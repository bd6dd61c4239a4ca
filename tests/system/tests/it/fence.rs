//! X8, G4: a till that was restored from a backup, or copied, repeats no number before anybody has told it so.

use crate::process::{Daemon, eventually, fence_dir, node};
use crate::store::open;
use crate::world::{World, copy, replace, settle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Numbers that were printed; one that is printed again is a failure.
#[derive(Default)]
struct Printed(BTreeSet<String>);

impl Printed {
    fn add(&mut self, numbers: Vec<String>) {
        for number in numbers {
            assert!(!self.0.contains(&number), "{number} again: {:?}", self.0);
            self.0.insert(number);
        }
    }
}

#[test]
fn a_till_that_a_person_fences_repeats_no_number_offline() {
    let mut world = World::new("by-hand");
    let mut printed = Printed::default();
    // The whole machine, with what lies outside of the folder.
    let (backup, marks) = (world.dir.join("backup"), world.dir.join("backup-marks"));
    copy(&world.till, &backup);
    copy(&fence_dir(&world.till), &marks);
    printed.add(world.account.sell(&world.till, 3));
    settle(&world.till);
    let url = world.stop_hub();
    // Put back twice: the second time from the same backup, which knows nothing of the first.
    for _ in 0..2 {
        replace(&world.till, &backup);
        replace(&fence_dir(&world.till), &marks);
        assert_eq!(series(&world.till), "L1", "nothing here can tell");
        let nameless = node(&world.till, &["fence", "--by", " "]);
        nameless.fails(1, "`by` is a name");
        let fenced = node(&world.till, &["fence", "--by", "jo", "--json"]).json();
        assert_eq!(fenced["left"], "L1", "{fenced}");
        let status = node(&world.till, &["status", "--json"]).json();
        assert_eq!(status["series"], fenced["series"]);
        assert_eq!(status["fenced"], fenced);
        let shown = node(&world.till, &["status"]).stdout;
        assert!(shown.contains("in place of L1: jo says so"), "{shown}");
        printed.add(world.account.sell(&world.till, 2));
        let twin = world.dir.join("twin");
        if !twin.exists() {
            copy(&world.till, &twin);
        }
    }
    world.start_hub(&url);
    // What the first of them sold is in the copy of it alone.
    settle(&world.dir.join("twin"));
    let status = settle(&world.till);
    let series = status["series"].as_str().expect("a series");
    assert!(series.starts_with("L3."), "{status}");
    printed.add(world.account.sell(&world.till, 1));
    settle(&world.till);
    let logs = node(&world.till, &["logs", "--json"]).stdout;
    assert!(
        logs.contains("fenced") && logs.contains("identity_changed"),
        "{logs}"
    );
    assert_eq!(world.nodes().len(), 3);
    world.finish();
}

fn series(data: &Path) -> String {
    let status = node(data, &["status", "--json"]).json();
    status["series"].as_str().expect("a series").to_owned()
}

/// What the till says of the series that it left.
fn why(data: &Path) -> String {
    let status = node(data, &["status", "--json"]).json();
    status["fenced"]["why"].as_str().unwrap_or("").to_owned()
}

#[test]
fn a_till_that_is_put_back_over_and_over_repeats_no_number_offline() {
    let mut world = World::new("over-and-over");
    let mut printed = Printed::default();
    let url = world.stop_hub();
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    printed.add(world.account.sell(&world.till, 2));
    for round in 0..3 {
        // What was sold since the backup is gone with the folder: keep it for the hub.
        let kept = world.dir.join(&format!("kept-{round}"));
        copy(&world.till, &kept);
        replace(&world.till, &backup);
        printed.add(world.account.sell(&world.till, 1));
        assert!(why(&world.till).contains("restored from a backup"));
        // It goes on there, also when it is put back to a moment of the series that it has now.
        let (later, fenced) = (
            world.dir.join(&format!("later-{round}")),
            series(&world.till),
        );
        copy(&world.till, &later);
        printed.add(world.account.sell(&world.till, 2));
        assert_eq!(series(&world.till), fenced);
        let kept = world.dir.join(&format!("kept-later-{round}"));
        copy(&world.till, &kept);
        replace(&world.till, &later);
        printed.add(world.account.sell(&world.till, 1));
        assert_ne!(series(&world.till), fenced);
    }
    world.start_hub(&url);
    for round in 0..3 {
        for kept in ["kept", "kept-later"] {
            settle(&world.dir.join(&format!("{kept}-{round}")));
        }
    }
    settle(&world.till);
    world.finish();
}

#[test]
fn copies_on_one_machine_number_apart_before_any_contact() {
    let mut world = World::new("copies");
    let mut printed = Printed::default();
    let url = world.stop_hub();
    let mut tills = vec![world.till.clone()];
    for (name, of) in [("first", 0), ("second", 0), ("of-the-first", 1)] {
        let data = world.dir.join(name);
        copy(&tills[of], &data);
        tills.push(data);
        for data in &tills {
            printed.add(world.account.sell(data, 1));
        }
    }
    assert_eq!(series(&world.till), "L1", "the original goes on");
    for data in &tills[1..] {
        assert!(why(data).contains("copy of another"), "{}", why(data));
    }
    world.start_hub(&url);
    for data in &tills {
        settle(data);
        printed.add(world.account.sell(data, 1));
        settle(data);
    }
    world.finish();
}

/// Whether a series has its mark.
fn is_marked(data: &Path, series: &str) -> bool {
    let tag = series.split('.').nth(1).expect("a tag");
    let marks = std::fs::read_dir(fence_dir(data)).expect("the folder of marks");
    let names = marks.map(|mark| mark.expect("a mark").file_name());
    names
        .into_iter()
        .any(|name| name.to_string_lossy().ends_with(&format!("{tag}.json")))
}

#[test]
fn a_copy_made_between_a_fence_and_the_first_sale_behind_it_numbers_apart() {
    let mut world = World::new("between");
    let mut printed = Printed::default();
    let url = world.stop_hub();
    let daemon = Daemon::node(&world.till);
    let fenced = node(&world.till, &["fence", "--by", "jo", "--json"]).json();
    let begun = fenced["series"].as_str().expect("a series");
    eventually("the new series has its mark", || {
        is_marked(&world.till, begun)
    });
    drop(daemon);
    let data = world.dir.join("copy");
    copy(&world.till, &data);
    for data in [&world.till, &data] {
        printed.add(world.account.sell(data, 1));
    }
    assert_eq!(series(&world.till), begun, "the original goes on");
    assert!(why(&data).contains("copy of another"), "{}", why(&data));
    world.start_hub(&url);
    for data in [&world.till, &data] {
        settle(data);
    }
    world.finish();
}

#[test]
fn a_copy_that_comes_without_its_mark_numbers_apart() {
    let mut world = World::new("without");
    let mut printed = Printed::default();
    let fence = fence_dir(&world.till);
    let url = world.stop_hub();
    let (backup, elsewhere) = (world.dir.join("backup"), world.dir.join("elsewhere"));
    copy(&world.till, &backup);
    printed.add(world.account.sell(&world.till, 2));
    let kept = world.dir.join("kept");
    copy(&world.till, &kept);

    // The same place on another machine.
    std::fs::remove_dir_all(&fence).expect("removed");
    replace(&world.till, &backup);
    printed.add(world.account.sell(&world.till, 1));
    assert!(why(&world.till).contains("another machine"));
    // Another place there.
    copy(&backup, &elsewhere);
    std::fs::remove_dir_all(&fence).expect("removed");
    printed.add(world.account.sell(&elsewhere, 1));
    assert!(why(&elsewhere).contains("another machine"));
    world.start_hub(&url);
    for data in [&kept, &elsewhere, &world.till.clone()] {
        settle(data);
    }
    world.finish();
}

/// One of two copies that run, each as its machine or container has it.
struct Running<'d> {
    name: &'d str,
    daemon: &'d Daemon,
}

impl Running<'_> {
    fn status(&self) -> Value {
        self.daemon.get("/v1/status")
    }

    /// Sells, and waits until the mark of the series says so.
    fn sell(&self, world: &mut World) -> Vec<String> {
        let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
        let sale = json!({"lines": [line], "tender": "cash"});
        let (status, sold) = self.daemon.post("/v1/sales", &sale).expect("an answer");
        assert_eq!(status, 200, "{}: {sold}", self.name);
        let id = sold["id"].as_str().expect("an id").to_owned();
        assert_eq!(world.account.0.insert(id, 255), None, "a new receipt");
        let status = self.status();
        let series = status["series"].as_str().expect("a series");
        let tag = series.split('.').nth(1).map(|tag| format!("-{tag}"));
        let node = status["node_id"].as_str().expect("an id");
        let mark = format!("{node}{}.json", tag.unwrap_or_default());
        let mark = fence_dir(&world.till).join(mark);
        eventually("it is marked", || {
            let read = std::fs::read(&mark).unwrap_or_default();
            let mark: Value = serde_json::from_slice(&read).unwrap_or_default();
            mark["seq"] == status["journal_seq"]
        });
        vec![format!("{}-{}", sold["series"], sold["number"]).replace('"', "")]
    }
}

#[test]
fn copies_that_run_at_one_place_with_one_fence_folder_number_apart() {
    for first in ["original", "twin"] {
        let mut world = World::new(&format!("one-place-{first}"));
        let mut printed = Printed::default();
        let url = world.stop_hub();
        let (twin, away) = (world.dir.join("twin"), world.dir.join("away"));
        copy(&world.till, &twin);
        // Its files stay open when another folder takes the place, as in a container of its own.
        let of_original = Daemon::node(&world.till);
        std::fs::rename(&world.till, &away).expect("renamed");
        std::fs::rename(&twin, &world.till).expect("renamed");
        let of_twin = Daemon::node(&world.till);
        let mut running = [("original", &of_original), ("twin", &of_twin)]
            .map(|(name, daemon)| Running { name, daemon });
        running.sort_by_key(|it| it.name != first);
        for _ in 0..3 {
            for it in &running {
                printed.add(it.sell(&mut world));
            }
        }
        let [one, other] = running.map(|it| it.status());
        assert_eq!(one["series"], "L1", "whoever sold first goes on");
        let why = other["fenced"]["why"].as_str().expect("a reason");
        assert!(why.contains("runs at the same time"), "{why}");
        drop((of_original, of_twin));
        world.start_hub(&url);
        for data in [&away, &world.till] {
            settle(data);
        }
        world.finish();
    }
}

#[test]
fn a_fence_folder_that_lasts_as_long_as_its_container_is_named() {
    let mut world = World::new("volatile");
    let mut printed = Printed::default();
    let _url = world.stop_hub();
    let kept = world.dir.join("kept");
    for start in 0..3 {
        // A new container: the data are on their volume, numbered anew, and the marks are gone.
        std::fs::remove_dir_all(fence_dir(&world.till)).expect("removed");
        std::fs::rename(&world.till, &kept).expect("renamed");
        copy(&kept, &world.till);
        std::fs::remove_dir_all(&kept).expect("removed");
        printed.add(world.account.sell(&world.till, 1));
        let why = why(&world.till);
        assert!(why.contains("another machine"), "{why}");
        assert_eq!(why.contains("a volume of its own"), start > 0, "{why}");
    }
}

#[test]
fn a_note_of_the_mark_that_cannot_be_read_is_told_once_and_no_reason() {
    let mut world = World::new("damaged-note");
    let _url = world.stop_hub();
    let damage = "UPDATE state SET value = '{' WHERE key = 'fence_mark'";
    let conn = open(&world.till.join("local.db"));
    conn.execute_batch(damage).expect("damaged");
    conn.abandon();
    let told = node(&world.till, &["status"]);
    assert!(told.stderr.contains("cannot be read"), "{told:?}");
    assert_eq!(node(&world.till, &["status"]).stderr, "");
    assert_eq!(world.account.sell(&world.till, 1), ["L1-3"]);
    // And the mark is known again.
    std::fs::remove_dir_all(fence_dir(&world.till)).expect("removed");
    let data = world.dir.join("copy");
    copy(&world.till, &data);
    assert_ne!(series(&data), "L1");
}

#[test]
fn a_folder_that_was_moved_goes_on_with_its_series() {
    let mut world = World::new("moved");
    let mut printed = Printed::default();
    let _url = world.stop_hub();
    let (renamed, copied, link) = (
        world.dir.join("renamed"),
        world.dir.join("copied"),
        world.dir.join("link"),
    );
    std::fs::rename(&world.till, &renamed).expect("renamed");
    printed.add(world.account.sell(&renamed, 1));
    // To another disk.
    copy(&renamed, &copied);
    std::fs::remove_dir_all(&renamed).expect("removed");
    // Whatever else takes its name is no till.
    std::fs::write(&renamed, "").expect("written");
    printed.add(world.account.sell(&copied, 1));
    std::os::unix::fs::symlink(&copied, &link).expect("linked");
    printed.add(world.account.sell(&link, 1));
    printed.add(world.account.sell(&copied, 1));
    let expected: BTreeSet<String> = (3..=6).map(|number| format!("L1-{number}")).collect();
    assert_eq!(printed.0, expected);
    // And is known where it is now.
    let backup = world.dir.join("backup");
    copy(&copied, &backup);
    printed.add(world.account.sell(&copied, 1));
    replace(&copied, &backup);
    printed.add(world.account.sell(&copied, 1));
}

#[test]
fn a_mark_that_is_lost_alone_costs_nothing() {
    let mut world = World::new("lost-mark");
    let fence = fence_dir(&world.till);
    let _url = world.stop_hub();
    let lose: [fn(&Path); 4] = [
        |fence| std::fs::remove_dir_all(fence).expect("removed"),
        |fence| {
            for mark in std::fs::read_dir(fence).expect("a folder") {
                std::fs::write(mark.expect("a mark").path(), "{").expect("written");
            }
        },
        // Nothing can be read or written there any more.
        |fence| {
            std::fs::remove_dir_all(fence).expect("removed");
            std::fs::write(fence, "").expect("written");
        },
        |fence| std::fs::remove_file(fence).expect("removed"),
    ];
    for (round, lose) in lose.into_iter().enumerate() {
        lose(&fence);
        let sold = world.account.sell(&world.till, 1);
        assert_eq!(sold, [format!("L1-{}", round + 3)]);
    }
    assert!(fence.is_dir(), "there is a mark again");
    let warned = node(&world.till, &["status"]);
    assert_eq!(warned.stderr, "", "nothing to say");
    std::fs::remove_dir_all(&fence).expect("removed");
    std::fs::write(&fence, "").expect("written");
    let warned = node(&world.till, &["status"]);
    assert!(warned.stderr.contains("may not be known"), "{warned:?}");
}

/// The mark of a till that has not left its first series.
fn first_mark(data: &Path) -> PathBuf {
    let status = node(data, &["status", "--json"]).json();
    let id = status["node_id"].as_str().expect("an id");
    fence_dir(data).join(format!("{id}.json"))
}

#[test]
fn a_mark_that_cannot_be_read_is_not_overwritten() {
    let mut world = World::new("unreadable-mark");
    let _url = world.stop_hub();
    let mark = first_mark(&world.till);
    let kept = world.dir.join("mark");
    std::fs::rename(&mark, &kept).expect("renamed");
    std::os::unix::fs::symlink(&mark, &mark).expect("linked");
    assert_eq!(world.account.sell(&world.till, 1), ["L1-3"]);
    assert!(mark.is_symlink(), "what may tell a copy is still there");
    // As soon as it can be read the till marks again.
    let daemon = Daemon::node(&world.till);
    std::fs::rename(&kept, &mark).expect("renamed");
    let before = std::fs::read(&mark).expect("a mark");
    let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
    let sale = json!({"lines": [line], "tender": "cash"});
    let (status, sold) = daemon.post("/v1/sales", &sale).expect("an answer");
    assert_eq!((status, &sold["series"]), (200, &json!("L1")), "{sold}");
    eventually("it is marked", || {
        std::fs::read(&mark).expect("a mark") != before
    });
}

#[test]
fn a_fence_folder_that_hangs_stops_no_sale() {
    let mut world = World::new("hanging");
    let _url = world.stop_hub();
    let mark = first_mark(&world.till);
    let daemon = Daemon::node(&world.till);
    std::fs::remove_file(&mark).expect("removed");
    // Whoever reads it waits for somebody who writes.
    let made = Command::new("mkfifo").arg(&mark).status();
    assert!(made.expect("it starts").success());
    let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
    let sale = json!({"lines": [line], "tender": "cash"});
    for number in 3..6 {
        let (status, sold) = daemon.post("/v1/sales", &sale).expect("an answer");
        assert_eq!((status, &sold["number"]), (200, &json!(number)), "{sold}");
    }
    assert_eq!(daemon.get("/v1/status")["series"], "L1");
    assert_eq!(daemon.get("/healthz")["status"], "ok");
    // Nor does it keep the daemon from ending.
    let stat = format!("/proc/{}/stat", daemon.pid());
    let pid = daemon.pid().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(told.expect("it starts").success());
    eventually("the daemon has ended", || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
    });
}

#[test]
fn a_till_that_is_only_killed_is_never_fenced_and_still_known_when_it_is_put_back() {
    const KILLS: i64 = 30;
    let mut world = World::new("killed");
    let _url = world.stop_hub();
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    let line = json!({"sku": "TEA", "quantity": "1", "unit_price": "2.55"});
    let sale = json!({"lines": [line], "tender": "cash"});
    for kill in 0..KILLS {
        let daemon = Daemon::node(&world.till);
        // Some are killed in the pause between two marks.
        for _ in 0..=kill % 3 {
            let (status, sold) = daemon.post("/v1/sales", &sale).expect("an answer");
            assert_eq!((status, &sold["series"]), (200, &json!("L1")), "{sold}");
        }
        drop(daemon);
    }
    let log = node(&world.till, &["logs", "--json"]).stdout;
    assert!(!log.contains("fenced"), "{log}");
    replace(&world.till, &backup);
    assert_ne!(series(&world.till), "L1");
}

#[test]
fn a_machine_without_marks_sells_on() {
    let world = World::new("no-marks");
    std::fs::write(world.till.join("node.toml"), "fence_dir = \"\"\n").expect("written");
    let mut command = crate::process::command(crate::process::NODE, &world.till, &["status"]);
    command.env_remove("COUNTERFOIL_FENCE_DIR");
    let done = command.output().expect("it starts");
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let below = world.till.join("marks");
    command.env("COUNTERFOIL_FENCE_DIR", &below);
    let done = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && said.contains("go back in time"),
        "{said}"
    );
    assert!(!below.exists(), "no mark is made there");
}
