//! What the hub knows of its own work: runs of sync, what waits, whether its loops turn, figures.

mod deliver;
mod gauges;
mod health;
mod metrics;
mod watch;

pub(crate) use health::{Health, words};

use self::metrics::Metrics;
use self::watch::Judged;
use crate::consolidator::ConsolidateError;
use crate::hub::Hub;
use crate::limits::{RUN_WRITE_PAUSE, RUNS_WAITING_MAX};
use crate::store::{Moved, NewRun, Store, StoreError};
use counterfoil_domain::{NodeId, Priority};
use counterfoil_protocol::wire::monitor::{RunKind, RunResult};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// See the module. Plain values: what a holder that panicked left is as good as any.
#[derive(Default)]
pub(crate) struct Monitor {
    /// Runs that are not written yet.
    runs: Mutex<Vec<NewRun>>,
    noted: Notify,
    work: Mutex<Work>,
    /// What waited when the process began is known.
    expected: AtomicBool,
    /// Since when tills can be heard; never in a command's process.
    listening_since_ms: OnceLock<i64>,
    judged: Mutex<Judged>,
    health: Health,
    pub(crate) metrics: Metrics,
}

/// What the consolidator has before it.
#[derive(Default)]
struct Work {
    /// Books with something that arrived and is not consolidated, since when.
    waiting: BTreeMap<NodeId, Instant>,
    /// When a batch was moved or a book found to be through, the last time.
    done: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds of a time, as they are stored.
pub(crate) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// When something began, by both clocks: the one that people read, and the one that is never put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    pub(crate) at_ms: i64,
    pub(crate) at: Instant,
}

impl Monitor {
    /// Notes a run; it is written a moment later.
    pub(crate) fn note(&self, run: NewRun) {
        self.metrics.count_run(&run);
        let mut runs = lock(&self.runs);
        if runs.last_mut().is_some_and(|last| last.absorb(&run)) {
            return;
        }
        if runs.len() >= RUNS_WAITING_MAX {
            // The oldest half: dropping them one by one would move all the others each time.
            runs.drain(..RUNS_WAITING_MAX >> 1);
        }
        runs.push(run);
        self.noted.notify_one();
    }

    /// Runs that were noted and not written yet.
    #[cfg(test)]
    pub(crate) fn noted(&self) -> Vec<NewRun> {
        lock(&self.runs).clone()
    }

    /// Notes that frames of a book came in.
    pub(crate) fn arrived(&self, node: NodeId) {
        let now = Instant::now();
        lock(&self.work).waiting.entry(node).or_insert(now);
    }

    /// Notes that everything of these books that had arrived by then is consolidated.
    pub(crate) fn caught_up(&self, books: &BTreeMap<NodeId, Instant>) {
        let mut work = lock(&self.work);
        // One book that fails again and again is an alert; the consolidator works while it gets through others.
        if !books.is_empty() {
            work.done = Some(Instant::now());
        }
        work.waiting
            .retain(|node, since| books.get(node).is_none_or(|then| *since > *then));
    }

    /// Books that wait, and for how long.
    fn waiting(&self) -> BTreeMap<NodeId, Duration> {
        let work = lock(&self.work);
        let waiting = work.waiting.iter();
        waiting
            .map(|(node, since)| (*node, since.elapsed()))
            .collect()
    }

    /// How long the consolidator has been doing nothing about what waits, when something does.
    fn idle_with_work(&self) -> Option<Duration> {
        let work = lock(&self.work);
        let oldest = work.waiting.values().min()?;
        let since = work.done.map_or(*oldest, |done| done.max(*oldest));
        Some(since.elapsed())
    }
}

impl Hub {
    pub(crate) fn began(&self) -> Began {
        Began {
            at_ms: self.now_ms(),
            at: Instant::now(),
        }
    }

    /// Notes a batch that was consolidated, or could not be.
    pub(crate) fn note_batch(
        &self,
        node: NodeId,
        priority: Priority,
        began: Began,
        outcome: Result<Moved, String>,
    ) {
        let (moved, result, detail) = match outcome {
            Ok(moved) => {
                lock(&self.monitor.work).done = Some(Instant::now());
                (moved, RunResult::Done, priority.name().to_owned())
            }
            Err(error) => (Moved::default(), RunResult::Failed, error),
        };
        let took = began.at.elapsed();
        self.monitor.metrics.count_batch(priority, &moved, took);
        self.monitor.note(NewRun {
            node: Some(node),
            kind: RunKind::Consolidate,
            started_ms: began.at_ms,
            duration_ms: milliseconds(took),
            requests: 1,
            rows: moved.entries,
            bytes: 0,
            result,
            detail,
        });
    }

    /// Writes the runs that wait.
    ///
    /// # Errors
    /// [`StoreError`]; the runs are lost then, and the log has the reason.
    pub(crate) async fn write_runs(&self) -> Result<(), StoreError> {
        let runs = std::mem::take(&mut *lock(&self.monitor.runs));
        if runs.is_empty() {
            return Ok(());
        }
        self.writer
            .call(move |store: &mut Store| store.write_runs(&runs))
            .await
    }

    /// Writes runs soon after they were noted. Ends never.
    pub(crate) async fn write_runs_forever(&self) {
        loop {
            self.monitor.noted.notified().await;
            tokio::time::sleep(RUN_WRITE_PAUSE).await;
            if let Err(error) = self.write_runs().await {
                tracing::error!(error = words(&error), "runs cannot be written");
            }
        }
    }

    /// What waited when the process before this one ended waits still, until the first sweep has got through it.
    /// Done once.
    async fn expect_books(&self) -> Result<(), ConsolidateError> {
        if self.monitor.expected.load(Ordering::Acquire) {
            return Ok(());
        }
        for node in self.nodes_with_entries().await? {
            self.monitor.arrived(node);
        }
        self.monitor.expected.store(true, Ordering::Release);
        Ok(())
    }

    /// Everything that runs beside the answers to requests. Ends never.
    pub(crate) async fn work_forever(&self) {
        if let Err(error) = self.expect_books().await {
            tracing::error!(error = words(&error), "cannot see which books may wait");
        }
        // Set once: a process runs one hub.
        self.monitor.listening_since_ms.set(self.now_ms()).ok();
        tokio::join!(
            self.consolidate_forever(),
            self.watch_forever(),
            self.write_runs_forever(),
            self.deliver_forever(),
        );
    }
}
