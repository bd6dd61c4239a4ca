//! Runs of sync, figures, health: what a hub says of itself, against what a driver did.

use crate::hub::{Client, TestHub, command_json, parse, problem};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_domain::env::Clock as _;
use counterfoil_migrate::{Connection, Durability, SqlError};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::monitor::{RunKind, RunPage, RunResult, RunRow};
use counterfoil_replica::env::Env;
use counterfoil_testkit::ManualClock;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The lines of an exposition by name and labels, and the types by name.
struct Exposed {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Exposed {
    async fn read(client: &Client) -> Self {
        let answer = client.get("/metrics", Some(&client.admin)).await;
        assert!(answer.status.is_success(), "{}", answer.status);
        let media = answer.headers["content-type"].to_str().unwrap();
        assert!(media.starts_with("application/openmetrics-text"), "{media}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').unwrap();
                types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                samples.insert(name.to_owned(), value.parse().unwrap());
            }
        }
        Self { samples, types }
    }

    /// Sum of the samples whose name and labels begin like this.
    fn sum(&self, name: &str) -> u64 {
        let name = format!("counterfoil_hub_{name}");
        let mut found = self
            .samples
            .iter()
            .filter(|(key, _)| key.starts_with(&name))
            .peekable();
        assert!(found.peek().is_some(), "{name}: {:?}", self.samples.keys());
        let sum: f64 = found.map(|(_, value)| *value).sum();
        format!("{sum}").parse().unwrap()
    }
}

async fn runs(client: &Client, query: &str) -> Vec<RunRow> {
    client
        .admin_get::<RunPage>(&format!("runs{query}"))
        .await
        .runs
}

fn of_kind(runs: &[RunRow], kind: RunKind) -> Vec<&RunRow> {
    runs.iter().filter(|run| run.kind == kind).collect()
}

#[tokio::test]
async fn runs_and_figures_are_what_a_driver_did() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let mut other = Till::of(&client, "Crail", 2).await;
    till.hello(&client).await;
    for _ in 0..3 {
        till.sell(2);
    }
    till.move_stock(1_000);
    till.edit("TEA", ("name", Scalar::Text("Tea".to_owned())), &[]);
    let pushed = till.push(&client).await.unwrap();
    other.sell(1);
    let also = other.push(&client).await.unwrap();
    client.settle().await;

    let all = runs(&client, "").await;
    let mine = runs(&client, &format!("?node={}", till.id)).await;
    assert!(
        mine.iter().all(|run| run.node_id == Some(till.id)),
        "{mine:?}"
    );
    assert_eq!(mine[0].till.as_deref(), Some("Leith/1"));
    assert_eq!(of_kind(&mine, RunKind::Hello).len(), 1);
    let pushes = of_kind(&mine, RunKind::Push);
    let frames: i64 = pushes.iter().map(|run| run.rows).sum();
    assert_eq!(u64::try_from(frames).unwrap(), pushed.frames);
    assert!(
        pushes
            .iter()
            .all(|run| run.result == RunResult::Done && run.bytes > 0)
    );
    let moved: i64 = of_kind(&mine, RunKind::Consolidate)
        .iter()
        .map(|run| run.rows)
        .sum();
    assert_eq!(moved, 5);
    assert!(all.iter().any(|run| run.node_id == Some(other.id)));
    assert!(
        all.windows(2).all(|pair| pair[0].id > pair[1].id),
        "newest first"
    );
    let first: RunPage = client.admin_get("runs?limit=1").await;
    assert_eq!(first.next, Some(first.runs[0].id));

    let figures = Exposed::read(&client).await;
    assert_eq!(
        figures.sum("frames_received_total"),
        pushed.frames + also.frames
    );
    assert_eq!(figures.sum("consolidated_entries_total"), 6);
    assert_eq!(
        figures.sum("consolidated_entries_total{priority=\"high\"}"),
        4
    );
    assert_eq!(figures.sum("merged_edits_total"), 1);
    assert_eq!(
        figures.sum("sync_requests_total{kind=\"hello\",result=\"done\"}"),
        1
    );
    assert_eq!(figures.sum("receipts"), 4);
    assert_eq!(figures.sum("nodes{state=\"active\"}"), 2);
    assert_eq!(figures.sum("quarantine_open"), 0);
    // Besides the pushes there is one hello, a small document.
    let beside = figures.sum("received_bytes_total") - pushed.bytes_up - also.bytes_up;
    assert!((50..500).contains(&beside), "{beside}");
    refused_runs(&client, &till).await;
}

