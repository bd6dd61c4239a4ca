//! How long the writer gate is closed while a book's WAL is folded: how long a sale may have to wait.
//!
//! `cargo bench -p system-tests --bench gate` prints the table.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "milliseconds are for people")]

use counterfoil_replica::env::{BoxFuture, Env};
use counterfoil_replica::{
    BookReplica, Durability, Gate, GateClosed, GateJob, GateUse, LocalCheckpoint, Wal, WalLimits,
};
use counterfoil_shop_store::Paths;
use counterfoil_testkit::TempDir;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use system_tests::sales::{LINES, Seller};

/// WAL sizes in MiB: a till folds at 8, one that is offline at 56.
const SIZES_MIB: [u64; 3] = [8, 32, 56];
const ROUNDS: usize = 9;
const SALES_AT_ONCE: usize = 20;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "the writer gate at a checkpoint, sales of {LINES} lines, {ROUNDS} checkpoints each\n"
    );
    println!(
        "{:<16} {:>12} {:>12} {:>12}",
        "WAL", "sales", "median", "longest"
    );
    for size in SIZES_MIB {
        let dir = TempDir::new("bench-gate");
        let (env, paths) = (Env::system(), Paths::of(dir.path()));
        let mut seller = Seller::open(dir.path(), 1);
        let replica = BookReplica::open(&paths.book, Arc::clone(&env.files), env.execution);
        let replica = replica.expect("opens");
        let mut wal = Wal::open(&paths.book, Durability::Full).expect("opens");
        let gate = TimedGate::default();
        let mut sales = 0;
        for _ in 0..ROUNDS {
            while wal.position().expect("read").frames * 4_120 < size << 20 {
                seller.sell(SALES_AT_ONCE);
                sales += SALES_AT_ONCE;
            }
            let limits = WalLimits::acknowledged_bytes(0);
            let folded = runtime.block_on(replica.checkpoint_if_over(&gate, limits));
            assert_eq!(folded.expect("folded"), LocalCheckpoint::Done);
        }
        let mut times = gate.0.into_inner().expect("unharmed");
        // Whether a checkpoint is due is asked in the gate too.
        times.sort_unstable();
        let times = &times[times.len() - ROUNDS..];
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        println!(
            "{:<16} {:>12} {:>12} {:>12}",
            format!("{size} MiB"),
            sales.div_euclid(ROUNDS),
            ms(times[ROUNDS >> 1]),
            ms(times[ROUNDS - 1])
        );
    }
}

/// Runs the job at once, and remembers how long it took.
#[derive(Default)]
struct TimedGate(Mutex<Vec<Duration>>);

impl Gate for TimedGate {
    fn run(&self, _gate_use: GateUse, job: GateJob) -> BoxFuture<'_, Result<(), GateClosed>> {
        let started = Instant::now();
        job();
        self.0.lock().expect("unharmed").push(started.elapsed());
        Box::pin(std::future::ready(Ok(())))
    }
}
