//! The kill matrix: SIGKILL at every named point, on its side, and what comes of it.

use crate::account::Customers;
use crate::chain::{Chain, Programs, Verdict};
use crate::provocation::{self, Provocation, Victim, Way};
use crate::reader::Reader;
use anyhow::{Context as _, ensure};
use counterfoil_demo::till::Till;
use counterfoil_domain::NodeId;
use counterfoil_replica::crash::{CrashPoint, REACHED, VARIABLE};
use counterfoil_testkit::{SeededRandom, TempDir};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long trade may take to come to a point, on the slowest machine.
const REACH_LIMIT: Duration = Duration::from_secs(300);
/// Some points are passed when much is going on, others when nearly nothing is.
const BUSY_TIME: Duration = Duration::from_secs(2);
const POLL_PAUSE: Duration = Duration::from_millis(10);
/// Two, so that one goes on while the other is dead.
const TILLS: usize = 2;
/// Sales after an upload was given up: the pages that were sent are others by then. Also those that a
/// restored till has forgotten.
const SALES_SINCE: usize = 3;
/// Trade after a death before which nobody could sell.
const SHORT_TRADE: Duration = Duration::from_millis(500);

/// What the matrix does.
#[derive(Clone, Debug)]
pub struct MatrixOptions {
    /// Decides the trade.
    pub seed: u64,
    /// How often each point is tried: at its first to this passing where a process comes there again
    /// and again, else at its first.
    pub rounds: u64,
    /// Only points whose name begins so; all when empty.
    pub only: String,
    /// Where databases and logs stay; a temporary directory when absent.
    pub keep: Option<PathBuf>,
}

/// One kill.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Where.
    pub point: CrashPoint,
    /// On which side.
    pub victim: Victim,
    /// What was done so that the process came there.
    pub how: &'static str,
    /// At which passing, from 1.
    pub passing: u64,
    /// Whether the process died there.
    pub reached: bool,
    /// From the start of the process that is to die until its end.
    pub died_after: Duration,
    /// From its restart until all agreed.
    pub settled_after: Duration,
    /// The comparison afterwards.
    pub verdict: Verdict,
}

/// All kills.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// In the order of [`CrashPoint::ALL`].
    pub cells: Vec<Cell>,
    /// Documents that tills acknowledged in all.
    pub documents: u64,
}

impl Matrix {
    /// What is wrong: differences, and points that were never reached.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for cell in &self.cells {
            let (name, passing) = (cell.point.name(), cell.passing);
            if !cell.reached {
                failures.push(format!(
                    "{name}: passing {passing} was never reached ({})",
                    cell.how
                ));
            }
            let differences = cell.verdict.differences.iter();
            failures.extend(differences.map(|text| format!("after {name}:{passing}: {text}")));
        }
        failures
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| {:<22} | side | how               | kills | lost | doubled | differences | died after | agreed after |",
            "point"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        let mut kills = 0;
        for point in CrashPoint::ALL {
            for way in provocation::of(point) {
                let how = way.provocation.name();
                let place = (point, way.victim, how);
                let cells = self.cells.iter();
                let cells = cells.filter(|cell| (cell.point, cell.victim, cell.how) == place);
                let cells: Vec<&Cell> = cells.collect();
                if !cells.is_empty() {
                    kills += cells.iter().filter(|cell| cell.reached).count();
                    row(f, place, &cells)?;
                }
            }
        }
        writeln!(
            f,
            "{kills} kills, {} documents acknowledged",
            self.documents
        )?;
        for failure in self.failures() {
            writeln!(f, "  {failure}")?;
        }
        Ok(())
    }
}

fn row(
    f: &mut fmt::Formatter<'_>,
    (point, victim, how): (CrashPoint, Victim, &str),
    cells: &[&Cell],
) -> fmt::Result {
    let reached = cells.iter().filter(|cell| cell.reached).count();
    let sum = |of: fn(&Verdict) -> u64| -> u64 { cells.iter().map(|cell| of(&cell.verdict)).sum() };
    let longest = |of: fn(&Cell) -> Duration| {
        let longest = cells.iter().map(|cell| of(cell)).max();
        longest.unwrap_or_default().as_secs_f64()
    };
    let side = match victim {
        Victim::Till => "till",
        Victim::Hub => "hub",
    };
    writeln!(
        f,
        "| {:<22} | {side:<4} | {how:<17} | {reached} | {} | {} | {} | {:.1} s | {:.1} s |",
        format!("`{}`", point.name()),
        sum(|verdict| verdict.lost),
        sum(|verdict| verdict.doubled),
        sum(|verdict| verdict.differences.len() as u64),
        longest(|cell| cell.died_after),
        longest(|cell| cell.settled_after),
    )
}

