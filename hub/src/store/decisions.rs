//! What did a person decide about a conflict?
//!
//! A decision is an edit of the hub that replaces what its maker saw, so it merges like any other,
//! and a line of the audit trail, in one transaction.

use super::audit::{Decided, decision_of, write_down};
use super::catalog::CatalogShape;
use super::conflicts::{FieldName, conflict_lost_by, conflict_of, plain};
use super::consolidation::NodeKey;
use super::fields::{Fields, load_fields};
use super::hub_edits::{HubEdit, HubEditError, typed};
use super::nodes::till_name;
use super::{Store, StoreError};
use counterfoil_domain::edit::ConflictDecision;
use counterfoil_domain::merge::{Policy, Stamp, Version};
use counterfoil_domain::{CatalogEdit, DocumentId, Scalar};
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::decisions::{AuditRow, Choice, ConflictRow, ConflictState};
use serde_json::json;
use std::collections::BTreeMap;

/// What a person wants with a conflict.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Resolve(Choice),
    PutBack,
}

/// A conflict after a decision.
#[derive(Clone, Debug)]
pub(crate) struct DecisionMade {
    pub(crate) conflict: ConflictRow,
    /// It had been made before.
    pub(crate) repeated: bool,
}

/// Why nothing was decided.
#[derive(Clone, Debug)]
pub(crate) enum DecideError {
    /// There is no such conflict.
    NoConflict,
    /// The id belongs to another decision.
    IdUsed,
    /// It is settled already.
    Settled(Box<ConflictRow>),
    /// Something else is current than what the person saw.
    Changed(Box<ConflictRow>),
    /// The value breaks a rule.
    Refused(String),
}

impl What {
    fn action(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "conflict_resolved",
            Self::PutBack => "conflict_put_back",
        }
    }

    fn detail(&self) -> &'static str {
        match self {
            Self::Resolve(choice) => choice.chosen().name(),
            Self::PutBack => "loser",
        }
    }

    /// Whether this is what an earlier decision was.
    fn is(&self, earlier: &AuditRow, conflict: i64, value: &Scalar) -> bool {
        let same_value = match self {
            // What is current has moved on since; the winner of then was chosen.
            Self::Resolve(Choice::Winner) => true,
            Self::Resolve(_) | Self::PutBack => earlier.after.get("value") == Some(&plain(value)),
        };
        earlier.conflict == Some(conflict)
            && earlier.action == self.action()
            && earlier.detail == self.detail()
            && same_value
    }
}

/// Writes down what a person decided at a till, whose edit is about to be merged.
pub(super) fn note_of_till(
    tx: &Connection,
    shape: &CatalogShape,
    node: &NodeKey,
    (edit, id): (&CatalogEdit, DocumentId),
    decision: &ConflictDecision,
    now_ms: i64,
) -> Result<(), StoreError> {
    if decision_of(tx, id)?.is_some() {
        return Ok(());
    }
    // One column is what tills decide about.
    let Some((column, value)) = edit.columns.first_key_value() else {
        return Ok(());
    };
    let (table, row) = (edit.table.as_str(), edit.row.as_str());
    let fields = load_fields(tx, table, row)?;
    let name = FieldName { table, row, column };
    let found = conflict_lost_by(tx, name, decision.loser, node.shop)?;
    let before = shape.decide(table, column, &fields).and_then(|current| {
        let held = fields.get(column)?.version(&current.current)?;
        Some(json!({ "value": plain(&held.value), "stamp": current.current }))
    });
    let till = till_name(tx, node.number)?;
    let what = match decision.put_back {
        true => What::PutBack,
        false => What::Resolve(Choice::Winner),
    };
    let decided = Decided {
        at_ms: now_ms,
        who: &format!("{} at {till}", decision.by),
        action: what.action(),
        subject: format!("{table} {row} {column}"),
        detail: decision.choice.name(),
        before: before.unwrap_or_default(),
        after: json!({ "value": plain(value) }),
        edit: Some(id),
        conflict: found.map(|(conflict, _)| conflict),
    };
    write_down(tx, decided)
}

fn may_decide(
    what: &What,
    conflict: &ConflictRow,
    seen: Option<Stamp>,
    is_there: bool,
) -> Result<(), DecideError> {
    let boxed = || Box::new(conflict.clone());
    let (seen, settled) = match what {
        What::Resolve(_) => {
            let waits = matches!(
                conflict.state,
                ConflictState::Open | ConflictState::ByPolicy
            );
            let seen = seen.unwrap_or(conflict.winner.stamp);
            (
                seen,
                !waits || conflict.current.stamp == conflict.loser.stamp,
            )
        }
        What::PutBack => (seen.unwrap_or(conflict.current.stamp), is_there),
    };
    if settled {
        return Err(DecideError::Settled(boxed()));
    }
    if seen != conflict.current.stamp {
        return Err(DecideError::Changed(boxed()));
    }
    Ok(())
}

