//! What the commands print. Field names of the JSON documents are stable.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::Target;
use crate::kind::Kind;
use crate::runner::Report;
use crate::schema::MigrationName;
use crate::status::{AppliedMigration, Problem, State, Status};

#[derive(Serialize)]
struct StatusDocument<'a> {
    kind: Kind,
    db: &'a Path,
    exists: bool,
    current: Option<i32>,
    latest: i32,
    pending: &'a [MigrationName],
    applied: &'a [AppliedMigration],
    state: State,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    kind: Kind,
    db: &'a Path,
    exists: bool,
    current: Option<i32>,
    latest: i32,
    state: State,
    problems: &'a [Problem],
}

/// `applied` is what the run did; `pending` is what a dry run would do.
#[derive(Serialize)]
struct ApplyDocument<'a> {
    kind: Kind,
    db: &'a Path,
    dry_run: bool,
    from: Option<i32>,
    to: i32,
    applied: &'a [MigrationName],
    pending: &'a [MigrationName],
}

pub(super) fn status(target: &Target, status: &Status, out: &mut dyn Write) -> io::Result<()> {
    if target.json {
        let document = StatusDocument {
            kind: target.kind,
            db: &target.db,
            exists: status.state != State::Missing,
            current: status.current,
            latest: status.latest,
            pending: &status.pending,
            applied: &status.applied,
            state: status.state,
        };
        return json(&document, out);
    }
    let mut text = heading(target, status);
    for migration in &status.applied {
        let AppliedMigration {
            version,
            name,
            applied_on,
            ..
        } = migration;
        text += &format!("applied  V{version}__{name}  {applied_on}\n");
    }
    text += &lines("pending", &status.pending);
    if let Some(divergence) = &status.divergence {
        text += &format!("differs  {divergence}\n");
    }
    put(&text, out)
}

pub(super) fn check(
    target: &Target,
    status: &Status,
    problems: &[Problem],
    out: &mut dyn Write,
) -> io::Result<()> {
    if target.json {
        let document = CheckDocument {
            kind: target.kind,
            db: &target.db,
            exists: status.state != State::Missing,
            current: status.current,
            latest: status.latest,
            state: status.state,
            problems,
        };
        return json(&document, out);
    }
    let mut text = heading(target, status);
    for problem in problems {
        text += &format!("problem  {}\n", problem.message);
    }
    if problems.is_empty() {
        text += "no problems\n";
    }
    put(&text, out)
}

pub(super) fn plan(target: &Target, status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let document = ApplyDocument {
        kind: target.kind,
        db: &target.db,
        dry_run: true,
        from: status.current,
        to: status.latest,
        applied: &[],
        pending: &status.pending,
    };
    if target.json {
        return json(&document, out);
    }
    let text = heading(target, status) + &lines("would apply", &status.pending);
    put(&text, out)
}

pub(super) fn report(target: &Target, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let document = ApplyDocument {
        kind: target.kind,
        db: &target.db,
        dry_run: false,
        from: report.from,
        to: report.to,
        applied: &report.applied,
        pending: &[],
    };
    if target.json {
        return json(&document, out);
    }
    let text = if report.applied.is_empty() {
        format!("schema is current at {}\n", report.to)
    } else {
        let from = version_text(report.from);
        let summary = format!("schema migrated from {from} to {}\n", report.to);
        lines("applied", &report.applied) + &summary
    };
    put(&text, out)
}

fn heading(target: &Target, status: &Status) -> String {
    let Target { kind, db, .. } = target;
    let Status { state, latest, .. } = status;
    let db = db.display();
    let current = version_text(status.current);
    format!("{kind} {db}: {state}\nschema   {current} of {latest}\n")
}

fn version_text(version: Option<i32>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

fn lines(word: &str, names: &[MigrationName]) -> String {
    names
        .iter()
        .map(|name| format!("{word:<8} {name}\n"))
        .collect()
}

fn json(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    put(&(text + "\n"), out)
}

/// A reader that has seen enough (`| head`) is no error.
fn put(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
