use super::*;

fn line(quantity: &str, price: &str) -> Line {
    let quantity = Quantity::parse(quantity).expect("a quantity");
    let price = UnitPrice::parse(price).expect("a price");
    Line::new(" 85123a", "LAMP", quantity, price).expect("a line")
}

fn receipt(lines: Vec<Line>) -> Receipt {
    let total_minor = lines.iter().map(|line| line.amount_minor).sum();
    Receipt {
        trial: false,
        series: "L1".to_owned(),
        number: 1,
        at_ms: 0,
        currency: Currency::GBP,
        total_minor,
        customer: None,
        employee: None,
        refund_of: None,
        external_ref: None,
        parked: None,
        lines,
        payments: vec![Payment {
            tender: Tender::Cash,
            amount_minor: total_minor,
        }],
    }
}

#[test]
fn a_receipt_whose_numbers_agree_is_accepted() {
    let sale = receipt(vec![line("6", "2.55"), line("1", "0")]);
    assert_eq!(sale.lines[0].sku, "85123A");
    assert_eq!(Document::Sale(sale).check(), Ok(()));
    assert_eq!(
        Document::Refund(receipt(vec![line("-1", "2.55")])).check(),
        Ok(())
    );
}

#[test]
fn a_receipt_whose_numbers_disagree_is_refused() {
    let mut total = receipt(vec![line("6", "2.55")]);
    total.total_minor += 1;
    assert!(matches!(
        Document::Sale(total).check(),
        Err(InvalidDocument::Total { .. })
    ));
    let mut payment = receipt(vec![line("6", "2.55")]);
    payment.payments[0].amount_minor -= 1;
    assert!(matches!(
        Document::Sale(payment).check(),
        Err(InvalidDocument::Payments { .. })
    ));
    let mut amount = receipt(vec![line("6", "2.55")]);
    amount.lines[0].amount_minor = 1;
    assert!(matches!(
        Document::Sale(amount).check(),
        Err(InvalidDocument::LineAmount { .. })
    ));
}

#[test]
fn a_receipt_without_lines_or_with_the_wrong_sign_is_refused() {
    let none = Document::Sale(receipt(Vec::new())).check();
    assert_eq!(none, Err(InvalidDocument::LineCount { found: 0 }));
    let sign = Document::Sale(receipt(vec![line("-1", "2.55")])).check();
    assert!(matches!(sign, Err(InvalidDocument::QuantitySign { .. })));
    let price = Document::Sale(receipt(vec![line("1", "-2.55")])).check();
    assert!(matches!(price, Err(InvalidDocument::NegativePrice { .. })));
}

#[test]
fn every_topic_has_its_own_code_and_a_document_round_trips() {
    for topic in Topic::ALL {
        assert_eq!(Topic::from_code(topic.code()), Some(topic));
    }
    let sale = Document::Sale(receipt(vec![line("6", "2.55")]));
    let back: Document = serde_json::from_slice(&sale.canonical()).expect("it is its own form");
    assert_eq!(back, sale);
}

#[test]
fn the_canonical_form_is_pinned() {
    let sale = Document::Sale(receipt(vec![line("6", "2.55")]));
    let expected = r#"{"topic":"sale","content":{"trial":false,"series":"L1","number":1,"at_ms":0,"currency":"GBP","total_minor":1530,"customer":null,"employee":null,"refund_of":null,"external_ref":null,"lines":[{"sku":"85123A","description":"LAMP","quantity":6000,"unit_price":2550,"amount_minor":1530}],"payments":[{"tender":"cash","amount_minor":1530}]}}"#;
    assert_eq!(
        String::from_utf8(sale.canonical()).expect("JSON is text"),
        expected
    );
}

#[test]
fn a_slip_of_the_keyboard_is_refused_before_it_breaks_a_sum() {
    let huge = Document::Sale(receipt(vec![line("10", "9000000000000000")])).check();
    assert_eq!(huge, Err(InvalidDocument::TooLarge("the amount of a line")));
    let many = Document::Sale(receipt(vec![
        line("1", "90000000000"),
        line("1", "90000000000"),
    ]));
    assert_eq!(many.check(), Err(InvalidDocument::TooLarge("the total")));
}
