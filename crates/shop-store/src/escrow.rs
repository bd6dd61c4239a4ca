//! Rights to sell scarce products (ADR 0024): what of them this lane has, and what it does with them.
//!
//! `local.escrow_entry` lists the entries about escrow of all journals that are here, `local.escrow_line` what moved such
//! products. Those of other lanes are noted as they are kept; the own book is looked through as far as it has grown when somebody asks.

mod notes;
mod orders;
mod writing;

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::Entry;
use counterfoil_domain::document::normalize_code;
use counterfoil_domain::escrow::{Deed, Escrow, EscrowAct, Share, Standing, deed_of};
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Document, DocumentId, NodeId, Quantity};
use counterfoil_protocol::wire::escrow::{EscrowLane, EscrowRow, RightsRequest};
use counterfoil_protocol::wire::node::{ReceiptRequest, Recorded};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Since which own entry the rights of this till are not used, in the book.
pub(crate) const FROZEN_KEY: &str = "escrow_frozen";

/// Why something about escrow is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EscrowFault {
    /// This lane has not the right to sell so many.
    #[error("{0}")]
    NoRights(Lack),
    /// It was restored or copied.
    #[error(
        "this till was restored or copied, and what it had the right to sell of {0} may have been sold since"
    )]
    Frozen(String),
    /// An entry of its own about this product cannot be read.
    #[error("an entry of this till about the escrow of {0} cannot be read: it has no rights")]
    Unread(String),
    /// It was paired with nobody.
    #[error("this till is in trial, and was paired with no other lane")]
    Trial,
    /// It has begun.
    #[error("{0} is under escrow already")]
    Begun(String),
    /// It has not begun.
    #[error("{0} is not under escrow")]
    NotBegun(String),
    /// Something that the order needs is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No such lane has a part in it.
    #[error("no such lane has taken part in the escrow of {0}, as far as is known here")]
    UnknownLane(String),
    /// Rights go to another lane, or come from one.
    #[error("that is this lane itself")]
    Myself,
    /// A lane that is there can give.
    #[error(
        "that lane is connected: rights of {0} are taken over from a lane that does not come back"
    )]
    Connected(String),
    /// It has not so many, as far as is known here.
    #[error("that lane has the right to sell {has} of {sku}, as far as is known here")]
    TooMany {
        /// The product.
        sku: String,
        /// What it has.
        has: Quantity,
    },
    /// The rights are in use.
    #[error("the rights of this till are not frozen")]
    NotFrozen,
}

/// What a lane lacks to sell a product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lack {
    /// The product.
    pub sku: String,
    /// The escrow.
    pub escrow: DocumentId,
    /// What is to be sold, thousandths of the unit.
    pub needed: i64,
    /// What this lane has.
    pub rights: i64,
    /// Lanes that have some, as far as is known here.
    pub others: Vec<(NodeId, Option<i64>, i64)>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, rights) = (Quantity::from_milli(self.needed), self.rights.max(0));
        let (sku, rights) = (&self.sku, Quantity::from_milli(rights));
        write!(
            f,
            "{needed} of {sku} is more than the {rights} that this lane has the right to sell"
        )?;
        for (node, lane, milli) in &self.others {
            let has = Quantity::from_milli(*milli);
            match lane {
                Some(lane) => write!(f, "; lane {lane} has {has}")?,
                None => write!(f, "; lane {node} has {has}")?,
            }
        }
        if self.others.is_empty() {
            f.write_str("; no lane has any that is known here")?;
        }
        Ok(())
    }
}

impl Lack {
    fn fault(self) -> StoreError {
        StoreError::Escrow(Box::new(EscrowFault::NoRights(self)))
    }
}

fn fault(fault: EscrowFault) -> StoreError {
    StoreError::Escrow(Box::new(fault))
}

/// A product under escrow as this lane knows it.
pub(crate) struct Held {
    /// The code that stands for the product.
    sku: String,
    /// It, and those that were merged into it.
    codes: BTreeSet<String>,
    pub(crate) standing: Standing,
    /// Every escrow of the product that is known, whether it holds or not.
    known: Vec<DocumentId>,
    /// An own entry cannot be read.
    unread: bool,
    /// When this till released its rights last, by position.
    released: Option<i64>,
}

/// What entries of another lane say of escrow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EscrowNews {
    /// What this lane said to it.
    pub joined: Vec<Recorded>,
    /// Products of which lanes began escrows without knowing of each other.
    pub begun_apart: Vec<String>,
}

