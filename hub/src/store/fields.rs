//! Which versions does a row have, and which of them count?

use super::policies::OWNER;
use super::{StoreError, node_id, shop_id_optional};
use counterfoil_domain::merge::{Field, Origin, Stamp, Version, of_others};
use counterfoil_domain::{DocumentId, Hlc, NodeId, Rule, Topic};
use counterfoil_migrate::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// All versions of the columns of one row.
pub(super) type Fields = BTreeMap<String, Field>;

/// Why a shop's edit of another one's row stands in quarantine.
pub(super) const ANOTHERS: &str = "the row belongs to another shop";

/// Every version of every column of a row that counts: not what shops wrote to a row that held for another one.
pub(super) fn load_fields(hub: &Connection, table: &str, row: &str) -> Result<Fields, StoreError> {
    let (mut fields, admitted) = load_all(hub, table, row)?;
    for (column, others) in of_others(&fields, OWNER, &admitted) {
        if let Some(field) = fields.get_mut(&column) {
            *field = field.without(|stamp| others.contains(stamp));
        }
    }
    Ok(fields)
}

/// Every version, and those that a person has let in.
fn load_all(
    hub: &Connection,
    table: &str,
    row: &str,
) -> Result<(Fields, BTreeSet<Stamp>), StoreError> {
    let (mut fields, mut admitted) = (Fields::new(), BTreeSet::new());
    let sql = "SELECT column_name, hlc, node_tag, value, base, edit, node, shop,
                   corrected_hlc, waived
               FROM field_version WHERE table_name = ?1 AND row_id = ?2";
    hub.query_each(
        sql,
        params![table, row],
        |found| -> Result<(), StoreError> {
            let stamp = Stamp {
                hlc: Hlc::from_raw(found.get(1)?),
                node_tag: found.get(2)?,
            };
            let version = Version {
                value: found.get_with(3, |text: String| serde_json::from_str(&text))?,
                base: found.get_with(4, |text: String| serde_json::from_str(&text))?,
                corrected: Hlc::from_raw(found.get(8)?),
                origin: Origin {
                    edit: found.get_with(5, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?,
                    node: node_id(found, 6)?,
                    shop: shop_id_optional(found, 7)?,
                },
            };
            if found.get(9)? {
                admitted.insert(stamp);
            }
            fields
                .entry(found.get(0)?)
                .or_default()
                .insert(stamp, version);
            Ok(())
        },
    )?;
    Ok((fields, admitted))
}

/// An entry of a journal that wrote to a row.
struct Wrote {
    node: NodeId,
    seq: i64,
    edit: Vec<u8>,
    column: String,
    stamp: Stamp,
}

/// Puts aside what does not count in a row that holds for one shop, and lets back what does by now. Earlier claims may
/// arrive later, so both can be long after the edit itself. `again` comes back from quarantine.
pub(super) fn tend_owned(
    tx: &Connection,
    (table, row): (&str, &str),
    (now_ms, again): (i64, Option<(NodeId, i64)>),
) -> Result<(), StoreError> {
    let (fields, admitted) = load_all(tx, table, row)?;
    let others = of_others(&fields, OWNER, &admitted);
    let sql = "SELECT node, seq, edit, column_name, hlc, node_tag FROM field_version
               WHERE table_name = ?1 AND row_id = ?2 AND seq IS NOT NULL";
    let wrote = tx.query_map(sql, params![table, row], |found| {
        Ok(Wrote {
            node: node_id(found, 0)?,
            seq: found.get(1)?,
            edit: found.get(2)?,
            column: found.get(3)?,
            stamp: Stamp {
                hlc: Hlc::from_raw(found.get(4)?),
                node_tag: found.get(5)?,
            },
        })
    })?;
    let mut aside: BTreeMap<(NodeId, i64), (Vec<u8>, bool)> = BTreeMap::new();
    for Wrote {
        node,
        seq,
        edit,
        column,
        stamp,
    } in wrote
    {
        let is_others = others.get(&column).is_some_and(|of| of.contains(&stamp));
        let held = aside.entry((node, seq)).or_insert((edit, false));
        held.1 |= is_others;
    }
    for ((node, seq), (edit, is_others)) in aside {
        if is_others {
            put_aside(tx, (node, seq), edit, (now_ms, again == Some((node, seq))))?;
        } else {
            let sql = "UPDATE quarantine SET settled_ms = ?4, settled_as = 'followed'
                       WHERE node = (SELECT number FROM node WHERE id = ?1) AND seq = ?2
                         AND code = ?3 AND settled_ms IS NULL";
            let code = Rule::RowOfAnotherShop.name();
            tx.execute(sql, params![node.to_bytes(), seq, code, now_ms])?;
        }
    }
    Ok(())
}

/// What a person has fixed is another edit now, unless it is this one that comes back.
fn put_aside(
    tx: &Connection,
    (node, seq): (NodeId, i64),
    edit: Vec<u8>,
    (now_ms, is_back): (i64, bool),
) -> Result<(), StoreError> {
    let sql = "INSERT INTO quarantine (node, seq, id, topic, reason, found_ms, code)
               SELECT number, ?2, ?3, ?4, ?5, ?6, ?7 FROM node WHERE id = ?1
               ON CONFLICT (node, seq) DO UPDATE SET code = excluded.code,
                   reason = excluded.reason, cause = NULL, settled_ms = NULL, settled_as = NULL, told = 0
               WHERE settled_ms IS NOT NULL AND (settled_as <> 'fixed' OR ?8)";
    tx.execute(
        sql,
        params![
            node.to_bytes(),
            seq,
            edit,
            Topic::CatalogEdit.code(),
            ANOTHERS,
            now_ms,
            Rule::RowOfAnotherShop.name(),
            i64::from(is_back)
        ],
    )?;
    Ok(())
}
