//! Rows that other lanes of the shop edited.

use super::{Cursor, Page, gone};
use crate::error::StoreError;
use crate::lane_edits::RowName;
use crate::open::ShopStore;
use counterfoil_domain::NodeId;
use counterfoil_migrate::params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How far the edits in another lane's journal were given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// As they came, up to here.
    seq: i64,
    /// As the hub merged them, up to here.
    merged: i64,
}

impl ShopStore {
    /// Rows that other lanes edited, and those whose edits the hub has merged since they were given; whether there are
    /// more.
    pub(super) fn heard_since(
        &self,
        types: &BTreeSet<String>,
        cursor: &mut Cursor,
        page: &mut Page,
    ) -> Result<bool, StoreError> {
        for (node, holding) in self.peer_holdings()? {
            let (merged, end) = (self.settlement.merged(Some(node)), holding.end.seq);
            let told = cursor.peers.entry(node).or_insert(Told { seq: 0, merged });
            // A hub that was restored may have to merge them again.
            told.merged = told.merged.min(merged);
            while let Some((seq, row)) = self.next_edit(node, told.merged, merged.min(told.seq))? {
                if page.room() == 0 {
                    return Ok(true);
                }
                let change = match self.row_change(types, &row.0, &row.1)? {
                    // The hub put the edit aside, and nobody else has made the row.
                    None if types.contains(&row.0) => Some(gone(row.0, row.1)),
                    change => change,
                };
                page.changes.extend(change);
                told.merged = seq;
            }
            // What is not here any more may come again.
            told.merged = told.merged.max(merged.min(end));
            // What is merged comes with the catalog.
            told.seq = told.seq.max(merged.min(end));
            while let Some((seq, row)) = self.next_edit(node, told.seq, end)? {
                if page.room() == 0 {
                    return Ok(true);
                }
                page.changes.extend(self.row_change(types, &row.0, &row.1)?);
                told.seq = seq;
            }
            told.seq = told.seq.max(end);
        }
        Ok(false)
    }

    /// The next edit in another lane's journal behind one position and up to another.
    fn next_edit(
        &self,
        node: NodeId,
        after: i64,
        until: i64,
    ) -> Result<Option<(i64, RowName)>, StoreError> {
        let sql = "SELECT seq, table_name, row_id FROM local.lane_edit
                   WHERE origin = (SELECT origin FROM local.peer_journal WHERE node = ?1)
                     AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT 1";
        let key = params![node.to_bytes(), after, until];
        let found = self.conn.query_optional(sql, key, |row| {
            Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))
        })?;
        Ok(found)
    }
}
