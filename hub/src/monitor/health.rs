//! Is the process alive, and may it be given work?

use super::lock;
use crate::hub::Hub;
use crate::limits::{DISK_LOW_MARGIN, LOOP_SILENCE_MAX, READY_ANSWER_MS, READY_TIMEOUT};
use crate::store::{Reader, Store};
use std::error::Error;
use std::io;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// When each main loop gave a sign, the last time; never in a process that has none.
#[derive(Default)]
pub(crate) struct Health {
    consolidator: Mutex<Option<Instant>>,
    watcher: Mutex<Option<Instant>>,
    /// What was said last about being ready, and when, by the hub's clock. Who asks meanwhile waits for the same.
    answer: tokio::sync::Mutex<Option<(i64, Vec<String>)>>,
}

impl Health {
    /// Notes a turn of the consolidator's loop.
    pub(crate) fn consolidated(&self) {
        *lock(&self.consolidator) = Some(Instant::now());
    }

    /// Notes a turn of the watching loop.
    pub(super) fn watched(&self) {
        *lock(&self.watcher) = Some(Instant::now());
    }

    fn silence(of: &Mutex<Option<Instant>>) -> Option<Duration> {
        lock(of).map(|last| last.elapsed())
    }
}

/// All causes of an error in one line.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Hub {
    pub(crate) fn health(&self) -> &Health {
        &self.monitor.health
    }

    /// What is dead in this process; nothing when it lives.
    pub(crate) async fn dead(&self) -> Vec<String> {
        let mut dead = Vec::new();
        let health = self.health();
        let loops = [
            ("consolidator", &health.consolidator, self.config.sweep),
            ("watcher", &health.watcher, self.config.watch),
        ];
        for (name, last, pause) in loops {
            let silent = Health::silence(last);
            if let Some(silent) = silent.filter(|it| *it > pause.saturating_add(LOOP_SILENCE_MAX)) {
                dead.push(format!(
                    "the {name} gave no sign for {} s",
                    silent.as_secs()
                ));
            }
        }
        let answer = self
            .lookups
            .call(|reader: &mut Reader| reader.catalog_revision());
        match tokio::time::timeout(LOOP_SILENCE_MAX, answer).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => dead.push(format!("the databases cannot be read: {}", words(&error))),
            Err(_elapsed) => dead.push("the databases do not answer".to_owned()),
        }
        dead
    }

    /// What keeps the hub from taking in the sales of its tills; nothing when it is ready. As it was found within the
    /// last [`READY_ANSWER_MS`].
    pub(crate) async fn unready(&self) -> Vec<String> {
        let mut answer = self.health().answer.lock().await;
        let now_ms = self.now_ms();
        if let Some((at_ms, problems)) = answer.as_ref()
            && now_ms.abs_diff(*at_ms) < READY_ANSWER_MS.unsigned_abs()
        {
            return problems.clone();
        }
        let problems = self.look_whether_ready().await;
        // Those who waited meanwhile get the same, however long it took.
        *answer = Some((self.now_ms(), problems.clone()));
        problems
    }

    async fn look_whether_ready(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.unwritable().await);
        let schema = self.lookups.call(|reader: &mut Reader| reader.outdated());
        match tokio::time::timeout(READY_TIMEOUT, schema).await {
            Ok(Ok(outdated)) => problems.extend(outdated.map(|it| format!("schema: {it}"))),
            Ok(Err(error)) => problems.push(format!("schema: {}", words(&error))),
            Err(_elapsed) => problems.push("schema: the databases do not answer".to_owned()),
        }
        match self.disk_low(false).await {
            Ok(low) => problems.extend(low.map(|it| format!("disk: {it}"))),
            Err(error) => problems.push(format!("disk: its room cannot be read: {error}")),
        }
        if let Some(idle) = self.monitor.idle_with_work()
            && idle > self.config.stuck
        {
            let seconds = idle.as_secs();
            problems.push(format!(
                "consolidator: nothing was consolidated for {seconds} s though something waits"
            ));
        }
        problems
    }

    /// Why nothing can be written to `hub.db`.
    async fn unwritable(&self) -> Option<String> {
        let now_ms = self.now_ms();
        let write = self
            .writer
            .call(move |store: &mut Store| store.try_writing(now_ms));
        match tokio::time::timeout(READY_TIMEOUT, write).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("database: it cannot be written: {}", words(&error))),
            Err(_elapsed) => Some("database: it cannot be written: no answer in time".to_owned()),
        }
    }

    /// Says so when the disk has less room than the operator wants; when that is said already, until there is
    /// [`DISK_LOW_MARGIN`] more.
    pub(super) async fn disk_low(&self, is_said: bool) -> io::Result<Option<String>> {
        let Some(free) = self.disk_free().await? else {
            return Ok(None);
        };
        let limit = self.config.disk_bytes_min;
        Ok(is_low(free, limit, is_said).then(|| {
            let (free, limit) = (free >> 20, limit >> 20);
            format!("the hub's disk has {free} MiB left, less than {limit} MiB")
        }))
    }

    /// Bytes that the hub may still write; `None` where the system does not say.
    pub(crate) async fn disk_free(&self) -> io::Result<Option<u64>> {
        let (files, path) = (self.env.files.clone(), self.config.data.clone());
        let free = move || files.free_bytes(&path);
        self.env.execution.blocking(free).await
    }
}

const fn is_low(free: u64, limit: u64, is_said: bool) -> bool {
    let margin = if is_said && limit > 0 {
        DISK_LOW_MARGIN
    } else {
        0
    };
    free < limit.saturating_add(margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_at_its_limit_is_low_once_until_there_is_clearly_more() {
        let limit = 512 << 20;
        let enough = limit + DISK_LOW_MARGIN;
        let mut said = false;
        let seen = [
            limit + 1,
            limit - 1,
            limit + 1,
            limit - 1,
            enough - 1,
            enough,
            limit,
        ];
        let told = seen.map(|free| {
            said = is_low(free, limit, said);
            said
        });
        assert_eq!(told, [false, true, true, true, true, false, false]);
        assert!(
            is_low(1, u64::MAX, true) && !is_low(1, 0, true),
            "whatever the limit"
        );
    }
}
