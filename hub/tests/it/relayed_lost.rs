//! What other lanes bring when the hub has lost a copy, and what no book could hold.

use crate::hub::{TestHub, parse};
use crate::lineage::point;
use crate::relayed::{bring, end_of, entries, number, two_lanes};
use crate::till::Till;
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Document, Topic};
use counterfoil_protocol::wire::quarantine::QuarantineRow;
use counterfoil_protocol::wire::relay::RelayEnd;

/// The hub's copy of a till's book is gone, with what only the till had sent.
async fn lose_copy(mut hub: TestHub, till: &Till) -> TestHub {
    hub.stop().await;
    let books = std::fs::read_dir(hub.dir.join("books")).unwrap();
    for file in books.map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(&till.id.to_string()) {
            std::fs::remove_file(file).unwrap();
        }
    }
    hub.restart().await
}

#[tokio::test]
async fn a_copy_that_the_hub_has_lost_is_brought_anew_by_others_and_counted_once() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    for _ in 0..3 {
        till.sell(1);
    }
    // All that there is came by another lane, then from the till itself, then more by the other lane.
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 0, 3)).await);
    client.settle().await;
    till.push(&client).await.unwrap();
    client.settle().await;
    for _ in 0..3 {
        till.sell(2);
    }
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 3, 6)).await);
    client.settle().await;
    let hub = lose_copy(hub, &till).await;
    let client = hub.client();
    assert_eq!(client.settle().await.alerts, [], "nobody restored anything");
    let end = end_of(&client, &peer, till.id, point(&till, 6))
        .await
        .unwrap();
    assert_eq!((end.known, end.diverged), (Point::START, false));
    // Part of it, and nothing is wrong meanwhile.
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 0, 2)).await);
    assert_eq!(client.settle().await.alerts, []);
    let now: RelayEnd = parse(&bring(&client, &peer, &entries(&till, 2, 3)).await);
    assert_eq!(now.known.seq, 3);
    let end = end_of(&client, &peer, till.id, point(&till, 6))
        .await
        .unwrap();
    assert_eq!(end.known, point(&till, 6), "what was there joins it");
    till.sell(1);
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 3, 7)).await);
    assert_eq!(client.settle().await.alerts, []);
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 7);
    till.push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 7);
    assert_eq!(number(&hub, "SELECT count(*) FROM relayed_entry"), 0);
}

#[tokio::test]
async fn a_receipt_that_no_book_has_room_for_steps_aside_alone() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    till.sell(1);
    let mut held = entries(&till, 0, 1);
    // Nobody's book holds that; who knows the secret of the shop can make it up.
    let document = Document::Sale(till.receipt(40_000)).canonical();
    let last = held[0].clone();
    let (seq, id, hlc) = (2, till.next_id(), last.hlc);
    let head = EntryHead {
        seq,
        id,
        hlc,
        topic: Topic::Sale,
    };
    held.push(LaneEntry {
        seq,
        id,
        before: last.chain,
        chain: last.chain.next(&head, &document),
        document: String::from_utf8(document).unwrap(),
        ..last
    });
    parse::<RelayEnd>(&bring(&client, &peer, &held).await);
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 1);
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    assert_eq!((rows.len(), rows[0].seq), (1, 2));
    assert_eq!(
        number(&hub, "SELECT min(seq) FROM watermark WHERE node = 1"),
        2
    );
}

#[tokio::test]
async fn what_others_brought_of_another_history_is_told_until_the_till_has_it_too() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    // The same seed makes the same entries: a folder and its backup, which sold on.
    let mut restored = Till::new(1);
    restored.token.clone_from(&till.token);
    for folder in [&mut till, &mut restored] {
        folder.sell(1);
    }
    restored.next_id();
    restored.sell(3);
    till.sell(2);
    till.push(&client).await.unwrap();
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 0, 2)).await);
    till.sell(2);
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 2, 3)).await);
    client.settle().await;
    restored.push(&client).await.unwrap();
    let alerts = client.settle().await.alerts;
    let kinds: Vec<_> = alerts.iter().map(|alert| alert.kind.as_str()).collect();
    assert!(kinds.contains(&"relay_diverged"), "{kinds:?}");
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 3, "as before");
    till.push(&client).await.unwrap();
    let alerts = client.settle().await.alerts;
    let lasts = alerts.iter().filter(|alert| alert.cleared_ms.is_none());
    assert_eq!(lasts.count(), 0, "{alerts:?}");
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 3);
    assert_eq!(number(&hub, "SELECT count(*) FROM relayed_entry"), 0);
}
