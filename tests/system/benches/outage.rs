//! The end of a long outage: every till sold for three days without its hub, and all of them are back at once.
//!
//! `cargo bench -p system-tests --bench outage` prints the table; `-- 5` is a chain of five tills. Each till and the
//! hub are a process of their own. The clocks of the first days are behind, so that tills close three business days
//! one after the other; the programs that meet again are today's. Rounds without and with new prices of a whole
//! catalog that come down meanwhile take turns; each has new tills.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "ratios are for people")]

use counterfoil_testkit::TempDir;
use http::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use system_tests::daemon::{ANY_PORT, Api, Daemon, activate, command, till_folder};
use system_tests::figures::consolidated;
use system_tests::products::{with_new_prices, with_products};
use tokio::task::JoinSet;

const NODE: &str = env!("CARGO_BIN_EXE_system-node");
const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
const OLD: &str = env!("CARGO_BIN_EXE_system-old");
const TILLS: usize = 100;
const DAYS: usize = 3;
/// Sales of a till on a day.
const SALES: usize = 100;
const LINES: usize = 4;
const PRODUCTS: u32 = 100_000;
const ROUNDS: usize = 2;
/// Tills that are made, or sell, at the same time.
const AT_ONCE: usize = 4;
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(300);
/// A till that does not reach its hub asks once a minute in the end; here once a second, so that all are back at once.
const SETTINGS: &str = "backoff_last_ms = 1_000\n";

fn main() {
    let asked = std::env::args().skip(1).find_map(|it| it.parse().ok());
    let tills: usize = asked.unwrap_or(TILLS);
    println!(
        "{tills} tills, {DAYS} days of {SALES} sales each; seconds from the start of the hub\n"
    );
    println!(
        "{:<20} {:>12} {:>12} {:>16}",
        "", "all sales", "all proved", "prices at tills"
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let mut took = [0.0, 0.0];
        for turn in 0..2 {
            let prices = (round + turn) % 2 == 1;
            took[usize::from(prices)] = runtime.block_on(outage(tills, prices));
        }
        ratios.push(took[1] / took[0]);
    }
    for ratio in ratios {
        println!("with new prices to without, all sales: {ratio:.2}");
    }
}

struct Till {
    data: PathBuf,
    daemon: Daemon,
}

/// From the start of the hub until it has every sale, in seconds.
async fn outage(tills: usize, prices: bool) -> f64 {
    let dir = TempDir::new("bench-outage");
    let hub_data = dir.join("hub");
    with_products(&hub_data, PRODUCTS, 20, true);
    let hub = earlier("hub", &hub_data, DAYS - 1);
    let folders = (0..tills).map(|till| dir.join(&format!("till{till}")));
    let folders = at_once(folders.collect(), |data| {
        let url = hub.url.clone();
        activated(data, url)
    });
    let mut folders = folders.await;
    let address = hub.kill();
    let (mut days, mut all) = (Vec::new(), Vec::new());
    for behind in (0..DAYS).rev() {
        let sold = at_once(folders, move |data| trade(data, behind)).await;
        days.push(sold[0].1.clone());
        assert!(sold.iter().all(|(_, day)| *day == days[days.len() - 1]));
        all = sold.into_iter().map(|(till, _)| till).collect::<Vec<_>>();
        folders = all.iter().map(|till| till.data.clone()).collect();
        if behind > 0 {
            all.clear();
        }
    }
    let mut entries = 0;
    for till in &all {
        let status = till
            .daemon
            .ask(Method::GET, "/v1/status", None, &Value::Null);
        entries += status.await["journal_seq"].as_u64().expect("a number");
    }
    let revision = prices.then(|| with_new_prices(&hub_data, PRODUCTS));

    let started = Instant::now();
    let hub = Daemon::start_at(HUB, &hub_data, &address);
    settled(&hub, &hub_data, entries).await;
    let at_hub = started.elapsed().as_secs_f64();
    for day in &days {
        proved(&hub_data, day, tills * SALES);
    }
    let all_proved = started.elapsed().as_secs_f64();
    let (mut name, mut down) = ("sales alone", String::new());
    if let Some(revision) = revision {
        for till in &all {
            till.daemon
                .until(|status| status["catalog_revision"].as_i64() >= Some(revision))
                .await;
        }
        name = "with new prices";
        down = format!("{:.2}", started.elapsed().as_secs_f64());
    }
    println!("{name:<20} {at_hub:>12.2} {all_proved:>12.2} {down:>16}");
    at_hub
}

/// A program whose clock is days behind.
fn earlier(kind: &str, data: &Path, days: usize) -> Daemon {
    let schemas = counterfoil_hub::HubConfig::new("").schemas;
    let mut command = Command::new(OLD);
    command
        .arg(kind)
        .arg(schemas.to_header())
        .arg(data)
        .arg(ANY_PORT)
        .arg(days.to_string())
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    Daemon::announced(command)
}

/// Makes a till and binds it, on the first day.
async fn activated(data: PathBuf, hub: String) -> PathBuf {
    till_folder(&data, SETTINGS);
    let till = earlier("node", &data, DAYS - 1);
    activate(&data, &till, &Api::at(hub)).await;
    data
}

/// A day of a till: it sells, and closes the day; which one it was.
async fn trade(data: PathBuf, behind: usize) -> (Till, String) {
    let daemon = if behind == 0 {
        Daemon::start(NODE, &data)
    } else {
        earlier("node", &data, behind)
    };
    for sale in 0..SALES {
        let line = |line| json!({"sku": format!("P{}", 1 + sale * LINES + line), "quantity": "2"});
        let lines: Vec<Value> = (0..LINES).map(line).collect();
        let body = json!({"tender": "cash", "lines": lines});
        daemon.ask(Method::POST, "/v1/sales", None, &body).await;
    }
    let close = json!({});
    let closed = daemon.ask(Method::POST, "/v1/close-day", None, &close);
    let closed = closed.await;
    assert_eq!(closed["closure"]["takings"]["sales"], SALES, "{closed}");
    let day = closed["closure"]["day"].as_str().expect("a day").to_owned();
    (Till { data, daemon }, day)
}

/// Waits until the hub has consolidated so many entries of all tills.
async fn settled(hub: &Daemon, data: &Path, entries: u64) {
    let token = std::fs::read_to_string(data.join("admin.token")).expect("it is there");
    let started = Instant::now();
    while consolidated(hub, token.trim()).await < entries {
        assert!(started.elapsed() < PATIENCE, "not all came");
        tokio::time::sleep(LOOK).await;
    }
}

/// The hub proves a day, with so many receipts.
fn proved(hub_data: &Path, day: &str, receipts: usize) {
    let asked = command(HUB, hub_data, &["proof", "--day", day, "--json"]).output();
    let asked = asked.expect("it starts");
    let proof: Value = serde_json::from_slice(&asked.stdout).expect("a document");
    assert!(asked.status.success(), "{proof}");
    assert_eq!(proof["receipts"], receipts);
}

/// Does the same for each, a few at once.
async fn at_once<A, T, F>(items: Vec<A>, work: impl Fn(A) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (mut under_way, mut done) = (JoinSet::new(), Vec::new());
    for item in items {
        if under_way.len() == AT_ONCE {
            done.push(under_way.join_next().await.expect("one").expect("done"));
        }
        under_way.spawn(work(item));
    }
    done.extend(under_way.join_all().await);
    done
}
