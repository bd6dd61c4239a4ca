//! What did one till, or one import, write to the catalog, and how does it go back?
//!
//! Undoing is an edit of the hub for each row, to what was there before. What somebody else made of it
//! since stays. Nothing is removed, so an undoing can be undone like any edit. Each undoing looks through the
//! others: what they took back, and what they put in its place, counts as written by nobody.

use super::audit::{Decided, write_down};
use super::conflicts::plain;
use super::fields::{Fields, load_fields};
use super::hub_edits::{HubEdit, HubEditError};
use super::{Store, StoreError};
use crate::limits::{UNDO_FIELDS_MAX, UNDO_ROWS_MAX};
use counterfoil_domain::edit::DELETED;
use counterfoil_domain::env::{Random, document_id};
use counterfoil_domain::merge::{Field, Stamp};
use counterfoil_domain::{Hlc, ImportId, NodeId, Scalar};
use counterfoil_migrate::{Connection, IntoParams, Value as SqlValue, params};
use counterfoil_protocol::wire::decisions::{UndoRow, Undone};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Whose edits go back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UndoOf {
    /// Those of a node, from when to when (without), by corrected time.
    Node {
        node: NodeId,
        from_ms: i64,
        to_ms: i64,
    },
    /// Those of an import.
    Import(ImportId),
}

/// Why nothing was undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UndoError {
    /// There is no such node.
    NoNode,
    /// Nothing of such an import is here.
    NoImport,
    /// A value of before breaks a rule.
    Refused(String),
}

/// A row of a catalog table.
pub(crate) type RowName = (String, String);

/// How an undoing is made.
#[derive(Clone, Debug)]
pub(crate) struct UndoOrder {
    pub(crate) of: UndoOf,
    /// Only says what would be taken back.
    pub(crate) dry_run: bool,
    /// Rows behind this one.
    pub(crate) after: RowName,
}

/// A part of an undoing.
#[derive(Debug)]
pub(crate) struct UndoPage {
    pub(crate) undone: Undone,
    /// The last row looked at, when there may be more.
    pub(crate) next: Option<RowName>,
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

/// Versions of a row by column.
type Versions = BTreeMap<String, BTreeSet<Stamp>>;

fn holds(versions: &Versions, column: &str, stamp: &Stamp) -> bool {
    versions.get(column).is_some_and(|of| of.contains(stamp))
}

/// A row of which something goes back.
struct UndoneRow<'a> {
    table: &'a str,
    row: &'a str,
    fields: Fields,
    /// What is to be taken back.
    own: Versions,
    /// The same, and what other undoings took back or wrote.
    nobodys: Versions,
}

/// What becomes of one row.
#[derive(Default)]
struct RowPlan {
    columns: BTreeMap<String, Scalar>,
    shown: Vec<UndoRow>,
    kept: i64,
}

impl RowPlan {
    fn goes_back(&mut self, of: &UndoneRow<'_>, column: &str, now: &Scalar, then: Scalar) {
        if *now == then {
            return;
        }
        self.shown.push(UndoRow {
            table: of.table.to_owned(),
            row: of.row.to_owned(),
            column: column.to_owned(),
            now: plain(now),
            then: plain(&then),
        });
        self.columns.insert(column.to_owned(), then);
    }
}

impl UndoneRow<'_> {
    /// The row as if nobody had written what goes back.
    fn without(&self) -> Fields {
        let rest =
            |column: &str, field: &Field| field.without(|stamp| self.is_nobodys(column, stamp));
        let fields = self.fields.iter();
        fields
            .map(|(column, field)| (column.clone(), rest(column, field)))
            .collect()
    }

    fn is_nobodys(&self, column: &str, stamp: &Stamp) -> bool {
        holds(&self.nobodys, column, stamp)
    }

    /// What the edit that takes back replaces: heads that are nobody's. What others wrote stays beside it.
    fn replaced(&self, column: &str) -> Vec<Stamp> {
        let heads = self.fields.get(column).map(Field::heads);
        let heads = heads.unwrap_or_default().into_iter();
        heads
            .filter(|stamp| self.is_nobodys(column, stamp))
            .collect()
    }
}

impl UndoOf {
    fn check(self, tx: &Connection) -> Result<(), Stop> {
        let (sql, id, missing) = match self {
            Self::Node { node, .. } => (
                "SELECT EXISTS (SELECT 1 FROM node WHERE id = ?1)",
                node.to_bytes(),
                UndoError::NoNode,
            ),
            Self::Import(import) => (
                "SELECT EXISTS (SELECT 1 FROM field_version WHERE import_id = ?1)
                     OR EXISTS (SELECT 1 FROM receipt WHERE import_id = ?1)
                     OR EXISTS (SELECT 1 FROM document WHERE import_id = ?1)",
                import.to_bytes(),
                UndoError::NoImport,
            ),
        };
        match tx.query_value::<bool>(sql, params![id])? {
            true => Ok(()),
            false => Err(Stop::Refused(missing)),
        }
    }

