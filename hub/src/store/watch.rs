//! Which states that ask for a person have begun or ended?
//!
//! A till's clock and a book that cannot be consolidated any further are noticed where they happen; what nobody does,
//! such as a till that keeps silent, is found here, by looking.

use super::alerts::{self, NewAlert};
use super::{Reader, Store, StoreError, node_id};
use counterfoil_domain::NodeId;
use counterfoil_domain::closure::Day;
use counterfoil_migrate::params;
use counterfoil_protocol::wire::monitor::AlertRow;
use std::collections::BTreeMap;

/// A till that may trade: neither revoked nor of a closed shop, and nobody goes on in its place.
pub(super) const TRADES: &str = "node.revoked_ms IS NULL AND shop.active <> 0 AND NOT EXISTS
    (SELECT 1 FROM node AS heir WHERE heir.forked_from = node.number
     AND heir.created_ms >= coalesce(node.seen_ms, 0))";

/// States that are found by looking.
const KINDS: [&str; 4] = ["silent", "failed_items", "not_consolidated", "disk_low"];
const PROOF_FAILED: &str = "proof_failed";
const QUARANTINE: &str = "quarantine_not_empty";

/// What is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) now_ms: i64,
    /// Silence before this does not count: the hub was not there to hear.
    pub(crate) since_ms: i64,
    /// How long a till may be silent; always when absent.
    pub(crate) silent_ms: Option<i64>,
    /// States that others have found: kind, node and words.
    pub(crate) found: Vec<(&'static str, Option<NodeId>, String)>,
    /// Days that were judged, with the tills whose closure is not what was consolidated, and why.
    pub(crate) judged: BTreeMap<Day, Vec<(NodeId, String)>>,
}

/// What is new.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) begun: Vec<NewAlert>,
    pub(crate) ended: Vec<AlertRow>,
}

/// What the proof of a day depends on.
pub(crate) type ProofMark = (i64, i64, i64, i64);

impl Reader {
    /// Compares what is with what alerts say.
    pub(crate) fn look(&self, look: &Look) -> Result<Changes, StoreError> {
        let mut states = self.silent(look)?;
        states.extend(self.failed_items(look.now_ms)?);
        for (kind, node, detail) in &look.found {
            states.push(state(look.now_ms, kind, *node, detail.clone()));
        }
        for (day, failed) in &look.judged {
            for (node, detail) in failed {
                let failed = state(look.now_ms, PROOF_FAILED, Some(*node), detail.clone());
                let subject = day.to_string();
                states.push(NewAlert { subject, ..failed });
            }
        }
        let mut ended = self.lasting(&KINDS)?;
        let judged: Vec<_> = look.judged.keys().map(Day::to_string).collect();
        let mut proofs = self.lasting(&[PROOF_FAILED])?;
        proofs.retain(|alert| judged.contains(&alert.subject));
        ended.append(&mut proofs);
        let same = |alert: &AlertRow, state: &NewAlert| {
            (alert.kind.as_str(), alert.node_id, &alert.subject)
                == (state.kind, state.node, &state.subject)
        };
        let begun = states
            .iter()
            .filter(|state| !ended.iter().any(|alert| same(alert, state)));
        let begun = begun.cloned().collect();
        ended.retain(|alert| !states.iter().any(|state| same(alert, state)));
        ended.extend(self.emptied()?);
        Ok(Changes { begun, ended })
    }

    /// Tills that have not been heard of for too long.
    fn silent(&self, look: &Look) -> Result<Vec<NewAlert>, StoreError> {
        let Some(silent_ms) = look.silent_ms else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT node.id, max(coalesce(node.seen_ms, node.created_ms), ?1) AS heard
             FROM node JOIN shop ON shop.id = node.shop WHERE {TRADES} AND heard < ?2"
        );
        let latest = look.now_ms.saturating_sub(silent_ms);
        Ok(self
            .hub
            .query_map(&sql, params![look.since_ms, latest], |row| {
                let minutes = look.now_ms.saturating_sub(row.get(1)?).div_euclid(60_000);
                let detail = format!("nothing was heard of this till for {minutes} minutes");
                Ok(state(look.now_ms, "silent", Some(node_id(row, 0)?), detail))
            })?)
    }

    /// Tills that have given up sending something (T5).
    fn failed_items(&self, now_ms: i64) -> Result<Vec<NewAlert>, StoreError> {
        let sql = format!(
            "SELECT node.id, node.failed FROM node JOIN shop ON shop.id = node.shop
             WHERE node.failed > 0 AND {TRADES}"
        );
        Ok(self.hub.query_map(&sql, (), |row| {
            let failed: i64 = row.get(1)?;
            let detail = format!(
                "this till has given up sending {failed} entries; `counterfoil-node sync now` there tries again"
            );
            Ok(state(now_ms, "failed_items", Some(node_id(row, 0)?), detail))
        })?)
    }

    /// Alerts of tills that have nothing in quarantine any more.
    fn emptied(&self) -> Result<Vec<AlertRow>, StoreError> {
        let sql = "SELECT node.id FROM node WHERE EXISTS
                       (SELECT 1 FROM quarantine WHERE node = node.number AND settled_ms IS NULL)";
        let filled = self.hub.query_map(sql, (), |row| node_id(row, 0))?;
        let mut alerts = self.lasting(&[QUARANTINE])?;
        alerts.retain(|alert| alert.node_id.is_none_or(|node| !filled.contains(&node)));
        Ok(alerts)
    }

    /// The newest closed days with what their proofs depend on: closures, and what was put aside or settled.
    pub(crate) fn closed_days(&self, limit: i64) -> Result<Vec<(Day, ProofMark)>, StoreError> {
        let sql = "SELECT day, count(*), sum(seq), (SELECT count(*) FROM quarantine),
                       (SELECT count(settled_ms) FROM quarantine)
                   FROM closure GROUP BY day ORDER BY day DESC LIMIT ?1";
        Ok(self.hub.query_map(sql, params![limit], |row| {
            let day = row.get_with(0, |text: String| text.parse::<Day>())?;
            Ok((day, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        })?)
    }
}

impl Store {
    /// Writes down what is new.
    pub(crate) fn note_changes(&self, changes: &Changes, now_ms: i64) -> Result<(), StoreError> {
        self.hub.transaction(|tx| {
            for alert in &changes.begun {
                alerts::raise(tx, alert)?;
            }
            for alert in &changes.ended {
                alerts::clear_one(tx, alert.id, now_ms)?;
            }
            Ok(())
        })
    }
}

fn state(at_ms: i64, kind: &'static str, node: Option<NodeId>, detail: String) -> NewAlert {
    NewAlert {
        at_ms,
        kind,
        node,
        subject: String::new(),
        detail,
    }
}
