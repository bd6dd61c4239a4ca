//! Conflicts in which this shop has a part: as the hub told them last, with what was decided here since.
//!
//! A decision is an edit in the book that replaces both values. It works offline, travels with the next
//! sync, and is merged like any other.

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use crate::tables::to_json;
use counterfoil_domain::edit::{CatalogEdit, ConflictDecision, Scalar};
use counterfoil_domain::employee::{InvalidEmployee, is_secret};
use counterfoil_domain::merge::{Policy, Stamp};
use counterfoil_domain::{Document, Topic};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::decisions::{
    Choice, ConflictChanges, ConflictCursor, ConflictRow, ConflictSide, ConflictState, Deciding,
    PendingDecision, ShopConflict, ShopConflictPage,
};
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_protocol::wire::policies::PolicyRow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who decides when nobody is named.
const BY_DEFAULT: &str = "till";

const HEARD_KEY: &str = "conflicts_heard";

/// How far the hub's conflicts have been heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConflictsHeard {
    /// The place after the last one.
    pub cursor: ConflictCursor,
    /// The hub said that there are more behind it.
    pub more: bool,
}

/// Which conflicts are asked for.
#[derive(Clone, Debug, Default)]
pub struct ConflictFilter {
    /// Only those in this state.
    pub state: Option<ConflictState>,
    /// Only those of a catalog table.
    pub table: Option<String>,
    /// Those with a greater number.
    pub after: i64,
    /// At most so many.
    pub limit: i64,
}

/// A decision about a conflict.
#[derive(Clone, Debug)]
pub struct DecideConflict {
    /// Number of the conflict.
    pub conflict: i64,
    /// What is chosen; for putting back the loser.
    pub choice: Choice,
    /// Whether the value that lost is put back, however the conflict was settled.
    pub put_back: bool,
    /// Who, and what they saw.
    pub deciding: Deciding,
    /// Wall time in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl ShopStore {
    /// How far the hub's conflicts have been heard.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn conflicts_heard(&self) -> Result<ConflictsHeard, StoreError> {
        match self.local_state(HEARD_KEY)? {
            Some(text) => Ok(serde_json::from_str(&text)?),
            None => Ok(ConflictsHeard::default()),
        }
    }

    /// Keeps what the hub told of conflicts, with the place that it reaches to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hear_conflicts(&mut self, told: &ConflictChanges) -> Result<(), StoreError> {
        let heard = ConflictsHeard {
            cursor: told.cursor,
            more: told.more,
        };
        self.conn.transaction(|tx| -> Result<(), StoreError> {
            for row in &told.conflicts {
                tx.execute(
                    "INSERT OR REPLACE INTO local.conflict (id, state, table_name, content)
                     VALUES (?1, ?2, ?3, ?4)",
                    params![
                        row.id,
                        row.state.name(),
                        row.table.as_str(),
                        serde_json::to_string(row)?
                    ],
                )?;
            }
            self.set_local_state(HEARD_KEY, &serde_json::to_string(&heard)?)
        })
    }

    /// Forgets what the hub told: it knows less than it did, so it is told again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_conflicts(&mut self) -> Result<(), StoreError> {
        self.conn.transaction(|_| self.drop_conflicts())
    }

    /// As [`Self::forget_conflicts`], within a transaction.
    pub(crate) fn drop_conflicts(&self) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM local.conflict", ())?;
        self.remove_local_state(HEARD_KEY)
    }

    /// A page of conflicts of this shop, by number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn conflicts(&self, filter: &ConflictFilter) -> Result<ShopConflictPage, StoreError> {
        let mut rows = self.conn.query_map(
            "SELECT content FROM local.conflict WHERE id > ?1 AND (?2 IS NULL OR state = ?2)
                 AND (?3 IS NULL OR table_name = ?3) ORDER BY id LIMIT ?4",
            params![
                filter.after,
                filter.state.map(ConflictState::name),
                filter.table.as_deref(),
                filter.limit.saturating_add(1)
            ],
            |row| row.get_with(0, |text: String| serde_json::from_str(&text)),
        )?;
        let shown = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last: &ConflictRow| last.id);
        let conflicts = rows.into_iter().map(|row| self.seen_here(row));
        Ok(ShopConflictPage {
            conflicts: conflicts.collect::<Result<_, _>>()?,
            next,
        })
    }

    /// One conflict of this shop.
    ///
    /// # Errors
    /// [`StoreError::UnknownConflict`].
    pub fn conflict(&self, id: i64) -> Result<ShopConflict, StoreError> {
        self.seen_here(told(&self.conn, id)?)
    }

    /// Decides a conflict: an edit in the book, which the hub merges when it gets it. The same decision made
    /// again writes nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownConflict`], [`StoreError::ConflictSettled`], [`StoreError::ConflictChanged`];
    /// [`StoreError::IdTaken`] when the id names something else; those of a value that does not fit.
    pub fn decide_conflict(&mut self, order: &DecideConflict) -> Result<Recorded, StoreError> {
        self.write(|writer| writer.decide_conflict(order))
    }

    /// How conflicts are settled, as the catalog states it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn policies(&self) -> Result<Vec<PolicyRow>, StoreError> {
        let sql = "SELECT table_name, column_name, policy, since_ms FROM catalog.policy
                   ORDER BY table_name, column_name";
        Ok(self.conn.query_map(sql, (), |row| {
            Ok(PolicyRow {
                table: row.get(0)?,
                column: row.get(1)?,
                policy: row.get_with(2, |name: String| {
                    Policy::from_name(&name).ok_or("unknown policy")
                })?,
                since_ms: row.get(3)?,
            })
        })?)
    }

    /// The conflict with what the lanes of this shop wrote since the hub told it.
    fn seen_here(&self, mut row: ConflictRow) -> Result<ShopConflict, StoreError> {
        let binding = self.binding.as_ref();
        let shop = binding.map(|binding| binding.shop);
        let (mut written, mut visible) = (Vec::new(), None);
        if let Some(table) = self.tables.get(&row.table) {
            written = self.edits_of(table, &row.row, shop)?;
            written.retain(|held| !held.is_merged && held.edit.columns.contains_key(&row.column));
            written.sort_unstable_by_key(|held| held.stamp);
            if let Some(seen) = self.overlay_row(table, &row.row)? {
                visible = seen.versions()?.get(&row.column).copied();
            }
        }
        let pending = written.iter().rev().find_map(|held| {
            let decision = held.edit.decision.as_ref()?;
            let value = held.edit.columns.get(&row.column)?;
            (decision.loser == row.loser.stamp).then(|| PendingDecision {
                id: held.origin.edit,
                choice: decision.choice,
                put_back: decision.put_back,
                value: to_json(value),
                by: decision.by.clone(),
                at_ms: held.stamp.hlc.millis(),
            })
        });
        let current = written.iter().find(|held| Some(held.stamp) == visible);
        if let Some(held) = current
            && let Some(value) = held.edit.columns.get(&row.column)
        {
            let lane = binding.filter(|_| held.origin.node == self.node);
            let base = held.edit.base.get(&row.column);
            row.current = ConflictSide {
                value: to_json(value),
                stamp: held.stamp,
                at_ms: held.stamp.hlc.millis(),
                node_id: held.origin.node,
                shop_id: shop,
                shop: binding.map(|binding| binding.shop_name.clone()),
                lane: lane.map(|binding| binding.lane),
                base: base.cloned().unwrap_or_default(),
                base_revision: held.edit.base_revision,
            };
        }
        Ok(ShopConflict {
            conflict: row,
            pending,
        })
    }
}

