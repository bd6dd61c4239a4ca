//! How are conflicts of a column settled, and since when?
//!
//! `policy_change` holds every change with its stamp; the first row of a column is what the catalog's
//! schema says. What is in force stands in `policy` of the catalog, where tills see it.

use super::audit::{Decided, write_down};
use super::catalog::{CatalogShape, TableShape};
use super::fields::Fields;
use super::hub_edits::{HubEdit, next_hlc};
use super::prices::{EFFECTIVE, is_dated, is_term};
use super::{Reader, Store, StoreError};
use counterfoil_domain::merge::{Decision, Policy, Stamp, Timeline, creator};
use counterfoil_domain::{Hlc, NodeId, Scalar, ShopId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::policies::PolicyRow;
use serde_json::json;
use std::collections::BTreeMap;

/// The column whose policy holds for the columns that have none of their own.
pub(crate) const REST: &str = "*";

pub(super) use counterfoil_domain::edit::OWNER;

type Changes = BTreeMap<Stamp, Policy>;

/// All policies by table and column, with their past.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies(BTreeMap<String, BTreeMap<String, Changes>>);

/// The stamp of what the schema says.
const SCHEMA: Stamp = Stamp {
    hlc: Hlc::ZERO,
    node_tag: 0,
};

pub(super) fn policy(row: &Row<'_>, index: usize) -> Result<Policy, SqlError> {
    row.get_with(index, |name: String| {
        Policy::from_name(&name).ok_or("unknown policy")
    })
}

/// When a policy was set, for people; `None` for what the schema says.
fn since_ms(at: Stamp) -> Option<i64> {
    (at != SCHEMA).then(|| at.hlc.millis())
}

/// Why a policy was not set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PolicyError {
    /// There is no such table.
    NoTable,
    /// It breaks a rule.
    Refused(String),
}

/// A policy of some columns, as a person wants it in one decision.
#[derive(Clone, Debug)]
pub(crate) struct WantedPolicy {
    pub(crate) table: String,
    /// Each once.
    pub(crate) columns: Vec<String>,
    pub(crate) policy: Policy,
}

impl WantedPolicy {
    /// The columns, as commands name them.
    pub(crate) fn named(&self) -> String {
        self.columns.join(",")
    }
}

/// Who changes a policy, when and why.
pub(super) struct Setter<'a> {
    /// The hub's id, as the node of the change.
    pub(super) hub: NodeId,
    pub(super) now_ms: i64,
    pub(super) who: &'a str,
    /// In words, for the audit trail; empty for what a person wants.
    pub(super) why: &'static str,
}

impl Policies {
    pub(super) fn load(hub: &Connection) -> Result<Self, StoreError> {
        let mut policies = Self::default();
        let sql = "SELECT table_name, column_name, hlc, node_tag, policy FROM policy_change";
        hub.query_each(sql, (), |row| -> Result<(), SqlError> {
            let stamp = Stamp {
                hlc: Hlc::from_raw(row.get(2)?),
                node_tag: row.get(3)?,
            };
            let policy = policy(row, 4)?;
            let of_table = policies.0.entry(row.get(0)?).or_default();
            of_table
                .entry(row.get(1)?)
                .or_default()
                .insert(stamp, policy);
            Ok(())
        })?;
        Ok(policies)
    }

    /// The policies that a column had: its own, and before them those of the rest of its table.
    pub(super) fn of(&self, table: &str, column: &str) -> Timeline {
        let changes = |column: &str| self.0.get(table)?.get(column);
        let own = changes(column);
        let first_own = own.and_then(|own| own.keys().next());
        let mut timeline = Timeline::always(Policy::LastWriterWins);
        for (at, policy) in changes(REST).into_iter().flatten() {
            if first_own.is_none_or(|first| at < first) {
                timeline.change(*at, *policy);
            }
        }
        for (at, policy) in own.into_iter().flatten() {
            timeline.change(*at, *policy);
        }
        timeline
    }

    /// Whether a column has a policy of its own.
    pub(super) fn has_own(&self, table: &str, column: &str) -> bool {
        self.0.get(table).is_some_and(|of| of.contains_key(column))
    }

    /// When the newest of them came into force.
    pub(super) fn newest(&self) -> Option<Hlc> {
        self.in_force().map(|(_, _, at, _)| at.hlc).max()
    }

    /// What is in force, by table and column.
    fn in_force(&self) -> impl Iterator<Item = (&str, &str, Stamp, Policy)> {
        self.0.iter().flat_map(|(table, columns)| {
            columns.iter().filter_map(move |(column, changes)| {
                let (at, policy) = changes.last_key_value()?;
                Some((table.as_str(), column.as_str(), *at, *policy))
            })
        })
    }
}

