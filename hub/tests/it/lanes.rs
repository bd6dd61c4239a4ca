//! Certificates of lanes and lists of revoked ones, over real sockets.

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::Till;
use counterfoil_domain::hex::{array_from_hex, from_hex, to_hex};
use counterfoil_hub::{Hub, HubConfig};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::certificate::{
    LaneCertificate, Revocations, RevokedLane, SignedRevocations,
};
use counterfoil_protocol::wire::hub::{ActivateAnswer, NodeRow};
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_replica::env::{Env, HttpResponse, is_signed_by, public_key};
use serde_json::{Value, json};

async fn ask(client: &Client, token: &str, key: &str, lists: &[SignedRevocations]) -> HttpResponse {
    let body = json!({"public_key": key, "lists": lists});
    let path = "/v1/lane-certificate";
    client.post(path, Some(token), &body).await
}

fn key(seed: u8) -> String {
    to_hex(&public_key(&[seed; 32]).unwrap())
}

async fn given(client: &Client, till: &Till, seed: u8) -> LaneCertificate {
    parse(&ask(client, &till.token, &key(seed), &[]).await)
}

/// The list that a till is given, which its authority has signed, when it has those.
async fn list(
    client: &Client,
    till: &Till,
    lists: &[SignedRevocations],
) -> (Revocations, SignedRevocations) {
    let given: LaneCertificate = parse(&ask(client, &till.token, &key(1), lists).await);
    let signed = given.revocations;
    let authority = array_from_hex(&given.authority_key).unwrap();
    let message = SignedRevocations::signed(&signed.list);
    let signature = from_hex(&signed.signature).unwrap();
    assert!(is_signed_by(&authority, &message, &signature));
    let standing = till.hello(client).await.lanes.unwrap();
    assert_eq!(standing.authority_key, given.authority_key);
    let list: Revocations = serde_json::from_str(&signed.list).unwrap();
    assert_eq!(standing.revocations, list.number, "the hello says so too");
    (list, signed)
}

async fn revoke(client: &Client, till: &Till) {
    let path = format!("nodes/{}/revoke", till.id);
    client.admin_post::<NodeRow>(&path, &Value::Null).await;
}

/// Takes a till in again, with another token.
async fn take_in(client: &Client, till: &mut Till) {
    till.token = format!("{}-anew", till.token);
    let code = client.code("Leith").await.join_code;
    parse::<ActivateAnswer>(&till.activate(client, &code).await);
}

fn out(till: &Till) -> Vec<RevokedLane> {
    vec![RevokedLane {
        node: till.id,
        issued_before_ms: None,
    }]
}

#[tokio::test]
async fn each_shop_has_an_authority_of_its_own_that_stays_and_tills_alone_are_given_a_certificate()
{
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let one = Till::of(&client, "Leith", 1).await;
    let other = Till::of(&client, "Leith 2", 2).await;
    let (ours, theirs) = (
        given(&client, &one, 1).await,
        given(&client, &other, 1).await,
    );
    assert_ne!(ours.authority, theirs.authority);
    assert_ne!(ours.authority_key, theirs.authority_key);
    let again = given(&client, &one, 1).await;
    assert_eq!(again.authority, ours.authority);
    assert_ne!(again.certificate, ours.certificate, "numbers do not repeat");
    assert!(ours.issued_ms < ours.expires_ms);
    for key in ["", "00", &"zz".repeat(32)] {
        let refused = ask(&client, &one.token, key, &[]).await;
        assert_eq!(problem(&refused).code, Code::Invalid, "{key}");
    }
    let key = to_hex(&[1; 32]);
    assert_eq!(ask(&client, "nobody", &key, &[]).await.status, 401);
    hub.stop().await;
    let hub = hub.restart().await;
    let later = given(&hub.client(), &one, 1).await;
    assert_eq!(later.authority, ours.authority, "whenever it is made");
}

#[tokio::test]
async fn the_list_of_revoked_lanes_is_of_one_shop_and_its_number_only_grows() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (one, mut lost) = (
        Till::of(&client, "Leith", 1).await,
        Till::of(&client, "Leith", 2).await,
    );
    let stranger = Till::of(&client, "Oban", 3).await;
    let before = list(&client, &one, &[]).await.0;
    assert_eq!(before.lanes, []);
    revoke(&client, &lost).await;
    let revoked = list(&client, &one, &[]).await.0;
    assert_eq!(revoked.lanes, out(&lost));
    assert!(revoked.number > before.number);
    revoke(&client, &lost).await;
    assert_eq!(list(&client, &one, &[]).await.0, revoked, "a second time");
    assert_eq!(list(&client, &stranger, &[]).await.0.lanes, []);
    let now_ms = one.now_ms();
    take_in(&client, &mut lost).await;
    let back = list(&client, &one, &[]).await.0;
    assert!(back.number > revoked.number);
    let [lane] = back.lanes.as_slice() else {
        panic!("it stays on the list: {back:?}");
    };
    assert_eq!(lane.node, lost.id);
    assert!(lane.issued_before_ms.unwrap() > now_ms, "{lane:?}");
    revoke(&client, &lost).await;
    assert_eq!(list(&client, &one, &[]).await.0.lanes, out(&lost));
}

