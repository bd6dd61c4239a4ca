//! A minimal hub: one database, the protocol, and faults on demand.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path as UrlPath, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use counterfoil_protocol::wire::replication::{
    CHAIN_BEFORE_HEADER, CHAIN_HEADER, FILE_BYTES_HEADER, FILE_DIGEST_HEADER, FRAMES_HEADER,
    GenerationAnswer, PART_DIGEST_HEADER,
};
use counterfoil_replica::{
    Chain, Copy, CopyKind, ExportOutcome, PagesOutcome, PullOutcome, Push, Remote, compress, delta,
};

use crate::support::{env, files};

pub(crate) struct Hub {
    pub(crate) copy: Mutex<Option<Copy>>,
    /// Pushes that are applied and whose answer is dropped.
    pub(crate) answers_to_drop: AtomicU32,
    /// Rotate after that many pushes; 0 never.
    pub(crate) rotate_every: AtomicU32,
    /// Pulls of frames that are answered; the line drops in all after them.
    pub(crate) pulls_to_answer: AtomicU32,
    /// Speaks the stock protocol and nothing else.
    pub(crate) is_stock: AtomicBool,
    /// WAL size in bytes at which a stock client at its end is the occasion for a generation.
    pub(crate) stock_limit: AtomicU32,
    /// Pushes that are taken; those after them do not arrive.
    pub(crate) pushes_to_take: AtomicU32,
    /// First pages of the parts of files given out.
    pub(crate) parts: Mutex<Vec<u64>>,
    /// First frames of the pulls that were answered with frames.
    pub(crate) pulls: Mutex<Vec<u64>>,
    /// Parts that are answered; the line drops in all after them.
    pub(crate) parts_to_answer: AtomicU32,
    /// One of [`Damage`].
    pub(crate) damage: AtomicU32,
    pushes: AtomicU32,
    pub(crate) pushed_bytes: AtomicU32,
    /// Pulls that were answered with delta frames.
    pub(crate) deltas_pulled: AtomicU32,
    /// Of those, how many next ones are spoiled on their way.
    pub(crate) deltas_to_spoil: AtomicU32,
    /// What it announces instead of all it can.
    pub(crate) announced: Mutex<Option<Vec<String>>>,
    /// The `content-encoding` of every push.
    pub(crate) encodings: Mutex<Vec<Option<String>>>,
    url: String,
}

impl Hub {
    pub(crate) async fn start(path: &Path, kind: CopyKind) -> Arc<Self> {
        Self::start_with(Copy::open(path, kind, files()).unwrap()).await
    }

    pub(crate) async fn start_with(copy: Copy) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Self {
            copy: Mutex::new(Some(copy)),
            answers_to_drop: AtomicU32::new(0),
            rotate_every: AtomicU32::new(0),
            pulls_to_answer: AtomicU32::new(u32::MAX),
            is_stock: AtomicBool::new(false),
            stock_limit: AtomicU32::new(u32::MAX),
            pushes_to_take: AtomicU32::new(u32::MAX),
            parts: Mutex::default(),
            pulls: Mutex::default(),
            parts_to_answer: AtomicU32::new(u32::MAX),
            damage: AtomicU32::new(Damage::NONE),
            pushes: AtomicU32::new(0),
            pushed_bytes: AtomicU32::new(0),
            deltas_pulled: AtomicU32::new(0),
            deltas_to_spoil: AtomicU32::new(0),
            announced: Mutex::new(None),
            encodings: Mutex::new(Vec::new()),
            url,
        });
        let router = Router::new()
            .route("/info", get(info))
            .route("/export/{generation}", get(export_whole))
            .route("/export/{generation}/{start}/{end}", get(export))
            .route("/sync/{generation}/{start}/{end}", post(push).get(pull))
            .route(
                "/sync/{generation}/{start}/{end}/{baton}",
                post(push_with_baton),
            )
            .route("/pages/{generation}/{frame}", get(pages))
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(Arc::clone(&hub), faults))
            .with_state(Arc::clone(&hub));
        tokio::spawn(async move { axum::serve(listener, router).await });
        hub
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote::new(&env().http(), self.url(), Some("token".to_owned()))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn lead_over(&self, generation: u64, start: u64) {
        let limit = self.stock_limit.load(Ordering::SeqCst);
        self.on_copy(|copy| copy.checkpoint_for_stock(generation, start, limit.into()))
            .unwrap();
    }

    pub(crate) fn on_copy<R>(&self, work: impl FnOnce(&mut Copy) -> R) -> R {
        work(self.copy.lock().unwrap().as_mut().unwrap())
    }

    /// Closes the copy, lets something happen to its files, and opens it again.
    pub(crate) fn restart(&self, path: &Path, kind: CopyKind, meanwhile: impl FnOnce()) {
        self.restart_with(|| {
            meanwhile();
            match kind {
                CopyKind::Pushed => Copy::open_or_set_aside(path, files()).unwrap().0,
                CopyKind::Written => Copy::open(path, kind, files()).unwrap(),
            }
        });
    }

    /// Closes the copy, and takes another one.
    pub(crate) fn restart_with(&self, open: impl FnOnce() -> Copy) {
        let mut copy = self.copy.lock().unwrap();
        *copy = None;
        *copy = Some(open());
    }
}

