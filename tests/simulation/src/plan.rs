//! Everything that a seed decides before the first step.

use counterfoil_shop_node::config::Config;
use counterfoil_testkit::SeededRandom;
use std::time::Duration;

/// Number of nodes; the first two are the lanes of one shop.
pub(crate) const NODES: usize = 3;

/// The shops by node.
pub(crate) const SHOP_OF: [&str; NODES] = ["Corner", "Corner", "Harbour"];

/// How one seed runs. Each class of fault is on for about half of the seeds, so that no seed has
/// only the average of everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// One step of the world.
    pub(crate) tick: Duration,
    /// Longest way of a message.
    pub(crate) latency_max: Duration,
    /// Trade and faults last this long.
    pub(crate) trade: Duration,
    /// After healing, all sides must agree within this time.
    pub(crate) settle: Duration,
    /// Programs are killed and started again.
    pub(crate) crashes: bool,
    /// A crash may take a database with it that can be had again.
    pub(crate) losses: bool,
    /// The hub may come back as it was in a backup.
    pub(crate) restores: bool,
    /// Links to the hub are cut, or stall.
    pub(crate) cuts: bool,
    /// A clock that is wrong jumps at each start of its node.
    pub(crate) clock_jumps: bool,
    /// The node of the second shop registers itself instead of using a join code.
    pub(crate) registers: bool,
    /// Mean pause between two faults, in steps.
    pub(crate) fault_every: u64,
    /// Error of each node's clock in milliseconds; one is days or years wrong.
    pub(crate) skew_ms: [i64; NODES],
    /// Size at which the hub folds a WAL, in bytes.
    pub(crate) hub_wal_limit_bytes: u64,
    /// Size at which a node folds a WAL.
    pub(crate) node_wal_limit_mib: u64,
    /// Mean pause of a cashier between two customers, in milliseconds.
    pub(crate) customer_every_ms: u64,
    /// Products that exist; few of them make for many conflicts.
    pub(crate) products: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let luck = SeededRandom::new(seed ^ 0x706c_616e);
        let between = |low: u64, high: u64| low + luck.below(high - low + 1);
        let chance = || luck.below(2) == 0;
        let wrong = usize::try_from(luck.below(NODES as u64)).unwrap_or_default();
        let mut skew_ms = [0, 0, 0];
        for (index, skew) in skew_ms.iter_mut().enumerate() {
            *skew = signed(luck.below(8_000)) - 4_000;
            if index == wrong {
                let days = signed(2 + luck.below(5));
                *skew += if luck.below(2) == 0 { days } else { -days } * 86_400_000;
            }
        }
        let (crashes, cuts) = match luck.below(4) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        let mut plan = Self {
            seed,
            tick: Duration::from_millis(2),
            latency_max: Duration::from_millis(between(2, 60)),
            trade: Duration::from_millis(between(9_000, 16_000)),
            settle: Duration::from_secs(240),
            crashes,
            losses: chance(),
            restores: chance(),
            cuts,
            clock_jumps: chance(),
            registers: chance(),
            fault_every: between(120, 500),
            skew_ms,
            hub_wal_limit_bytes: [64, 256, 1024, 65_536][index(luck.below(4))] * 1024,
            node_wal_limit_mib: between(0, 1),
            customer_every_ms: between(60, 250),
            products: between(3, 12),
        };
        // Years, where the hub can know by how much: a clock that jumps was wrong by an unknown time.
        if !plan.clock_jumps && seed % 2 == 1 {
            plan.skew_ms[wrong] *= 600;
        }
        plan
    }

    /// A node's settings: the daemon's own, with pauses that fit a run of seconds.
    pub(crate) fn node_config(&self) -> Config {
        Config {
            // The simulated network is a network, and nobody listens on it.
            insecure_http: true,
            sync_interval_ms: 4_000,
            batch_delay_ms: 120,
            settle_delay_ms: 60,
            settle_max_ms: 1_000,
            backoff_first_ms: 150,
            backoff_last_ms: 2_500,
            wal_limit_mib: self.node_wal_limit_mib,
            ..Config::default()
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or_default()
}
