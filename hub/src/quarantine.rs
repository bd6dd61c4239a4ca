//! Decides about records that stepped aside, and lets follow what waited for them.

use crate::consolidator::ConsolidateError;
use crate::hub::Hub;
use crate::store::{Decision, Listed, Ruled, Ruling, Store};
use counterfoil_domain::NodeId;
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
        let followed = self.follow().await?;
        self.publish().await?;
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
            .reports
            .call(move |reader| reader.quarantine(&listed))
            .await?;
        let mut taken_in = 0;
        for row in open {
            let ruled = self.rule(row.node_id, row.seq, ruling.clone()).await?;
            taken_in += i64::from(ruled == Ruled::TakenIn);
        }
        taken_in += self.follow().await?;
        self.publish().await?;
        Ok(taken_in)
    }

    /// Takes in what waits for something that is here by now, causes first: a record is looked at
    /// when its cause is consolidated. The caller holds the turn. Gives how many left quarantine.
    pub(crate) async fn follow(&self) -> Result<i64, ConsolidateError> {
        let (mut taken_in, mut seen) = (0, BTreeSet::new());
        loop {
            let due = self.lookups.call(|reader| reader.due_again()).await?;
            let new: Vec<_> = due.into_iter().filter(|at| seen.insert(*at)).collect();
            if new.is_empty() {
                break;
            }
            for (node, seq) in new {
                let ruling = Ruling {
                    decision: Decision::Follow,
                    who: "hub".to_owned(),
                    why: "what it waited for is here".to_owned(),
                    changes: Default::default(),
                };
                let ruled = self.rule(node, seq, ruling).await?;
                taken_in += i64::from(ruled == Ruled::TakenIn);
                tracing::info!(%node, seq, ?ruled, "judged again");
            }
        }
        let now_ms = self.now_ms();
        self.writer
            .call(move |store: &mut Store| store.tend_quarantine(now_ms))
            .await?;
        Ok(taken_in)
    }

    async fn rule(
        &self,
        node: NodeId,
        seq: i64,
        ruling: Ruling,
    ) -> Result<Ruled, ConsolidateError> {
        if !self
            .copies
            .has_book(node)
            .map_err(ConsolidateError::Files)?
        {
            return Ok(Ruled::NoRecord);
        }
        let Some((held, book)) = self.held_book(node).await? else {
            return Ok(Ruled::NoRecord);
        };
        self.on_book(Some(held), move |store| store.rule(&book, seq, &ruling))
            .await
    }

    /// One record with everything that belongs to it.
    pub(crate) async fn quarantined(
        &self,
        node: NodeId,
        seq: i64,
    ) -> Result<Option<QuarantineDetail>, ConsolidateError> {
        let found = self
            .reports
            .call(move |reader| reader.quarantined(node, seq))
            .await?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        if self
            .copies
            .has_book(node)
            .map_err(ConsolidateError::Files)?
            && let Some((held, book)) = self.held_book(node).await?
        {
            let record = self.on_book(Some(held), move |store| store.recorded(&book, seq));
            found.record = record.await?;
        }
        Ok(Some(found))
    }
}
