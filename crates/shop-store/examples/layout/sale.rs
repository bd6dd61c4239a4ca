//! Made-up trade in the manner of a gift shop: 3,800 products with names of several words, a sale
//! every half minute or so.

use counterfoil_domain::env::{Random as _, uuid_v7};
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_migrate::Value;
use counterfoil_testkit::SeededRandom;
use serde_json::json;

const PRODUCTS: u64 = 3_800;
const OPENING_MS: i64 = 1_291_192_000_000;
const WORDS: [&str; 40] = [
    "WHITE",
    "HANGING",
    "HEART",
    "T-LIGHT",
    "HOLDER",
    "METAL",
    "LANTERN",
    "CREAM",
    "CUPID",
    "COAT",
    "HANGER",
    "KNITTED",
    "UNION",
    "FLAG",
    "HOT",
    "WATER",
    "BOTTLE",
    "RED",
    "WOOLLY",
    "HOTTIE",
    "SET",
    "BABUSHKA",
    "NESTING",
    "BOXES",
    "GLASS",
    "STAR",
    "FROSTED",
    "HAND",
    "WARMER",
    "POLKA",
    "DOT",
    "BIRD",
    "ORNAMENT",
    "PLAYHOUSE",
    "BEDROOM",
    "KITCHEN",
    "FELTCRAFT",
    "PRINCESS",
    "DOLL",
    "BOX",
];

/// A line of a sale.
pub(crate) struct Line {
    pub(crate) number: i64,
    pub(crate) sku: String,
    pub(crate) description: String,
    pub(crate) quantity_milli: i64,
    pub(crate) unit_price_mills: i64,
    pub(crate) amount_minor: i64,
}

/// A sale with one payment, as every layout stores it.
pub(crate) struct Sale {
    pub(crate) seq: i64,
    pub(crate) at_ms: i64,
    /// As the tills mint ids: the time, then random bits.
    pub(crate) id: [u8; 16],
    /// The same without the time.
    pub(crate) random_id: [u8; 16],
    pub(crate) chain: [u8; 32],
    pub(crate) tender: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// The first `count` sales of a till, each of `lines` lines; the same ones at every run.
pub(crate) fn trade(count: i64, lines: u64) -> Vec<Sale> {
    let random = SeededRandom::new(7);
    let mut at_ms = OPENING_MS;
    let mut sales = Vec::new();
    for seq in 1..=count {
        at_ms += 10_000 + i64::try_from(random.below(40_000)).unwrap_or(0);
        let mut random_id = [0; 16];
        random.fill(&mut random_id);
        let mut chain = [0; 32];
        random.fill(&mut chain);
        let tender = if random.below(3) == 0 { "cash" } else { "card" };
        let id = *uuid_v7(at_ms, &random).as_bytes();
        let lines = (1..).zip(0..lines).map(|(number, _)| line(number, &random));
        let lines = lines.collect();
        sales.push(Sale {
            seq,
            at_ms,
            id,
            random_id,
            chain,
            tender,
            lines,
        });
    }
    sales
}

fn line(number: i64, random: &SeededRandom) -> Line {
    // Some products sell far more often than others.
    let product = random.below(PRODUCTS).min(random.below(PRODUCTS));
    let names = SeededRandom::new(product);
    let words = 3 + names.below(4);
    let name: Vec<&str> = (0..words)
        .filter_map(|_| {
            WORDS
                .get(usize::try_from(names.below(40)).unwrap_or(0))
                .copied()
        })
        .collect();
    let price_minor = i64::try_from(names.below(900)).unwrap_or(0) + 29;
    let quantity = i64::try_from(random.below(6)).unwrap_or(0) + 1;
    Line {
        number,
        sku: format!("{}", 20_000 + product),
        description: name.join(" "),
        quantity_milli: quantity * 1_000,
        unit_price_mills: price_minor * 10,
        amount_minor: price_minor * quantity,
    }
}

impl Sale {
    /// Sum of the lines in minor units.
    pub(crate) fn total_minor(&self) -> i64 {
        self.lines.iter().map(|line| line.amount_minor).sum()
    }

    /// The value that the layouts call by this name.
    pub(crate) fn value(&self, name: &str) -> Value {
        match name {
            "seq" | "number" => self.seq.into(),
            // Newest first.
            "minus_seq" => (-self.seq).into(),
            "id" => self.id.to_vec().into(),
            "random_id" => self.random_id.to_vec().into(),
            "hlc" => (self.at_ms << 16).into(),
            "at_ms" => self.at_ms.into(),
            "chain" => self.chain.to_vec().into(),
            "half_chain" => self.chain[..16].to_vec().into(),
            "series" => "L1".into(),
            "currency" => "GBP".into(),
            "trial" => 0.into(),
            "one" => 1.into(),
            "total" => self.total_minor().into(),
            "tender" => self.tender.into(),
            "lines" => self.lines_json().to_string().into(),
            "payments" => json!([[self.tender, self.total_minor()]])
                .to_string()
                .into(),
            "document" => self.document().to_string().into(),
            "packed_0" => line_key(self.seq, 0).into(),
            "packed_payment" => payment_key(self.seq, 1).into(),
            _ => Value::Null,
        }
    }

    fn lines_json(&self) -> serde_json::Value {
        let lines = self.lines.iter().map(|line| {
            json!([
                line.sku,
                line.description,
                line.quantity_milli,
                line.unit_price_mills,
                line.amount_minor
            ])
        });
        lines.collect()
    }

    /// The whole sale under the names of its columns.
    fn document(&self) -> serde_json::Value {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| {
                json!({"sku": line.sku, "description": line.description,
                    "quantity_milli": line.quantity_milli, "unit_price_mills": line.unit_price_mills,
                    "amount_minor": line.amount_minor})
            })
            .collect();
        json!({"trial": false, "series": "L1", "number": self.seq, "at_ms": self.at_ms,
            "currency": "GBP", "total_minor": self.total_minor(), "lines": lines,
            "payments": [{"tender": self.tender, "amount_minor": self.total_minor()}]})
    }
}

impl Line {
    /// The value that the layouts call by this name; those of its sale have the same names as there.
    pub(crate) fn value(&self, sale: &Sale, name: &str) -> Value {
        match name {
            "line" => self.number.into(),
            "packed_line" => line_key(sale.seq, self.number).into(),
            "sku" => self.sku.clone().into(),
            "description" => self.description.clone().into(),
            "quantity" => self.quantity_milli.into(),
            "price" => self.unit_price_mills.into(),
            "amount" => self.amount_minor.into(),
            _ => sale.value(name),
        }
    }
}
