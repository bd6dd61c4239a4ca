//! Made-up trade: irregular like a real day, and the same for the same seed.

use crate::account::Acknowledged;
use counterfoil_domain::amount::line_amount;
use counterfoil_domain::{DocumentId, Quantity, Topic, UnitPrice};
use counterfoil_protocol::wire::node::{ExpenseRequest, LineRequest, ReceiptRequest, StockRequest};
use serde_json::Value;
use std::collections::VecDeque;

/// Sales of which a customer may bring something back.
const REMEMBERED_SALES_MAX: usize = 16;
/// Lines of the longest receipt.
const LINES_MAX: u64 = 40;
/// Products that a lane makes for itself and sells at the catalog's price.
const OWN_PRODUCTS: u64 = 3;
/// 1 January 2026; ids of the made-up trade count from here.
const ID_EPOCH_MS: u64 = 1_767_225_600_000;

/// What a chain sells that no catalog lists: code, text, price.
const GOODS: [(&str, &str, &str); 16] = [
    ("71053", "White metal lantern", "3.39"),
    ("85123a", "Hanging heart T-light holder", "2.55"),
    ("CAFE-1", "Café crème, 250 g", "6.95"),
    ("TEA-EG", "Earl Grey \u{201e}Sonntag\u{201c}", "4.20"),
    ("CHA-7", "\u{8336} (green tea)", "12.00"),
    ("RULER12", "12\" ruler", "0.85"),
    ("PEPPER", "Jalape\u{f1}o, pickled; hot", "2.15"),
    ("BRD-RYE", "R\u{e5}gbr\u{f6}d", "3.10"),
    ("SCREW-M4", "Screw M4, each", "0.045"),
    ("STRING", "String, per metre", "0.125"),
    ("CHEESE", "Comt\u{e9} 18 mois, per kg", "27.90"),
    (
        "OLIVES",
        "\u{395}\u{3bb}\u{3b9}\u{3ad}\u{3c2}, per kg",
        "11.49",
    ),
    ("BAG", "Paper bag", "0.05"),
    ("SAMPLE", "Sample, not for sale", "0"),
    ("POST", "Postage & packing", "15.00"),
    ("  d-set ", "Dinner set for 12 'Mill Lane'", "189.99"),
];
const CATEGORIES: [&str; 4] = [
    "cleaning",
    "milk & biscuits",
    "taxi",
    "Blumen f\u{fc}r die Theke",
];

/// SplitMix64: small, and the same numbers for ever.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice that depend on every part of the seed.
    pub fn new(seed: &[u64]) -> Self {
        let mut dice = Self { state: 0 };
        for part in seed {
            dice.state = dice.next() ^ part;
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn roll(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn pick<'p, T>(&mut self, from: &'p [T]) -> &'p T {
        let last = from.len().saturating_sub(1) as u64;
        &from[usize::try_from(self.roll(0, last)).unwrap_or_default()]
    }
}

/// A product that a lane puts into the catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnProduct {
    pub code: String,
    pub name: String,
    pub price_mills: i64,
}

/// A document to record: the request, and what must come of it.
#[derive(Clone, Debug)]
pub struct Order {
    pub path: &'static str,
    pub id: DocumentId,
    pub body: Value,
    pub expected: Acknowledged,
}

/// The customers of one lane.
#[derive(Clone, Debug)]
pub struct Trade {
    dice: Dice,
    own: Vec<OwnProduct>,
    sales: VecDeque<(DocumentId, LineRequest)>,
    count: u64,
}

impl Trade {
    pub fn new(seed: u64, shop: usize, lane: usize) -> Self {
        let mut dice = Dice::new(&[seed, shop as u64, lane as u64]);
        let own = (1..=OWN_PRODUCTS)
            .map(|number| OwnProduct {
                code: format!("OWN-{}-{lane}-{number}", shop + 1),
                name: format!("Speciality no. {number} of lane {lane}"),
                price_mills: i64::try_from(dice.roll(1, 4_000)).unwrap_or(1) * 5,
            })
            .collect();
        Self {
            dice,
            own,
            sales: VecDeque::new(),
            count: 0,
        }
    }

    /// Products that must be in the catalog before the first sale.
    pub fn own_products(&self) -> &[OwnProduct] {
        &self.own
    }

    /// The next customer, delivery or expense.
    pub fn next_order(&mut self) -> Order {
        match self.dice.roll(1, 100) {
            1..=80 => self.sale(),
            81..=88 => self.refund(),
            89..=96 => self.stock(),
            _ => self.expense(),
        }
    }

    /// The next customer, who buys something.
    pub fn sale(&mut self) -> Order {
        let lines = match self.dice.roll(1, 100) {
            1..=35 => 1,
            36..=80 => self.dice.roll(2, 6),
            81..=96 => self.dice.roll(7, 20),
            _ => LINES_MAX,
        };
        let lines: Vec<_> = (0..lines).map(|_| self.line()).collect();
        let id = self.id();
        self.sales.push_back((id, self.dice.pick(&lines).0.clone()));
        if self.sales.len() > REMEMBERED_SALES_MAX {
            self.sales.pop_front();
        }
        self.receipt(Topic::Sale, id, lines, None)
    }

    /// One line of an earlier sale comes back; without a sale to refer to, anything.
    fn refund(&mut self) -> Order {
        let id = self.id();
        let with_receipt = self.dice.roll(1, 3) > 1;
        match self.sales.pop_front() {
            Some((sale, line)) if with_receipt => {
                let amount = self.amount(&line);
                self.receipt(Topic::Refund, id, vec![(line, amount)], Some(sale))
            }
            _ => {
                let line = self.line();
                self.receipt(Topic::Refund, id, vec![line], None)
            }
        }
    }

