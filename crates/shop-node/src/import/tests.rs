use super::command::{BATCH_INVOICES_MAX, BATCH_LINES_MAX, ImportError, batches, run};
use super::{Filter, ImportFile, ReadImportError, Totals, read};
use counterfoil_domain::ImportId;
use counterfoil_domain::document::AMOUNT_MINOR_MAX;
use counterfoil_domain::document::RECEIPT_LINES_MAX;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::import::{ImportBatch, ImportInvoice, ImportResult};
use counterfoil_testkit::SeededRandom;
use flate2::{Compression, write::GzEncoder};
use indicatif::ProgressBar;
use std::cell::RefCell;
use std::io::Write as _;

fn import() -> ImportId {
    counterfoil_domain::env::import_id(7, &SeededRandom::new(7))
}

const HEADER: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

fn file(rows: &[&str]) -> String {
    let mut text = HEADER.to_owned();
    for row in rows {
        text.push('\n');
        text.push_str(row);
    }
    text.push('\n');
    text
}

fn read_rows(rows: &[&str]) -> ImportFile {
    read(file(rows).as_bytes(), None).expect("the file can be read")
}

fn row(invoice: &str, quantity: &str, price: &str) -> String {
    format!("{invoice},85123A,HOLDER,{quantity},2010-12-01 08:26:00,{price},17850.0,France")
}

#[test]
fn an_invoice_becomes_a_sale_with_its_lines() {
    let read = read_rows(&[
        "536365, 85123a ,WHITE HOLDER ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "536365,POST,,1,2010-12-01 08:27:00,0.005,,United Kingdom",
    ]);
    let [sale] = read.invoices.as_slice() else {
        panic!("one invoice")
    };
    assert_eq!(sale.number, "536365");
    assert_eq!(sale.at_ms, 1_291_191_960_000);
    assert_eq!(sale.customer.as_deref(), Some("17850"));
    assert!(!sale.refund && sale.adjustments.is_empty());
    let [holder, postage] = sale.lines.as_slice() else {
        panic!("two lines")
    };
    assert_eq!((holder.file_line, holder.sku.as_str()), (2, "85123A"));
    assert_eq!(holder.description, "WHITE HOLDER");
    assert_eq!(
        (holder.quantity_milli, holder.unit_price_mills),
        (6_000, 2_550)
    );
    assert_eq!((postage.file_line, postage.description.as_str()), (3, ""));
    let totals = Totals {
        sales: 1,
        lines: 2,
        total_minor: 1_531,
        ..Totals::default()
    };
    assert_eq!(read.totals, totals);
}