#[tokio::test]
async fn a_key_of_before_a_revocation_is_never_certified_again_and_the_next_certificate_begins_after_it()
 {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let old = given(&client, &till, 1).await;
    revoke(&client, &till).await;
    assert_eq!(ask(&client, &till.token, &key(2), &[]).await.status, 401);
    for _ in 0..2 {
        take_in(&client, &mut till).await;
        let refused = ask(&client, &till.token, &key(1), &[]).await;
        assert_eq!(problem(&refused).code, Code::Conflict);
    }
    let next = given(&client, &till, 2).await;
    let again = given(&client, &till, 2).await;
    assert_eq!(again.revocations, next.revocations);
    let listed: Revocations = serde_json::from_str(&next.revocations.list).unwrap();
    let before_ms = listed.lanes[0].issued_before_ms.unwrap();
    assert!(old.issued_ms < before_ms);
    assert!(before_ms <= next.issued_ms);
    revoke(&client, &till).await;
    take_in(&client, &mut till).await;
    for seed in [1, 2] {
        let refused = ask(&client, &till.token, &key(seed), &[]).await;
        assert_eq!(problem(&refused).code, Code::Conflict, "{seed}");
    }
    given(&client, &till, 3).await;
}

async fn states(client: &Client) -> Vec<String> {
    let rows: Vec<NodeRow> = client.admin_get("nodes").await;
    rows.into_iter().map(|row| row.state).collect()
}

async fn alerts(client: &Client, kind: &str) -> usize {
    let rows: Vec<AlertRow> = client.admin_get("alerts").await;
    rows.iter().filter(|row| row.kind == kind).count()
}

#[tokio::test]
async fn a_restored_hub_takes_what_it_had_revoked_from_the_lists_of_lanes_and_from_nothing_else() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let (one, lost) = (
        Till::of(&client, "Leith", 1).await,
        Till::of(&client, "Leith", 2).await,
    );
    hub.stop().await;
    let backup = std::fs::read(hub.dir.join("hub.db")).unwrap();
    let mut hub = hub.restart().await;
    let client = hub.client();
    let later = client.code("Leith").await.join_code;
    let late = Till::new(3);
    parse::<ActivateAnswer>(&late.activate(&client, &later).await);
    revoke(&client, &lost).await;
    revoke(&client, &late).await;
    let (before, signed) = list(&client, &one, &[]).await;
    assert_eq!(before.lanes.len(), 2);
    hub.stop().await;
    std::fs::write(hub.dir.join("hub.db"), backup).unwrap();
    let hub = hub.restart().await;
    let client = hub.client();
    assert_eq!(list(&client, &lost, &[]).await.0.lanes, [], "it is back");
    // What nobody signed, or another shop's authority, is passed over.
    let mut forged = signed.clone();
    forged.list = forged
        .list
        .replace(&lost.id.to_string(), &one.id.to_string());
    let (restored, _) = list(&client, &one, &[forged]).await;
    assert_eq!(restored.lanes, []);
    assert_eq!(states(&client).await, ["active", "active"]);
    // Whoever brings it, the revoked one too.
    let ends = ask(&client, &lost.token, &key(1), std::slice::from_ref(&signed)).await;
    assert_eq!(ends.status, 401);
    assert_eq!(states(&client).await, ["active", "revoked"]);
    assert_eq!(alerts(&client, "revocation_forgotten").await, 2);
    let (known, _) = list(&client, &one, std::slice::from_ref(&signed)).await;
    assert_eq!(known.lanes, before.lanes);
    assert!(known.number > before.number);
    assert_eq!(list(&client, &one, &[signed]).await.0, known, "said again");
    assert_eq!(
        alerts(&client, "revocation_forgotten").await,
        2,
        "told once"
    );
    let old = late.activate(&client, &later).await;
    assert_ne!(old.status, 200, "the code that it came with first");
    let code = client.code("Leith").await.join_code;
    parse::<ActivateAnswer>(&late.activate(&client, &code).await);
}

