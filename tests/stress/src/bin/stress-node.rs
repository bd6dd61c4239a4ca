//! `counterfoil-node` for the stress tests; on a machine whose clock is ahead, or of an older release as far as schemas go, if one is
//! to be.

use counterfoil_domain::env::Clock;
use counterfoil_protocol::gate::Schemas;
use counterfoil_replica::env::{Env, SystemClock};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug)]
struct ClockAhead(i64);

impl Clock for ClockAhead {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms().saturating_add(self.0)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what the driver says to this program alone"
)]
fn main() -> ExitCode {
    let mut env = Env::system();
    if let Ok(ahead) = std::env::var("STRESS_CLOCK_AHEAD_MS") {
        let ahead = ahead.parse().expect("milliseconds");
        env.clock = Arc::new(ClockAhead(ahead));
    }
    match std::env::var("STRESS_SCHEMAS") {
        Ok(schemas) => {
            let schemas = Schemas::from_header(&schemas).expect("book=1;catalog=1");
            counterfoil_shop_node::cli::main_as(env, schemas)
        }
        Err(_) => counterfoil_shop_node::cli::main_in(env),
    }
}
