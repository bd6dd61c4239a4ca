use super::conversation::{Conversation, GAPS_MAX, Next, Window};
use super::pairing::{PairingKey, Party};
use super::sources::{Offer, Step, plan};
use super::*;
use crate::ids::ShopId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;
use world::{Lane, Said, WINDOW, World, entry, node};

mod world;

#[derive(Clone, Debug)]
enum Event {
    Sell(usize),
    Connect(usize, usize),
    Cut(usize, usize),
    Step(usize, usize),
}

fn events(lanes: usize) -> impl Strategy<Value = Vec<Event>> {
    let pair = (0..lanes, 0..lanes);
    let event = prop_oneof![
        3 => (0..lanes).prop_map(Event::Sell),
        2 => pair.clone().prop_map(|(one, other)| Event::Connect(one, other)),
        1 => pair.clone().prop_map(|(one, other)| Event::Cut(one, other)),
        14 => pair.prop_map(|(one, other)| Event::Step(one, other)),
    ];
    prop::collection::vec(event, 1..150)
}

proptest! {
    #[test]
    fn lanes_that_meet_in_any_way_end_with_every_journal_and_no_entry_twice(events in events(4)) {
        let mut world = World::new(4);
        for event in events {
            match event {
                Event::Sell(lane) => world.lanes[lane].sell(),
                Event::Connect(one, other) => world.connect(one, other),
                Event::Cut(one, other) => world.cut(one, other),
                Event::Step(from, to) => {
                    world.step(from, to);
                }
            }
            world.assert_marks();
        }
        for lane in &mut world.lanes {
            lane.sell();
        }
        // Enough lines that everybody is reached, most over others.
        for lane in 1..4 {
            world.connect(lane - 1, lane);
        }
        world.settle();
        world.assert_marks();
        world.assert_same();
    }

    #[test]
    fn whom_to_ask_settles_at_once_and_is_one_peer_a_journal(
        ends in prop::collection::vec(prop::collection::vec(prop::option::of(0_i64..4), 3), 1..4),
        own in prop::collection::vec(prop::option::of(0_i64..4), 3),
    ) {
        let held = |ends: &[Option<i64>]| -> BTreeMap<NodeId, Holding> {
            let journals = ends.iter().enumerate();
            journals.filter_map(|(origin, end)| Some((node(origin), upto(node(origin), (*end)?)))).collect()
        };
        let me = node(9);
        let (mine, mut offers) = (held(&own), BTreeMap::new());
        for (peer, ends) in ends.iter().enumerate() {
            offers.insert(node(peer), Offer { holds: held(ends), asked: BTreeSet::new() });
        }
        for step in plan(me, &mine, &offers) {
            let Step::Ask { peer, origin, after } = step else { panic!("nobody was asked") };
            prop_assert_eq!(after, mine.get(&origin).map_or(0, |held| held.end.seq));
            offers.get_mut(&peer).expect("a peer").asked.insert(origin);
        }
        prop_assert_eq!(plan(me, &mine, &offers), []);
        for origin in (0..3).map(node) {
            let asked: Vec<_> = offers.values().filter(|offer| offer.asked.contains(&origin)).collect();
            prop_assert!(asked.len() <= 1);
            let most = offers.values().filter_map(|offer| offer.holds.get(&origin)).map(|held| held.end.seq).max();
            if most > mine.get(&origin).map(|held| held.end.seq) {
                prop_assert_eq!(asked.len(), 1, "somebody has more");
            }
        }
    }
}

fn upto(origin: NodeId, end: i64) -> Holding {
    let mut holding = Holding::empty(Point::START);
    for _ in 0..end {
        holding.end = entry(origin, holding.end, "tea").point();
    }
    holding
}

#[test]
fn a_late_lane_gets_each_entry_from_one_peer_only() {
    let mut world = World::new(4);
    for _ in 0..20 {
        world.lanes[0].sell();
    }
    world.connect(0, 1);
    world.connect(0, 2);
    world.settle();
    // The origin goes away for good.
    world.cut(0, 1);
    world.cut(0, 2);
    world.connect(3, 1);
    world.connect(3, 2);
    let mut came = 0;
    for _ in 0..1_000 {
        for peer in [1, 2] {
            world.step(3, peer);
            let line = world.lines.get_mut(&(peer, 3)).expect("connected");
            line.extend(world.lanes[peer].say(node(3)));
            came += usize::from(matches!(line.front(), Some(Said::Entry(_))));
            world.step(peer, 3);
        }
    }
    assert_eq!(came, 20);
    assert_eq!(world.lanes[3].holdings()[&node(0)].end.seq, 20);
}

