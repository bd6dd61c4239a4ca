//! When all tills and the hub agree, and how a task is given to many tills.

use crate::hub::Hub;
use crate::till::Till;
use anyhow::{Context as _, bail};
use counterfoil_protocol::wire::hub::HubStatus;
use counterfoil_protocol::wire::node::NodeStatus;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Processes that are started or fed at once: enough to keep two cores and a disk busy.
pub const PARALLEL_MAX: usize = 6;

const POLL_PAUSE: Duration = Duration::from_millis(100);
/// A till that lags behind is asked to sync this often; its own timer may be slower than a demo.
const NUDGE_EVERY: Duration = Duration::from_secs(1);

/// Statuses of tills, in their order.
pub async fn statuses(tills: &[Arc<Till>]) -> anyhow::Result<Vec<NodeStatus>> {
    in_parallel(tills.to_vec(), |till| async move { till.status().await }).await
}

/// Waits until every till has everything consolidated and holds the newest catalog; says how long
/// that took.
pub async fn settle(tills: &[Arc<Till>], hub: &Hub, limit: Duration) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut nudged = start;
    loop {
        let lagging = lagging(tills, hub).await?;
        if lagging.is_empty() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > limit {
            let reasons: Vec<&str> = lagging.values().map(String::as_str).collect();
            bail!("not all agree after {limit:?}:\n  {}", reasons.join("\n  "));
        }
        if nudged.elapsed() > NUDGE_EVERY {
            let behind = lagging.keys().map(|index| Arc::clone(&tills[*index]));
            in_parallel(behind.collect(), |till: Arc<Till>| async move {
                till.nudge().await;
                Ok(())
            })
            .await?;
            nudged = Instant::now();
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// Digests of the catalog by who holds it: `hub`, or the till's name.
pub async fn catalog_digests(
    tills: &[Arc<Till>],
    hub: &HubStatus,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::from([("hub".to_owned(), hub.catalog_digest.clone())]);
    for till in tills {
        digests.insert(till.name.clone(), till.catalog_digest().await?.digest);
    }
    Ok(digests)
}

/// Tills that are behind, by index, and why.
async fn lagging(tills: &[Arc<Till>], hub: &Hub) -> anyhow::Result<BTreeMap<usize, String>> {
    let statuses = statuses(tills).await?;
    let revisions = statuses.iter().map(|status| status.catalog_revision);
    let newest = revisions.max().unwrap_or(0);
    let mut lagging = BTreeMap::new();
    for (index, status) in statuses.iter().enumerate() {
        let behind = status.pending > 0
            || status.hub_consolidated_seq != status.journal_seq
            || status.pending_edits > 0
            || status.catalog_revision != newest;
        if behind {
            lagging.insert(index, describe(&tills[index].name, status, newest));
        }
    }
    if lagging.is_empty() {
        let revision = hub.status().await?.catalog_revision;
        if revision != newest {
            let name = |index: usize| &tills[index].name;
            let all = statuses.iter().enumerate();
            lagging = all
                .map(|(index, status)| (index, describe(name(index), status, revision)))
                .collect();
        }
    }
    Ok(lagging)
}

fn describe(name: &str, status: &NodeStatus, newest: i64) -> String {
    let NodeStatus {
        pending,
        pending_edits,
        journal_seq,
        hub_consolidated_seq,
        ..
    } = status;
    let (revision, sync) = (status.catalog_revision, &status.sync);
    let error = status.last_error.as_deref().unwrap_or("no error");
    format!(
        "{name}: {sync}, {pending} pending, {hub_consolidated_seq} of {journal_seq} consolidated, \
         {pending_edits} edits pending, catalog revision {revision} of {newest}, {error}"
    )
}

/// Runs a task for each item, a few at once, and returns the results in the order of the items.
/// The first error ends it all.
pub async fn in_parallel<T, R, F>(items: Vec<T>, task: impl Fn(T) -> F) -> anyhow::Result<Vec<R>>
where
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(PARALLEL_MAX));
    let mut tasks = JoinSet::new();
    let count = items.len();
    for (index, item) in items.into_iter().enumerate() {
        let (slots, future) = (Arc::clone(&slots), task(item));
        drop(tasks.spawn(async move {
            let _slot = slots.acquire().await?;
            anyhow::Ok((index, future.await?))
        }));
    }
    let mut results: Vec<Option<R>> = std::iter::repeat_with(|| None).take(count).collect();
    while let Some(joined) = tasks.join_next().await {
        let (index, result) = joined.context("a task of the driver failed")??;
        results[index] = Some(result);
    }
    Ok(results.into_iter().flatten().collect())
}
