//! What becomes of one row when something of it goes back?

use crate::store::catalog::CatalogShape;
use crate::store::conflicts::plain;
use crate::store::fields::{Fields, counted};
use crate::store::hub_edits::HubEdit;
use crate::store::policies::OWNER;
use counterfoil_domain::edit::DELETED;
use counterfoil_domain::merge::{Field, Origin, Stamp, Version};
use counterfoil_domain::{Hlc, Scalar};
use counterfoil_protocol::wire::decisions::UndoRow;
use std::collections::{BTreeMap, BTreeSet};

/// Versions of a row by column.
pub(super) type Versions = BTreeMap<String, BTreeSet<Stamp>>;

/// A row of which something goes back.
pub(super) struct UndoneRow<'a> {
    pub(super) table: &'a str,
    pub(super) row: &'a str,
    /// Every version that may count, with those marked that other undoings took back or wrote.
    pub(super) all: Fields,
    /// Those that a person has let in.
    pub(super) admitted: BTreeSet<Stamp>,
    /// Those that count now: not what shops wrote to another one's row.
    pub(super) fields: Fields,
    /// What is to be taken back.
    pub(super) own: Versions,
}

/// What becomes of it.
#[derive(Default)]
pub(super) struct RowPlan {
    /// The edit that takes back, with the versions that it replaces.
    pub(super) columns: BTreeMap<String, Scalar>,
    pub(super) replaced: BTreeMap<String, Vec<Stamp>>,
    pub(super) shown: Vec<UndoRow>,
    pub(super) kept: i64,
}

type Held = Option<(Stamp, Scalar)>;

/// What a column holds, by the policies.
fn held(shape: &CatalogShape, table: &str, column: &str, fields: &Fields) -> Held {
    let decision = shape.decide(table, column, fields)?;
    let version = fields.get(column)?.version(&decision.current)?;
    Some((decision.current, version.value.clone()))
}

/// The value; that of a column that nobody ever wrote, when there is none.
fn value(column: &str, held: &Held) -> Scalar {
    match held {
        Some((_, value)) => value.clone(),
        None if column == DELETED => Scalar::Integer(0),
        None => Scalar::Null,
    }
}

/// What a column holds now, what it will hold by itself, and what it is to hold.
struct Column<'a> {
    name: &'a str,
    now: Held,
    by_itself: Held,
    then: Scalar,
}

