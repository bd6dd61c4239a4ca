use super::*;
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::{DocumentId, Hlc, Topic};
use futures_util::FutureExt as _;

fn node(number: u128) -> NodeId {
    NodeId::from_slice(&number.to_be_bytes()).expect("an id")
}

/// The chain value at a position of one of several histories.
fn chain(history: i64, seq: i64) -> Chain {
    let head = EntryHead {
        seq,
        id: DocumentId::from_slice(&[0; 16]).expect("an id"),
        hlc: Hlc::from_raw(history),
        topic: Topic::Sale,
    };
    Chain::START.next(&head, b"")
}

fn until(history: i64, seq: i64) -> Holding {
    let chain = chain(history, seq);
    Holding {
        begin: Point::START,
        end: Point { seq, chain },
    }
}

fn last(origin: NodeId, seq: i64) -> LaneEntry {
    LaneEntry {
        origin,
        seq,
        id: DocumentId::from_slice(&[0; 16]).expect("an id"),
        hlc: Hlc::from_raw(1),
        kind: 1,
        before: Chain::START,
        chain: chain(1, seq),
        document: String::new(),
    }
}

fn seated(mesh: &Mesh, peer: NodeId, holds: BTreeMap<NodeId, Holding>) -> Seat {
    let peer = Introduced {
        node: peer,
        lane: 2,
        found_by: Some(FoundBy::Configured),
    };
    mesh.seat(peer, holds, OwnJournal::Fits, 0)
        .unwrap_or_else(|none| panic!("{none:?}"))
}

#[test]
fn another_history_is_found_where_the_peers_one_ends() {
    let own = until(1, 9);
    assert_eq!(judge(until(1, 5), own, Some(chain(1, 5))), OwnJournal::Fits);
    assert_eq!(
        judge(until(2, 5), own, Some(chain(1, 5))),
        OwnJournal::Other
    );
    assert_eq!(
        judge(until(2, 9), own, Some(chain(1, 9))),
        OwnJournal::Other
    );
    assert_eq!(judge(until(1, 12), own, None), OwnJournal::Longer);
}

#[test]
fn what_a_lost_end_had_is_no_second_copy() {
    let mesh = Mesh::default();
    let marks = BTreeMap::from([(node(2), 7), (node(3), 4)]);
    mesh.join(node(1), BTreeMap::from([(node(1), until(1, 5))]), marks);
    assert_eq!(*mesh.acknowledged().borrow(), 4);
}

#[test]
fn what_was_stored_late_does_not_hide_what_was_stored_since() {
    let mesh = Mesh::default();
    let (me, origin) = (node(1), node(5));
    mesh.join(
        me,
        BTreeMap::from([(me, Holding::empty(Point::START))]),
        BTreeMap::new(),
    );
    let seat = seated(&mesh, node(2), BTreeMap::new());
    mesh.stored(&seat, &last(origin, 8), until(1, 8));
    mesh.stored(&seat, &last(origin, 6), until(1, 6));
    let held = mesh.holdings(Holding::empty(Point::START));
    assert_eq!(held[&origin], until(1, 8));
}

#[test]
fn a_gap_is_asked_for_again_from_what_is_held() {
    let mesh = Mesh::default();
    let (me, origin) = (node(1), node(5));
    let holdings = BTreeMap::from([(me, Holding::empty(Point::START)), (origin, until(1, 6))]);
    mesh.join(me, holdings, BTreeMap::new());
    let seat = seated(&mesh, node(2), BTreeMap::from([(origin, until(1, 9))]));
    let said = |mesh: &Mesh| mesh.with(&seat, Conversation::say).flatten();
    let want = Some(counterfoil_domain::mesh::conversation::Next::Want { origin, after: 6 });
    assert_eq!(said(&mesh), want);
    assert_ne!(said(&mesh), want);
    mesh.ask_again(&seat, origin);
    assert_eq!(said(&mesh), want);
}

#[test]
fn a_refusal_is_logged_once_in_a_while_whatever_is_told() {
    let mesh = Mesh::default();
    assert!(mesh.refused("own words", false));
    assert!(mesh.refused("told 1", true));
    for number in 0..10 {
        assert!(!mesh.refused(&format!("told {number}"), true));
        assert!(!mesh.refused("own words", false));
    }
    assert!(mesh.refused("other words", false));
}

#[test]
fn a_connection_that_is_lost_is_heard_of_once_and_one_that_was_replaced_is_not() {
    let mesh = Mesh::default();
    let holds = BTreeMap::from([(node(1), Holding::empty(Point::START))]);
    mesh.join(node(1), holds, BTreeMap::new());
    let is_lost = || mesh.lost().now_or_never().is_some();
    let first = seated(&mesh, node(2), BTreeMap::new());
    let second = seated(&mesh, node(2), BTreeMap::new());
    mesh.unseat(&first);
    assert!(!is_lost());
    assert_eq!(mesh.connected(), BTreeSet::from([node(2)]));
    mesh.unseat(&second);
    assert!(is_lost(), "before anybody waited");
    assert!(!is_lost());
    assert_eq!(mesh.connected(), BTreeSet::new());
}

#[test]
fn there_are_as_many_connections_as_may_be_and_no_more() {
    let mesh = Mesh::default();
    mesh.join(node(1), BTreeMap::new(), BTreeMap::new());
    let peer = |number: usize| Introduced {
        node: node(2 + number as u128),
        lane: 2,
        found_by: Some(FoundBy::Configured),
    };
    let seat = |number: usize| mesh.seat(peer(number), BTreeMap::new(), OwnJournal::Fits, 0);
    let seats: Vec<_> = (0..PEER_CONNECTIONS_MAX).map(seat).collect();
    assert!(seats.iter().all(Result::is_ok));
    assert_eq!(seat(PEER_CONNECTIONS_MAX).err(), Some(NoSeat::TooMany));
    assert!(seat(0).is_ok(), "one that is there may come anew");
    mesh.unseat(seats[7].as_ref().expect("a seat"));
    assert!(seat(PEER_CONNECTIONS_MAX).is_ok());
}
