//! The names of products against an independent program: it computes from copies of the tills' books alone
//! what every field of the catalog holds, and which values lost.

use crate::fleet::Fleet;
use crate::format::plural;
use crate::hub::Hub;
use crate::till::Till;
use anyhow::{Context as _, bail};
use counterfoil_protocol::wire::decisions::{ConflictRow, ConflictState};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The program, which shares no code with the hub.
const PROGRAM: &str = include_str!("../python/fields.py");

const TABLE: &str = "products";
const COLUMN: &str = "name";

/// How long values that were put back may take to every till.
const PUT_BACK_LIMIT: Duration = Duration::from_secs(120);

/// Losing names that are put back: each is a decision of its own at the hub.
const PUT_BACK_MAX: usize = 2_000;

/// Differences that are told in words; the rest is counted.
const TOLD_MAX: usize = 10;

/// What the comparison found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Names {
    /// Products with a name.
    pub products: u64,
    /// Names that were ever written.
    pub versions: u64,
    /// Names that lost, each listed at the hub with the till that wrote it.
    pub losers: u64,
    /// Those that were put back, one after the other, each shown by the hub then.
    pub put_back: u64,
    /// The last of them with its product; every till shows it, as it shows the last one of every other product.
    pub example: Option<(String, String)>,
}

/// What the hub says, as it was before anything was put back.
pub(crate) struct AtHub {
    names: BTreeMap<String, Value>,
    conflicts: Vec<ConflictRow>,
    put_back: PutBack,
}

/// What was put back.
#[derive(Default)]
struct PutBack {
    count: u64,
    /// The last one of each product.
    last: BTreeMap<String, String>,
}

/// A field as the program computed it.
#[derive(Deserialize)]
struct Computed {
    table: String,
    row: String,
    column: String,
    versions: u64,
    winner: Version,
    losers: Vec<Version>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
struct Version {
    /// As JSON, whatever its type is.
    #[serde(deserialize_with = "as_json")]
    value: String,
    stamp: String,
    node: String,
}

fn as_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Value::deserialize(deserializer)?.to_string())
}

/// Asks the hub for all names and all conflicts, and puts back every name that lost.
pub(crate) async fn ask(fleet: &Fleet) -> anyhow::Result<AtHub> {
    let names = names_at(&fleet.hub).await?;
    let conflicts = fleet.hub.conflicts(TABLE).await?;
    let lost = conflicts.iter().filter(|row| is_lost(row));
    let put_back = put_back(fleet, lost.take(PUT_BACK_MAX)).await?;
    Ok(AtHub {
        names,
        conflicts,
        put_back,
    })
}

fn is_lost(row: &ConflictRow) -> bool {
    row.state == ConflictState::ByPolicy && row.column == COLUMN
}

async fn names_at(hub: &Hub) -> anyhow::Result<BTreeMap<String, Value>> {
    let rows: Vec<serde_json::Map<String, Value>> = hub.catalog(TABLE).await?;
    let name = |row: &serde_json::Map<String, Value>| {
        let id = row.get("id")?.as_str()?.to_owned();
        Some((id, row.get(COLUMN)?.clone()))
    };
    Ok(rows.iter().filter_map(name).collect())
}

/// Puts names back one after the other: the one before loses again and is kept as they all are.
async fn put_back<'a>(
    fleet: &Fleet,
    lost: impl Iterator<Item = &'a ConflictRow>,
) -> anyhow::Result<PutBack> {
    let mut done = PutBack::default();
    for lost in lost {
        let value = lost.loser.value.as_str().unwrap_or_default().to_owned();
        // The same name may have lost at several tills; what is current cannot be put back.
        if done.last.get(&lost.row) != Some(&value) {
            let decided = fleet.hub.put_back(lost.id).await?;
            let current = decided.conflict.current.value;
            if current.as_str() != Some(&value) {
                bail!(
                    "{}: {current} and not `{value}`, which was put back",
                    lost.row
                );
            }
        }
        done.count += 1;
        done.last.insert(lost.row.clone(), value);
    }
    fleet.settle(PUT_BACK_LIMIT).await?;
    for till in &fleet.tills {
        for (row, value) in &done.last {
            let shown = shown_at(till, row).await?;
            if shown != *value {
                let name = &till.name;
                bail!("{name}: {row} is `{shown}`, not `{value}`, which was put back");
            }
        }
    }
    if done.count > 0 {
        let (count, rows) = (plural(done.count, "name"), done.last.len() as u64);
        let text = format!(
            "{count} that had lost put back, the last one of each of {} shown by every till",
            plural(rows, "product")
        );
        fleet.say("hub", text);
    }
    Ok(done)
}

