//! Which states that ask for a person have begun or ended?
//!
//! A till's clock and a book that cannot be consolidated any further are noticed where they happen; what nobody does,
//! such as a till that keeps silent, is found here, by looking.

use super::alerts::{self, NewAlert};
use super::catalog::CatalogShape;
use super::contact::CLOCK_WRONG;
use super::gate::SHUT_OUT;
use super::prices::is_term;
use super::reading::BOOK_WAITS;
use super::tokens::EXPIRED;
use super::{Reader, Store, StoreError, node_id};
use counterfoil_domain::NodeId;
use counterfoil_domain::closure::Day;
use counterfoil_migrate::{SqlError, params};
use counterfoil_protocol::wire::monitor::AlertRow;
use std::collections::BTreeSet;

/// A till that may trade: neither revoked nor of a closed shop, and nobody goes on in its place.
pub(super) const TRADES: &str = "node.revoked_ms IS NULL AND shop.active <> 0 AND NOT EXISTS
    (SELECT 1 FROM node AS heir WHERE heir.forked_from = node.number
     AND heir.created_ms >= coalesce(node.seen_ms, 0))";

/// States of a till that end when it does not trade any more: nobody can do anything about them there.
const OF_A_TILL: [&str; 4] = [CLOCK_WRONG, BOOK_WAITS, SHUT_OUT, EXPIRED];
const SILENT: &str = "silent";
const FAILED_ITEMS: &str = "failed_items";
const PROOF_FAILED: &str = "proof_failed";
const QUARANTINE: &str = "quarantine_not_empty";
pub(super) const PRICE_OPEN: &str = "price_open";

/// By the index on what is open: the columns, with the shops that have a part.
pub(super) const OPEN_COLUMNS: &str =
    "SELECT DISTINCT c.table_name, c.column_name, shop.name FROM conflict AS c
     LEFT JOIN shop ON shop.id = c.loser_shop OR shop.id = c.winner_shop WHERE c.state = 'open'";

/// How long a till may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    pub(crate) now_ms: i64,
    /// Silence before this does not begin: the hub was not there to hear.
    pub(crate) since_ms: i64,
    /// Always when absent.
    pub(crate) limit_ms: Option<i64>,
}

/// What is new.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) begun: Vec<NewAlert>,
    pub(crate) ended: Vec<AlertRow>,
}

impl Changes {
    /// Compares the states that are with those that last.
    fn between(mut lasting: Vec<AlertRow>, mut states: Vec<NewAlert>) -> Self {
        let same = |alert: &AlertRow, state: &NewAlert| {
            (alert.kind.as_str(), alert.node_id, &alert.subject)
                == (state.kind, state.node, &state.subject)
        };
        let begun = states
            .extract_if(.., |state| !lasting.iter().any(|alert| same(alert, state)))
            .collect();
        lasting.retain(|alert| !states.iter().any(|state| same(alert, state)));
        let ended = lasting;
        Self { begun, ended }
    }

    /// Whether there is nothing new.
    pub(crate) fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.ended.is_empty()
    }

    /// Adds what another look has found.
    pub(crate) fn extend(&mut self, more: Self) {
        self.begun.extend(more.begun);
        self.ended.extend(more.ended);
    }
}

/// What the proof of a day depends on.
pub(crate) type ProofMark = (i64, i64, i64, i64);

impl Reader {
    /// Compares states that others have found, all of one kind, with what alerts say.
    pub(crate) fn compared(
        &self,
        kind: &'static str,
        states: Vec<NewAlert>,
    ) -> Result<Changes, StoreError> {
        Ok(Changes::between(self.lasting(&[kind])?, states))
    }

    /// Whether a state of the hub lasts.
    pub(crate) fn lasts(&self, kind: &str) -> Result<bool, StoreError> {
        Ok(!self.lasting(&[kind])?.is_empty())
    }

