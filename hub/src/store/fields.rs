//! Which versions does a row have, and which of them count?

use super::consolidation::NodeKey;
use super::policies::OWNER;
use super::undecided::{self, RowName};
use super::{StoreError, node_id, shop_id_optional};
use counterfoil_domain::merge::{Field, Origin, Stamp, Version, of_others};
use counterfoil_domain::{CatalogEdit, DocumentId, Hlc, NodeId, Rule, Topic};
use counterfoil_migrate::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// All versions of the columns of one row.
pub(super) type Fields = BTreeMap<String, Field>;

/// Why a shop's edit of another one's row stands in quarantine.
pub(super) const ANOTHERS: &str = "the row belongs to another shop";

/// Every version of every column of a row that counts: not what shops wrote to a row that held for another one.
pub(super) fn load_fields(hub: &Connection, table: &str, row: &str) -> Result<Fields, StoreError> {
    let (fields, admitted) = load_all(hub, table, row)?;
    Ok(counted(fields, &admitted))
}

/// Those versions of a row that count.
pub(super) fn counted(mut fields: Fields, admitted: &BTreeSet<Stamp>) -> Fields {
    for (column, others) in of_others(&fields, OWNER, admitted) {
        if let Some(field) = fields.get_mut(&column) {
            *field = field.without(|stamp| others.contains(stamp));
        }
    }
    fields
}

/// Every version that may count, and those that a person has let in.
pub(super) fn load_all(
    hub: &Connection,
    table: &str,
    row: &str,
) -> Result<(Fields, BTreeSet<Stamp>), StoreError> {
    let (mut fields, mut admitted) = (Fields::new(), BTreeSet::new());
    let sql = "SELECT column_name, hlc, node_tag, value, base, edit, node, shop,
                   corrected_hlc, waived, undone, import_id IS NOT NULL
               FROM field_version WHERE table_name = ?1 AND row_id = ?2 AND gone = 0";
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
                    imported: found.get(11)?,
                },
            };
            if found.get(9)? {
                admitted.insert(stamp);
            }
            let field = fields.entry(found.get(0)?).or_default();
            field.insert(stamp, version);
            if found.get(10)? {
                field.undo(stamp);
            }
            Ok(())
        },
    )?;
    Ok((fields, admitted))
}

/// An entry of a journal that wrote to a row, with where it stands.
struct Wrote {
    edit: Vec<u8>,
    /// Something of it does not count.
    is_others: bool,
    /// What the quarantine has of it: the rule, and whether that is settled.
    held: Option<(String, bool)>,
}

/// What is to be done about an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Aside,
    Back,
}

impl Wrote {
    /// Nothing, when it stands where it belongs: so that an edit costs what it changes, not what was written before.
    fn turn(&self) -> Option<Turn> {
        match &self.held {
            None | Some((_, true)) => self.is_others.then_some(Turn::Aside),
            Some((code, false)) => {
                let is_back = !self.is_others && code == Rule::RowOfAnotherShop.name();
                is_back.then_some(Turn::Back)
            }
        }
    }
}

/// The entries that wrote to a row, by node and position.
fn wrote(
    tx: &Connection,
    table: &str,
    row: &str,
) -> Result<BTreeMap<(NodeId, i64), Wrote>, StoreError> {
    let (fields, admitted) = load_all(tx, table, row)?;
    let others = of_others(&fields, OWNER, &admitted);
    let mut entries: BTreeMap<(NodeId, i64), Wrote> = BTreeMap::new();
    let sql = "SELECT v.node, v.seq, v.edit, v.column_name, v.hlc, v.node_tag,
                   q.code, q.settled_ms IS NOT NULL
               FROM field_version AS v
               LEFT JOIN node ON node.id = v.node
               LEFT JOIN quarantine AS q ON q.node = node.number AND q.seq = v.seq
               WHERE v.table_name = ?1 AND v.row_id = ?2 AND v.seq IS NOT NULL
                 AND v.gone = 0 AND v.undone = 0";
    tx.query_each(
        sql,
        params![table, row],
        |found| -> Result<(), StoreError> {
            let stamp = Stamp {
                hlc: Hlc::from_raw(found.get(4)?),
                node_tag: found.get(5)?,
            };
            let (edit, code) = (found.get(2)?, found.get::<Option<String>>(6)?);
            let held = code.zip(Some(found.get(7)?));
            let entry = entries.entry((node_id(found, 0)?, found.get(1)?));
            let entry = entry.or_insert(Wrote {
                edit,
                is_others: false,
                held,
            });
            let column: String = found.get(3)?;
            entry.is_others |= others.get(&column).is_some_and(|of| of.contains(&stamp));
            Ok(())
        },
    )?;
    Ok(entries)
}

