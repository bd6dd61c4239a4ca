//! A sale at a hub that has much to do: from its push until it is consolidated.
//!
//! `cargo bench -p system-tests --bench priority` prints the table; `-- 2` is a backlog of two tills. The backlog is
//! catalog edits, of which each product gets several that know nothing of each other, and stock movements: all
//! that can wait. It is at the hub before the hub process starts, and a till sells while it is worked off.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use counterfoil_replica::env::{Env, HttpClient};
use counterfoil_testkit::TempDir;
use std::path::Path;
use std::time::{Duration, Instant};
use system_tests::daemon::Daemon;
use system_tests::figures::{consolidated, milliseconds};
use system_tests::idle::Idle;
use system_tests::pushes::{PATIENCE, Till, many};

const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
const TILLS: u64 = 20;
/// Pushes of a till, and edits and movements in each.
const PUSHES: usize = 10;
const EDITS: usize = 250;
const MOVEMENTS: usize = 250;
/// Sales while the backlog lasts at most; and as many without one.
const SALES: usize = 400;
/// Between two sales.
const PAUSE: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_millis(2);

fn main() {
    let asked = std::env::args().skip(1).find_map(|it| it.parse().ok());
    let tills: u64 = asked.unwrap_or(TILLS);
    let dir = TempDir::new("bench-priority");
    let hub_data = dir.join("hub");
    // Its end is the end of the hub that took the pushes.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (backlog, seller) = runtime.block_on(backlog(&hub_data, tills));
    drop(runtime);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(sell(&hub_data, backlog, &seller));
}

/// A hub's folder with entries that wait, how many there are, and a till that will sell.
async fn backlog(hub_data: &Path, tills: u64) -> (u64, Till) {
    let hub = Idle::open(hub_data).await;
    let http = Env::system().http();
    let busy = many(tills, |seed| {
        Till::make(seed, PUSHES, |seller| {
            seller.rename(EDITS) + seller.stock(MOVEMENTS)
        })
    });
    let mut backlog = 0;
    for till in busy.await {
        till.activate(&hub).await;
        for push in &till.pushes {
            till.push(&http, &hub.url, push).await;
        }
        backlog += till.entries;
    }
    let seller = Till::make(tills + 1, 2 * SALES, |seller| seller.sell(1).len());
    seller.activate(&hub).await;
    (backlog, seller)
}

/// Sells until the backlog is gone, and then on.
async fn sell(hub_data: &Path, backlog: u64, seller: &Till) {
    let started = Instant::now();
    let hub = Daemon::start(HUB, hub_data);
    let token = std::fs::read_to_string(hub_data.join("admin.token")).expect("it is there");
    let http = Env::system().http();
    let (mut busy, mut left, mut sold) = (Vec::new(), Vec::new(), 0);
    while left.last() != Some(&0) && busy.len() < SALES {
        busy.push(one(&hub, &http, seller, &mut sold).await);
        left.push(backlog + sold as u64 - consolidated(&hub, token.trim()).await);
        tokio::time::sleep(PAUSE).await;
    }
    let lasted = started.elapsed().as_secs_f64();
    // A sale counts as one beside the backlog when some of it was left after the sale.
    let gone = left.iter().position(|left| *left == 0);
    busy.truncate(gone.unwrap_or(busy.len()));
    assert!(
        !busy.is_empty(),
        "the backlog was gone before the first sale"
    );
    while consolidated(&hub, token.trim()).await < backlog + sold as u64 {
        assert!(started.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(PAUSE).await;
    }
    let mut quiet = Vec::new();
    while quiet.len() < SALES {
        quiet.push(one(&hub, &http, seller, &mut sold).await);
        tokio::time::sleep(PAUSE).await;
    }
    println!(
        "a backlog of {backlog} edits and stock movements; a sale, from push to consolidated\n"
    );
    println!(
        "backlog after the first sale, and after the last: {} and {}",
        left[0],
        left[busy.len() - 1]
    );
    println!("seconds of sales beside the backlog: {lasted:.2}\n");
    println!(
        "{:<24} {:>6} {:>12} {:>12} {:>12}",
        "milliseconds", "sales", "median", "99th", "longest"
    );
    line("beside the backlog", &mut busy);
    line("afterwards", &mut quiet);
}

/// One more sale, from its push until it is consolidated.
async fn one(hub: &Daemon, http: &HttpClient, seller: &Till, sold: &mut usize) -> Duration {
    let started = Instant::now();
    seller.push(http, &hub.url, &seller.pushes[*sold]).await;
    *sold += 1;
    while seller.consolidated(hub).await < *sold as u64 {
        assert!(started.elapsed() < PATIENCE, "not consolidated");
        tokio::time::sleep(LOOK).await;
    }
    started.elapsed()
}

fn line(name: &str, times: &mut [Duration]) {
    println!(
        "{name:<24} {:>6} {:>12.1} {:>12.1} {:>12.1}",
        times.len(),
        milliseconds(times, 50),
        milliseconds(times, 99),
        milliseconds(times, 100)
    );
}
