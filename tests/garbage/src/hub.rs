//! The hub's whole HTTP surface: requests as text, with what is a secret or a number of the moment
//! filled in.
//!
//! ```text
//! POST /v1/db/book/{node}/sync/1/{next}/{end} N
//! x-counterfoil-chain-before: {chain}
//!
//! the body, up to a line that is one zero byte
//! ```
//!
//! The letter is the token: `A` the operator's, `N` the till's, `D` the free-standing database's,
//! anything else none.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use counterfoil_domain::NodeId;
use counterfoil_hub::{Hub, HubConfig, Peer, router};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::hub::book_path;
use counterfoil_protocol::wire::replication::Info;
use counterfoil_replica::env::Env;
use counterfoil_replica::limits::FRAME_BYTES;
use counterfoil_testkit::TempDir;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;
use tower::ServiceExt as _;

/// Requests to one hub before a new one takes its place: it must not grow without end.
const RUNS_MAX: u32 = 500;

/// Requests of one text.
const REQUESTS_MAX: usize = 8;

const NODE: NodeId = NodeId::from_uuid(uuid::Uuid::from_u128(7));
const NODE_TOKEN: &str = "token-of-a-till";
const BODY_BYTES_MAX: usize = 64 << 20;

struct World {
    runtime: tokio::runtime::Runtime,
    router: Router,
    admin: String,
    database: String,
    runs: u32,
    _dir: TempDir,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Sends the requests of a text. Nothing is an internal error, each refusal is a problem document, and
/// the hub lives on.
pub(crate) fn run(bytes: &[u8]) {
    WORLD.with_borrow_mut(|place| {
        if place.as_ref().is_some_and(|world| world.runs == RUNS_MAX) {
            *place = None;
        }
        let world = place.get_or_insert_with(World::open);
        world.runs += 1;
        for text in split(bytes, b"\n\0\n").into_iter().take(REQUESTS_MAX) {
            world.runtime.block_on(ask(world, text));
        }
        let alive = Request::get("/healthz")
            .body(Body::empty())
            .expect("a request");
        let alive = world.runtime.block_on(send(world, alive));
        assert_eq!(alive.status(), StatusCode::OK);
    });
}

impl World {
    fn open() -> Self {
        let dir = TempDir::new("garbage-hub");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let mut config = HubConfig::new(dir.path());
        config.public_url = "http://hub".parse().ok();
        let opened = runtime.block_on(Hub::open(config, Env::system()));
        let router = router(opened.expect("a hub"));
        let admin = std::fs::read_to_string(dir.join("admin.token")).expect("it is there");
        let mut world = Self {
            runtime,
            router,
            admin: admin.trim().to_owned(),
            database: String::new(),
            runs: 0,
            _dir: dir,
        };
        let shop = world.set_up("/v1/admin/shops", &json!({"name": "one"}));
        let code: JoinCode = shop["join_code"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a code");
        let hash: String = sha2::Sha256::digest(NODE_TOKEN.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let activation = json!({"node": NODE, "token_hash": hash,
            "admission": {"join_secret": code.secret}, "schemas": counterfoil_hub::HubConfig::new("").schemas});
        world.set_up("/v1/activate", &activation);
        let added = world.set_up("/v1/admin/databases", &json!({"name": "notes"}));
        added["auth_token"]
            .as_str()
            .expect("text")
            .clone_into(&mut world.database);
        world
    }

    fn set_up(&self, path: &str, body: &Value) -> Value {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        let answer = self.runtime.block_on(async {
            let answer = send(self, request).await;
            assert!(answer.status().is_success(), "{answer:?}");
            answer
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
        });
        serde_json::from_slice(&answer).expect("JSON")
    }
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        parts.push(&rest[..at]);
        rest = &rest[at + mark.len()..];
    }
    parts.push(rest);
    parts
}

async fn ask(world: &World, text: &[u8]) {
    let mark = text.windows(2).position(|window| window == b"\n\n");
    let (head, body) = match mark {
        Some(at) => (&text[..at], &text[at + 2..]),
        None => (text, &[][..]),
    };
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let head = fill_in(world, head, body.len()).await;
    let Some(request) = request(world, &head, body) else {
        return;
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answer = send(world, request).await;
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    if kind.as_ref().is_some_and(|it| it == "text/event-stream") {
        return;
    }
    let answer = Limited::new(answer.into_body(), BODY_BYTES_MAX)
        .collect()
        .await;
    let answer = answer.expect("no answer is that long").to_bytes();
    let text = String::from_utf8_lossy(&answer);
    assert_ne!(
        status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{method} {uri}: {text}"
    );
    if kind.is_some_and(|it| it == "application/problem+json") {
        let problem: Problem = serde_json::from_slice(&answer).expect("a problem");
        assert_eq!(problem.status, status.as_u16());
    }
}

/// The head with what a text cannot know.
async fn fill_in(world: &World, head: &str, body_bytes: usize) -> String {
    let mut head = head.replace("{node}", &NODE.to_string());
    if ["{next}", "{end}", "{chain}", "{generation}"]
        .iter()
        .any(|it| head.contains(it))
    {
        let base = if head.contains("/database/") {
            "/v1/db/database/notes".to_owned()
        } else {
            book_path(NODE)
        };
        let letter = if head.contains("/database/") {
            'D'
        } else {
            'N'
        };
        let info = Request::get(format!("{base}/info"))
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", token(world, letter)),
            )
            .body(Body::empty())
            .expect("a request");
        let answer = send(world, info).await;
        let bytes = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        // A till that was revoked, a database that was removed.
        if let Ok(info) = serde_json::from_slice::<Info>(&bytes) {
            let next = info.max_frame_no + 1;
            let frames = body_bytes.div_euclid(FRAME_BYTES).max(1);
            let end = next + u64::try_from(frames).expect("small");
            head = head
                .replace("{generation}", &info.current_generation.to_string())
                .replace("{next}", &next.to_string())
                .replace("{end}", &end.to_string())
                .replace("{chain}", &info.chain);
        }
    }
    head
}

fn token(world: &World, letter: char) -> &str {
    match letter {
        'A' => &world.admin,
        'N' => NODE_TOKEN,
        'D' => &world.database,
        _ => "",
    }
}

fn request(world: &World, head: &str, body: &[u8]) -> Option<Request<Body>> {
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, uri) = (first.next()?, first.next()?);
    let letter = first.next().and_then(|it| it.chars().next()).unwrap_or(' ');
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::from(body.to_vec()))
        .ok()?;
    // The operator may have a file written anywhere: not by chance.
    let is_restore = request.uri().path().contains("history");
    let token = if is_restore && letter == 'A' {
        ""
    } else {
        token(world, letter)
    };
    if !token.is_empty() {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(value.trim()).ok()?;
        request.headers_mut().insert(name, value);
    }
    Some(request)
}

/// Sends a request.
async fn send(world: &World, mut request: Request<Body>) -> Response<Body> {
    let peer = ConnectInfo(Peer(SocketAddr::from(([127, 0, 0, 1], 1))));
    request.extensions_mut().insert(peer);
    let answer = world.router.clone().oneshot(request);
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer within a minute"));
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}