async fn faults(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let is_push = request.method() == "POST";
    let take = |left: u32| left.checked_sub(1);
    if is_push
        && hub
            .pushes_to_take
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_err()
    {
        return broken_off();
    }
    let response = next.run(request).await;
    if is_push {
        let pushes = hub.pushes.fetch_add(1, Ordering::SeqCst) + 1;
        let every = hub.rotate_every.load(Ordering::SeqCst);
        if every > 0 && pushes.is_multiple_of(every) {
            hub.on_copy(|copy| copy.checkpoint_if_over(0)).unwrap();
        }
        if hub
            .answers_to_drop
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok()
        {
            // The client cannot know whether the push was applied.
            return broken_off();
        }
    }
    response
}

/// An answer that breaks off.
fn broken_off() -> Response {
    let broken =
        futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    Response::new(Body::from_stream(broken))
}

async fn info(State(hub): State<Arc<Hub>>) -> Response {
    match hub.on_copy(Copy::info) {
        Ok(info) => {
            let mut info = info.to_wire();
            if hub.is_stock.load(Ordering::SeqCst) {
                let generation = info.current_generation;
                return Json(serde_json::json!({"current_generation": generation})).into_response();
            }
            if let Some(announced) = &*hub.announced.lock().unwrap() {
                info.extensions.clone_from(announced);
            }
            Json(info).into_response()
        }
        Err(_) => unavailable(),
    }
}

/// The file as a stock client asks for it.
async fn export_whole(State(hub): State<Arc<Hub>>, UrlPath(generation): UrlPath<u64>) -> Response {
    let mut whole = Vec::new();
    loop {
        let start = u64::try_from(whole.len()).unwrap().div_euclid(4096) + 1;
        match hub.on_copy(|copy| copy.export(generation, start, start + 100)) {
            Ok(ExportOutcome::Part {
                bytes, file_bytes, ..
            }) => {
                whole.extend(bytes);
                if u64::try_from(whole.len()).unwrap() == file_bytes {
                    return whole.into_response();
                }
            }
            Ok(ExportOutcome::Gone { generation }) => return gone(generation),
            Ok(ExportOutcome::BadRequest) | Err(_) => return unavailable(),
        }
    }
}

async fn export(
    State(hub): State<Arc<Hub>>,
    UrlPath((generation, start, end)): UrlPath<(u64, u64, u64)>,
) -> Response {
    let take = |left: u32| left.checked_sub(1);
    let left = &hub.parts_to_answer;
    if left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
        .is_err()
    {
        return broken_off();
    }
    let Ok(outcome) = hub.on_copy(|copy| copy.export(generation, start, end)) else {
        return unavailable();
    };
    match outcome {
        ExportOutcome::Part {
            mut bytes,
            file_bytes,
            file_digest,
        } => {
            hub.parts.lock().unwrap().push(start);
            let digest = Chain::of_base(&bytes).to_string();
            match hub.damage.load(Ordering::SeqCst) {
                Damage::NONE => {}
                Damage::ON_THE_LINE => bytes[0] ^= 1,
                _ => {
                    bytes[100] ^= 1;
                    let digest = Chain::of_base(&bytes).to_string();
                    return part(bytes, file_bytes, &file_digest.to_string(), &digest);
                }
            }
            part(bytes, file_bytes, &file_digest.to_string(), &digest)
        }
        ExportOutcome::Gone { generation } => gone(generation),
        ExportOutcome::BadRequest => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    }
}

fn part(bytes: Vec<u8>, file_bytes: u64, file_digest: &str, digest: &str) -> Response {
    let headers = [
        (PART_DIGEST_HEADER, digest.to_owned()),
        (FILE_DIGEST_HEADER, file_digest.to_owned()),
        (FILE_BYTES_HEADER, file_bytes.to_string()),
    ];
    (headers, bytes).into_response()
}

/// What the hub does to the parts it gives out.
pub(crate) struct Damage;