fn told(conn: &Connection, id: i64) -> Result<ConflictRow, StoreError> {
    let sql = "SELECT content FROM local.conflict WHERE id = ?1";
    let row = conn.query_optional(sql, [id], |row| {
        row.get_with(0, |text: String| serde_json::from_str(&text))
    })?;
    row.ok_or(StoreError::UnknownConflict(id))
}

/// What a field holds now, in words.
fn present(row: &ConflictRow, value: &Scalar, stamp: Stamp) -> String {
    let ConflictRow {
        table,
        row: id,
        column,
        ..
    } = row;
    let value = to_json(value);
    format!("{table} {id} {column} is {value} now, version {stamp}")
}

impl Writer<'_> {
    fn decide_conflict(&mut self, order: &DecideConflict) -> Result<Recorded, StoreError> {
        let found = self.store.conflict(order.conflict)?;
        if let Some(known) = self.decided_before(order, &found)? {
            return Ok(known);
        }
        let row = &found.conflict;
        let table = self.store.table(&row.table)?;
        let seen = self.store.overlay_row(table, &row.row)?;
        let (value, stamp, revision) = match &seen {
            Some(seen) => (
                seen.values.get(&row.column).cloned(),
                seen.versions()?.get(&row.column).copied(),
                seen.integer("revision"),
            ),
            None => (None, None, 0),
        };
        let current = value.unwrap_or(Scalar::Null);
        let stamp = stamp.unwrap_or(row.current.stamp);
        let lost: Scalar = serde_json::from_value(row.loser.value.clone())?;
        if is_secret(&row.table, &row.column) && !matches!(order.choice, Choice::Winner) {
            // Nobody told what it was: a PIN is set anew.
            return Err(InvalidEmployee::NoHash.into());
        }
        let wanted = match &order.choice {
            Choice::Winner => current.clone(),
            Choice::Loser => lost.clone(),
            Choice::Value(text) => {
                let text = text.clone().map_or(serde_json::Value::Null, Into::into);
                table.convert(&row.column, &text)?.1
            }
        };
        let there = || present(row, &current, stamp);
        if !may_decide(order, row, (&current, &lost)) {
            return Err(StoreError::ConflictSettled {
                id: row.id,
                state: row.state.name(),
                present: there(),
            });
        }
        let looked_at = match order.put_back {
            true => order.deciding.seen.unwrap_or(stamp),
            false => order.deciding.seen.unwrap_or(row.winner.stamp),
        };
        if looked_at != stamp {
            return Err(StoreError::ConflictChanged {
                present: there(),
                seen: stamp,
            });
        }
        let by = order.deciding.by.as_deref().unwrap_or(BY_DEFAULT);
        let decision = ConflictDecision {
            loser: row.loser.stamp,
            put_back: order.put_back,
            choice: order.choice.chosen(),
            by: by.to_owned(),
        };
        let edit = CatalogEdit {
            table: row.table.clone(),
            row: row.row.clone(),
            columns: BTreeMap::from([(row.column.clone(), wanted)]),
            base: BTreeMap::from([(row.column.clone(), self.known_versions(row, stamp)?)]),
            base_revision: revision,
            decision: Some(decision),
            at_ms: Some(order.now_ms),
        };
        self.append(Entry {
            id: order.deciding.id,
            document: Document::CatalogEdit(edit),
            now_ms: order.now_ms,
        })
    }

    /// What was recorded when the same was decided before.
    fn decided_before(
        &self,
        order: &DecideConflict,
        found: &ShopConflict,
    ) -> Result<Option<Recorded>, StoreError> {
        let (row, store) = (&found.conflict, self.store);
        if let Some(known) = store.known(order.deciding.id, Topic::CatalogEdit)? {
            let sql = "SELECT payload FROM journal WHERE seq = ?1";
            let payload: String = store.conn.query_value(sql, [known.seq])?;
            let edit: CatalogEdit = serde_json::from_str(&payload)?;
            let same = edit.decision.is_some_and(|decision| {
                decision.loser == row.loser.stamp
                    && decision.choice == order.choice.chosen()
                    && decision.put_back == order.put_back
            });
            return match same {
                true => Ok(Some(known)),
                false => Err(StoreError::IdTaken {
                    id: known.id.to_string(),
                    topic: "decision about something else".to_owned(),
                }),
            };
        }
        let Some(pending) = &found.pending else {
            return Ok(None);
        };
        let same_value = match &order.choice {
            Choice::Winner | Choice::Loser => true,
            Choice::Value(text) => {
                let table = store.table(&row.table)?;
                let text = text.clone().map_or(serde_json::Value::Null, Into::into);
                to_json(&table.convert(&row.column, &text)?.1) == pending.value
            }
        };
        let same = pending.choice == order.choice.chosen()
            && pending.put_back == order.put_back
            && row.current.value == pending.value
            && same_value;
        match same {
            true => store.recorded(pending.id),
            false => Ok(None),
        }
    }

    /// Every version of the field that is known here: a decision replaces what its maker could see.
    fn known_versions(&self, row: &ConflictRow, current: Stamp) -> Result<Vec<Stamp>, StoreError> {
        let sql = "SELECT content FROM local.conflict WHERE table_name = ?1
                   AND content ->> 'row' = ?2 AND content ->> 'column' = ?3";
        let key = params![row.table.as_str(), row.row.as_str(), row.column.as_str()];
        let of_field: Vec<ConflictRow> = self.store.conn.query_map(sql, key, |row| {
            row.get_with(0, |text: String| serde_json::from_str(&text))
        })?;
        let mut stamps = vec![current];
        for row in of_field {
            stamps.extend([row.winner.stamp, row.loser.stamp, row.current.stamp]);
        }
        stamps.sort_unstable();
        stamps.dedup();
        Ok(stamps)
    }
}

/// Whether there is anything left to decide.
fn may_decide(
    order: &DecideConflict,
    row: &ConflictRow,
    (current, lost): (&Scalar, &Scalar),
) -> bool {
    if order.put_back {
        return current != lost;
    }
    let waits = matches!(row.state, ConflictState::Open | ConflictState::ByPolicy);
    waits && row.current.stamp != row.loser.stamp
}
