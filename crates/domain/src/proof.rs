//! Whether a closed day is what was consolidated, and what is wrong when it is not (X9).

use crate::closure::{Closure, Counted, NumberRange, Takings};
use crate::document::Tender;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most findings about one closure; a day with more is lost as a whole, and the takings say by how much.
pub const FINDINGS_MAX: usize = 1_000;

/// What a seal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealState {
    /// The till of that name sealed exactly this.
    Good,
    /// Closed in trial, when there was nobody to seal it for.
    Trial,
    /// It bears another seal, or none.
    Wrong,
    /// The till that closed it is not known here.
    UnknownTill,
}

/// A sale or refund in quarantine that the closure covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aside {
    /// Position in the journal.
    pub seq: i64,
    /// Why it stands there.
    pub reason: String,
    /// Whether it is known to be dated so that the closure covers it; it may be of a later day otherwise.
    pub dated: bool,
}

/// A closure, and what was consolidated for it.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// What the till states.
    pub closure: &'a Closure,
    /// End of the closure before, as it was consolidated; 0 when there is none.
    pub previous_last_seq: i64,
    /// The receipts that it covers, ascending by position.
    pub receipts: &'a [Counted],
    /// Positions of those whose rows do not give their chain value any more.
    pub broken: &'a BTreeSet<i64>,
    /// Receipts between the closure before and this one that are dated behind its day and whose rows do not give
    /// their chain value: whether that date is the till's nobody can tell.
    pub moved: &'a [Counted],
    /// Those of both that a person at the hub changed, to get them out of quarantine.
    pub fixed: &'a BTreeSet<i64>,
    /// Numbers that were consolidated and that other closures cover.
    pub others: &'a BTreeSet<(String, i64)>,
    /// Receipts in quarantine between the closure before and this one.
    pub aside: &'a [Aside],
    /// What the seal says.
    pub seal: SealState,
    /// Whether the closure's own row gives its chain value.
    pub whole: bool,
    /// Whether the entry before it was consolidated with the chain value that it states.
    pub head_fits: bool,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Receipts that the till counted and that are not here.
    Missing {
        /// Their series.
        series: String,
        /// First number.
        first: i64,
        /// Last number; the same when it is one.
        last: i64,
    },
    /// A receipt in quarantine.
    Quarantined {
        /// Position in the journal.
        seq: i64,
        /// Series and number, when they can be told.
        receipt: Option<(String, i64)>,
        /// Why it stands there.
        reason: String,
    },
    /// A receipt whose rows are not what the till recorded.
    Differs {
        /// Position in the journal.
        seq: i64,
        /// Its series.
        series: String,
        /// Its number.
        number: i64,
        /// A person at the hub changed it, to get it out of quarantine.
        fixed: bool,
    },
    /// A receipt that the till did not count.
    Extra {
        /// Position in the journal.
        seq: i64,
        /// Its series.
        series: String,
        /// Its number.
        number: i64,
    },
    /// Counts or sums are not the same.
    Takings(String),
    /// The journal before the closure is another one.
    Head,
    /// The closure itself is not what the till recorded.
    Altered,
    /// The closure does not follow the one before.
    Gap {
        /// Where it begins.
        first_seq: i64,
        /// Where it should.
        expected: i64,
    },
    /// The seal is not the till's.
    Seal(&'static str),
}

impl Finding {
    /// The stable name of the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Quarantined { .. } => "quarantined",
            Self::Differs { .. } => "differs",
            Self::Extra { .. } => "extra",
            Self::Takings(_) => "takings",
            Self::Head => "chain",
            Self::Altered => "closure_altered",
            Self::Gap { .. } => "closure_gap",
            Self::Seal(_) => "seal",
        }
    }

    /// The journal entry it is about, when it is one.
    pub const fn seq(&self) -> Option<i64> {
        match self {
            Self::Quarantined { seq, .. } | Self::Differs { seq, .. } | Self::Extra { seq, .. } => {
                Some(*seq)
            }
            Self::Missing { .. }
            | Self::Takings(_)
            | Self::Head
            | Self::Altered
            | Self::Gap { .. }
            | Self::Seal(_) => None,
        }
    }

    /// The receipt it is about as people read it, `L1-17`, or `L1-17..19` for several.
    pub fn receipt(&self) -> Option<String> {
        match self {
            Self::Missing {
                series,
                first,
                last,
            } if first == last => Some(format!("{series}-{first}")),
            Self::Missing {
                series,
                first,
                last,
            } => Some(format!("{series}-{first}..{last}")),
            Self::Quarantined { receipt, .. } => receipt
                .as_ref()
                .map(|(series, number)| format!("{series}-{number}")),
            Self::Differs { series, number, .. } | Self::Extra { series, number, .. } => {
                Some(format!("{series}-{number}"))
            }
            Self::Takings(_) | Self::Head | Self::Altered | Self::Gap { .. } | Self::Seal(_) => {
                None
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { .. } => f.write_str("the till counted it, and it is not here"),
            Self::Quarantined { reason, .. } => write!(f, "it is in quarantine: {reason}"),
            Self::Differs { fixed: true, .. } => {
                f.write_str("it was fixed here, in quarantine, and is not what the till recorded")
            }
            Self::Differs { .. } => f.write_str("it is not what the till recorded"),
            Self::Extra { .. } => f.write_str("the till did not count it"),
            Self::Takings(text) => f.write_str(text),
            Self::Head => f.write_str("the journal before the closure is another one"),
            Self::Altered => f.write_str("the closure is not what the till recorded"),
            Self::Gap {
                first_seq,
                expected,
            } => write!(
                f,
                "the closure begins at entry {first_seq}, but the one before ends before {expected}"
            ),
            Self::Seal(text) => f.write_str(text),
        }
    }
}