async fn shown_at(till: &Arc<Till>, row: &str) -> anyhow::Result<String> {
    let row = till.product(row).await?;
    let name = row.columns.get(COLUMN).and_then(Value::as_str);
    Ok(name.unwrap_or_default().to_owned())
}

/// Runs the program on copies of the books of tills that have ended, and compares; what differs, in words.
pub(crate) async fn compare(
    fleet: &Fleet,
    folder: &Path,
    at_hub: AtHub,
) -> anyhow::Result<(Names, Vec<String>)> {
    let books = copies(fleet, folder)?;
    let computed = compute(&books).await?;
    let names = computed
        .iter()
        .filter(|field| field.table == TABLE && field.column == COLUMN);
    let names: BTreeMap<&str, &Computed> = names.map(|field| (field.row.as_str(), field)).collect();
    let mut differences = Vec::new();
    let rows: BTreeSet<&str> = names.keys().copied().collect();
    let named: BTreeSet<&str> = at_hub
        .names
        .iter()
        .filter(|(_, name)| !name.is_null())
        .map(|(row, _)| row.as_str())
        .collect();
    for row in rows.symmetric_difference(&named) {
        differences.push(format!(
            "{row} is named at the hub or in the books, not in both"
        ));
    }
    for (row, field) in &names {
        let held = at_hub.names.get(*row).map(Value::to_string);
        if held.as_ref() != Some(&field.winner.value) {
            let (held, won) = (held.unwrap_or_default(), &field.winner);
            differences.push(format!("{row} is {held} at the hub, {won:?} by the books"));
        }
    }
    let lost: BTreeSet<(&str, Version)> = names
        .iter()
        .flat_map(|(row, field)| field.losers.iter().map(|loser| (*row, loser.clone())))
        .collect();
    let listed: BTreeSet<(&str, Version)> = at_hub
        .conflicts
        .iter()
        .filter(|row| is_lost(row))
        .map(|row| (row.row.as_str(), origin(row)))
        .collect();
    for (row, version) in lost.difference(&listed) {
        differences.push(format!(
            "{row}: {version:?} lost by the books and is not listed at the hub"
        ));
    }
    for (row, version) in listed.difference(&lost) {
        differences.push(format!(
            "{row}: {version:?} is listed at the hub and did not lose by the books"
        ));
    }
    let found = Names {
        products: names.len() as u64,
        versions: names.values().map(|field| field.versions).sum(),
        losers: lost.len() as u64,
        put_back: at_hub.put_back.count,
        example: at_hub.put_back.last.into_iter().next_back(),
    };
    let more = differences.len().saturating_sub(TOLD_MAX);
    differences.truncate(TOLD_MAX);
    if more > 0 {
        differences.push(format!("and {more} more names differ"));
    }
    Ok((found, differences))
}

fn origin(row: &ConflictRow) -> Version {
    Version {
        value: row.loser.value.to_string(),
        stamp: row.loser.stamp.to_string(),
        node: row.loser.node_id.to_string(),
    }
}

/// Copies each book with its write-ahead log; whoever reads them leaves the tills' own files alone.
fn copies(fleet: &Fleet, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut books = Vec::new();
    for (index, till) in fleet.tills.iter().enumerate() {
        let copy = folder.join(format!("book-{index}"));
        std::fs::create_dir_all(&copy)?;
        for file in ["book.db", "book.db-wal"] {
            let from = till.data().join(file);
            if from.exists() {
                std::fs::copy(&from, copy.join(file))
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        books.push(copy.join("book.db"));
    }
    Ok(books)
}

async fn compute(books: &[PathBuf]) -> anyhow::Result<Vec<Computed>> {
    let mut python = Command::new("python3")
        .arg("-")
        .args(books)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start python3, which computes the names a second time")?;
    let mut program = python.stdin.take().context("python3 takes no program")?;
    program.write_all(PROGRAM.as_bytes()).await?;
    drop(program);
    let output = python.wait_with_output().await?;
    if !output.status.success() {
        bail!(
            "the program that computes the names ended with {}",
            output.status
        );
    }
    serde_json::from_slice(&output.stdout)
        .context("the program that computes the names printed something else")
}
