//! What time was it, when a till's clock was wrong? (X1)
//!
//! At each contact the hub measures how far the till's clock is from its own, and hears how long the
//! till's journal is. So an entry lies between two measurements, and what was measured around it corrects
//! the time that its till wrote down. Where the clock was set between the two, the times of the
//! journal's entries, which follow each other, say before or behind which entry that was.
//!
//! What cannot be known: when an entry was made that no measured offset explains, other than between its two
//! measurements and between its neighbours. It is then dated as late as these allow, with the bound of
//! the error. Before the first measurement anything may have been done to the clock: what its offset explains is
//! corrected by it, everything else stands, and nobody knows how far either is off.

use crate::hlc::Hlc;

/// Offsets of a till's clock that differ by less are one, in milliseconds, and an offset of less is none: a
/// second is more than a slow line takes from a measurement, and no till's clock is looked at more closely.
pub const CLOCK_STEP_MS: i64 = 1_000;

/// The logical time by which something is ordered that was made at a corrected time. The till's own stands
/// while it is no further ahead than clocks are looked at, because it lies behind everything that the till had
/// seen.
pub fn corrected_hlc(hlc: Hlc, corrected_ms: i64) -> Hlc {
    let ahead_ms = hlc.millis().saturating_sub(corrected_ms);
    if (0..=CLOCK_STEP_MS).contains(&ahead_ms) {
        hlc
    } else {
        Hlc::at_millis(corrected_ms)
    }
}

/// What one contact says of a till's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measurement {
    /// Entries of the journal up to here were made before.
    pub seq: i64,
    /// When it was made, milliseconds since the Unix epoch, the hub's clock.
    pub at_ms: i64,
    /// The till's clock minus the hub's, milliseconds.
    pub offset_ms: i64,
    /// How far that may be off: half the round trip, milliseconds.
    pub error_ms: i64,
}

impl Measurement {
    fn slack_ms(&self) -> i64 {
        self.error_ms.max(0).saturating_add(CLOCK_STEP_MS)
    }

    /// The offset that is taken away; none while the clock counts as right.
    const fn offset_ms(&self) -> i64 {
        if self.offset_ms.saturating_abs() <= CLOCK_STEP_MS {
            0
        } else {
            self.offset_ms
        }
    }
}

/// An entry of a journal with the time that its till wrote down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dated {
    /// Position in the journal.
    pub seq: i64,
    /// Milliseconds since the Unix epoch, the till's clock.
    pub at_ms: i64,
}

/// How the entries from a position on are corrected, up to the next span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first of them.
    pub first_seq: i64,
    /// Taken away from their time.
    pub offset_ms: i64,
    /// No result is earlier or later, when there is such a bound.
    pub between_ms: Option<(i64, i64)>,
    /// How far the result may be off; `None` when nobody knows.
    pub error_ms: Option<i64>,
    /// Whether anything that was measured stands behind it.
    pub is_measured: bool,
}

impl Span {
    /// Times stand as they are.
    pub const fn unknown(first_seq: i64) -> Self {
        Self {
            first_seq,
            offset_ms: 0,
            between_ms: None,
            error_ms: None,
            is_measured: false,
        }
    }

    /// The corrected time of one of its entries.
    pub fn correct(&self, at_ms: i64) -> i64 {
        let corrected = at_ms.saturating_sub(self.offset_ms);
        match self.between_ms {
            Some((earliest, latest)) => corrected.min(latest).max(earliest),
            None => corrected,
        }
    }
}

/// The entries between two measurements that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The last measurement before them.
    pub before: Option<Measurement>,
    /// The first measurement after them.
    pub after: Option<Measurement>,
    /// The hub's clock: none of them was made later.
    pub now_ms: i64,
}

/// What an entry's time is taken to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// By an offset that was measured, off by at most so much.
    Offset {
        offset_ms: i64,
        error_ms: Option<i64>,
    },
    /// No measured offset explains it.
    Unexplained,
}

