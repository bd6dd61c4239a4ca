//! Alerts that go to others: a webhook, a program. At least once, whatever the other side does.

use crate::hub::{Client, HubProcess, TestHub};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use counterfoil_hub::HubConfig;
use counterfoil_migrate::Connection;
use counterfoil_protocol::hub_url::HubUrl;
use counterfoil_protocol::wire::monitor::{AlertEvent, AlertMessage, AlertRow};
use counterfoil_testkit::TempDir;
use http::{HeaderMap, StatusCode};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a receiver does with the next messages.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mood {
    Takes,
    Fails,
    /// Reads and never answers.
    Silent,
}

/// Somebody else's server, over real sockets.
struct Receiver {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    /// Every message that came, with what was answered.
    came: Mutex<Vec<(AlertMessage, Mood)>>,
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let message: AlertMessage = serde_json::from_slice(&body).unwrap();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-counterfoil-message"], message.id.as_str());
    let mood = *shared.mood.lock().unwrap();
    shared.came.lock().unwrap().push((message, mood));
    match mood {
        Mood::Takes => StatusCode::NO_CONTENT,
        Mood::Fails => StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Silent => std::future::pending().await,
    }
}

impl Receiver {
    async fn start(mood: Mood) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/alerts?from=counterfoil",
            listener.local_addr().unwrap()
        );
        let shared = Arc::new(Shared {
            mood: Mutex::new(mood),
            came: Mutex::default(),
        });
        let app = Router::new()
            .route("/alerts", post(take))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared }
    }

    fn becomes(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Messages that came so far, in their order.
    fn came(&self) -> Vec<(AlertMessage, Mood)> {
        self.shared.came.lock().unwrap().clone()
    }

    /// Messages that were taken.
    fn taken(&self) -> Vec<AlertMessage> {
        let came = self.came().into_iter();
        came.filter(|(_, mood)| *mood == Mood::Takes)
            .map(|(message, _)| message)
            .collect()
    }
}

