//! What escrow asks of an entry before it enters the book.

use super::{EscrowFault, Held, fault};
use crate::error::StoreError;
use crate::record::{Entry, Writer};
use counterfoil_domain::Document;
use counterfoil_domain::escrow::EscrowAct;
use counterfoil_protocol::wire::node::Recorded;

impl Writer<'_> {
    pub(super) fn join(&mut self, held: &Held, now_ms: i64) -> Result<Recorded, StoreError> {
        let escrow = held.standing.id;
        let act = EscrowAct::Join { escrow };
        let store = self.store;
        let document = store.escrow_document(&held.sku, act, (None, now_ms))?;
        self.append(Entry {
            id: None,
            document,
            now_ms,
        })
    }

    /// Appends what this lane says by itself.
    pub(crate) fn append_all(
        &mut self,
        documents: Vec<Document>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        for document in documents {
            self.append(Entry {
                id: None,
                document,
                now_ms,
            })?;
        }
        Ok(())
    }

    /// What must be so before a document enters the book: nothing is taken out without the right to it, and what this lane sells
    /// of a product stands behind its own word that it has heard of the escrow.
    pub(crate) fn by_right(&mut self, document: &Document, now_ms: i64) -> Result<(), StoreError> {
        let store = self.store;
        if let Document::Escrow(escrow) = document {
            store.escrowed.borrow_mut().insert(escrow.sku.clone());
            return match &escrow.act {
                EscrowAct::Give { quantity, .. } => {
                    let held = store.escrow_of(&escrow.sku)?;
                    let none = || fault(EscrowFault::NotBegun(escrow.sku.clone()));
                    let lack = store.lack(&held.ok_or_else(none)?, quantity.milli)?;
                    lack.map_or(Ok(()), |lack| Err(lack.fault()))
                }
                _ => Ok(()),
            };
        }
        for (sku, milli) in store.taken_out(document)? {
            let Some(mut held) = store.escrow_of(&sku)? else {
                continue;
            };
            if held.standing.share(store.node).since.is_none() {
                self.join(&held, now_ms)?;
                let joined = store.escrow_of(&sku)?;
                held = joined.unwrap_or(held);
            }
            if let Some(lack) = store.lack(&held, milli)? {
                return Err(lack.fault());
            }
        }
        Ok(())
    }
}
