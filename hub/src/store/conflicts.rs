//! Which concurrent edits had to be settled, and what became of them?

use super::catalog::CatalogShape;
use super::fields::{Fields, load_fields};
use super::{Reader, StoreError, node_id, shop_id_optional};
use crate::limits::SHOP_CONFLICTS_MAX;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::password::without_hashes;
use counterfoil_domain::{Hlc, Scalar, ShopId};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::decisions::{
    ConflictChanges, ConflictCursor, ConflictPage, ConflictRow, ConflictSide, ConflictState,
};
use std::collections::BTreeMap;

/// A column of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldName<'a> {
    pub(super) table: &'a str,
    pub(super) row: &'a str,
    pub(super) column: &'a str,
}

/// Which conflicts are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConflictFilter {
    pub(crate) state: Option<ConflictState>,
    pub(crate) table: Option<String>,
    pub(crate) shop: Option<ShopId>,
    /// Those with a greater number.
    pub(crate) after: i64,
    /// At most so many.
    pub(crate) limit: i64,
}

impl ConflictFilter {
    /// The parameters are: after, state, table, shop, limit. A condition that is not asked for is left out, so that
    /// an index on the others is used.
    pub(super) fn sql(&self) -> String {
        let state = match self.state {
            // As a constant, which the index on what is open understands.
            Some(ConflictState::Open) => "state = 'open' AND ?2 = 'open'",
            Some(_) => "state = ?2",
            None => "?2 IS NULL",
        };
        let table = match self.table {
            Some(_) => "table_name = ?3",
            None => "?3 IS NULL",
        };
        format!(
            "{STORED} WHERE id > ?1 AND {state} AND {table}
                 AND (?4 IS NULL OR loser_shop = ?4 OR winner_shop = ?4)
             ORDER BY id LIMIT ?5"
        )
    }
}

/// A row of `conflict` as it is stored.
struct Stored {
    id: i64,
    table: String,
    row: String,
    column: String,
    loser: Stamp,
    winner: Stamp,
    policy: String,
    found_ms: i64,
    state: ConflictState,
    settled_by: Option<Stamp>,
    settled_ms: Option<i64>,
}

const STORED: &str = "SELECT id, table_name, row_id, column_name, loser, winner, policy, found_ms,
                             state, settled_by, settled_ms, change FROM conflict";

pub(super) fn stamp(row: &Row<'_>, index: usize) -> Result<Stamp, SqlError> {
    row.get_with(index, |text: String| text.parse())
}

pub(super) fn state(row: &Row<'_>, index: usize) -> Result<ConflictState, SqlError> {
    row.get_with(index, |name: String| {
        ConflictState::from_name(&name).ok_or("unknown state of a conflict")
    })
}

impl Stored {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            id: row.get(0)?,
            table: row.get(1)?,
            row: row.get(2)?,
            column: row.get(3)?,
            loser: stamp(row, 4)?,
            winner: stamp(row, 5)?,
            policy: row.get(6)?,
            found_ms: row.get(7)?,
            state: state(row, 8)?,
            settled_by: row.get_with(9, |text: Option<String>| {
                text.map(|text| text.parse::<Stamp>()).transpose()
            })?,
            settled_ms: row.get(10)?,
        })
    }

    fn name(&self) -> FieldName<'_> {
        FieldName {
            table: &self.table,
            row: &self.row,
            column: &self.column,
        }
    }
}

/// A value as programs read it: without the hash of a PIN.
pub(super) fn plain(value: &Scalar) -> serde_json::Value {
    match value {
        Scalar::Null => serde_json::Value::Null,
        Scalar::Integer(number) => (*number).into(),
        Scalar::Text(text) => without_hashes(text).into(),
    }
}

