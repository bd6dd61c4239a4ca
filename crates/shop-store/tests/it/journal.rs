//! What is recorded, and that it follows what was there.

use crate::{NOW_MS, Till, sale};
use counterfoil_domain::document::Receipt;
use counterfoil_domain::env::document_id;
use counterfoil_domain::{Chain, Document, Hlc, ImportId};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::import::{ImportBatch, ImportInvoice, ImportLine};
use counterfoil_protocol::wire::node::LogRow;
use counterfoil_shop_store::StoreError;
use counterfoil_shop_store::record::Entry;
use counterfoil_testkit::SeededRandom;

fn reader(till: &Till) -> Connection {
    Connection::open_existing(till.dir.join("book.db"), Durability::Full).expect("opens")
}

#[test]
fn numbers_stay_dense_and_the_chain_whole_over_restarts_and_refused_documents() {
    let mut till = Till::new("dense");
    for round in 0..5 {
        till.sell(None, NOW_MS + round);
        let mut wrong = sale(till.store(), "1", NOW_MS);
        if let Document::Sale(Receipt { total_minor, .. }) = &mut wrong {
            *total_minor += 1;
        }
        let refused = till.store().record(Entry {
            id: None,
            document: wrong,
            now_ms: NOW_MS,
        });
        assert!(matches!(refused, Err(StoreError::Invalid(_))));
        till.open();
    }
    let conn = reader(&till);
    let numbers: Vec<i64> = conn
        .query_map("SELECT number FROM receipt ORDER BY seq", (), |row| {
            row.get(0)
        })
        .expect("rows");
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let seqs: Vec<i64> = conn
        .query_map("SELECT seq FROM journal ORDER BY seq", (), |row| row.get(0))
        .expect("rows");
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    let chains: Vec<[u8; 32]> = conn
        .query_map("SELECT chain FROM journal ORDER BY seq", (), |row| {
            row.get(0)
        })
        .expect("rows");
    assert!(chains.iter().all(|chain| chain != Chain::START.as_bytes()));
    assert_eq!(
        chains
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        5
    );
}

#[test]
fn a_repeated_request_records_nothing_and_answers_as_the_first_time() {
    let mut till = Till::new("repeat");
    let id = document_id(NOW_MS, &SeededRandom::new(7));
    let first = till.sell(Some(id), NOW_MS);
    till.open();
    let again = till.sell(Some(id), NOW_MS + 60_000);
    assert!(again.repeated && !first.repeated);
    assert_eq!(
        (again.seq, again.number, again.total_minor),
        (first.seq, first.number, first.total_minor)
    );
    assert_eq!(till.store().journal_seq(), 1);
}

#[test]
fn an_id_of_another_kind_of_document_is_refused() {
    let mut till = Till::new("taken");
    let id = document_id(NOW_MS, &SeededRandom::new(7));
    till.sell(Some(id), NOW_MS);
    let Document::Sale(receipt) = sale(till.store(), "1", NOW_MS) else {
        panic!("a sale")
    };
    let entry = Entry {
        id: Some(id),
        document: Document::Refund(receipt),
        now_ms: NOW_MS,
    };
    let refused = till.store().record(entry);
    assert!(matches!(refused, Err(StoreError::IdTaken { topic, .. }) if topic == "sale"));
}

#[test]
fn trial_sales_are_kept_marked_in_a_series_of_their_own() {
    let mut till = Till::new("trial");
    till.sell(None, NOW_MS);
    till.activate(5).expect("activated");
    till.open();
    let live = till.sell(None, NOW_MS);
    assert_eq!(
        (live.series.as_deref(), live.number, live.trial),
        (Some("L1"), Some(1), false)
    );
    let receipts = till.store().receipts(10, 0).expect("a list");
    let shown: Vec<_> = receipts
        .iter()
        .map(|row| (row.series.as_str(), row.number, row.trial))
        .collect();
    assert_eq!(shown, [("L1", 1, false), ("T1", 1, true)]);
}

#[test]
fn activating_again_for_the_same_shop_changes_nothing_and_another_shop_is_refused() {
    let mut till = Till::new("activate");
    till.activate(5).expect("activated");
    till.activate(5).expect("the same again");
    assert_eq!(till.store().journal_seq(), 1);
    assert!(matches!(
        till.activate(6),
        Err(StoreError::AlreadyActivated(_))
    ));
}