/// Puts aside what does not count in a row that holds for one shop, and lets back what does by now. Earlier claims may
/// arrive later, so both can be long after the edit itself.
pub(super) fn tend_owned(
    tx: &Connection,
    (table, row): (&str, &str),
    now_ms: i64,
) -> Result<(), StoreError> {
    for ((node, seq), entry) in wrote(tx, table, row)? {
        match entry.turn() {
            Some(Turn::Aside) => put_aside(tx, (node, seq), entry.edit, now_ms)?,
            Some(Turn::Back) => {
                let sql = "UPDATE quarantine SET settled_ms = ?3, settled_as = 'followed'
                           WHERE node = (SELECT number FROM node WHERE id = ?1) AND seq = ?2";
                tx.execute(sql, params![node.to_bytes(), seq, now_ms])?;
            }
            None => {}
        }
    }
    Ok(())
}

fn put_aside(
    tx: &Connection,
    (node, seq): (NodeId, i64),
    edit: Vec<u8>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO quarantine (node, seq, id, topic, reason, found_ms, code)
               SELECT number, ?2, ?3, ?4, ?5, ?6, ?7 FROM node WHERE id = ?1
               ON CONFLICT (node, seq) DO UPDATE SET code = excluded.code,
                   reason = excluded.reason, cause = NULL, settled_ms = NULL, settled_as = NULL, told = 0
               WHERE settled_ms IS NOT NULL";
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
        ],
    )?;
    Ok(())
}

/// Lets go what an entry had written before it came back from quarantine: a person may have made another edit of it, in
/// another row or of another time, and it counts once. What it writes there again counts again. Gives the rows.
pub(super) fn give_up(
    tx: &Connection,
    node: &NodeKey,
    seq: i64,
) -> Result<BTreeSet<RowName>, StoreError> {
    let mut touched = BTreeSet::new();
    for (table, row) in rows_of(tx, node, seq)? {
        let sql = "UPDATE field_version SET gone = 1
                   WHERE table_name = ?1 AND row_id = ?2 AND node = ?3 AND seq = ?4 AND gone = 0
                   RETURNING column_name";
        let key = params![table.as_str(), row.as_str(), node.id.to_bytes(), seq];
        let columns = tx.query_map(sql, key, |found| found.get::<String>(0))?;
        if !columns.is_empty() {
            undecided::leave(tx, (&table, &row), &columns)?;
            touched.insert((table, row));
        }
    }
    Ok(touched)
}

/// The rows to which an entry may have written: the one that its till named, and those that people made of it.
fn rows_of(tx: &Connection, node: &NodeKey, seq: i64) -> Result<BTreeSet<RowName>, StoreError> {
    let sql = format!(
        "SELECT payload FROM {}journal WHERE seq = ?1 AND payload IS NOT NULL",
        node.tables
    );
    let payload = tx.query_optional(&sql, params![seq], |row| row.get::<String>(0))?;
    let edit = payload.and_then(|text| serde_json::from_str::<CatalogEdit>(&text).ok());
    // What nobody can read was never merged.
    let Some(edit) = edit else {
        return Ok(BTreeSet::new());
    };
    let sql = "SELECT coalesce(changes ->> 'table', ?3), coalesce(changes ->> 'row', ?4)
               FROM quarantine_decision WHERE node = ?1 AND seq = ?2 AND decision = 'fix'";
    let key = params![node.number, seq, edit.table.as_str(), edit.row.as_str()];
    let fixed = tx.query_map(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(fixed.into_iter().chain([(edit.table, edit.row)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_stands_where_it_belongs_costs_nothing_again() {
        let own = Rule::RowOfAnotherShop.name();
        let turn = |is_others: bool, held: Option<(&str, bool)>| {
            let held = held.map(|(code, settled)| (code.to_owned(), settled));
            let edit = Vec::new();
            Wrote {
                edit,
                is_others,
                held,
            }
            .turn()
        };
        for (is_others, held, expected) in [
            (false, None, None),
            (false, Some((own, true)), None),
            (false, Some((own, false)), Some(Turn::Back)),
            (false, Some(("product_unknown", false)), None),
            (true, None, Some(Turn::Aside)),
            (true, Some((own, false)), None),
            (true, Some((own, true)), Some(Turn::Aside)),
            (true, Some(("product_unknown", false)), None),
        ] {
            assert_eq!(turn(is_others, held), expected, "{is_others} {held:?}");
        }
    }
}
