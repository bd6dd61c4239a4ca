//! Moves what nodes pushed into the hub's tables, and publishes the catalog.
//!
//! A push wakes it; a sweep catches the rest. Passes go by priority across all nodes: nobody's
//! stock is consolidated before everybody's sales (`pass`). One pass at a time, whoever asks for it.

mod pass;
#[cfg(test)]
mod tests;

use self::pass::{Left, Next, Pass};
use crate::copies::{CopyFailure, CopyKey, Held};
use crate::history::{HistoriesError, Past};
use crate::hub::Hub;
use crate::limits::RETRY_PAUSE_MIN;
use crate::monitor::words;
use crate::news::Place;
use crate::store::{Found, NodeBook, Reader, Step, Store, StoreError};
use counterfoil_domain::{NodeId, Priority};
use counterfoil_replica::{Copy, Rotation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Which nodes pushed something since the consolidator looked.
#[derive(Default)]
pub(crate) struct Inbox {
    nodes: Mutex<BTreeSet<NodeId>>,
    /// Nodes with something that the last pass left to the next one.
    put_off: Mutex<BTreeSet<NodeId>>,
    news: Notify,
    /// One pass at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Inbox {
    /// Notes that the node pushed.
    pub(crate) fn wake(&self, node: NodeId) {
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node);
        self.news.notify_one();
    }

    /// Who pushed since the last look.
    fn take(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who pushed, and who was put off.
    fn take_all(&self) -> BTreeSet<NodeId> {
        let mut all = self.take();
        let mut put_off = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut put_off);
        all
    }

    /// Leaves nodes to the next pass.
    fn put_off(&self, nodes: BTreeSet<NodeId>) {
        if nodes.is_empty() {
            return;
        }
        let mut put_off = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        put_off.extend(nodes);
        drop(put_off);
        self.news.notify_one();
    }
}

