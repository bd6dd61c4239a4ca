//! Free-standing databases: who reaches them, and what the operator does with them.

use crate::hub::{Ask, Client, HubProcess, TestHub, command, command_json, parse, problem};
use crate::till::Till;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::database::{
    DatabaseAccess, DatabaseFolded, DatabaseRemoved, DatabaseRow,
};
use counterfoil_protocol::wire::hub::{HubStatus, book_path};
use counterfoil_protocol::wire::replication::Info;
use counterfoil_replica::env::Env;
use counterfoil_replica::{BookReplica, OpenGate, Remote, Supersede};
use counterfoil_testkit::TempDir;
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// A page with its header in a WAL.
const FRAME_BYTES: usize = 4_120;

async fn add(client: &Client, name: &str) -> DatabaseAccess {
    client.admin_post("databases", &json!({"name": name})).await
}

async fn list(client: &Client) -> Vec<DatabaseRow> {
    client.admin_get("databases").await
}

fn below<'a>(client: &Client, access: &'a DatabaseAccess) -> &'a str {
    access.sync_url.strip_prefix(&client.url).unwrap()
}

/// A program of our own kind that writes a database and pushes it.
struct Writer {
    dir: TempDir,
    database: Connection,
    replica: BookReplica,
    env: Env,
}

impl Writer {
    fn new() -> Self {
        let (dir, env) = (TempDir::new("writer"), Env::system());
        let path = dir.join("notes.db");
        let replica = BookReplica::open(&path, Arc::clone(&env.files), env.execution).unwrap();
        let database = Connection::open_existing(&path, Durability::Full).unwrap();
        database
            .execute_batch("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            .unwrap();
        Self {
            dir,
            database,
            replica,
            env,
        }
    }

    fn write(&self, count: i64) {
        for _ in 0..count {
            let sql = "INSERT INTO note (text) VALUES (hex(randomblob(100)))";
            self.database.execute(sql, ()).unwrap();
        }
    }

    async fn push(&self, access: &DatabaseAccess) {
        let token = Some(access.auth_token.clone());
        let remote = Remote::new(&self.env.http(), &access.sync_url, token);
        self.replica
            .push(&remote, &OpenGate, &|_| {}, Supersede::Allowed)
            .await
            .unwrap();
    }

    /// The frames of the local WAL as a stock client sends them.
    fn frames(&self) -> Vec<u8> {
        // By another process: closing a file of an open database here would drop SQLite's locks.
        let copy = self.dir.join("wal");
        let copied = std::process::Command::new("cp")
            .arg(self.dir.join("notes.db-wal"))
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        std::fs::read(copy).unwrap()[32..].to_vec()
    }
}

fn notes(file: &Path) -> i64 {
    let database = Connection::open_read_only(file).unwrap();
    database
        .query_value("SELECT count(*) FROM note", ())
        .unwrap()
}

#[tokio::test]
async fn a_token_opens_its_own_database_and_nothing_else() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (one, two) = (add(&client, "one").await, add(&client, "two").await);
    let till = Till::of(&client, "A", 1).await;
    let (mine, other) = (below(&client, &one), below(&client, &two));
    let info: Info = parse(
        &client
            .get(&format!("{mine}/info"), Some(&one.auth_token))
            .await,
    );
    assert_eq!((info.current_generation, info.max_frame_no), (1, 0));