    /// The condition on a version, from the first parameter on.
    fn condition(self) -> (&'static str, [SqlValue; 3]) {
        match self {
            Self::Node {
                node,
                from_ms,
                to_ms,
            } => (
                "node = ?1 AND corrected_hlc >= ?2 AND corrected_hlc < ?3",
                [
                    SqlValue::Blob(node.to_bytes()),
                    SqlValue::Integer(Hlc::at_millis(from_ms).raw()),
                    SqlValue::Integer(Hlc::at_millis(to_ms).raw()),
                ],
            ),
            Self::Import(import) => (
                "import_id = ?1 AND ?2 IS ?3",
                [
                    SqlValue::Blob(import.to_bytes()),
                    SqlValue::Null,
                    SqlValue::Null,
                ],
            ),
        }
    }

    pub(super) fn rows_sql(self) -> String {
        let (condition, _) = self.condition();
        format!(
            "SELECT DISTINCT table_name, row_id FROM field_version
             WHERE {condition} AND (table_name, row_id) > (?4, ?5)
             ORDER BY table_name, row_id LIMIT ?6"
        )
    }

    /// The next rows of which a field was written.
    fn rows(self, tx: &Connection, after: &RowName) -> Result<Vec<RowName>, StoreError> {
        let (_, [first, second, third]) = self.condition();
        let (table, row) = (after.0.as_str(), after.1.as_str());
        let page = params![first, second, third, table, row, UNDO_ROWS_MAX];
        Ok(tx.query_map(&self.rows_sql(), page, |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    pub(super) fn row_sql(self) -> String {
        let (condition, _) = self.condition();
        // Without the index of the till, by which all its time would be read for each row.
        let plus = match self {
            Self::Node { .. } => "+",
            Self::Import(_) => "",
        };
        format!(
            "SELECT column_name, hlc, node_tag FROM field_version
             WHERE {plus}{condition} AND table_name = ?4 AND row_id = ?5"
        )
    }

    /// A row with those of its versions that go back.
    fn row<'a>(
        self,
        tx: &Connection,
        (table, row): (&'a str, &'a str),
    ) -> Result<UndoneRow<'a>, StoreError> {
        let (_, [first, second, third]) = self.condition();
        let own = versions(
            tx,
            &self.row_sql(),
            params![first, second, third, table, row],
        )?;
        let mut nobodys = own.clone();
        let other = "SELECT column_name, hlc, node_tag FROM taken_back
                     WHERE table_name = ?1 AND row_id = ?2
                     UNION ALL
                     SELECT v.column_name, v.hlc, v.node_tag FROM field_version AS v
                     JOIN audit ON audit.edit = v.edit AND audit.action = 'undone'
                     WHERE v.table_name = ?1 AND v.row_id = ?2";
        for (column, stamps) in versions(tx, other, params![table, row])? {
            nobodys.entry(column).or_default().extend(stamps);
        }
        Ok(UndoneRow {
            table,
            row,
            fields: load_fields(tx, table, row)?,
            own,
            nobodys,
        })
    }

    /// For the audit trail.
    fn detail(self) -> String {
        match self {
            Self::Node {
                node,
                from_ms,
                to_ms,
            } => format!("till {node} from {from_ms} to {to_ms}"),
            Self::Import(import) => format!("import {import}"),
        }
    }

    /// The documents of an import.
    fn documents(self, tx: &Connection) -> Result<Option<i64>, StoreError> {
        let Self::Import(import) = self else {
            return Ok(None);
        };
        let sql = "SELECT (SELECT count(*) FROM receipt WHERE import_id = ?1)
                        + (SELECT count(*) FROM document WHERE import_id = ?1)";
        Ok(Some(tx.query_value(sql, params![import.to_bytes()])?))
    }
}

fn versions(tx: &Connection, sql: &str, key: impl IntoParams) -> Result<Versions, StoreError> {
    let mut versions = Versions::new();
    tx.query_each(sql, key, |found| -> Result<(), StoreError> {
        let stamp = Stamp {
            hlc: Hlc::from_raw(found.get(1)?),
            node_tag: found.get(2)?,
        };
        versions.entry(found.get(0)?).or_default().insert(stamp);
        Ok(())
    })?;
    Ok(versions)
}

impl Store {
    /// Takes back the next rows of what somebody wrote, or only says what that would be. All of the part or
    /// nothing: a refusal rolls it back.
    pub(crate) fn undo(
        &self,
        order: &UndoOrder,
        by: &HubEdit,
        random: &dyn Random,
    ) -> Result<Result<UndoPage, UndoError>, StoreError> {
        let of = order.of;
        let done = self.hub.transaction(|tx| -> Result<UndoPage, Stop> {
            of.check(tx)?;
            let rows = of.rows(tx, &order.after)?;
            let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= UNDO_ROWS_MAX);
            let next = rows.last().filter(|_| is_full).cloned();
            let mut undone = Undone {
                dry_run: order.dry_run,
                documents: of.documents(tx)?,
                ..Undone::default()
            };
            for (table, row) in &rows {
                let row = of.row(tx, (table, row))?;
                let plan = self.plan(&row);
                if !order.dry_run {
                    let made = HubEdit {
                        edit: document_id(by.now_ms, random),
                        ..by.clone()
                    };
                    if let Err(refused) = self.take_back(tx, of, &row, &plan, &made)? {
                        let reason = format!("{} {}: {refused}", row.table, row.row);
                        return Err(Stop::Refused(UndoError::Refused(reason)));
                    }
                }
                tell(&mut undone, plan);
            }
            Ok(UndoPage { undone, next })
        });
        match done {
            Ok(page) => Ok(Ok(page)),
            Err(Stop::Refused(refused)) => Ok(Err(refused)),
            Err(Stop::Store(error)) => Err(error),
        }
    }

