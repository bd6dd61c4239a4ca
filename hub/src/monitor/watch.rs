//! Looks for what asks for a person: states that began and states that have ended.

use super::lock;
use crate::consolidator::ConsolidateError;
use crate::hub::Hub;
use crate::limits::{PROOF_AGAIN, PROOF_DAYS_MAX, PROOF_FAILED_AGAIN, PROOFS_A_LOOK_MAX};
use crate::monitor::{milliseconds, words};
use crate::store::{Changes, NewAlert, ProofMark, Reader, Silence, Store, StoreError, state};
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

/// What is looked at, each by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Disk,
    Backlog,
    Silence,
    FailedItems,
    Tills,
    Quarantine,
    Prices,
    Proofs,
}

impl Look {
    const ALL: [Self; 8] = [
        Self::Disk,
        Self::Backlog,
        Self::Silence,
        Self::FailedItems,
        Self::Tills,
        Self::Quarantine,
        Self::Prices,
        Self::Proofs,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Backlog => "backlog",
            Self::Silence => "silence",
            Self::FailedItems => "failed_items",
            Self::Tills => "tills",
            Self::Quarantine => "quarantine",
            Self::Prices => "prices",
            Self::Proofs => "proofs",
        }
    }
}

const DISK_LOW: &str = "disk_low";
const NOT_CONSOLIDATED: &str = "not_consolidated";
const LOOK_FAILED: &str = "look_failed";

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
    /// [`ConsolidateError`] when nothing can be written down; a look that fails is an alert and keeps no other back.
    pub(crate) async fn watch(&self) -> Result<(), ConsolidateError> {
        let Some(since_ms) = self.monitor.listening_since_ms.get().copied() else {
            return Ok(());
        };
        let now_ms = self.now_ms();
        let mut failed = Vec::new();
        for look in Look::ALL {
            let mut changes = Changes::default();
            let looked = self.look(look, (since_ms, now_ms), &mut changes).await;
            // At once: what was seen is old soon.
            if let Err(error) = self.note(changes, now_ms).await {
                // A verdict that is not written down is none.
                lock(&self.monitor.judged).clear();
                return Err(error);
            }
            if let Err(error) = looked {
                tracing::error!(look = look.name(), error = words(&error), "a look failed");
                let detail = format!("the hub cannot look at this: {}", words(&error));
                let subject = look.name().to_owned();
                failed.push(NewAlert {
                    subject,
                    ..state(now_ms, LOOK_FAILED, None, detail)
                });
            }
        }
        let failed = move |reader: &mut Reader| reader.compared(LOOK_FAILED, failed);
        let changes = self.reports.call(failed).await?;
        self.note(changes, now_ms).await
    }

    /// Writes down what began and what ended.
    async fn note(&self, changes: Changes, now_ms: i64) -> Result<(), ConsolidateError> {
        for alert in &changes.begun {
            let node = alert.node.map(tracing::field::display);
            tracing::warn!(kind = alert.kind, node, detail = alert.detail, "alert");
        }
        for alert in &changes.ended {
            let node = alert.node_id.map(tracing::field::display);
            tracing::info!(kind = alert.kind, node, "an alert is over");
        }
        if !changes.is_empty() {
            let note = move |store: &mut Store| store.note_changes(&changes, now_ms);
            self.writer.call(note).await?;
        }
        Ok(())
    }

    /// Adds what is new in one regard.
    async fn look(
        &self,
        look: Look,
        (since_ms, now_ms): (i64, i64),
        changes: &mut Changes,
    ) -> Result<(), ConsolidateError> {
        let limit_ms = Some(milliseconds(self.config.silent)).filter(|limit| *limit > 0);
        let silence = Silence {
            now_ms,
            since_ms,
            limit_ms,
        };
        let reports = &self.reports;
        let found = match look {
            Look::Disk => self.look_at_disk(now_ms).await?,
            Look::Backlog => self.look_at_backlog(now_ms).await?,
            Look::Silence => reports.call(move |it| it.silent(silence)).await?,
            Look::FailedItems => reports.call(move |it| it.failed_items(now_ms)).await?,
            Look::Tills => reports.call(move |it| it.rested(now_ms)).await?,
            Look::Quarantine => reports.call(move |it| it.emptied(now_ms)).await?,
            Look::Prices => reports.call(move |it| it.open_prices(now_ms)).await?,
            Look::Proofs => return self.judge_days(now_ms, changes).await,
        };
        changes.extend(found);
        Ok(())
    }

    async fn look_at_disk(&self, now_ms: i64) -> Result<Changes, ConsolidateError> {
        let said = self.reports.call(|reader| reader.lasts(DISK_LOW)).await?;
        let low = self.disk_low(said).await.map_err(ConsolidateError::Files)?;
        let low = low.map(|detail| state(now_ms, DISK_LOW, None, detail));
        let compared = |reader: &mut Reader| reader.compared(DISK_LOW, Vec::from_iter(low));
        Ok(self.reports.call(compared).await?)
    }

    /// What was told of a book lasts until it is through, also when the hub was started anew meanwhile.
    async fn look_at_backlog(&self, now_ms: i64) -> Result<Changes, ConsolidateError> {
        // As long as that fails nobody can say that nothing waits.
        self.expect_books().await?;
        let (waiting, stuck) = (self.monitor.waiting(), self.config.stuck);
        let look = move |reader: &mut Reader| {
            let told = reader.lasting(&[NOT_CONSOLIDATED])?;
            let is_told = |node: &NodeId| told.iter().any(|alert| alert.node_id == Some(*node));
            let late = waiting
                .into_iter()
                .filter(|(node, waited)| *waited > stuck || is_told(node));
            let states = late.map(|(node, waited)| {
                let detail = format!(
                    "what this till sent has been waiting {} s to be consolidated; the log says why",
                    waited.as_secs()
                );
                state(now_ms, NOT_CONSOLIDATED, Some(node), detail)
            });
            reader.compared(NOT_CONSOLIDATED, states.collect())
        };
        Ok(self.reports.call(look).await?)
    }

    /// Proves the days again on which something has changed: some at a time. A day whose proof cannot be made keeps
    /// none of the others back.
    async fn judge_days(&self, now_ms: i64, changes: &mut Changes) -> Result<(), ConsolidateError> {
        let closed = move |reader: &mut Reader| reader.closed_days(PROOF_DAYS_MAX);
        let days = self.reports.call(closed).await?;
        let due = due(days, &lock(&self.monitor.judged));
        let mut result = Ok(());
        for (day, mark) in due {
            let judge = move |reader: &mut Reader| {
                let proof = reader.proof(day, None)?;
                let failures = failures(&proof);
                let changes = reader.judged(now_ms, day, &failures)?;
                Ok((proof, !failures.is_empty(), changes))
            };
            let judged: Result<_, StoreError> = self.reports.call(judge).await;
            let failed = match judged {
                Ok((proof, failed, found)) => {
                    self.monitor.metrics.count_proof(&proof);
                    changes.extend(found);
                    failed
                }
                Err(error) => {
                    result = result.and(Err(error.into()));
                    true
                }
            };
            let at = Instant::now();
            lock(&self.monitor.judged).insert(day, (mark, Verdict { at, failed }));
        }
        result
    }
}

