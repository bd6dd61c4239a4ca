//! The way of the catalog: from an edit at the hub to the tills that listen.
//!
//! `cargo bench -p system-tests --bench catalog` prints the table. Real daemons on loopback; the tills
//! ask by themselves every ten minutes only.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "figures for people")]

use counterfoil_replica::env::{Env, HttpClient, HttpRequest};
use counterfoil_testkit::TempDir;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TILLS: usize = 4;
const EDITS: usize = 100;
const NODE: &str = env!("CARGO_BIN_EXE_system-node");
const HUB: &str = env!("CARGO_BIN_EXE_system-hub");
/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(notices());
}

/// From asking the hub for an edit until the last till has it.
async fn notices() {
    let dir = TempDir::new("bench-catalog");
    let hub_data = dir.join("hub");
    let hub = Daemon::start(HUB, &hub_data);
    let admin = std::fs::read_to_string(hub_data.join("admin.token")).expect("it is there");
    let admin = admin.trim();
    let mut tills = Vec::new();
    for till in 0..TILLS {
        tills.push(activated(&dir.join(&format!("till{till}")), &hub).await);
    }
    let (mut answered, mut everywhere) = (Vec::new(), Vec::new());
    for edit in 0..EDITS {
        let body = json!({"columns": {"name": format!("tea {edit}"), "price_mills": "4500"}});
        let path = "/v1/admin/catalog/products/TEA";
        let started = Instant::now();
        let row = hub.ask(Method::POST, path, Some(admin), &body).await;
        answered.push(started.elapsed());
        for till in &tills {
            till.until(|status| status["catalog_revision"] == row["revision"])
                .await;
        }
        everywhere.push(started.elapsed());
        // Tills tell the hub what they have, which the next edit must not wait for.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("{EDITS} edits at the hub, {TILLS} tills that listen, milliseconds\n");
    println!("{:<40} {:>8} {:>8}", "", "median", "99th");
    line("the hub has answered", &mut answered);
    line("the last till has it", &mut everywhere);
}

fn line(name: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| {
        times[((times.len() - 1) * percent).div_euclid(100)].as_secs_f64() * 1000.0
    };
    println!("{name:<40} {:>8.1} {:>8.1}", at(50), at(99));
}

async fn activated(data: &Path, hub: &Daemon) -> Daemon {
    run(NODE, data, &["init"]);
    std::fs::write(data.join("node.toml"), "sync_interval_ms = 600_000\n").expect("written");
    let till = Daemon::start(NODE, data);
    let name = data
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let shop = [
        "activate", "--hub", &hub.url, "--name", name, "--phone", "1",
    ];
    run(NODE, data, &shop);
    till.until(|status| status["listening"] == true && status["sync"] == "online")
        .await;
    till
}

fn command(program: &str, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg("--data").arg(data);
    command
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("COUNTERFOIL_LOG", "error");
    command
}

fn run(program: &str, data: &Path, arguments: &[&str]) {
    let output = command(program, data, arguments)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// A running program; killed when it is dropped.
struct Daemon {
    child: Child,
    url: String,
    http: HttpClient,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Daemon {
    fn start(program: &str, data: &Path) -> Self {
        let mut command = command(program, data, &["run", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its address");
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        let http = Env::system().http();
        Self { child, url, http }
    }

    async fn ask(&self, method: Method, path: &str, token: Option<&str>, body: &Value) -> Value {
        let mut headers = HeaderMap::new();
        let json = "application/json".parse().expect("plain text");
        headers.insert(http::header::CONTENT_TYPE, json);
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("plain text");
            headers.insert(http::header::AUTHORIZATION, bearer);
        }
        let request = HttpRequest {
            method,
            url: format!("{}{path}", self.url),
            headers,
            body: body.to_string().into(),
            timeout: PATIENCE,
            response_bytes_max: 1_000_000,
        };
        let response = self.http.send(request).await.expect("an answer");
        assert!(response.status.is_success(), "{response:?}");
        serde_json::from_slice(&response.body).expect("a document")
    }

    /// Waits until the status says so.
    async fn until(&self, is_so: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let status = self
                .ask(Method::GET, "/v1/status", None, &Value::Null)
                .await;
            if is_so(&status) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it does not come: {status}");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}
