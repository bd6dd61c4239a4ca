use super::{Count, Effect, Movement, Seen, SeenLane, Sight, What, effects, level};
use crate::document::{Document, Line, Receipt, StockCount, StockMovement};
use crate::hlc::Hlc;
use crate::ids::NodeId;
use crate::journal::Chain;
use crate::mesh::LaneEntry;
use crate::{Currency, DocumentId, Quantity, UnitPrice};
use proptest::prelude::*;
use uuid::Uuid;

fn node(number: u128) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(number))
}

fn entry(origin: NodeId, seq: i64, at_ms: i64, document: &Document) -> LaneEntry {
    LaneEntry {
        origin,
        seq,
        id: DocumentId::from_uuid(Uuid::from_u128(7)),
        hlc: Hlc::at_millis(at_ms),
        kind: document.topic().code(),
        before: Chain::START,
        chain: Chain::START,
        document: String::from_utf8(document.canonical()).expect("JSON"),
    }
}

fn receipt(milli: &[i64], external_ref: Option<&str>) -> Receipt {
    let price = UnitPrice::from_mills(2000);
    let line = |milli: &i64| Line::new("tea", "", Quantity::from_milli(*milli), price);
    Receipt {
        trial: false,
        series: "L1".to_owned(),
        number: 1,
        at_ms: 50,
        currency: Currency::GBP,
        total_minor: 0,
        customer: None,
        employee: None,
        refund_of: None,
        external_ref: external_ref.map(str::to_owned),
        parked: None,
        lines: milli.iter().map(|it| line(it).expect("small")).collect(),
        payments: Vec::new(),
    }
}

fn count(milli: i64, seen: Option<Seen>) -> Document {
    Document::StockCount(StockCount {
        sku: "TEA".to_owned(),
        quantity: Quantity::from_milli(milli),
        at_ms: 100,
        seen,
    })
}

fn moved(milli: i64) -> Document {
    Document::StockMovement(StockMovement {
        sku: "TEA".to_owned(),
        quantity: Quantity::from_milli(milli),
        reason: "delivery".to_owned(),
        at_ms: 50,
        external_ref: None,
    })
}

/// The level after all of these.
fn sum(entries: &[LaneEntry]) -> i64 {
    let (mut all, mut sight) = (Vec::new(), Sight::default());
    for entry in entries {
        let (said, seen) = effects(entry);
        all.extend(said);
        if let Some(seen) = seen {
            sight.note(entry.origin, entry.seq, &seen);
        }
    }
    level(all.iter(), &sight).milli
}

