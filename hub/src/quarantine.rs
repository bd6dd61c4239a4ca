//! Decides about records that stepped aside, and lets follow what waited for them.

use crate::consolidator::{ConsolidateError, log};
use crate::hub::Hub;
use crate::store::{Decision, Listed, NodeBook, Reader, Ruled, Ruling, Store};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::wire::quarantine::QuarantineDetail;
use std::collections::BTreeSet;

impl Hub {
    /// Carries a decision out, takes in what waited for the record, and publishes. The number is of all
    /// records that left quarantine.
    pub(crate) async fn decide(
        &self,
        node: NodeId,
        seq: i64,
        ruling: Ruling,
    ) -> Result<(Ruled, i64), ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        let ruled = self.rule(node, seq, ruling).await?;
        // The decision stands. What fails behind it is tried again with the next pass.
        let (followed, result) = self.follow().await;
        if let Err(error) = result.and(self.publish().await) {
            log(&error);
        }
        let taken_in = followed + i64::from(ruled == Ruled::TakenIn);
        Ok((ruled, taken_in))
    }

    /// Judges everything in quarantine again; how many records left it.
    pub(crate) async fn retry_quarantine(&self, ruling: Ruling) -> Result<i64, ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        let listed = Listed {
            open: true,
            ..Listed::default()
        };
        let open = self
            .lookups
            .call(move |reader| reader.quarantine(&listed))
            .await?;
        // What fails for one book must not keep the others' records where they are; the first failure is told.
        let (mut taken_in, mut result) = (0, Ok(()));
        for row in open {
            match self.rule(row.node_id, row.seq, ruling.clone()).await {
                Ok(ruled) => taken_in += i64::from(ruled == Ruled::TakenIn),
                Err(error) => result = result.and(Err(error)),
            }
        }
        let (followed, following) = self.follow().await;
        result.and(following).and(self.publish().await)?;
        Ok(taken_in + followed)
    }

    /// Takes in what waits for something that is here by now, causes first: a record is looked at
    /// when its cause is consolidated. The caller holds the turn. Gives how many left quarantine, and the
    /// first failure, which keeps nothing else from its turn.
    pub(crate) async fn follow(&self) -> (i64, Result<(), ConsolidateError>) {
        let (mut taken_in, mut result, mut seen) = (0, Ok(()), BTreeSet::new());
        loop {
            let due = match self.lookups.call(|reader| reader.due_again()).await {
                Ok(due) => due,
                Err(error) => {
                    result = result.and(Err(error.into()));
                    break;
                }
            };
            let new: Vec<_> = due.into_iter().filter(|at| seen.insert(*at)).collect();
            if new.is_empty() {
                break;
            }
            for (node, seq) in new {
                let ruling = Ruling {
                    decision: Decision::Follow,
                    who: "hub".to_owned(),
                    why:
                        "its reason may be gone: what it waited for is here, or this hub knows more"
                            .to_owned(),
                    changes: Default::default(),
                    crosses_shops: true,
                };
                match self.rule(node, seq, ruling).await {
                    Ok(ruled) => {
                        taken_in += i64::from(ruled == Ruled::TakenIn);
                        tracing::info!(%node, seq, ?ruled, "judged again");
                    }
                    Err(error) => result = result.and(Err(error)),
                }
                self.let_sales_through().await;
            }
        }
        (taken_in, result)
    }

    async fn rule(
        &self,
        node: NodeId,
        seq: i64,
        ruling: Ruling,
    ) -> Result<Ruled, ConsolidateError> {
        for holder in self.holders(node, seq).await? {
            let Some((held, book)) = self.held_book(holder).await? else {
                continue;
            };
            let (book, ruling) = (NodeBook { node, ..book }, ruling.clone());
            let rule = move |store: &mut Store| store.rule(&book, seq, &ruling);
            match self.on_book(Some(held), rule).await? {
                Ruled::NoRecord => {}
                ruled => return Ok(ruled),
            }
        }
        Ok(Ruled::NoRecord)
    }

    /// Whose books may give an entry of a node: its own, and those of the tills that go on in its place, which
    /// hold it too. The former's own never comes back when the hub has lost it.
    async fn holders(&self, node: NodeId, seq: i64) -> Result<Vec<NodeId>, ConsolidateError> {
        let heirs = move |reader: &mut Reader| reader.heirs_with(node, seq);
        let mut holders = vec![node];
        holders.extend(self.lookups.call(heirs).await?);
        let mut found = Vec::new();
        for holder in holders {
            let has = self.copies.has_book(holder);
            let is_here = has.map_err(ConsolidateError::Files)?
                || self.lookups.call(move |it| it.is_relayed(holder)).await?;
            if is_here {
                found.push(holder);
            }
        }
        Ok(found)
    }

    /// One record with everything that belongs to it; what waits for it only as far as it is of a shop, when one is
    /// given.
    pub(crate) async fn quarantined(
        &self,
        (node, seq): (NodeId, i64),
        shop: Option<ShopId>,
    ) -> Result<Option<QuarantineDetail>, ConsolidateError> {
        let found = self
            .reports
            .call(move |reader| reader.quarantined((node, seq), shop))
            .await?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        for holder in self.holders(node, seq).await? {
            if found.record.is_none()
                && let Some((held, book)) = self.held_book(holder).await?
            {
                let book = NodeBook { node, ..book };
                let record = self.on_book(Some(held), move |store| store.recorded(&book, seq));
                found.record = record.await?;
            }
        }
        Ok(Some(found))
    }
}
