//! How far what was recorded is, and since when.

use crate::{NOW_MS, Till};
use counterfoil_domain::NodeId;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::queue::Stages;
use counterfoil_shop_store::delivery::Reader;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Of each entry that waits: its position, its stage, and when another lane and the hub had it, after the beginning.
fn waiting(till: &mut Till) -> Vec<(i64, String, Option<i64>, Option<i64>)> {
    let rows = till.store().queue(100).expect("read").into_iter();
    let since = |at_ms: Option<i64>| at_ms.map(|at_ms| at_ms - NOW_MS);
    let mut rows: Vec<_> = rows
        .map(|row| {
            (
                row.seq,
                row.stage,
                since(row.peer_acked_ms),
                since(row.cloud_acked_ms),
            )
        })
        .collect();
    rows.sort_unstable();
    rows
}

fn row(
    seq: i64,
    stage: &str,
    peer: Option<i64>,
    cloud: Option<i64>,
) -> (i64, String, Option<i64>, Option<i64>) {
    (seq, stage.to_owned(), peer, cloud)
}

#[test]
fn each_entry_that_waits_says_when_another_lane_had_it_and_when_the_hub() {
    let mut till = Till::new("delivered");
    let node = till.store().node();
    for _ in 0..4 {
        till.sell(None, NOW_MS);
    }
    let peers = |till: &mut Till, marks: &[(u128, i64)], after: i64| {
        let marks = marks.iter();
        let marks = marks.map(|(peer, seq)| (NodeId::from_uuid(Uuid::from_u128(*peer)), *seq));
        let marks: BTreeMap<NodeId, i64> = marks.collect();
        let noted = till.store().note_peers(node, &marks, NOW_MS + after);
        noted.expect("noted");
    };
    let hub = |till: &mut Till, reader, seq, after: i64| {
        till.store()
            .note(reader, seq, NOW_MS + after)
            .expect("noted");
    };
    peers(&mut till, &[(1, 2)], 10);
    peers(&mut till, &[(1, 2), (2, 1)], 20);
    hub(&mut till, Reader::HubReceived, 1, 30);
    peers(&mut till, &[(1, 3), (2, 2)], 40);
    let known = [
        row(1, "cloud_ack", Some(10), Some(30)),
        row(2, "peer_ack", Some(10), None),
        row(3, "peer_ack", Some(40), None),
        row(4, "pending", None, None),
    ];
    for _ in 0..2 {
        assert_eq!(waiting(&mut till), known);
        till.open();
    }
    let stages = till.store().stages().expect("read");
    let (pending, peer_ack, cloud_ack) = (1, 2, 1);
    assert_eq!(
        stages,
        Stages {
            pending,
            peer_ack,
            cloud_ack
        }
    );
    let rows = till.store().queue(1).expect("read");
    assert_eq!(rows[0].terminal, Some(node));
    // The hub was restored, and has it again later; a peer has lost what it had.
    hub(&mut till, Reader::HubReceived, 0, 50);
    hub(&mut till, Reader::HubReceived, 3, 60);
    peers(&mut till, &[(1, 1), (2, 1)], 70);
    hub(&mut till, Reader::HubConsolidated, 1, 80);
    assert_eq!(
        waiting(&mut till),
        [
            row(2, "cloud_ack", None, Some(60)),
            row(3, "cloud_ack", None, Some(60)),
            row(4, "pending", None, None),
        ]
    );
    // Nothing is kept of what the hub has consolidated.
    hub(&mut till, Reader::HubReceived, 4, 90);
    hub(&mut till, Reader::HubConsolidated, 4, 90);
    peers(&mut till, &[(1, 4)], 100);
    assert_eq!(waiting(&mut till), []);
    assert_eq!(till.store().stages().expect("read"), Stages::default());
    till.store = None;
    let conn = Connection::open(till.dir.join("local.db"), Durability::Full).expect("opens");
    let kept: i64 = conn
        .query_value("SELECT count(*) FROM delivered", ())
        .expect("read");
    assert_eq!(kept, 0);
    conn.abandon();
}
