//! The way of the catalog: from an edit at the hub to the tills that listen, to a new till, and to
//! fifty of them at once.
//!
//! `cargo bench -p system-tests --bench catalog` prints the tables. Real daemons on loopback; the tills
//! ask by themselves every ten minutes only.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use counterfoil_testkit::TempDir;
use http::Method;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system_tests::daemon::{Daemon, activate, command, mb, run, till_folder};
use system_tests::figures::milliseconds;
use system_tests::products::with_products;

/// Tills that listen, and edits.
const NOTICES: [(usize, usize); 2] = [(4, 100), (50, 50)];
const TEA: &str = "/catalog/products/TEA";
const PAUSE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);
const PRODUCTS: u32 = 65_000;
const CLIENTS: usize = 50;
const NODE: &str = env!("CARGO_BIN_EXE_system-node");
const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for (tills, edits) in NOTICES {
            notices(tills, edits).await;
            println!();
        }
        first_look_up().await;
        many_at_once().await;
    });
}

/// From asking the hub for an edit until a till answers with it.
async fn notices(tills: usize, edits: usize) {
    let dir = TempDir::new("bench-catalog");
    let hub_data = dir.join("hub");
    let hub = Daemon::start(HUB, &hub_data);
    let admin = std::fs::read_to_string(hub_data.join("admin.token")).expect("it is there");
    let admin = admin.trim();
    let mut all = Vec::new();
    for till in 0..tills {
        all.push(activated(&dir.join(&format!("till{till}")), &hub).await);
    }
    let (mut answered, mut seen, mut everywhere) = (Vec::new(), Vec::new(), Vec::new());
    for edit in 0..edits {
        let name = format!("tea {edit}");
        let body = json!({"columns": {"name": name, "price_mills": "4500"}});
        let started = Instant::now();
        hub.ask(Method::POST, &admin_path(), Some(admin), &body)
            .await;
        answered.push(started.elapsed());
        // One till is asked after the other: asking all at once would take the cores from those that are asked.
        let mut waiting: Vec<&Daemon> = all.iter().collect();
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for till in waiting {
                if has(till, &name).await {
                    seen.push(started.elapsed());
                } else {
                    still.push(till);
                }
            }
            waiting = still;
            assert!(started.elapsed() < PATIENCE, "it does not come: {name}");
        }
        everywhere.push(started.elapsed());
        // Tills tell the hub what they have, which the next edit must not wait for.
        tokio::time::sleep(PAUSE).await;
    }
    println!("{edits} edits at the hub, {tills} tills that listen, milliseconds\n");
    println!("{:<40} {:>8} {:>8}", "", "median", "99th");
    line("the hub has answered", &mut answered);
    line("a till answers with it", &mut seen);
    line("the last till answers with it", &mut everywhere);
}

fn admin_path() -> String {
    format!("/v1/admin{TEA}")
}

/// Whether a till knows the product by this name.
async fn has(till: &Daemon, name: &str) -> bool {
    let path = format!("/v1{TEA}");
    let response = till.send(Method::GET, &path, None, &Value::Null).await;
    let row: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    response.status.is_success() && row["columns"]["name"] == name
}

fn line(name: &str, times: &mut [Duration]) {
    println!(
        "{name:<40} {:>8.1} {:>8.1}",
        milliseconds(times, 50),
        milliseconds(times, 99)
    );
}

