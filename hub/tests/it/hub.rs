//! A hub of a test, in this process or as a process of its own.

use bytes::Bytes;
use counterfoil_hub::service::{Tcp, serve};
use counterfoil_hub::{DataDir, Hub, HubConfig, OpenHubError};
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::decisions::{AuditPage, AuditRow};
use counterfoil_protocol::wire::hub::{HubStatus, ShopAdded};
use counterfoil_replica::env::{Env, HttpRequest, HttpResponse};
use counterfoil_testkit::{ManualClock, TempDir};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A hub that listens.
pub(crate) struct TestHub {
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<()>,
}

impl TestHub {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut HubConfig)) -> Self {
        Self::start_in(TempDir::new("hub"), Env::system(), adjust).await
    }

    /// With a clock that is set by hand.
    pub(crate) async fn start_at(clock: Arc<ManualClock>) -> Self {
        Self::start_at_with(clock, |_| {}).await
    }

    /// With a clock that is set by hand and settings.
    pub(crate) async fn start_at_with(
        clock: Arc<ManualClock>,
        adjust: impl FnOnce(&mut HubConfig),
    ) -> Self {
        let env = Env {
            clock,
            ..Env::system()
        };
        Self::start_in(TempDir::new("hub"), env, adjust).await
    }

    /// In a world that the test gives.
    pub(crate) async fn start_as(env: Env) -> Self {
        Self::start_in(TempDir::new("hub"), env, |_| {}).await
    }

    /// Ends the hub and waits until its databases are closed.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        (&mut self.server).await.unwrap();
    }

    /// A hub that was stopped runs again.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    pub(crate) async fn restart_with(self, adjust: impl FnOnce(&mut HubConfig)) -> Self {
        Self::start_in(self.dir, Env::system(), adjust).await
    }

    /// The same at the time of a clock that is set by hand.
    pub(crate) async fn restart_at(
        self,
        clock: Arc<ManualClock>,
        adjust: impl FnOnce(&mut HubConfig),
    ) -> Self {
        let env = Env {
            clock,
            ..Env::system()
        };
        Self::start_in(self.dir, env, adjust).await
    }

    pub(crate) async fn start_in(
        dir: TempDir,
        env: Env,
        adjust: impl FnOnce(&mut HubConfig),
    ) -> Self {
        let mut config = HubConfig::new(dir.path());
        adjust(&mut config);
        let secured = config.tls != counterfoil_hub::TlsMode::Off;
        // A process that another test starts in this moment has the folder's lock until it is what it
        // was started as.
        let mut attempts = 0..100;
        let hub = loop {
            match Hub::open(config.clone(), env.clone()).await {
                Err(OpenHubError::InUse) if attempts.next().is_some() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => break opened.unwrap(),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = async move {
            stopped.await.ok();
        };
        let server = tokio::spawn(async move {
            serve(hub, Tcp(listener), stopping).await.unwrap();
        });
        let folder = DataDir::new(dir.path());
        let admin = folder.existing_token().unwrap().unwrap();
        let url = if secured {
            // Known with its certificate only.
            let running = loop {
                if let Some(running) = folder.running(&env).unwrap() {
                    break running;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            running.url
        } else {
            format!("http://{address}")
        };
        Self {
            url,
            admin,
            dir,
            stop: Some(stop),
            server,
        }
    }

    pub(crate) fn client(&self) -> Client {
        // A certificate that changed meanwhile is announced.
        let folder = DataDir::new(self.dir.path());
        let announced = folder.running(&Env::system()).unwrap();
        let secured = announced.filter(|running| running.url.starts_with("https://"));
        Client {
            url: secured.map_or_else(|| self.url.clone(), |running| running.url),
            admin: self.admin.clone(),
            env: Env::system(),
        }
    }
}

/// Speaks to a hub.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) env: Env,
}

/// One request as a test writes it.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) async fn send(&self, ask: Ask<'_>) -> HttpResponse {
        self.try_send(ask).await.unwrap()
    }

    pub(crate) async fn try_send(
        &self,
        ask: Ask<'_>,
    ) -> Result<HttpResponse, counterfoil_replica::env::HttpError> {
        let mut headers = HeaderMap::new();
        for (name, value) in ask.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(token) = ask.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            headers.insert("authorization", bearer);
        }
        let request = HttpRequest {
            method: ask.method,
            url: format!("{}{}", self.url, ask.path),
            headers,
            body: ask.body,
            timeout: Duration::from_secs(60),
            response_bytes_max: 1 << 30,
        };
        self.env.http().send(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> HttpResponse {
        let (method, headers, body) = (Method::GET, &[][..], Bytes::new());
        self.send(Ask {
            method,
            path,
            token,
            headers,
            body,
        })
        .await
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> HttpResponse {
        let (method, headers) = (Method::POST, &[][..]);
        let body = serde_json::to_vec(body).unwrap().into();
        self.send(Ask {
            method,
            path,
            token,
            headers,
            body,
        })
        .await
    }

    pub(crate) async fn admin_get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self
            .get(&format!("/v1/admin/{path}"), Some(&self.admin))
            .await;
        parse(&answer)
    }

    pub(crate) async fn admin_post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> T {
        let answer = self
            .post(&format!("/v1/admin/{path}"), Some(&self.admin), body)
            .await;
        parse(&answer)
    }

    /// A join code for a further till of a shop, which is made when it is new.
    pub(crate) async fn code(&self, shop: &str) -> ShopAdded {
        self.admin_post("shops", &json!({"name": shop, "existing": true}))
            .await
    }

    /// What was decided, without the shops and join codes that a test needs first.
    pub(crate) async fn decisions(&self) -> Vec<AuditRow> {
        let page: AuditPage = self.admin_get("audit").await;
        without_shops(page.decisions)
    }

    /// Waits for what was pushed so far to be consolidated and published.
    pub(crate) async fn settle(&self) -> HubStatus {
        self.admin_post::<Value>("consolidate", &Value::Null).await;
        self.admin_get("status").await
    }
}

/// The same without the shops and join codes that a test needs first.
pub(crate) fn without_shops(mut rows: Vec<AuditRow>) -> Vec<AuditRow> {
    let of_shops = ["shop_added", "join_code_added"];
    rows.retain(|row| !of_shops.contains(&row.action.as_str()));
    rows
}

pub(crate) fn parse<T: DeserializeOwned>(answer: &HttpResponse) -> T {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.status.is_success(), "{} {text}", answer.status);
    serde_json::from_slice(&answer.body).unwrap()
}

