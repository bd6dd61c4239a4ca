//! Edits that people make at the hub: of the catalog, about conflicts and policies. Each is made under the
//! consolidator's turn, and is published before it is answered. What is read under the turn is read by the reader for
//! lookups: behind a long report it would hold up every sale.

use crate::consolidator::ConsolidateError;
use crate::hub::Hub;
use crate::limits::UNDO_FIELDS_MAX;
use crate::store::{
    DecideError, DecisionMade, HubEdit, HubEditError, PolicyError, RowName, Store, UndoError,
    UndoOf, UndoOrder, UndoPage, WantedPolicy, What,
};
use counterfoil_domain::env::document_id;
use counterfoil_domain::{DocumentId, NodeId};
use counterfoil_protocol::wire::aliases::MergeAnswer;
use counterfoil_protocol::wire::decisions::{Deciding, Undone};
use counterfoil_protocol::wire::hub::CatalogSetAnswer;
use std::collections::BTreeMap;

impl Hub {
    /// Makes an edit at the hub and publishes it.
    pub(crate) async fn edit_catalog(
        &self,
        table: String,
        row: String,
        columns: BTreeMap<String, Option<String>>,
        who: String,
    ) -> Result<Result<CatalogSetAnswer, HubEditError>, ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        let by = self.made_by(self.now_ms(), None, who);
        let of = table.clone();
        let write = move |store: &mut Store| store.edit_at_hub(&of, &row, &columns, &by);
        let row = match self.writer.call(write).await? {
            Ok(row) => row,
            Err(refused) => return Ok(Err(refused)),
        };
        self.publish().await?;
        let answer = self
            .lookups
            .call(move |reader| reader.catalog_row(&table, &row))
            .await?;
        Ok(answer.ok_or(HubEditError::NoTable))
    }

    /// Merges a row into another one, or takes that back, and publishes it; who stands for the row now.
    pub(crate) async fn merge_rows(
        &self,
        table: String,
        row: String,
        into: Option<String>,
        who: String,
    ) -> Result<Result<MergeAnswer, HubEditError>, ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        let by = self.made_by(self.now_ms(), None, who);
        let of = (table.clone(), row.clone());
        let merge =
            move |store: &mut Store| store.merge_at_hub((&of.0, &of.1), into.as_deref(), &by);
        if let Err(refused) = self.writer.call(merge).await? {
            return Ok(Err(refused));
        }
        self.publish().await?;
        let of = (table.clone(), row.clone());
        let find = move |reader: &mut crate::store::Reader| reader.survivor(&of.0, &of.1);
        let survivor = self.lookups.call(find).await?;
        Ok(Ok(MergeAnswer {
            table,
            row,
            survivor,
        }))
    }

    /// Publishes what was decided; the revision that holds it.
    async fn published(&self) -> Result<i64, ConsolidateError> {
        self.publish().await?;
        Ok(self.lookups.call(|it| it.catalog_revision()).await?)
    }

    fn made_by(&self, now_ms: i64, id: Option<DocumentId>, who: String) -> HubEdit {
        HubEdit {
            edit: id.unwrap_or_else(|| document_id(now_ms, &*self.env.random)),
            hub: NodeId::from_uuid(self.id.uuid()),
            now_ms,
            who,
        }
    }

    /// Takes back what a node or an import wrote, part by part, and publishes that. Parts that are done stay done
    /// when a later one is refused or the hub dies: the same order goes on from there.
    pub(crate) async fn undo(
        &self,
        of: UndoOf,
        dry_run: bool,
        who: String,
    ) -> Result<Result<Undone, UndoError>, ConsolidateError> {
        let mut order = UndoOrder {
            of,
            dry_run,
            after: RowName::default(),
        };
        let mut all: Option<Undone> = None;
        loop {
            let UndoPage { undone, next } = match self.undo_part(order.clone(), &who).await? {
                Ok(page) => page,
                Err(refused) => return Ok(Err(refused)),
            };
            let all = match &mut all {
                None => all.insert(undone),
                Some(all) => {
                    all.count = all.count.saturating_add(undone.count);
                    all.kept = all.kept.saturating_add(undone.kept);
                    let room = UNDO_FIELDS_MAX.saturating_sub(all.fields.len());
                    all.fields.extend(undone.fields.into_iter().take(room));
                    all.revision = undone.revision;
                    all
                }
            };
            match next {
                Some(next) => order.after = next,
                None => return Ok(Ok(std::mem::take(all))),
            }
        }
    }

    async fn undo_part(
        &self,
        order: UndoOrder,
        who: &str,
    ) -> Result<Result<UndoPage, UndoError>, ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        // What was merged is decided first: after a crash, or a failure to publish, some may not be.
        self.publish().await?;
        let dry_run = order.dry_run;
        let by = self.made_by(self.now_ms(), None, who.to_owned());
        let random = std::sync::Arc::clone(&self.env.random);
        let undo = move |store: &mut Store| store.undo(&order, &by, &*random);
        let mut page = match self.writer.call(undo).await? {
            Ok(page) => page,
            Err(refused) => return Ok(Err(refused)),
        };
        page.undone.revision = match dry_run {
            true => self.lookups.call(|it| it.catalog_revision()).await?,
            false => self.published().await?,
        };
        Ok(Ok(page))
    }

    /// Changes a policy and publishes it; whether it was another one before, and the revision.
    pub(crate) async fn set_policy(
        &self,
        wanted: WantedPolicy,
        who: String,
    ) -> Result<Result<(bool, i64), PolicyError>, ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        // What was merged and not published yet was decided before this change, and stays so.
        self.publish().await?;
        let by = self.made_by(self.now_ms(), None, who);
        let set = move |store: &mut Store| store.set_policy(&wanted, &by);
        let changed = match self.writer.call(set).await? {
            Ok(changed) => changed,
            Err(refused) => return Ok(Err(refused)),
        };
        // Also when nothing changed: the first attempt may have ended before it was published.
        let revision = self.published().await?;
        Ok(Ok((changed, revision)))
    }

    /// Decides a conflict and publishes the choice; the revision that holds it.
    pub(crate) async fn decide_conflict(
        &self,
        conflict: i64,
        what: What,
        deciding: Deciding,
        who: String,
    ) -> Result<Result<(DecisionMade, i64), DecideError>, ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        // The state of a conflict is that of its field's last decision.
        self.publish().await?;
        let now_ms = self.now_ms();
        let by = self.made_by(now_ms, deciding.id, who);
        let seen = deciding.seen;
        let decide = move |store: &mut Store| store.decide(conflict, &what, seen, &by);
        let made = match self.writer.call(decide).await? {
            Ok(made) => made,
            Err(refused) => return Ok(Err(refused)),
        };
        // Also when it was repeated: the first attempt may have ended before it was published.
        let revision = self.published().await?;
        Ok(Ok((made, revision)))
    }
}

#[cfg(test)]
mod tests;
