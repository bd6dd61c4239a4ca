//! Which versions lost, and what has become of the conflicts that they are in?

use super::StoreError;
use super::conflicts::{FieldName, GONE, stamp, state};
use super::edits::to_json;
use super::policies::policy;
use counterfoil_domain::merge::{Decision, Field, Policy, Stamp};
use counterfoil_domain::{DocumentId, ShopId};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::decisions::ConflictState;

/// The number of the changes of conflicts that one transaction makes.
#[derive(Default)]
pub(super) struct Change(Option<i64>);

impl Change {
    fn number(&mut self, tx: &Connection) -> Result<i64, StoreError> {
        if let Some(number) = self.0 {
            return Ok(number);
        }
        let sql = "INSERT INTO meta VALUES ('conflict_change', '1') ON CONFLICT (key)
                   DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
                   RETURNING CAST(value AS INTEGER)";
        let number = tx.query_value(sql, ())?;
        self.0 = Some(number);
        Ok(number)
    }
}

/// Records who lost, and what has become of the conflicts that the field had.
pub(super) fn note(
    tx: &Connection,
    name: FieldName<'_>,
    (field, decision): (&Field, &Decision),
    change: &mut Change,
    now_ms: i64,
) -> Result<(), StoreError> {
    let known = tx.query_map(
        "SELECT id, loser, state, current, policy FROM conflict
         WHERE table_name = ?1 AND row_id = ?2 AND column_name = ?3",
        params![name.table, name.row, name.column],
        |row| {
            let (id, loser) = (row.get::<i64>(0)?, stamp(row, 1)?);
            Ok((id, loser, state(row, 2)?, stamp(row, 3)?, policy(row, 4)?))
        },
    )?;
    for loser in &decision.losers {
        if known.iter().all(|(_, known, ..)| known != loser) {
            let change = change.number(tx)?;
            record(tx, name, field, (*loser, decision), (change, now_ms))?;
        }
    }
    for (id, loser, held, current, policy) in known {
        let (state, settled_by) = state_of(tx, name, (field, decision), loser, (id, policy))?;
        if state == held && current == decision.current {
            continue;
        }
        tx.execute(
            "UPDATE conflict SET state = ?2, current = ?5, change = ?6,
                 settled_by = CASE WHEN state = ?2 THEN settled_by ELSE ?3 END,
                 settled_ms = CASE WHEN state = ?2 THEN settled_ms ELSE ?4 END
             WHERE id = ?1",
            params![
                id,
                state.name(),
                settled_by.map(|stamp| stamp.to_string()),
                settled_by.map(|_| now_ms),
                decision.current.to_string(),
                change.number(tx)?,
            ],
        )?;
    }
    Ok(())
}

/// Settles what waits in a field of which no version counts, because the row turned out to be another shop's.
pub(super) fn settle_uncounted(
    tx: &Connection,
    name: FieldName<'_>,
    change: &mut Change,
    now_ms: i64,
) -> Result<(), StoreError> {
    let key = || params![name.table, name.row, name.column];
    let sql = "SELECT EXISTS (SELECT 1 FROM conflict WHERE table_name = ?1 AND row_id = ?2
                   AND column_name = ?3 AND state = 'open')";
    if !tx.query_value::<bool>(sql, key())? {
        return Ok(());
    }
    let number = change.number(tx)?;
    tx.execute(
        "UPDATE conflict SET state = ?4, settled_by = winner, settled_ms = ?5, change = ?6
         WHERE table_name = ?1 AND row_id = ?2 AND column_name = ?3 AND state = 'open'",
        params![
            name.table,
            name.row,
            name.column,
            ConflictState::ByPolicy.name(),
            now_ms,
            number
        ],
    )?;
    Ok(())
}

fn record(
    tx: &Connection,
    name: FieldName<'_>,
    field: &Field,
    (loser, decision): (Stamp, &Decision),
    (change, now_ms): (i64, i64),
) -> Result<(), StoreError> {
    let winner = decision.current;
    let (Some(lost), Some(won)) = (field.version(&loser), field.version(&winner)) else {
        return Ok(());
    };
    let Some(policy) = decision.lost_by(&loser) else {
        return Ok(());
    };
    let (state, settled_by) = unreplaced(tx, name, (loser, policy), winner)?;
    tx.execute(
        "INSERT INTO conflict (table_name, row_id, column_name, loser, winner,
             loser_value, winner_value, loser_shop, winner_shop, policy, found_ms,
             state, settled_by, settled_ms, current, change)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?5, ?15)",
        params![
            name.table,
            name.row,
            name.column,
            loser.to_string(),
            winner.to_string(),
            to_json("field value", &lost.value)?,
            to_json("field value", &won.value)?,
            lost.origin.shop.map(ShopId::to_bytes),
            won.origin.shop.map(ShopId::to_bytes),
            policy.name(),
            now_ms,
            state.name(),
            settled_by.map(|stamp| stamp.to_string()),
            settled_by.map(|_| now_ms),
            change,
        ],
    )?;
    Ok(())
}

