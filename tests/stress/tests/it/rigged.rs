//! Programs with crash points in them: `cargo test --package stress --features rigged`.

use crate::broken::programs;
use counterfoil_replica::crash::CrashPoint;
use stress::{MatrixOptions, matrix};

/// What the names of points begin with; a test for each.
const GROUPS: [&str; 10] = [
    "push.",
    "difference.",
    "checkpoint.",
    "pull.",
    "bootstrap.",
    "swap.",
    "copy.",
    "generation.",
    "identity.",
    "token.",
];

#[expect(clippy::print_stdout, reason = "the table is for people")]
async fn is_survived(group: &str) {
    assert!(GROUPS.contains(&group), "{group} is a group");
    let options = MatrixOptions {
        seed: 1,
        rounds: 1,
        only: group.to_owned(),
        keep: None,
    };
    let matrix = Box::pin(matrix(&programs(), &options)).await;
    let matrix = matrix.expect("a matrix that can be judged");
    println!("{matrix}");
    assert_eq!(matrix.failures(), [] as [String; 0], "{matrix}");
    assert!(!matrix.cells.is_empty(), "{group} has points");
}

#[test]
fn every_crash_point_belongs_to_a_group() {
    for point in CrashPoint::ALL {
        let groups = GROUPS
            .iter()
            .filter(|group| point.name().starts_with(**group));
        assert_eq!(groups.count(), 1, "{}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_push_is_survived() {
    is_survived("push.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_difference_is_survived() {
    is_survived("difference.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_checkpoint_is_survived() {
    is_survived("checkpoint.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_pull_is_survived() {
    is_survived("pull.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_bootstrap_is_survived() {
    is_survived("bootstrap.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_swap_is_survived() {
    is_survived("swap.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_the_hubs_copy_is_survived() {
    is_survived("copy.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_generation_is_survived() {
    is_survived("generation.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_change_of_identity_is_survived() {
    is_survived("identity.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_change_of_token_is_survived() {
    is_survived("token.").await;
}
