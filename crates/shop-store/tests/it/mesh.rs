//! What lanes hold of each other's journals.

use crate::catalog::columns;
use crate::{NOW_MS, Till, sale};
use counterfoil_domain::document::{
    AdvanceOrder, CashEvent, CashSession, Expense, LedgerEntry, Line, StockCount, StockMovement,
};
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::parked::{Finishes, ParkedDiscard, ParkedSale};
use counterfoil_domain::{Currency, Document, DocumentId, NodeId, Quantity, UnitPrice};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{CloseDay, StoreError};
use counterfoil_testkit::TempDir;
use serde_json::json;
use std::collections::BTreeMap;

const ALL: Window = Window {
    messages: 10_000,
    bytes: 1 << 30,
};

fn record(till: &mut Till, document: Document) {
    let entry = Entry {
        id: None,
        document,
        now_ms: NOW_MS,
    };
    till.store().record(entry).expect("recorded");
}

fn entries(till: &mut Till, origin: NodeId, after: i64) -> Vec<LaneEntry> {
    let read = till.store().lane_entries(origin, after, ALL);
    read.expect("read")
}

/// Another till than `Till::new` makes, in a folder that may have databases.
fn another(dir: TempDir, seed: u64) -> Till {
    let store = None;
    let mut till = Till { dir, store, seed };
    till.open();
    till
}

/// Takes back what was sold, with a text that JSON has to write in another way.
fn refund(till: &mut Till) -> Document {
    let sold = till.sell(None, NOW_MS);
    let Document::Sale(mut receipt) = sale(till.store(), "0.350", NOW_MS) else {
        unreachable!("a sale");
    };
    receipt.refund_of = Some(sold.id);
    receipt.external_ref = Some("536365".to_owned());
    receipt.customer = Some("c1".to_owned());
    for line in &mut receipt.lines {
        line.quantity.milli = -line.quantity.milli;
        line.amount_minor = -line.amount_minor;
        "a \"quoted\" name, 3 \u{20ac}\n".clone_into(&mut line.description);
    }
    receipt.total_minor = -receipt.total_minor;
    receipt.payments[0].amount_minor = receipt.total_minor;
    Document::Refund(receipt)
}

fn of_money() -> Vec<Document> {
    let (customer, currency, at_ms) = ("c1".to_owned(), Currency::GBP, NOW_MS);
    let quantity = Quantity::from_milli(1000);
    let line = Line::new("tea", "", quantity, UnitPrice::from_mills(2550)).expect("small");
    let mut documents = vec![
        Document::LedgerEntry(LedgerEntry {
            customer: customer.clone(),
            amount_minor: -5,
            currency,
            note: String::new(),
            at_ms,
        }),
        Document::AdvanceOrder(AdvanceOrder {
            customer,
            due_ms: at_ms,
            lines: vec![line],
            total_minor: 255,
            deposit_minor: 0,
            currency,
            at_ms,
        }),
    ];
    for (event, employee) in [(CashEvent::Open, None), (CashEvent::Close, Some("e1"))] {
        let employee = employee.map(str::to_owned);
        documents.push(Document::CashSession(CashSession {
            event,
            counted_minor: 1,
            currency,
            employee: employee.clone(),
            at_ms,
        }));
        documents.push(Document::Expense(Expense {
            category: "milk".to_owned(),
            amount_minor: 1,
            currency,
            note: "n".to_owned(),
            at_ms,
            employee,
        }));
    }
    documents
}

fn of_stock() -> [Document; 2] {
    let (sku, quantity, at_ms) = ("TEA".to_owned(), Quantity::from_milli(1500), NOW_MS);
    let movement = StockMovement {
        sku: sku.clone(),
        quantity,
        reason: "delivery".to_owned(),
        at_ms,
        external_ref: None,
    };
    let count = StockCount {
        sku,
        quantity,
        at_ms,
        seen: None,
    };
    [
        Document::StockMovement(movement),
        Document::StockCount(count),
    ]
}

/// With texts that JSON has to write in another way.
fn of_parked(till: &mut Till) -> [Document; 3] {
    let Document::Sale(mut sale) = sale(till.store(), "0.350", NOW_MS) else {
        unreachable!("a sale");
    };
    let parked = DocumentId::from_uuid(uuid::Uuid::from_u128(77));
    sale.parked = Some(Finishes {
        id: parked,
        lane: Some(1),
    });
    let mut lines = sale.lines.clone();
    "a \"quoted\" name, 3 \u{20ac}\n".clone_into(&mut lines[0].description);
    let cart = ParkedSale {
        lane: None,
        at_ms: NOW_MS,
        currency: Currency::GBP,
        total_minor: sale.total_minor,
        customer: None,
        employee: Some("e\\1".to_owned()),
        note: Some("\"blue\" \u{1}".to_owned()),
        lines,
    };
    let discard = ParkedDiscard {
        parked,
        lane: Some(2),
        at_ms: NOW_MS,
        employee: None,
    };
    [
        Document::ParkedSale(cart),
        Document::ParkedDiscard(discard),
        Document::Sale(sale),
    ]
}

