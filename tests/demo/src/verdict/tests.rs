use super::*;
use crate::directory::Directory;
use counterfoil_migrate::{Kind, open_and_migrate};

fn id(number: u128) -> DocumentId {
    DocumentId::from_uuid(uuid::Uuid::from_u128(number))
}

fn sale(total_minor: i64) -> Acknowledged {
    Acknowledged {
        topic: Topic::Sale,
        total_minor,
        lines: 1,
    }
}

/// Two shops; the first sold twice and wrote off stock, the second imported an invoice with an
/// adjustment.
fn account() -> Account {
    let mut account = Account::new(&["One".to_owned(), "Two".to_owned()]);
    account.acknowledge(0, id(1), sale(100));
    account.acknowledge(0, id(2), sale(250));
    let movement = Acknowledged {
        topic: Topic::StockMovement,
        total_minor: 0,
        lines: 0,
    };
    account.acknowledge(0, id(3), movement);
    let two = &mut account.shops[1];
    two.references.insert("536365".to_owned(), sale(70));
    two.adjustments = 1;
    two.input.sales = 1;
    two.input.lines = 1;
    two.input.adjustments = 1;
    two.input.total_minor = 70;
    account
}

fn found(shop: &str, number: u128, topic: Topic, total_minor: i64) -> Found {
    Found {
        shop: shop.to_owned(),
        id: id(number),
        topic,
        reference: None,
        total_minor,
    }
}

fn books() -> Books {
    let imported = Found {
        reference: Some("536365".to_owned()),
        ..found("Two", 4, Topic::Sale, 70)
    };
    let movement = Found {
        reference: Some("536365/9".to_owned()),
        ..found("Two", 5, Topic::StockMovement, 0)
    };
    let series = Series {
        name: "One/1 L1".to_owned(),
        count: 2,
        first: 1,
        last: 2,
    };
    Books {
        found: vec![
            found("One", 1, Topic::Sale, 100),
            found("One", 2, Topic::Sale, 250),
            found("One", 3, Topic::StockMovement, 0),
            found("One", 90, Topic::Activation, 0),
            found("One", 91, Topic::CatalogEdit, 0),
            imported,
            movement,
        ],
        lines: [("One".to_owned(), 2), ("Two".to_owned(), 1)].into(),
        series: vec![series],
        ..Books::default()
    }
}

fn digests() -> BTreeMap<String, String> {
    ["hub", "One/1", "Two/1"]
        .map(|name| (name.to_owned(), "aa".to_owned()))
        .into()
}

/// Spoils the books and returns lost, duplicated, unexpected, altered; they must not pass.
fn judged(spoil: impl FnOnce(&mut Books)) -> (u64, u64, u64, u64) {
    let mut books = books();
    spoil(&mut books);
    let result = compare(&account(), &books, &digests());
    assert!(!result.differences.is_empty(), "{result:?}");
    (
        result.lost,
        result.duplicated,
        result.unexpected,
        result.altered,
    )
}

#[test]
fn books_that_agree_pass() {
    let result = compare(&account(), &books(), &digests());
    assert_eq!(result.differences, [""; 0]);
    let one = &result.shops[0];
    assert_eq!((one.sales, one.sales_hub, one.adjustments_hub), (2, 2, 1));
    assert_eq!((one.total_minor_input, one.total_minor_hub), (350, 350));
}

#[test]
fn a_missing_document_is_lost() {
    assert_eq!(judged(|books| drop(books.found.remove(1))), (1, 0, 0, 0));
    assert_eq!(judged(|books| drop(books.found.remove(2))), (1, 0, 0, 0));
    assert_eq!(judged(|books| drop(books.found.remove(5))), (1, 0, 0, 0));
    assert_eq!(judged(|books| drop(books.found.remove(6))), (1, 0, 0, 0));
}

#[test]
fn a_document_that_stands_there_twice_is_duplicated() {
    for index in [0, 2, 5, 6] {
        let twice = |books: &mut Books| books.found.push(books.found[index].clone());
        assert_eq!(judged(twice), (0, 1, 0, 0), "{index}");
    }
    let elsewhere = |books: &mut Books| {
        books.found.push(Found {
            shop: "Two".to_owned(),
            ..books.found[0].clone()
        });
    };
    assert_eq!(judged(elsewhere), (0, 1, 1, 0));
}

#[test]
fn an_invoice_that_two_tills_recorded_under_two_ids_is_duplicated() {
    let twice = |books: &mut Books| {
        books.found.push(Found {
            id: id(77),
            ..books.found[5].clone()
        });
    };
    assert_eq!(judged(twice), (0, 1, 0, 0));
}