    let book = book_path(till.id);
    let cases = [
        (other, Some(&one.auth_token), Code::Forbidden),
        (
            "/v1/db/database/nobody",
            Some(&one.auth_token),
            Code::Forbidden,
        ),
        (mine, Some(&till.token), Code::Unauthorized),
        (mine, Some(&client.admin), Code::Unauthorized),
        (mine, None, Code::Unauthorized),
        (book.as_str(), Some(&one.auth_token), Code::Unauthorized),
        ("/v1/db/catalog", Some(&one.auth_token), Code::Unauthorized),
    ];
    for (base, token, code) in cases {
        let token = token.map(String::as_str);
        for path in ["info", "export/1", "sync/1/1/2"] {
            let refused = problem(&client.get(&format!("{base}/{path}"), token).await);
            assert_eq!(refused.code, code, "{base}/{path}");
        }
        let push = problem(
            &client
                .post(&format!("{base}/sync/1/1/2"), token, &Value::Null)
                .await,
        );
        assert_eq!(push.code, code, "{base}");
    }
    let admin = problem(
        &client
            .get("/v1/admin/databases", Some(&one.auth_token))
            .await,
    );
    assert_eq!(admin.code, Code::Unauthorized);
    let status: HubStatus = client.admin_get("status").await;
    for kind in ["foreign_database", "unauthorized"] {
        assert!(
            status.alerts.iter().any(|alert| alert.kind == kind),
            "{kind}"
        );
    }
    let (seen, unseen) = (&list(&client).await[0], &list(&client).await[1]);
    assert!(seen.seen_ms.is_some() && unseen.seen_ms.is_none());
}

#[tokio::test]
async fn a_new_token_ends_the_old_one_at_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let old = add(&client, "notes").await;
    let new: DatabaseAccess = client.admin_post("databases/notes/token", &json!({})).await;
    assert_eq!(new.sync_url, old.sync_url);
    let path = format!("{}/info", below(&client, &new));
    parse::<Info>(&client.get(&path, Some(&new.auth_token)).await);
    let refused = problem(&client.get(&path, Some(&old.auth_token)).await);
    assert_eq!(refused.code, Code::Unauthorized);
    let path = "/v1/admin/databases/nobody/token";
    let missing = problem(&client.post(path, Some(&client.admin), &json!({})).await);
    assert_eq!(missing.code, Code::NotFound);
}

#[tokio::test]
async fn a_name_that_is_taken_or_could_be_a_path_is_refused() {
    let hub = TestHub::start().await;
    let client = hub.client();
    add(&client, "notes").await;
    for (name, code) in [
        ("notes", Code::Conflict),
        ("../hub", Code::Invalid),
        ("", Code::Invalid),
        ("Notes", Code::Invalid),
        ("nul", Code::Invalid),
    ] {
        let body = json!({"name": name});
        let answer = client
            .post("/v1/admin/databases", Some(&client.admin), &body)
            .await;
        assert_eq!(problem(&answer).code, code, "{name}");
    }
    let folders = std::fs::read_dir(hub.dir.path().join("databases")).unwrap();
    assert_eq!(folders.count(), 1);
}

#[tokio::test]
async fn a_removed_database_is_kept_and_its_name_begins_empty() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (first, writer) = (add(&client, "notes").await, Writer::new());
    writer.write(30);
    writer.push(&first).await;
    let removed: DatabaseRemoved = client
        .admin_post("databases/notes/remove", &Value::Null)
        .await;
    assert_eq!(list(&client).await, []);
    let path = format!("{}/info", below(&client, &first));
    let refused = problem(&client.get(&path, Some(&first.auth_token)).await);
    assert_eq!(refused.code, Code::Unauthorized);

    let second = add(&client, "notes").await;
    assert_eq!(second.sync_url, first.sync_url);
    let info: Info = parse(&client.get(&path, Some(&second.auth_token)).await);
    assert_eq!(info.max_frame_no, 0);
    // One file holds everything: it was folded.
    let kept = Path::new(&removed.kept).join("database.db");
    let alone = TempDir::new("kept");
    std::fs::copy(&kept, alone.join("notes.db")).unwrap();
    assert_eq!(notes(&alone.join("notes.db")), 30);
    let again = client
        .post(
            "/v1/admin/databases/other/remove",
            Some(&client.admin),
            &Value::Null,
        )
        .await;
    assert_eq!(problem(&again).code, Code::NotFound);
}

#[tokio::test]
async fn a_write_ahead_log_is_folded_for_clients_that_can_follow() {
    let hub = TestHub::start_with(|config| config.wal_limit_bytes = 200_000).await;
    let client = hub.client();
    let (access, writer) = (add(&client, "notes").await, Writer::new());
    for round in 1..=5 {
        writer.write(30);
        writer.push(&access).await;
        let row = list(&client).await.remove(0);
        assert!(row.wal_bytes <= 200_000, "round {round}: {row:?}");
    }
    assert!(list(&client).await[0].generation > 1);
}