/// Waits for something that comes by itself; the test runner ends a wait that is in vain.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Raises an alert: a request without a token. Its place in the list.
async fn provoke(client: &Client, path: &str) {
    let answer = client.get(path, None).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

async fn outbox(client: &Client) -> String {
    let answer = client.get("/metrics", Some(&client.admin)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("counterfoil_hub_alert_outbox "));
    line.unwrap().to_owned()
}

fn to(receiver: &Receiver) -> impl FnOnce(&mut HubConfig) + use<> {
    let url = receiver.url.clone();
    move |config| config.alert_webhook = Some(url)
}

#[tokio::test]
async fn a_webhook_that_fails_first_gets_the_same_message_again_until_it_takes_it() {
    let receiver = Receiver::start(Mood::Fails).await;
    let hub = TestHub::start_with(to(&receiver)).await;
    let client = hub.client();
    provoke(&client, "/v1/admin/status").await;
    until(|| receiver.came().len() >= 2).await;
    receiver.becomes(Mood::Takes);
    until(|| !receiver.taken().is_empty()).await;
    while outbox(&client).await != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let came = receiver.came();
    assert!(
        came.iter().all(|(message, _)| *message == came[0].0),
        "{came:?}"
    );
    let message = &came[0].0;
    let rows: Vec<AlertRow> = client.admin_get("alerts").await;
    assert_eq!(
        (message.alert, message.kind.as_str()),
        (rows[0].id, "unauthorized")
    );
    assert_eq!(
        (message.detail.as_str(), message.at_ms),
        (rows[0].detail.as_str(), rows[0].at_ms)
    );
    assert_eq!(
        receiver.taken().len(),
        1,
        "what was taken does not come again"
    );
}

/// A hub that finds its disk full, and tells.
async fn without_room(receiver: &Receiver) -> TestHub {
    let address = to(receiver);
    let hub = TestHub::start_with(|config| {
        address(config);
        config.disk_bytes_min = u64::MAX;
    })
    .await;
    hub.client().settle().await;
    hub
}

#[tokio::test]
async fn a_state_is_told_when_it_begins_and_when_it_ends() {
    let receiver = Receiver::start(Mood::Takes).await;
    let mut hub = without_room(&receiver).await;
    until(|| receiver.taken().len() == 1).await;
    hub.stop().await;
    let hub = hub.restart_with(to(&receiver)).await;
    hub.client().settle().await;
    until(|| receiver.taken().len() == 2).await;
    let taken = receiver.taken();
    let events: Vec<_> = taken
        .iter()
        .map(|it| (it.kind.as_str(), it.event))
        .collect();
    assert_eq!(
        events,
        [
            ("disk_low", AlertEvent::Raised),
            ("disk_low", AlertEvent::Cleared)
        ]
    );
    assert_eq!(taken[0].alert, taken[1].alert);
    assert_ne!(taken[0].id, taken[1].id);
}

#[tokio::test]
async fn the_end_of_a_state_is_not_told_before_its_beginning() {
    let receiver = Receiver::start(Mood::Fails).await;
    let mut hub = without_room(&receiver).await;
    // It is put off for longer and longer.
    until(|| receiver.came().len() >= 3).await;
    hub.stop().await;
    let hub = hub.restart_with(to(&receiver)).await;
    hub.client().settle().await;
    receiver.becomes(Mood::Takes);
    until(|| receiver.taken().len() == 2).await;
    let events: Vec<_> = receiver.taken().iter().map(|it| it.event).collect();
    assert_eq!(events, [AlertEvent::Raised, AlertEvent::Cleared]);
}

#[tokio::test]
async fn a_webhook_that_never_answers_holds_up_nothing() {
    let receiver = Receiver::start(Mood::Silent).await;
    let hub = TestHub::start_with(to(&receiver)).await;
    let client = hub.client();
    provoke(&client, "/v1/admin/status").await;
    until(|| receiver.came().len() == 1).await;
    // The message is on its way now, and will be for seconds.
    let mut till = crate::till::Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.receipts, 1);
    assert_eq!(receiver.came().len(), 1, "one message at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_a_hub_that_is_killed_before_it_is_delivered_arrives_once_it_runs_again() {
    let (dir, receiver) = (TempDir::new("killed"), Receiver::start(Mood::Fails).await);
    let options = [
        "--alert-webhook",
        receiver.url.as_str(),
        "--watch-seconds",
        "1",
    ];
    let hub = HubProcess::start_with(dir.path(), "127.0.0.1:0", &options);
    let client = hub.client(dir.path());
    provoke(&client, "/v1/admin/status").await;
    until(|| !receiver.came().is_empty()).await;
    hub.kill();
    receiver.becomes(Mood::Takes);
    assert_eq!(receiver.taken(), []);
    let hub = HubProcess::start_with(dir.path(), "127.0.0.1:0", &options);
    until(|| !receiver.taken().is_empty()).await;
    let (first, taken) = (receiver.came()[0].0.clone(), receiver.taken());
    assert_eq!(taken, [first], "the same message");
    hub.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_behind_https_gets_messages_when_the_machine_believes_its_certificate() {
    // The receiver is another hub, which has an alert of its own when somebody posts to it without a token.
    let receiver = TestHub::start_with(crate::tls::own).await;
    let address: HubUrl = receiver.url.parse().unwrap();
    let webhook = format!("{}/v1/admin/shops", address.without_pin());
    assert!(webhook.starts_with("https://127.0.0.1:"), "{webhook}");
    let told = async || {
        let alerts: Vec<AlertRow> = receiver.client().admin_get("alerts").await;
        alerts.iter().any(|alert| alert.kind == "unauthorized")
    };
    let other = TestHub::start_with(crate::tls::own).await;
    let options = ["--alert-webhook", webhook.as_str()];
    for (signed, by) in [(false, &other), (true, &receiver)] {
        let dir = TempDir::new("https-webhook");
        let authorities = by.dir.join("tls/ca.pem");
        let believed = Some(authorities.as_path());
        let hub = HubProcess::start_believing(believed, dir.path(), "127.0.0.1:0", &options);
        provoke(&hub.client(dir.path()), "/v1/admin/status").await;
        let error = tried_once(dir.path()).await;
        assert_eq!(
            error.contains("the webhook answered 401"),
            signed,
            "{error}"
        );
        while signed && !told().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(told().await, signed);
        hub.terminate();
    }
}

/// What the first attempt to deliver came to that failed.
async fn tried_once(data: &Path) -> String {
    let db = Connection::open_read_only(data.join("hub.db")).unwrap();
    let sql = "SELECT error FROM alert_outbox WHERE error IS NOT NULL";
    loop {
        let error = db.query_optional(sql, (), |row| row.get(0));
        if let Some(error) = error.unwrap() {
            return error;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_command_gets_the_message_and_is_started_again_when_it_fails() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new("command");
    let (program, said) = (dir.join("tell"), dir.join("said"));
    // It fails the first time, after it has written down what it got.
    let script = format!(
        "#!/bin/sh\ncat >> '{0}'\necho >> '{0}'\n[ -e '{0}.again' ] && exit 0\ntouch '{0}.again'\nexit 3\n",
        said.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = dir.join("hub");
    let program = program.to_str().unwrap().to_owned();
    let hub = HubProcess::start_with(&data, "127.0.0.1:0", &["--alert-command", &program]);
    let client = hub.client(&data);
    provoke(&client, "/v1/admin/status").await;
    let lines = || {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    until(|| lines().len() == 2).await;
    while outbox(&client).await != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lines = lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], lines[1], "the same message");
    let message: AlertMessage = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        (message.kind.as_str(), message.event),
        ("unauthorized", AlertEvent::Raised)
    );
    hub.terminate();
}

#[test]
fn an_address_that_is_no_webhook_is_refused_at_the_start() {
    let dir = TempDir::new("no-webhook");
    for address in [
        "ftp://example.org/x",
        "example.org",
        "http:///x",
        "https:///x",
        "",
    ] {
        let args = ["run", "--listen", "127.0.0.1:0", "--alert-webhook", address];
        let output = crate::hub::command(dir.path(), &args);
        assert_eq!(output.status.code(), Some(2), "{address}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--alert-command"), "{said}");
    }
}