/// What is refused is a run too, with the reason, and counts nothing.
async fn refused_runs(client: &Client, till: &Till) {
    let path = format!("/v1/db/book/{}/sync/9/9/7", till.id);
    let refused = client.get(&path, Some(&till.token)).await;
    assert_eq!(refused.status.as_u16(), 422);
    let newest = &runs(client, "").await[0];
    assert_eq!(
        (newest.kind, newest.result),
        (RunKind::Pull, RunResult::Refused)
    );
    assert!(newest.detail.contains("range"), "{newest:?}");
    let stranger = client.post("/v1/hello", Some("nobody"), &Value::Null).await;
    assert_eq!(problem(&stranger).code, Code::Unauthorized);
    assert_eq!(runs(client, "").await[0].node_id, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_hub_that_stopped_are_listed_by_the_command() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    client.settle().await;
    hub.stop().await;
    let listed: Vec<RunRow> =
        command_json(hub.dir.path(), &["runs", "--node", &till.id.to_string()]);
    assert!(!of_kind(&listed, RunKind::Push).is_empty(), "{listed:?}");
    assert!(
        !of_kind(&listed, RunKind::Consolidate).is_empty(),
        "{listed:?}"
    );
}

/// Somebody else who writes `hub.db` and does not come to an end.
struct Intruder {
    leave: std::sync::mpsc::Sender<()>,
    writes: std::thread::JoinHandle<()>,
}

impl Intruder {
    fn into(hub: &TestHub) -> Self {
        let path = hub.dir.join("hub.db");
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let (come, came) = std::sync::mpsc::channel();
        let writes = std::thread::spawn(move || {
            let db = Connection::open_existing(path, Durability::Full).unwrap();
            let held: Result<(), SqlError> = db.transaction(|_| {
                come.send(()).unwrap();
                left.recv().unwrap();
                Ok(())
            });
            held.unwrap();
            db.close();
        });
        came.recv().unwrap();
        Self { leave, writes }
    }

    fn leaves(self) {
        self.leave.send(()).unwrap();
        self.writes.join().unwrap();
    }
}

/// For how long an answer about being ready stands.
const READY_ANSWER_MS: i64 = counterfoil_hub::limits::READY_ANSWER_MS;

/// The time as it is, which goes on when the test says so.
fn now() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Env::system().clock.now_ms()))
}

async fn not_ready(client: &Client) -> String {
    let answer = client.get("/readyz", None).await;
    let problem = problem(&answer);
    assert_eq!((problem.code, problem.status), (Code::NotReady, 503));
    problem.detail
}