/// Everything that a till records but the end of a day.
fn one_of_each(till: &mut Till) {
    till.activate(3).expect("activated");
    let refund = refund(till);
    record(till, refund);
    let documents = of_money().into_iter().chain(of_stock());
    for document in documents.chain(of_parked(till)) {
        record(till, document);
    }
    let columns = BTreeMap::from([
        ("name".to_owned(), json!("TEA")),
        ("price".to_owned(), json!("2.55")),
    ]);
    let edited = till
        .store()
        .catalog_set("products", "TEA", &columns, NOW_MS);
    edited.expect("edited");
}

#[test]
fn every_kind_of_entry_is_read_back_as_it_was_chained() {
    let mut till = Till::new("read-back");
    one_of_each(&mut till);
    let node = till.store().node();
    let read = entries(&mut till, node, 0);
    let seq = till.store().journal_seq();
    assert_eq!(
        i64::try_from(read.len()).expect("few"),
        seq,
        "each is what its chain value covers"
    );
    let kinds: std::collections::BTreeSet<i64> = read.iter().map(|entry| entry.kind).collect();
    assert!(kinds.len() >= 12, "{kinds:?}");
    assert_eq!(
        till.store().own_holding().end,
        read.last().expect("some").point()
    );
    let part = Window {
        messages: 3,
        bytes: 1,
    };
    let some = till.store().lane_entries(node, 2, part).expect("read");
    assert_eq!(some.len(), 1, "one always fits");
    assert_eq!(some[0], read[2]);
}

#[test]
fn a_closure_is_read_back_as_it_was_chained() {
    let mut till = Till::new("closure-back");
    till.sell(None, NOW_MS);
    let order = CloseDay {
        day: None,
        rule: Default::default(),
        key: None,
        now_ms: NOW_MS,
    };
    till.store().close_day(&order).expect("closed");
    let node = till.store().node();
    assert_eq!(entries(&mut till, node, 0).len(), 2);
}

#[test]
fn entries_of_a_peer_are_kept_once_in_order_and_given_on_as_they_came() {
    let (mut one, mut other) = (Till::new("origin"), another(TempDir::new("holder"), 70));
    (0..5).for_each(|round| drop(one.sell(None, NOW_MS + round)));
    let origin = one.store().node();
    let sent = entries(&mut one, origin, 0);
    let keep = |till: &mut Till, entries: &[LaneEntry]| {
        till.store().keep_entries(origin, Point::START, entries)
    };

    let gap = keep(&mut other, &sent[1..]);
    assert!(
        matches!(gap, Err(StoreError::Gap { seq: 2, .. })),
        "{gap:?}"
    );
    assert!(
        !other
            .store()
            .holdings()
            .expect("read")
            .contains_key(&origin)
    );
    let held = keep(&mut other, &sent[..2]).expect("kept");
    assert_eq!(held.end, sent[1].point());
    other.open();
    // What came before comes again, and one more.
    let held = keep(&mut other, &sent[..3]).expect("kept");
    assert_eq!(held.end, sent[2].point());
    keep(&mut other, &sent).expect("kept");
    assert_eq!(
        keep(&mut other, &sent[..2]).expect("known").end,
        sent[4].point()
    );
    let whole = Holding {
        begin: Point::START,
        end: sent[4].point(),
    };
    assert_eq!(other.store().holdings().expect("read")[&origin], whole);
    assert_eq!(entries(&mut other, origin, 0), sent);
    assert_eq!(entries(&mut other, origin, 3), sent[3..]);
    assert_eq!(entries(&mut other, origin, 5), []);
    let beyond = other.store().lane_entries(origin, 6, ALL);
    assert!(matches!(beyond, Err(StoreError::Gap { .. })));
}

