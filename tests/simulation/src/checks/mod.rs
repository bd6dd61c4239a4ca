//! The judgement: predicates over the database files and over what people were told.

mod catalog;
mod evidence;
mod ledger;

use crate::record::Record;
use evidence::Evidence;
use std::fmt;
use std::path::Path;

/// What a violation breaks (`design.md` 11).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Guarantee {
    /// No acknowledged sale is lost.
    G1,
    /// A sale is consolidated exactly once.
    G2,
    /// Sums of the hub equal sums of the books.
    G3,
    /// Receipt numbers are unique and dense.
    G4,
    /// Catalogs are identical.
    G5,
    /// No value that a person entered disappears.
    G6,
    /// Programs keep running, answer without contradiction, and agree in the end.
    Alive,
    /// The files are sound.
    Sound,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken guarantee.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub guarantee: Guarantee,
    /// How it shows.
    pub text: String,
}

impl Violation {
    pub(crate) fn new(guarantee: Guarantee, text: impl Into<String>) -> Self {
        Self {
            guarantee,
            text: text.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.guarantee, self.text)
    }
}

/// What the checks found.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) violations: Vec<Violation>,
    pub(crate) conflicts: i64,
}

impl Judgement {
    fn breaks(&mut self, guarantee: Guarantee, text: impl Into<String>) {
        self.violations.push(Violation::new(guarantee, text));
    }

    /// Notes a violation unless it holds.
    fn require(&mut self, guarantee: Guarantee, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.breaks(guarantee, text());
        }
    }
}

/// Runs every check over the files below a folder.
pub(crate) fn judge(folder: &Path, record: &Record) -> anyhow::Result<Judgement> {
    let mut judgement = Judgement::default();
    for text in &record.contradictions {
        judgement.breaks(Guarantee::Alive, text);
    }
    evidence::check_files(folder, &mut judgement)?;
    let Some(evidence) = Evidence::open(folder, &mut judgement)? else {
        return Ok(judgement);
    };
    ledger::check(&evidence, record, &mut judgement)?;
    catalog::check(&evidence, record, &mut judgement)?;
    Ok(judgement)
}