#[test]
fn no_more_is_on_its_way_than_the_window_holds() {
    let mut lane = Lane::new(0);
    (0..10).for_each(|_| lane.sell());
    let conversation = Conversation::new((node(0), node(1)), BTreeMap::new(), WINDOW);
    lane.conversations.insert(node(1), conversation);
    lane.hear(node(1), Said::Want(node(0), 0));
    assert_eq!(lane.say(node(1)).len(), WINDOW.messages);
    assert_eq!(lane.with(node(1)).unacknowledged(), WINDOW.messages);
    let id = lane.journals[&node(0)][1].id;
    lane.hear(node(1), Said::Ack(id));
    assert_eq!(lane.marks[&node(1)], 2);
    assert_eq!(lane.say(node(1)).len(), 2, "two are acknowledged at once");
    lane.hear(node(1), Said::Ack(id));
    assert_eq!(lane.marks[&node(1)], 2, "a second time it says nothing");
}

#[test]
fn what_is_recorded_while_entries_are_read_is_sent_too() {
    let mut lane = Lane::new(0);
    let mut conversation = Conversation::new((node(0), node(1)), BTreeMap::new(), WINDOW);
    conversation.wanted(node(0), 0);
    let Some(Next::Read { origin, after, .. }) = conversation.say() else {
        panic!("there may be something to read");
    };
    lane.sell();
    conversation.grown(node(0));
    assert_eq!(
        conversation.sent((origin, after), Vec::new(), Duration::ZERO),
        []
    );
    let next = conversation.say();
    assert!(
        matches!(next, Some(Next::Read { after: 0, .. })),
        "{next:?}"
    );
}

#[test]
fn an_entry_of_another_history_is_told_apart() {
    let held = upto(node(0), 2);
    let next = entry(node(0), held.end, "tea");
    assert_eq!(held.place(&next), Place::Next);
    let other = entry(
        node(0),
        entry(node(0), upto(node(0), 1).end, "milk").point(),
        "tea",
    );
    assert_eq!(held.place(&other), Place::Forked);
    let same_seq = entry(node(0), upto(node(0), 1).end, "milk");
    assert_eq!(held.place(&same_seq), Place::Forked);
    assert_eq!(
        held.place(&entry(node(0), next.point(), "tea")),
        Place::Ahead
    );
    assert_eq!(upto(node(0), 3).place(&next), Place::Known);
    let theirs = Holding {
        begin: Point::START,
        end: same_seq.point(),
    };
    assert!(theirs.contradicts(&held) && !theirs.can_continue(Some(&held)));
    assert!(upto(node(0), 5).can_continue(Some(&held)));
    let late = Holding {
        begin: upto(node(0), 3).end,
        end: upto(node(0), 5).end,
    };
    assert!(
        !late.can_continue(Some(&held)),
        "one entry is missing between them"
    );
    assert!(late.can_continue(None));
}

#[test]
fn any_change_to_an_entry_shows() {
    let whole = entry(node(0), Point::START, "tea");
    assert!(whole.is_whole());
    let changes: [fn(&mut LaneEntry); 6] = [
        |entry| entry.seq = 2,
        |entry| entry.kind = 99,
        |entry| entry.hlc = entry.hlc.next(),
        |entry| entry.document.push('x'),
        |entry| entry.before = entry.chain,
        |entry| entry.id = DocumentId::from_uuid(Uuid::nil()),
    ];
    for change in changes {
        let mut changed = whole.clone();
        change(&mut changed);
        assert!(!changed.is_whole(), "{changed:?}");
    }
}

#[test]
fn a_proof_is_good_for_one_connection_one_side_and_one_secret() {
    let party = |number: u8| Party {
        node: node(usize::from(number)),
        nonce: [number; 32],
    };
    let (one, other, shop) = (party(1), party(2), ShopId::from_uuid(Uuid::from_u128(7)));
    let key = PairingKey::of_secret("a secret of the shop, long enough");
    let proof = key.proof(&one, &other, shop);
    assert!(key.verifies(&proof, &one, &other, shop));
    assert!(!key.verifies(&proof, &other, &one, shop), "sent back");
    let again = Party {
        nonce: [3; 32],
        ..other
    };
    assert!(
        !key.verifies(&proof, &one, &again, shop),
        "heard and sent again"
    );
    assert!(!key.verifies(&proof, &one, &other, ShopId::from_uuid(Uuid::nil())));
    let wrong = PairingKey::of_secret("another secret of another shop...");
    assert!(!wrong.verifies(&proof, &one, &other, shop));
    assert!(!key.verifies("no proof", &one, &other, shop));
}