/// Takes over what the catalog says of columns whose policy was never changed here. What a new catalog says of prices in
/// a table that this hub knows was decided otherwise until now, and stays so (`settle_price_policies`).
pub(super) fn take_over(hub: &Connection, catalog: &Connection) -> Result<(), StoreError> {
    let sql = "SELECT table_name, column_name, policy FROM policy";
    let stated = catalog.query_map(sql, (), |row| {
        let (table, column): (String, String) = (row.get(0)?, row.get(1)?);
        Ok((table, column, row.get::<String>(2)?))
    })?;
    let tables = CatalogShape::tables(catalog)?;
    let is_price = |name: &str, column: &str| {
        let table = tables.iter().find(|table| table.name == name);
        table.is_some_and(|table| is_term(table, column))
    };
    hub.transaction(|tx| -> Result<(), StoreError> {
        let sql = "SELECT DISTINCT table_name FROM policy_change";
        let known: Vec<String> = tx.query_map(sql, (), |row| row.get(0))?;
        for (table, column, policy) in stated {
            if known.contains(&table) && is_price(&table, &column) {
                continue;
            }
            tx.execute(
                "INSERT INTO policy_change (table_name, column_name, hlc, node_tag, policy)
                 SELECT ?1, ?2, 0, 0, ?3 WHERE NOT EXISTS
                     (SELECT 1 FROM policy_change WHERE table_name = ?1 AND column_name = ?2)",
                params![table, column, policy],
            )?;
        }
        Ok(())
    })
}

/// Whether the catalog states another policy than the one in force.
pub(super) fn unpublished(shape: &CatalogShape, catalog: &Connection) -> Result<bool, StoreError> {
    // Asked before every publication: one statement.
    let sql = "SELECT table_name, column_name, policy, since_ms FROM policy";
    let stated = catalog.query_map(sql, (), |row| {
        let name = (row.get::<String>(0)?, row.get::<String>(1)?);
        Ok((name, row.get::<String>(2)?, row.get::<Option<i64>>(3)?))
    })?;
    let is_stated = |(table, column, at, policy): (&str, &str, Stamp, Policy)| {
        let same = |((of, named), held, since): &((String, String), String, Option<i64>)| {
            of == table && named == column && held == policy.name() && *since == since_ms(at)
        };
        stated.iter().any(same)
    };
    Ok(!shape.policies.in_force().all(is_stated))
}

/// Writes the policies in force to the catalog; whether any differed.
pub(super) fn publish(shape: &CatalogShape, tx: &Connection) -> Result<bool, StoreError> {
    let mut changed = false;
    for (table, column, at, policy) in shape.policies.in_force() {
        changed |= 0 < tx.execute(
            "INSERT INTO policy (table_name, column_name, policy, since_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (table_name, column_name)
                 DO UPDATE SET policy = excluded.policy, since_ms = excluded.since_ms
                 WHERE policy <> excluded.policy OR since_ms IS NOT excluded.since_ms",
            params![table, column, policy.name(), since_ms(at)],
        )?;
    }
    Ok(changed)
}

impl CatalogShape {
    /// What a column of a row comes to; `None` when it has no version.
    pub(super) fn decide(&self, table: &str, column: &str, fields: &Fields) -> Option<Decision> {
        self.decide_by(&self.policies.of(table, column), (table, column), fields)
    }

    /// The same under other policies.
    pub(super) fn decide_by(
        &self,
        policies: &Timeline,
        (table, column): (&str, &str),
        fields: &Fields,
    ) -> Option<Decision> {
        let field = fields.get(column)?;
        let owner = if policies.ever(Policy::ShopWins) {
            self.owner(table, column, fields)
        } else {
            None
        };
        field.decide(policies, owner)
    }

    /// The shop whose own row it is: the one it holds for, or the one that created it.
    fn owner(&self, table: &str, column: &str, fields: &Fields) -> Option<ShopId> {
        let has_owner = self
            .table(table)
            .is_some_and(|table| table.is_integer(OWNER).is_some());
        if !has_owner || column == OWNER {
            return creator(fields.values());
        }
        let decision = self.decide(table, OWNER, fields)?;
        match &fields.get(OWNER)?.version(&decision.current)?.value {
            Scalar::Text(shop) => shop.parse().ok(),
            Scalar::Null | Scalar::Integer(_) => None,
        }
    }

