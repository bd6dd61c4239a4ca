//! The merge at the hub: edits a second when every row is edited by every till and none has seen the others'.
//!
//! `cargo bench -p system-tests --bench merge` prints the table. The books are real, pushed beforehand; what is
//! measured is one consolidation: the edits are read from the books, judged, decided, recorded with their
//! conflicts in `hub.db`, and published.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::expect_used, reason = "a benchmark may stop")]
#![expect(clippy::float_arithmetic, reason = "rates are for people")]

use counterfoil_domain::env::{document_id, uuid_v7};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{CatalogEdit, Chain, Document, Hlc, NodeId, Scalar, Topic};
use counterfoil_migrate::{Connection, Kind, SqlError, open_and_migrate, params};
use counterfoil_protocol::wire::hub::book_path;
use counterfoil_replica::env::Env;
use counterfoil_replica::{BookReplica, OpenGate, Remote, Supersede};
use counterfoil_testkit::{SeededRandom, TempDir};
use http::Method;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use system_tests::idle::Idle;

const TILLS: u64 = 8;
const ROWS: i64 = 5_000;
const ROUNDS: usize = 3;
/// November 2023, milliseconds.
const BEGIN_MS: i64 = 1_700_000_000_000;
const HEADER: &str = "rows, tills                    edits  conflicts  seconds   edits/s";

fn main() {
    // A smaller number to see that it works: `cargo bench ... -- 100`.
    let asked = std::env::args().skip(1).find_map(|it| it.parse().ok());
    let rows: i64 = asked.unwrap_or(ROWS);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "edits of one column that nobody else has seen, and edits that replace what is there\n"
    );
    println!("{HEADER}");
    for _ in 0..ROUNDS {
        runtime.block_on(round(rows));
    }
}

async fn conflicts(hub: &Idle) -> i64 {
    let status = hub.ask(
        Method::GET,
        "/v1/admin/status",
        Some(&hub.admin),
        &Value::Null,
    );
    let status = status.await;
    assert_eq!(status["quarantined"], 0, "{status}");
    status["conflicts"].as_i64().expect("a number")
}

async fn round(rows: i64) {
    let dir = TempDir::new("bench-merge");
    let hub = Idle::open(&dir.join("hub")).await;
    for (name, succeeding) in [("concurrent", false), ("succeeding", true)] {
        let before = conflicts(&hub).await;
        let mut seen = Vec::new();
        for seed in 1..=TILLS {
            let seed = seed + if succeeding { 100 } else { 0 };
            let folder = dir.join(&format!("{name}{seed}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            let till = Till::make(&folder, seed, (name, rows), &seen);
            till.send(&hub).await;
            if succeeding {
                seen.clone_from(&till.stamps);
            }
        }
        let started = Instant::now();
        let consolidated = hub.ask(
            Method::POST,
            "/v1/admin/consolidate",
            Some(&hub.admin),
            &Value::Null,
        );
        consolidated.await;
        let seconds = started.elapsed().as_secs_f64();
        let edits = rows * i64::try_from(TILLS).expect("small");
        println!(
            "{:<28} {edits:>7} {:>10} {seconds:>8.2} {:>9.0}",
            format!("{rows}, {TILLS}, {name}"),
            conflicts(&hub).await - before,
            rate(edits, seconds)
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(edits: i64, seconds: f64) -> f64 {
    edits as f64 / seconds
}

/// A till whose book holds an edit of each row.
struct Till {
    node: NodeId,
    replica: BookReplica,
    _book: Connection,
    stamps: Vec<Stamp>,
}

impl Till {
    fn make(folder: &Path, seed: u64, (name, rows): (&str, i64), seen: &[Stamp]) -> Self {
        let env = Env::system();
        let random = SeededRandom::new(seed);
        let path = folder.join("book.db");
        let replica = BookReplica::open(&path, Arc::clone(&env.files), env.execution);
        let replica = replica.expect("it opens");
        let book = open_and_migrate(&path, Kind::Book, BEGIN_MS).expect("a book");
        let node = NodeId::from_uuid(uuid_v7(BEGIN_MS, &random));
        let till = i64::try_from(seed).expect("small");
        let (mut chain, mut stamps) = (Chain::START, Vec::new());
        let written = book.transaction(|tx| -> Result<(), SqlError> {
            for seq in 1..=rows {
                let at_ms = BEGIN_MS + seq * 1_000 + till;
                let row = usize::try_from(seq - 1).expect("positive");
                let base = seen.get(row).map(|it| vec![*it]).unwrap_or_default();
                let edit = CatalogEdit {
                    table: "products".to_owned(),
                    row: format!("{name}{seq}"),
                    columns: [("name".to_owned(), Scalar::Text(format!("name by {seed}")))].into(),
                    base: BTreeMap::from([("name".to_owned(), base)]),
                    base_revision: 0,
                    decision: None,
                    at_ms: Some(at_ms),
                };
                let entry = EntryHead {
                    seq,
                    id: document_id(at_ms, &random),
                    hlc: Hlc::at_millis(at_ms),
                    topic: Topic::CatalogEdit,
                };
                stamps.push(Stamp::new(entry.hlc, node));
                let payload = serde_json::to_string(&edit).expect("JSON");
                chain = chain.next(&entry, &Document::CatalogEdit(edit).canonical());
                tx.execute(
                    "INSERT INTO journal (seq, id, hlc, topic, priority, payload, chain)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        seq,
                        entry.id.to_bytes(),
                        entry.hlc.raw(),
                        entry.topic.code(),
                        entry.topic.priority().code(),
                        payload,
                        chain.as_bytes().to_vec()
                    ],
                )?;
            }
            Ok(())
        });
        written.expect("written");
        Self {
            node,
            replica,
            _book: book,
            stamps,
        }
    }

    /// Binds it to a shop of its own and pushes its book.
    async fn send(&self, hub: &Idle) {
        let token = format!("token of {}", self.node);
        let hash = sha2::Sha256::digest(token.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let shop = json!({"name": format!("shop of {}", self.node), "phone": "1"});
        let body = json!({"node": self.node, "token_hash": hash,
            "admission": {"registration": shop}, "schemas": {"book": 1, "catalog": 1}});
        hub.ask(Method::POST, "/v1/activate", None, &body).await;
        let base = format!("{}{}", hub.url, book_path(self.node));
        let remote = Remote::new(&Env::system().http(), &base, Some(token));
        let pushed = self
            .replica
            .push(&remote, &OpenGate, &|_| {}, Supersede::Allowed);
        pushed.await.expect("pushed");
    }
}