fn unreplaced(
    tx: &Connection,
    name: FieldName<'_>,
    (loser, policy): (Stamp, Policy),
    current: Stamp,
) -> Result<(ConflictState, Option<Stamp>), StoreError> {
    Ok(if is_asked(tx, name, loser, policy)? {
        (ConflictState::Open, None)
    } else {
        (ConflictState::ByPolicy, Some(current))
    })
}

/// Whether a person is asked about a version that lost. Not about what a file brought: shops that take over the same
/// one would be asked about thousands of values that nobody has typed. Nor about what was taken back; the hub's own edit
/// that takes back counts as typed.
fn is_asked(
    tx: &Connection,
    name: FieldName<'_>,
    loser: Stamp,
    policy: Policy,
) -> Result<bool, StoreError> {
    if policy != Policy::Manual {
        return Ok(false);
    }
    let sql = "SELECT import_id IS NULL AND (undone = 0 OR shop IS NULL) FROM field_version
               WHERE table_name = ?1 AND row_id = ?2 AND column_name = ?3 AND hlc = ?4 AND node_tag = ?5";
    let key = params![
        name.table,
        name.row,
        name.column,
        loser.hlc.raw(),
        i64::from(loser.node_tag)
    ];
    let typed = tx.query_optional(sql, key, |row| row.get(0))?;
    typed.ok_or(GONE)
}

/// What has become of a version that lost, and the version that decided so.
fn state_of(
    tx: &Connection,
    name: FieldName<'_>,
    (field, decision): (&Field, &Decision),
    loser: Stamp,
    (conflict, policy): (i64, Policy),
) -> Result<(ConflictState, Option<Stamp>), StoreError> {
    if let Some(policy) = decision.lost_by(&loser) {
        return unreplaced(tx, name, (loser, policy), decision.current);
    }
    if field.version(&loser).is_none() {
        // The row turned out to be another shop's: it stands in quarantine.
        return Ok((ConflictState::ByPolicy, Some(decision.current)));
    }
    let replacing: Vec<Stamp> = decision.replaced_by(&loser).collect();
    let Some(first) = replacing.first().copied() else {
        let state = if loser == decision.current {
            ConflictState::ByPolicy
        } else {
            ConflictState::ByAgreement
        };
        return Ok((state, Some(decision.current)));
    };
    let decided = |stamp: &Stamp| -> Result<Option<i64>, StoreError> {
        let edit = field.version(stamp).map(|version| version.origin.edit);
        let sql = "SELECT conflict FROM audit WHERE edit = ?1 AND conflict IS NOT NULL";
        let edit = params![edit.map(DocumentId::to_bytes)];
        Ok(tx.query_optional(sql, edit, |row| row.get(0))?)
    };
    let (mut of_another, mut was_taken_back) = (None, false);
    for stamp in replacing {
        match decided(&stamp)? {
            // One choice settles every conflict that it names, and taking it back opens them all.
            Some(_) if field.is_undone(&stamp) => was_taken_back = true,
            Some(of) if of == conflict => return Ok((ConflictState::ByChoice, Some(stamp))),
            Some(_) => of_another = of_another.or(Some(stamp)),
            None => {}
        }
    }
    if was_taken_back {
        // Nobody has chosen any more, unless somebody has chosen again: over what stands since, not over the loser.
        for (stamp, _) in field.versions() {
            if !field.is_undone(stamp) && decided(stamp)? == Some(conflict) {
                return Ok((ConflictState::ByChoice, Some(*stamp)));
            }
        }
        if of_another.is_none() {
            return unreplaced(tx, name, (loser, policy), decision.current);
        }
    }
    let Some(stamp) = of_another else {
        return Ok((ConflictState::ByEdit, Some(first)));
    };
    Ok(if is_asked(tx, name, loser, policy)? {
        (ConflictState::ByChoice, Some(stamp))
    } else {
        // Nobody was asked about what a policy had settled: it stays so.
        (ConflictState::ByPolicy, Some(decision.current))
    })
}
