//! Stock of a shop: what its journals say of each product (X3, G7).
//!
//! A level is never stored as a truth and never sent: it is the last count plus the movements after it, and follows from the set of
//! entries alone. Lanes that hold the same journals therefore show the same levels, in whatever order the entries came.
//!
//! No clock is asked where a journal can answer. Whoever counts says what it had [`Seen`] of the other lanes: what it had seen
//! stands before the count. What a lane wrote later that was connected at that moment stands behind it. Times decide
//! only about a lane that was not connected, and about what another system's data say of the past.

use crate::amount::Quantity;
use crate::document::{Document, Receipt, Topic};
use crate::hlc::Hlc;
use crate::ids::NodeId;
use crate::mesh::LaneEntry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use utoipa::ToSchema;

/// Most that one line, movement or count may change, either way, in thousandths of the unit: a thousand million units. Nine million
/// such ones add up in 64 bits. What says more changes no level.
pub const QUANTITY_MILLI_MAX: i64 = 1_000_000_000_000;

/// How far the clock of one lane may be ahead of another's, in milliseconds, for counts to be ordered by it: a hundred years.
const PLACE_AHEAD_MS_MAX: i64 = 100 * 366 * 86_400_000;

/// What the lane that counted had of the other journals of its shop, as far as that is news since its count before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// Logical time at which the count stands, when it had seen a count with a later time than its own; as a text, because it
    /// does not fit into 53 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Lanes of which it had more, or which had come or gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<SeenLane>,
}

impl Seen {
    /// Says nothing new.
    pub const fn is_empty(&self) -> bool {
        self.place.is_none() && self.lanes.is_empty()
    }

    /// Where a count stands among the counts of a product, when its entry has this time. What no clock can be wrong by is passed
    /// over: nobody could count after it.
    pub fn place(this: Option<&Self>, hlc: Hlc) -> Hlc {
        let later = this.and_then(|seen| seen.place.as_deref());
        let later = later.and_then(|text| text.parse().ok()).map(Hlc::from_raw);
        let is_clock =
            |later: &Hlc| later.millis().saturating_sub(hlc.millis()) <= PLACE_AHEAD_MS_MAX;
        later.filter(is_clock).map_or(hlc, |later| later.max(hlc))
    }
}

/// One journal as the lane that counted had it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SeenLane {
    /// Whose journal it is.
    pub node: NodeId,
    /// The last entry of it that it held.
    pub seq: i64,
    /// Whether that lane was connected, so that nothing else of it was outstanding.
    pub connected: bool,
}

/// What an entry, or a line of it, says of the stock of one product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// Code of the product, as the document has it.
    pub sku: String,
    /// Whose journal the entry stands in.
    pub origin: NodeId,
    /// The entry.
    pub seq: i64,
    /// The line of a receipt, from 1; 0 for what has no lines.
    pub item: i64,
    /// When, in the origin's logical time.
    pub hlc: Hlc,
    /// What it says.
    pub what: What,
}

/// What is said of a product's stock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Goods went or came.
    Moved {
        /// Positive comes in; thousandths of the unit.
        milli: i64,
        /// When, by the data of another system; empty for what was recorded here as it happened.
        dated_ms: Option<i64>,
    },
    /// Somebody counted.
    Counted {
        /// What was there, thousandths of the unit.
        milli: i64,
        /// Where the count stands among counts ([`Seen::place`]).
        place: Hlc,
        /// When, by the clock of the lane that counted; milliseconds since the Unix epoch.
        at_ms: i64,
    },
}

impl What {
    /// As numbers: its quantity in thousandths of the unit, its place as a logical time when it is a count, and the time that
    /// it is dated.
    pub const fn numbers(&self) -> (i64, Option<i64>, Option<i64>) {
        match *self {
            Self::Moved { milli, dated_ms } => (milli, None, dated_ms),
            Self::Counted {
                milli,
                place,
                at_ms,
            } => (milli, Some(place.raw()), Some(at_ms)),
        }
    }
}

/// A count, as far as movements and other counts are compared with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Whose journal it stands in.
    pub origin: NodeId,
    /// Its entry.
    pub seq: i64,
    /// Its entry's logical time.
    pub hlc: Hlc,
    /// Where it stands among counts.
    pub place: Hlc,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What was there, thousandths of the unit.
    pub milli: i64,
}