/// Compares a closure with what was consolidated; nothing when it is proved. The same facts give the same
/// findings, in whatever order they arrived.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match case.seal {
        SealState::Good | SealState::Trial => {}
        SealState::Wrong => findings.push(Finding::Seal("the seal is not the till's")),
        SealState::UnknownTill => {
            findings.push(Finding::Seal("a till that is not known here has sealed it"));
        }
    }
    if !case.whole {
        findings.push(Finding::Altered);
    }
    if !case.head_fits {
        findings.push(Finding::Head);
    }
    let expected = case.previous_last_seq.saturating_add(1);
    let first_seq = case.closure.first_seq;
    if first_seq != expected {
        findings.push(Finding::Gap {
            first_seq,
            expected,
        });
    }
    let takings = Takings::of(case.receipts);
    let complete = takings.as_ref() == Ok(&case.closure.takings);
    name_receipts(case, complete, &mut findings);
    match takings {
        Ok(found) if found == case.closure.takings => {}
        Ok(found) => findings.extend(
            differences(&case.closure.takings, &found)
                .into_iter()
                .map(Finding::Takings),
        ),
        Err(error) => findings.push(Finding::Takings(error.to_string())),
    }
    findings.truncate(FINDINGS_MAX);
    findings
}

/// The numbers of receipts, by series.
fn numbers(receipts: &[Counted]) -> BTreeMap<String, NumberRange> {
    let bare = receipts.iter().map(|receipt| Counted {
        total_minor: 0,
        payments: Vec::new(),
        ..receipt.clone()
    });
    // Nothing is summed, so nothing overflows.
    Takings::of(&bare.collect::<Vec<_>>())
        .map_or_else(|_| BTreeMap::new(), |takings| takings.series)
}

/// Names the receipts that are not here, are not what they were, or are too many.
fn name_receipts(case: &Case<'_>, complete: bool, findings: &mut Vec<Finding>) {
    let (stated, found) = (&case.closure.takings.series, numbers(case.receipts));
    // A till that gave a number twice counted both.
    let too_many = |series: &str| {
        let count = |of: &BTreeMap<String, NumberRange>| of.get(series).map_or(0, |it| it.count);
        count(&found) > count(stated)
    };
    let mut held: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for (series, number) in case.others {
        held.entry(series).or_default().insert(*number);
    }
    for receipt in case.receipts {
        let (seq, series, number) = (receipt.seq, receipt.series.clone(), receipt.number);
        let counted = stated.get(&series);
        let counted = counted.is_some_and(|range| (range.first..=range.last).contains(&number));
        let first = held.entry(&receipt.series).or_default().insert(number);
        if !counted || !first && too_many(&series) {
            findings.push(Finding::Extra {
                seq,
                series,
                number,
            });
        } else if case.broken.contains(&seq) {
            findings.push(differs(case, receipt));
        }
    }
    let aside = case.aside.iter().filter(|it| it.dated || !complete);
    let aside: Vec<_> = aside.collect();
    let counted: i64 = stated
        .values()
        .map(|range| range.count)
        .fold(0, i64::saturating_add);
    let known = i64::try_from(case.receipts.len() + aside.len()).unwrap_or(i64::MAX);
    if known < counted {
        findings.extend(case.moved.iter().map(|receipt| differs(case, receipt)));
    }
    let holes = holes(stated, &found, &held);
    name_missing(&aside, holes, case.receipts, findings);
}

fn differs(case: &Case<'_>, receipt: &Counted) -> Finding {
    Finding::Differs {
        seq: receipt.seq,
        series: receipt.series.clone(),
        number: receipt.number,
        fixed: case.fixed.contains(&receipt.seq),
    }
}

