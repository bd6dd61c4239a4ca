use crate::hub::{Client, HubProcess, TestHub, command, command_json, problem, without_shops};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_domain::env::document_id;
use counterfoil_domain::merge::Stamp;
use counterfoil_migrate::Connection;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::decisions::{
    AuditPage, ConflictDecided, ConflictPage, ConflictRow, ConflictState,
};
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::{Value, json};

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

pub(crate) async fn conflicts(client: &Client, query: &str) -> Vec<ConflictRow> {
    let page: ConflictPage = client.admin_get(&format!("conflicts{query}")).await;
    page.conflicts
}

pub(crate) async fn refused(client: &Client, path: &str, body: &Value) -> Problem {
    let path = format!("/v1/admin/{path}");
    problem(&client.post(&path, Some(&client.admin), body).await)
}

/// What tills pull.
pub(crate) fn published(hub: &TestHub, sql: &str) -> String {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    db.query_value(sql, ()).unwrap()
}

fn versions(hub: &TestHub) -> i64 {
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    db.query_value("SELECT count(*) FROM field_version", ())
        .unwrap()
}

const NAME: &str = "SELECT name FROM products WHERE id = 'TEA'";
const LIMIT: &str = "SELECT CAST(credit_limit_minor AS TEXT) FROM customers WHERE id = 'ANN'";

/// Two tills that name one product at the same time; `Chai` is the later one.
async fn two_names(client: &Client) -> ([Till; 2], [Stamp; 2]) {
    let mut tills = [
        Till::of(client, "A", 1).await,
        Till::of(client, "B", 2).await,
    ];
    tills[1].sell(1);
    let stamps = [
        tills[0].edit("TEA", ("name", text("Tea")), &[]),
        tills[1].edit("TEA", ("name", text("Chai")), &[]),
    ];
    for till in &tills {
        till.push(client).await.unwrap();
    }
    client.settle().await;
    (tills, stamps)
}

/// An edit of a credit limit.
pub(crate) fn limit(value: i64) -> (&'static str, Scalar) {
    ("credit_limit_minor", Scalar::Integer(value))
}

/// The same with a credit limit, whose policy is `manual`: 100 is the earlier one.
pub(crate) async fn two_limits(client: &Client) -> ([Till; 2], [Stamp; 2]) {
    let mut tills = [
        Till::of(client, "A", 1).await,
        Till::of(client, "B", 2).await,
    ];
    tills[1].sell(1);
    let stamps = [
        tills[0].edit_in("customers", "ANN", limit(100), &[]),
        tills[1].edit_in("customers", "ANN", limit(200), &[]),
    ];
    for till in tills.iter().rev() {
        till.push(client).await.unwrap();
        client.settle().await;
    }
    (tills, stamps)
}

#[tokio::test]
async fn a_conflict_says_who_wrote_what_when_and_on_top_of_what() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (tills, stamps) = two_names(&client).await;
    let rows = conflicts(&client, "").await;
    let [row] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    let names = (row.table.as_str(), row.row.as_str(), row.column.as_str());
    assert_eq!(names, ("products", "TEA", "name"));
    assert_eq!(
        (row.state, row.policy.as_str()),
        (ConflictState::ByPolicy, "last_writer_wins")
    );
    assert_eq!(row.settled_by, Some(stamps[1]));
    let lost = &row.loser;
    assert_eq!((&lost.value, lost.stamp), (&json!("Tea"), stamps[0]));
    assert_eq!(lost.node_id, tills[0].id);
    assert_eq!((lost.shop.as_deref(), lost.lane), (Some("A"), Some(1)));
    assert_eq!(lost.at_ms, stamps[0].hlc.millis());
    assert_eq!((lost.base.as_slice(), lost.base_revision), (&[][..], 0));
    assert_eq!(row.winner.value, "Chai");
    assert_eq!(row.winner.shop.as_deref(), Some("B"));
    assert_eq!(row.current, row.winner);
    let one: ConflictRow = client.admin_get(&format!("conflicts/{}", row.id)).await;
    assert_eq!(one, *row);
}