impl Count {
    /// The order of counts of a product; the greatest holds.
    pub const fn order(&self) -> (Hlc, NodeId, i64) {
        (self.place, self.origin, self.seq)
    }
}

/// A movement, as far as it is compared with counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Movement {
    /// Whose journal it stands in.
    pub origin: NodeId,
    /// Its entry.
    pub seq: i64,
    /// Its entry's logical time.
    pub hlc: Hlc,
    /// Positive comes in; thousandths of the unit.
    pub milli: i64,
    /// When, by the data of another system.
    pub dated_ms: Option<i64>,
}

impl Movement {
    /// Whether the goods had moved before somebody counted; `seen` is what that lane had of this journal then.
    pub fn is_before(&self, count: &Count, seen: Option<SeenLane>) -> bool {
        let (had, connected) = match seen {
            _ if self.origin == count.origin => (count.seq, true),
            Some(lane) => (lane.seq, lane.connected),
            None => (0, false),
        };
        if self.seq <= had {
            return true;
        }
        if let Some(dated_ms) = self.dated_ms {
            return dated_ms < count.at_ms;
        }
        !connected && self.hlc < count.hlc
    }
}

impl Effect {
    /// The effect as a count, if it is one.
    pub const fn count(&self) -> Option<Count> {
        match self.what {
            What::Moved { .. } => None,
            What::Counted {
                milli,
                place,
                at_ms,
            } => Some(Count {
                origin: self.origin,
                seq: self.seq,
                hlc: self.hlc,
                place,
                at_ms,
                milli,
            }),
        }
    }

    /// The effect as a movement, if it is one.
    pub const fn movement(&self) -> Option<Movement> {
        match self.what {
            What::Counted { .. } => None,
            What::Moved { milli, dated_ms } => Some(Movement {
                origin: self.origin,
                seq: self.seq,
                hlc: self.hlc,
                milli,
                dated_ms,
            }),
        }
    }
}

/// What an entry says of stock: an effect for each line or movement, and what a count had seen. Entries of other topics, of topics
/// that are not known here, and what is not readable say nothing.
pub fn effects(entry: &LaneEntry) -> (Vec<Effect>, Option<Seen>) {
    const NOTHING: (Vec<Effect>, Option<Seen>) = (Vec::new(), None);
    let concerns = [
        Topic::Sale,
        Topic::Refund,
        Topic::StockMovement,
        Topic::StockCount,
    ];
    if !Topic::from_code(entry.kind).is_some_and(|topic| concerns.contains(&topic)) {
        return NOTHING;
    }
    let effect = |sku: &str, item: i64, what: What| Effect {
        sku: sku.to_owned(),
        origin: entry.origin,
        seq: entry.seq,
        item,
        hlc: entry.hlc,
        what,
    };
    // A code with a NUL character cannot be stored anywhere.
    let says = |sku: &str, quantity: Quantity| !sku.contains('\0') && fits(quantity.milli);
    match serde_json::from_str(&entry.document) {
        Ok(Document::Sale(receipt) | Document::Refund(receipt)) => {
            let lines = (1_i64..).zip(&receipt.lines);
            let moved = lines.filter(|(_, line)| says(&line.sku, line.quantity));
            let moved =
                moved.map(|(item, line)| effect(&line.sku, item, sold(&receipt, line.quantity)));
            (moved.collect(), None)
        }
        Ok(Document::StockMovement(it)) if says(&it.sku, it.quantity) => {
            let what = What::Moved {
                milli: it.quantity.milli,
                dated_ms: it.external_ref.is_some().then_some(it.at_ms),
            };
            (vec![effect(&it.sku, 0, what)], None)
        }
        Ok(Document::StockCount(it)) => {
            let what = What::Counted {
                milli: it.quantity.milli,
                place: Seen::place(it.seen.as_ref(), entry.hlc),
                at_ms: it.at_ms,
            };
            let counted = says(&it.sku, it.quantity).then(|| effect(&it.sku, 0, what));
            (counted.into_iter().collect(), it.seen)
        }
        _ => NOTHING,
    }
}