/// Kills at every point in turn. What does not agree is in the matrix.
///
/// # Errors
/// A process that does not start again, a till that refuses a correct request, or tills that never
/// agree with the hub.
pub async fn matrix(programs: &Programs, options: &MatrixOptions) -> anyhow::Result<Matrix> {
    let keep = options.keep.as_deref();
    let chain = Arc::new(Chain::create(programs, keep, options.seed, TILLS).await?);
    let mut customers = Vec::new();
    for till in &chain.tills {
        customers.push(Customers::of(till, options.seed).await?);
    }
    let random = SeededRandom::new(options.seed);
    let mut matrix = Matrix::default();
    chain.settle().await?;
    chain.stop().await?;
    let points = CrashPoint::ALL.into_iter();
    let points = points.filter(|point| point.name().starts_with(&options.only));
    let ways = points.flat_map(|point| {
        provocation::of(point)
            .into_iter()
            .map(move |way| (point, way))
    });
    for (point, way) in ways {
        for round in 1..=options.rounds {
            let recurs = way.provocation.recurs();
            let passing = if recurs { round } else { 1 };
            let attempt = Attempt {
                chain: Arc::clone(&chain),
                point,
                way,
                passing,
                random: &random,
            };
            let (cell, back) = attempt
                .run(customers)
                .await
                .with_context(|| format!("after {}:{passing}", point.name()))?;
            customers = back;
            matrix.cells.push(cell);
        }
    }
    matrix.documents = chain.ledger.account().documents();
    Ok(matrix)
}

struct Attempt<'a> {
    chain: Arc<Chain>,
    point: CrashPoint,
    way: Way,
    passing: u64,
    random: &'a SeededRandom,
}