#[test]
fn a_sale_takes_out_a_refund_brings_back_and_each_line_counts() {
    let lane = node(1);
    let sold = entry(lane, 1, 10, &Document::Sale(receipt(&[2000, 350], None)));
    let back = entry(lane, 2, 11, &Document::Refund(receipt(&[-500], None)));
    let (said, _) = effects(&sold);
    assert_eq!(said.iter().map(|it| it.item).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(sum(&[sold, back, entry(lane, 3, 12, &moved(10_000))]), 8150);
}

#[test]
fn what_an_entry_says_is_what_every_kind_of_reader_can_read() {
    let lane = node(1);
    let mut strange = entry(lane, 1, 10, &moved(1));
    strange.kind = 99;
    assert!(effects(&strange).0.is_empty(), "a kind of tomorrow");
    strange.kind = 8;
    "{".clone_into(&mut strange.document);
    assert!(effects(&strange).0.is_empty(), "no document");
    let huge = entry(lane, 1, 10, &moved(super::QUANTITY_MILLI_MAX + 1));
    assert!(
        effects(&huge).0.is_empty(),
        "more than there is of anything"
    );
}

#[test]
fn a_count_holds_and_what_comes_after_it_adds_up() {
    let lane = node(1);
    let all = [
        entry(lane, 1, 10, &moved(5000)),
        entry(lane, 2, 11, &count(4000, None)),
        entry(lane, 3, 12, &Document::Sale(receipt(&[1000], None))),
    ];
    assert_eq!(sum(&all), 3000);
}

/// Lane 2 counts; lane 1's clock is wrong by hours, either way.
#[test]
fn what_the_lane_that_counted_had_seen_is_before_whatever_the_clocks_say() {
    let (selling, counting) = (node(1), node(2));
    for wrong in [-10_000_000, 10_000_000] {
        let at = |ms: i64| 20_000_000 + wrong + ms;
        let sold = |seq: i64| {
            entry(
                selling,
                seq,
                at(seq),
                &Document::Sale(receipt(&[1000], None)),
            )
        };
        let seen = Seen {
            place: None,
            lanes: vec![SeenLane {
                node: selling,
                seq: 1,
                connected: true,
            }],
        };
        let counted = entry(counting, 1, 20_000_000, &count(7000, Some(seen)));
        assert_eq!(sum(&[sold(1), counted.clone()]), 7000, "it was sold before");
        assert_eq!(
            sum(&[sold(1), counted, sold(2)]),
            6000,
            "and this one after"
        );
    }
}

#[test]
fn of_a_lane_that_was_not_connected_the_time_decides() {
    let (away, counting) = (node(1), node(2));
    let sold = |seq: i64, at_ms| entry(away, seq, at_ms, &Document::Sale(receipt(&[1000], None)));
    let seen = |connected| Seen {
        place: None,
        lanes: vec![SeenLane {
            node: away,
            seq: 1,
            connected,
        }],
    };
    for seen in [None, Some(seen(false))] {
        let counted = entry(counting, 1, 100, &count(7000, seen));
        assert_eq!(sum(&[sold(2, 90), counted.clone()]), 7000);
        assert_eq!(sum(&[sold(2, 110), counted]), 6000);
    }
    let counted = entry(counting, 1, 100, &count(7000, Some(seen(true))));
    assert_eq!(sum(&[sold(2, 90), counted]), 6000, "its clock is behind");
}

#[test]
fn what_an_import_says_of_the_past_is_before_a_count_that_came_earlier() {
    let lane = node(1);
    let old = |seq| {
        entry(
            lane,
            seq,
            300,
            &Document::Sale(receipt(&[1000], Some("536365"))),
        )
    };
    let counted = entry(lane, 1, 100, &count(7000, None));
    assert_eq!(sum(&[counted, old(2)]), 7000);
}

#[test]
fn a_count_that_had_seen_another_holds_though_its_clock_is_behind() {
    let (ahead, behind) = (node(1), node(2));
    let first = entry(ahead, 1, 9_000, &count(1000, None));
    let place = Hlc::at_millis(9_000).next();
    let seen = Seen {
        place: Some(place.raw().to_string()),
        lanes: Vec::new(),
    };
    let second = entry(behind, 1, 100, &count(2000, Some(seen)));
    assert_eq!(sum(&[first.clone(), second.clone()]), 2000);
    assert_eq!(sum(&[second, first]), 2000);
}

#[test]
fn what_a_count_had_seen_goes_on_for_the_counts_behind_it() {
    let (lane, counting) = (node(1), node(2));
    let said = SeenLane {
        node: lane,
        seq: 4,
        connected: false,
    };
    let mut sight = Sight::default();
    let seen = Seen {
        place: None,
        lanes: vec![said],
    };
    sight.note(counting, 10, &seen);
    let at = |seq| Count {
        origin: counting,
        seq,
        hlc: Hlc::ZERO,
        place: Hlc::ZERO,
        at_ms: 0,
        milli: 0,
    };
    assert_eq!(sight.of(&at(9), lane), None);
    assert_eq!(sight.of(&at(10), lane), Some(said));
    assert_eq!(sight.of(&at(99), lane), Some(said));
}

#[test]
fn a_count_of_an_older_lane_reads_as_before_and_hashes_as_before() {
    let old = r#"{"topic":"stock_count","content":{"sku":"TEA","quantity":7000,"at_ms":100}}"#;
    let read: Document = serde_json::from_str(old).expect("as it was written");
    assert_eq!(read, count(7000, None));
    assert_eq!(String::from_utf8(read.canonical()).expect("JSON"), old);
}

prop_compose! {
    fn any_effect()(lane in 1_u128..4, seq in 1_i64..12, at in 0_i64..30, counts in any::<bool>(),
        milli in -5_i64..20, dated in proptest::option::of(0_i64..30)) -> Effect {
        let hlc = Hlc::at_millis(at);
        let what = if counts {
            What::Counted { milli, place: hlc, at_ms: at }
        } else {
            What::Moved { milli, dated_ms: dated }
        };
        Effect { sku: "TEA".to_owned(), origin: node(lane), seq, item: 0, hlc, what }
    }
}

proptest! {
    #[test]
    fn a_level_follows_from_the_set_in_any_order(
        mut all in proptest::collection::vec(any_effect(), 0..20),
        shuffled in any::<u64>(),
        seen in proptest::collection::vec((1_u128..4, 1_u128..4, 1_i64..12, 0_i64..12, any::<bool>()), 0..8),
    ) {
        // An entry says one thing.
        all.sort_by_key(|it| (it.origin, it.seq));
        all.dedup_by_key(|it| (it.origin, it.seq));
        let mut sight = Sight::default();
        for (origin, lane, at, seq, connected) in seen {
            let lanes = vec![SeenLane { node: node(lane), seq, connected }];
            sight.note(node(origin), at, &Seen { place: None, lanes });
        }
        let one = level(all.iter(), &sight);
        let turn = usize::try_from(shuffled % 97).expect("small");
        if !all.is_empty() {
            let turn = turn % all.len();
            all.rotate_left(turn);
        }
        prop_assert_eq!(level(all.iter(), &sight), one);
        // Whatever is before the count that holds can go, and nothing changes.
        if let Some(count) = one.count {
            let before = |movement: &Movement| {
                movement.is_before(&count, sight.of(&count, movement.origin))
            };
            all.retain(|it| it.movement().is_none_or(|movement| !before(&movement)));
            prop_assert_eq!(level(all.iter(), &sight), one);
        }
    }
}
