//! The book's layout: queries keep their indexes, a sale touches few pages, and the views show what
//! was recorded.

use crate::{NOW_MS, Till, sale};
use counterfoil_domain::Document;
use counterfoil_domain::document::{Payment, Tender};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_shop_store::record::Entry;

fn reader(till: &Till) -> Connection {
    Connection::open_existing(till.dir.join("book.db"), Durability::Full).expect("opens")
}

/// The plan of a query, a step a line.
fn plan(conn: &Connection, sql: &str) -> String {
    let steps: Vec<String> = conn
        .query_map(&format!("EXPLAIN QUERY PLAN {sql}"), (), |row| row.get(3))
        .expect("a plan");
    steps.join("\n")
}

#[test]
fn every_look_up_in_the_book_goes_by_an_index() {
    let till = Till::new("plans");
    let conn = reader(&till);
    let by_key = "USING INTEGER PRIMARY KEY (rowid=?)";
    let item_range = "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
    for (sql, steps) in [
        (
            "SELECT seq FROM journal WHERE id = x'00'",
            vec!["USING COVERING INDEX journal_by_id (id=?)"],
        ),
        (
            "SELECT seq FROM receipt WHERE series = 'L1' AND number = 7",
            vec!["USING COVERING INDEX receipt_by_number (series=? AND number=?)"],
        ),
        (
            "SELECT series, max(number) FROM receipt GROUP BY series",
            vec!["USING COVERING INDEX receipt_by_number"],
        ),
        (
            "SELECT total_minor, (SELECT count(*) FROM receipt_line l WHERE l.seq = r.seq) \
             FROM receipt r WHERE external_ref = '536365'",
            vec![
                "USING INDEX receipt_by_external_ref (external_ref=?)",
                by_key,
                item_range,
            ],
        ),
        (
            "SELECT sku FROM receipt_line WHERE seq = 7",
            vec![by_key, item_range],
        ),
        (
            "SELECT tender FROM payment WHERE seq = 7",
            vec![by_key, item_range],
        ),
    ] {
        let plan = plan(&conn, sql);
        for step in steps {
            assert!(plan.contains(step), "{sql}:\n{plan}");
        }
    }
    // Newest first is the table's own order.
    let newest = plan(
        &conn,
        "SELECT seq FROM journal WHERE number IS NOT NULL ORDER BY seq DESC LIMIT 20",
    );
    assert_eq!(newest, "SCAN journal");
}

#[test]
fn the_views_show_each_receipt_with_its_own_lines_and_payments() {
    let mut till = Till::new("views");
    for quantity in ["1", "2", "3"] {
        let mut document = sale(till.store(), quantity, NOW_MS);
        let Document::Sale(receipt) = &mut document else {
            panic!("a sale");
        };
        // Lines and payments are numbered apart.
        receipt.lines.push(receipt.lines[0].clone());
        receipt.total_minor *= 2;
        receipt.payments = [Tender::Cash, Tender::Card]
            .map(|tender| Payment {
                tender,
                amount_minor: receipt.lines[0].amount_minor,
            })
            .into();
        let entry = Entry {
            id: None,
            document,
            now_ms: NOW_MS,
        };
        till.store().record(entry).expect("recorded");
    }
    let conn = reader(&till);
    let read = |sql: &str| -> Vec<(i64, i64, String, i64)> {
        conn.query_map(sql, (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .expect("rows")
    };
    let lines = read("SELECT seq, line, sku, quantity_milli FROM receipt_line ORDER BY 1, 2");
    let wanted =
        (1..=3).flat_map(|seq| [1, 2].map(|line| (seq, line, "TEA".to_owned(), seq * 1_000)));
    assert_eq!(lines, wanted.collect::<Vec<_>>());
    let paid = read(
        "SELECT seq, payment, tender, (SELECT r.total_minor - 2 * p.amount_minor FROM receipt r
         WHERE r.seq = p.seq) FROM payment p ORDER BY 1, 2",
    );
    let wanted = (1..=3).flat_map(|seq| {
        [(1, "cash"), (2, "card")].map(|(number, tender)| (seq, number, tender.to_owned(), 0))
    });
    assert_eq!(paid, wanted.collect::<Vec<_>>());
}

#[test]
fn a_sale_touches_few_pages() {
    const SALES: u64 = 100;
    let mut till = Till::new("frames");
    let wal = till.dir.join("book.db-wal");
    // The size alone: opening the file here would drop SQLite's locks on it.
    let frames = || {
        std::fs::metadata(&wal)
            .expect("a WAL")
            .len()
            .div_euclid(4_120)
    };
    for round in 0..20 {
        till.sell(None, NOW_MS + round);
    }
    let before = frames();
    for round in 0..SALES {
        till.sell(None, NOW_MS + 20 + i64::try_from(round).expect("small"));
    }
    let per_hundred = frames() - before;
    // The journal, its two indexes and the items, each sale; new pages now and then.
    assert!((400..460).contains(&per_hundred), "{per_hundred}");
}