impl Store {
    /// Decides a conflict. The same decision made again, because its answer was lost, writes nothing.
    pub(crate) fn decide(
        &self,
        id: i64,
        what: &What,
        seen: Option<Stamp>,
        by: &HubEdit,
    ) -> Result<Result<DecisionMade, DecideError>, StoreError> {
        self.hub
            .transaction(|tx| self.decide_within(tx, id, what, seen, by))
    }

    fn decide_within(
        &self,
        tx: &Connection,
        id: i64,
        what: &What,
        seen: Option<Stamp>,
        by: &HubEdit,
    ) -> Result<Result<DecisionMade, DecideError>, StoreError> {
        let Some(conflict) = conflict_of(tx, &self.shape, id)? else {
            return Ok(Err(DecideError::NoConflict));
        };
        let fields = load_fields(tx, &conflict.table, &conflict.row)?;
        let version =
            |stamp: &Stamp| -> Option<&Version> { fields.get(&conflict.column)?.version(stamp) };
        let value = match self.chosen_value(what, &conflict, version) {
            Ok(value) => value,
            Err(reason) => return Ok(Err(DecideError::Refused(reason))),
        };
        if let Some(earlier) = decision_of(tx, by.edit)? {
            return Ok(if what.is(&earlier, id, &value) {
                Ok(DecisionMade {
                    conflict,
                    repeated: true,
                })
            } else {
                Err(DecideError::IdUsed)
            });
        }
        let standing = version(&conflict.current.stamp).map(|current| current.origin.edit);
        if let Some(edit) = standing
            && let Some(earlier) = decision_of(tx, edit)?
            && what.is(&earlier, id, &value)
        {
            return Ok(Ok(DecisionMade {
                conflict,
                repeated: true,
            }));
        }
        // Of what is shown as a word two different values look alike.
        let value_of = |stamp: &Stamp| version(stamp).map(|it| &it.value);
        let is_there = value_of(&conflict.current.stamp) == value_of(&conflict.loser.stamp);
        if let Err(refused) = may_decide(what, &conflict, seen, is_there) {
            return Ok(Err(refused));
        }
        let target = (conflict.table.as_str(), conflict.row.as_str());
        let columns = BTreeMap::from([(conflict.column.clone(), value.clone())]);
        let seen = |_: &str| self.replaced_by_choice(&conflict, &fields);
        let prepared = match self.prepare(tx, target, &fields, (columns, &seen), by)? {
            Ok(prepared) => prepared,
            Err(HubEditError::NoTable) => {
                let gone = format!("the catalog has no table `{}` any more", conflict.table);
                return Ok(Err(DecideError::Refused(gone)));
            }
            Err(HubEditError::Refused(reason)) => return Ok(Err(DecideError::Refused(reason))),
        };
        let decided = Decided {
            at_ms: by.now_ms,
            who: &by.who,
            action: what.action(),
            subject: format!("{} {} {}", conflict.table, conflict.row, conflict.column),
            detail: what.detail(),
            before: json!({ "value": conflict.current.value, "stamp": conflict.current.stamp }),
            after: json!({ "value": plain(&value), "stamp": prepared.stamp }),
            edit: Some(by.edit),
            conflict: Some(id),
        };
        write_down(tx, decided)?;
        self.carry_out(tx, prepared, by)?;
        let conflict = conflict_of(tx, &self.shape, id)?.ok_or(StoreError::Missing {
            what: "conflict that was just decided",
        })?;
        Ok(Ok(DecisionMade {
            conflict,
            repeated: false,
        }))
    }

    /// What a choice replaces: the value that is current and the one that lost, which the person saw, and what
    /// a policy has settled. Other values that wait for a person go on waiting, beside what was chosen.
    fn replaced_by_choice(&self, conflict: &ConflictRow, fields: &Fields) -> Vec<Stamp> {
        let column = conflict.column.as_str();
        let decision = self.shape.decide(&conflict.table, column, fields);
        let (Some(field), Some(decision)) = (fields.get(column), decision) else {
            return Vec::new();
        };
        let waits = |stamp: &Stamp| {
            *stamp != conflict.loser.stamp && decision.lost_by(stamp) == Some(Policy::Manual)
        };
        let heads = field.heads().into_iter();
        heads.filter(|stamp| !waits(stamp)).collect()
    }

    fn chosen_value<'a>(
        &self,
        what: &What,
        conflict: &ConflictRow,
        version: impl Fn(&Stamp) -> Option<&'a Version>,
    ) -> Result<Scalar, String> {
        let held = |stamp: Stamp| -> Result<Scalar, String> {
            let version = version(&stamp).ok_or("the value is gone")?;
            Ok(version.value.clone())
        };
        match what {
            What::Resolve(Choice::Winner) => held(conflict.current.stamp),
            What::Resolve(Choice::Loser) | What::PutBack => held(conflict.loser.stamp),
            What::Resolve(Choice::Value(text)) => {
                let shape = self.shape.table(&conflict.table).ok_or_else(|| {
                    format!("the catalog has no table `{}` any more", conflict.table)
                })?;
                typed(shape, &conflict.column, text.as_deref())
            }
        }
    }
}
