//! Rights to sell scarce products (ADR 0024): what of them this lane has, and what it does with them.
//!
//! `local.escrow_entry` lists the entries about escrow of all journals that are here, `local.escrow_line` what moved such
//! products. Those of other lanes are noted as they are kept; the own book is looked through as far as it has grown when somebody asks.

mod fault;
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
use fault::fault;
pub use fault::{EscrowFault, Lack};
pub(crate) use notes::Watched;
use std::collections::{BTreeMap, BTreeSet};

/// Since which own entry the rights of this till are not used, in the book.
pub(crate) const FROZEN_KEY: &str = "escrow_frozen";

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
    /// When this till released its rights last, or began this escrow, by position.
    released: Option<i64>,
}

/// What entries of another lane say of escrow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EscrowNews {
    /// What this lane said to it.
    pub joined: Vec<Recorded>,
    /// Products that it has ended the escrow of, and that are sold freely here.
    pub ended: BTreeSet<String>,
    /// Products of which lanes began escrows without knowing of each other.
    pub begun_apart: BTreeSet<String>,
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
        let joined = self.join_escrows(Some(&deeds), now_ms)?;
        let begins = |deed: &&Deed| matches!(deed.escrow.act, EscrowAct::Begin { .. });
        let mut begun_apart = BTreeSet::new();
        let begun: BTreeSet<&str> = deeds
            .iter()
            .filter(begins)
            .map(|deed| deed.escrow.sku.as_str())
            .collect();
        for sku in begun {
            let held = self.escrow_of(sku)?;
            begun_apart.extend(
                held.filter(|it| !it.standing.void.is_empty())
                    .map(|it| it.sku),
            );
        }
        let ends = |deed: &&Deed| matches!(deed.escrow.act, EscrowAct::End { .. });
        let mut ended = BTreeSet::new();
        for deed in deeds.iter().filter(ends) {
            let sku = self.survivor("products", &deed.escrow.sku)?;
            if !ended.contains(&sku) && self.escrow_of(&sku)?.is_none() {
                ended.insert(sku);
            }
        }
        Ok(Some(EscrowNews {
            joined,
            ended,
            begun_apart,
        }))
    }

    /// What is known of the escrow of a product; `None`: it is sold freely.
    pub(crate) fn escrow_of(&self, sku: &str) -> Result<Option<Held>, StoreError> {
        if self.escrowed.borrow().is_empty() {
            return Ok(None);
        }
        let (sku, codes) = self.codes_of(sku)?;
        if codes.is_disjoint(&self.escrowed.borrow()) {
            return Ok(None);
        }
        self.follow_escrow()?;
        let (deeds, unread) = self.escrow_deeds(&codes)?;
        let standing = Standing::of(&deeds);
        let mut known = unread.clone();
        known.extend(deeds.iter().filter_map(Deed::of));
        let released = standing.as_ref().and_then(|standing| {
            let frees = |deed: &&Deed| match deed.escrow.act {
                // Nothing was sold by it before it began.
                EscrowAct::Begin { .. } => deed.id == standing.id,
                EscrowAct::Release { escrow } => escrow == standing.id,
                _ => false,
            };
            let own = deeds.iter().filter(|deed| deed.origin == self.node);
            own.filter(frees).map(|deed| deed.seq).max()
        });
        // What cannot be read may be what began it.
        let standing = standing.or_else(|| unread.first().copied().map(Standing::unread));
        Ok(standing.map(|standing| Held {
            sku,
            codes,
            standing,
            known: known.into_iter().collect(),
            unread: !unread.is_empty(),
            released,
        }))
    }

    /// Every product under escrow.
    fn all_held(&self) -> Result<Vec<Held>, StoreError> {
        let codes: BTreeSet<String> = self.escrowed.borrow().clone();
        let mut products = BTreeSet::new();
        for code in &codes {
            products.insert(self.survivor("products", code)?);
        }
        let mut all = Vec::new();
        for sku in &products {
            all.extend(self.escrow_of(sku)?);
        }
        Ok(all)
    }

    /// What stands for a product, and all codes of it.
    fn codes_of(&self, sku: &str) -> Result<(String, BTreeSet<String>), StoreError> {
        let survivor = self.survivor("products", sku)?;
        let mut codes = self.duplicates_of(&survivor)?;
        codes.extend([survivor.clone(), sku.to_owned()]);
        Ok((survivor, codes))
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
        for (sku, milli) in self.taken_out(document)? {
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
    fn taken_out(&self, document: &Document) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut out = BTreeMap::new();
        if self.escrowed.borrow().is_empty() {
            return Ok(out);
        }
        // Two codes of one product take from the same rights.
        let mut add = |sku: &str, milli: i64| -> Result<(), StoreError> {
            let sum: &mut i64 = out.entry(self.survivor("products", sku)?).or_insert(0);
            *sum = sum.saturating_add(milli);
            Ok(())
        };
        match document {
            Document::Sale(receipt) if receipt.external_ref.is_none() => {
                for line in &receipt.lines {
                    add(&line.sku, line.quantity.milli)?;
                }
            }
            Document::StockMovement(it) if it.external_ref.is_none() && it.quantity.milli < 0 => {
                add(&it.sku, it.quantity.milli.saturating_neg())?;
            }
            _ => {}
        }
        Ok(out)
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
        for (sku, milli) in self.taken_out(&Document::Sale(sale))? {
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
        let others = self.peer_holdings()?;
        let mut rows = Vec::new();
        for held in self.all_held()? {
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
                sku: held.sku,
            });
        }
        Ok(rows)
    }

    /// Says in the own journal of each escrow that this lane has heard of it; of the products that entries are about, or of
    /// all. It does not forget it then, whatever it loses of the others' journals.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was recorded.
    pub fn join_escrows(
        &mut self,
        about: Option<&[Deed]>,
        now_ms: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        if self.shop_of_lanes()?.is_none() {
            return Ok(Vec::new());
        }
        let held = match about {
            None => self.all_held()?,
            Some(deeds) => {
                let mut skus = BTreeSet::new();
                for deed in deeds {
                    skus.insert(self.survivor("products", &deed.escrow.sku)?);
                }
                let mut held = Vec::new();
                for sku in &skus {
                    held.extend(self.escrow_of(sku)?);
                }
                held
            }
        };
        // Which escrow an entry that cannot be read was about is not known.
        let unheard = |held: &Held| !held.unread && held.standing.share(self.node).since.is_none();
        let to_join: Vec<Held> = held.into_iter().filter(unheard).collect();
        if to_join.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|writer| {
            let joins = to_join.iter();
            joins.map(|held| writer.join(held, now_ms)).collect()
        })
    }

    /// What ends every escrow that is known here: what lanes of a trial shop shared among them holds in no other shop.
    pub(crate) fn ends_of_escrows(&self, now_ms: i64) -> Result<Vec<Document>, StoreError> {
        let mut ends = Vec::new();
        for held in self.all_held()? {
            let act = EscrowAct::End {
                escrows: held.known,
            };
            ends.push(self.escrow_document(&held.sku, act, (None, now_ms))?);
        }
        Ok(ends)
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