/// A version with where it came from; `None` when there is no such version.
pub(super) fn side(
    hub: &Connection,
    name: FieldName<'_>,
    stamp: Stamp,
) -> Result<Option<ConflictSide>, StoreError> {
    let sql = "SELECT v.value, v.base, v.base_revision, v.node, v.shop, shop.name, node.lane,
                   v.corrected_hlc
               FROM field_version AS v
               LEFT JOIN shop ON shop.id = v.shop LEFT JOIN node ON node.id = v.node
               WHERE v.table_name = ?1 AND v.row_id = ?2 AND v.column_name = ?3
                 AND v.hlc = ?4 AND v.node_tag = ?5";
    let key = params![
        name.table,
        name.row,
        name.column,
        stamp.hlc.raw(),
        i64::from(stamp.node_tag)
    ];
    Ok(hub.query_optional(sql, key, |row| {
        Ok(ConflictSide {
            value: row.get_with(0, |text: String| {
                serde_json::from_str::<Scalar>(&text).map(|value| plain(&value))
            })?,
            stamp,
            at_ms: Hlc::from_raw(row.get(7)?).millis(),
            node_id: node_id(row, 3)?,
            shop_id: shop_id_optional(row, 4)?,
            shop: row.get(5)?,
            lane: row.get(6)?,
            base: row.get_with(1, |text: String| serde_json::from_str(&text))?,
            base_revision: row.get(2)?,
        })
    })?)
}

/// What is said where a version is gone: nothing removes versions.
pub(super) const GONE: StoreError = StoreError::Missing {
    what: "version of a field",
};

fn full(
    hub: &Connection,
    shape: &CatalogShape,
    stored: Stored,
    fields: &Fields,
) -> Result<ConflictRow, StoreError> {
    let name = stored.name();
    // Nothing counts any more in a row that turned out to be another shop's.
    let decision = shape.decide(&stored.table, &stored.column, fields);
    let current = decision.map_or(stored.winner, |decision| decision.current);
    let [winner, loser, current] =
        [stored.winner, stored.loser, current].map(|stamp| side(hub, name, stamp));
    Ok(ConflictRow {
        winner: winner?.ok_or(GONE)?,
        loser: loser?.ok_or(GONE)?,
        current: current?.ok_or(GONE)?,
        id: stored.id,
        policy: stored.policy,
        found_ms: stored.found_ms,
        state: stored.state,
        settled_ms: stored.settled_ms,
        settled_by: stored.settled_by,
        table: stored.table,
        row: stored.row,
        column: stored.column,
    })
}

fn all_full(
    hub: &Connection,
    shape: &CatalogShape,
    stored: Vec<Stored>,
) -> Result<Vec<ConflictRow>, StoreError> {
    let mut rows: BTreeMap<(String, String), Fields> = BTreeMap::new();
    let mut conflicts = Vec::with_capacity(stored.len());
    for found in stored {
        let key = (found.table.clone(), found.row.clone());
        if !rows.contains_key(&key) {
            let fields = load_fields(hub, &found.table, &found.row)?;
            rows.insert(key.clone(), fields);
        }
        let fields = rows.get(&key).ok_or(GONE)?;
        conflicts.push(full(hub, shape, found, fields)?);
    }
    Ok(conflicts)
}

/// The newest change of a conflict in which a shop has a part; 0 when there is none.
pub(super) fn newest_change(hub: &Connection, shop: ShopId) -> Result<i64, StoreError> {
    let sql = "SELECT max(coalesce((SELECT max(change) FROM conflict WHERE loser_shop = ?1), 0),
                          coalesce((SELECT max(change) FROM conflict WHERE winner_shop = ?1), 0))";
    Ok(hub.query_value(sql, params![shop.to_bytes()])?)
}

