//! What was synced, when, and how did it end?

use super::{Reader, Store, StoreError, node_id_optional};
use crate::limits::{RUN_DETAIL_CHARS_MAX, RUN_ROWS_MAX};
use counterfoil_domain::NodeId;
use counterfoil_migrate::params;
use counterfoil_protocol::wire::monitor::{RunKind, RunPage, RunResult, RunRow};

/// A run as it is noted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NewRun {
    pub(crate) node: Option<NodeId>,
    pub(crate) kind: RunKind,
    pub(crate) started_ms: i64,
    pub(crate) duration_ms: i64,
    pub(crate) requests: i64,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
    pub(crate) result: RunResult,
    pub(crate) detail: String,
}

impl NewRun {
    /// Takes in a run that followed at once and is alike; false when it is another one.
    pub(crate) fn absorb(&mut self, next: &Self) -> bool {
        let key = |run: &Self| (run.node, run.kind, run.result);
        if key(self) != key(next) || self.detail != next.detail {
            return false;
        }
        self.duration_ms = self.duration_ms.saturating_add(next.duration_ms);
        self.requests = self.requests.saturating_add(next.requests);
        self.rows = self.rows.saturating_add(next.rows);
        self.bytes = self.bytes.saturating_add(next.bytes);
        true
    }
}

/// Which runs are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunFilter {
    pub(crate) node: Option<NodeId>,
    /// Those with a smaller number.
    pub(crate) before: i64,
    pub(crate) limit: i64,
}

impl Store {
    /// Writes runs down, in one transaction.
    pub(crate) fn write_runs(&self, runs: &[NewRun]) -> Result<(), StoreError> {
        self.hub.transaction(|tx| {
            for run in runs {
                let detail: String = run.detail.chars().take(RUN_DETAIL_CHARS_MAX).collect();
                tx.execute(
                    "INSERT INTO run (node, kind, started_ms, duration_ms, requests, frames, bytes, result, detail)
                     VALUES ((SELECT number FROM node WHERE id = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    params![
                        run.node.map(NodeId::to_bytes),
                        run.kind.name(),
                        run.started_ms,
                        run.duration_ms,
                        run.requests,
                        run.rows,
                        run.bytes,
                        run.result.name(),
                        detail
                    ],
                )?;
            }
            tx.execute(
                "DELETE FROM run WHERE id <= (SELECT max(id) FROM run) - ?1",
                params![RUN_ROWS_MAX],
            )?;
            Ok(())
        })
    }
}

impl Reader {
    /// A page of runs, newest first.
    pub(crate) fn runs(&self, filter: RunFilter) -> Result<RunPage, StoreError> {
        let sql = "SELECT run.id, node.id, shop.name || '/' || node.lane, kind, started_ms, duration_ms,
                       requests, frames, bytes, result, detail
                   FROM run LEFT JOIN node ON node.number = run.node LEFT JOIN shop ON shop.id = node.shop
                   WHERE run.id < ?1
                       AND (?2 IS NULL OR run.node = (SELECT number FROM node WHERE id = ?2))
                   ORDER BY run.id DESC LIMIT ?3";
        let node = filter.node.map(NodeId::to_bytes);
        let page = params![filter.before, node, filter.limit.saturating_add(1)];
        let mut runs = self.hub.query_map(sql, page, |row| {
            let kind = |name: String| RunKind::from_name(&name).ok_or("unknown kind of run");
            let result =
                |name: String| RunResult::from_name(&name).ok_or("unknown result of a run");
            Ok(RunRow {
                id: row.get(0)?,
                node_id: node_id_optional(row, 1)?,
                till: row.get(2)?,
                kind: row.get_with(3, kind)?,
                started_ms: row.get(4)?,
                duration_ms: row.get(5)?,
                requests: row.get(6)?,
                rows: row.get(7)?,
                bytes: row.get(8)?,
                result: row.get_with(9, result)?,
                detail: row.get(10)?,
            })
        })?;
        let shown = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = runs.len() > shown;
        runs.truncate(shown);
        let next = runs.last().filter(|_| more).map(|last| last.id);
        Ok(RunPage { runs, next })
    }
}
