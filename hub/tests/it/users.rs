use crate::hub::{Client, HubProcess, TestHub, parse, problem, program};
use crate::till::Till;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{
    AccessLogPage, LoggedIn, SessionRow, TokenAdded, UserRow, WhoAnswer,
};
use counterfoil_protocol::wire::decisions::AuditPage;
use counterfoil_protocol::wire::hub::NodeRow;
use counterfoil_replica::env::HttpResponse;
use counterfoil_testkit::{ManualClock, TempDir};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

const PASSWORD: &str = "correct horse battery";

async fn add(client: &Client, name: &str) -> UserRow {
    let body = json!({"name": name, "role": "support", "password": PASSWORD});
    client.admin_post("users", &body).await
}

async fn login(client: &Client, name: &str, password: &str) -> HttpResponse {
    let body = json!({"name": name, "password": password});
    client.post("/v1/login", None, &body).await
}

async fn who(client: &Client, token: &str) -> HttpResponse {
    client.get("/v1/session", Some(token)).await
}

#[tokio::test]
async fn a_session_ends_by_itself_by_signing_out_and_by_an_owner() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    add(&client, "sam").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let session: LoggedIn = parse(&login(&client, "sam", PASSWORD).await);
        assert_eq!(session.expires_ms, 1_700_000_000_000 + 12 * 3_600_000);
        let known: WhoAnswer = parse(&who(&client, &session.token).await);
        assert_eq!(known.name, "sam");
        tokens.push(session.token);
    }
    parse::<Value>(
        &client
            .post("/v1/logout", Some(&tokens[0]), &Value::Null)
            .await,
    );
    assert_eq!(
        problem(&who(&client, &tokens[0]).await).code,
        Code::Unauthorized
    );
    let rows: Vec<SessionRow> = client.admin_get("sessions").await;
    assert_eq!(rows.len(), 2);
    let path = format!("sessions/{}/revoke", rows[0].number);
    client.admin_post::<Value>(&path, &Value::Null).await;
    assert_eq!(
        problem(&who(&client, &tokens[1]).await).code,
        Code::Unauthorized
    );
    parse::<WhoAnswer>(&who(&client, &tokens[2]).await);
    clock.advance(12 * 3_600_000);
    let over = problem(&who(&client, &tokens[2]).await);
    assert_eq!(over.detail, "the session of sam has expired");
    assert!(over.hint.unwrap().contains("counterfoil-hub login sam"));
}

#[tokio::test]
async fn a_disabled_person_and_a_new_password_end_the_sessions() {
    let hub = TestHub::start().await;
    let client = hub.client();
    add(&client, "sam").await;
    let first: LoggedIn = parse(&login(&client, "sam", PASSWORD).await);
    let row: UserRow = client.admin_post("users/sam/disable", &Value::Null).await;
    assert!(row.disabled);
    assert_eq!(
        problem(&who(&client, &first.token).await).code,
        Code::Unauthorized
    );
    assert_eq!(
        problem(&login(&client, "sam", PASSWORD).await).code,
        Code::Unauthorized
    );
    let body = json!({"password": "another password"});
    client
        .admin_post::<UserRow>("users/sam/password", &body)
        .await;
    let second: LoggedIn = parse(&login(&client, "sam", "another password").await);
    let third: LoggedIn = parse(&login(&client, "sam", "another password").await);
    // A person's own change keeps the session in which it is made.
    let body = json!({"current": "another password", "new": "a third password"});
    parse::<Value>(
        &client
            .post("/v1/password", Some(&second.token), &body)
            .await,
    );
    parse::<WhoAnswer>(&who(&client, &second.token).await);
    assert_eq!(
        problem(&who(&client, &third.token).await).code,
        Code::Unauthorized
    );
    let trail: AuditPage = client.admin_get("audit").await;
    let trail: Vec<_> = trail
        .decisions
        .iter()
        .map(|row| (row.who.as_str(), row.action.as_str(), row.subject.as_str()))
        .collect();
    let wanted = [
        ("operator", "user_added", "user sam"),
        ("operator", "user_disabled", "user sam"),
        ("operator", "password_set", "user sam"),
        ("sam", "password_set", "user sam"),
    ];
    assert_eq!(trail, wanted);
}

