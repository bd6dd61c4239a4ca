//! What benchmarks read off a hub and off a clock.
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use crate::daemon::Api;
use http::Method;
use serde_json::Value;
use std::time::Duration;

/// Entries of all tills that the hub has consolidated; `token` is its owner's.
///
/// # Panics
/// When it does not say.
pub async fn consolidated(hub: &Api, token: &str) -> u64 {
    let nodes = hub.ask(Method::GET, "/v1/admin/nodes", Some(token), &Value::Null);
    let nodes = nodes.await;
    let nodes = nodes.as_array().expect("a list");
    let each = nodes.iter().map(|node| node["consolidated_seq"].as_u64());
    each.map(|seq| seq.expect("a number")).sum()
}

/// The time in milliseconds that so many percent of these did not exceed; puts them in order.
#[must_use]
#[expect(clippy::float_arithmetic, reason = "a figure for people")]
pub fn milliseconds(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) * percent).div_euclid(100)].as_secs_f64() * 1000.0
}