impl ShopStore {
    /// What entries of another lane, which were kept, say of escrow; this lane joins what it hears of first. `None` when
    /// they say nothing of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn escrow_news(
        &mut self,
        entries: &[LaneEntry],
        now_ms: i64,
    ) -> Result<Option<EscrowNews>, StoreError> {
        let deeds: Vec<Deed> = entries.iter().filter_map(deed_of).collect();
        if deeds.is_empty() {
            return Ok(None);
        }
        let joined = self.join_escrows(now_ms)?;
        let begins = |deed: &Deed| matches!(deed.escrow.act, EscrowAct::Begin { .. });
        let begun_apart = match deeds.iter().any(begins) {
            true => {
                let rows = self.escrows()?.into_iter();
                let apart = rows.filter(|row| row.begun_apart > 0);
                apart.map(|row| row.sku).collect()
            }
            false => Vec::new(),
        };
        Ok(Some(EscrowNews {
            joined,
            begun_apart,
        }))
    }

    /// What is known of the escrow of a product; `None`: it is sold freely.
    pub(crate) fn escrow_of(&self, sku: &str) -> Result<Option<Held>, StoreError> {
        let Some(codes) = self.escrow_codes(sku)? else {
            return Ok(None);
        };
        self.follow_escrow()?;
        let (deeds, unread) = self.escrow_deeds(&codes)?;
        let standing = Standing::of(&deeds);
        let begins = |deed: &&Deed| matches!(deed.escrow.act, EscrowAct::Begin { .. });
        let mut known: BTreeSet<DocumentId> =
            deeds.iter().filter(begins).map(|deed| deed.id).collect();
        known.extend(standing.as_ref().map(|it| it.id));
        let released = standing.as_ref().and_then(|standing| {
            let is_own = |deed: &&Deed| {
                let released = EscrowAct::Release {
                    escrow: standing.id,
                };
                deed.origin == self.node && deed.escrow.act == released
            };
            deeds.iter().filter(is_own).map(|deed| deed.seq).max()
        });
        // What cannot be read may be what began it.
        let standing = standing.or_else(|| unread.map(Standing::unread));
        Ok(standing.map(|standing| Held {
            sku: sku.to_owned(),
            codes,
            standing,
            known: known.into_iter().collect(),
            unread: unread.is_some(),
            released,
        }))
    }

    /// The codes of a product of which anything about escrow is known.
    fn escrow_codes(&self, sku: &str) -> Result<Option<BTreeSet<String>>, StoreError> {
        let escrowed = self.escrowed.borrow();
        if escrowed.is_empty() {
            return Ok(None);
        }
        let mut codes = self.duplicates_of(sku)?;
        codes.insert(sku.to_owned());
        Ok((!codes.is_disjoint(&escrowed)).then_some(codes))
    }

    /// The own rights, thousandths of the unit, when they may be used.
    fn own_rights(&self, held: &Held) -> Result<i64, StoreError> {
        if held.unread {
            return Err(fault(EscrowFault::Unread(held.sku.clone())));
        }
        if self.is_frozen(held)? {
            return Err(fault(EscrowFault::Frozen(held.sku.clone())));
        }
        let share = held.standing.share(self.node);
        self.rights_of(held, (self.node, &share))
    }

    fn rights_of(&self, held: &Held, (node, share): (NodeId, &Share)) -> Result<i64, StoreError> {
        let moved = match share.since {
            Some(since) => self.moved(&held.codes, (node, since))?,
            None => 0,
        };
        Ok(share.rights(moved))
    }

    /// Whether the rights of this till are not used, because it was restored or copied and nobody has released them since.
    fn is_frozen(&self, held: &Held) -> Result<bool, StoreError> {
        let since = self.meta(FROZEN_KEY)?;
        // What cannot be read is as good as ever since.
        let since = since.map(|text| text.parse().unwrap_or(i64::MAX));
        Ok(since.is_some_and(|since: i64| held.released.is_none_or(|seq| seq <= since)))
    }

    fn lack(&self, held: &Held, needed: i64) -> Result<Option<Lack>, StoreError> {
        let rights = self.own_rights(held)?;
        if rights >= needed {
            return Ok(None);
        }
        let mut others = Vec::new();
        for (node, share) in &held.standing.shares {
            let milli = self.rights_of(held, (*node, share))?;
            if *node != self.node && milli > 0 {
                others.push((*node, share.lane, milli));
            }
        }
        Ok(Some(Lack {
            sku: held.sku.clone(),
            escrow: held.standing.id,
            needed,
            rights,
            others,
        }))
    }

    /// Refuses a document that takes out more of a product under escrow than this lane has the right to. Ordinary products cost
    /// nothing while none is under escrow, and one look each else.
    pub(crate) fn check_rights(&self, document: &Document) -> Result<(), StoreError> {
        for (sku, milli) in self.taken_out(document) {
            if let Some(held) = self.escrow_of(&sku)?
                && let Some(lack) = self.lack(&held, milli)?
            {
                return Err(lack.fault());
            }
        }
        Ok(())
    }

    /// What a document takes out of products, thousandths of the unit, when it was made here. Another system's data tell of
    /// what was before.
    fn taken_out(&self, document: &Document) -> BTreeMap<String, i64> {
        let mut out = BTreeMap::new();
        if self.escrowed.borrow().is_empty() {
            return out;
        }
        let mut add = |sku: &str, milli: i64| {
            let sum: &mut i64 = out.entry(sku.to_owned()).or_insert(0);
            *sum = sum.saturating_add(milli);
        };
        match document {
            Document::Sale(receipt) if receipt.external_ref.is_none() => {
                for line in &receipt.lines {
                    add(&line.sku, line.quantity.milli);
                }
            }
            Document::StockMovement(it) if it.external_ref.is_none() && it.quantity.milli < 0 => {
                add(&it.sku, it.quantity.milli.saturating_neg());
            }
            _ => {}
        }
        out
    }

    /// What this lane lacks to sell what is asked for, of each product that others may give.
    ///
    /// # Errors
    /// As [`Self::draft_receipt`].
    pub fn rights_lacking(
        &self,
        request: &ReceiptRequest,
        now_ms: i64,
    ) -> Result<Vec<Lack>, StoreError> {
        let sale = self.build_receipt(request, false, now_ms)?;
        let mut lacking = Vec::new();
        for (sku, milli) in self.taken_out(&Document::Sale(sale)) {
            if let Some(held) = self.escrow_of(&sku)? {
                lacking.extend(self.lack(&held, milli)?);
            }
        }
        Ok(lacking)
    }

    /// Products under escrow, with what each lane may sell, as far as is known here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn escrows(&self) -> Result<Vec<EscrowRow>, StoreError> {
        let codes: BTreeSet<String> = self.escrowed.borrow().clone();
        let mut products = BTreeSet::new();
        for code in &codes {
            products.insert(self.survivor("products", code)?);
        }
        let others = self.peer_holdings()?;
        let mut rows = Vec::new();
        for sku in products {
            let Some(held) = self.escrow_of(&sku)? else {
                continue;
            };
            let mut lanes = Vec::new();
            for (node, share) in &held.standing.shares {
                lanes.push(EscrowLane {
                    node: *node,
                    lane: share.lane,
                    rights_milli: self.rights_of(&held, (*node, share))?,
                    here: *node == self.node,
                });
            }
            let has_heard = |node: &NodeId| held.standing.share(*node).since.is_some();
            let is_former = |node: &NodeId| self.formers.iter().any(|it| it.node == *node);
            let unheard = others
                .keys()
                .filter(|node| !has_heard(node) && !is_former(node));
            let own = lanes.iter().find(|lane| lane.here);
            let frozen = held.unread || self.is_frozen(&held)?;
            rows.push(EscrowRow {
                id: held.standing.id,
                rights_milli: own.map_or(0, |own| own.rights_milli),
                frozen,
                begun_apart: held.standing.void.len(),
                unheard: unheard.copied().collect(),
                lanes,
                sku,
            });
        }
        Ok(rows)
    }

    /// Says in the own journal of each escrow that this lane has heard of it. It does not forget it then, whatever it loses of
    /// the others' journals.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was recorded.
    pub fn join_escrows(&mut self, now_ms: i64) -> Result<Vec<Recorded>, StoreError> {
        if self.escrowed.borrow().is_empty() || self.binding.is_none() {
            return Ok(Vec::new());
        }
        let mut to_join = Vec::new();
        for row in self.escrows()? {
            if row
                .lanes
                .iter()
                .all(|lane| !lane.here || lane.lane.is_none())
            {
                to_join.extend(self.escrow_of(&row.sku)?);
            }
        }
        if to_join.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|writer| {
            to_join
                .iter()
                .map(|held| writer.join(held, now_ms))
                .collect()
        })
    }

    /// Gives a lane that asks what it lacks, as much as there is; `None` when there is nothing to give, or it was given for this need.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was given.
    pub fn give_rights(
        &mut self,
        to: NodeId,
        asked: &RightsRequest,
        now_ms: i64,
    ) -> Result<Option<Recorded>, StoreError> {
        let sku = self.survivor("products", &normalize_code(&asked.sku))?;
        let Some(held) = self.escrow_of(&sku)? else {
            return Ok(None);
        };
        let standing = &held.standing;
        let is_given = standing.has_answered(self.node, asked.need);
        if standing.id != asked.escrow || is_given || to == self.node {
            return Ok(None);
        }
        let milli = self.own_rights(&held)?.min(asked.quantity_milli);
        if milli <= 0 {
            return Ok(None);
        }
        let act = EscrowAct::Give {
            escrow: standing.id,
            to,
            quantity: Quantity::from_milli(milli),
            need: Some(asked.need),
        };
        let document = self.escrow_document(&sku, act, (None, now_ms))?;
        let entry = Entry {
            id: None,
            document,
            now_ms,
        };
        Ok(Some(self.record(entry)?))
    }

    fn escrow_document(
        &self,
        sku: &str,
        act: EscrowAct,
        (employee, at_ms): (Option<String>, i64),
    ) -> Result<Document, StoreError> {
        Ok(Document::Escrow(Escrow {
            sku: sku.to_owned(),
            lane: self.lane()?,
            at_ms,
            employee,
            act,
        }))
    }
}

impl From<EscrowFault> for StoreError {
    fn from(found: EscrowFault) -> Self {
        fault(found)
    }
}