/// Waits until the hub says that it is ready; a machine under load may take its time.
async fn is_ready(client: &Client) {
    let mut said = String::new();
    for _ in 0..600 {
        let answer = client.get("/readyz", None).await;
        if answer.status.is_success() {
            return;
        }
        said = problem(&answer).detail;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(said, "", "it is not ready");
}

#[tokio::test]
async fn a_hub_that_cannot_write_or_does_not_consolidate_is_not_ready_and_says_so() {
    let clock = now();
    let hub = TestHub::start_at_with(Arc::clone(&clock), |config| config.stuck = Duration::ZERO);
    let hub = hub.await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.hello(&client).await;
    client.get("/v1/admin/status", None).await;
    is_ready(&client).await;
    let other = Intruder::into(&hub);
    till.sell(1);
    till.push(&client).await.unwrap();
    clock.advance(READY_ANSWER_MS);
    let why = not_ready(&client).await;
    assert!(why.contains("database: it cannot be written"), "{why}");
    assert!(
        why.contains("consolidator: nothing was consolidated"),
        "{why}"
    );
    // The process lives all the same, and tells its figures.
    let alive: Value = parse(&client.get("/healthz", None).await);
    assert_eq!(alive["status"], "ok");
    check_documented(&Exposed::read(&client).await);
    other.leaves();
    client.settle().await;
    clock.advance(READY_ANSWER_MS);
    is_ready(&client).await;
}

#[tokio::test]
async fn who_asks_often_whether_the_hub_is_ready_costs_one_write_a_second() {
    let clock = now();
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    is_ready(&client).await;
    let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    let written = || -> String {
        let sql = "SELECT value FROM meta WHERE key = 'written_ms'";
        db.query_value(sql, ()).unwrap()
    };
    let erase = "UPDATE meta SET value = 'nothing' WHERE key = 'written_ms'";
    assert_eq!(db.execute(erase, ()).unwrap(), 1);
    for _ in 0..3 {
        is_ready(&client).await;
        assert_eq!(written(), "nothing");
    }
    clock.advance(READY_ANSWER_MS);
    is_ready(&client).await;
    assert_eq!(written(), clock.now_ms().to_string());
    db.close();
}

/// The table of the documentation has what is exposed, and nothing else.
fn check_documented(exposed: &Exposed) {
    let text = include_str!("../../../docs/metrics.md");
    let (hub, _) = text.split_once("## The node").unwrap();
    let rows = hub
        .lines()
        .filter_map(|line| line.strip_prefix("| `counterfoil_"));
    let documented: BTreeSet<_> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`');
            let kind = cells.next().unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            let name = format!("counterfoil_{}", name.strip_suffix(suffix).unwrap());
            (name, kind.to_owned())
        })
        .collect();
    let exposed: BTreeSet<_> = exposed
        .types
        .iter()
        .map(|(name, kind)| (name.clone(), kind.clone()))
        .collect();
    assert_eq!(exposed, documented);
}

#[tokio::test]
async fn a_hub_without_room_or_of_another_schema_is_not_ready() {
    let hub = TestHub::start_with(|config| config.disk_bytes_min = u64::MAX).await;
    let why = not_ready(&hub.client()).await;
    assert!(why.starts_with("disk: the hub's disk has"), "{why}");
    let clock = now();
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    is_ready(&client).await;
    let other = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
    let newer =
        "INSERT INTO refinery_schema_history SELECT version + 1, 'later', applied_on, checksum
                 FROM refinery_schema_history ORDER BY version DESC LIMIT 1";
    assert_eq!(other.execute(newer, ()).unwrap(), 1);
    other.close();
    clock.advance(READY_ANSWER_MS);
    let why = not_ready(&client).await;
    assert!(why.starts_with("schema: hub.db has"), "{why}");
}

fn mounts(path: &Path, options: &str) -> bool {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(path)
        .status();
    mounted.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_hub_on_a_disk_that_may_only_be_read_is_not_ready() {
    let dir = counterfoil_testkit::TempDir::new("readonly");
    if !mounts(dir.path(), "size=64m") {
        // Past the harness, which keeps what a test prints when it passes.
        let notice = "a_hub_on_a_disk_that_may_only_be_read: NOT RUN, this user may not mount\n";
        std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes()).unwrap();
        return;
    }
    let path = dir.path().to_owned();
    let clock = now();
    let env = Env {
        clock: clock.clone(),
        ..Env::system()
    };
    let mut hub = TestHub::start_in(dir, env, |config| config.disk_bytes_min = 0).await;
    let client = hub.client();
    is_ready(&client).await;
    // Files that are open for writing keep a disk from being made read-only: what is full says no as well.
    let filler = std::fs::write(path.join("filler"), vec![0; 64 << 20]);
    assert!(filler.is_err(), "the disk is full");
    let mut refused = String::new();
    for _ in 0..2_000 {
        // Pages that the log has already are written in place until it grows.
        clock.advance(READY_ANSWER_MS);
        let answer = client.get("/readyz", None).await;
        if !answer.status.is_success() {
            refused = problem(&answer).detail;
            break;
        }
    }
    assert!(
        refused.contains("database: it cannot be written"),
        "{refused}"
    );
    std::fs::remove_file(path.join("filler")).unwrap();
    clock.advance(READY_ANSWER_MS);
    is_ready(&client).await;
    hub.stop().await;
    let _left = Command::new("umount").arg("-l").arg(&path).status();
}
