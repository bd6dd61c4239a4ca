//! Batches of operations of other clients (E3): one transaction for all, and a savepoint for each, so that
//! one that is refused leaves no trace and does not hold up the others.

use crate::admission::{EditOf, Presented, column_names, sets_pin};
use crate::catalog::When;
use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use counterfoil_domain::DocumentId;
use counterfoil_protocol::wire::clients::{CatalogOperation, Operation, OperationContent};
use counterfoil_protocol::wire::node::Recorded;

/// Ids that are kept of operations that changed nothing; older ones are forgotten. A client repeats what it had
/// no answer to, which is a few batches of hundreds.
const UNCHANGED_OPERATIONS_MAX: i64 = 10_000;

/// What became of one operation: what is recorded under its id, nothing where nothing was to be recorded, or
/// why it is refused.
pub type Carried = Result<Option<Recorded>, StoreError>;

impl ShopStore {
    /// Carries out a batch for whoever is signed in. What is not refused is durable when this returns.
    ///
    /// # Errors
    /// Those that are nobody's fault, such as a full disk: nothing of the batch was recorded.
    pub fn carry_out(
        &mut self,
        operations: &[Operation],
        presented: Presented,
        now_ms: i64,
    ) -> Result<Vec<Carried>, StoreError> {
        self.write(|writer| {
            let mut carried = Vec::with_capacity(operations.len());
            for operation in operations {
                let done = writer.attempt(|writer| writer.carry_out(operation, presented, now_ms));
                carried.push(done?);
            }
            Ok(carried)
        })
    }
}

impl ShopStore {
    /// Whether an operation changed nothing when it came first.
    fn was_unchanged(&self, id: DocumentId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM local.unchanged_operation WHERE id = ?1)";
        Ok(self.conn.query_value(sql, [id.to_bytes()])?)
    }

    /// Keeps that an operation changes nothing: it must not when it is repeated, whatever others did since.
    fn note_unchanged(&self, id: DocumentId) -> Result<(), StoreError> {
        let sql = "INSERT INTO local.unchanged_operation (id) VALUES (?1)";
        self.conn.execute(sql, [id.to_bytes()])?;
        let prune = "DELETE FROM local.unchanged_operation
                     WHERE entry <= (SELECT max(entry) FROM local.unchanged_operation) - ?1";
        self.conn.execute(prune, [UNCHANGED_OPERATIONS_MAX])?;
        Ok(())
    }
}

impl Writer<'_> {
    fn carry_out(
        &mut self,
        operation: &Operation,
        presented: Presented,
        now_ms: i64,
    ) -> Result<Option<Recorded>, StoreError> {
        let Operation { id, content } = operation;
        // A repeated operation is answered with what was recorded, whatever has changed since.
        if let Some(known) = self.store.known(Some(*id), content.topic())? {
            return Ok(Some(known));
        }
        let store = self.store;
        let document = match content {
            OperationContent::Sale(request) => store.draft_receipt(request, false, now_ms)?,
            OperationContent::Refund(request) => store.draft_receipt(request, true, now_ms)?,
            OperationContent::Stock(request) => store.draft_stock(request, now_ms)?,
            OperationContent::Expense(request) => store.draft_expense(request, now_ms)?,
            OperationContent::Ledger(request) => store.draft_ledger(request, now_ms)?,
            OperationContent::Order(request) => store.draft_order(request, now_ms)?,
            OperationContent::Cash(request) => store.draft_cash(request, now_ms)?,
            OperationContent::Park(request) => store.draft_parked(request, now_ms)?,
            OperationContent::Discard(request) => store.draft_discard(request, now_ms)?,
            OperationContent::Catalog(CatalogOperation {
                table,
                row,
                columns,
            }) => {
                if store.was_unchanged(*id)? {
                    return Ok(None);
                }
                let of = EditOf {
                    table,
                    row,
                    columns: &column_names(columns),
                    sets_pin: sets_pin(columns),
                };
                store.admit_edit(presented, of, now_ms)?;
                let (row, values) = store.edit_of(table, row, columns)?;
                let recorded = self.edit(table, &row, values, When::Clock(now_ms), Some(*id))?;
                if recorded.is_none() {
                    store.note_unchanged(*id)?;
                }
                return Ok(recorded);
            }
        };
        let entry = Entry {
            id: Some(*id),
            document: store.admit_document(presented, document, now_ms)?,
            now_ms,
        };
        let recorded = self.append(entry)?;
        self.tell_unguarded(now_ms)?;
        Ok(Some(recorded))
    }
}
