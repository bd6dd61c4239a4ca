//! What did one till, or one import, write to the catalog, and how does it go back?
//!
//! Undoing is an edit of the hub for each row, to what was there before. What somebody else made of it
//! since stays. Nothing is removed, so an undoing can be undone like any edit. Each undoing looks through the
//! others: what they took back, and what they put in its place, counts as written by nobody.

mod plan;

use self::plan::{RowPlan, UndoneRow, Versions};
use super::audit::{Decided, write_down};
use super::fields::{counted, load_all};
use super::hub_edits::{HubEdit, HubEditError, Prepared};
use super::undecided::{self, RowName};
use super::{Store, StoreError};
use crate::limits::{UNDO_FIELDS_MAX, UNDO_ROWS_MAX};
use counterfoil_domain::env::{Random, document_id};
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{Hlc, ImportId, NodeId, Rule, ShopId};
use counterfoil_migrate::{Connection, IntoParams, Value as SqlValue, params};
use counterfoil_protocol::wire::decisions::{UndoRow, Undone};
use serde_json::{Map, Value};

/// Whose edits go back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UndoOf {
    /// Those of a node, from when to when (without), by corrected time; it has to be of the shop, when one is given.
    Node {
        node: NodeId,
        from_ms: i64,
        to_ms: i64,
        shop: Option<ShopId>,
    },
    /// Those of an import, as far as a shop wrote them, when one is given.
    Import {
        import: ImportId,
        shop: Option<ShopId>,
    },
}

/// Why nothing was undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UndoError {
    /// There is no such node.
    NoNode,
    /// Nothing of such an import is here.
    NoImport,
    /// It is another shop's than that of whoever asks.
    AnotherShop,
    /// A value of before breaks a rule.
    Refused(String),
}

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

/// Whether what a node recorded is of the shop `?2`, or all shops' is asked for.
const OF_SHOP: &str = "(?2 IS NULL OR node IN (SELECT number FROM node WHERE shop = ?2))";

impl UndoOf {
    fn check(self, tx: &Connection) -> Result<(), Stop> {
        let (sql, id, shop, missing) = match self {
            Self::Node { node, shop, .. } => (
                "SELECT EXISTS (SELECT 1 FROM node WHERE id = ?1 AND (?2 IS NULL OR shop = ?2))".to_owned(),
                node.to_bytes(),
                shop,
                UndoError::NoNode,
            ),
            Self::Import { import, shop } => (
                format!(
                    "SELECT EXISTS (SELECT 1 FROM field_version WHERE import_id = ?1 AND (?2 IS NULL OR shop = ?2))
                         OR EXISTS (SELECT 1 FROM receipt WHERE import_id = ?1 AND {OF_SHOP})
                         OR EXISTS (SELECT 1 FROM document WHERE import_id = ?1 AND {OF_SHOP})"
                ),
                import.to_bytes(),
                shop,
                UndoError::NoImport,
            ),
        };
        let is_here = |shop: Option<ShopId>| {
            let of = params![id.clone(), shop.map(ShopId::to_bytes)];
            tx.query_value::<bool>(&sql, of)
        };
        if !is_here(None)? {
            return Err(Stop::Refused(missing));
        }
        match shop.is_none() || is_here(shop)? {
            true => Ok(()),
            false => Err(Stop::Refused(UndoError::AnotherShop)),
        }
    }

    /// The condition on a version, from the first parameter on.
    fn condition(self) -> (&'static str, [SqlValue; 3]) {
        match self {
            Self::Node {
                node,
                from_ms,
                to_ms,
                ..
            } => (
                "node = ?1 AND corrected_hlc >= ?2 AND corrected_hlc < ?3",
                [
                    SqlValue::Blob(node.to_bytes()),
                    SqlValue::Integer(Hlc::at_millis(from_ms).raw()),
                    SqlValue::Integer(Hlc::at_millis(to_ms).raw()),
                ],
            ),
            Self::Import { import, shop } => (
                "import_id = ?1 AND (?2 IS NULL OR shop = ?2) AND ?3 IS NULL",
                [
                    SqlValue::Blob(import.to_bytes()),
                    shop.map_or(SqlValue::Null, |shop| SqlValue::Blob(shop.to_bytes())),
                    SqlValue::Null,
                ],
            ),
        }
    }

