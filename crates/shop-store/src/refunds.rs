//! What is left of a sale to take back, by all lanes of the shop whose journals are here.

use crate::error::{StoreError, readable};
use crate::open::ShopStore;
use counterfoil_domain::document::Receipt;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Document, DocumentId, Quantity, Topic};
use counterfoil_migrate::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// Whoever cannot read all of it does not know what is left.
const CORRUPT: StoreError = StoreError::Corrupt {
    what: "another lane's sale or refund",
};

/// More of a product was taken back than the sale had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OverRefund {
    /// The sale.
    pub sale: DocumentId,
    /// The product.
    pub sku: String,
    /// How much was sold.
    pub sold: Quantity,
    /// How much was taken back, by all refunds of it.
    pub refunded: Quantity,
}

impl ShopStore {
    /// Refuses a refund of more than is left of the sale that it names. A sale that is not here is not judged: the hub tells
    /// (`refunded_twice`).
    ///
    /// # Errors
    /// [`StoreError::RefundedAlready`], [`StoreError::Sql`].
    pub(crate) fn check_refund(&self, refund: &Receipt) -> Result<(), StoreError> {
        let Some(sale) = refund.refund_of else {
            return Ok(());
        };
        match self.over_refund(sale, Some(refund))? {
            None => Ok(()),
            Some(over) => Err(StoreError::RefundedAlready(over)),
        }
    }

    /// The first product of which more was taken back than the sale had; `None` when there is none, or no such sale here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn over_refund(
        &self,
        sale: DocumentId,
        more: Option<&Receipt>,
    ) -> Result<Option<OverRefund>, StoreError> {
        let Some(sold) = self.sale(sale)? else {
            return Ok(None);
        };
        let sold = quantities(std::iter::once(&sold));
        let refunds = self.refunds_of(sale)?;
        let refunded = quantities(refunds.values().chain(more));
        let over = refunded.into_iter().find_map(|(sku, milli)| {
            let of = sold.get(&sku).copied().unwrap_or(0);
            (of.saturating_add(milli) < 0).then(|| OverRefund {
                sale,
                sku,
                sold: Quantity::from_milli(of),
                refunded: Quantity::from_milli(milli.saturating_neg()),
            })
        });
        Ok(over)
    }

    /// A sale of any lane.
    fn sale(&self, id: DocumentId) -> Result<Option<Receipt>, StoreError> {
        let sql = "SELECT seq FROM main.journal WHERE id = ?1 AND topic = 1";
        let own = self
            .conn
            .query_optional(sql, [id.to_bytes()], |row| row.get(0))?;
        if let Some(seq) = own {
            let document = counterfoil_book::document(&self.conn, Topic::Sale, seq, None)?;
            return Ok(document.and_then(receipt));
        }
        let sql = "SELECT document FROM local.peer_entry WHERE id = ?1 AND kind = 1 LIMIT 1";
        let found = self
            .conn
            .query_optional(sql, [id.to_bytes()], |row| readable(row.get::<String>(0)))?;
        let found = found.map(|it| it.ok_or(CORRUPT)).transpose()?;
        // What cannot be read here is a newer lane's: the hub judges it.
        Ok(found.and_then(|text| serde_json::from_str(&text).ok().and_then(receipt)))
    }

    fn is_refunded(&self, sale: DocumentId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM local.peer_refund WHERE sale = ?1)
                       OR EXISTS (SELECT 1 FROM main.journal WHERE refund_of = ?1)";
        Ok(self.conn.query_value(sql, [sale.to_bytes()])?)
    }

    /// Its refunds by any lane, each once.
    fn refunds_of(&self, sale: DocumentId) -> Result<BTreeMap<DocumentId, Receipt>, StoreError> {
        let sql = "SELECT id, seq FROM main.journal WHERE refund_of = ?1 AND topic = 2";
        let own = self.conn.query_map(sql, [sale.to_bytes()], |row| {
            let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
            Ok((id, row.get::<i64>(1)?))
        })?;
        let mut refunds = BTreeMap::new();
        for (id, seq) in own {
            let document = counterfoil_book::document(&self.conn, Topic::Refund, seq, None)?;
            refunds.extend(document.and_then(receipt).map(|it| (id, it)));
        }
        let sql = "SELECT e.id, e.document FROM local.peer_refund AS r
                   JOIN local.peer_entry AS e ON e.origin = r.origin AND e.seq = r.seq WHERE r.sale = ?1";
        let theirs = self.conn.query_map(sql, [sale.to_bytes()], |row| {
            let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes));
            readable(id.and_then(|id| Ok((id, row.get::<String>(1)?))))
        })?;
        for found in theirs {
            let (id, text) = found.ok_or(CORRUPT)?;
            let document = serde_json::from_str(&text).ok();
            refunds.extend(document.and_then(receipt).map(|it| (id, it)));
        }
        Ok(refunds)
    }

    /// Sales of which more was taken back than there was, by these entries of another lane: its refunds, and sales of which
    /// refunds were here before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn over_refunds(&self, entries: &[LaneEntry]) -> Result<Vec<OverRefund>, StoreError> {
        let mut sales: BTreeSet<DocumentId> = entries.iter().filter_map(refund_of).collect();
        let sold = entries.iter().filter(|it| it.kind == Topic::Sale.code());
        for sale in sold {
            if self.is_refunded(sale.id)? {
                sales.insert(sale.id);
            }
        }
        let mut found = Vec::new();
        for sale in sales {
            found.extend(self.over_refund(sale, None)?);
        }
        Ok(found)
    }
}

/// Notes which sale an entry of another lane takes back, to find it by.
pub(crate) fn note_refund(
    conn: &Connection,
    journal: i64,
    entry: &LaneEntry,
) -> Result<(), StoreError> {
    if let Some(sale) = refund_of(entry) {
        let sql = "INSERT INTO local.peer_refund (sale, origin, seq) VALUES (?1, ?2, ?3)";
        conn.execute(sql, params![sale.to_bytes(), journal, entry.seq])?;
    }
    Ok(())
}

/// The sale that a refund names.
fn refund_of(entry: &LaneEntry) -> Option<DocumentId> {
    if entry.kind != Topic::Refund.code() {
        return None;
    }
    let document = serde_json::from_str(&entry.document).ok();
    document.and_then(receipt)?.refund_of
}

fn receipt(document: Document) -> Option<Receipt> {
    match document {
        Document::Sale(receipt) | Document::Refund(receipt) => Some(receipt),
        _ => None,
    }
}

/// Thousandths by product; those of refunds are negative.
fn quantities<'r>(receipts: impl Iterator<Item = &'r Receipt>) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::<String, i64>::new();
    for line in receipts.flat_map(|receipt| &receipt.lines) {
        let sum = sums.entry(line.sku.clone()).or_insert(0);
        *sum = sum.saturating_add(line.quantity.milli);
    }
    sums
}