#[test]
fn logical_time_never_goes_back_when_the_clock_does() {
    let mut till = Till::new("clock");
    till.sell(None, NOW_MS);
    till.open();
    till.sell(None, NOW_MS - 86_400_000);
    let times: Vec<i64> = reader(&till)
        .query_map("SELECT hlc FROM journal ORDER BY seq", (), |row| row.get(0))
        .expect("rows");
    assert!(times[1] > times[0]);
    assert_eq!(Hlc::from_raw(times[1]).millis(), NOW_MS);
}

fn invoice(number: &str, refund: bool, quantity_milli: i64) -> ImportInvoice {
    let line = |quantity_milli| ImportLine {
        file_line: 2,
        sku: "85123A".to_owned(),
        description: "LAMP".to_owned(),
        quantity_milli,
        unit_price_mills: 2550,
    };
    ImportInvoice {
        number: number.to_owned(),
        at_ms: NOW_MS,
        refund,
        customer: None,
        lines: vec![line(quantity_milli)],
        adjustments: vec![line(-1000)],
    }
}

#[test]
fn an_import_that_is_run_again_records_nothing_twice() {
    let mut till = Till::new("import");
    let batch = ImportBatch {
        invoices: vec![invoice("1", false, 6000), invoice("C2", true, -1000)],
        import_id: None,
    };
    let first = till.store().import(&batch, NOW_MS).expect("imported");
    assert_eq!(
        (
            first.sales,
            first.refunds,
            first.adjustments,
            first.products
        ),
        (1, 1, 2, 1)
    );
    assert_eq!(first.total_minor, 1530 - 255);
    till.open();
    let again = till.store().import(&batch, NOW_MS).expect("imported");
    assert_eq!((again.repeated, again.sales, again.adjustments), (2, 0, 0));
    assert!(first.import_id.is_some());
    assert_eq!(again.import_id, None, "nothing was new");
    let sql = "SELECT count(*) FROM journal WHERE import_id IS ?1";
    let id = first.import_id.map(ImportId::to_bytes);
    let of_import: i64 = reader(&till).query_value(sql, [id]).expect("counted");
    assert_eq!(of_import, till.store().journal_seq(), "each entry says so");
}

#[test]
fn a_batch_is_recorded_whole_or_not_at_all() {
    let mut till = Till::new("batch");
    let batch = ImportBatch {
        invoices: vec![invoice("1", false, 6000), invoice("2", false, -1)],
        import_id: None,
    };
    assert!(matches!(
        till.store().import(&batch, NOW_MS),
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(till.store().journal_seq(), 0);
    let totals = till.store().totals().expect("totals");
    assert_eq!(totals.receipts, 0);
}

#[test]
fn an_invoice_that_is_there_with_other_lines_is_left_alone_and_named() {
    let mut till = Till::new("different");
    let part = ImportBatch {
        invoices: vec![invoice("1", false, 6000)],
        import_id: None,
    };
    till.store().import(&part, NOW_MS).expect("imported");
    let mut whole = part;
    let line = whole.invoices[0].lines[0].clone();
    whole.invoices[0].lines.push(line);
    let again = till.store().import(&whole, NOW_MS).expect("read");
    assert_eq!((again.repeated, again.sales), (1, 0));
    assert_eq!(again.different, ["1"]);
}

#[test]
fn an_invoice_from_the_far_future_does_not_reach_the_clock() {
    let mut till = Till::new("future");
    let mut batch = ImportBatch {
        invoices: vec![invoice("1", false, 6000)],
        import_id: None,
    };
    batch.invoices[0].at_ms = NOW_MS + 2 * 86_400_000;
    let refused = till.store().import(&batch, NOW_MS);
    assert!(matches!(refused, Err(StoreError::FutureInvoice(number)) if number == "1"));
    assert_eq!(till.store().journal_seq(), 0);
}

#[test]
fn lines_of_the_sync_log_are_kept_for_their_time_and_no_sale_goes_with_them() {
    const DAY_MS: i64 = 86_400_000;
    let mut till = Till::new("log");
    till.sell(None, NOW_MS);
    for day in 0..100 {
        let row = LogRow {
            at_ms: NOW_MS + day * DAY_MS,
            level: "info".to_owned(),
            event: "sync".to_owned(),
            detail: serde_json::json!({"day": day}),
        };
        till.store().log(&row, 30 * DAY_MS).expect("kept");
    }
    let kept = till.store().logs(1_000).expect("read");
    assert_eq!(kept.len(), 31);
    assert_eq!(kept[0].at_ms, NOW_MS + 69 * DAY_MS);
    assert_eq!(till.store().totals().expect("read").receipts, 1);
}