/// Whether there can be so much of anything; thousandths of the unit.
pub fn fits(milli: i64) -> bool {
    (-QUANTITY_MILLI_MAX..=QUANTITY_MILLI_MAX).contains(&milli)
}

/// A line of a receipt takes goods out; one of a refund has a negative quantity and brings them back.
fn sold(receipt: &Receipt, quantity: Quantity) -> What {
    What::Moved {
        milli: -quantity.milli,
        dated_ms: receipt.external_ref.is_some().then_some(receipt.at_ms),
    }
}

/// What the counts of each journal had seen, as of any of its positions.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// By whose counts, of which journal, since which entry.
    said: BTreeMap<(NodeId, NodeId, i64), SeenLane>,
}

impl Sight {
    /// Takes in what a count said.
    pub fn note(&mut self, origin: NodeId, seq: i64, seen: &Seen) {
        for lane in &seen.lanes {
            self.said.insert((origin, lane.node, seq), *lane);
        }
    }

    /// What the count at a position had of a journal.
    pub fn of(&self, count: &Count, lane: NodeId) -> Option<SeenLane> {
        let key = |seq| (count.origin, lane, seq);
        let said = self.said.range(key(i64::MIN)..=key(count.seq));
        said.last().map(|(_, lane)| *lane)
    }
}

/// The stock of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// Thousandths of the unit; what has moved in all as long as nobody has counted.
    pub milli: i64,
    /// The count that holds.
    pub count: Option<Count>,
}

impl Level {
    /// More was sold than somebody had counted.
    pub const fn is_oversold(&self) -> bool {
        self.count.is_some() && self.milli < 0
    }
}

/// The stock of one product while its movements are added up.
#[derive(Clone, Debug)]
pub struct Shelf {
    level: Level,
    /// What the count that holds had of each journal, as far as it was asked for.
    seen: BTreeMap<NodeId, Option<SeenLane>>,
}

impl Shelf {
    /// Begins with the count that holds.
    pub fn new(count: Option<Count>) -> Self {
        let milli = count.map_or(0, |count| count.milli);
        let level = Level { milli, count };
        let seen = BTreeMap::new();
        Self { level, seen }
    }

    /// Adds a movement, unless it was before the count; `seen` finds what the count had of a journal, and is asked once for each.
    ///
    /// # Errors
    /// Of `seen`; then nothing was added.
    pub fn add<E>(
        &mut self,
        movement: &Movement,
        seen: impl FnOnce(&Count, NodeId) -> Result<Option<SeenLane>, E>,
    ) -> Result<(), E> {
        if let Some(count) = &self.level.count {
            let lane = movement.origin;
            let seen = match self.seen.get(&lane) {
                Some(seen) => *seen,
                None => *self.seen.entry(lane).or_insert(seen(count, lane)?),
            };
            if movement.is_before(count, seen) {
                return Ok(());
            }
        }
        self.level.milli = self.level.milli.saturating_add(movement.milli);
        Ok(())
    }

    /// What is there.
    pub const fn level(&self) -> Level {
        self.level
    }
}

/// The level that effects of one product come to: the last count, and the movements after it.
pub fn level<'e>(effects: impl Iterator<Item = &'e Effect> + Clone, sight: &Sight) -> Level {
    let seen = |count: &Count, lane| Ok::<_, Infallible>(sight.of(count, lane));
    let Ok(level) = level_by(effects, seen);
    level
}

/// The same; `seen` as for [`Shelf::add`].
///
/// # Errors
/// Of `seen`.
pub fn level_by<'e, E>(
    effects: impl Iterator<Item = &'e Effect> + Clone,
    mut seen: impl FnMut(&Count, NodeId) -> Result<Option<SeenLane>, E>,
) -> Result<Level, E> {
    let counts = effects.clone().filter_map(Effect::count);
    let mut shelf = Shelf::new(counts.max_by_key(Count::order));
    for movement in effects.filter_map(Effect::movement) {
        shelf.add(&movement, &mut seen)?;
    }
    Ok(shelf.level())
}

pub mod reconcile;
#[cfg(test)]
mod tests;
