//! Which stamp does a version get, when clones of a till gave out the same one twice?

use super::StoreError;
use super::edits::to_json;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{CatalogEdit, DocumentId, Hlc, NodeId};
use counterfoil_migrate::{Connection, params};

/// The stamp of an edit: its writer's, unless a clone of the writer took the same one for another
/// edit of the same field; then that of the node it comes from, or else one of the edit's own, so that
/// every value is kept.
pub(super) fn free_stamp(
    tx: &Connection,
    edit: &CatalogEdit,
    id: DocumentId,
    hlc: Hlc,
    [writer, node]: [NodeId; 2],
) -> Result<Stamp, StoreError> {
    let [.., a, b, c, d] = *id.uuid().as_bytes();
    let own = u32::from_be_bytes([a, b, c, d]);
    let mut stamp = Stamp::new(hlc, writer);
    let mut further = std::iter::once(Stamp::new(hlc, node).node_tag)
        .chain((0..=u32::MAX).map(|nth| own.wrapping_add(nth)));
    while is_taken(tx, edit, id, stamp)? {
        let Some(node_tag) = further.next() else {
            break;
        };
        stamp.node_tag = node_tag;
    }
    Ok(stamp)
}

/// Whether another edit has the stamp in one of the edit's fields, or this one had, with another value, before it
/// was fixed.
pub(super) fn is_taken(
    tx: &Connection,
    edit: &CatalogEdit,
    id: DocumentId,
    stamp: Stamp,
) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM field_version WHERE table_name = ?1 AND row_id = ?2
               AND column_name = ?3 AND hlc = ?4 AND node_tag = ?5
               AND (edit <> ?6 OR gone <> 0 AND value <> ?7))";
    for (column, value) in &edit.columns {
        let (table, row, column) = (edit.table.as_str(), edit.row.as_str(), column.as_str());
        let (hlc, tag) = (stamp.hlc.raw(), i64::from(stamp.node_tag));
        let value = to_json("field value", value)?;
        if tx.query_value(
            sql,
            params![table, row, column, hlc, tag, id.to_bytes(), value],
        )? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An edit names earlier ones of its till by the stamps that they got there; where a clone had taken one, they have
/// another one here.
pub(super) fn name_as_here(
    tx: &Connection,
    edit: &mut CatalogEdit,
    node: NodeId,
    writers: &[NodeId],
) -> Result<(), StoreError> {
    let sql = "SELECT node_tag FROM field_version WHERE table_name = ?1 AND row_id = ?2
               AND column_name = ?3 AND hlc = ?4 AND node = ?5 ORDER BY gone LIMIT 1";
    let (table, row) = (edit.table.as_str(), edit.row.as_str());
    for (column, base) in &mut edit.base {
        let own = |stamp: &&mut Stamp| {
            let mut by = writers.iter();
            by.any(|writer| Stamp::new(stamp.hlc, *writer) == **stamp)
        };
        for stamp in base.iter_mut().filter(own) {
            let key = params![
                table,
                row,
                column.as_str(),
                stamp.hlc.raw(),
                node.to_bytes()
            ];
            let here: Option<u32> = tx.query_optional(sql, key, |found| found.get(0))?;
            stamp.node_tag = here.unwrap_or(stamp.node_tag);
        }
    }
    Ok(())
}
