//! What did one till write to the catalog in a time, and how does it go back?
//!
//! Undoing is an edit of the hub for each row, to what was there before. What somebody else made of it
//! since stays. Nothing is removed, so an undoing can be undone like any edit.

use super::audit::{Decided, write_down};
use super::conflicts::plain;
use super::edits::{Fields, load_fields};
use super::hub_edits::{HubEdit, HubEditError};
use super::{Store, StoreError};
use crate::limits::UNDO_ROWS_MAX;
use counterfoil_domain::edit::DELETED;
use counterfoil_domain::env::{Random, document_id};
use counterfoil_domain::merge::{Field, Stamp, Version};
use counterfoil_domain::{Hlc, NodeId, Scalar};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::decisions::{UndoRow, Undone};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Whose edits, from when to when, by corrected time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) node: NodeId,
    pub(crate) from_ms: i64,
    /// Up to and without.
    pub(crate) to_ms: i64,
}

/// Why nothing was undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UndoError {
    /// There is no such node.
    NoNode,
    /// More rows than one transaction should write.
    TooMany,
    /// A value of before breaks a rule.
    Refused(String),
}

/// Why the transaction ends without a commit.
enum Stop {
    Refused(UndoError),
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// What becomes of one row.
#[derive(Default)]
struct RowPlan {
    columns: BTreeMap<String, Scalar>,
    shown: Vec<UndoRow>,
}

impl RowPlan {
    fn goes_back(&mut self, (table, row, column): (&str, &str, &str), now: &Scalar, then: Scalar) {
        if *now == then {
            return;
        }
        self.shown.push(UndoRow {
            table: table.to_owned(),
            row: row.to_owned(),
            column: column.to_owned(),
            now: plain(now),
            then: plain(&then),
        });
        self.columns.insert(column.to_owned(), then);
    }
}

impl Span {
    fn holds(&self, version: &Version) -> bool {
        let at_ms = version.corrected.millis();
        version.origin.node == self.node && (self.from_ms..self.to_ms).contains(&at_ms)
    }

    /// The field as if nothing of the span had been written.
    fn without(&self, field: &Field) -> Field {
        let mut rest = Field::default();
        let others = field.versions().filter(|(_, version)| !self.holds(version));
        for (stamp, version) in others {
            rest.insert(*stamp, version.clone());
        }
        rest
    }
}

impl Store {
    /// Takes back what a node wrote, or only says what that would be.
    pub(crate) fn undo(
        &self,
        span: Span,
        dry_run: bool,
        by: &HubEdit,
        random: &dyn Random,
    ) -> Result<Result<Undone, UndoError>, StoreError> {
        // All of it or nothing: a refusal rolls back as well.
        let done = self.hub.transaction(|tx| -> Result<Undone, Stop> {
            let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE id = ?1)";
            if !tx.query_value::<bool>(sql, params![span.node.to_bytes()])? {
                return Err(Stop::Refused(UndoError::NoNode));
            }
            let written = rows_written(tx, span)?;
            if written.len() > UNDO_ROWS_MAX {
                return Err(Stop::Refused(UndoError::TooMany));
            }
            let mut undone = Undone {
                dry_run,
                revision: 0,
                fields: Vec::new(),
                kept: 0,
            };
            for (table, row) in written {
                let fields = load_fields(tx, &table, &row)?;
                let plan = self.plan(span, (&table, &row), &fields, &mut undone.kept);
                if !dry_run && !plan.columns.is_empty() {
                    let made = HubEdit {
                        edit: document_id(by.now_ms, random),
                        ..by.clone()
                    };
                    let target = (table.as_str(), row.as_str());
                    let refused = self.take_back(tx, span, target, &fields, &plan, &made)?;
                    if let Err(refused) = refused {
                        let reason = format!("{table} {row}: {refused}");
                        return Err(Stop::Refused(UndoError::Refused(reason)));
                    }
                }
                undone.fields.extend(plan.shown);
            }
            Ok(undone)
        });
        match done {
            Ok(undone) => Ok(Ok(undone)),
            Err(Stop::Refused(refused)) => Ok(Err(refused)),
            Err(Stop::Store(error)) => Err(error),
        }
    }