#[test]
fn a_document_that_nobody_acknowledged_is_unexpected() {
    let more = |books: &mut Books| books.found.push(found("One", 8, Topic::Sale, 0));
    assert_eq!(judged(more), (0, 0, 1, 0));
    let stranger = |books: &mut Books| books.found.push(found("Three", 8, Topic::Sale, 0));
    assert_eq!(judged(stranger), (0, 0, 1, 0));
}

#[test]
fn another_total_or_kind_is_altered() {
    assert_eq!(
        judged(|books| books.found[0].total_minor += 1),
        (0, 0, 0, 1)
    );
    assert_eq!(
        judged(|books| books.found[0].topic = Topic::Refund),
        (0, 0, 0, 1)
    );
}

#[test]
fn gaps_lines_quarantine_and_sums_are_differences() {
    assert_eq!(judged(|books| books.series[0].last = 3), (0, 0, 0, 0));
    assert_eq!(judged(|books| books.series[0].first = 2), (0, 0, 0, 0));
    assert_eq!(judged(|books| books.unbalanced = 1), (0, 0, 0, 0));
    assert_eq!(judged(|books| books.quarantined = 1), (0, 0, 0, 0));
    assert_eq!(judged(|books| books.lines.clear()), (0, 0, 0, 0));
}

#[test]
fn a_catalog_that_differs_is_named() {
    let mut digests = digests();
    digests.insert("Two/1".to_owned(), "bb".to_owned());
    let result = compare(&account(), &books(), &digests);
    assert_eq!(
        result.differences,
        ["1 catalogs differ from the hub's: Two/1"]
    );
    digests.remove("hub");
    assert!(
        !compare(&account(), &books(), &digests)
            .differences
            .is_empty()
    );
}

/// One receipt of two lines, one stock movement and one conflict, as the hub stores them.
const HUB_ROWS: &str = "
    INSERT INTO shop (id, name, created_ms) VALUES (x'01', 'One', 0);
    INSERT INTO node (number, id, shop, lane, token_hash, created_ms)
        VALUES (1, x'02', x'01', 1, x'03', 0);
    INSERT INTO receipt (node, seq, id, topic, hlc, trial, series, number, at_ms, currency,
            total_minor, external_ref, corrected_ms)
        VALUES (1, 1, x'00000000000000000000000000000007', 1, 0, 0, 'L1', 1, 0, 'GBP', 250, 'A1', 0);
    INSERT INTO receipt_line VALUES (1, 1, 1, 'TEA', '', 1000, 1000, 100);
    INSERT INTO receipt_line VALUES (1, 1, 2, 'TEA', '', 1000, 1500, 150);
    INSERT INTO document (node, seq, id, topic, hlc, at_ms, content, corrected_ms)
        VALUES (1, 2, x'00000000000000000000000000000008', 8, 0, 0, '{\"external_ref\":\"A1/3\"}', 0);
    INSERT INTO conflict (table_name, row_id, column_name, loser, winner, loser_value,
            winner_value, policy, state, found_ms, current, change)
        VALUES ('products', 'TEA', 'name', 'a', 'b', '\"Tea\"', '\"Tee\"', 'last_writer_wins', 'by_policy', 0,
            'b', 1);
";

#[test]
fn the_books_are_read_from_the_tables_that_the_hub_writes() {
    let directory = Directory::create("demo", None).unwrap();
    let path = directory.hub();
    std::fs::create_dir(&path).unwrap();
    let db = open_and_migrate(path.join("hub.db"), Kind::Hub, 0).unwrap();
    db.execute_batch(HUB_ROWS).unwrap();
    db.close();
    let books = Books::read(&path).unwrap();
    let receipt = Found {
        reference: Some("A1".to_owned()),
        ..found("One", 7, Topic::Sale, 250)
    };
    let movement = Found {
        reference: Some("A1/3".to_owned()),
        ..found("One", 8, Topic::StockMovement, 0)
    };
    assert_eq!(books.found, [receipt, movement]);
    assert_eq!(books.lines, [("One".to_owned(), 2)].into());
    let series = Series {
        name: "One/1 L1".to_owned(),
        count: 1,
        first: 1,
        last: 1,
    };
    assert_eq!(books.series, [series]);
    assert_eq!(
        (books.unbalanced, books.quarantined, books.conflicts.len()),
        (0, 0, 1)
    );
    assert_eq!(books.conflicts[0].winner_value, "Tee");
}