    /// Compares one day's proof with what alerts say: the tills whose closure is not what was consolidated, and why.
    pub(crate) fn judged(
        &self,
        now_ms: i64,
        day: Day,
        failed: &[(NodeId, String)],
    ) -> Result<Changes, StoreError> {
        let subject = day.to_string();
        let failed = failed.iter().map(|(node, detail)| {
            let failed = state(now_ms, PROOF_FAILED, Some(*node), detail.clone());
            let subject = subject.clone();
            NewAlert { subject, ..failed }
        });
        let mut lasting = self.lasting(&[PROOF_FAILED])?;
        lasting.retain(|alert| alert.subject == subject);
        Ok(Changes::between(lasting, failed.collect()))
    }

    /// Tills that have not been heard of for too long. What was told before the hub was started anew lasts until the
    /// till is heard.
    pub(crate) fn silent(&self, silence: Silence) -> Result<Changes, StoreError> {
        let lasting = self.lasting(&[SILENT])?;
        let Some(limit_ms) = silence.limit_ms else {
            return Ok(Changes::between(lasting, Vec::new()));
        };
        let sql = format!(
            "SELECT node.id, coalesce(node.seen_ms, node.created_ms) AS heard
             FROM node JOIN shop ON shop.id = node.shop WHERE {TRADES} AND heard < ?1"
        );
        let latest = silence.now_ms.saturating_sub(limit_ms);
        let mut states = Vec::new();
        self.hub
            .query_each(&sql, params![latest], |row| -> Result<(), SqlError> {
                let (node, heard_ms) = (node_id(row, 0)?, row.get::<i64>(1)?);
                let is_told = lasting.iter().any(|alert| alert.node_id == Some(node));
                let from_ms = heard_ms.max(silence.since_ms);
                if is_told || from_ms < latest {
                    let minutes = silence.now_ms.saturating_sub(from_ms).div_euclid(60_000);
                    let detail = format!("nothing was heard of this till for {minutes} minutes");
                    states.push(state(silence.now_ms, SILENT, Some(node), detail));
                }
                Ok(())
            })?;
        Ok(Changes::between(lasting, states))
    }

    /// Tills that reach the hub and keep failing to send (T5).
    pub(crate) fn failed_items(&self, now_ms: i64) -> Result<Changes, StoreError> {
        let sql = format!(
            "SELECT node.id, node.failed FROM node JOIN shop ON shop.id = node.shop
             WHERE node.failed > 0 AND {TRADES}"
        );
        let states = self.hub.query_map(&sql, (), |row| {
            let failed: i64 = row.get(1)?;
            let detail = format!(
                "this till keeps failing to send {failed} entries and goes on trying; `counterfoil-node status` there says why"
            );
            Ok(state(now_ms, FAILED_ITEMS, Some(node_id(row, 0)?), detail))
        })?;
        self.compared(FAILED_ITEMS, states)
    }

    /// States of tills that do not trade any more, and of a token that is not the till's any more or holds again. A book
    /// that waits is told again when its till trades again.
    pub(crate) fn rested(&self, now_ms: i64) -> Result<Changes, StoreError> {
        let sql = format!(
            "SELECT node.id, node.token_expires_ms <= ?1 OR node.next_token_expires_ms <= ?1, node.waits
             FROM node JOIN shop ON shop.id = node.shop WHERE {TRADES}"
        );
        let (mut trading, mut expired) = (Vec::new(), Vec::new());
        let mut waiting: Vec<NewAlert> = Vec::new();
        self.hub
            .query_each(&sql, params![now_ms], |row| -> Result<(), SqlError> {
                let node = node_id(row, 0)?;
                trading.push(node);
                if row.get::<Option<bool>>(1)?.unwrap_or(false) {
                    expired.push(node);
                }
                if let Some(why) = row.get::<Option<String>>(2)? {
                    waiting.push(state(now_ms, BOOK_WAITS, Some(node), why));
                }
                Ok(())
            })?;
        let lasts = |alert: &AlertRow| {
            let node = alert.node_id.as_ref();
            node.is_some_and(|node| match alert.kind.as_str() {
                EXPIRED => expired.contains(node),
                BOOK_WAITS => waiting.iter().any(|state| state.node == Some(*node)),
                _ => trading.contains(node),
            })
        };
        let lasting = self.lasting(&OF_A_TILL)?;
        let (keeps, ended): (Vec<_>, Vec<_>) = lasting.into_iter().partition(lasts);
        let begun = Changes::between(keeps, waiting).begun;
        Ok(Changes { begun, ended })
    }