#[tokio::test]
async fn conflicts_are_found_by_state_table_and_shop_and_come_in_pages() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, _) = two_names(&client).await;
    for number in 0..3 {
        for (till, value) in tills.iter_mut().zip(["x", "y"]) {
            let id = format!("C{number}");
            till.edit_in("customers", &id, ("name", text(value)), &[]);
            let limit = Scalar::Integer(i64::try_from(value.len() + number).unwrap());
            till.edit_in("customers", &id, ("credit_limit_minor", limit), &[]);
        }
    }
    let mut third = Till::of(&client, "C", 3).await;
    // Its clock is ahead of the others'.
    for _ in 0..20 {
        third.sell(1);
    }
    third.edit_in("customers", "C0", ("credit_limit_minor", Scalar::Null), &[]);
    for till in tills.iter().chain([&third]) {
        till.push(&client).await.unwrap();
    }
    let status = client.settle().await;
    assert_eq!((status.conflicts, status.conflicts_open), (5, 1));
    let ids = |rows: &[ConflictRow]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let all = conflicts(&client, "").await;
    assert_eq!(all.len(), 5);
    let open = conflicts(&client, "?state=open").await;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].column, "credit_limit_minor");
    assert_eq!(conflicts(&client, "?table=customers").await.len(), 4);
    assert_eq!(ids(&conflicts(&client, "?shop=C").await), ids(&open));
    assert_eq!(conflicts(&client, "?shop=A&table=products").await.len(), 1);
    let mut paged = Vec::new();
    let mut after = 0;
    loop {
        let path = format!("conflicts?limit=2&after={after}");
        let page: ConflictPage = client.admin_get(&path).await;
        assert!(page.conflicts.len() <= 2);
        paged.extend(page.conflicts);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(paged, all);
    for (query, code) in [
        ("?shop=Nowhere", Code::NotFound),
        ("?state=moon", Code::BadRequest),
        ("?limit=0", Code::BadRequest),
        ("?colour=red", Code::BadRequest),
        ("/77", Code::NotFound),
        ("/x", Code::BadRequest),
    ] {
        let path = format!("/v1/admin/conflicts{query}");
        let answer = client.get(&path, Some(&client.admin)).await;
        assert_eq!(problem(&answer).code, code, "{query}");
    }
}

#[tokio::test]
async fn a_manual_conflict_shows_the_earlier_value_until_a_person_chooses() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, stamps) = two_limits(&client).await;
    assert_eq!(client.settle().await.conflicts_open, 1);
    assert_eq!(published(&hub, LIMIT), "100");
    // Whoever edits what is visible sees that edit, and nothing of the other value.
    let edited = tills[0].edit_in("customers", "ANN", limit(150), &stamps[..1]);
    tills[0].push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 1);
    assert_eq!(published(&hub, LIMIT), "150");

    let rows = conflicts(&client, "?state=open").await;
    let path = format!("conflicts/{}/resolve", rows[0].id);
    assert_eq!(rows[0].current.stamp, edited);
    // What the person saw is not what stands there: nothing is decided by mistake.
    let stale = refused(&client, &path, &json!({"choice": "winner"})).await;
    assert_eq!(stale.code, Code::ChangedMeanwhile);
    assert!(stale.detail.contains("150"), "{}", stale.detail);
    assert!(stale.hint.unwrap().contains(&edited.to_string()));
    let choice = json!({"choice": {"value": "175"}, "seen": edited, "by": "Jo"});
    let made: ConflictDecided = client.admin_post(&path, &choice).await;
    assert_eq!(made.conflict.state, ConflictState::ByChoice);
    assert_eq!(made.conflict.current.value, 175);
    assert_eq!(made.revision, client.settle().await.catalog_revision);
    assert_eq!(published(&hub, LIMIT), "175");
    // A late edit that nobody could know of is a question again; what was chosen stays visible.
    let mut late = Till::of(&client, "C", 9).await;
    late.edit_in("customers", "ANN", limit(50), &[]);
    late.push(&client).await.unwrap();
    assert_eq!(client.settle().await.conflicts_open, 1);
    assert_eq!(published(&hub, LIMIT), "175");
    // A till that saw the choice edits on.
    tills[1].edit_in(
        "customers",
        "ANN",
        limit(180),
        &[made.conflict.current.stamp],
    );
    tills[1].push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(published(&hub, LIMIT), "180");
}

