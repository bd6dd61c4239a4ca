//! Programs with crash points in them: `cargo test --package stress --features rigged`.

use crate::broken::programs;
use stress::{MatrixOptions, matrix};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_is_survived() {
    let options = MatrixOptions {
        seed: 1,
        rounds: 1,
        only: String::new(),
        keep: None,
    };
    let matrix = Box::pin(matrix(&programs(), &options)).await;
    let matrix = matrix.expect("a matrix that can be judged");
    println!("{matrix}");
    assert_eq!(matrix.failures(), [] as [String; 0]);
}