/// The problem an answer holds; its status must be the one it names.
pub(crate) fn problem(answer: &HttpResponse) -> Problem {
    let text = String::from_utf8_lossy(&answer.body);
    let problem = serde_json::from_slice::<Problem>(&answer.body);
    assert!(problem.is_ok(), "not a problem: {} {text}", answer.status);
    let problem = problem.unwrap();
    assert_eq!(problem.status, answer.status.as_u16());
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    problem
}

/// A hub as a process of its own.
pub(crate) struct HubProcess {
    child: Child,
    pub(crate) url: String,
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil-hub"));
    command.env_remove("COUNTERFOIL_LOG");
    command
}

impl HubProcess {
    pub(crate) fn start(data: &Path, listen: &str) -> Self {
        Self::start_with(data, listen, &[])
    }

    pub(crate) fn start_with(data: &Path, listen: &str, options: &[&str]) -> Self {
        Self::start_believing(None, data, listen, options)
    }

    /// On a machine that trusts the authorities in this file instead of its own.
    pub(crate) fn start_believing(
        authorities: Option<&Path>,
        data: &Path,
        listen: &str,
        options: &[&str],
    ) -> Self {
        let mut command = program();
        command
            .args(["run", "--listen", listen, "--data"])
            .arg(data)
            .args(options)
            .envs(authorities.map(|path| ("SSL_CERT_FILE", path)));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the first line")
            .to_owned();
        Self { child, url }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its end.
    pub(crate) fn terminate(mut self) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn client(&self, data: &Path) -> Client {
        let admin = DataDir::new(data).existing_token().unwrap().unwrap();
        Client {
            url: self.url.clone(),
            admin,
            env: Env::system(),
        }
    }
}

/// Runs a command to its end.
pub(crate) fn command(data: &Path, args: &[&str]) -> Output {
    program()
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap()
}

/// Runs a command that must succeed and gives its JSON.
pub(crate) fn command_json<T: DeserializeOwned>(data: &Path, args: &[&str]) -> T {
    let output = command(data, &[args, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}
