//! A hub with many tills: its memory and file handles, and pushes from all of them at once.
//!
//! `cargo bench -p system-tests --bench fleet` prints the tables. The hub is a process of its own; it is
//! pinned with `taskset` to one core and then to two.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "figures for people")]

use counterfoil_replica::env::Env;
use counterfoil_testkit::TempDir;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system_tests::daemon::{Daemon, run};
use system_tests::pushes::{PATIENCE, Till, many};

const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
const BOOKS: u64 = 2_000;
const ACTIVE: usize = 50;
const ROUNDS: usize = 10;
const NODES: u64 = 200;
/// Pushes of each node, one after the other, and sales in each.
const PUSHES: usize = 10;
const SALES: usize = 10;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        many_books().await;
        all_at_once().await;
    });
}

/// A till that sold and pushed so many times.
fn seller(seed: u64, pushes: usize) -> Till {
    Till::make(seed, pushes, |seller| seller.sell(SALES).len())
}

/// Tills that sold, and that the hub knows.
async fn tills(hub: &Daemon, count: u64, pushes: usize) -> Vec<Till> {
    let made = many(count, move |seed| seller(seed, pushes)).await;
    for till in &made {
        till.activate(hub).await;
    }
    made
}

/// Memory and file handles of a hub that has many books, of which few are in use.
async fn many_books() {
    let dir = TempDir::new("bench-books");
    let data = dir.join("hub");
    let hub = Daemon::start(HUB, &data);
    run(HUB, &data, &["status"]);
    println!("{BOOKS} books of {SALES} sales, then {ACTIVE} of them in use\n");
    println!("{:<44} {:>10} {:>10}", "", "memory, MB", "handles");
    handles(&hub, "the hub before");
    let mut all = tills(&hub, BOOKS, 2).await;
    handles(&hub, "it knows each till");
    let http = Env::system().http();
    for till in &all {
        till.push(&http, &hub.url, &till.pushes[0]).await;
    }
    handles(&hub, "each has pushed");
    let last = all.split_off(all.len() - ACTIVE);
    for till in &last {
        till.push(&http, &hub.url, &till.pushes[1]).await;
    }
    for _ in 0..ROUNDS {
        for till in &last {
            // The same frames once more: the hub opens the book, compares them and answers.
            till.push(&http, &hub.url, &till.pushes[1]).await;
        }
    }
    handles(&hub, "some go on");
    tokio::time::sleep(Duration::from_secs(10)).await;
    handles(&hub, "10 seconds later");
    println!("{:<44} {:>10.1}\n", "at its peak", hub.memory("VmHWM"));
}

fn handles(hub: &Daemon, name: &str) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", hub.id())).expect("Linux");
    println!(
        "{name:<44} {:>10.1} {:>10}",
        hub.memory("VmRSS"),
        open.count()
    );
}

/// Pushes from all nodes at once, against a hub on one core and on two.
async fn all_at_once() {
    println!("{NODES} nodes push at once, {PUSHES} times {SALES} sales each\n");
    println!(
        "{:<14} {:>12} {:>14} {:>14} {:>10} {:>16}",
        "hub on", "sales/s", "median node, s", "slowest, s", "ratio", "consolidated, s"
    );
    for (name, cores) in [("one core", "0"), ("two cores", "0,1")] {
        let dir = TempDir::new("bench-nodes");
        let hub = Arc::new(Daemon::start(HUB, &dir.join("hub")));
        let pinned = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", cores])
            .arg(hub.id().to_string())
            .output()
            .expect("taskset is there");
        assert!(pinned.status.success(), "{pinned:?}");
        let all: Vec<Arc<Till>> = tills(&hub, NODES, PUSHES)
            .await
            .into_iter()
            .map(Arc::new)
            .collect();
        let sales: u64 = all.iter().map(|till| till.entries).sum();
        let started = Instant::now();
        let mut pushing = tokio::task::JoinSet::new();
        for till in &all {
            let (till, hub) = (Arc::clone(till), Arc::clone(&hub));
            pushing.spawn(async move {
                let http = Env::system().http();
                for push in &till.pushes {
                    till.push(&http, &hub.url, push).await;
                }
                started.elapsed()
            });
        }
        let mut times = pushing.join_all().await;
        times.sort();
        let (median, slowest) = (times[times.len() >> 1], times[times.len() - 1]);
        for till in &all {
            while till.consolidated(&hub).await < till.entries {
                assert!(started.elapsed() < PATIENCE, "not consolidated");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let rate = f64::from(u32::try_from(sales).expect("small")) / slowest.as_secs_f64();
        println!(
            "{name:<14} {rate:>12.0} {:>14.2} {:>14.2} {:>10.2} {:>16.2}",
            median.as_secs_f64(),
            slowest.as_secs_f64(),
            slowest.as_secs_f64() / median.as_secs_f64(),
            started.elapsed().as_secs_f64()
        );
    }
}