#[test]
fn a_second_history_under_one_name_is_refused_and_the_first_is_kept() {
    let (mut one, mut other) = (Till::new("first"), another(TempDir::new("keeper"), 70));
    one.sell(None, NOW_MS);
    let origin = one.store().node();
    let common = entries(&mut one, origin, 0);
    other
        .store()
        .keep_entries(origin, Point::START, &common)
        .expect("kept");
    let dir = TempDir::new("clone");
    one.store = None;
    for file in std::fs::read_dir(one.dir.path()).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), dir.path().join(file.file_name())).expect("copied");
    }
    one.open();
    let mut clone = another(dir, 90);
    one.sell(None, NOW_MS + 1);
    clone.sell(None, NOW_MS + 2);
    let (first, second) = (entries(&mut one, origin, 1), entries(&mut clone, origin, 1));
    other
        .store()
        .keep_entries(origin, Point::START, &first)
        .expect("kept");
    let refused = other.store().keep_entries(origin, Point::START, &second);
    assert!(
        matches!(refused, Err(StoreError::Forked { seq: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(entries(&mut other, origin, 1), first);
}

#[test]
fn damage_to_what_is_held_is_not_given_on() {
    let (mut one, mut other) = (Till::new("whole"), another(TempDir::new("damaged"), 70));
    (0..3).for_each(|round| drop(one.sell(None, NOW_MS + round)));
    let origin = one.store().node();
    let sent = entries(&mut one, origin, 0);
    other
        .store()
        .keep_entries(origin, Point::START, &sent)
        .expect("kept");
    other.elsewhere(
        "local.db",
        "UPDATE peer_entry SET document = replace(document, '510', '511') WHERE seq = 2",
    );
    assert_eq!(
        entries(&mut other, origin, 0),
        sent[..1],
        "what is sound goes on"
    );
    let damaged = other.store().lane_entries(origin, 1, ALL);
    assert!(
        matches!(damaged, Err(StoreError::Corrupt { .. })),
        "{damaged:?}"
    );
    one.elsewhere(
        "book.db",
        "UPDATE receipt_item SET amount_minor = 1 WHERE key = (2 << 16) + 1",
    );
    assert_eq!(entries(&mut one, origin, 0), sent[..1]);
    let damaged = one.store().lane_entries(origin, 1, ALL);
    assert!(
        matches!(damaged, Err(StoreError::Corrupt { .. })),
        "{damaged:?}"
    );
}

#[test]
fn damage_that_no_reader_understands_is_damage_as_well() {
    for (own, theirs) in [
        ("id = x'00'", "id = x'00'"),
        ("hlc = -5", "hlc = -5"),
        ("chain = x'00'", "chain = x'00'"),
        (
            "payload = CAST(x'ff' AS TEXT)",
            "document = CAST(x'ff' AS TEXT)",
        ),
        ("payload = '{'", "document = '{'"),
    ] {
        let (mut one, mut other) = (Till::new("sound"), another(TempDir::new("unsound"), 70));
        for name in ["a", "b", "c"] {
            let wanted = columns(&[("name", json!(name))]);
            let set = one.store().catalog_set("products", "JAM", &wanted, NOW_MS);
            set.expect("set");
        }
        let origin = one.store().node();
        let sent = entries(&mut one, origin, 0);
        let kept = other.store().keep_entries(origin, Point::START, &sent);
        kept.expect("kept");
        one.elsewhere(
            "book.db",
            &format!("UPDATE journal SET {own} WHERE seq = 2"),
        );
        let sql = format!("UPDATE peer_entry SET {theirs} WHERE seq = 2");
        other.elsewhere("local.db", &sql);
        for (till, damage) in [(&mut one, own), (&mut other, theirs)] {
            assert_eq!(entries(till, origin, 0), sent[..1], "{damage}");
            let damaged = till.store().lane_entries(origin, 1, ALL);
            let is_told = matches!(damaged, Err(StoreError::Corrupt { .. }));
            assert!(is_told, "{damage}: {damaged:?}");
        }
    }
}

#[test]
fn no_more_is_read_than_fits() {
    let (mut one, mut other) = (Till::new("long"), another(TempDir::new("narrow"), 70));
    (0..3).for_each(|round| drop(one.sell(None, NOW_MS + round)));
    let origin = one.store().node();
    let sent = entries(&mut one, origin, 0);
    let kept = other.store().keep_entries(origin, Point::START, &sent);
    kept.expect("kept");
    let room = |bytes| Window {
        messages: 10,
        bytes,
    };
    let two = sent[0].size() + 1;
    let read = other.store().lane_entries(origin, 0, room(two));
    assert_eq!(read.expect("it is sound"), sent[..2]);
    let all = other.store().lane_entries(origin, 0, room(1 << 20));
    assert_eq!(all.expect("it is sound"), sent);
}

#[test]
fn a_new_identity_has_a_journal_that_begins_behind_what_is_common() {
    let mut till = Till::new("mesh-identity");
    till.activate(3).expect("activated");
    (0..2).for_each(|round| drop(till.sell(None, NOW_MS + round)));
    let chain = till.store().chain_at(2).expect("read").expect("within");
    let common = Point { seq: 2, chain };
    let claim = till
        .store()
        .claim_identity(common, NOW_MS)
        .expect("claimed");
    let answer = IdentityAnswer { lane: 4, epoch: 2 };
    let former = till.store().node();
    let marks = BTreeMap::from([(NodeId::from_uuid(uuid::Uuid::from_u128(1)), 3)]);
    let noted = till.store().note_peers(former, &marks, NOW_MS);
    noted.expect("noted");
    till.store().take_identity(&claim, &answer).expect("taken");
    assert!(till.store().peer_marks().expect("read").is_empty());
    // From a connection that does not know it yet.
    let noted = till.store().note_peers(former, &marks, NOW_MS);
    noted.expect("passed over");
    assert!(till.store().peer_marks().expect("read").is_empty());
    till.sell(None, NOW_MS + 9);
    let node = till.store().node();
    let holding = till.store().own_holding();
    assert_eq!((holding.begin, holding.end.seq), (common, 4));
    assert_eq!(entries(&mut till, node, 2).len(), 2);
    let before = till.store().lane_entries(node, 1, ALL);
    assert!(
        matches!(before, Err(StoreError::Gap { .. })),
        "that is the former one's"
    );

    let mut other = another(TempDir::new("mesh-identity-peer"), 70);
    let sent = entries(&mut till, node, 2);
    let held = other
        .store()
        .keep_entries(node, holding.begin, &sent)
        .expect("kept");
    assert_eq!(held, holding);
    assert_eq!(entries(&mut other, node, 2), sent);
}

#[test]
fn what_peers_have_of_the_own_journal_is_kept_and_may_go_back() {
    let mut till = Till::new("marks");
    (0..7).for_each(|round| drop(till.sell(None, NOW_MS + round)));
    let node = till.store().node();
    let peers = [1, 2].map(|number| NodeId::from_uuid(uuid::Uuid::from_u128(number)));
    let mut marks = BTreeMap::from([(peers[0], 7), (peers[1], 3)]);
    let noted = till.store().note_peers(node, &marks, NOW_MS);
    noted.expect("noted");
    assert_eq!(till.store().peer_marks().expect("read"), marks);
    marks.insert(peers[0], 2);
    let noted = till.store().note_peers(node, &marks, NOW_MS);
    noted.expect("noted");
    till.open();
    assert_eq!(till.store().peer_marks().expect("read"), marks);
}

#[test]
fn what_peers_had_of_a_lost_end_is_not_what_comes_in_its_place() {
    let mut till = Till::new("marks-lost");
    (0..2).for_each(|round| drop(till.sell(None, NOW_MS + round)));
    let book = till.dir.path().join("book.db");
    till.store = None;
    let earlier = std::fs::read(&book).expect("read");
    till.open();
    (2..5).for_each(|round| drop(till.sell(None, NOW_MS + round)));
    let node = till.store().node();
    let peers = [1, 2].map(|number| NodeId::from_uuid(uuid::Uuid::from_u128(number)));
    let marks = BTreeMap::from([(peers[0], 5), (peers[1], 1)]);
    let noted = till.store().note_peers(node, &marks, NOW_MS);
    noted.expect("noted");
    till.store = None;
    std::fs::write(&book, earlier).expect("the book alone is restored");
    till.open();
    assert_eq!(till.store().own_holding().end.seq, 2);
    let left = BTreeMap::from([(peers[0], 2), (peers[1], 1)]);
    assert_eq!(till.store().peer_marks().expect("read"), left);
}

#[test]
fn a_list_of_revoked_lanes_that_is_older_does_not_take_the_place_of_a_newer_one() {
    let mut till = Till::new("revoked-lists");
    let store = till.store();
    assert_eq!(store.lane_revocations().expect("read"), None);
    assert!(store.keep_lane_revocations(("a", 7), "[7]").expect("kept"));
    assert!(!store.keep_lane_revocations(("a", 5), "[5]").expect("kept"));
    assert_eq!(
        store.lane_revocations().expect("read").as_deref(),
        Some("[7]")
    );
    assert!(
        store
            .keep_lane_revocations(("a", 7), "[7, 5]")
            .expect("kept")
    );
    assert!(store.keep_lane_revocations(("b", 1), "[1]").expect("kept"));
    assert_eq!(
        store.lane_revocations().expect("read").as_deref(),
        Some("[1]")
    );
}