#[tokio::test]
async fn whoever_changes_access_stands_in_the_trail() {
    let hub = TestHub::start().await;
    let client = hub.client();
    add(&client, "sam").await;
    let session: LoggedIn = parse(&login(&client, "sam", PASSWORD).await);
    let body = json!({"name": "robot", "role": "owner"});
    let robot: TokenAdded = client.admin_post("tokens", &body).await;
    let as_robot = Client {
        admin: robot.token,
        ..client.clone()
    };
    let till = Till::of(&as_robot, "Leith", 1).await;
    let database = json!({"name": "books"});
    let before = client.decisions().await.len();
    for (path, body) in [
        ("join-codes".to_owned(), json!({"name": "Leith"})),
        (format!("nodes/{}/revoke", till.id), Value::Null),
        // What is revoked already does not change.
        (format!("nodes/{}/revoke", till.id), Value::Null),
        ("databases".to_owned(), database.clone()),
        ("databases/books/token".to_owned(), json!({})),
        ("databases/books/remove".to_owned(), Value::Null),
    ] {
        as_robot.admin_post::<Value>(&path, &body).await;
    }
    let rows: Vec<SessionRow> = client.admin_get("sessions").await;
    let path = format!("sessions/{}/revoke", rows[0].number);
    as_robot.admin_post::<Value>(&path, &Value::Null).await;
    assert_eq!(
        problem(&who(&client, &session.token).await).code,
        Code::Unauthorized
    );
    let trail: AuditPage = client.admin_get("audit").await;
    let by_robot = trail
        .decisions
        .iter()
        .filter(|row| row.who == "machine robot");
    let done: Vec<_> = by_robot
        .map(|row| (row.action.as_str(), row.subject.clone()))
        .collect();
    let wanted = [
        ("shop_added", "shop Leith".to_owned()),
        ("join_code_added", "shop Leith".to_owned()),
        ("join_code_added", "shop Leith".to_owned()),
        ("node_revoked", format!("node {}", till.id)),
        ("database_added", "database books".to_owned()),
        ("database_token_replaced", "database books".to_owned()),
        ("database_removed", "database books".to_owned()),
        ("session_ended", "user sam".to_owned()),
    ];
    assert_eq!(done, wanted);
    let node: NodeRow = client
        .admin_post(&format!("nodes/{}/revoke", till.id), &Value::Null)
        .await;
    assert_eq!(node.state, "revoked");
    assert_eq!(client.decisions().await.len(), before + 5);
}