#[test]
fn an_entry_is_about_what_others_call_it() {
    let about = |kind: Topic, document: &str| {
        let mut found = entry(node(0), Point::START, document);
        found.kind = kind.code();
        found.subject()
    };
    let edit = |table: &str| {
        let text =
            format!(r#"{{"topic":"catalog_edit","content":{{"table":"{table}","row":"x"}}}}"#);
        about(Topic::CatalogEdit, &text)
    };
    assert_eq!(about(Topic::Refund, "{}"), Subject::Transaction);
    assert_eq!(about(Topic::StockCount, "{}"), Subject::Inventory);
    assert_eq!(about(Topic::LedgerEntry, "{}"), Subject::Customer);
    assert_eq!(about(Topic::EmployeeEvent, "{}"), Subject::Employee);
    assert_eq!(edit("customers"), Subject::Customer);
    assert_eq!(edit("employees"), Subject::Employee);
    assert_eq!(edit("products"), Subject::Catalog);
}

#[test]
fn a_peer_has_given_all_when_so_much_is_held_as_it_told_of() {
    let at = |seq| Holding {
        begin: Point::START,
        end: Point {
            seq,
            chain: Chain::START,
        },
    };
    let told = BTreeMap::from([(node(1), at(7))]);
    let conversation = Conversation::new((node(0), node(1)), told, WINDOW);
    assert!(!conversation.has_given(None));
    assert!(!conversation.has_given(Some(&at(6))));
    assert!(conversation.has_given(Some(&at(7))));
    assert!(
        conversation.has_given(Some(&at(8))),
        "and more that it sent since"
    );
}

#[test]
fn a_journal_with_a_gap_is_asked_for_some_times_more_and_not_for_ever() {
    let (origin, peer) = (node(0), node(1));
    let mut conversation = Conversation::new((node(2), peer), BTreeMap::new(), WINDOW);
    conversation.ask(origin, 4);
    for _ in 0..GAPS_MAX {
        assert!(
            conversation.ask_again(origin, 4),
            "it may have been on its way"
        );
    }
    assert!(!conversation.ask_again(origin, 4), "nothing came of it");
    assert!(
        conversation.ask_again(origin, 6),
        "it went on, and lacks something else"
    );
    let mut asked = Vec::new();
    while let Some(next) = conversation.say() {
        asked.push(next);
    }
    assert_eq!(asked, [Next::Want { origin, after: 6 }]);
}

/// A lane that serves a peer a long journal of a third one, and its own.
fn serving(entries: i64) -> (Conversation, Vec<LaneEntry>) {
    let (me, peer, third) = (node(5), node(6), node(1));
    let window = Window {
        messages: 10_000,
        bytes: 4 << 20,
    };
    let mut conversation = Conversation::new((me, peer), BTreeMap::new(), window);
    conversation.wanted(third, 0);
    conversation.wanted(me, 0);
    let (mut before, mut journal) = (Point::START, Vec::new());
    for _ in 0..entries {
        journal.push(entry(third, before, "a price of a catalog"));
        before = journal.last().expect("one").point();
    }
    (conversation, journal)
}

/// Serves what is to be read; of which journals, in order.
fn spoken(
    conversation: &mut Conversation,
    journals: &[&[LaneEntry]],
    now: Duration,
) -> Vec<NodeId> {
    let mut said = Vec::new();
    while let Some(Next::Read {
        origin,
        after,
        room,
    }) = conversation.say()
    {
        let of = journals
            .iter()
            .copied()
            .flatten()
            .filter(|it| it.origin == origin);
        let mut size = 0;
        // As the store does: the last one may be more than fits.
        let fits = |it: &LaneEntry| {
            size += it.size();
            size - it.size() < room.bytes
        };
        let read = of
            .filter(|it| it.seq > after)
            .cloned()
            .take_while(fits)
            .collect();
        let sent = conversation.sent((origin, after), read, now);
        said.extend(sent.iter().map(|it| it.origin));
    }
    said
}

#[test]
fn a_sale_overtakes_what_waits_of_another_lanes_journal() {
    let (mut conversation, third) = serving(2_000);
    let now = Duration::ZERO;
    let said = spoken(&mut conversation, &[&third], now);
    let fitting = |bytes: usize| bytes.div_ceil(third[0].size());
    let most = fitting(pace::PACE_BYTES_MIN);
    assert_eq!(said, vec![node(1); most], "no more is on its way at first");
    assert_eq!(
        conversation.say(),
        None,
        "the rest waits for an acknowledgement"
    );
    let sale = [entry(node(5), Point::START, "tea")];
    conversation.grown(node(5));
    let said = spoken(&mut conversation, &[&third, &sale], now);
    assert_eq!(said, [node(5)], "and the sale does not wait for that");
    // On a line that answers at once.
    conversation.acked(third[most - 1].id, now);
    let again = [sale[0].clone(), entry(node(5), sale[0].point(), "jam")];
    conversation.grown(node(5));
    let said = spoken(&mut conversation, &[&third, &again], now);
    assert_eq!(said[..2], [node(5), node(1)], "the sale is first");
    assert_eq!(
        said.len(),
        1 + fitting(2 * pace::PACE_BYTES_MIN),
        "and twice as much follows"
    );
}

#[test]
fn what_is_acknowledged_late_leaves_less_on_its_way() {
    let (mut conversation, third) = serving(8_000);
    let mut now = Duration::ZERO;
    let mut sent = 0;
    for _ in 0..5 {
        let said = spoken(&mut conversation, &[&third], now);
        sent += said.len();
        now += Duration::from_millis(1);
        conversation.acked(third[sent - 1].id, now);
    }
    let wide = spoken(&mut conversation, &[&third], now).len();
    sent += wide;
    now += Duration::from_secs(2);
    conversation.acked(third[sent - 1].id, now);
    let narrow = spoken(&mut conversation, &[&third], now).len();
    assert!(narrow * 8 < wide, "{narrow} after {wide}");
}
