//! What is wrong with one closure, and how is it told?

use super::book::{Book, Closed, Held, Range, closed};
use crate::store::{StoreError, closures};
use counterfoil_domain::Closure;
use counterfoil_domain::closure::{Day, DayRule, Takings};
use counterfoil_domain::proof::{Aside, Case, Finding, SealState, judge};
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::closure::{LateEntry, ProofFinding};
use std::collections::{BTreeMap, BTreeSet};

/// A closure with everything that was found about it.
pub(super) struct Judged {
    pub(super) closure: Closure,
    pub(super) covered: BTreeMap<i64, Held>,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn judged(hub: &Connection, book: &Book, found: Closed) -> Result<Judged, StoreError> {
    let closure = found.closure;
    let earlier = earlier(hub, book, found.seq)?;
    let previous = earlier.first();
    let previous_last_seq = previous.map_or(0, |it| it.last_seq);
    let mut range = Range {
        after_seq: previous_last_seq,
        until_seq: closure.last_seq,
        from_ms: i64::MIN,
        until_ms: closure.rule.end_ms(closure.day),
    };
    let mut moved = moved_behind(hub, book, range)?;
    let mut covered = book.receipts(hub, range)?;
    let mut aside = book.aside(hub, range)?;
    if let Some(previous) = previous.filter(|it| it.ahead != 0) {
        // Receipts that were dated after that day, and stand before its closure.
        let complete = earlier.last().filter(|it| it.ahead == 0);
        range.after_seq = complete.map_or(0, |it| it.last_seq);
        range.until_seq = previous.last_seq;
        range.from_ms = previous.rule.end_ms(previous.day);
        moved.extend(moved_behind(hub, book, range)?);
        let mut ahead = book.receipts(hub, range)?;
        // The days of closures need not ascend: a till's clock may have been ahead for a while.
        ahead.retain(|seq, held| {
            !earlier
                .iter()
                .any(|it| it.reaches(*seq, held.counted.at_ms))
        });
        covered.extend(ahead);
        let mut ahead = book.aside(hub, range)?;
        // Without a date it is of the closure behind it.
        ahead.retain(|seq, held| {
            held.at_ms
                .is_some_and(|at_ms| !earlier.iter().any(|it| it.reaches(*seq, at_ms)))
        });
        aside.extend(ahead);
    }
    let aside: Vec<Aside> = aside
        .into_iter()
        .map(|(seq, held)| held.told(seq))
        .collect();
    let others = others(hub, book, &closure, &covered)?;
    let counted: Vec<_> = covered.values().map(|held| held.counted.clone()).collect();
    let seqs = |wanted: fn(&Held) -> bool| {
        let found = covered.values().chain(&moved).filter(|held| wanted(held));
        found
            .map(|held| held.counted.seq)
            .collect::<BTreeSet<i64>>()
    };
    let (broken, fixed) = (seqs(|held| !held.whole), seqs(|held| held.fixed));
    let moved: Vec<_> = moved.iter().map(|held| held.counted.clone()).collect();
    let whole = found.whole && book.is_dated(found.seq, closure.day);
    let seal = seal(hub, book, (&closure, found.seq))?;
    let findings = judge(&Case {
        closure: &closure,
        previous_last_seq,
        receipts: &counted,
        broken: &broken,
        moved: &moved,
        fixed: &fixed,
        others: &others,
        aside: &aside,
        seal,
        whole,
        head_fits: found.head_fits,
    });
    Ok(Judged {
        closure,
        covered,
        findings,
    })
}

/// Numbers in the ranges of a closure that are here and that it does not cover.
fn others(
    hub: &Connection,
    book: &Book,
    closure: &Closure,
    covered: &BTreeMap<i64, Held>,
) -> Result<BTreeSet<(String, i64)>, StoreError> {
    let mut others = BTreeSet::new();
    for (series, numbers) in &closure.takings.series {
        let held = book.numbers(hub, series, (numbers.first, numbers.last))?;
        let held = held
            .into_iter()
            .filter(|(seq, _)| !covered.contains_key(seq));
        others.extend(held.map(|(_, number)| (series.clone(), number)));
    }
    Ok(others)
}

/// Receipts at a closure's positions that are dated behind its day and are not what the till recorded, the date perhaps.
fn moved_behind(hub: &Connection, book: &Book, range: Range) -> Result<Vec<Held>, StoreError> {
    let behind = Range {
        from_ms: range.until_ms,
        until_ms: i64::MAX,
        ..range
    };
    let held = book.receipts(hub, behind)?.into_values();
    Ok(held.filter(|held| !held.whole).collect())
}

fn seal(
    hub: &Connection,
    book: &Book,
    (closure, seq): (&Closure, i64),
) -> Result<SealState, StoreError> {
    let bare = closure.trial && closure.seal.is_none();
    let keys = closures::keys(hub, book.node, closure)?;
    Ok(if keys.iter().any(|key| key.verifies(closure)) {
        SealState::Good
    } else if bare && !book.is_active_before(hub, seq)? {
        SealState::Trial
    } else if keys.is_empty() {
        SealState::UnknownTill
    } else {
        SealState::Wrong
    })
}

/// The closures before one, latest first, as far back as they decide what it covers: up to one that left no
/// receipt for a later one.
fn earlier(hub: &Connection, book: &Book, seq: i64) -> Result<Vec<Closure>, StoreError> {
    let mut found = Vec::new();
    for (seq, (owner, _)) in book.closures.range(..seq).rev() {
        let Some(closed) = closed(hub, *owner, *seq)? else {
            continue;
        };
        let complete = closed.closure.ahead == 0;
        found.push(closed.closure);
        if complete {
            break;
        }
    }
    Ok(found)
}

pub(super) fn count(takings: &Takings) -> i64 {
    takings.sales + takings.refunds
}

/// What receipts come to; sums that do not fit have been found already, and are left out.
pub(super) fn takings<'r>(held: impl Iterator<Item = &'r Held>) -> Takings {
    let mut takings = Takings::default();
    for held in held {
        let mut more = takings.clone();
        if more.add(&held.counted).is_ok() {
            takings = more;
        }
    }
    takings
}

pub(super) fn words(finding: &Finding) -> ProofFinding {
    ProofFinding {
        kind: finding.kind().to_owned(),
        seq: finding.seq(),
        receipt: finding.receipt(),
        detail: finding.to_string(),
    }
}

pub(super) fn late_entry(held: &Held, rule: DayRule, closed_with: Option<Day>) -> LateEntry {
    let counted = &held.counted;
    LateEntry {
        receipt: format!("{}-{}", counted.series, counted.number),
        seq: counted.seq,
        day: rule.day_of(counted.at_ms),
        closed_with,
        total_minor: counted.total_minor,
    }
}
