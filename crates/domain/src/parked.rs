//! Parked sales: carts that are put aside before they are paid, and finished or discarded at any lane of the shop.
//!
//! What became of one follows from the set of documents about it, in whatever order they came. A parked sale moves neither
//! money nor stock; the sale that finishes it does.

use crate::document::{Document, Line, Topic};
use crate::hlc::Hlc;
use crate::ids::DocumentId;
use crate::mesh::LaneEntry;
use crate::money::Currency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// After so long a parked sale is stale, in milliseconds: it was parked on another day, or before another shift. Nothing
/// is deleted for that.
pub const STALE_AFTER_MS: i64 = 12 * 3_600_000;

/// A cart that was put aside before it was paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkedSale {
    /// Number of the lane that parked it; empty in trial, unless it was paired.
    pub lane: Option<i64>,
    /// Milliseconds since the Unix epoch, the clock of that lane.
    pub at_ms: i64,
    /// Currency of every amount.
    pub currency: Currency,
    /// Sum of the lines in minor units.
    pub total_minor: i64,
    /// The customer, if one was named: a catalog id.
    pub customer: Option<String>,
    /// Who parked it: a catalog id.
    pub employee: Option<String>,
    /// By what it is known again, in the words of the shop.
    pub note: Option<String>,
    /// 1 to 10,000 lines, with the prices that the customer was told.
    pub lines: Vec<Line>,
}

/// A parked sale will not be paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkedDiscard {
    /// Which.
    pub parked: DocumentId,
    /// Number of the lane that discarded it; empty in trial, unless it was paired.
    pub lane: Option<i64>,
    /// Milliseconds since the Unix epoch, the clock of that lane.
    pub at_ms: i64,
    /// Who did: a catalog id.
    pub employee: Option<String>,
}

/// What a sale says of the parked sale that it finishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finishes {
    /// The parked sale.
    pub id: DocumentId,
    /// Number of the lane that finished it; empty in trial, unless it was paired.
    pub lane: Option<i64>,
}

/// A document about a parked sale: what parked, finished or discarded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deed {
    /// Id of the document.
    pub id: DocumentId,
    /// Logical time of its entry.
    pub hlc: Hlc,
    /// What was recorded.
    pub document: Document,
}

/// A sale that finished a parked one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sold {
    /// Id of the sale.
    pub id: DocumentId,
    /// Number of the lane; empty in trial, unless it was paired.
    pub lane: Option<i64>,
    /// Number series of the receipt.
    pub series: String,
    /// Number in the series.
    pub number: i64,
}

/// What is known of a parked sale.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// The cart; `None` as long as the entry that parked it is not here.
    pub cart: Option<ParkedSale>,
    /// Sales that finished it, by id: more than one when lanes that could not see each other both did.
    pub sold: Vec<Sold>,
    /// The lanes that discarded it, by id of the document.
    pub discarded: Vec<Option<i64>>,
    /// Whether an entry about it is here that cannot be read: damaged, or a newer program's.
    pub unread: bool,
}

impl Known {
    /// What follows from documents about one parked sale, in any order, each as often as it came.
    pub fn of(deeds: impl IntoIterator<Item = Deed>) -> Self {
        let mut once: BTreeMap<(DocumentId, i64), Deed> = BTreeMap::new();
        let order = |deed: &Deed| (deed.hlc, deed.document.canonical());
        for deed in deeds {
            // Of two documents of a kind under one id the earlier one holds, everywhere. What finishes a cart settles it under
            // whatever id it came.
            let key = (deed.id, deed.document.topic().code());
            match once.get(&key) {
                Some(held) if order(held) <= order(&deed) => {}
                _ => drop(once.insert(key, deed)),
            }
        }
        let mut known = Self::default();
        for ((id, _), deed) in once {
            match deed.document {
                Document::ParkedSale(cart) => known.cart = Some(cart),
                Document::ParkedDiscard(discard) => known.discarded.push(discard.lane),
                Document::Sale(receipt) => known.sold.push(Sold {
                    id,
                    lane: receipt.parked.and_then(|it| it.lane),
                    series: receipt.series,
                    number: receipt.number,
                }),
                _ => {}
            }
        }
        known
    }

    /// Whether it may be finished or discarded, as far as is known.
    pub const fn is_open(&self) -> bool {
        let settled = !self.sold.is_empty() || !self.discarded.is_empty() || self.unread;
        self.cart.is_some() && !settled
    }
}

/// Whether a parked sale has been there for too long to be of this day.
pub const fn is_stale(at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(at_ms) >= STALE_AFTER_MS
}

/// Lines of a sale that the cart does not have at their price, or not so much of: somebody agrees to their prices now.
pub fn beyond<'l>(lines: &'l [Line], cart: &[Line]) -> Vec<&'l Line> {
    let mut left: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for line in cart {
        let milli = left.entry((&line.sku, line.unit_price.mills)).or_default();
        *milli = milli.saturating_add(line.quantity.milli);
    }
    let mut beyond = Vec::new();
    for line in lines {
        let left = left.get_mut(&(line.sku.as_str(), line.unit_price.mills));
        match left.filter(|milli| **milli >= line.quantity.milli) {
            Some(milli) => *milli -= line.quantity.milli,
            None => beyond.push(line),
        }
    }
    beyond
}

/// Of a sale's entry what says which parked sale it finishes, whatever else a newer program writes in it.
#[derive(Deserialize)]
struct SaleEntry {
    content: Finishing,
}

#[derive(Deserialize)]
struct Finishing {
    parked: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: DocumentId,
}

/// Of a discard's entry what says which parked sale it ends.
#[derive(Deserialize)]
struct DiscardEntry {
    content: Ended,
}

#[derive(Deserialize)]
struct Ended {
    parked: DocumentId,
}

/// The parked sale that an entry is about; `None` for any other. No more of the entry is read than says so: what a newer
/// program wrote ends a parked sale too.
pub fn parked_of(entry: &LaneEntry) -> Option<DocumentId> {
    match Topic::from_code(entry.kind)? {
        Topic::ParkedSale => Some(entry.id),
        // Most sales are not: they are not read for it.
        Topic::Sale if !entry.document.contains(r#""parked":"#) => None,
        Topic::Sale => {
            let sale: SaleEntry = serde_json::from_str(&entry.document).ok()?;
            sale.content.parked.map(|parked| parked.id)
        }
        Topic::ParkedDiscard => {
            let discard: DiscardEntry = serde_json::from_str(&entry.document).ok()?;
            Some(discard.content.parked)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
