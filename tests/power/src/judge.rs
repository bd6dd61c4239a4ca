//! The judgement: the same predicates for every scenario and every state.
//!
//! First what must hold as soon as the programs run again, then what must hold once they have talked.

use crate::tape::{Entry, Fact, Side};
use crate::world::World;
use anyhow::{Context as _, bail, ensure};
use counterfoil_domain::DocumentId;
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::node::{ReceiptRow, Recorded};
use counterfoil_replica::{Copy, CopyKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Runs of sync after which both sides must agree.
const ROUNDS_MAX: usize = 12;

/// What was promised before the power went.
#[derive(Clone, Default, Debug)]
pub struct Facts {
    attempted: BTreeSet<DocumentId>,
    acknowledged: BTreeMap<DocumentId, Recorded>,
    received: i64,
    consolidated: i64,
    activated: bool,
    published: i64,
    holds: i64,
    shops: BTreeSet<String>,
    /// Whether somebody went on after the power was cut: then the journal may go on otherwise.
    went_on: bool,
}

impl Facts {
    /// What a tape says.
    #[must_use]
    pub fn of(tape: &[Entry]) -> Self {
        let mut facts = Self::default();
        facts.add(tape);
        facts
    }

    /// For a hub that has lost what it received, with its disk.
    pub(crate) fn forget_received(&mut self) {
        (self.received, self.consolidated) = (0, 0);
    }

    /// From now on what is added was said after a power cut.
    pub(crate) fn go_on(&mut self) {
        self.went_on = true;
    }

    pub(crate) fn has_gone_on(&self) -> bool {
        self.went_on
    }

    /// Adds what a further piece of tape says.
    pub fn add(&mut self, tape: &[Entry]) {
        for entry in tape {
            let Entry::Said(fact) = entry else { continue };
            match fact {
                Fact::Begin => {}
                Fact::Attempted(id) => drop(self.attempted.insert(*id)),
                Fact::Acknowledged(told) => {
                    self.acknowledged.insert(told.id, told.clone());
                }
                Fact::Received {
                    received,
                    consolidated,
                } => {
                    self.received = self.received.max(*received);
                    self.consolidated = self.consolidated.max(*consolidated);
                }
                Fact::Holds(revision) => self.holds = self.holds.max(*revision),
                Fact::ShopAdded(name) => drop(self.shops.insert(name.clone())),
                Fact::Activated => self.activated = true,
                Fact::Published(revision) => self.published = self.published.max(*revision),
            }
        }
    }
}

/// A line of the journal: its position, its id and the chain up to it.
type Line = (i64, Vec<u8>, Vec<u8>);

/// The journal that the run wrote when nothing failed.
pub type Journal = Vec<Line>;

/// Reads the journal of a database.
///
/// # Errors
/// When it cannot be read.
pub fn journal(path: &Path) -> anyhow::Result<Journal> {
    let book = Connection::open_read_only(path)?;
    let lines = book.query_map(
        "SELECT seq, id, chain FROM journal ORDER BY seq",
        (),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    Ok(lines)
}

/// Starts both programs on what is left and checks everything.
///
/// # Errors
/// The first predicate that does not hold.
pub async fn judge(
    world: &mut World,
    facts: &Facts,
    expected: Option<&Journal>,
    join: Option<&str>,
) -> anyhow::Result<()> {
    world.start_hub();
    world.rest().await;
    world.start_node().context("ALIVE: the till starts again")?;
    at_the_till(world, facts, expected).await?;
    at_the_hub(world, facts, expected).await?;
    world.sell().await.context("ALIVE: the till sells again")?;
    let Some(join) = join else {
        sound(world)?;
        let shop = world.add_shop("Spain").await;
        return shop.map(drop).context("ALIVE: the hub works again");
    };
    if world.status().await?.tier != "active" {
        ensure!(
            !facts.activated,
            "LOST: the till forgot that it was activated"
        );
        if !world.resume_activation().await? {
            world
                .activate(join)
                .await
                .context("ALIVE: the till can be activated")?;
        }
    }
    converge(world).await?;
    agree(world).await?;
    sound(world)
}

/// What a till has told a cashier is in its book.
async fn at_the_till(
    world: &World,
    facts: &Facts,
    expected: Option<&Journal>,
) -> anyhow::Result<()> {
    let receipts = world.receipts().await?;
    let mut by_id: BTreeMap<DocumentId, &ReceiptRow> = BTreeMap::new();
    for receipt in &receipts {
        let twice = by_id.insert(receipt.id, receipt).is_some();
        ensure!(!twice, "DOUBLED: the book has {} twice", receipt.id);
        let known = facts.attempted.contains(&receipt.id);
        ensure!(known, "FOREIGN: nobody asked for {}", receipt.id);
    }
    for (id, told) in &facts.acknowledged {
        let row = by_id.get(id);
        let row =
            row.with_context(|| format!("LOST: acknowledged sale {id} is not in the book"))?;
        let same = row.seq == told.seq
            && told.series.as_ref() == Some(&row.series)
            && told.number == Some(row.number)
            && told.total_minor == Some(row.total_minor);
        ensure!(
            same,
            "CHANGED: {id} was acknowledged as {told:?}, the book has {row:?}"
        );
    }
    dense(&receipts)?;
    let revision = world.status().await?.catalog_revision;
    let told = facts.holds;
    ensure!(
        revision >= told,
        "LOST: the till had catalog revision {told}, it has {revision}"
    );
    let book = journal(&world.database(Side::Node, "book.db"))?;
    chained("the book", &book, expected)
}

/// Numbers of a series run from 1 without a gap.
fn dense(receipts: &[ReceiptRow]) -> anyhow::Result<()> {
    let mut series: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for receipt in receipts {
        series
            .entry(&receipt.series)
            .or_default()
            .push(receipt.number);
    }
    for (name, mut numbers) in series {
        numbers.sort_unstable();
        let is_dense = numbers
            .iter()
            .zip(1..)
            .all(|(number, wanted)| *number == wanted);
        ensure!(is_dense, "NUMBERS: series {name} has {numbers:?}");
    }
    Ok(())
}

/// Positions run from 1 without a gap, and the chain is the one that was written.
fn chained(place: &str, lines: &Journal, expected: Option<&Journal>) -> anyhow::Result<()> {
    for (line, wanted) in lines.iter().zip(1..) {
        ensure!(
            line.0 == wanted,
            "JOURNAL: {place} has {} where {wanted} belongs",
            line.0
        );
    }
    if let Some(expected) = expected {
        let other = lines
            .iter()
            .zip(expected)
            .find(|(line, wanted)| line != wanted);
        ensure!(
            other.is_none(),
            "JOURNAL: {place} has another past: {other:?}"
        );
        ensure!(
            lines.len() <= expected.len(),
            "JOURNAL: {place} has more than was written"
        );
    }
    Ok(())
}

/// What the hub has told a till it still has, before the till says anything again.
async fn at_the_hub(
    world: &World,
    facts: &Facts,
    expected: Option<&Journal>,
) -> anyhow::Result<()> {
    if facts.received > 0 {
        let node = world.status().await?.node_id;
        let name = format!("books/{node}.db");
        let path = world.database(Side::Hub, &name);
        if !world.hub_disk.image().names.contains_key(&name) {
            // Between two files: the hub completes the change when somebody asks for the copy.
            drop(Copy::open(
                &path,
                CopyKind::Pushed,
                Arc::clone(&world.hub_disk) as _,
            )?);
        }
        let copy = journal(&path).context("LOST: the hub's copy cannot be read")?;
        let has = copy.last().map_or(0, |line| line.0);
        let told = facts.received;
        ensure!(
            has >= told,
            "LOST: the hub said it has {told} entries, it has {has}"
        );
        chained("the copy", &copy, expected)?;
    }
    let hub = world
        .hub_status()
        .await
        .context("ALIVE: the hub starts again")?;
    let (revision, told) = (hub.catalog_revision, facts.published);
    ensure!(
        revision >= told,
        "LOST: revision {told} was published, the hub has {revision}"
    );
    let (shops, told) = (hub.shops, i64::try_from(facts.shops.len())?);
    ensure!(
        shops >= told,
        "LOST: {told} shops were made, the hub has {shops}"
    );
    Ok(())
}

/// Both sides talk until nothing is left to be said.
async fn converge(world: &World) -> anyhow::Result<()> {
    let mut last = String::new();
    for _ in 0..ROUNDS_MAX {
        if let Err(error) = world.sync().await {
            last = format!("{error:#}");
            world.rest().await;
            continue;
        }
        world.rest().await;
        let status = world.status().await?;
        let settled = status.pending == 0
            && status.hub_consolidated_seq == status.journal_seq
            && status.pending_edits == 0;
        if settled {
            let (hub, node) = (world.hub_status().await?, world.catalog_digest().await?);
            if hub.catalog_revision == node.revision && hub.catalog_digest == node.digest {
                return Ok(());
            }
            last = format!(
                "the catalogs differ: {node:?}, revision {}",
                hub.catalog_revision
            );
        } else {
            last = format!("{status:?}");
        }
    }
    bail!("STUCK: after {ROUNDS_MAX} rounds: {last}")
}

/// The hub has what the till has, each once, and no more.
async fn agree(world: &World) -> anyhow::Result<()> {
    let status = world.status().await?;
    let book = world.database(Side::Node, "book.db");
    let copy = world.database(Side::Hub, &format!("books/{}.db", status.node_id));
    let (book_rows, copy_rows) = (dump(&book)?, dump(&copy)?);
    if let Some((ours, theirs)) = book_rows.iter().zip(&copy_rows).find(|(a, b)| a != b) {
        bail!("DIFFERENT: the book has {ours}, the hub's copy {theirs}");
    }
    ensure!(
        book_rows.len() == copy_rows.len(),
        "DIFFERENT: book and copy differ in length"
    );
    let (receipts, hub) = (world.receipts().await?, world.hub_status().await?);
    ensure!(
        hub.quarantined == 0,
        "QUARANTINE: {} records",
        hub.quarantined
    );
    let count = i64::try_from(receipts.len())?;
    ensure!(
        hub.receipts == count,
        "SUM: the hub has {} receipts of {count}",
        hub.receipts
    );
    let sum: i64 = receipts.iter().map(|receipt| receipt.total_minor).sum();
    let database = Connection::open_read_only(world.database(Side::Hub, "hub.db"))?;
    let hub_sum: i64 =
        database.query_value("SELECT coalesce(sum(total_minor), 0) FROM receipt", ())?;
    ensure!(hub_sum == sum, "SUM: the hub has {hub_sum}, the book {sum}");
    dense(&receipts)
}

/// Every row of a database, table by table.
fn dump(path: &Path) -> anyhow::Result<Vec<String>> {
    let database = Connection::open_read_only(path)?;
    let tables: Vec<String> = database.query_map(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
         ORDER BY name",
        (),
        |row| row.get(0),
    )?;
    let mut rows = Vec::new();
    for table in tables {
        let columns: Vec<String> = database.query_map(
            &format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')"),
            (),
            |row| row.get(0),
        )?;
        let sql = format!(
            "SELECT '{table}|' || {} FROM \"{table}\" ORDER BY 1",
            columns.join(" || '|' || ")
        );
        rows.extend(database.query_map(&sql, (), |row| row.get::<String>(0))?);
    }
    Ok(rows)
}

/// Every database passes the engine's own check.
fn sound(world: &World) -> anyhow::Result<()> {
    let images = world.images();
    for (side, image) in [(Side::Node, images.node), (Side::Hub, images.hub)] {
        for name in image.names.keys().filter(|name| name.ends_with(".db")) {
            let database = Connection::open_read_only(world.database(side, name))?;
            let found: String = database.query_value("PRAGMA integrity_check(1)", ())?;
            ensure!(found == "ok", "CORRUPT: {side:?} {name}: {found}");
        }
    }
    Ok(())
}