/// Why a pass ended early. What was moved stays moved; the next pass goes on from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsolidateError {
    #[error("cannot consolidate")]
    Store(#[from] StoreError),
    #[error("cannot use a copy")]
    Copy(#[from] CopyFailure),
    #[error("cannot prune histories")]
    History(#[from] HistoriesError),
    #[error("cannot look for books")]
    Files(#[source] std::io::Error),
}

impl From<ConsolidateError> for crate::http::ApiError {
    fn from(error: ConsolidateError) -> Self {
        Self::internal(&error)
    }
}

pub(crate) fn log(error: &ConsolidateError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "consolidation stopped"
    );
}

impl Hub {
    /// Consolidates whenever something arrives, and everything each `sweep`. Ends never.
    pub(crate) async fn consolidate_forever(&self) {
        let (mut due, mut pause) = (Instant::now(), RETRY_PAUSE_MIN);
        loop {
            self.health().consolidated();
            let timeout = due.saturating_duration_since(Instant::now());
            let news = async {
                tokio::select! {
                    biased;
                    () = self.inbox.news.notified() => {}
                    () = self.copies.damaged() => {}
                }
            };
            let woken = tokio::time::timeout(timeout, news).await;
            // What comes faster than it is dealt with must not put off the sweep for ever.
            let result = if woken.is_ok() && Instant::now() < due {
                self.consolidate(self.inbox.take_all()).await
            } else {
                due = Instant::now() + self.config.sweep;
                self.sweep().await
            };
            match result {
                Ok(()) => pause = RETRY_PAUSE_MIN,
                Err(error) => {
                    log(&error);
                    // The sweep is the retry: soon, then less and less often.
                    due = due.min(Instant::now() + pause);
                    pause = (pause * 2).min(self.config.sweep);
                }
            }
        }
    }

    /// What fails must not keep the rest from its turn: the first failure is told. Pruning comes first,
    /// because on a full disk everything else needs its room.
    async fn sweep(&self) -> Result<(), ConsolidateError> {
        let mut result = self.prune_histories().await.map_err(Into::into);
        result = result.and(self.consolidate_everything().await);
        result = result.and(self.verify_next().await.map_err(Into::into));
        let folded = self.writer.call(Store::checkpoint).await;
        result.and(folded.map_err(Into::into))
    }

    /// Consolidates and publishes everything that was pushed so far.
    pub(crate) async fn consolidate_everything(&self) -> Result<(), ConsolidateError> {
        let mut nodes = self.inbox.take_all();
        nodes.extend(self.nodes_with_entries().await?);
        self.consolidate(nodes).await
    }

    /// Nodes of which something is here: their own till has pushed it, or another lane has brought it.
    pub(crate) async fn nodes_with_entries(&self) -> Result<BTreeSet<NodeId>, ConsolidateError> {
        let relayed = self.lookups.call(|reader| reader.relayed_nodes()).await?;
        let mut nodes = BTreeSet::from_iter(relayed);
        for node in self.lookups.call(|reader| reader.node_ids()).await? {
            let has = self.copies.has_book(node);
            if has.map_err(ConsolidateError::Files)? {
                nodes.insert(node);
            }
        }
        Ok(nodes)
    }

    async fn consolidate(&self, nodes: BTreeSet<NodeId>) -> Result<(), ConsolidateError> {
        let _turn = self.inbox.turn.lock().await;
        self.report_damages().await;
        let (mut result, seen) = self.run(Pass::over(nodes)).await;
        result = result.and(self.follow().await.1);
        result = result.and(self.publish().await);
        for node in seen {
            result = result.and(self.rotate(&CopyKey::Book(node)).await);
            self.let_sales_through().await;
        }
        result
    }

    /// Runs a pass to its end; the nodes that were looked at. What fails for one node must not hold up the
    /// others; the first failure is told.
    async fn run(&self, mut pass: Pass) -> (Result<(), ConsolidateError>, BTreeSet<NodeId>) {
        let (mut failure, mut failed) = (None, BTreeSet::new());
        let mut looked = BTreeMap::new();
        loop {
            self.health().consolidated();
            if pass.is_asking() {
                pass.arrived(self.inbox.take());
            }
            match pass.next() {
                Some(Next::Survey(node, is_owed)) => {
                    looked.insert(node, Instant::now());
                    // What its former nodes still have to say decides where a new identity begins.
                    if let Err(error) = self.consolidate_formers(node).await {
                        failure.get_or_insert(error);
                    }
                    let found = self.survey(node).await;
                    let found = found.unwrap_or_else(|error| {
                        failed.insert(node);
                        failure.get_or_insert(error);
                        Found::default()
                    });
                    pass.found(node, is_owed, &found);
                }
                Some(Next::Step(priority, waiting)) => {
                    match self.step(waiting.node, priority).await {
                        Ok(Some(until)) => pass.moved(priority, waiting, until),
                        Ok(None) => {}
                        Err(error) => {
                            failed.insert(waiting.node);
                            failure.get_or_insert(error);
                        }
                    }
                }
                None => break,
            }
        }
        let Left {
            seen,
            urgent,
            put_off,
        } = pass.end();
        looked.retain(|node, _| {
            ![&failed, &urgent, &put_off]
                .iter()
                .any(|it| it.contains(node))
        });
        self.monitor.caught_up(&looked);
        // Whoever publishes or folds next lets these through in between.
        for node in urgent {
            self.inbox.wake(node);
        }
        self.inbox.put_off(put_off);
        (failure.map_or(Ok(()), Err), seen)
    }

    /// Lets sales through that arrived while something long is under way. The caller holds the turn.
    pub(crate) async fn let_sales_through(&self) {
        let nodes = self.inbox.take();
        if nodes.is_empty() {
            return;
        }
        let (result, seen) = self.run(Pass::over_urgent(nodes)).await;
        if let Err(error) = result {
            log(&error);
        }
        // The next pass looks at them again, for what failed and for the size of their WALs.
        self.inbox.put_off(seen);
    }

    /// Before a new identity's first book: everything that is there of the nodes it was before.
    async fn consolidate_formers(&self, node: NodeId) -> Result<(), ConsolidateError> {
        let formers = move |reader: &mut Reader| reader.formers_to_consolidate(node);
        let mut result = Ok(());
        for former in self.lookups.call(formers).await? {
            match self.survey(former).await {
                Ok(found) => {
                    for priority in found.priorities {
                        result = result.and(self.steps(former, priority).await);
                    }
                }
                // Entries that the hub cannot read there count as the new identity's.
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    async fn steps(&self, node: NodeId, priority: Priority) -> Result<(), ConsolidateError> {
        while self.step(node, priority).await?.is_some() {}
        Ok(())
    }

    /// A node's book, held; `None` when nothing of it is here yet, whichever way.
    pub(crate) async fn held_book(
        &self,
        node: NodeId,
    ) -> Result<Option<(Held, NodeBook)>, ConsolidateError> {
        let held = self.copies.book(node).await?;
        let (held, info) = self.copies.info(held).await?;
        // Attaching an empty file would write it.
        let path = (!info.empty).then(|| self.copies.book_path(node));
        if path.is_none() && !self.lookups.call(move |it| it.is_relayed(node)).await? {
            return Ok(None);
        }
        let now_ms = self.now_ms();
        let ahead_ms = i64::try_from(self.config.ahead.as_millis()).unwrap_or(i64::MAX >> 1);
        let book = NodeBook {
            node,
            path,
            now_ms,
            ahead_ms,
        };
        Ok(Some((held, book)))
    }

    /// What waits in a book.
    async fn survey(&self, node: NodeId) -> Result<Found, ConsolidateError> {
        let Some((held, book)) = self.held_book(node).await? else {
            return Ok(Found::default());
        };
        self.on_book(Some(held), move |store| store.survey(&book))
            .await
    }

    /// Has the store work on a book, which is held until it is done, also when nobody waits for that any
    /// more: nobody may close it while it is attached. A book that the store finds damaged is read as a whole.
    pub(crate) async fn on_book<R: Send + 'static>(
        &self,
        held: Option<Held>,
        work: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, ConsolidateError> {
        let (held, result) = self.writer.call(|store| (held, work(store))).await;
        if let Err(StoreError::Sql(error)) = &result
            && error.is_corrupt()
            && let Some(held) = held
            && let Err(error) = self.copies.work(held, Copy::verify).await
        {
            log(&error.into());
        }
        Ok(result?)
    }

    /// Moves one batch; up to where when more may follow.
    async fn step(
        &self,
        node: NodeId,
        priority: Priority,
    ) -> Result<Option<i64>, ConsolidateError> {
        let Some((held, book)) = self.held_book(node).await? else {
            return Ok(None);
        };
        let began = self.began();
        let step = self.on_book(Some(held), move |store| store.consolidate(&book, priority));
        Ok(match step.await {
            Ok(Step::Moved { moved, until, more }) => {
                let entries = moved.entries;
                tracing::debug!(%node, priority = priority.name(), entries, "consolidated");
                // Its watermark went past entries of other priorities, that is all.
                if entries > 0 {
                    self.note_batch(node, priority, began, Ok(moved));
                }
                more.then_some(until)
            }
            Ok(Step::Idle | Step::Halted) => None,
            Err(error) => {
                self.note_batch(node, priority, began, Err(words(&error)));
                return Err(error);
            }
        })
    }

    /// Decides what is undecided, writes changed rows to the catalog, and tells of records that stepped aside, also when
    /// nothing could be published.
    pub(crate) async fn publish(&self) -> Result<(), ConsolidateError> {
        let published = self.publish_rows().await;
        let now_ms = self.now_ms();
        let tend = move |store: &mut Store| store.tend_quarantine(now_ms);
        let tended = self.writer.call(tend).await;
        published.and(tended.map_err(Into::into))
    }

    /// Publishes until no row is left, and folds the catalog's WAL when it is large.
    async fn publish_rows(&self) -> Result<(), ConsolidateError> {
        loop {
            // Pulls wait meanwhile: it is a fraction of a second.
            let held = self.copies.catalog().await?;
            let now_ms = self.now_ms();
            let published = self.writer.call(move |store| store.publish(now_ms)).await;
            let limit = self.config.wal_limit_bytes;
            let left = published?;
            if left {
                drop(held);
                self.let_sales_through().await;
                continue;
            }
            // The writer is idle on the catalog: only this task uses it, and it waits here.
            let fold = move |copy: &mut Copy| {
                copy.note_time(now_ms)?;
                Ok((copy.checkpoint_if_over(limit)?, copy.info()?))
            };
            let (rotation, info) = self.copies.work(held, fold).await?;
            self.catalog_is_whole.store(true, Ordering::Release);
            self.news.catalog_is_at(Place::of(&info));
            self.rotated(&Past::Catalog, rotation).await;
            return Ok(());
        }
    }

    /// Says that frames came in: a book is consolidated, a free-standing database has nobody else
    /// who would look after the size of its WAL.
    pub(crate) async fn arrived(&self, key: &CopyKey) {
        if let CopyKey::Book(node) = key {
            self.monitor.arrived(*node);
            self.inbox.wake(*node);
        } else if let Err(error) = self.rotate(key).await {
            // The frames are durable all the same; the next push looks again.
            log(&error);
        }
    }

    async fn rotate(&self, key: &CopyKey) -> Result<(), ConsolidateError> {
        let held = self.copies.pushed(key).await?;
        let limit = self.config.wal_limit_bytes;
        let fold = move |copy: &mut Copy| copy.checkpoint_if_over(limit);
        let rotation = self.copies.work(held, fold).await?;
        self.rotated(&Past::Pushed(key.clone()), rotation).await;
        Ok(())
    }

    /// Begins a generation when the WAL is large and a stock client is at its end; `place` is the
    /// generation and the frame with which it goes on.
    pub(crate) async fn lead_over(
        &self,
        key: &CopyKey,
        held: Held,
        place: (u64, u64),
    ) -> Result<Held, CopyFailure> {
        let ((generation, start), limit) = (place, self.config.wal_limit_bytes);
        let lead = move |copy: &mut Copy| copy.checkpoint_for_stock(generation, start, limit);
        let (held, rotation) = self.copies.on_copy(held, lead).await;
        self.rotated(&Past::Pushed(key.clone()), rotation?).await;
        Ok(held)
    }

    /// Says what became of a generation that may have ended.
    pub(crate) async fn rotated(&self, past: &Past, rotation: Rotation) {
        let Rotation::Rotated {
            generation,
            history_kept,
            ..
        } = rotation
        else {
            return;
        };
        tracing::info!(%past, generation, "a generation began");
        if !history_kept {
            let detail = format!(
                "what {past} was before generation {generation} could not be kept: it cannot be \
                 restored; is the disk full?"
            );
            self.alert("history_lost", None, &detail).await;
        }
    }
}