#[test]
fn credit_notes_are_refunds_and_negative_quantities_without_c_are_adjustments() {
    let read = read_rows(&[
        &row("C1", "-1", "27.50"),
        &row("2", "-5", "0"),
        &row("3", "1", "1.00"),
        &row("3", "-2", "1.00"),
        &row("A4", "1", "11062.06"),
        &row(" c5", "-1", "0.005"),
    ]);
    assert_eq!(
        read.totals,
        Totals {
            sales: 2,
            refunds: 2,
            lines: 4,
            adjustments: 2,
            rejected: 0,
            total_minor: -2_750 + 100 + 1_106_206 - 1,
        }
    );
    let kinds: Vec<_> = read
        .invoices
        .iter()
        .map(|one| {
            (
                one.number.as_str(),
                one.refund,
                one.lines.len(),
                one.adjustments.len(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("C1", true, 1, 0),
            ("2", false, 0, 1),
            ("3", false, 1, 1),
            ("A4", false, 1, 0),
            ("C5", true, 1, 0),
        ]
    );
    assert_eq!(read.invoices[0].lines[0].quantity_milli, -1_000);
    assert_eq!(read.invoices[1].adjustments[0].quantity_milli, -5_000);
}

#[test]
fn an_invoice_that_comes_back_later_in_the_file_is_still_one() {
    let read = read_rows(&[
        "1,A,,1,2011-01-02 00:00:01,1,,France",
        "2,B,,1,2011-01-02 00:00:02,1,,France",
        "1,C,,1,2011-01-02 00:00:03,1,99,France",
    ]);
    let numbers: Vec<_> = read
        .invoices
        .iter()
        .map(|one| one.number.as_str())
        .collect();
    assert_eq!(numbers, ["1", "2"]);
    assert_eq!(read.invoices[0].lines.len(), 2);
    assert_eq!(read.invoices[0].at_ms + 1_000, read.invoices[1].at_ms);
    assert_eq!(read.invoices[0].customer.as_deref(), Some("99"));
}

#[test]
fn every_bad_line_is_named_with_its_line_number() {
    let check = |bad: &str, invoice: &str, reason: &str| {
        let read = read_rows(&[&row("1", "1", "1"), bad, &row("1", "1", "1")]);
        let [rejected] = read.rejected.as_slice() else {
            panic!("one rejected: {bad}")
        };
        assert_eq!(
            (rejected.line, rejected.invoice.as_str()),
            (3, invoice),
            "{bad}"
        );
        assert!(
            rejected.reason.contains(reason),
            "{bad}: {}",
            rejected.reason
        );
        assert_eq!((read.totals.lines, read.totals.rejected), (2, 1), "{bad}");
    };
    check(
        &row("A2", "1", "-11062.06"),
        "A2",
        "price -11062.06 is negative",
    );
    check(&row("2", "-1", "-0.01"), "2", "price -0.01 is negative");
    check(&row("2", "0", "1"), "2", "quantity is zero");
    check(&row("C2", "1", "1"), "C2", "credit note");
    check(&row("2", "six", "1"), "2", "quantity `six`");
    check(&row("2", "", "1"), "2", "quantity ``");
    check(&row("2", "1", "1.2345"), "2", "price `1.2345`");
    check(&row("2", "1", "1e3"), "2", "price `1e3`");
    check(&row("", "1", "1"), "", "invoice number is empty");
    check(
        "2,,X,1,2011-01-02 00:00:01,1,,France",
        "2",
        "product code is empty",
    );
    check(
        "2,A,X,1,2011-02-30 00:00:01,1,,France",
        "2",
        "date `2011-02-30",
    );
    check("2,A,X,1,2/1/2011 8:26,1,,France", "2", "date `2/1/2011");
    check("2,A,X,1,1960-01-02 00:00:01,1,,France", "2", "from 1970 on");
    check(
        "2,A,X,1,2011-01-02 00:00:01",
        "2",
        "5 columns where the header has 8",
    );
    check(
        "2,A,X,1,2011-01-02 00:00:01,1,,France,more",
        "2",
        "9 columns",
    );
    check("2,A,\"X,1,2011-01-02 00:00:01,1,,France", "2", "3 columns");
    check(&row("2", "9000000000", "9000000000"), "2", "too large");
    check(
        &row("2", "9000000000000000", "9000000000000000"),
        "2",
        "too large",
    );
}

#[test]
fn text_that_is_not_utf8_is_rejected_and_the_rest_goes_on() {
    let mut bytes = file(&[&row("1", "1", "1")]).into_bytes();
    bytes.extend(b"2,A,CAF\xc9,1,2011-01-02 00:00:01,1,,France\n");
    bytes.extend(row("3", "1", "1").as_bytes());
    let read = read(bytes.as_slice(), None).expect("the file can be read");
    assert_eq!((read.totals.sales, read.totals.rejected), (2, 1));
    assert_eq!(
        (read.rejected[0].line, read.rejected[0].invoice.as_str()),
        (3, "2")
    );
    assert_eq!(read.rejected[0].reason, "the text is not UTF-8");
}

#[test]
fn line_numbers_hold_with_windows_line_ends_empty_lines_and_a_byte_order_mark() {
    let bad = row("9", "0", "1");
    let text = format!(
        "\u{feff}{HEADER}\r\n{}\r\n\r\n  \r\n{bad}\r\n",
        row("1", "1", "1")
    );
    let read = read(text.as_bytes(), None).expect("the file can be read");
    assert_eq!((read.totals.sales, read.totals.rejected), (1, 1));
    assert_eq!(read.rejected[0].line, 5);
    assert_eq!(read.invoices[0].lines[0].file_line, 2);
}

#[test]
fn quoted_fields_keep_commas_and_quotation_marks() {
    let read = read_rows(&["1,A,\"12\"\" RULER, RED\",1,2011-01-02 00:00:01,1,,\"Korea, South\""]);
    assert_eq!(read.invoices[0].lines[0].description, "12\" RULER, RED");
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let text = "Country,Extra,UnitPrice,CustomerID,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\n\
        France,?,2.55,,2010-12-01 08:26:00,2,HOLDER,a1,7\n";
    let read = read(text.as_bytes(), None).expect("the file can be read");
    assert_eq!(read.totals.total_minor, 510);
    assert_eq!(read.invoices[0].lines[0].sku, "A1");
}

#[test]
fn a_header_that_lacks_columns_is_named_in_the_error() {
    let error = read("InvoiceNo,Quantity\n1,2\n".as_bytes(), None).expect_err("no such header");
    let text = error.to_string();
    assert!(
        text.starts_with("the header lacks StockCode, Description, InvoiceDate"),
        "{text}"
    );
    let empty = read("".as_bytes(), None).expect_err("no header");
    assert!(matches!(empty, ReadImportError::MissingColumns { missing } if missing.len() == 8));
}

#[test]
fn a_filter_keeps_the_matching_rows_and_counts_the_others() {
    let rows = [
        "1,A,,1,2011-01-02 00:00:01,1,,France",
        "2,B,,1,2011-01-02 00:00:02,1,, France ",
        "3,C,,1,2011-01-02 00:00:03,1,,Spain",
        "4,short",
    ];
    let filter: Filter = "Country=France".parse().expect("a filter");
    let read = read(file(&rows).as_bytes(), Some(&filter)).expect("the file can be read");
    assert_eq!(
        (read.totals.sales, read.totals.rejected, read.filtered_out),
        (2, 1, 1)
    );
    assert!("France".parse::<Filter>().is_err());
    let unknown = "Land=France".parse().expect("a filter");
    let error = super::read(file(&rows).as_bytes(), Some(&unknown)).expect_err("no such column");
    assert!(error.to_string().contains("`Land`"), "{error}");
}

#[test]
fn gzip_is_recognised_and_damage_to_it_is_an_error() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer
        .write_all(file(&[&row("1", "1", "1")]).as_bytes())
        .expect("packed");
    let mut packed = packer.finish().expect("packed");
    assert_eq!(
        read(packed.as_slice(), None)
            .expect("unpacked")
            .totals
            .sales,
        1
    );
    packed.truncate(packed.len() - 9);
    assert!(matches!(
        read(packed.as_slice(), None),
        Err(ReadImportError::Read { .. })
    ));
}

#[test]
fn a_line_without_end_stops_the_import() {
    let mut text = file(&[&row("1", "1", "1")]);
    text.push_str(&"x".repeat(3 * 1024 * 1024));
    let error = read(text.as_bytes(), None).expect_err("too long");
    assert!(matches!(error, ReadImportError::LineTooLong { line: 3 }));
}

#[test]
fn an_invoice_holds_as_many_lines_as_a_receipt() {
    let one = row("1", "1", "1");
    let rows: Vec<&str> = std::iter::repeat_n(one.as_str(), RECEIPT_LINES_MAX + 2).collect();
    let read = read_rows(&rows);
    assert_eq!(read.totals.lines, RECEIPT_LINES_MAX as u64);
    assert_eq!(read.totals.rejected, 2);
    assert!(read.rejected[0].reason.contains("10000 lines already"));
}

#[test]
fn the_largest_line_amount_adds_up_without_overflow() {
    let largest = row("1", "1", "100000000000");
    let read = read_rows(&[&largest, &row("2", "1", "100000000000.01")]);
    assert_eq!(read.totals.total_minor, AMOUNT_MINOR_MAX);
    assert_eq!(read.totals.rejected, 1);
}

fn invoice(number: usize, lines: usize) -> ImportInvoice {
    let text = row(&number.to_string(), "1", "1");
    let rows: Vec<&str> = std::iter::repeat_n(text.as_str(), lines).collect();
    read_rows(&rows).invoices.remove(0)
}

#[test]
fn batches_are_limited_in_invoices_and_in_lines() {
    let sizes = |invoices: Vec<ImportInvoice>| -> Vec<usize> {
        batches(invoices)
            .map(|batch| batch.invoices.len())
            .collect()
    };
    let small = (0..BATCH_INVOICES_MAX * 2 + 1)
        .map(|number| invoice(number, 1))
        .collect();
    assert_eq!(sizes(small), [BATCH_INVOICES_MAX, BATCH_INVOICES_MAX, 1]);
    let large = (0..3)
        .map(|number| invoice(number, BATCH_LINES_MAX - 1))
        .collect();
    assert_eq!(sizes(large), [2, 1]);
    assert_eq!(sizes(Vec::new()), [0_usize; 0]);
}

/// Runs a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn answer(batch: &ImportBatch) -> ImportResult {
    let lines = batch
        .invoices
        .iter()
        .map(|one| one.lines.len() as u64)
        .sum();
    ImportResult {
        sales: batch.invoices.len() as u64,
        lines,
        import_id: batch.import_id,
        ..ImportResult::default()
    }
}

