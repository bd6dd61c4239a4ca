//! Sales of a shop with as many products as the Online Retail file has, the same for the same seed.
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use counterfoil_domain::NodeId;
use counterfoil_protocol::wire::node::{LineRequest, ReceiptRequest, StockRequest};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{Paths, ShopStore};
use counterfoil_testkit::SeededRandom;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Lines of each sale.
pub const LINES: usize = 4;
const PRODUCTS: u64 = 3_761;
/// The first of December 2010, when the file begins, in milliseconds.
const BEGIN_MS: i64 = 1_291_192_000_000;

/// A till's databases and who sells there.
pub struct Seller {
    store: ShopStore,
    random: SeededRandom,
    now_ms: i64,
}

impl Seller {
    /// Opens the databases in a folder that exists. Ids come from the seed.
    ///
    /// # Panics
    /// When they cannot be opened.
    #[must_use]
    pub fn open(dir: &Path, seed: u64) -> Self {
        let random = Arc::new(SeededRandom::new(seed.wrapping_mul(2)));
        Self {
            store: ShopStore::open(&Paths::of(dir), BEGIN_MS, random).expect("it opens"),
            random: SeededRandom::new(seed.wrapping_mul(2) + 1),
            now_ms: BEGIN_MS,
        }
    }

    /// Who the till is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.store.node()
    }

    /// Sells; gives back each sale as JSON.
    ///
    /// # Panics
    /// When a sale is refused.
    pub fn sell(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.sell_one()).collect()
    }

    /// Records goods that came in, in one transaction.
    ///
    /// # Panics
    /// When a movement is refused.
    pub fn stock(&mut self, count: usize) -> usize {
        let (store, now_ms) = (&self.store, self.now_ms);
        let movement = |_| {
            let request = StockRequest {
                id: None,
                sku: sku(self.random.below(PRODUCTS)),
                quantity: "48".to_owned(),
                count: false,
                reason: None,
            };
            let document = store.draft_stock(&request, now_ms);
            Entry {
                id: None,
                document: document.expect("a movement"),
                now_ms,
            }
        };
        let entries = (0..count).map(movement).collect();
        self.store.record_all(entries).expect("recorded").len()
    }

    /// Renames products in the catalog, one transaction each.
    ///
    /// # Panics
    /// When an edit is refused.
    pub fn rename(&mut self, count: usize) -> usize {
        for _ in 0..count {
            self.now_ms += 1;
            let columns = [("name".to_owned(), format!("NAME {}", self.now_ms).into())];
            let product = sku(self.random.below(PRODUCTS));
            let edit = self
                .store
                .catalog_set("products", &product, &columns.into(), self.now_ms);
            edit.expect("recorded").expect("another name");
        }
        count
    }

    fn sell_one(&mut self) -> Vec<u8> {
        self.now_ms += 2_000 + i64::try_from(self.random.below(58_000)).expect("small");
        let lines = (0..LINES).map(|_| self.line()).collect();
        let tender = match self.random.below(2) {
            0 => "cash",
            _ => "card",
        };
        let request = ReceiptRequest {
            id: None,
            lines,
            tender: tender.to_owned(),
            customer: None,
            employee: None,
            refund_of: None,
            parked: None,
        };
        let now_ms = self.now_ms;
        let document = self.store.draft_receipt(&request, false, now_ms);
        let document = document.expect("a sale");
        let sale = serde_json::to_value(&document).expect("JSON");
        let entry = Entry {
            id: None,
            document,
            now_ms,
        };
        let recorded = self.store.record(entry).expect("recorded");
        let message = json!({
            "id": recorded.id, "seq": recorded.seq, "series": recorded.series,
            "number": recorded.number, "sale": sale,
        });
        serde_json::to_vec(&message).expect("JSON")
    }

    fn line(&self) -> LineRequest {
        let product = self.random.below(PRODUCTS);
        LineRequest {
            sku: sku(product),
            quantity: (1 + self.random.below(12)).to_string(),
            unit_price: Some(format!("{}.{:02}", product % 13, 5 + product % 90)),
            description: Some(name(product)),
        }
    }
}

fn sku(product: u64) -> String {
    format!("{}", 20_000 + product)
}

/// A name as long as those in a real catalog, always the same for a product.
fn name(product: u64) -> String {
    const WORDS: [&str; 24] = [
        "WHITE", "HANGING", "HEART", "T-LIGHT", "HOLDER", "METAL", "LANTERN", "CREAM", "CUPID",
        "COAT", "HANGER", "KNITTED", "UNION", "FLAG", "HOT", "WATER", "BOTTLE", "WOOLLY", "SET",
        "BABUSHKA", "NESTING", "BOXES", "GLASS", "STAR",
    ];
    let random = SeededRandom::new(product);
    let words: Vec<&str> = (0..3 + product % 3)
        .map(|_| WORDS[usize::try_from(random.below(24)).expect("small")])
        .collect();
    words.join(" ")
}