    fn line(&mut self) -> (LineRequest, i64) {
        let quantity = match self.dice.roll(1, 10) {
            1 => format!("0.{:03}", self.dice.roll(1, 999)),
            2 => self.dice.roll(10, 144).to_string(),
            _ => self.dice.roll(1, 6).to_string(),
        };
        let line = if self.dice.roll(1, 4) == 1 {
            let sku = self.dice.pick(&self.own).code.clone();
            LineRequest {
                sku,
                quantity,
                unit_price: None,
                description: None,
            }
        } else {
            let (sku, description, price) = *self.dice.pick(&GOODS);
            LineRequest {
                sku: sku.to_owned(),
                quantity,
                unit_price: Some(price.to_owned()),
                description: Some(description.to_owned()),
            }
        };
        let amount = self.amount(&line);
        (line, amount)
    }

    /// The driver's own arithmetic; the till's must agree.
    fn amount(&self, line: &LineRequest) -> i64 {
        let price = match &line.unit_price {
            Some(text) => UnitPrice::parse(text).expect("GOODS holds prices"),
            None => {
                let own = self.own.iter().find(|own| own.code == line.sku);
                UnitPrice::from_mills(
                    own.expect("a line without price is of an own product")
                        .price_mills,
                )
            }
        };
        let quantity = Quantity::parse(&line.quantity).expect("made above");
        line_amount(quantity, price).expect("small numbers")
    }

    fn receipt(
        &mut self,
        topic: Topic,
        id: DocumentId,
        lines: Vec<(LineRequest, i64)>,
        refund_of: Option<DocumentId>,
    ) -> Order {
        let sum: i64 = lines.iter().map(|(_, amount)| amount).sum();
        let (path, total_minor) = match topic {
            Topic::Refund => ("/v1/refunds", -sum),
            _ => ("/v1/sales", sum),
        };
        let expected = Acknowledged {
            topic,
            total_minor,
            lines: lines.len() as u64,
        };
        let request = ReceiptRequest {
            id: Some(id),
            lines: lines.into_iter().map(|(line, _)| line).collect(),
            tender: (*self.dice.pick(&["cash", "card"])).to_owned(),
            customer: None,
            employee: None,
            refund_of,
            parked: None,
        };
        Order {
            path,
            id,
            body: json(&request),
            expected,
        }
    }

    fn stock(&mut self) -> Order {
        let id = self.id();
        let sku = self.dice.pick(&GOODS).0.to_owned();
        let number = self.dice.roll(1, 48);
        let (count, quantity, reason) = match self.dice.roll(1, 3) {
            1 => (true, number.to_string(), None),
            2 => (false, number.to_string(), Some("delivery".to_owned())),
            _ => (
                false,
                format!("-{number}"),
                Some("bruchger\u{e4}t / broken".to_owned()),
            ),
        };
        let topic = if count {
            Topic::StockCount
        } else {
            Topic::StockMovement
        };
        let request = StockRequest {
            id: Some(id),
            sku,
            quantity,
            count,
            reason,
        };
        other("/v1/stock", topic, id, json(&request))
    }

    fn expense(&mut self) -> Order {
        let id = self.id();
        let category = (*self.dice.pick(&CATEGORIES)).to_owned();
        let amount = format!("{}.{:02}", self.dice.roll(1, 60), self.dice.roll(0, 99));
        let request = ExpenseRequest {
            id: Some(id),
            category,
            amount,
            note: String::new(),
            employee: None,
        };
        other("/v1/expenses", Topic::Expense, id, json(&request))
    }

    fn id(&mut self) -> DocumentId {
        self.count += 1;
        let mut tail = [0; 10];
        tail[..8].copy_from_slice(&self.dice.next().to_be_bytes());
        tail[8..].copy_from_slice(&self.dice.next().to_be_bytes()[..2]);
        let builder = uuid::Builder::from_unix_timestamp_millis(ID_EPOCH_MS + self.count, &tail);
        DocumentId::from_uuid(builder.into_uuid())
    }
}

fn other(path: &'static str, topic: Topic, id: DocumentId, body: Value) -> Order {
    Order {
        path,
        id,
        body,
        expected: Acknowledged {
            topic,
            total_minor: 0,
            lines: 0,
        },
    }
}

fn json(request: &impl serde::Serialize) -> Value {
    serde_json::to_value(request).expect("requests hold text and numbers only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn day(seed: u64, lane: usize) -> Vec<Order> {
        let mut trade = Trade::new(seed, 2, lane);
        (0..1_000).map(|_| trade.next_order()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_day_and_another_makes_another() {
        let bodies = |orders: Vec<Order>| -> Vec<Value> {
            orders.into_iter().map(|order| order.body).collect()
        };
        assert_eq!(bodies(day(1, 1)), bodies(day(1, 1)));
        assert_ne!(bodies(day(1, 1)), bodies(day(2, 1)));
        assert_ne!(bodies(day(1, 1)), bodies(day(1, 2)));
    }

    #[test]
    fn a_day_is_irregular_and_its_ids_are_unique() {
        let orders = day(1, 1);
        let ids: BTreeSet<_> = orders.iter().map(|order| order.id).collect();
        assert_eq!(ids.len(), orders.len());
        for topic in [
            Topic::Refund,
            Topic::StockMovement,
            Topic::StockCount,
            Topic::Expense,
        ] {
            assert!(
                orders.iter().any(|order| order.expected.topic == topic),
                "{topic:?}"
            );
        }
        let sales = || {
            orders
                .iter()
                .filter(|order| order.expected.topic == Topic::Sale)
        };
        assert!(sales().any(|order| order.expected.lines == 1));
        assert!(sales().any(|order| order.expected.lines == LINES_MAX));
        assert!(sales().any(|order| order.expected.total_minor == 0));
    }
}