#[tokio::test]
async fn wrong_passwords_lock_a_name_longer_each_time_whether_it_is_somebodys_or_not() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    add(&client, "sam").await;
    for name in ["sam", "nobody"] {
        for _ in 0..5 {
            let refused = problem(&login(&client, name, "wrong").await);
            assert_eq!(refused.detail, "the name or the password is wrong");
        }
        let locked = problem(&login(&client, name, PASSWORD).await);
        assert_eq!((locked.code, locked.status), (Code::TooManyAttempts, 429));
        assert_eq!(locked.hint.as_deref(), Some("try again in 30 seconds"));
    }
    clock.advance(30_000);
    assert_eq!(
        problem(&login(&client, "sam", "wrong").await).code,
        Code::Unauthorized
    );
    let locked = problem(&login(&client, "sam", PASSWORD).await);
    assert_eq!(locked.hint.as_deref(), Some("try again in 60 seconds"));
    clock.advance(60_000);
    parse::<LoggedIn>(&login(&client, "sam", PASSWORD).await);
    // Forgiven: the count begins anew.
    assert_eq!(
        problem(&login(&client, "sam", "wrong").await).code,
        Code::Unauthorized
    );
    parse::<LoggedIn>(&login(&client, "sam", PASSWORD).await);
    let log: AccessLogPage = client.admin_get("access-log").await;
    let outcomes: Vec<_> = log
        .rows
        .iter()
        .filter(|row| row.who == "sam")
        .map(|row| (row.outcome.as_str(), row.times))
        .collect();
    assert!(
        outcomes.starts_with(&[("wrong password", 6), ("locked", 2)]),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_machines_token_ends_by_itself_and_when_it_is_revoked() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let hub = TestHub::start_at(Arc::clone(&clock)).await;
    let client = hub.client();
    let body = json!({"name": "dashboard", "role": "support", "days": 2});
    let added: TokenAdded = client.admin_post("tokens", &body).await;
    parse::<WhoAnswer>(&who(&client, &added.token).await);
    let again = client
        .post("/v1/admin/tokens", Some(&client.admin), &body)
        .await;
    assert_eq!(problem(&again).code, Code::Conflict);
    clock.advance(2 * 86_400_000);
    let over = problem(&who(&client, &added.token).await);
    assert_eq!(over.detail, "the token of machine dashboard has expired");
    client
        .admin_post::<Value>("tokens/dashboard/revoke", &Value::Null)
        .await;
    let second: TokenAdded = client.admin_post("tokens", &body).await;
    assert_eq!(
        problem(&who(&client, &added.token).await).code,
        Code::Unauthorized
    );
    parse::<WhoAnswer>(&who(&client, &second.token).await);
    let kept = hub.dir.join("hub.db");
    let bytes = [kept.clone(), kept.with_extension("db-wal")]
        .map(|file| std::fs::read(file).unwrap_or_default());
    let holds = |text: &str| {
        bytes.iter().any(|bytes| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
    };
    assert!(holds("dashboard"));
    assert!(!holds(&second.token) && !holds(PASSWORD));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_words() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let cases = [
        json!({"name": "Sam", "role": "owner", "password": PASSWORD}),
        json!({"name": "operator", "role": "owner", "password": PASSWORD}),
        json!({"name": "sam", "role": "owner", "password": "short"}),
        json!({"name": "sam", "role": "shop_manager", "password": PASSWORD}),
        json!({"name": "sam", "role": "support", "shop": "A", "password": PASSWORD}),
    ];
    for case in cases {
        let answer = client
            .post("/v1/admin/users", Some(&client.admin), &case)
            .await;
        assert_eq!(problem(&answer).code, Code::Invalid, "{case}");
    }
    let unknown = json!({"name": "sam", "role": "shop_manager", "shop": "A", "password": PASSWORD});
    let answer = client
        .post("/v1/admin/users", Some(&client.admin), &unknown)
        .await;
    assert_eq!(problem(&answer).code, Code::NotFound);
}

/// Runs a command that reads a password from standard input.
fn typed(args: &[&str], sessions: &Path, input: &str) -> Output {
    let mut command = program();
    command.args(args).env("COUNTERFOIL_SESSION", sessions);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn people_sign_in_by_command_with_and_without_a_running_hub() {
    let dir = TempDir::new("sign-in");
    let (data, sessions) = (dir.join("hub"), dir.join("kept").join("session.json"));
    let folder = data.display().to_string();
    let run = |args: &[&str], input: &str| {
        let output = typed(args, &sessions, input);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            errors,
        )
    };
    let at = ["--data", folder.as_str()];
    let password = format!("{PASSWORD}\n");
    let add = [&["user", "add", "sam", "--role", "support"][..], &at].concat();
    let (code, _, errors) = run(&add, &password);
    assert_eq!(code, Some(0), "{errors}");
    let (code, text, errors) = run(&[&["login", "sam"][..], &at].concat(), &password);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.starts_with("signed in as sam, support"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&sessions).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // The session counts, not the folder's own token.
    let (code, _, errors) = run(&[&["shop", "add", "A"][..], &at].concat(), "");
    assert_eq!(code, Some(5), "{errors}");
    assert!(errors.contains("sam may not, as support"), "{errors}");
    let hub = HubProcess::start(&data, "127.0.0.1:0");
    let (code, _, errors) = run(&[&["status"][..], &at].concat(), "");
    assert_eq!(code, Some(0), "{errors}");
    // From another machine: by URL.
    let url = hub.url.clone();
    let far = ["--hub", url.as_str()];
    let (code, _, errors) = run(&[&["status"][..], &far].concat(), "");
    assert_eq!(code, Some(5), "{errors}");
    let (code, _, errors) = run(&[&["login", "sam"][..], &far].concat(), "wrong password\n");
    assert_eq!(code, Some(5), "{errors}");
    assert_eq!(
        run(&[&["login", "sam"][..], &far].concat(), &password).0,
        Some(0)
    );
    assert_eq!(run(&[&["status"][..], &far].concat(), "").0, Some(0));
    let (code, text, _) = run(&[&["session", "list"][..], &far].concat(), "");
    assert_eq!((code, text.matches("sam").count()), (Some(0), 2), "{text}");
    assert_eq!(run(&[&["logout"][..], &far].concat(), "").0, Some(0));
    assert_eq!(run(&[&["status"][..], &far].concat(), "").0, Some(5));
    // Signed out, the folder's own token counts again.
    assert_eq!(run(&[&["logout"][..], &at].concat(), "").0, Some(0));
    assert_eq!(
        run(&[&["shop", "add", "A"][..], &at].concat(), "").0,
        Some(0)
    );
    let (code, text, _) = run(&[&["audit", "--access"][..], &at].concat(), "");
    assert_eq!(code, Some(0));
    assert!(
        text.contains("wrong password") && text.contains("refused"),
        "{text}"
    );
    hub.terminate();
}