    fn plan(
        &self,
        span: Span,
        (table, row): (&str, &str),
        fields: &Fields,
        kept: &mut i64,
    ) -> RowPlan {
        let rest: Fields = fields
            .iter()
            .map(|(column, field)| (column.clone(), span.without(field)))
            .collect();
        let mut plan = RowPlan::default();
        let held = |fields: &Fields, column: &str| -> Option<(Stamp, Scalar)> {
            let decision = self.shape.decide(table, column, fields)?;
            let version = fields.get(column)?.version(&decision.current)?;
            Some((decision.current, version.value.clone()))
        };
        let is_own = |column: &str, stamp: &Stamp| {
            let version = fields.get(column).and_then(|field| field.version(stamp));
            version.is_some_and(|version| span.holds(version))
        };
        // A row in which nobody else ever put anything goes away whole, with its values.
        let is_whole = rest
            .iter()
            .all(|(column, field)| column == DELETED || field.versions().next().is_none());
        if is_whole {
            match held(fields, DELETED) {
                // Somebody has decided whether it is there, perhaps by undoing before.
                Some((stamp, _)) if !is_own(DELETED, &stamp) => *kept += 1,
                now => {
                    let now = now.map_or(Scalar::Integer(0), |(_, value)| value);
                    plan.goes_back((table, row, DELETED), &now, Scalar::Integer(1));
                }
            }
            return plan;
        }
        for (column, field) in fields {
            if !field.versions().any(|(_, held)| span.holds(held)) {
                continue;
            }
            let Some((stamp, now)) = held(fields, column) else {
                continue;
            };
            if !is_own(column, &stamp) {
                *kept += 1;
                continue;
            }
            let nothing = if column == DELETED {
                Scalar::Integer(0)
            } else {
                Scalar::Null
            };
            let then = held(&rest, column).map_or(nothing, |(_, value)| value);
            plan.goes_back((table, row, column), &now, then);
        }
        plan
    }

    fn take_back(
        &self,
        tx: &Connection,
        span: Span,
        (table, row): (&str, &str),
        fields: &Fields,
        plan: &RowPlan,
        by: &HubEdit,
    ) -> Result<Result<(), HubEditError>, StoreError> {
        let columns = plan.columns.clone();
        let prepared = match self.prepare(tx, (table, row), fields, columns, by)? {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(Err(refused)),
        };
        let values = |side: fn(&UndoRow) -> &Value| -> Map<String, Value> {
            let shown = plan.shown.iter();
            shown
                .map(|field| (field.column.clone(), side(field).clone()))
                .collect()
        };
        let decided = Decided {
            at_ms: by.now_ms,
            who: &by.who,
            action: "undone",
            subject: format!("{table} {row}"),
            detail: &format!("till {} from {} to {}", span.node, span.from_ms, span.to_ms),
            before: values(|field| &field.now).into(),
            after: values(|field| &field.then).into(),
            edit: Some(by.edit),
            conflict: None,
        };
        write_down(tx, decided)?;
        self.carry_out(tx, prepared, by)?;
        Ok(Ok(()))
    }
}

/// Rows of which the node wrote a field in the span.
fn rows_written(tx: &Connection, span: Span) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT DISTINCT table_name, row_id FROM field_version
               WHERE node = ?1 AND corrected_hlc >= ?2 AND corrected_hlc < ?3
               ORDER BY table_name, row_id LIMIT ?4";
    let limit = i64::try_from(UNDO_ROWS_MAX).unwrap_or(i64::MAX);
    let key = params![
        span.node.to_bytes(),
        Hlc::at_millis(span.from_ms).raw(),
        Hlc::at_millis(span.to_ms).raw(),
        limit.saturating_add(1)
    ];
    Ok(tx.query_map(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?)
}
