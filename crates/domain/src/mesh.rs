//! How lanes of one shop share their journals (ADR 0015): what of whose journal a lane holds, from whom it takes
//! what it lacks, and what is said next on each connection.
//!
//! Nothing here knows a socket or a disk. [`sources`] decides whom to ask, [`conversation`] what one connection says,
//! [`pace`] how much is on its way, [`pairing`] who may speak at all, [`code`] how lanes in trial get there,
//! [`announcement`] how a lane is found, [`relay`] what is brought to the hub for one that does not come.

pub mod announcement;
pub mod authority;
pub mod code;
pub mod conversation;
pub mod pace;
pub mod pairing;
pub mod relay;
pub mod sources;

use crate::document::Topic;
use crate::hlc::Hlc;
use crate::ids::{DocumentId, NodeId};
use crate::journal::Chain;
use crate::lineage::Point;

/// An entry of a lane's journal as lanes hand it on: enough to check it against its chain, whoever brought it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneEntry {
    /// Whose journal it is.
    pub origin: NodeId,
    /// Position in that journal, dense from 1.
    pub seq: i64,
    /// Id of the document or edit.
    pub id: DocumentId,
    /// When it happened, in the origin's hybrid logical time.
    pub hlc: Hlc,
    /// Code of its [`Topic`]; a newer lane may use one that is not known here.
    pub kind: i64,
    /// Chain value of the entry before it.
    pub before: Chain,
    /// Its own chain value.
    pub chain: Chain,
    /// Canonical form of the document ([`crate::document::Document::canonical`]), kept as it came.
    pub document: String,
}

impl LaneEntry {
    /// Whether the entry is what its origin chained.
    pub fn is_whole(&self) -> bool {
        let (id, hlc) = (self.id, self.hlc);
        let content = self.document.as_bytes();
        self.seq > 0 && self.before.link((self.seq, id, hlc, self.kind), content) == self.chain
    }

    /// Its position, with its chain value.
    pub const fn point(&self) -> Point {
        Point {
            seq: self.seq,
            chain: self.chain,
        }
    }

    /// The position it follows.
    pub const fn before(&self) -> Point {
        Point {
            seq: self.seq - 1,
            chain: self.before,
        }
    }

    /// Bytes that it takes up, near enough for limits.
    pub const fn size(&self) -> usize {
        self.document.len() + 512
    }

    /// Under which heading other lanes get it (P3).
    pub fn subject(&self) -> Subject {
        let edits = |table: &str| {
            let head = r#"{"topic":"catalog_edit","content":{"table":""#;
            let rest = self.document.strip_prefix(head);
            rest.is_some_and(|rest| rest.starts_with(&format!("{table}\"")))
        };
        match Topic::from_code(self.kind) {
            Some(Topic::StockMovement | Topic::StockCount | Topic::Escrow) => Subject::Inventory,
            Some(Topic::LedgerEntry) => Subject::Customer,
            Some(Topic::EmployeeEvent) => Subject::Employee,
            Some(Topic::CatalogEdit) if edits("customers") => Subject::Customer,
            Some(Topic::CatalogEdit) if edits("employees") => Subject::Employee,
            Some(Topic::CatalogEdit) => Subject::Catalog,
            _ => Subject::Transaction,
        }
    }
}

/// What a message between lanes is about, as others than ourselves read it (P3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Receipts, drawers, orders, expenses, closures.
    Transaction,
    /// Stock movements and counts.
    Inventory,
    /// Customers and what they owe.
    Customer,
    /// Employees, and what they did at a till beside documents.
    Employee,
    /// Any other row of the catalog.
    Catalog,
}

impl Subject {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Inventory => "inventory",
            Self::Customer => "customer",
            Self::Employee => "employee",
            Self::Catalog => "catalog",
        }
    }
}

/// How much of a journal somebody holds, durably and without a gap: the entries behind `begin`, up to `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// The entry before the first that is held. Not the start of the journal when its node went on from
    /// another one's book (ADR 0008).
    pub begin: Point,
    /// The last entry that is held.
    pub end: Point,
}

impl Holding {
    /// Nothing, of a journal that begins there.
    pub const fn empty(begin: Point) -> Self {
        Self { begin, end: begin }
    }

    /// Where an entry belongs that came next.
    pub fn place(&self, entry: &LaneEntry) -> Place {
        let (end, before) = (self.end, entry.before());
        if entry.seq <= end.seq {
            let parted = entry.seq == end.seq && entry.chain != end.chain;
            return if parted { Place::Forked } else { Place::Known };
        }
        match before.seq == end.seq {
            true if before.chain == end.chain => Place::Next,
            true => Place::Forked,
            false => Place::Ahead,
        }
    }

    /// Whether both cannot be of one history.
    pub fn contradicts(&self, other: &Self) -> bool {
        let points = [other.begin, other.end];
        let differs = |held: Point| {
            let same_seq = points.iter().find(|point| point.seq == held.seq);
            same_seq.is_some_and(|point| point.chain != held.chain)
        };
        differs(self.begin) || differs(self.end)
    }

    /// Whether somebody with this could give what follows `held` to somebody with that.
    pub fn can_continue(&self, held: Option<&Self>) -> bool {
        held.is_none_or(|held| self.begin.seq <= held.end.seq && !self.contradicts(held))
    }

    /// The last position from which somebody with that goes on here.
    pub fn after(&self, held: Option<&Self>) -> i64 {
        held.map_or(self.begin.seq, |held| held.end.seq)
    }
}

/// Where an entry belongs in a journal that is held in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is held already.
    Known,
    /// It follows the last one.
    Next,
    /// Entries before it are missing.
    Ahead,
    /// Another entry stands there: two books went on under one name.
    Forked,
}

#[cfg(test)]
mod tests;