    pub(super) fn rows_sql(self) -> String {
        let (condition, _) = self.condition();
        format!(
            "SELECT DISTINCT table_name, row_id FROM field_version
             WHERE {condition} AND gone = 0 AND (table_name, row_id) > (?4, ?5)
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
            Self::Import { .. } => "",
        };
        format!(
            "SELECT column_name, hlc, node_tag FROM field_version
             WHERE {plus}{condition} AND gone = 0 AND table_name = ?4 AND row_id = ?5"
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
        let (all, admitted) = load_all(tx, table, row)?;
        let fields = counted(all.clone(), &admitted);
        Ok(UndoneRow {
            table,
            row,
            all,
            admitted,
            fields,
            own,
        })
    }

    /// For the audit trail.
    fn detail(self) -> String {
        match self {
            Self::Node {
                node,
                from_ms,
                to_ms,
                ..
            } => format!("till {node} from {from_ms} to {to_ms}"),
            Self::Import { import, .. } => format!("import {import}"),
        }
    }

    /// The documents of an import.
    fn documents(self, tx: &Connection) -> Result<Option<i64>, StoreError> {
        let Self::Import { import, shop } = self else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT (SELECT count(*) FROM receipt WHERE import_id = ?1 AND {OF_SHOP})
                  + (SELECT count(*) FROM document WHERE import_id = ?1 AND {OF_SHOP})"
        );
        let of = params![import.to_bytes(), shop.map(ShopId::to_bytes)];
        Ok(Some(tx.query_value(&sql, of)?))
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
                let plan = row.plan(&self.shape, by);
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

    fn take_back(
        &self,
        tx: &Connection,
        of: UndoOf,
        row: &UndoneRow<'_>,
        plan: &RowPlan,
        by: &HubEdit,
    ) -> Result<Result<(), HubEditError>, StoreError> {
        let is_news = note_taken_back(tx, row, by.now_ms)?;
        let prepared = if plan.columns.is_empty() {
            None
        } else {
            let (columns, target) = (plan.columns.clone(), (row.table, row.row));
            let replaced = |column: &str| plan.replaced.get(column).cloned().unwrap_or_default();
            match self.prepare(tx, target, &row.all, (columns, &replaced), by)? {
                Ok(prepared) => Some(prepared),
                Err(refused) => return Ok(Err(refused)),
            }
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
            edit: prepared.as_ref().map(|_| by.edit),
            conflict: None,
        };
        if !plan.shown.is_empty() {
            write_down(tx, decided)?;
        }
        match prepared {
            Some(prepared) => {
                let prepared = Prepared {
                    undoes: true,
                    ..prepared
                };
                self.carry_out(tx, prepared, by)?;
            }
            // Whose the row is may be decided otherwise all the same.
            None if is_news => {
                undecided::leave(tx, (row.table, row.row), row.own.keys())?;
                let name = (row.table.to_owned(), row.row.to_owned());
                undecided::settle(tx, &self.shape, &[name], by.now_ms)?;
            }
            None => {}
        }
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

/// Marks what was taken back, also where others made something else of it since: when that goes back too, this does not
/// come up again. Whether there was something to mark.
fn note_taken_back(tx: &Connection, of: &UndoneRow<'_>, now_ms: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE field_version SET undone = 1, gone = max(gone, ?6)
               WHERE table_name = ?1 AND row_id = ?2 AND column_name = ?3 AND hlc = ?4
                 AND node_tag = ?5 AND (undone = 0 OR gone < ?6)";
    let (mut marked, uncounted) = (0, of.uncounted());
    for (column, stamps) in &of.own {
        for stamp in stamps {
            let (hlc, tag) = (stamp.hlc.raw(), i64::from(stamp.node_tag));
            let gone = i64::from(uncounted.contains(&(column, *stamp)));
            let version = params![of.table, of.row, column.as_str(), hlc, tag, gone];
            marked += tx.execute(sql, version)?;
        }
    }
    // What stood in quarantine, because the row was another shop's, has nothing to come back for.
    let sql = "UPDATE quarantine SET settled_ms = ?3, settled_as = 'undone'
               WHERE settled_ms IS NULL AND code = ?4 AND (node, seq) IN (
                   SELECT node.number, v.seq FROM field_version AS v JOIN node ON node.id = v.node
                   WHERE v.table_name = ?1 AND v.row_id = ?2 AND v.undone <> 0 AND v.gone <> 0)";
    let code = Rule::RowOfAnotherShop.name();
    tx.execute(sql, params![of.table, of.row, now_ms, code])?;
    Ok(marked > 0)
}
