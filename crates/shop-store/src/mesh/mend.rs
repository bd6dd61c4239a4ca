//! A journal of another lane that is damaged here: its entries come once more, and take the place of the damaged ones.

use super::{Journal, insert_entry};
use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::{Chain, NodeId};
use counterfoil_migrate::params;

/// One entry, however long.
const ONE: Window = Window {
    messages: 1,
    bytes: 1,
};

impl ShopStore {
    /// From now on what comes of this journal is compared with what is held of it.
    pub fn expect_again(&mut self, origin: NodeId) {
        self.damaged.insert(origin);
    }

    /// Puts what came in the place of what is damaged, as far as what follows on it here proves that it is the same; how many.
    /// All of it was held before.
    pub(super) fn mend(
        &mut self,
        origin: NodeId,
        journal: &Journal,
        known: &[&LaneEntry],
    ) -> Result<usize, StoreError> {
        if !self.damaged.contains(&origin) {
            return Ok(0);
        }
        let (mut open, mut proved): (Vec<&LaneEntry>, Vec<&LaneEntry>) = Default::default();
        // Those behind what is mended: they could not be read without it.
        let mut follows: Vec<LaneEntry> = Vec::new();
        let begin = journal.holding.begin.seq;
        for &entry in known.iter().filter(|entry| entry.seq > begin) {
            if open
                .last()
                .is_some_and(|last| last.point() != entry.before())
            {
                // Nothing names them.
                open.clear();
            }
            let is_same = |held: &LaneEntry| {
                (held.chain, &held.document, held.id) == (entry.chain, &entry.document, entry.id)
            };
            match self.held_at(origin, journal, (entry.seq, entry.before))? {
                Some(held) if is_same(&held) => {
                    // It names the entry before it, and is read again with it.
                    if !open.is_empty() {
                        follows.push(held);
                    }
                    proved.append(&mut open);
                }
                _ => open.push(entry),
            }
        }
        if let Some(last) = open.last() {
            let end = journal.holding.end;
            let is_end = last.point() == end;
            let next = (last.seq + 1, last.chain);
            let next = match last.seq < end.seq {
                true => self.held_at(origin, journal, next)?,
                false => None,
            };
            if is_end || next.is_some() {
                follows.extend(next);
                proved.append(&mut open);
            }
        }
        self.conn.transaction(|tx| -> Result<(), StoreError> {
            let sql = "DELETE FROM local.peer_entry WHERE origin = ?1 AND seq = ?2";
            for entry in &proved {
                tx.execute(sql, params![journal.origin, entry.seq])?;
                insert_entry(tx, journal.origin, entry)?;
            }
            let shown: Vec<&LaneEntry> = proved.iter().copied().chain(&follows).collect();
            self.show_entries(journal.origin, &shown)
        })?;
        let end = journal.holding.end.seq;
        if known.last().is_some_and(|last| last.seq == end) {
            self.damaged.remove(&origin);
        }
        Ok(proved.len())
    }

    /// What is held at a position, when it is whole as the one that follows on this chain value.
    fn held_at(
        &self,
        origin: NodeId,
        journal: &Journal,
        (seq, before): (i64, Chain),
    ) -> Result<Option<LaneEntry>, StoreError> {
        match self.entries_behind(origin, journal, (seq - 1, before), ONE) {
            Ok(entries) => Ok(entries.into_iter().find(|entry| entry.seq == seq)),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