#[test]
fn an_import_posts_every_invoice_once_and_reports_both_sides() {
    let rows: Vec<String> = (0..100)
        .map(|number| row(&number.to_string(), "2", "1.5"))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).chain(["100,bad"]).collect();
    let text = file(&rows);
    let posted = RefCell::new(Vec::new());
    let post = async |batch: ImportBatch| {
        assert_eq!(batch.import_id, Some(import()));
        let result = answer(&batch);
        posted
            .borrow_mut()
            .extend(batch.invoices.into_iter().map(|one| one.number));
        Ok(result)
    };
    let bar = ProgressBar::hidden();
    let report =
        ready(run(text.as_bytes(), None, (import(), false), post, &bar)).expect("imported");
    assert_eq!(posted.borrow().len(), 100);
    assert_eq!(
        (report.file_lines, report.sales, report.sales_recorded),
        (101, 100, 100)
    );
    assert_eq!(
        (report.rejected.len(), report.total_minor_input),
        (1, 30_000)
    );
    assert_eq!(
        report.import_id,
        Some(import()),
        "every batch is of one import"
    );
}

#[test]
fn a_dry_run_posts_nothing() {
    let text = file(&[&row("1", "1", "1")]);
    let post = async |_| panic!("a dry run posts nothing");
    let bar = ProgressBar::hidden();
    let report = ready(run(text.as_bytes(), None, (import(), true), post, &bar)).expect("read");
    assert_eq!(
        (report.dry_run, report.sales, report.sales_recorded),
        (true, 1, 0)
    );
    assert_eq!(report.import_id, None);
}

#[test]
fn a_refused_batch_says_how_far_the_import_came() {
    let rows: Vec<String> = (0..70)
        .map(|number| row(&number.to_string(), "1", "1"))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let text = file(&rows);
    let calls = RefCell::new(0);
    let post = async |batch: ImportBatch| {
        *calls.borrow_mut() += 1;
        if *calls.borrow() == 1 {
            Ok(answer(&batch))
        } else {
            Err(Problem::new(Code::StorageFull, "the disk is full"))
        }
    };
    let bar = ProgressBar::hidden();
    let error =
        ready(run(text.as_bytes(), None, (import(), false), post, &bar)).expect_err("refused");
    let ImportError::Post {
        done,
        all,
        ref invoice,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((done, all, invoice.as_str()), (64, 70, "64"));
}