#[tokio::test]
async fn a_resolution_that_is_repeated_writes_nothing_twice() {
    let hub = TestHub::start().await;
    let client = hub.client();
    two_limits(&client).await;
    let id = conflicts(&client, "").await[0].id;
    let path = format!("conflicts/{id}/resolve");
    let edit = document_id(1_700_000_000_000, &SeededRandom::new(5));
    let choice = json!({"choice": "loser", "id": edit});
    let first: ConflictDecided = client.admin_post(&path, &choice).await;
    assert!(!first.repeated);
    assert_eq!(first.conflict.current.value, 200);
    let before = (versions(&hub), client.decisions().await);
    assert_eq!(before.1.len(), 1);
    // With the id of the first attempt, and by somebody who typed it again.
    for again in [choice, json!({"choice": "loser"})] {
        let again: ConflictDecided = client.admin_post(&path, &again).await;
        assert!(again.repeated);
        assert_eq!(again.conflict, first.conflict);
        assert_eq!(again.revision, first.revision);
    }
    assert_eq!((versions(&hub), client.decisions().await), before);
    // The other choice is another decision.
    for (body, code) in [
        (json!({"choice": "winner"}), Code::AlreadySettled),
        (json!({"choice": "winner", "id": edit}), Code::Conflict),
        (json!({"choice": {"value": "cheap"}}), Code::Invalid),
        (json!({"choice": "winner", "by": " "}), Code::Invalid),
        (json!({"choice": "both"}), Code::BadRequest),
    ] {
        assert_eq!(refused(&client, &path, &body).await.code, code, "{body}");
    }
    let nobody = refused(&client, "conflicts/77/resolve", &json!({"choice": "loser"})).await;
    assert_eq!(nobody.code, Code::NotFound);
    assert_eq!((versions(&hub), client.decisions().await), before);
}

#[tokio::test]
async fn a_conflict_that_a_newer_edit_settled_is_refused_with_what_is_there() {
    let hub = TestHub::start().await;
    let client = hub.client();
    two_limits(&client).await;
    let id = conflicts(&client, "").await[0].id;
    let set = json!({"columns": {"credit_limit_minor": "333"}});
    client
        .admin_post::<Value>("catalog/customers/ANN", &set)
        .await;
    let before = versions(&hub);
    for choice in ["winner", "loser"] {
        let path = format!("conflicts/{id}/resolve");
        let late = refused(&client, &path, &json!({"choice": choice})).await;
        assert_eq!(late.code, Code::AlreadySettled);
        assert!(late.detail.contains("333"), "{}", late.detail);
        assert!(late.detail.contains("later edit"), "{}", late.detail);
    }
    assert_eq!(versions(&hub), before);
    assert_eq!(published(&hub, LIMIT), "333");
}

#[tokio::test]
async fn a_value_that_lost_is_put_back_and_the_trail_says_so() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut tills, stamps) = two_names(&client).await;
    tills[1].edit("TEA", ("name", text("Chai, loose")), &stamps[1..]);
    tills[1].push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(published(&hub, NAME), "Chai, loose");
    let row = conflicts(&client, "").await.remove(0);
    let path = format!("conflicts/{}/put-back", row.id);
    // Somebody who looked before the last edit.
    let stale = refused(&client, &path, &json!({"seen": stamps[1]})).await;
    assert_eq!(stale.code, Code::ChangedMeanwhile);
    let back: ConflictDecided = client.admin_post(&path, &json!({"by": "Jo"})).await;
    assert_eq!(
        (back.conflict.state, back.conflict.settled_by),
        (ConflictState::ByChoice, Some(back.conflict.current.stamp))
    );
    assert_eq!(published(&hub, NAME), "Tea");
    let again: ConflictDecided = client.admin_post(&path, &json!({})).await;
    assert!(again.repeated);
    let trail = client.decisions().await;
    let [made] = trail.as_slice() else {
        panic!("{trail:?}")
    };
    assert_eq!(
        (made.who.as_str(), made.action.as_str()),
        ("Jo", "conflict_put_back")
    );
    assert_eq!(made.subject, "products TEA name");
    assert_eq!(made.before["value"], "Chai, loose");
    assert_eq!(
        made.after,
        json!({"value": "Tea", "stamp": back.conflict.current.stamp})
    );
    assert_eq!(made.conflict, Some(row.id));
    // The name goes its way, and comes back once more: that is another decision.
    let set = json!({"columns": {"name": "Leaves"}});
    client
        .admin_post::<Value>("catalog/products/TEA", &set)
        .await;
    let again: ConflictDecided = client.admin_post(&path, &json!({})).await;
    assert!(!again.repeated);
    assert_eq!(published(&hub, NAME), "Tea");
    let actions: Vec<_> = client
        .decisions()
        .await
        .into_iter()
        .map(|row| row.action)
        .collect();
    assert_eq!(
        actions,
        ["conflict_put_back", "catalog_set", "conflict_put_back"]
    );
    // A page of all but the last two, and the rest.
    let all: AuditPage = client.admin_get("audit").await;
    let (first, rest) = all.decisions.split_at(all.decisions.len() - 2);
    let page: AuditPage = client
        .admin_get(&format!("audit?limit={}", first.len()))
        .await;
    assert_eq!(
        (page.decisions.as_slice(), page.next),
        (first, Some(first[first.len() - 1].id))
    );
    let next = format!("audit?limit=2&after={}", first[first.len() - 1].id);
    let page: AuditPage = client.admin_get(&next).await;
    assert_eq!((page.decisions.as_slice(), page.next), (rest, None));
}