impl Damage {
    /// Nothing.
    pub(crate) const NONE: u32 = 0;
    /// A part is not what its digest says.
    pub(crate) const ON_THE_LINE: u32 = 1;
    /// Parts are what their digests say, and the whole is not.
    pub(crate) const IN_THE_FILE: u32 = 2;
}

async fn pull(
    State(hub): State<Arc<Hub>>,
    UrlPath((generation, start, end)): UrlPath<(u64, u64, u64)>,
    headers: HeaderMap,
) -> Response {
    let take = |left: u32| left.checked_sub(1);
    if hub
        .pulls_to_answer
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
        .is_err()
    {
        return broken_off();
    }
    hub.lead_over(generation, start);
    let before = headers.get(CHAIN_BEFORE_HEADER);
    if let Some(before) = before.map(|it| it.to_str().unwrap().parse().unwrap()) {
        let delta = hub.on_copy(|copy| copy.pull_delta(generation, start, end, before));
        if let Some(delta) = delta.unwrap() {
            let mut bytes = delta.bytes;
            if hub
                .deltas_to_spoil
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
            {
                *bytes.last_mut().unwrap() ^= 1;
            }
            hub.deltas_pulled.fetch_add(1, Ordering::SeqCst);
            return (
                [
                    ("content-encoding", delta::ENCODING.to_owned()),
                    (FRAMES_HEADER, delta.frames.to_string()),
                    (CHAIN_HEADER, delta.chain.to_string()),
                ],
                bytes,
            )
                .into_response();
        }
    }
    let Ok(outcome) = hub.on_copy(|copy| copy.pull(generation, start, end)) else {
        return unavailable();
    };
    if matches!(outcome, PullOutcome::Frames(_)) {
        hub.pulls.lock().unwrap().push(start);
    }
    match outcome {
        PullOutcome::Frames(body) if headers.contains_key("accept-encoding") => (
            [("content-encoding", "zstd")],
            compress::encode(&body).unwrap(),
        )
            .into_response(),
        PullOutcome::Frames(body) => body.into_response(),
        PullOutcome::Ended { generation } => (
            StatusCode::BAD_REQUEST,
            Json(GenerationAnswer { generation }),
        )
            .into_response(),
        PullOutcome::Gone { generation } => gone(generation),
        PullOutcome::BadRequest => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    }
}

fn unavailable() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

fn gone(generation: u64) -> Response {
    (StatusCode::GONE, Json(GenerationAnswer { generation })).into_response()
}

async fn push_with_baton(
    state: State<Arc<Hub>>,
    UrlPath((generation, start, end, _baton)): UrlPath<(u64, u64, u64, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    push(state, UrlPath((generation, start, end)), headers, body).await
}

async fn push(
    State(hub): State<Arc<Hub>>,
    UrlPath((generation, start, end)): UrlPath<(u64, u64, u64)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    hub.pushed_bytes
        .fetch_add(u32::try_from(body.len()).unwrap(), Ordering::SeqCst);
    let encoding = headers
        .get("content-encoding")
        .map(|it| it.to_str().unwrap().to_owned());
    let is_delta = encoding.as_deref() == Some(delta::ENCODING);
    hub.encodings.lock().unwrap().push(encoding);
    let body = if is_delta {
        body.to_vec()
    } else {
        plain(&headers, &body)
    };
    let is_stock = hub.is_stock.load(Ordering::SeqCst);
    let chain = |name: &str| -> Option<Chain> {
        let value = headers.get(name).filter(|_| !is_stock)?;
        Some(value.to_str().unwrap().parse().unwrap())
    };
    let push = Push {
        generation,
        start,
        end,
        body: &body,
        chain: chain(CHAIN_HEADER),
        before: chain(CHAIN_BEFORE_HEADER),
    };
    if push.chain.is_none() {
        hub.lead_over(generation, start);
    }
    let pushed = hub.on_copy(|copy| match is_delta {
        true => copy.push_delta(&push),
        false => copy.push(&push),
    });
    let Ok(outcome) = pushed else {
        return unavailable();
    };
    match outcome.to_wire() {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn pages(
    State(hub): State<Arc<Hub>>,
    UrlPath((generation, frame)): UrlPath<(u64, u64)>,
) -> Response {
    if hub.is_stock.load(Ordering::SeqCst) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match hub.on_copy(|copy| copy.pages(generation, frame)) {
        Ok(PagesOutcome::Digests(digests)) => digests.into_response(),
        Ok(PagesOutcome::Gone { generation }) => gone(generation),
        Err(_) => unavailable(),
    }
}

fn plain(headers: &HeaderMap, body: &Bytes) -> Vec<u8> {
    if headers.contains_key("content-encoding") {
        compress::decode(body, 1 << 30).unwrap()
    } else {
        body.to_vec()
    }
}
