//! Answers as text for people. Data goes to stdout; a reader that went away is no error.

use super::Failure;
use crate::store::Grouping;
use comfy_table::{CellAlignment, Table, presets};
use counterfoil_protocol::wire::hub::{
    CatalogExport, CatalogSetAnswer, HubStatus, NodeRow, SalesGroup, ShopAdded, ShopRow,
};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write as _};

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints an answer: as JSON, or as text made from it.
    pub(super) fn print<T: Serialize>(
        self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            serde_json::to_string_pretty(answer).map_err(|error| Failure::from_chain(&error))?
        } else {
            text(answer)
        };
        write_out(text.as_bytes())
    }
}

/// A text of somebody else as one line that does nothing but be read: without control characters, which a terminal
/// obeys, and without marks that turn the direction of what follows.
pub(super) fn plain(text: &str) -> String {
    const SUBSTITUTE: char = '\u{FFFD}';
    let turns = |c| {
        matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}'
            | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let shown = text.chars().map(|c| {
        if c.is_control() || turns(c) {
            SUBSTITUTE
        } else {
            c
        }
    });
    shown.collect()
}

/// Writes a text and ends its last line.
pub(super) fn write_out(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let end: &[u8] = if text.ends_with(b"\n") || text.is_empty() {
        b""
    } else {
        b"\n"
    };
    let written = out
        .write_all(text)
        .and_then(|()| out.write_all(end))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::from_chain(&error)),
        _ => Ok(()),
    }
}

pub(super) fn table(header: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(header.to_vec());
    let cells = |row: Vec<String>| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>();
    table.add_rows(rows.into_iter().map(cells));
    for index in numbers {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Minor units as a decimal amount. The chain has one currency with two decimals so far.
pub(super) fn money(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let digits = format!("{:03}", minor.unsigned_abs());
    let (major, cents) = digits.split_at(digits.len() - 2);
    format!("{sign}{major}.{cents}")
}

pub(super) fn optional<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

pub(super) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%MZ").to_string(),
        Err(_beyond_the_calendar) => format!("{ms} ms"),
    }
}

pub(super) fn added(added: &ShopAdded) -> String {
    format!(
        "shop       {}\njoin code  {}\nvalid to   {}\n\nOn the till: counterfoil-node activate --data DIR --join CODE",
        added.shop_id,
        added.join_code,
        time(added.expires_ms)
    )
}

pub(super) fn shops(rows: &[ShopRow]) -> String {
    let rows = rows.iter().map(|row| {
        let active = if row.active { "active" } else { "inactive" };
        let phone = optional(row.phone.as_ref());
        let (id, tills) = (row.shop_id.to_string(), row.nodes.to_string());
        vec![row.name.clone(), tills, active.to_owned(), phone, id]
    });
    table(
        &["shop", "tills", "state", "phone", "id"],
        &[1],
        rows.collect(),
    )
}

pub(super) fn nodes(rows: &[NodeRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            format!("{}/{}", row.shop, row.lane),
            row.halted
                .as_ref()
                .or(row.waits.as_ref())
                .map_or_else(|| row.state.clone(), |why| format!("{}: {why}", row.state)),
            row.forked_from_lane
                .map_or_else(|| "-".to_owned(), |lane| format!("{}/{lane}", row.shop)),
            row.seen_ms.map_or_else(|| "-".to_owned(), time),
            row.consolidated_seq.to_string(),
            row.quarantined.to_string(),
            row.catalog_pending.to_string(),
            row.clock_offset_ms
                .map_or_else(|| "-".to_owned(), |offset| format!("{offset} ms")),
            row.token_expires_ms.map_or_else(|| "-".to_owned(), time),
            row.node_id.to_string(),
        ]
    });
    let header = [
        "till",
        "state",
        "was before",
        "seen",
        "consolidated",
        "quarantined",
        "catalog behind",
        "clock",
        "token until",
        "id",
    ];
    table(&header, &[4, 5, 6, 7], rows.collect())
}

pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "(empty)".to_owned(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

pub(super) fn sales(by: Grouping, rows: &[SalesGroup]) -> String {
    let line = |name: &str, rows: &[&SalesGroup]| {
        let sum = |part: fn(&SalesGroup) -> i64| rows.iter().map(|row| part(row)).sum::<i64>();
        vec![
            name.to_owned(),
            sum(|row| row.count).to_string(),
            sum(|row| row.refunds).to_string(),
            sum(|row| row.lines).to_string(),
            money(sum(|row| row.total_minor)),
            sum(|row| row.trial_receipts).to_string(),
            money(sum(|row| row.trial_minor)),
        ]
    };
    let mut lines: Vec<_> = rows.iter().map(|row| line(&row.name, &[row])).collect();
    if rows.len() > 1 {
        lines.push(line("all", &rows.iter().collect::<Vec<_>>()));
    }
    let header = [
        by.name(),
        "sales",
        "refunds",
        "lines",
        "total",
        "in trial",
        "trial total",
    ];
    table(&header, &[1, 2, 3, 4, 5, 6], lines)
}

pub(super) fn status(status: &HubStatus) -> String {
    let rows = status
        .catalog_rows
        .iter()
        .map(|(table, rows)| format!("{table} {rows}"));
    let lines = [
        ("hub", status.hub_id.to_string()),
        ("version", status.version.clone()),
        (
            "running",
            status.url.clone().unwrap_or_else(|| "no".to_owned()),
        ),
        ("shops", status.shops.to_string()),
        ("tills", status.nodes.to_string()),
        ("receipts", status.receipts.to_string()),
        ("other records", status.documents.to_string()),
        ("quarantined", status.quarantined.to_string()),
        (
            "conflicts",
            format!("{}, {} open", status.conflicts, status.conflicts_open),
        ),
        (
            "catalog",
            format!(
                "revision {}: {}",
                status.catalog_revision,
                rows.collect::<Vec<_>>().join(", ")
            ),
        ),
        ("digest", status.catalog_digest.clone()),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        text.push_str(&format!("{name:<14}{value}\n"));
    }
    for alert in &status.alerts {
        let node = alert
            .node_id
            .map_or_else(String::new, |node| format!(" till {node}"));
        let (at, kind, detail) = (time(alert.at_ms), &alert.kind, plain(&alert.detail));
        text.push_str(&format!("alert         {at} {kind}{node}: {detail}\n"));
    }
    text
}

pub(super) fn row(answer: &CatalogSetAnswer) -> String {
    let lines = answer
        .row
        .iter()
        .map(|(name, held)| format!("{name:<22}{}", value(held)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Rows as CSV; empty for nothing, quoted where needed.
pub(super) fn csv(table: &CatalogExport) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fail = |error: csv::Error| Failure::from_chain(&error);
    writer.write_record(&table.columns).map_err(fail)?;
    for row in &table.rows {
        let fields = row.iter().map(|held| match held {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        writer.write_record(fields).map_err(fail)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| Failure::from_chain(&error))?;
    write_out(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_somebody_else_cannot_steer_the_terminal() {
        let evil = "tea\u{1b}[2J\u{9b}31m\r\nproved\u{202e}\u{2066}\u{7f}";
        let shown = plain(evil);
        assert_eq!(
            shown,
            "tea\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}proved\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(plain("Crème brûlée, 茶, שלום"), "Crème brûlée, 茶, שלום");
        assert!(!table(&["a"], &[], vec![vec![evil.to_owned()]]).contains('\u{1b}'));
        for held in [Value::from(evil), serde_json::json!([evil])] {
            assert!(!value(&held).contains(['\u{1b}', '\u{202e}', '\n']));
        }
    }

    #[test]
    fn amounts_and_times_read_as_people_write_them() {
        for (minor, text) in [(0, "0.00"), (-5, "-0.05"), (123_456, "1234.56")] {
            assert_eq!(money(minor), text);
        }
        for (ms, text) in [
            (0, "1970-01-01 00:00Z"),
            (1_709_210_096_000, "2024-02-29 12:34Z"),
            (-1, "1969-12-31 23:59Z"),
        ] {
            assert_eq!(time(ms), text);
        }
    }
}