#[tokio::test]
async fn a_choice_of_what_the_policy_chose_keeps_it_against_an_edit_from_before() {
    let hub = TestHub::start().await;
    let client = hub.client();
    two_names(&client).await;
    let id = conflicts(&client, "").await[0].id;
    let path = format!("conflicts/{id}/resolve");
    let made: ConflictDecided = client.admin_post(&path, &json!({"choice": "winner"})).await;
    assert_eq!(made.conflict.current.value, "Chai");
    assert_eq!(made.conflict.state, ConflictState::ByChoice);
    assert_ne!(made.conflict.current.stamp, made.conflict.winner.stamp);
    let mut late = Till::of(&client, "C", 9).await;
    late.edit("TEA", ("name", text("T")), &[]);
    late.push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(published(&hub, NAME), "Chai");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_listed_and_decided_by_commands() {
    let dir = TempDir::new("conflicts");
    let hub = HubProcess::start(dir.path(), "127.0.0.1:0");
    let client = hub.client(dir.path());
    two_limits(&client).await;
    let rows: Vec<ConflictRow> = command_json(dir.path(), &["conflicts", "list", "--open"]);
    let id = rows[0].id.to_string();
    assert_eq!(rows.len(), 1);
    let none = ["conflicts", "list", "--table", "products", "--limit", "5"];
    assert_eq!(command_json::<Vec<ConflictRow>>(dir.path(), &none), []);
    let shown: ConflictRow = command_json(dir.path(), &["conflicts", "show", &id]);
    assert_eq!(shown, rows[0]);
    for args in [
        &["conflicts", "list", "--shop", "A"][..],
        &["conflicts", "show", &id],
    ] {
        let printed = String::from_utf8(command(dir.path(), args).stdout).unwrap();
        for part in ["credit_limit_minor", "100", "200", "A/1", "B/1", "open"] {
            assert!(printed.contains(part), "{part}: {printed}");
        }
    }
    let no_choice = command(dir.path(), &["conflicts", "resolve", &id]);
    assert_eq!(no_choice.status.code(), Some(2));
    let resolve = ["conflicts", "resolve", &id, "--loser", "--by", "Jo"];
    let made: ConflictDecided = command_json(dir.path(), &resolve);
    assert_eq!(made.conflict.current.value, 200);
    // Without the hub as well.
    hub.terminate();
    let again: ConflictDecided = command_json(dir.path(), &resolve);
    assert!(again.repeated);
    let late = command(dir.path(), &["conflicts", "resolve", &id, "--winner"]);
    assert_eq!(late.status.code(), Some(1));
    let errors = String::from_utf8(late.stderr).unwrap();
    assert!(errors.contains("settled by a choice"), "{errors}");
    let back: ConflictDecided = command_json(dir.path(), &["conflicts", "resolve", &id, "--loser"]);
    assert!(back.repeated);
    let trail = without_shops(command_json(dir.path(), &["audit"]));
    assert_eq!((trail.len(), trail[0].who.as_str()), (1, "Jo"));
    let printed = String::from_utf8(command(dir.path(), &["audit"]).stdout).unwrap();
    assert!(printed.contains("conflict_resolved"), "{printed}");
}

#[tokio::test]
async fn two_hubs_that_get_the_edits_in_another_order_ask_the_same_questions() {
    let mut seen = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut tills = Vec::new();
        for seed in 20..23 {
            tills.push(Till::of(&client, "Chain", seed).await);
        }
        for (value, till) in (0_i64..).zip(&mut tills) {
            let first = till.edit_in("customers", "ANN", limit(value), &[]);
            till.edit_in("customers", "ANN", limit(value + 10), &[first]);
            till.edit("TEA", ("name", text(&format!("name {value}"))), &[]);
        }
        for lane in order {
            tills[lane].push(&client).await.unwrap();
            client.settle().await;
        }
        let rows = conflicts(&client, "").await;
        let mut open: Vec<_> = rows
            .iter()
            .filter(|row| row.settled_by.is_none())
            .map(|row| (row.row.clone(), row.loser.stamp, row.current.stamp))
            .collect();
        open.sort();
        seen.push((open, published(&hub, LIMIT), published(&hub, NAME)));
    }
    assert_eq!(seen[0].0.len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}
