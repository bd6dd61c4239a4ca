//! Looks for what asks for a person: states that began and states that have ended.

use super::lock;
use crate::consolidator::ConsolidateError;
use crate::hub::Hub;
use crate::limits::{PROOF_AGAIN, PROOF_DAYS_MAX, PROOF_FAILED_AGAIN, PROOFS_A_LOOK_MAX};
use crate::monitor::{milliseconds, words};
use crate::store::{Look, ProofMark, Reader, Store};
use counterfoil_domain::NodeId;
use counterfoil_domain::closure::Day;
use counterfoil_protocol::wire::closure::{Proof, ProofRow, ProofState};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Which days were proved, on what, and when.
pub(super) type Judged = BTreeMap<Day, (ProofMark, Verdict)>;

/// What a day came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    at: Instant,
    failed: bool,
}

impl Verdict {
    /// Whether the day is to be proved again though nothing is known to have changed.
    fn is_old(self) -> bool {
        let pause = if self.failed {
            PROOF_FAILED_AGAIN
        } else {
            PROOF_AGAIN
        };
        self.at.elapsed() > pause
    }
}

impl Hub {
    /// Looks now and then. Ends never.
    pub(crate) async fn watch_forever(&self) {
        loop {
            tokio::time::sleep(self.config.watch).await;
            if let Err(error) = self.watch().await {
                tracing::error!(
                    error = words(&error),
                    "cannot look for what asks for a person"
                );
            }
            self.monitor.health.watched();
        }
    }

    /// Looks once. A command has nothing to see: what waits and who is silent is known to a hub that runs.
    ///
    /// # Errors
    /// [`ConsolidateError`].
    pub(crate) async fn watch(&self) -> Result<(), ConsolidateError> {
        let Some(since_ms) = self.monitor.listening_since_ms.get().copied() else {
            return Ok(());
        };
        let now_ms = self.now_ms();
        let mut found = Vec::new();
        if let Some(low) = self.disk_low().await.map_err(ConsolidateError::Files)? {
            found.push(("disk_low", None, low));
        }
        for (node, waited) in self.monitor.waiting() {
            if waited > self.config.stuck {
                let detail = format!(
                    "what this till sent has been waiting {} s to be consolidated; the log says why",
                    waited.as_secs()
                );
                found.push(("not_consolidated", Some(node), detail));
            }
        }
        let silent_ms = Some(milliseconds(self.config.silent)).filter(|limit| *limit > 0);
        let judged = self.judge_days().await?;
        let look = Look {
            now_ms,
            since_ms,
            silent_ms,
            found,
            judged,
        };
        let changes = self.reports.call(move |reader| reader.look(&look)).await?;
        for alert in &changes.begun {
            let node = alert.node.map(tracing::field::display);
            tracing::warn!(kind = alert.kind, node, detail = alert.detail, "alert");
        }
        for alert in &changes.ended {
            let node = alert.node_id.map(tracing::field::display);
            tracing::info!(kind = alert.kind, node, "an alert is over");
        }
        if !changes.begun.is_empty() || !changes.ended.is_empty() {
            let note = move |store: &mut Store| store.note_changes(&changes, now_ms);
            self.writer.call(note).await?;
        }
        Ok(())
    }

    /// Proves the days again on which something has changed: some at a time, the newest first.
    async fn judge_days(&self) -> Result<BTreeMap<Day, Vec<(NodeId, String)>>, ConsolidateError> {
        let closed = move |reader: &mut Reader| reader.closed_days(PROOF_DAYS_MAX);
        let mut days = self.reports.call(closed).await?;
        {
            let judged = lock(&self.monitor.judged);
            days.retain(|(day, mark)| {
                judged
                    .get(day)
                    .is_none_or(|(then, verdict)| then != mark || verdict.is_old())
            });
        }
        days.truncate(PROOFS_A_LOOK_MAX);
        let mut failed = BTreeMap::new();
        for (day, mark) in days {
            let proof = self
                .reports
                .call(move |reader| reader.proof(day, None))
                .await?;
            self.monitor.metrics.count_proof(&proof);
            let failures = failures(&proof);
            let verdict = Verdict {
                at: Instant::now(),
                failed: !failures.is_empty(),
            };
            lock(&self.monitor.judged).insert(day, (mark, verdict));
            failed.insert(day, failures);
        }
        Ok(failed)
    }
}

fn failures(proof: &Proof) -> Vec<(NodeId, String)> {
    let failed = proof
        .rows
        .iter()
        .filter(|row| row.state == ProofState::Failed);
    let words = |row: &ProofRow| {
        let first = row.findings.first();
        let first = first.map_or_else(String::new, |it| format!(": {}", it.detail));
        format!(
            "{} of {}/{} is not what was consolidated{first}",
            proof.day, row.shop, row.lane
        )
    };
    failed.map(|row| (row.node_id, words(row))).collect()
}
