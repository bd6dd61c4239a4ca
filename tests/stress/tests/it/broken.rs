//! G1 to G5 under kills and under a network that breaks.

use std::time::Duration;
use stress::{Options, Outcome, Programs, run};

const KILLS: u64 = 200;

pub(crate) fn programs() -> Programs {
    Programs {
        hub: env!("CARGO_BIN_EXE_stress-hub").into(),
        node: env!("CARGO_BIN_EXE_stress-node").into(),
    }
}

async fn passes(options: Options) -> Outcome {
    let outcome = Box::pin(run(&programs(), &options)).await;
    let outcome = outcome.expect("a run that can be judged");
    assert_eq!(outcome.failures(), [] as [String; 0], "{outcome}");
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_instants_lose_and_double_nothing() {
    let outcome = passes(Options {
        seed: 1,
        tills: 4,
        kills: KILLS,
        time: Duration::from_secs(600),
        network: false,
        keep: None,
    })
    .await;
    let [hub, tills, starting] = outcome.kills;
    println!("{outcome}");
    assert!(hub > 0 && tills > 0 && starting > 0, "{outcome}");
    assert_eq!(hub + tills + starting, KILLS, "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_in_every_way_loses_and_doubles_nothing() {
    let outcome = passes(Options {
        seed: 2,
        tills: 4,
        kills: 20,
        time: Duration::from_secs(10),
        network: true,
        keep: None,
    })
    .await;
    println!("{outcome}");
}
