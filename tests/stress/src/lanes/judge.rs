//! What must hold of the files when all processes are gone (G1, G2, G4): nobody's word counts, only what is on the disks.

use super::shop::Sold;
use crate::copies;
use counterfoil_domain::DocumentId;
use counterfoil_migrate::{Connection, Durability};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Position, id, and the rest of an entry in words.
type Entry = (i64, Vec<u8>, String);

const OWN: &str =
    "SELECT seq, id, hlc || ' ' || topic || ' ' || hex(chain) FROM journal ORDER BY seq";
const HELD: &str = "SELECT j.node, e.seq, e.id, e.hlc || ' ' || e.kind || ' ' || hex(e.chain)
                    FROM peer_entry AS e JOIN peer_journal AS j ON j.origin = e.origin ORDER BY j.node, e.seq";

fn rows<T>(
    file: &Path,
    sql: &str,
    read: impl FnMut(&counterfoil_migrate::Row<'_>) -> Result<T, counterfoil_migrate::SqlError>,
) -> anyhow::Result<Vec<T>> {
    let database = Connection::open_existing(file, Durability::Full)?;
    let rows = database.query_map(sql, (), read)?;
    // Not the last to close: a checkpoint here would be a foreign one.
    database.abandon();
    Ok(rows)
}

/// What is lost, doubled, or not the same everywhere.
pub(super) fn differences(sold: &Sold) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut journals: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut receipts = BTreeSet::new();
    for (number, id, data) in &sold.lanes {
        let book = data.join("book.db");
        let own = rows(&book, OWN, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        journals.insert(id.clone(), own);
        let sql = "SELECT j.id FROM receipt JOIN journal AS j USING (seq)";
        receipts.extend(rows(&book, sql, |row| row.get::<Vec<u8>>(0))?);
        let copy = sold.hub.join("books").join(format!("{id}.db"));
        found.extend(copies::differences(&format!("lane {number}"), data, &copy)?);
    }
    for (number, id, data) in &sold.lanes {
        let mut held: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        let entries = rows(&data.join("local.db"), HELD, |row| {
            let origin = row.get_with(0, |bytes: Vec<u8>| {
                counterfoil_domain::NodeId::from_slice(&bytes)
            })?;
            Ok((origin.to_string(), (row.get(1)?, row.get(2)?, row.get(3)?)))
        })?;
        for (origin, entry) in entries {
            held.entry(origin).or_default().push(entry);
        }
        // Whose book is gone: all have what the first one has.
        if let Some(dead) = &sold.buried
            && let Some(entries) = held.get(dead)
        {
            journals
                .entry(dead.clone())
                .or_insert_with(|| entries.clone());
        }
        for (origin, journal) in journals.iter().filter(|(origin, _)| *origin != id) {
            if held.get(origin) != Some(journal) {
                let count = held.get(origin).map_or(0, Vec::len);
                let of = journal.len();
                found.push(format!(
                    "lane {number} holds {count} entries of {origin}, not the {of} that there are"
                ));
            }
        }
    }
    found.extend(at_hub(sold, receipts, &journals)?);
    Ok(found)
}

/// What the hub has lost or doubled.
fn at_hub(
    sold: &Sold,
    mut receipts: BTreeSet<Vec<u8>>,
    journals: &BTreeMap<String, Vec<Entry>>,
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let counted: Vec<Vec<u8>> = rows(&sold.hub.join("hub.db"), "SELECT id FROM receipt", |row| {
        row.get(0)
    })?;
    let once: BTreeSet<Vec<u8>> = counted.iter().cloned().collect();
    if once.len() != counted.len() {
        found.push(format!(
            "the hub counts {} receipts {} times",
            once.len(),
            counted.len()
        ));
    }
    if let Some(journal) = sold.buried.as_ref().and_then(|dead| journals.get(dead)) {
        let printed = journal.iter().map(|(_, id, _)| id);
        let is_receipt =
            |id: &&Vec<u8>| text(id).is_some_and(|id| sold.account.receipts.contains_key(&id));
        receipts.extend(printed.filter(is_receipt).cloned());
    }
    if once != receipts {
        let lacks = receipts.difference(&once).count();
        let more = once.difference(&receipts).count();
        found.push(format!(
            "the hub lacks {lacks} receipts that a lane has, and has {more} that none has"
        ));
    }
    let counted: BTreeSet<String> = once.iter().filter_map(|id| text(id)).collect();
    // Also of the lane that is gone: its last receipt was no single copy, so another lane has all that came before.
    for (id, receipt) in &sold.account.receipts {
        if !counted.contains(id) {
            found.push(format!(
                "lane {} has printed {id}, and the hub has it not",
                receipt.lane
            ));
        }
    }
    Ok(found)
}

fn text(id: &[u8]) -> Option<String> {
    DocumentId::from_slice(id).ok().map(|id| id.to_string())
}