#[tokio::test]
async fn what_a_restored_hub_gave_the_copy_of_a_till_that_was_taken_in_again_is_refused() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let (one, mut lost) = (
        Till::of(&client, "Leith", 1).await,
        Till::of(&client, "Leith", 2).await,
    );
    hub.stop().await;
    let backup = std::fs::read(hub.dir.join("hub.db")).unwrap();
    let mut hub = hub.restart().await;
    let client = hub.client();
    revoke(&client, &lost).await;
    let stolen = lost.token.clone();
    take_in(&client, &mut lost).await;
    let (before, signed) = list(&client, &one, &[]).await;
    let taken_in = before.lanes[0].issued_before_ms;
    assert!(taken_in.is_some());
    hub.stop().await;
    std::fs::write(hub.dir.join("hub.db"), backup).unwrap();
    let hub = hub.restart().await;
    let client = hub.client();
    // The copy has the token of the backup, and gets a certificate by it.
    let copy = ask(&client, &stolen, &key(9), &[]).await;
    assert_eq!(copy.status, 200);
    let (known, _) = list(&client, &one, std::slice::from_ref(&signed)).await;
    assert_eq!(states(&client).await, ["active", "revoked"]);
    assert_eq!(
        known.lanes[0].issued_before_ms, None,
        "whatever it was given"
    );
    take_in(&client, &mut lost).await;
    let (last, _) = list(&client, &one, &[signed]).await;
    assert!(last.lanes[0].issued_before_ms >= taken_in);
}

#[tokio::test]
async fn a_till_that_used_a_code_after_the_restore_stays_in_and_the_copy_of_its_folder_out() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let mut lost = Till::of(&client, "Leith", 2).await;
    hub.stop().await;
    let backup = std::fs::read(hub.dir.join("hub.db")).unwrap();
    let mut hub = hub.restart().await;
    let client = hub.client();
    revoke(&client, &lost).await;
    let stolen = lost.token.clone();
    take_in(&client, &mut lost).await;
    let (before, signed) = list(&client, &lost, &[]).await;
    let taken_in = before.lanes[0].issued_before_ms.unwrap();
    hub.stop().await;
    std::fs::write(hub.dir.join("hub.db"), backup).unwrap();
    let hub = hub.restart().await;
    let client = hub.client();
    let copy: LaneCertificate = parse(&ask(&client, &stolen, &key(9), &[]).await);
    while lost.now_ms() <= taken_in {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    take_in(&client, &mut lost).await;
    let (known, _) = list(&client, &lost, std::slice::from_ref(&signed)).await;
    assert_eq!(states(&client).await, ["active"]);
    assert!(known.lanes[0].issued_before_ms.unwrap() > copy.issued_ms);
    let refused = ask(&client, &lost.token, &key(9), &[]).await;
    assert_eq!(
        problem(&refused).code,
        Code::Conflict,
        "the key of the copy"
    );
    assert_eq!(list(&client, &lost, &[signed]).await.0, known, "said again");
}

#[tokio::test]
async fn a_hub_whose_lane_secret_is_damaged_does_not_start_and_one_whose_is_gone_tells() {
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "Leith", 1).await;
    let before = given(&client, &till, 1).await;
    hub.stop().await;
    let file = hub.dir.join("lanes.secret");
    let secret = std::fs::read(&file).unwrap();
    for damaged in [&secret[..40], b"", b"\xff\xfe", &[b'z'; 64]] {
        std::fs::write(&file, damaged).unwrap();
        let config = HubConfig::new(hub.dir.path());
        let refused = Hub::open(config, Env::system()).await;
        let said = whole(&refused.err().expect("it does not start"));
        assert!(said.contains("lanes.secret"), "{said}");
        assert!(said.contains("put it back from the backup"), "{said}");
        assert_eq!(std::fs::read(&file).unwrap(), damaged, "it is left alone");
    }
    std::fs::write(&file, secret).unwrap();
    let mut hub = hub.restart().await;
    let same = given(&hub.client(), &till, 1).await;
    assert_eq!(same.authority, before.authority);
    assert_eq!(alerts(&hub.client(), "lane_secret_lost").await, 0);
    hub.stop().await;
    std::fs::remove_file(&file).unwrap();
    let mut hub = hub.restart().await;
    let other = given(&hub.client(), &till, 1).await;
    assert_ne!(other.authority, before.authority);
    assert_eq!(alerts(&hub.client(), "lane_secret_lost").await, 1);
    hub.stop().await;
    let hub = hub.restart().await;
    assert_eq!(
        alerts(&hub.client(), "lane_secret_lost").await,
        1,
        "told once"
    );
}

#[tokio::test]
async fn a_hub_that_has_certified_no_lane_makes_its_secret_without_a_word() {
    let hub = TestHub::start().await;
    assert_eq!(alerts(&hub.client(), "lane_secret_lost").await, 0);
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