impl Attempt<'_> {
    /// All processes are down before and after.
    async fn run(&self, customers: Vec<Customers>) -> anyhow::Result<(Cell, Vec<Customers>)> {
        let chain = &self.chain;
        let Way {
            victim,
            provocation,
            folding,
        } = self.way;
        chain.fold(folding)?;
        chain.ledger.open();
        let mut customers = customers;
        let reader = self.provoke(provocation, &mut customers).await?;
        let deaths = self.deaths(victim);
        let start = Instant::now();
        self.start_armed(victim).await;
        let mut trading = JoinSet::new();
        let mut outside = None;
        if provocation == Provocation::Restored {
            outside = Some(customers);
        } else {
            trade(&mut trading, chain, customers);
        }
        let died = self.wait_for_death(victim, &mut trading).await?;
        let died_after = start.elapsed();
        drop(reader);
        let reached = died && self.deaths(victim) == deaths + 1;
        chain.hub.set_environment(Vec::new());
        chain.tills[0].set_environment(Vec::new());
        match victim {
            Victim::Hub if died => {
                chain.hub.forget().await;
                chain.hub.start().await?;
            }
            Victim::Till if died => {
                chain.tills[0].forget().await;
                chain.tills[0].start().await?;
            }
            Victim::Hub | Victim::Till => {}
        }
        if provocation == Provocation::HubAway {
            chain.hub.start().await?;
        }
        if let Some(customers) = outside {
            trade(&mut trading, chain, customers);
            tokio::time::sleep(SHORT_TRADE).await;
        }
        let restart = Instant::now();
        chain.ledger.close();
        let mut back = Vec::new();
        while let Some(ended) = trading.join_next().await {
            back.push(ended.context("customers of the driver failed")??);
        }
        back.sort_by_key(|(index, _)| *index);
        chain.settle().await?;
        let settled_after = restart.elapsed();
        let verdict = chain.judge(provocation.files()).await?;
        let cell = Cell {
            point: self.point,
            victim,
            how: provocation.name(),
            passing: self.passing,
            reached,
            died_after,
            settled_after,
            verdict,
        };
        Ok((cell, back.into_iter().map(|(_, one)| one).collect()))
    }

    /// How often the log says that the process died at this point.
    fn deaths(&self, victim: Victim) -> usize {
        let text = format!("{REACHED} {}:{}", self.point.name(), self.passing);
        match victim {
            Victim::Hub => self.chain.hub.logged(&text),
            Victim::Till => self.chain.tills[0].logged(&text),
        }
    }

    /// All processes are down before and after; what is given back reads until it is dropped.
    async fn provoke(
        &self,
        provocation: Provocation,
        customers: &mut [Customers],
    ) -> anyhow::Result<Option<Reader>> {
        let (chain, till) = (&self.chain, &self.chain.tills[0]);
        match provocation {
            Provocation::Trade | Provocation::HubAway => {}
            Provocation::CatalogLost => remove_database(&till.data().join("catalog.db"))?,
            Provocation::CopyLost => remove_database(&self.copy_of_the_book().await?)?,
            Provocation::CopyDamaged => {
                let mut record = self.copy_of_the_book().await?.into_os_string();
                record.push("-sync");
                std::fs::write(record, "no record")?;
            }
            Provocation::Reader => {
                let file = match self.way.victim {
                    Victim::Till => till.data().join("book.db"),
                    Victim::Hub => self.copy_of_the_book().await?,
                };
                return Ok(Some(Reader::of(&file)?));
            }
            Provocation::Restored => {
                let backup = TempDir::new("restored");
                copy_folder(till.data(), backup.path())?;
                chain.start().await?;
                for _ in 0..SALES_SINCE {
                    chain.ledger.serve_one(till, &mut customers[0]).await?;
                }
                chain.settle().await?;
                chain.stop().await?;
                std::fs::remove_dir_all(till.data())?;
                copy_folder(backup.path(), till.data())?;
            }
            Provocation::TokenAsked => {
                let node = self.node_of_the_till().await?;
                chain.hub.rotate_token(node).await?;
            }
            Provocation::LargeTransaction => {
                till.start().await?;
                chain.ledger.restock(till, self.random).await?;
                till.stop().await?;
            }
            Provocation::UploadGivenUp => {
                till.start().await?;
                chain.ledger.restock(till, self.random).await?;
                till.stop().await?;
                remove_database(&self.copy_of_the_book().await?)?;
                till.set_environment(armed(CrashPoint::DifferenceSent, 1));
                chain.hub.start().await?;
                till.start().await?;
                ensure!(
                    death_of(till, REACH_LIMIT).await,
                    "the upload was not begun"
                );
                till.forget().await;
                till.set_environment(Vec::new());
                chain.hub.stop().await?;
                till.start().await?;
                for _ in 0..SALES_SINCE {
                    chain.ledger.serve_one(till, &mut customers[0]).await?;
                }
                till.stop().await?;
                // With it the same upload would go on where it was.
                std::fs::remove_file(till.data().join("book.db-sync"))?;
            }
        }
        Ok(None)
    }

    /// The till's book at the hub.
    async fn copy_of_the_book(&self) -> anyhow::Result<PathBuf> {
        let books = self.chain.hub.data().join("books");
        let node = self.node_of_the_till().await?;
        Ok(books.join(format!("{node}.db")))
    }

    async fn node_of_the_till(&self) -> anyhow::Result<NodeId> {
        let till = &self.chain.tills[0];
        till.start().await?;
        let node = till.status().await?.node_id;
        till.stop().await?;
        Ok(node)
    }

    /// Starts everything, the process that is to die last; it may die while it starts.
    async fn start_armed(&self, victim: Victim) {
        let chain = &self.chain;
        let (first, rest) = chain.tills.split_first().expect("there are tills");
        let environment = armed(self.point, self.passing);
        match victim {
            Victim::Hub => {
                chain.hub.set_environment(environment);
                drop(chain.hub.start_once().await);
            }
            Victim::Till => {
                first.set_environment(environment);
                if self.way.provocation != Provocation::HubAway {
                    drop(chain.hub.start().await);
                }
            }
        }
        for till in rest {
            drop(till.start().await);
        }
        drop(first.start().await);
    }

    async fn wait_for_death(
        &self,
        victim: Victim,
        trading: &mut JoinSet<anyhow::Result<(usize, Customers)>>,
    ) -> anyhow::Result<bool> {
        let start = Instant::now();
        while start.elapsed() < REACH_LIMIT {
            let runs = match victim {
                Victim::Hub => self.chain.hub.is_running().await,
                Victim::Till => self.chain.tills[0].is_running().await,
            };
            if !runs {
                return Ok(true);
            }
            if start.elapsed() > BUSY_TIME {
                self.chain.ledger.calm_down();
            }
            if let Some(ended) = trading.try_join_next() {
                // Customers stay until closing time: who leaves has found something wrong.
                ended.context("customers of the driver failed")??;
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ok(false)
    }
}

fn armed(point: CrashPoint, passing: u64) -> Vec<(String, String)> {
    vec![(VARIABLE.to_owned(), format!("{}:{passing}", point.name()))]
}

async fn death_of(till: &Till, limit: Duration) -> bool {
    let start = Instant::now();
    while till.is_running().await {
        if start.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
    true
}

fn trade(
    trading: &mut JoinSet<anyhow::Result<(usize, Customers)>>,
    chain: &Arc<Chain>,
    customers: Vec<Customers>,
) {
    for (index, mut customers) in customers.into_iter().enumerate() {
        let (chain, till) = (Arc::clone(chain), Arc::clone(&chain.tills[index]));
        drop(trading.spawn(async move {
            chain.ledger.trade(&till, &mut customers).await?;
            Ok((index, customers))
        }));
    }
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?.path();
        let name = entry.file_name().context("an entry has a name")?;
        if entry.is_dir() {
            copy_folder(&entry, &to.join(name))?;
        } else {
            std::fs::copy(&entry, to.join(name))?;
        }
    }
    Ok(())
}

/// A disk that lost a database, with what stands beside it.
fn remove_database(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("a database stands in a folder")?;
    let name = path.file_name().context("a database has a name")?;
    let name = name.to_string_lossy();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
