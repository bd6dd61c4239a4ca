//! Standard output is data, standard error is talk.

use crate::cli::Failure;
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write as _};

/// Prints text; a reader that went away is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(&error)),
        _ => Ok(()),
    }
}

/// Prints one JSON document, or the text for people.
pub(crate) fn show<T: Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if json {
        let document = serde_json::to_string_pretty(value);
        return print(&document.map_err(|error| Failure::failed(&error))?);
    }
    print(&text(value))
}

/// Says something on standard error that is not a failure.
pub(crate) fn note(text: &str) {
    // There is nobody to tell when standard error is closed.
    let _unheard = writeln!(io::stderr(), "{text}");
}

/// A table without frames, for people.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// Minor units as people write them.
pub(crate) fn money(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02}", minor.div_euclid(100), minor % 100)
}

/// Milliseconds since the Unix epoch as people write them, UTC.
pub(crate) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// The daemon logs what it does; a command logs what is worth a warning. Text on a terminal, JSON
/// lines elsewhere. `COUNTERFOIL_LOG` overrides, in the syntax of `RUST_LOG`.
pub(crate) fn init_log(daemon: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if daemon { "info" } else { "warn" };
    let filter = EnvFilter::builder()
        .with_env_var("COUNTERFOIL_LOG")
        .try_from_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let is_terminal = io::stderr().is_terminal();
    // Only a second call could fail, and there is none.
    let _first = if is_terminal || !daemon {
        builder.with_ansi(is_terminal).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    };
}