    /// Tills that have nothing in quarantine any more; and those that have, of which nothing is told: a record may have
    /// stepped aside while the end of the one before it was written down.
    pub(crate) fn emptied(&self, now_ms: i64) -> Result<Changes, StoreError> {
        let sql =
            "SELECT node.id, min(q.told) FROM node JOIN quarantine AS q ON q.node = node.number
                   WHERE q.settled_ms IS NULL GROUP BY node.number";
        let filled = self
            .hub
            .query_map(sql, (), |row| Ok((node_id(row, 0)?, row.get::<bool>(1)?)))?;
        let mut ended = self.lasting(&[QUARANTINE])?;
        let of = |node: NodeId| move |alert: &AlertRow| alert.node_id == Some(node);
        let untold = filled
            .iter()
            .filter(|(node, told)| *told && !ended.iter().any(of(*node)));
        let detail = "records of this till stand in quarantine";
        let begun = untold
            .map(|(node, _)| state(now_ms, QUARANTINE, Some(*node), detail.to_owned()))
            .collect();
        ended.retain(|alert| {
            alert
                .node_id
                .is_none_or(|node| filled.iter().all(|(filled, _)| *filled != node))
        });
        Ok(Changes { begun, ended })
    }

    /// Shops of which prices wait for a person. It says so of each shop once, however many there are.
    pub(crate) fn open_prices(&self, now_ms: i64) -> Result<Changes, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        let mut shops = BTreeSet::new();
        self.hub
            .query_each(OPEN_COLUMNS, (), |row| -> Result<(), SqlError> {
                let (table, column): (String, String) = (row.get(0)?, row.get(1)?);
                let table = shape.table(&table);
                if table.is_some_and(|table| is_term(table, &column)) {
                    shops.insert(row.get::<Option<String>>(2)?.unwrap_or_default());
                }
                Ok(())
            })?;
        let states = shops.into_iter().map(|subject| {
            let detail = "prices that this shop and somebody else have changed at the same time wait for a person; \
                          `counterfoil-hub conflicts list --open` shows both values"
                .to_owned();
            NewAlert {
                subject,
                ..state(now_ms, PRICE_OPEN, None, detail)
            }
        });
        self.compared(PRICE_OPEN, states.collect())
    }

    /// The newest closed days, and older ones that an alert is about, with what their proofs depend on: closures, and
    /// what was put aside or settled.
    pub(crate) fn closed_days(&self, limit: i64) -> Result<Vec<(Day, ProofMark)>, StoreError> {
        let sql = "SELECT day, count(*), sum(seq), (SELECT count(*) FROM quarantine),
                       (SELECT count(settled_ms) FROM quarantine)
                   FROM closure
                   WHERE day IN (SELECT DISTINCT day FROM closure ORDER BY day DESC LIMIT ?1)
                      OR day IN (SELECT subject FROM alert WHERE lasting = 1 AND cleared_ms IS NULL
                                 AND kind = ?2)
                   GROUP BY day ORDER BY day DESC";
        Ok(self
            .hub
            .query_map(sql, params![limit, PROOF_FAILED], |row| {
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
                if alert.kind == SHUT_OUT {
                    // When it trades again and asks, that is told again.
                    let sql =
                        "DELETE FROM shut_out WHERE node = (SELECT number FROM node WHERE id = ?1)";
                    tx.execute(sql, params![alert.node_id.map(NodeId::to_bytes)])?;
                }
            }
            Ok(())
        })
    }
}

/// A state of the hub, or of a till.
pub(crate) fn state(
    at_ms: i64,
    kind: &'static str,
    node: Option<NodeId>,
    detail: String,
) -> NewAlert {
    NewAlert {
        at_ms,
        kind,
        node,
        subject: String::new(),
        detail,
    }
}
