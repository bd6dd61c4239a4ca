//! Our programs as processes, and what they are asked over HTTP.
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]

use counterfoil_replica::env::{Env, HttpClient, HttpRequest, HttpResponse};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The loopback, wherever there is room.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// A command of one of our programs on a data folder.
#[must_use]
pub fn command(program: &str, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg("--data").arg(data);
    command
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("COUNTERFOIL_LOG", "error")
        .env("COUNTERFOIL_FENCE_DIR", data.with_extension("fence"));
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails.
pub fn run(program: &str, data: &Path, arguments: &[&str]) {
    let output = command(program, data, arguments)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Makes a till's data folder with these settings.
///
/// # Panics
/// When it cannot be made.
pub fn till_folder(data: &Path, settings: &str) {
    std::fs::create_dir_all(data).expect("a folder");
    std::fs::write(data.join("node.toml"), settings).expect("written");
}

/// Binds a till that runs to a shop of its own, named as its folder is, and waits until it listens to the hub.
///
/// # Panics
/// When it cannot be bound.
pub async fn activate(data: &Path, till: &Api, hub: &Api) {
    let name = data.file_name().and_then(|name| name.to_str());
    let name = name.expect("a name");
    let shop = json!({"hub": hub.url, "name": name, "phone": "1"});
    till.ask(Method::POST, "/v1/activate", None, &shop).await;
    till.until(|status| status["listening"] == true && status["sync"] == "online")
        .await;
}

/// A hub or a till that is asked over HTTP.
#[derive(Debug)]
pub struct Api {
    /// Where it listens.
    pub url: String,
    http: HttpClient,
}

impl Api {
    /// Whoever listens there.
    #[must_use]
    pub fn at(url: String) -> Self {
        let http = Env::system().http();
        Self { url, http }
    }

    /// A request that succeeds, and the document that it is answered with.
    ///
    /// # Panics
    /// When it does not succeed.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Value {
        let response = self.send(method, path, token, body).await;
        assert!(response.status.is_success(), "{response:?}");
        serde_json::from_slice(&response.body).expect("a document")
    }

    /// A request, whatever the answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> HttpResponse {
        let mut headers = HeaderMap::new();
        let json = "application/json".parse().expect("plain text");
        headers.insert(http::header::CONTENT_TYPE, json);
        headers.insert(
            http::header::ACCEPT_ENCODING,
            "zstd".parse().expect("plain text"),
        );
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
            response_bytes_max: 2_000_000,
        };
        self.http.send(request).await.expect("an answer")
    }

    /// Waits until the status says so.
    ///
    /// # Panics
    /// When it does not for a minute.
    pub async fn until(&self, is_so: impl Fn(&Value) -> bool) {
        self.until_there("/v1/status", is_so).await;
    }

    /// Waits until a document is there and says so.
    ///
    /// # Panics
    /// When it does not for a minute.
    pub async fn until_there(&self, path: &str, is_so: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let response = self.send(Method::GET, path, None, &Value::Null).await;
            let document = serde_json::from_slice(&response.body).unwrap_or_default();
            if response.status.is_success() && is_so(&document) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it does not come: {document}");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

/// A running program; killed when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    api: Api,
}

impl Deref for Daemon {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Daemon {
    /// Starts a program on its data folder and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(program: &str, data: &Path) -> Self {
        Self::start_at(program, data, ANY_PORT)
    }

    /// The same at an address.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn start_at(program: &str, data: &Path, address: &str) -> Self {
        Self::announced(command(program, data, &["run", "--listen", address]))
    }

    /// Starts a command that says where it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn announced(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its address");
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        let api = Api::at(url);
        Self { child, api }
    }

    /// Kills it; the address at which it listened.
    #[must_use]
    pub fn kill(self) -> String {
        let address = self.url.trim_start_matches("http://");
        address.to_owned()
    }

    /// What the kernel says of the process in `/proc`, in MB: `VmRSS` now, `VmHWM` at its peak.
    ///
    /// # Panics
    /// Elsewhere than on Linux.
    #[must_use]
    pub fn memory(&self, field: &str) -> f64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        mb(kilobytes.expect("a number") * 1024)
    }

    /// Id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// Megabytes.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
#[expect(clippy::float_arithmetic, reason = "a figure for people")]
pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