/// From the activation command until the new till answers for the last product.
async fn first_look_up() {
    println!("{PRODUCTS} products: from activation to first price look-up, seconds\n");
    println!("{:<40} {:>8} {:>8} {:>8}", "", "first", "second", "third");
    for (name, folded) in [
        ("in the generation's file", true),
        ("in frames after it", false),
    ] {
        let dir = TempDir::new("bench-look-up");
        let hub_data = dir.join("hub");
        with_products(&hub_data, PRODUCTS, 40, folded);
        let hub = Daemon::start(HUB, &hub_data);
        let mut took = Vec::new();
        for till in 0..3 {
            let name_of_shop = format!("shop {till}");
            let data = dir.join(&format!("till{till}"));
            run(NODE, &data, &["init"]);
            let till = Daemon::start(NODE, &data);
            let started = Instant::now();
            let shop = [
                "activate",
                "--hub",
                &hub.url,
                "--name",
                &name_of_shop,
                "--phone",
                "1",
            ];
            let mut activating = command(NODE, &data, &shop);
            let mut activating = activating.stdout(Stdio::null()).spawn().expect("it starts");
            let last = format!("/v1/catalog/products/P{PRODUCTS}");
            till.until_there(&last, |row| row["columns"]["price_mills"].is_number())
                .await;
            took.push(started.elapsed().as_secs_f64());
            assert!(activating.wait().expect("it ends").success());
        }
        println!(
            "{name:<40} {:>8.2} {:>8.2} {:>8.2}",
            took[0], took[1], took[2]
        );
    }
}

/// Clients that ask as fifty new tills do, and keep nothing.
async fn many_at_once() {
    let dir = TempDir::new("bench-many");
    let hub_data = dir.join("hub");
    with_products(&hub_data, PRODUCTS, 3_000, true);
    let hub = Arc::new(Daemon::start(HUB, &hub_data));
    run(HUB, &hub_data, &["status"]);
    let before = hub.memory("VmRSS");
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(fetch(Arc::clone(&hub), client));
    }
    let (mut file, mut travelled) = (0, 0);
    while let Some(fetched) = clients.join_next().await {
        let (file_bytes, bytes) = fetched.expect("a whole file");
        (file, travelled) = (file_bytes, travelled + bytes);
    }
    let took = started.elapsed().as_secs_f64();
    println!("\n{CLIENTS} tills that fetch a catalog at once\n");
    println!("{:<40} {:>8.1} MB", "the catalog", mb(file));
    println!(
        "{:<40} {:>8.1} MB",
        "over the line, all tills",
        mb(travelled)
    );
    println!("{:<40} {:>8.1} s", "until the last has it", took);
    println!("{:<40} {:>8.1} MB", "memory of the hub before", before);
    println!("{:<40} {:>8.1} MB", "at its peak", hub.memory("VmHWM"));
}

/// One client's download, part by part; size of the file, and bytes as they travelled.
async fn fetch(hub: Arc<Daemon>, client: usize) -> (u64, u64) {
    let token = format!("the token of client {client}");
    let hash = sha2::Sha256::digest(token.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({
        "node": uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + client as u128),
        "token_hash": hash,
        "admission": {"registration": {"name": format!("shop {client}"), "phone": "1"}},
        "schemas": counterfoil_hub::HubConfig::new("").schemas,
    });
    hub.ask(Method::POST, "/v1/activate", None, &body).await;
    let info = hub.ask(
        Method::GET,
        "/v1/db/catalog/info",
        Some(&token),
        &Value::Null,
    );
    let generation = info.await["current_generation"].clone();
    let (mut page, mut travelled) = (1, 0);
    loop {
        let path = format!("/v1/db/catalog/export/{generation}/{page}/{}", page + 256);
        let part = hub
            .send(Method::GET, &path, Some(&token), &Value::Null)
            .await;
        assert!(part.status.is_success(), "{path}: {}", part.status);
        travelled += part.body.len() as u64;
        page += 256;
        let file = part.headers["x-counterfoil-file-bytes"]
            .to_str()
            .expect("text");
        let file: u64 = file.parse().expect("a number");
        if (page - 1) * 4096 >= file {
            return (file, travelled);
        }
    }
}

async fn activated(data: &Path, hub: &Daemon) -> Daemon {
    till_folder(data, "sync_interval_ms = 600_000\n");
    let till = Daemon::start(NODE, data);
    activate(data, &till, hub).await;
    till
}
