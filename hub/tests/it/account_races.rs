//! What an owner decides about a person stands, also against a request of that person that is under way.

use crate::hub::{Client, TestHub, parse, problem};
use counterfoil_domain::env::Random;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{LoggedIn, SessionRow, UserRow};
use counterfoil_replica::env::{Env, HttpResponse, SystemRandom};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

const OLD: &str = "correct horse battery";
const NEW: &str = "a password of the thief";
/// What a salt takes.
const SALT: usize = 16;
/// What the token of a session takes.
const TOKEN: usize = 32;

/// Randomness that stops the next one who asks for so many bytes: that is between the check and the writing.
struct Gate {
    bytes: AtomicUsize,
    stopped: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Random for Gate {
    fn fill(&self, bytes: &mut [u8]) {
        let asked = bytes.len();
        let closed = self
            .bytes
            .compare_exchange(asked, 0, Ordering::SeqCst, Ordering::SeqCst);
        if closed.is_ok() {
            self.stopped.lock().unwrap().send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        SystemRandom.fill(bytes);
    }
}

/// A hub with one person, whose requests can be stopped.
struct Held {
    _hub: TestHub,
    client: Client,
    gate: Arc<Gate>,
    stopped: Receiver<()>,
    go_on: Sender<()>,
}

impl Held {
    async fn start() -> Self {
        let (stops, stopped) = channel();
        let (go_on, goes_on) = channel();
        let gate = Arc::new(Gate {
            bytes: AtomicUsize::new(0),
            stopped: Mutex::new(stops),
            go_on: Mutex::new(goes_on),
        });
        let env = Env {
            random: Arc::clone(&gate) as Arc<dyn Random>,
            ..Env::system()
        };
        let hub = TestHub::start_as(env).await;
        let client = hub.client();
        let sam = json!({"name": "sam", "role": "owner", "password": OLD});
        client.admin_post::<UserRow>("users", &sam).await;
        Self {
            _hub: hub,
            client,
            gate,
            stopped,
            go_on,
        }
    }

    async fn login(&self, password: &str) -> HttpResponse {
        let body = json!({"name": "sam", "password": password});
        self.client.post("/v1/login", None, &body).await
    }

    /// Sends a request that stops where it asks for so many bytes.
    fn stop_at(
        &self,
        bytes: usize,
        path: &'static str,
        request: Value,
        token: Option<String>,
    ) -> JoinHandle<HttpResponse> {
        self.gate.bytes.store(bytes, Ordering::SeqCst);
        let client = self.client.clone();
        let sent = tokio::spawn(async move { client.post(path, token.as_deref(), &request).await });
        let long = Duration::from_secs(120);
        self.stopped.recv_timeout(long).unwrap();
        sent
    }

    async fn change_under_way(&self) -> JoinHandle<HttpResponse> {
        let session: LoggedIn = parse(&self.login(OLD).await);
        let change = json!({"current": OLD, "new": NEW});
        self.stop_at(SALT, "/v1/password", change, Some(session.token))
    }

    async fn end(&self, sent: JoinHandle<HttpResponse>) -> HttpResponse {
        self.go_on.send(()).unwrap();
        sent.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_person_who_is_disabled_stays_disabled() {
    let held = Held::start().await;
    let change = held.change_under_way().await;
    let row: UserRow = held
        .client
        .admin_post("users/sam/disable", &Value::Null)
        .await;
    assert!(row.disabled);
    assert_eq!(problem(&held.end(change).await).code, Code::Unauthorized);
    let rows: Vec<UserRow> = held.client.admin_get("users").await;
    assert!(rows[0].disabled);
    let answer = held.login(NEW).await;
    assert_eq!(problem(&answer).code, Code::Unauthorized);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_password_that_an_owner_gave_stays() {
    let held = Held::start().await;
    let change = held.change_under_way().await;
    let given = json!({"password": "given by the owner"});
    let path = "users/sam/password";
    held.client.admin_post::<UserRow>(path, &given).await;
    assert_eq!(problem(&held.end(change).await).code, Code::Unauthorized);
    let answer = held.login(NEW).await;
    assert_eq!(problem(&answer).code, Code::Unauthorized);
    parse::<LoggedIn>(&held.login("given by the owner").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_signs_in_with_a_password_that_an_owner_has_replaced_meanwhile() {
    let held = Held::start().await;
    let login = json!({"name": "sam", "password": OLD});
    let sent = held.stop_at(TOKEN, "/v1/login", login, None);
    let given = json!({"password": "given by the owner"});
    let path = "users/sam/password";
    held.client.admin_post::<UserRow>(path, &given).await;
    assert_eq!(problem(&held.end(sent).await).code, Code::Unauthorized);
    let rows: Vec<SessionRow> = held.client.admin_get("sessions").await;
    assert_eq!(rows, []);
}
