//! Lanes of one shop, in a network whose packets are cut off, lost, late and doubled.

use crate::broken::programs;
use std::time::Duration;
use stress::{LaneOptions, LaneOutcome, Storm, lanes};

async fn passes(options: LaneOptions) -> LaneOutcome {
    let wants_all = options.spaces;
    let outcome = Box::pin(lanes(&programs(), &options)).await;
    let outcome = outcome.expect("a run that can be judged");
    assert!(outcome.failures().is_empty(), "{outcome}");
    // CI is root. Elsewhere it is said what was not tried.
    let is_ci = std::env::var_os("CI").is_some_and(|it| it == "true");
    assert!(
        !is_ci || !wants_all || outcome.missing().is_empty(),
        "{outcome}"
    );
    outcome
}

/// Of so many lanes that trade for so many seconds, each in a network namespace of its own, told of the others.
fn options(seed: u64, lanes: usize, seconds: u64, storm: Storm) -> LaneOptions {
    LaneOptions {
        seed,
        lanes,
        time: Duration::from_secs(seconds),
        storm,
        spaces: true,
        configured: true,
        old: false,
        keep: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_in_a_network_that_breaks_in_every_way_hold_the_same_and_the_hub_counts_each_sale_once()
 {
    let outcome = passes(options(1, 5, 40, Storm::Breaks)).await;
    println!("{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_lanes_in_a_network_that_breaks_in_every_way_hold_the_same() {
    let few = |lanes| passes(options(10, lanes, 12, Storm::Breaks));
    let (two, three, four) = tokio::join!(few(2), few(3), few(4));
    println!("{two}\n{three}\n{four}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_on_lines_of_two_seconds_each_way_meet_and_hold_the_same() {
    let outcome = passes(options(5, 3, 20, Storm::Slow)).await;
    println!("{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_lanes_on_one_machine_hold_the_same() {
    let outcome = passes(LaneOptions {
        spaces: false,
        ..options(2, 32, 5, Storm::Calm)
    })
    .await;
    println!("{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_are_told_of_nobody_find_each_other_and_one_with_another_address_too() {
    let outcome = passes(LaneOptions {
        configured: false,
        ..options(3, 3, 3, Storm::Calm)
    })
    .await;
    println!("{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_two_schema_versions_behind_takes_part_and_goes_on_when_it_is_upgraded() {
    let outcome = passes(LaneOptions {
        old: true,
        ..options(4, 3, 3, Storm::Calm)
    })
    .await;
    println!("{outcome}");
}