/// The number of the conflict that a version lost, and whether a shop has a part in it.
pub(super) fn conflict_lost_by(
    hub: &Connection,
    name: FieldName<'_>,
    loser: Stamp,
    shop: ShopId,
) -> Result<Option<(i64, bool)>, StoreError> {
    let sql = "SELECT id, coalesce(loser_shop = ?5, 0) OR coalesce(winner_shop = ?5, 0)
               FROM conflict
               WHERE table_name = ?1 AND row_id = ?2 AND column_name = ?3 AND loser = ?4";
    let key = params![
        name.table,
        name.row,
        name.column,
        loser.to_string(),
        shop.to_bytes()
    ];
    Ok(hub.query_optional(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// One conflict as it is now; `None` when there is none of that number.
pub(super) fn conflict_of(
    hub: &Connection,
    shape: &CatalogShape,
    id: i64,
) -> Result<Option<ConflictRow>, StoreError> {
    let sql = format!("{STORED} WHERE id = ?1");
    let Some(stored) = hub.query_optional(&sql, params![id], Stored::read)? else {
        return Ok(None);
    };
    let fields = load_fields(hub, &stored.table, &stored.row)?;
    full(hub, shape, stored, &fields).map(Some)
}

impl Reader {
    /// The shop of that name or id.
    pub(crate) fn shop_named(&self, named: &str) -> Result<Option<ShopId>, StoreError> {
        let id = named.parse::<ShopId>().ok().map(ShopId::to_bytes);
        let sql = "SELECT id FROM shop WHERE name = ?1 OR id = ?2 ORDER BY name = ?1 DESC";
        let found = self
            .hub
            .query_optional(sql, params![named, id], |row| shop_id_optional(row, 0))?;
        Ok(found.flatten())
    }

    /// Whether a shop had a part in a conflict; `None` when there is none of that number.
    pub(crate) fn conflict_is_of(&self, id: i64, shop: ShopId) -> Result<Option<bool>, StoreError> {
        let sql = "SELECT loser_shop IS ?2 OR winner_shop IS ?2 FROM conflict WHERE id = ?1";
        let asked = params![id, shop.to_bytes()];
        Ok(self.hub.query_optional(sql, asked, |row| row.get(0))?)
    }

    /// A page of conflicts by number, of one moment.
    pub(crate) fn conflicts(&self, filter: &ConflictFilter) -> Result<ConflictPage, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        let sql = filter.sql();
        self.hub.snapshot(|hub| {
            let page = params![
                filter.after,
                filter.state.map(ConflictState::name),
                filter.table.as_deref(),
                filter.shop.map(ShopId::to_bytes),
                filter.limit.saturating_add(1)
            ];
            let mut stored = hub.query_map(&sql, page, Stored::read)?;
            let shown = usize::try_from(filter.limit).unwrap_or(usize::MAX);
            let more = stored.len() > shown;
            stored.truncate(shown);
            let next = stored.last().filter(|_| more).map(|last| last.id);
            let conflicts = all_full(hub, &shape, stored)?;
            Ok(ConflictPage { conflicts, next })
        })
    }

    /// The next conflicts of a shop that changed after a place, in the order of their changes.
    pub(crate) fn changed_conflicts(
        &self,
        shop: ShopId,
        after: ConflictCursor,
    ) -> Result<ConflictChanges, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        let sql = format!(
            "SELECT * FROM ({STORED} WHERE loser_shop = ?1 AND change >= ?2
                            UNION {STORED} WHERE winner_shop = ?1 AND change >= ?2)
             WHERE (change, id) > (?2, ?3) ORDER BY change, id LIMIT ?4"
        );
        let limit = SHOP_CONFLICTS_MAX.saturating_add(1);
        self.hub.snapshot(|hub| {
            let key = params![shop.to_bytes(), after.change, after.id, limit];
            let mut stored = hub.query_map(&sql, key, |row| {
                Ok((Stored::read(row)?, row.get::<i64>(11)?))
            })?;
            let shown = usize::try_from(SHOP_CONFLICTS_MAX).unwrap_or(usize::MAX);
            let more = stored.len() > shown;
            stored.truncate(shown);
            let place = |(last, change): &(Stored, i64)| ConflictCursor {
                change: *change,
                id: last.id,
            };
            let cursor = stored.last().map_or(after, place);
            let stored = stored.into_iter().map(|(stored, _)| stored).collect();
            Ok(ConflictChanges {
                conflicts: all_full(hub, &shape, stored)?,
                cursor,
                more,
            })
        })
    }

    /// One conflict; `None` when there is none of that number.
    pub(crate) fn conflict(&self, id: i64) -> Result<Option<ConflictRow>, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        self.hub.snapshot(|hub| conflict_of(hub, &shape, id))
    }
}
