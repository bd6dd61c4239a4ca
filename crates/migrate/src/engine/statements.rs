//! Prepared statements kept for the next call with the same text.

use std::collections::HashMap;

use libsql::Statement;

/// Statements kept per connection. Some 40 texts are in use on a node; beyond the limit the one
/// unused for longest is finalized.
pub(super) const STATEMENTS_MAX: usize = 128;

/// The cache. A statement in use is out of it, so a nested call with the same text prepares anew.
#[derive(Default)]
pub(super) struct Statements {
    slots: HashMap<String, Slot>,
    uses: u64,
}

struct Slot {
    statement: Statement,
    used: u64,
}

impl Statements {
    pub(super) fn take(&mut self, sql: &str) -> Option<(String, Statement)> {
        let (text, slot) = self.slots.remove_entry(sql)?;
        Some((text, slot.statement))
    }

    pub(super) fn put(&mut self, sql: String, statement: Statement) {
        self.uses = self.uses.wrapping_add(1);
        let used = self.uses;
        self.slots.insert(sql, Slot { statement, used });
        if self.slots.len() > STATEMENTS_MAX {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(text) = oldest.map(|(text, _)| text.clone()) {
                self.slots.remove(&text);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }
}