impl UndoneRow<'_> {
    fn is_own(&self, column: &str, stamp: &Stamp) -> bool {
        self.own.get(column).is_some_and(|of| of.contains(stamp))
    }

    fn is_nobodys(&self, column: &str, stamp: &Stamp) -> bool {
        let field = self.all.get(column);
        self.is_own(column, stamp) || field.is_some_and(|field| field.is_undone(stamp))
    }

    /// Those of its own versions that do not count, or will not as soon as the rest is taken back, because the row is
    /// another shop's: they never will.
    pub(super) fn uncounted(&self) -> BTreeSet<(&String, Stamp)> {
        let left = self.left();
        let own = self.own.iter();
        own.flat_map(|(column, stamps)| stamps.iter().map(move |stamp| (column, *stamp)))
            .filter(|(column, stamp)| {
                is_missing(&self.fields, column, stamp) || is_missing(&left, column, stamp)
            })
            .collect()
    }

    fn picked(&self, leaves: impl Fn(&str, &Stamp) -> bool) -> Fields {
        let all = self.all.iter();
        all.map(|(column, field)| {
            let rest = field.without(|stamp| leaves(column, stamp));
            (column.clone(), rest)
        })
        .collect()
    }

    /// The row as if nobody had written what went back before.
    fn before(&self) -> Fields {
        let is_undone = |column: &str, stamp: &Stamp| {
            let field = self.all.get(column);
            field.is_some_and(|field| field.is_undone(stamp))
        };
        counted(self.picked(is_undone), &self.admitted)
    }

    /// The same, and what goes back now.
    fn without(&self) -> Fields {
        let rest = self.picked(|column, stamp| self.is_nobodys(column, stamp));
        counted(rest, &self.admitted)
    }

    /// The row as soon as what goes back says nothing any more of whose it is.
    fn left(&self) -> Fields {
        let gone = |column: &str, stamp: &Stamp| {
            self.is_own(column, stamp) && is_missing(&self.fields, column, stamp)
        };
        let mut left = self.picked(gone);
        for (column, stamps) in &self.own {
            if let Some(field) = left.get_mut(column) {
                stamps.iter().for_each(|stamp| field.undo(*stamp));
            }
        }
        counted(left, &self.admitted)
    }

    /// What becomes of the row: what it would hold if nobody had written what goes back. Some of that comes by itself,
    /// as soon as a claim is gone; the rest takes an edit.
    pub(super) fn plan(&self, shape: &CatalogShape, by: &HubEdit) -> RowPlan {
        let (before, without, mut left) = (self.before(), self.without(), self.left());
        let mut plan = RowPlan::default();
        // A row in which nobody else ever put anything goes away whole, with its values.
        let is_whole = without
            .iter()
            .all(|(column, field)| column == DELETED || field.versions().next().is_none());
        if is_whole {
            let held = |fields: &Fields| held(shape, self.table, DELETED, fields);
            let column = Column {
                name: DELETED,
                now: held(&self.fields),
                by_itself: held(&left),
                then: Scalar::Integer(1),
            };
            self.goes_back(&mut plan, column, &left);
            return plan;
        }
        // Whose the row is decides what else it holds.
        let (owner, others): (Vec<_>, Vec<_>) =
            self.all.keys().partition(|column| column.as_str() == OWNER);
        for name in owner.into_iter().chain(others) {
            let held = |fields: &Fields| held(shape, self.table, name, fields);
            let then = value(name, &held(&without));
            let column = Column {
                name,
                now: held(&self.fields),
                by_itself: held(&left),
                then,
            };
            if self.own.contains_key(name) || value(name, &held(&before)) != column.then {
                self.goes_back(&mut plan, column, &left);
            }
            if name == OWNER {
                stand_in(&mut left, &plan, by);
            }
        }
        plan
    }

    fn goes_back(&self, plan: &mut RowPlan, column: Column<'_>, left: &Fields) {
        let Column {
            name,
            now,
            by_itself,
            then,
        } = column;
        let is_others = |held: &Held| {
            let stamp = held.as_ref().map(|(stamp, _)| stamp);
            stamp.is_some_and(|stamp| !self.is_nobodys(name, stamp))
        };
        let (before, mut after) = (value(name, &now), value(name, &by_itself));
        if !is_others(&by_itself) && after != then {
            let heads = left.get(name).map(Field::heads).unwrap_or_default();
            let heads = heads.into_iter();
            // What others wrote stays beside it.
            let replaced = heads.filter(|stamp| self.is_nobodys(name, stamp));
            plan.replaced.insert(name.to_owned(), replaced.collect());
            plan.columns.insert(name.to_owned(), then.clone());
            after = then;
        }
        if before != after {
            plan.shown.push(UndoRow {
                table: self.table.to_owned(),
                row: self.row.to_owned(),
                column: name.to_owned(),
                now: plain(&before),
                then: plain(&after),
            });
        } else if is_others(&now) {
            plan.kept += 1;
        }
    }
}

fn is_missing(fields: &Fields, column: &str, stamp: &Stamp) -> bool {
    let field = fields.get(column);
    field.is_none_or(|field| field.version(stamp).is_none())
}

/// Puts the planned edit of the owner's column where it will be.
fn stand_in(left: &mut Fields, plan: &RowPlan, by: &HubEdit) {
    let (Some(value), Some(field)) = (plan.columns.get(OWNER), left.get_mut(OWNER)) else {
        return;
    };
    let newest = field.newest().map_or(Hlc::ZERO, |place| place.time);
    let time = newest.next().max(Hlc::at_millis(by.now_ms));
    let base = plan.replaced.get(OWNER).into_iter().flatten();
    let version = Version {
        value: value.clone(),
        base: base.copied().collect(),
        corrected: time,
        origin: Origin {
            edit: by.edit,
            node: by.hub,
            shop: None,
            imported: false,
        },
    };
    field.insert(Stamp::new(time, by.hub), version);
}
