//! X8, G4: a till that was restored from a backup, or copied, repeats no number before anybody has told it so.

use crate::process::{hub, node};
use crate::world::{World, copy, replace, settle};
use std::collections::BTreeSet;

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
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    printed.add(world.account.sell(&world.till, 3));
    settle(&world.till);
    let url = world.stop_hub();
    // Put back twice: the second time from the same backup, which knows nothing of the first.
    for _ in 0..2 {
        replace(&world.till, &backup);
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
    assert_eq!(status["fenced"], serde_json::Value::Null, "{status}");
    printed.add(world.account.sell(&world.till, 1));
    settle(&world.till);
    let logs = node(&world.till, &["logs", "--json"]).stdout;
    assert!(
        logs.contains("fenced") && logs.contains("identity_changed"),
        "{logs}"
    );
    assert_eq!(world.nodes().len(), 3);
    hub(&world.hub_data, &["status"]).succeeds();
    world.finish();
}