impl Stretch {
    /// The stretches that hold entries after `after_seq` up to `until_seq`, each with the position behind which
    /// it begins. `measurements` are ascending by position and time.
    pub fn all(
        measurements: &[Measurement],
        (after_seq, until_seq): (i64, i64),
        now_ms: i64,
    ) -> Vec<(i64, Self)> {
        let mut found = Vec::new();
        let mut before: Option<Measurement> = None;
        let ends = measurements.iter().copied().map(Some);
        for after in ends.chain(std::iter::once(None)) {
            let from = before.map_or(0, |it| it.seq);
            let to = after.map_or(i64::MAX, |it| it.seq);
            if from < to && from < until_seq && to > after_seq {
                let stretch = Self {
                    before,
                    after,
                    now_ms,
                };
                found.push((from, stretch));
            }
            before = after;
        }
        found
    }

    /// When its entries can have been made at all.
    pub fn bounds_ms(&self) -> (i64, i64) {
        let earliest = self.before.map(|it| it.at_ms.saturating_sub(it.slack_ms()));
        let latest = match self.after {
            Some(it) => it.at_ms.min(self.now_ms).saturating_add(it.slack_ms()),
            None => self.now_ms.saturating_add(CLOCK_STEP_MS),
        };
        (earliest.unwrap_or(i64::MIN), latest)
    }

    /// The one offset of the whole stretch; `None` when the clock was set meanwhile, or never measured.
    pub fn offset_ms(&self) -> Option<i64> {
        match (self.before, self.after) {
            (Some(before), Some(after)) => {
                let step = before.offset_ms.saturating_sub(after.offset_ms);
                let slack = before.error_ms.max(after.error_ms).max(CLOCK_STEP_MS);
                (step.saturating_abs() <= slack).then(|| after.offset_ms())
            }
            (one, other) => one.or(other).map(|it| it.offset_ms()),
        }
    }

    /// How a stretch is corrected whose entries are all explained by its one offset.
    pub fn plain(&self, first_seq: i64) -> Span {
        match self.offset_ms() {
            Some(offset_ms) => Span {
                first_seq,
                offset_ms,
                between_ms: None,
                error_ms: self.error_ms(),
                is_measured: true,
            },
            None => Span::unknown(first_seq),
        }
    }

    /// How its entries are corrected, the first span from `first_seq` on. `entries` are all that have a
    /// time of the till's clock, ascending.
    pub fn spans(&self, first_seq: i64, entries: &[Dated]) -> Vec<Span> {
        if self.before.is_none() && self.after.is_none() {
            return vec![Span::unknown(first_seq)];
        }
        let readings = self.readings(entries);
        let mut spans: Vec<Span> = Vec::new();
        let mut at = 0;
        while let Some(reading) = readings.get(at) {
            let run = readings.iter().skip(at).take_while(|it| *it == reading);
            let end = at + run.count();
            let start = entries.get(at).map_or(first_seq, |it| it.seq);
            let span = match *reading {
                Reading::Offset {
                    offset_ms,
                    error_ms,
                } => Span {
                    first_seq: start,
                    offset_ms,
                    between_ms: None,
                    error_ms,
                    is_measured: true,
                },
                Reading::Unexplained => self.estimate(start, entries, &readings, (at, end)),
            };
            spans.push(span);
            at = end;
        }
        match spans.first_mut() {
            Some(first) => first.first_seq = first_seq,
            None => spans.push(self.plain(first_seq)),
        }
        spans
    }

    fn slack_ms(&self) -> i64 {
        let slack = |it: Option<Measurement>| it.map_or(CLOCK_STEP_MS, |it| it.slack_ms());
        slack(self.before).max(slack(self.after))
    }

    /// How far a time may be off that a measured offset explains. Before the first measurement nobody knows: the
    /// clock may have been set to it from anything.
    fn error_ms(&self) -> Option<i64> {
        self.before.map(|_| self.slack_ms())
    }

    fn explains(&self, offset_ms: i64, at_ms: i64) -> bool {
        let (earliest, latest) = self.bounds_ms();
        (earliest..=latest).contains(&at_ms.saturating_sub(offset_ms))
    }