#[tokio::test]
async fn a_stock_client_that_would_be_left_behind_holds_up_a_fold() {
    let hub = TestHub::start_with(|config| config.wal_limit_bytes = 0).await;
    let client = hub.client();
    let (access, writer) = (add(&client, "notes").await, Writer::new());
    writer.write(3);
    let (base, frames) = (below(&client, &access), writer.frames());
    let push = async |generation: u64, start: usize, body: Vec<u8>| {
        let end = start + body.chunks(FRAME_BYTES).len();
        let path = format!("{base}/sync/{generation}/{start}/{end}");
        let ask = Ask {
            method: Method::POST,
            path: &path,
            token: Some(&access.auth_token),
            headers: &[],
            body: body.into(),
        };
        client.send(ask).await
    };
    parse::<Value>(&push(1, 1, frames.clone()).await);
    let pushed = list(&client).await.remove(0);
    let count = u64::try_from(frames.chunks(FRAME_BYTES).len()).unwrap();
    assert_eq!((pushed.generation, pushed.frames), (1, count));

    let fold = async |in_sync: bool| {
        let path = "/v1/admin/databases/notes/fold";
        let body = json!({"in_sync": in_sync});
        client.post(path, Some(&client.admin), &body).await
    };
    let refused = problem(&fold(false).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("--in-sync"));
    let folded: DatabaseFolded = parse(&fold(true).await);
    assert_eq!((folded.generation, folded.frames), (2, count));
    let again: DatabaseFolded = parse(&fold(true).await);
    assert_eq!((again.generation, again.frames), (2, 0));

    // What a stock client shows of a refusal is the body of an answer that is no 200.
    let stale = problem(&push(1, frames.chunks(FRAME_BYTES).len() + 1, frames.clone()).await);
    assert_eq!(stale.code, Code::Conflict);
    assert!(
        stale.detail.contains("generation 2 is current"),
        "{stale:?}"
    );
    assert!(stale.hint.unwrap().contains("begin a new one"));
    let mut other = frames.clone();
    other[100] ^= 1;
    parse::<Value>(&push(2, 1, frames).await);
    let conflict = problem(&push(2, 1, other).await);
    assert_eq!(conflict.code, Code::Conflict);
    assert!(conflict.detail.contains("another client"), "{conflict:?}");
}

#[test]
fn the_commands_work_with_and_without_a_running_hub() {
    let dir = TempDir::new("databases");
    let url = "http://10.0.0.1:9";
    let added: Value = command_json(dir.path(), &["database", "add", "one", "--hub-url", url]);
    let keys: Vec<&String> = added.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["auth_token", "sync_url"]);
    assert_eq!(added["sync_url"], format!("{url}/v1/db/database/one"));
    assert_eq!(added["auth_token"].as_str().unwrap().len(), 64);

    let hub = HubProcess::start(dir.path(), "127.0.0.1:0");
    let two: DatabaseAccess = command_json(dir.path(), &["database", "add", "two"]);
    assert_eq!(two.sync_url, format!("{}/v1/db/database/two", hub.url));
    hub.terminate();

    let token: DatabaseAccess = command_json(dir.path(), &["database", "token", "two"]);
    assert_ne!(token.auth_token, two.auth_token);
    let folded: DatabaseFolded = command_json(dir.path(), &["database", "fold", "two"]);
    assert_eq!((folded.generation, folded.frames), (1, 0));
    let listed = command(dir.path(), &["database", "list"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("one") && text.contains("two"), "{text}");
    command_json::<DatabaseRemoved>(dir.path(), &["database", "remove", "one"]);
    let rows: Vec<DatabaseRow> = command_json(dir.path(), &["database", "list"]);
    assert_eq!(rows.len(), 1);
    let unknown = command(dir.path(), &["database", "remove", "one"]);
    assert_eq!(unknown.status.code(), Some(1));
    let errors = String::from_utf8(unknown.stderr).unwrap();
    assert!(errors.contains("database list"), "{errors}");
}