    /// Columns of a table whose decision depends on whose row it is, and so on other columns.
    pub(super) fn owned_columns<'a>(
        &'a self,
        table: &'a str,
        fields: &'a Fields,
    ) -> impl Iterator<Item = &'a String> {
        let owned = |column: &&String| self.policies.of(table, column).ever(Policy::ShopWins);
        fields.keys().filter(owned)
    }

    /// Whether all columns may have the policy.
    pub(super) fn check(&self, wanted: &WantedPolicy) -> Result<(), PolicyError> {
        let shape = self.table(&wanted.table).ok_or(PolicyError::NoTable)?;
        let mut columns = wanted.columns.iter();
        columns.try_for_each(|column| check_column(shape, column, wanted.policy))
    }
}

fn check_column(shape: &TableShape, column: &str, policy: Policy) -> Result<(), PolicyError> {
    let table = &shape.name;
    if column != REST && shape.is_integer(column).is_none() {
        let known: Vec<_> = shape
            .editable
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        return Err(PolicyError::Refused(format!(
            "`{table}` has no column `{column}`; it has {}, and `{REST}` for the rest",
            known.join(", ")
        )));
    }
    if policy != Policy::Manual && is_term(shape, column) {
        return Err(PolicyError::Refused(format!(
            "`{table}.{column}` is about a price: when two shops change it at the same time, a person decides, so its \
             policy stays `manual`"
        )));
    }
    if policy == Policy::LastWriterWins && is_dated(shape) {
        return Err(PolicyError::Refused(format!(
            "the rows of `{table}` take turns by `{EFFECTIVE}` and are never merged by time: a new value is a new row"
        )));
    }
    Ok(())
}

impl Store {
    /// Changes the policy of some columns from now on, all or none; whether it was another one before for any of them.
    /// The next publication states it.
    pub(crate) fn set_policy(
        &mut self,
        wanted: &WantedPolicy,
        by: &HubEdit,
    ) -> Result<Result<bool, PolicyError>, StoreError> {
        if let Err(refused) = self.shape.check(wanted) {
            return Ok(Err(refused));
        }
        let setter = Setter {
            hub: by.hub,
            now_ms: by.now_ms,
            who: &by.who,
            why: "",
        };
        Ok(Ok(self.put_in_force(wanted, &setter)?))
    }

    /// Changes the policy of those columns that have another one, or that of the rest of the table: in one decision
    /// with one stamp. Whether there were any.
    pub(super) fn put_in_force(
        &mut self,
        wanted: &WantedPolicy,
        by: &Setter<'_>,
    ) -> Result<bool, StoreError> {
        let (table, policy) = (wanted.table.as_str(), wanted.policy);
        let policies = &self.shape.policies;
        let before = |column: &String| policies.of(table, column).now();
        let differs =
            |column: &&String| before(column) != policy || !policies.has_own(table, column);
        let changed: Vec<&String> = wanted.columns.iter().filter(differs).collect();
        if changed.is_empty() {
            return Ok(false);
        }
        let was = match wanted.columns.as_slice() {
            [column] => json!(before(column).name()),
            columns => {
                let was = columns.iter();
                was.map(|column| (column.clone(), json!(before(column).name())))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
        };
        let newest = self.newest_hlc()?;
        let changed = self.hub.transaction(|tx| -> Result<Policies, StoreError> {
            let stamp = Stamp::new(next_hlc(tx, newest, by.now_ms)?, by.hub);
            for column in changed {
                tx.execute(
                    "INSERT INTO policy_change (table_name, column_name, hlc, node_tag, policy)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        table,
                        column.as_str(),
                        stamp.hlc.raw(),
                        i64::from(stamp.node_tag),
                        policy.name()
                    ],
                )?;
            }
            let decided = Decided {
                at_ms: by.now_ms,
                who: by.who,
                action: "policy_set",
                subject: format!("{table} {}", wanted.named()),
                detail: by.why,
                before: was,
                after: json!(policy.name()),
                edit: None,
                conflict: None,
            };
            write_down(tx, decided)?;
            Policies::load(tx)
        })?;
        self.shape.policies = changed;
        Ok(true)
    }
}

impl Reader {
    /// What is in force, by table and column.
    pub(crate) fn policies(&self) -> Result<Vec<PolicyRow>, StoreError> {
        let policies = Policies::load(&self.hub)?;
        let rows = policies
            .in_force()
            .map(|(table, column, at, policy)| PolicyRow {
                table: table.to_owned(),
                column: column.to_owned(),
                policy,
                since_ms: since_ms(at),
            });
        Ok(rows.collect())
    }
}