/// The days that are to be proved now: those that were not proved for longest first, and of those that never were the
/// newest, so that some that fail again and again keep none waiting for ever.
fn due(mut days: Vec<(Day, ProofMark)>, judged: &Judged) -> Vec<(Day, ProofMark)> {
    days.retain(|(day, mark)| {
        judged
            .get(day)
            .is_none_or(|(then, verdict)| then != mark || verdict.is_old())
    });
    days.sort_by_key(|(day, _)| judged.get(day).map(|(_, verdict)| verdict.at));
    days.truncate(PROOFS_A_LOOK_MAX);
    days
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_fail_again_and_again_keep_no_other_waiting() {
        let day = |nth: usize| format!("2011-03-{:02}", 20 - nth).parse::<Day>().unwrap();
        let mark = (1, 1, 0, 0);
        let newest_first: Vec<_> = (0..10).map(|nth| (day(nth), mark)).collect();
        let mut judged = Judged::new();
        let mut proved = Vec::new();
        let begun = Instant::now();
        for look in 0..3 {
            for (day, _) in due(newest_first.clone(), &judged) {
                // What it depends on changes all the time.
                let at = begun + std::time::Duration::from_secs(look);
                judged.insert(day, ((0, 0, 0, 0), Verdict { at, failed: true }));
                proved.push(day);
            }
        }
        proved.sort();
        proved.dedup();
        assert_eq!(proved.len(), 10, "{proved:?}");
    }
}
