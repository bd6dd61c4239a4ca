//! The driver's own account: what tills acknowledged, kept apart from all that is judged by it.

use counterfoil_domain::amount::line_amount;
use counterfoil_domain::{DocumentId, Quantity, Topic, UnitPrice};
use counterfoil_protocol::wire::import::ImportInvoice;
use counterfoil_shop_node::import::Totals;
use std::collections::BTreeMap;

/// Shops that the one large country of the file is cut into.
const KINGDOM: &str = "United Kingdom";
const KINGDOM_SHOPS: u64 = 8;
/// What the file itself calls a missing country.
const NO_COUNTRY: &str = "Unspecified";

/// The shop that an invoice of the file belongs to: its country, except that the United Kingdom is
/// eight shops, by the digits of the invoice number modulo 8.
pub fn shop_of(country: &str, invoice: &str) -> String {
    match country.trim() {
        "" => NO_COUNTRY.to_owned(),
        KINGDOM => {
            let digits = invoice
                .chars()
                .filter_map(|character| character.to_digit(10));
            let rest = digits.fold(0, |rest, digit| {
                (rest * 10 + u64::from(digit)) % KINGDOM_SHOPS
            });
            format!("{KINGDOM} {rest}")
        }
        country => country.to_owned(),
    }
}

/// A document that a till acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    pub topic: Topic,
    /// Of a receipt; 0 for other documents. Minor units.
    pub total_minor: i64,
    /// Lines of a receipt.
    pub lines: u64,
}

/// What one shop's tills acknowledged, and what they were given.
#[derive(Clone, Debug, Default)]
pub struct ShopAccount {
    pub name: String,
    /// What was put in: the file, or the made-up trade.
    pub input: Totals,
    /// Documents by the id that the driver gave them.
    pub documents: BTreeMap<DocumentId, Acknowledged>,
    /// Imported receipts by invoice number.
    pub references: BTreeMap<String, Acknowledged>,
    /// Imported stock movements, which have no id that the driver knows.
    pub adjustments: u64,
}

/// The whole account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub shops: Vec<ShopAccount>,
    /// Answers of tills that contradict the driver's own arithmetic or an earlier answer.
    pub contradictions: Vec<String>,
}

impl Account {
    pub fn new(names: &[String]) -> Self {
        let shop = |name: &String| ShopAccount {
            name: name.clone(),
            ..ShopAccount::default()
        };
        Self {
            shops: names.iter().map(shop).collect(),
            contradictions: Vec::new(),
        }
    }

    /// A till acknowledged a document of the made-up trade; it counts as input too.
    pub fn acknowledge(&mut self, shop: usize, id: DocumentId, document: Acknowledged) {
        let shop = &mut self.shops[shop];
        if shop.documents.insert(id, document).is_some() {
            let name = &shop.name;
            self.contradictions
                .push(format!("{name}: the driver used the id {id} twice"));
            return;
        }
        let input = &mut shop.input;
        match document.topic {
            Topic::Sale => input.sales += 1,
            Topic::Refund => input.refunds += 1,
            Topic::StockMovement => input.adjustments += 1,
            _ => {}
        }
        input.lines += document.lines;
        input.total_minor += document.total_minor;
    }

    /// A till acknowledged an invoice of the file; the input was counted when the file was read.
    pub fn acknowledge_invoice(&mut self, shop: usize, invoice: &ImportInvoice) {
        let shop = &mut self.shops[shop];
        shop.adjustments += invoice.adjustments.len() as u64;
        if invoice.lines.is_empty() {
            return;
        }
        let topic = if invoice.refund {
            Topic::Refund
        } else {
            Topic::Sale
        };
        let total_minor = invoice_total(invoice);
        let lines = invoice.lines.len() as u64;
        shop.references.insert(
            invoice.number.clone(),
            Acknowledged {
                topic,
                total_minor,
                lines,
            },
        );
    }

    /// Receipts that tills acknowledged.
    pub fn receipts(&self) -> u64 {
        let is_receipt = |document: &&Acknowledged| document.lines > 0;
        let count = |shop: &ShopAccount| {
            shop.references.len() + shop.documents.values().filter(is_receipt).count()
        };
        self.shops.iter().map(|shop| count(shop) as u64).sum()
    }

    /// Everything that tills acknowledged.
    pub fn documents(&self) -> u64 {
        let count = |shop: &ShopAccount| {
            (shop.references.len() + shop.documents.len()) as u64 + shop.adjustments
        };
        self.shops.iter().map(count).sum()
    }
}

/// Sum of the lines in minor units.
fn invoice_total(invoice: &ImportInvoice) -> i64 {
    let amount = |quantity, price| {
        line_amount(Quantity::from_milli(quantity), UnitPrice::from_mills(price))
            .expect("the reader rejected lines whose amount does not fit")
    };
    invoice
        .lines
        .iter()
        .map(|line| amount(line.quantity_milli, line.unit_price_mills))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_a_shop_and_the_united_kingdom_is_eight() {
        assert_eq!(shop_of("France", "536370"), "France");
        assert_eq!(shop_of(" EIRE ", "C1"), "EIRE");
        assert_eq!(shop_of("United Kingdom", "536365"), "United Kingdom 5");
        assert_eq!(shop_of("United Kingdom", "C536379"), "United Kingdom 3");
        assert_eq!(shop_of("United Kingdom", "A563185"), "United Kingdom 1");
        assert_eq!(shop_of("", "1"), "Unspecified");
    }

    #[test]
    fn an_id_that_is_used_twice_is_a_contradiction() {
        let mut account = Account::new(&["One".to_owned()]);
        let id = DocumentId::from_uuid(uuid::Uuid::from_u128(7));
        let sale = Acknowledged {
            topic: Topic::Sale,
            total_minor: 250,
            lines: 2,
        };
        account.acknowledge(0, id, sale);
        assert_eq!(account.shops[0].input.total_minor, 250);
        assert_eq!((account.receipts(), account.contradictions.len()), (1, 0));
        account.acknowledge(0, id, sale);
        assert_eq!((account.receipts(), account.contradictions.len()), (1, 1));
    }
}
