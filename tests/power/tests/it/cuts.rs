//! Power cuts and failing calls: a sample of each scenario, and the proof that the sample bites.

use crate::Ground;
use counterfoil_migrate::{Connection, Durability};
use power::crash::{Lie, syncs};
use power::disk::{Failure, Image};
use power::faults::sweep;
use power::run::{Effort, enumerate, record};
use power::scenario::Scenario;
use power::tape::{Side, Tape};

/// States of each scenario and side.
const SAMPLE: u64 = 250;

fn effort(states: u64) -> Effort {
    Effort {
        states,
        judged: u64::MAX,
        seed: 7,
    }
}

/// A sample of one scenario, on every side whose power is cut.
fn survives_power_cuts(scenario: Scenario) {
    survives(scenario, SAMPLE);
}

fn survives(scenario: Scenario, states: u64) {
    // Each place is a folder of its own: a database that was shown there once stays shown.
    let ground = Ground::new(&format!("{scenario:?}"));
    let recording = record(scenario, &ground.place(), 1).unwrap();
    for side in scenario.sides() {
        let (lie, place) = (Lie::None, ground.place());
        let found = enumerate(&recording, *side, lie, &place, effort(states)).unwrap();
        assert_eq!(found.violations, 0, "{scenario:?} {side:?}: {found:#?}");
        assert!(found.states >= states, "{scenario:?} {side:?}: {found:?}");
    }
}

#[test]
fn a_sale_survives_power_cuts() {
    survives_power_cuts(Scenario::Sale);
}

#[test]
fn a_push_survives_power_cuts() {
    survives_power_cuts(Scenario::Push);
}

#[test]
fn a_checkpoint_of_the_till_survives_power_cuts() {
    survives_power_cuts(Scenario::Checkpoint);
}

#[test]
fn a_generation_of_the_hub_survives_power_cuts() {
    survives_power_cuts(Scenario::Generation);
}

#[test]
fn a_book_that_the_hub_lost_comes_back_through_power_cuts() {
    survives_power_cuts(Scenario::LostCopy);
}

#[test]
fn a_difference_upload_survives_power_cuts() {
    survives_power_cuts(Scenario::LostNumbers);
}

#[test]
fn a_bootstrap_survives_power_cuts() {
    survives_power_cuts(Scenario::Bootstrap);
}

#[test]
fn a_catalog_that_is_replaced_survives_power_cuts() {
    // The places at which a catalog can be lost are few: all are visited.
    survives(Scenario::Replacement, 5 * SAMPLE);
}

#[test]
fn a_migration_survives_power_cuts() {
    survives_power_cuts(Scenario::Migration);
}

#[test]
fn an_activation_survives_power_cuts() {
    survives_power_cuts(Scenario::Activation);
}

#[test]
fn a_change_of_token_survives_power_cuts() {
    survives(Scenario::Rotation, 2 * SAMPLE);
}

#[test]
fn tokens_without_their_sync_are_lost() {
    let ground = Ground::new("tokens");
    let recording = record(Scenario::Rotation, &ground.place(), 1).unwrap();
    let beside = Lie::Beside;
    let found = enumerate(&recording, Side::Node, beside, &ground.place(), effort(400)).unwrap();
    assert!(found.violations > 0, "{found:?}");
}

#[test]
fn commits_without_their_sync_lose_sales() {
    let ground = Ground::new("normal");
    let recording = record(Scenario::Sale, &ground.place(), 1).unwrap();
    let normal = Lie::NormalCommits;
    let found = enumerate(&recording, Side::Node, normal, &ground.place(), effort(200)).unwrap();
    assert!(found.kinds.contains_key("LOST"), "{found:?}");
}

#[test]
fn a_hub_that_answers_before_its_sync_loses_what_it_received() {
    let ground = Ground::new("unsynced");
    let recording = record(Scenario::Push, &ground.place(), 1).unwrap();
    let found = enumerate(
        &recording,
        Side::Hub,
        Lie::Logs,
        &ground.place(),
        effort(400),
    )
    .unwrap();
    assert!(found.kinds.contains_key("LOST"), "{found:?}");
}

/// The negative control of the sale leaves out exactly those syncs that the engine leaves out.
#[test]
fn the_control_is_what_the_engine_does_with_normal() {
    let ground = Ground::new("engine");
    let syncs_of = |durability, lie| {
        counterfoil_replica::vfs::register_deterministic(3);
        let tape = Tape::default();
        let disk = (ground.place()).insert(Side::Node, Image::default(), Some(tape.clone()));
        let path = ground.place().path(Side::Node, "plain.db");
        let connection = Connection::open(&path, durability).unwrap();
        connection
            .execute_batch("CREATE TABLE t(a); CREATE TABLE u(a)")
            .unwrap();
        for round in 0..3 {
            for _ in 0..5 {
                let sql = "INSERT INTO t VALUES (randomblob(3000))";
                connection.execute_batch(sql).unwrap();
            }
            if round < 2 {
                assert!(!connection.checkpoint_truncate().unwrap().busy);
            }
        }
        let syncs = syncs(&tape.entries(), Side::Node, lie);
        drop((connection, disk));
        syncs
    };
    let full = syncs_of(Durability::Full, Lie::None);
    let normal = syncs_of(Durability::Normal, Lie::None);
    assert_eq!(syncs_of(Durability::Full, Lie::NormalCommits), normal);
    assert!(normal.len() < full.len(), "{normal:?} {full:?}");
}

#[test]
fn a_call_that_fails_breaks_no_promise() {
    let ground = Ground::new("faults");
    let mut faults = 0;
    for scenario in Scenario::ALL {
        for side in scenario.sides() {
            for failure in [Failure::Io, Failure::Full, Failure::ShortWrite] {
                let found = sweep(scenario, *side, failure, &ground.place(), 5, 331).unwrap();
                faults += found.faults;
                assert_eq!(
                    found.violations, 0,
                    "{scenario:?} {side:?} {failure:?}: {found:#?}"
                );
            }
        }
    }
    assert!(faults > 50, "{faults} calls failed");
}

/// Closing a database folds its log and says nothing when it cannot.
#[test]
fn a_catalog_that_cannot_be_folded_is_not_put_in_place() {
    let ground = Ground::new("catalog");
    let failure = Failure::Io;
    let found = sweep(
        Scenario::Migration,
        Side::Hub,
        failure,
        &ground.place(),
        1,
        3,
    )
    .unwrap();
    assert!(found.faults > 50, "{found:?}");
    assert_eq!(found.violations, 0, "{found:#?}");
}