/// The numbers that were stated and are not here: series, first and last of each hole, ascending.
fn holes(
    stated: &BTreeMap<String, NumberRange>,
    found: &BTreeMap<String, NumberRange>,
    held: &BTreeMap<&str, BTreeSet<i64>>,
) -> Vec<Hole> {
    let mut missing = Vec::new();
    for (series, range) in stated {
        if found.get(series) == Some(range) {
            // What is missing between them is of another day.
            continue;
        }
        let none = BTreeSet::new();
        let held = held.get(series.as_str()).unwrap_or(&none);
        // Walks over what is here, not over what is said to be missing: a number can be anything.
        let mut next = range.first;
        for number in held.range(range.first..).chain([&i64::MAX]) {
            let last = number.saturating_sub(1).min(range.last);
            if next <= last {
                missing.push((series.clone(), next, last));
            }
            next = number.saturating_add(1);
            if *number >= range.last {
                break;
            }
        }
    }
    missing
}

/// Numbers that are missing: series, first and last.
type Hole = (String, i64, i64);

/// Names the receipts in quarantine, with their numbers where those can be told, and what else is missing.
fn name_missing(
    aside: &[&Aside],
    holes: Vec<Hole>,
    receipts: &[Counted],
    findings: &mut Vec<Finding>,
) {
    let numbers = numbers_of(aside, &holes, receipts);
    let missing = if numbers.is_some() { Vec::new() } else { holes };
    let mut numbers = numbers.into_iter().flatten();
    findings.extend(aside.iter().map(|aside| Finding::Quarantined {
        seq: aside.seq,
        receipt: numbers.next(),
        reason: aside.reason.clone(),
    }));
    findings.extend(
        missing
            .into_iter()
            .map(|(series, first, last)| Finding::Missing {
                series,
                first,
                last,
            }),
    );
}

/// The numbers of the receipts in quarantine, when they are the ones that are missing: as many, and each between its
/// neighbours. Numbers and positions grow together, and one series follows the other.
fn numbers_of(
    aside: &[&Aside],
    holes: &[Hole],
    receipts: &[Counted],
) -> Option<Vec<(String, i64)>> {
    let length = |(_, first, last): &Hole| last.saturating_sub(*first).saturating_add(1);
    let count = holes.iter().map(length).fold(0, i64::saturating_add);
    if i64::try_from(aside.len()) != Ok(count) {
        return None;
    }
    let mut begins = BTreeMap::new();
    for receipt in receipts {
        begins.entry(receipt.series.as_str()).or_insert(receipt.seq);
    }
    let mut in_order: Vec<_> = holes.iter().collect();
    in_order.sort_by_key(|hole| begins.get(hole.0.as_str()));
    let is_known = |hole: &Hole| begins.contains_key(hole.0.as_str());
    let one_series = holes.iter().all(|hole| hole.0 == holes[0].0);
    if !one_series && !holes.iter().all(is_known) {
        return None;
    }
    let here: BTreeMap<_, _> = receipts
        .iter()
        .map(|it| ((it.series.as_str(), it.number), it.seq))
        .collect();
    let stands_between = |(series, number): &(String, i64), seq: i64| {
        let of_series = |it: &(&(&str, i64), &i64)| it.0.0 == series;
        let at = (series.as_str(), *number);
        let before = here.range(..at).next_back().filter(of_series);
        let behind = here.range(at..).next().filter(of_series);
        before.is_none_or(|it| *it.1 < seq) && behind.is_none_or(|it| *it.1 > seq)
    };
    let numbers = in_order.into_iter().flat_map(|(series, first, last)| {
        (*first..=*last).map(move |number| (series.clone(), number))
    });
    let numbers: Vec<_> = numbers.collect();
    let pairs = || numbers.iter().zip(aside);
    pairs()
        .all(|(number, aside)| stands_between(number, aside.seq))
        .then_some(numbers.clone())
}

/// What is not the same, each in words.
fn differences(stated: &Takings, found: &Takings) -> Vec<String> {
    let tender = |takings: &Takings, tender| takings.tenders.get(&tender).copied().unwrap_or(0);
    let tenders: BTreeSet<Tender> = stated
        .tenders
        .keys()
        .chain(found.tenders.keys())
        .copied()
        .collect();
    let mut pairs = vec![
        ("sales".to_owned(), stated.sales, found.sales),
        ("refunds".to_owned(), stated.refunds, found.refunds),
        (
            "total, minor units".to_owned(),
            stated.total_minor,
            found.total_minor,
        ),
    ];
    for name in tenders {
        let pair = (tender(stated, name), tender(found, name));
        pairs.push((format!("{name}, minor units"), pair.0, pair.1));
    }
    let mut words: Vec<String> = pairs
        .into_iter()
        .filter(|(_, stated, found)| stated != found)
        .map(|(what, stated, found)| format!("{what}: the till says {stated}, here are {found}"))
        .collect();
    if stated.series != found.series {
        words.push("the numbers that the till gave are not those that are here".to_owned());
    }
    words
}

#[cfg(test)]
mod tests;
