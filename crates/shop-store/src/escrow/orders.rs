//! What a person orders about escrow.

use super::{EscrowFault, Held};
use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::document::normalize_code;
use counterfoil_domain::escrow::EscrowAct;
use counterfoil_domain::{Document, NodeId, Quantity};
use counterfoil_protocol::wire::escrow::{EscrowOrder, EscrowRequest};

impl ShopStore {
    /// An order about escrow as asked for.
    ///
    /// # Errors
    /// [`StoreError::Escrow`], [`StoreError::Number`], [`StoreError::UnknownProduct`].
    pub fn draft_escrow(
        &self,
        request: &EscrowRequest,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        // Whoever was paired, and is not any more, can still be rid of it.
        let is_ended = matches!(request.what, EscrowOrder::End | EscrowOrder::Release);
        if self.lane()?.is_none() && !is_ended {
            return Err(EscrowFault::Trial.into());
        }
        let sku = self.survivor("products", &normalize_code(&request.sku))?;
        let act = match request.what {
            EscrowOrder::Begin => self.begin(&sku, request, now_ms)?,
            EscrowOrder::Give => self.give(&sku, request)?,
            EscrowOrder::Take => self.take_over(&sku, request)?,
            EscrowOrder::Release => {
                let held = self.under_escrow(&sku)?;
                if !self.is_frozen(&held)? {
                    return Err(EscrowFault::NotFrozen.into());
                }
                let escrow = held.standing.id;
                EscrowAct::Release { escrow }
            }
            EscrowOrder::End => EscrowAct::End {
                escrows: self.under_escrow(&sku)?.known,
            },
        };
        let by = (request.employee.clone(), now_ms);
        self.escrow_document(&sku, act, by)
    }

    fn begin(
        &self,
        sku: &str,
        request: &EscrowRequest,
        now_ms: i64,
    ) -> Result<EscrowAct, StoreError> {
        // A code that is typed wrong would guard nothing.
        let sku = self.product(sku, now_ms)?.sku;
        let text = request.quantity.as_deref();
        let text = text.ok_or(EscrowFault::Missing("the quantity"))?;
        let quantity = Quantity::parse(text)?;
        if self.escrow_of(&sku)?.is_some() {
            return Err(EscrowFault::Begun(sku).into());
        }
        Ok(EscrowAct::Begin {
            quantity,
            replaces: self.escrows_begun(&sku)?,
        })
    }

    fn give(&self, sku: &str, request: &EscrowRequest) -> Result<EscrowAct, StoreError> {
        let held = self.under_escrow(sku)?;
        let quantity = quantity(request)?;
        let reachable = (self.reachable)();
        let to = self.other_lane(&held, request, |node, _| reachable.contains(&node))?;
        if let Some(lack) = self.lack(&held, quantity.milli)? {
            return Err(EscrowFault::NoRights(lack).into());
        }
        Ok(EscrowAct::Give {
            escrow: held.standing.id,
            to,
            quantity,
            need: None,
        })
    }

    fn take_over(&self, sku: &str, request: &EscrowRequest) -> Result<EscrowAct, StoreError> {
        let held = self.under_escrow(sku)?;
        let quantity = quantity(request)?;
        let from = self.other_lane(&held, request, |_, rights| rights > 0)?;
        if (self.reachable)().contains(&from) {
            return Err(EscrowFault::Connected(sku.to_owned()).into());
        }
        let share = held.standing.share(from);
        let has = self.rights_of(&held, (from, &share))?;
        if has < quantity.milli {
            let (sku, has) = (sku.to_owned(), Quantity::from_milli(has.max(0)));
            return Err(EscrowFault::TooMany { sku, has }.into());
        }
        Ok(EscrowAct::Take {
            escrow: held.standing.id,
            from,
            quantity,
        })
    }

    fn under_escrow(&self, sku: &str) -> Result<Held, StoreError> {
        let held = self.escrow_of(sku)?;
        held.ok_or_else(|| EscrowFault::NotBegun(sku.to_owned()).into())
    }

    /// The lane that an order names. `is_meant` says which one, where several have or had the number: a till that was restored,
    /// or came from a trial shop, has a new name.
    fn other_lane(
        &self,
        held: &Held,
        request: &EscrowRequest,
        is_meant: impl Fn(NodeId, i64) -> bool,
    ) -> Result<NodeId, StoreError> {
        let shares = held.standing.shares.iter();
        let mut found = Vec::new();
        match (request.node, request.lane) {
            (Some(node), _) => found.extend(shares.filter(|(known, _)| **known == node)),
            (None, Some(lane)) => {
                found.extend(shares.filter(|(_, share)| share.lane == Some(lane)));
            }
            (None, None) => return Err(EscrowFault::Missing("the other lane").into()),
        }
        let mut meant = Vec::new();
        for (node, share) in &found {
            if found.len() == 1 || is_meant(**node, self.rights_of(held, (**node, share))?) {
                meant.push(**node);
            }
        }
        match (meant.as_slice(), request.lane) {
            (&[node], _) if node == self.node => Err(EscrowFault::Myself.into()),
            (&[node], _) => Ok(node),
            (_, Some(lane)) if !found.is_empty() => {
                let nodes = found.into_iter().map(|(node, _)| *node).collect();
                Err(EscrowFault::SeveralLanes { lane, nodes }.into())
            }
            _ => Err(EscrowFault::UnknownLane(held.sku.clone()).into()),
        }
    }
}

fn quantity(request: &EscrowRequest) -> Result<Quantity, StoreError> {
    let text = request.quantity.as_deref();
    let quantity = Quantity::parse(text.ok_or(EscrowFault::Missing("the quantity"))?)?;
    match quantity.milli > 0 {
        true => Ok(quantity),
        false => Err(EscrowFault::Missing("a quantity above zero").into()),
    }
}
