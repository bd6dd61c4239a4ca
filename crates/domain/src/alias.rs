//! Two rows that turned out to be one: the duplicate becomes an alias of the survivor.
//!
//! An alias is a row of the catalog table `aliases`, and merges like any other: who merges A into B edits one
//! field. Nothing else changes. The duplicate keeps its row, documents keep the id that they were recorded
//! with, and whoever looks an id up asks who stands for it. So a merge can be undone, and two
//! merges that were made at the same time end alike everywhere.

use std::collections::BTreeSet;

/// The catalog table of aliases.
pub const ALIASES: &str = "aliases";

/// The column of an alias that names the row that stands for it.
pub const SURVIVOR: &str = "survivor";

/// Tables whose rows documents name, and so may be merged.
pub const MERGEABLE: [&str; 2] = ["customers", "products"];

/// The id of the alias of a row.
pub fn alias_id(table: &str, row: &str) -> String {
    format!("{table}/{row}")
}

/// The table and row that an alias is of; `None` when it is of none that can be merged.
pub fn aliased(id: &str) -> Option<(&'static str, &str)> {
    let (table, row) = id.split_once('/')?;
    let table = MERGEABLE.into_iter().find(|known| *known == table)?;
    (!row.is_empty()).then_some((table, row))
}

/// The row that stands for a row: the end of the chain of its aliases. `next` gives the survivor that the
/// alias of a row names, and nothing for a row that has none.
///
/// Of rows that were merged into each other in a ring the first by the order of their ids stands for all:
/// every hub and till finds the same one, whoever was first and whatever the clocks said.
///
/// # Errors
/// What `next` fails with.
pub fn survivor<E>(
    row: &str,
    mut next: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut path = vec![row.to_owned()];
    let mut passed = BTreeSet::from([row.to_owned()]);
    let mut at = row.to_owned();
    // Each step passes one more row, so it ends with the aliases there are.
    while let Some(onward) = next(&at)? {
        if !passed.insert(onward.clone()) {
            let ring = path.into_iter().skip_while(|passed| *passed != onward);
            return Ok(ring.min().unwrap_or(onward));
        }
        path.push(onward.clone());
        at = onward;
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
