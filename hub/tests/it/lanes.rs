//! Certificates of lanes and lists of revoked ones, over real sockets.

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::Till;
use counterfoil_domain::hex::{array_from_hex, from_hex, to_hex};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::certificate::{LaneCertificate, Revocations, SignedRevocations};
use counterfoil_protocol::wire::hub::{ActivateAnswer, NodeRow};
use counterfoil_replica::env::{HttpResponse, is_signed_by, public_key};
use serde_json::{Value, json};

async fn ask(client: &Client, token: &str, key: &str, known: i64) -> HttpResponse {
    let body = json!({"public_key": key, "revocations": known});
    let path = "/v1/lane-certificate";
    client.post(path, Some(token), &body).await
}

async fn given(client: &Client, till: &Till, known: i64) -> LaneCertificate {
    let key = to_hex(&public_key(&[1; 32]).unwrap());
    parse(&ask(client, &till.token, &key, known).await)
}

/// The list that a till is given, which its authority has signed.
async fn list(client: &Client, till: &Till, known: i64) -> Revocations {
    let given = given(client, till, known).await;
    let SignedRevocations { list, signature } = given.revocations;
    let key = array_from_hex(&given.authority_key).unwrap();
    let message = SignedRevocations::signed(&list);
    assert!(is_signed_by(&key, &message, &from_hex(&signature).unwrap()));
    let standing = till.hello(client).await.lanes.unwrap();
    assert_eq!(standing.authority_key, given.authority_key);
    let list: Revocations = serde_json::from_str(&list).unwrap();
    assert_eq!(standing.revocations, list.number, "the hello says so too");
    list
}

#[tokio::test]
async fn each_shop_has_an_authority_of_its_own_that_stays_and_tills_alone_are_given_a_certificate()
{
    let mut hub = TestHub::start().await;
    let client = hub.client();
    let one = Till::of(&client, "Leith", 1).await;
    let other = Till::of(&client, "Leith 2", 2).await;
    let (ours, theirs) = (
        given(&client, &one, 0).await,
        given(&client, &other, 0).await,
    );
    assert_ne!(ours.authority, theirs.authority);
    assert_ne!(ours.authority_key, theirs.authority_key);
    let again = given(&client, &one, 0).await;
    assert_eq!(again.authority, ours.authority);
    assert_ne!(again.certificate, ours.certificate, "numbers do not repeat");
    assert!(ours.issued_ms < ours.expires_ms);
    for key in ["", "00", &"zz".repeat(32)] {
        let refused = ask(&client, &one.token, key, 0).await;
        assert_eq!(problem(&refused).code, Code::Invalid, "{key}");
    }
    let key = to_hex(&[1; 32]);
    assert_eq!(ask(&client, "nobody", &key, 0).await.status, 401);
    hub.stop().await;
    let hub = hub.restart().await;
    let later = given(&hub.client(), &one, 0).await;
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
    let before = list(&client, &one, 0).await;
    assert_eq!(before.nodes, []);
    let path = format!("nodes/{}/revoke", lost.id);
    client.admin_post::<NodeRow>(&path, &Value::Null).await;
    let revoked = list(&client, &one, before.number).await;
    assert_eq!(revoked.nodes, [lost.id]);
    assert!(revoked.number > before.number);
    client.admin_post::<NodeRow>(&path, &Value::Null).await;
    assert_eq!(list(&client, &one, 0).await, revoked, "a second time");
    assert_eq!(list(&client, &stranger, 0).await.nodes, []);
    // A lane knows a list from before this hub was restored from a backup.
    let known = one.now_ms();
    let restored = list(&client, &one, known).await;
    assert_eq!(
        (restored.number, restored.nodes),
        (known + 1, vec![lost.id])
    );
    let from_nowhere = one.now_ms() + 86_400_000;
    let held = list(&client, &one, from_nowhere).await;
    assert!(held.number < from_nowhere, "that number is nobody's");
    lost.token = format!("{}-anew", lost.token);
    let code = client.code("Leith").await.join_code;
    parse::<ActivateAnswer>(&lost.activate(&client, &code).await);
    let back = list(&client, &one, held.number).await;
    assert_eq!(back.nodes, []);
    assert!(back.number > held.number);
}
