//! How wrong was a till's clock, and what does that make of its records' times? (X1)
//!
//! A contact leaves a measurement; the batch that is consolidated is corrected by those around its entries
//! (`domain::clock`). The result is fixed with the record and never computed again.

use super::StoreError;
use super::movement::PLAIN;
use crate::limits::{CLOCK_ENTRIES_MAX, CLOCK_MEASUREMENTS_MAX, CLOCK_OFFSET_MS_MAX};
use counterfoil_domain::Topic;
use counterfoil_domain::clock::{CLOCK_STEP_MS, Dated, Measurement, Span, Stretch};
use counterfoil_migrate::{Connection, params};

/// What the hub has measured of a node's clock, ascending.
pub(super) fn measurements(hub: &Connection, node: i64) -> Result<Vec<Measurement>, StoreError> {
    let sql = "SELECT seq, at_ms, offset_ms, round_trip_ms FROM clock_measurement
               WHERE node = ?1 ORDER BY seq, at_ms";
    Ok(hub.query_map(sql, params![node], |row| {
        Ok(Measurement {
            seq: row.get(0)?,
            at_ms: row.get(1)?,
            offset_ms: row.get(2)?,
            error_ms: row.get::<i64>(3)? >> 1,
        })
    })?)
}

/// Keeps a measurement. Those in the middle of a time in which the clock was the same go, once all that was
/// recorded around them is consolidated.
pub(super) fn keep(tx: &Connection, node: i64, measured: &Measurement) -> Result<(), StoreError> {
    let known = measurements(tx, node)?;
    if let [.., first, middle, last] = known[..] {
        let agrees = |other: &Measurement| {
            let step = other.offset_ms.saturating_sub(measured.offset_ms);
            step.saturating_abs() <= CLOCK_STEP_MS
        };
        let sql = "SELECT CASE count(*) WHEN 4 THEN min(seq) ELSE 0 END FROM watermark
                   WHERE node = ?1";
        let consolidated: i64 = tx.query_value(sql, params![node])?;
        if [first, middle, last].iter().all(agrees) && last.seq <= consolidated {
            remove(tx, node, &middle)?;
        }
    }
    let most = usize::try_from(CLOCK_MEASUREMENTS_MAX).unwrap_or(usize::MAX);
    for old in known.iter().take((known.len() + 1).saturating_sub(most)) {
        remove(tx, node, old)?;
    }
    let offset_ms = measured
        .offset_ms
        .clamp(-CLOCK_OFFSET_MS_MAX, CLOCK_OFFSET_MS_MAX);
    tx.execute(
        "INSERT INTO clock_measurement (node, seq, at_ms, offset_ms, round_trip_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (node, seq, at_ms) DO UPDATE
         SET offset_ms = excluded.offset_ms, round_trip_ms = excluded.round_trip_ms",
        params![
            node,
            measured.seq,
            measured.at_ms,
            offset_ms,
            measured.error_ms << 1
        ],
    )?;
    Ok(())
}

fn remove(tx: &Connection, node: i64, measured: &Measurement) -> Result<(), StoreError> {
    let sql = "DELETE FROM clock_measurement WHERE node = ?1 AND seq = ?2 AND at_ms = ?3";
    tx.execute(sql, params![node, measured.seq, measured.at_ms])?;
    Ok(())
}

/// How the times of a batch are corrected.
#[derive(Clone, Debug)]
pub(super) struct Correction {
    /// Ascending; the first begins at or before the batch.
    spans: Vec<Span>,
}

impl Correction {
    /// For times that a person has stated.
    pub(super) fn none() -> Self {
        let spans = vec![Span::unknown(0)];
        Self { spans }
    }

    /// For the entries of the attached book after one position up to another.
    pub(super) fn of(
        tx: &Connection,
        node: i64,
        (after, until): (i64, i64),
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let measured = measurements(tx, node)?;
        let mut spans = Vec::new();
        for (from, stretch) in Stretch::all(&measured, (after, until), now_ms) {
            let to = stretch.after.map_or(i64::MAX, |it| it.seq);
            let here = (from.max(after), to.min(until));
            if is_plain(tx, &stretch, here)? {
                spans.push(stretch.plain(from + 1));
            } else {
                let entries = entries(tx, (from, to))?;
                spans.extend(stretch.spans(from + 1, &entries));
            }
        }
        // What lies before the batch only says where its first span begins.
        let begun = spans.partition_point(|span| span.first_seq <= after + 1);
        let mut spans = spans.split_off(begun.saturating_sub(1));
        spans.retain(|span| span.first_seq <= until);
        Ok(Self { spans })
    }

    fn span(&self, seq: i64) -> Span {
        let found = self.spans.iter().rev().find(|span| span.first_seq <= seq);
        found.copied().unwrap_or(Span::unknown(0))
    }