    fn plan(&self, of: &UndoneRow<'_>) -> RowPlan {
        let rest = of.without();
        let mut plan = RowPlan::default();
        let held = |fields: &Fields, column: &str| -> Option<(Stamp, Scalar)> {
            let decision = self.shape.decide(of.table, column, fields)?;
            let version = fields.get(column)?.version(&decision.current)?;
            Some((decision.current, version.value.clone()))
        };
        // A row in which nobody else ever put anything goes away whole, with its values.
        let is_whole = rest
            .iter()
            .all(|(column, field)| column == DELETED || field.versions().next().is_none());
        if is_whole {
            match held(&of.fields, DELETED) {
                // Somebody has decided whether it is there.
                Some((stamp, _)) if !of.is_nobodys(DELETED, &stamp) => plan.kept += 1,
                now => {
                    let now = now.map_or(Scalar::Integer(0), |(_, value)| value);
                    plan.goes_back(of, DELETED, &now, Scalar::Integer(1));
                }
            }
            return plan;
        }
        for column in of.own.keys() {
            let Some((stamp, now)) = held(&of.fields, column) else {
                continue;
            };
            if !of.is_nobodys(column, &stamp) {
                plan.kept += 1;
                continue;
            }
            let nothing = match column.as_str() {
                DELETED => Scalar::Integer(0),
                _ => Scalar::Null,
            };
            let then = held(&rest, column).map_or(nothing, |(_, value)| value);
            plan.goes_back(of, column, &now, then);
        }
        plan
    }

    fn take_back(
        &self,
        tx: &Connection,
        of: UndoOf,
        row: &UndoneRow<'_>,
        plan: &RowPlan,
        by: &HubEdit,
    ) -> Result<Result<(), HubEditError>, StoreError> {
        note_taken_back(tx, row)?;
        if plan.columns.is_empty() {
            return Ok(Ok(()));
        }
        let columns = plan.columns.clone();
        let target = (row.table, row.row);
        let replaced = |column: &str| row.replaced(column);
        let prepared = match self.prepare(tx, target, &row.fields, (columns, &replaced), by)? {
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
            subject: format!("{} {}", row.table, row.row),
            detail: &of.detail(),
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

/// Adds what becomes of a row; the list ends at [`UNDO_FIELDS_MAX`], the count goes on.
fn tell(undone: &mut Undone, plan: RowPlan) {
    undone.kept += plan.kept;
    undone.count += i64::try_from(plan.shown.len()).unwrap_or(i64::MAX);
    let room = UNDO_FIELDS_MAX.saturating_sub(undone.fields.len());
    undone.fields.extend(plan.shown.into_iter().take(room));
}

/// Also where others made something else of it since: when that goes back too, this does not come up again.
fn note_taken_back(tx: &Connection, of: &UndoneRow<'_>) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO taken_back VALUES (?1, ?2, ?3, ?4, ?5)";
    for (column, stamps) in &of.own {
        for stamp in stamps {
            let (hlc, tag) = (stamp.hlc.raw(), i64::from(stamp.node_tag));
            tx.execute(sql, params![of.table, of.row, column.as_str(), hlc, tag])?;
        }
    }
    Ok(())
}