    fn readings(&self, entries: &[Dated]) -> Vec<Reading> {
        let error_ms = self.error_ms();
        let by = |offset_ms: i64, error_ms: Option<i64>| Reading::Offset {
            offset_ms,
            error_ms,
        };
        let read = |offsets: &[i64], at_ms: i64| {
            let found = offsets.iter().find(|it| self.explains(**it, at_ms));
            found.map_or(Reading::Unexplained, |it| by(*it, error_ms))
        };
        if let Some(offset) = self.offset_ms() {
            return entries.iter().map(|it| read(&[offset], it.at_ms)).collect();
        }
        let offset = |it: Option<Measurement>| it.map_or(0, |it| it.offset_ms());
        let (old, new) = (offset(self.before), offset(self.after));
        let Some((first, last)) = self.change(entries, old, new) else {
            // It was set more than once.
            return entries
                .iter()
                .map(|it| read(&[new, old], it.at_ms))
                .collect();
        };
        // Where several places are possible the last is taken: a line that comes back brings the
        // right time with it.
        let between_ms = old.saturating_sub(new).saturating_abs();
        let unsure_ms = error_ms.map(|error| error.saturating_add(between_ms));
        (0..entries.len())
            .map(|index| match index {
                _ if index < first => by(old, error_ms),
                _ if index < last => by(old, unsure_ms),
                _ => by(new, error_ms),
            })
            .collect()
    }

    /// The first and the last number of entries that the clock can have shown the old offset for, when the
    /// order of all of them fits.
    fn change(&self, entries: &[Dated], old: i64, new: i64) -> Option<(usize, usize)> {
        let follows = |one: i64, next: i64| next.saturating_add(CLOCK_STEP_MS) >= one;
        let time = |index: usize, offset: i64| {
            let entry = entries.get(index)?;
            self.explains(offset, entry.at_ms)
                .then(|| entry.at_ms.saturating_sub(offset))
        };
        let mut old_until = 0;
        let mut last = i64::MIN;
        while let Some(at) = time(old_until, old).filter(|at| follows(last, *at)) {
            last = at;
            old_until += 1;
        }
        let mut new_from = entries.len();
        let mut next = i64::MAX;
        while let Some(at) = new_from
            .checked_sub(1)
            .and_then(|index| time(index, new))
            .filter(|at| follows(*at, next))
        {
            next = at;
            new_from -= 1;
        }
        let fits = |count: &usize| {
            let before = count.checked_sub(1).and_then(|index| time(index, old));
            match (before, time(*count, new)) {
                (Some(before), Some(behind)) => follows(before, behind),
                _ => true,
            }
        };
        let mut possible = (new_from..=old_until).filter(fits);
        let first = possible.next()?;
        Some((first, possible.next_back().unwrap_or(first)))
    }

    /// Entries that no offset explains are dated as late as what follows them allows, at the distance that they
    /// have from each other.
    fn estimate(
        &self,
        first_seq: i64,
        entries: &[Dated],
        readings: &[Reading],
        (from, to): (usize, usize),
    ) -> Span {
        let corrected = |index: usize| match (entries.get(index)?, readings.get(index)?) {
            (entry, Reading::Offset { offset_ms, .. }) => {
                Some(entry.at_ms.saturating_sub(*offset_ms))
            }
            _ => None,
        };
        let (earliest, latest) = self.bounds_ms();
        let earliest = from.checked_sub(1).and_then(corrected).unwrap_or(earliest);
        let latest = corrected(to).unwrap_or(latest);
        let last = to.checked_sub(1).and_then(|index| entries.get(index));
        match last {
            Some(last) if earliest > i64::MIN && earliest <= latest => Span {
                first_seq,
                offset_ms: last.at_ms.saturating_sub(latest),
                between_ms: Some((earliest, latest)),
                // What stands before it is known no better than the clock was.
                error_ms: self.before.map(|_| latest.saturating_sub(earliest)),
                is_measured: true,
            },
            _ => Span::unknown(first_seq),
        }
    }
}

#[cfg(test)]
mod tests;