    /// Whether the till's clock is known where the entry was made.
    pub(super) fn is_measured(&self, seq: i64) -> bool {
        self.span(seq).error_ms.is_some()
    }

    /// The corrected time of an entry, milliseconds since the Unix epoch.
    pub(super) fn correct(&self, seq: i64, at_ms: i64) -> i64 {
        self.span(seq).correct(at_ms)
    }

    /// The corrected time as SQL, of a row at `seq` that is dated `at_ms`. `data` says where that time comes from
    /// the data of another system, which no clock of a till has made wrong.
    pub(super) fn sql(&self, seq: &str, at_ms: &str, data: Option<&str>) -> String {
        let one = |span: &Span| {
            let plain = match span.offset_ms {
                0 => at_ms.to_owned(),
                offset => format!("({at_ms} - ({offset}))"),
            };
            match span.between_ms {
                Some((earliest, latest)) => format!("max({earliest}, min({latest}, {plain}))"),
                None => plain,
            }
        };
        let corrected = self.by_span(seq, one);
        match data {
            Some(data) if corrected != at_ms => {
                format!("CASE WHEN {data} THEN {at_ms} ELSE {corrected} END")
            }
            _ => corrected,
        }
    }

    /// How far that may be off, as SQL; empty where nobody knows.
    pub(super) fn error_sql(&self, seq: &str, data: Option<&str>) -> String {
        let one = |span: &Span| {
            span.error_ms
                .map_or("NULL".to_owned(), |error| error.to_string())
        };
        let error = self.by_span(seq, one);
        data.map_or(error.clone(), |data| {
            format!("CASE WHEN {data} THEN NULL ELSE {error} END")
        })
    }

    fn by_span(&self, seq: &str, one: impl Fn(&Span) -> String) -> String {
        match &self.spans[..] {
            [] => one(&Span::unknown(0)),
            [only] => one(only),
            [first, rest @ ..] => {
                let later = rest.iter().rev();
                let later = later
                    .map(|span| format!(" WHEN {seq} >= {} THEN {}", span.first_seq, one(span)));
                format!("CASE{} ELSE {} END", later.collect::<String>(), one(first))
            }
        }
    }
}

/// The time by the till's clock of the journal's row `j`, as SQL; empty for what comes from other data.
fn clock_time() -> String {
    let mut cases = String::from(
        "WHEN j.topic IN (1, 2) THEN CASE WHEN j.external_ref IS NULL THEN j.at_ms END",
    );
    for plain in &PLAIN {
        let own = match plain.topic {
            Topic::StockMovement => " AND d.external_ref IS NULL",
            _ => "",
        };
        cases += &format!(
            " WHEN j.topic = {} THEN (SELECT d.at_ms FROM book.{} AS d WHERE d.seq = j.seq{own})",
            plain.topic.code(),
            plain.table
        );
    }
    format!("CASE {cases} WHEN json_valid(j.payload) THEN j.payload ->> 'at_ms' END")
}

/// Whether one offset explains every entry of the batch in a stretch.
fn is_plain(
    tx: &Connection,
    stretch: &Stretch,
    (after, until): (i64, i64),
) -> Result<bool, StoreError> {
    let Some(offset) = stretch.offset_ms() else {
        return Ok(stretch.before.is_none() && stretch.after.is_none());
    };
    let (earliest, latest) = stretch.bounds_ms();
    let [earliest, latest] = [earliest, latest].map(|at_ms| at_ms.saturating_add(offset));
    let sql = format!(
        "SELECT NOT EXISTS (SELECT 1 FROM (SELECT {} AS at_ms FROM book.journal AS j
             WHERE j.seq > ?1 AND j.seq <= ?2)
         WHERE typeof(at_ms) = 'integer' AND at_ms NOT BETWEEN ?3 AND ?4)",
        clock_time()
    );
    Ok(tx.query_value(&sql, params![after, until, earliest, latest])?)
}

fn entries(tx: &Connection, (after, until): (i64, i64)) -> Result<Vec<Dated>, StoreError> {
    let sql = format!(
        "SELECT seq, at_ms FROM (SELECT j.seq, {} AS at_ms FROM book.journal AS j
             WHERE j.seq > ?1 AND j.seq <= ?2)
         WHERE typeof(at_ms) = 'integer' ORDER BY seq LIMIT ?3",
        clock_time()
    );
    let rows = params![after, until, CLOCK_ENTRIES_MAX];
    Ok(tx.query_map(&sql, rows, |row| {
        let (seq, at_ms) = (row.get(0)?, row.get(1)?);
        Ok(Dated { seq, at_ms })
    })?)
}
