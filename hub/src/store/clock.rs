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
    if known.iter().any(|it| it.seq > measured.seq) {
        // A till that was restored from a backup and does not know so yet, or a request that came late: it says
        // nothing of the entries that are known, and between them it would contradict what was measured then.
        return Ok(());
    }
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

    /// For the entries of the attached book after one position up to another; `tables` stands before the names of
    /// its tables.
    pub(super) fn of(
        tx: &Connection,
        (node, tables): (i64, &str),
        (after, until): (i64, i64),
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let measured = measurements(tx, node)?;
        let mut spans = Vec::new();
        for (from, stretch) in Stretch::all(&measured, (after, until), now_ms) {
            let to = stretch.after.map_or(i64::MAX, |it| it.seq);
            let here = (from.max(after), to.min(until));
            if is_plain(tx, tables, &stretch, here)? {
                spans.push(stretch.plain(from + 1));
            } else {
                let entries = entries(tx, tables, (from, to))?;
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

    /// Whether anything is known of the till's clock where the entry was made.
    pub(super) fn is_measured(&self, seq: i64) -> bool {
        self.span(seq).is_measured
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
fn clock_time(tables: &str) -> String {
    let mut cases = String::from(
        "WHEN j.topic IN (1, 2) THEN CASE WHEN j.external_ref IS NULL THEN j.at_ms END",
    );
    for plain in &PLAIN {
        let own = match plain.topic {
            Topic::StockMovement => " AND d.external_ref IS NULL",
            _ => "",
        };
        cases += &format!(
            " WHEN j.topic = {} THEN (SELECT d.at_ms FROM {tables}{} AS d WHERE d.seq = j.seq{own})",
            plain.topic.code(),
            plain.table
        );
    }
    format!("CASE {cases} WHEN json_valid(j.payload) THEN j.payload ->> 'at_ms' END")
}

/// Whether one offset explains every entry of the batch in a stretch.
fn is_plain(
    tx: &Connection,
    tables: &str,
    stretch: &Stretch,
    (after, until): (i64, i64),
) -> Result<bool, StoreError> {
    let Some(offset) = stretch.offset_ms() else {
        return Ok(stretch.before.is_none() && stretch.after.is_none());
    };
    let (earliest, latest) = stretch.bounds_ms();
    let [earliest, latest] = [earliest, latest].map(|at_ms| at_ms.saturating_add(offset));
    let sql = format!(
        "SELECT NOT EXISTS (SELECT 1 FROM (SELECT {} AS at_ms FROM {tables}journal AS j
             WHERE j.seq > ?1 AND j.seq <= ?2)
         WHERE typeof(at_ms) = 'integer' AND at_ms NOT BETWEEN ?3 AND ?4)",
        clock_time(tables)
    );
    Ok(tx.query_value(&sql, params![after, until, earliest, latest])?)
}

fn entries(
    tx: &Connection,
    tables: &str,
    (after, until): (i64, i64),
) -> Result<Vec<Dated>, StoreError> {
    let sql = format!(
        "SELECT seq, at_ms FROM (SELECT j.seq, {} AS at_ms FROM {tables}journal AS j
             WHERE j.seq > ?1 AND j.seq <= ?2)
         WHERE typeof(at_ms) = 'integer' ORDER BY seq LIMIT ?3",
        clock_time(tables)
    );
    let rows = params![after, until, CLOCK_ENTRIES_MAX];
    Ok(tx.query_map(&sql, rows, |row| {
        let (seq, at_ms) = (row.get(0)?, row.get(1)?);
        Ok(Dated { seq, at_ms })
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_migrate::{Durability, Kind, open_and_migrate};
    use counterfoil_testkit::TempDir;

    const NOW: i64 = 1_795_000_000_000;
    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 8_766 * HOUR;

    fn hub_with_a_till(dir: &TempDir) -> Connection {
        let hub = open_and_migrate(dir.join("hub.db"), Kind::Hub, NOW).unwrap();
        hub.execute_batch(
            "INSERT INTO shop (id, name, created_ms) VALUES (x'01', 'Leith', 0);
             INSERT INTO node (number, id, shop, lane, token_hash, created_ms)
             VALUES (1, x'02', x'01', 1, x'03', 0)",
        )
        .unwrap();
        hub
    }

    /// Entries at true times, an hour apart; the clock is a year ahead until it is set behind the third.
    const TIMES: [i64; 4] = [NOW - 4 * HOUR, NOW - 3 * HOUR, NOW - 2 * HOUR, NOW - HOUR];

    fn measured(seq: i64, at_ms: i64, offset_ms: i64) -> Measurement {
        Measurement {
            seq,
            at_ms,
            offset_ms,
            error_ms: 0,
        }
    }

    /// Whatever a table or a column was called in an older book.
    #[test]
    fn the_clock_is_read_as_the_lenses_show_the_book() {
        let dir = TempDir::new("clock-lens");
        let path = dir.join("book.db");
        let book = Connection::open(&path, Durability::Full).unwrap();
        let tables = "CREATE TABLE entry (number INTEGER, topic INTEGER, made_ms INTEGER);
                      CREATE TABLE spending (number INTEGER, made_ms INTEGER)";
        book.execute_batch(tables).unwrap();
        let raw = [TIMES[0] + YEAR, TIMES[1] + YEAR, TIMES[2] + YEAR, TIMES[3]];
        for (seq, at_ms) in (1_i64..).zip(raw) {
            // The second is an expense, whose time stands in a table of its own.
            let (topic, own) = if seq == 2 {
                (Topic::Expense.code(), None)
            } else {
                (Topic::Sale.code(), Some(at_ms))
            };
            let entry = "INSERT INTO entry VALUES (?1, ?2, ?3)";
            book.execute(entry, params![seq, topic, own]).unwrap();
            if own.is_none() {
                let spending = "INSERT INTO spending VALUES (?1, ?2)";
                book.execute(spending, params![seq, at_ms]).unwrap();
            }
        }
        drop(book);
        let hub = hub_with_a_till(&dir);
        let contacts = [
            measured(0, NOW - 5 * HOUR, YEAR),
            measured(2, TIMES[1] + 1, YEAR),
            measured(4, NOW, 0),
        ];
        for contact in &contacts {
            keep(&hub, 1, contact).unwrap();
        }
        hub.attach(&path, "book").unwrap();
        for plain in PLAIN.iter().filter(|plain| plain.table != "journal") {
            let rows = match plain.topic {
                Topic::Expense => "number AS seq, made_ms AS at_ms FROM book.spending",
                _ => "NULL AS seq, NULL AS at_ms, NULL AS external_ref",
            };
            let view = format!(
                "CREATE TEMP VIEW as_newest_{} AS SELECT {rows}",
                plain.table
            );
            hub.execute(&view, ()).unwrap();
        }
        hub.execute(
            "CREATE TEMP VIEW as_newest_journal AS SELECT number AS seq, topic, made_ms AS at_ms,
             NULL AS external_ref, NULL AS payload FROM book.entry",
            (),
        )
        .unwrap();
        let of = (1, "temp.as_newest_");
        let clock = Correction::of(&hub, of, (0, 4), NOW).unwrap();
        let found: Vec<_> = (1_i64..)
            .zip(raw)
            .map(|(seq, at_ms)| clock.correct(seq, at_ms))
            .collect();
        assert_eq!(found, TIMES);
    }

    /// Its book is shorter, and it says so under the old name before it learns of that.
    #[test]
    fn a_restored_till_says_nothing_of_entries_that_are_known() {
        let dir = TempDir::new("clock-restored");
        let hub = hub_with_a_till(&dir);
        let (first, second) = (measured(0, NOW, YEAR), measured(200, NOW + HOUR, YEAR));
        for contact in [first, second, measured(150, NOW + 2 * HOUR, YEAR)] {
            keep(&hub, 1, &contact).unwrap();
        }
        assert_eq!(measurements(&hub, 1).unwrap(), [first, second]);
        let later = measured(200, NOW + 3 * HOUR, YEAR);
        keep(&hub, 1, &later).unwrap();
        assert_eq!(measurements(&hub, 1).unwrap(), [first, second, later]);
    }
}
