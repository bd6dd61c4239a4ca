//! The subcommands `status`, `check` and `apply`, for this crate's program and for the daemons'.
//!
//! stdout is data: one JSON document with `--json`, else lines for people. Exit codes are those of
//! every program of the project, see [`Exit`].

mod failure;
mod output;

use std::io::Write;
use std::path::PathBuf;

pub use failure::{Exit, Failure};

use crate::engine::{Connection, OpenError};
use crate::kind::Kind;
use crate::schema::Schema;
use crate::status::{State, Status, StatusError};

/// What to do with a database's schema.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the schema version and the migrations; changes nothing
    Status(Target),
    /// Look for pending migrations, a newer or divergent schema, and damage; changes nothing
    Check(Target),
    /// Apply the pending migrations, all or none
    Apply(ApplyArguments),
}

/// Which database.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Which of the four databases the file is
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// The database file
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArguments {
    /// Which database.
    #[command(flatten)]
    pub target: Target,
    /// Show what would be applied and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs a command and writes its data to `out`.
///
/// `applied_at_ms` is the moment of the run in milliseconds since the epoch, for the history.
///
/// # Errors
///
/// [`Failure`] with exit code and hint. A reader that went away (`| head`) is not a failure.
pub fn run(command: &Command, applied_at_ms: i64, out: &mut dyn Write) -> Result<Exit, Failure> {
    match command {
        Command::Status(target) => status(target, out),
        Command::Check(target) => check(target, out),
        Command::Apply(arguments) if arguments.dry_run => plan(&arguments.target, out),
        Command::Apply(arguments) => apply(&arguments.target, applied_at_ms, out),
    }
}

/// `None` when the file is missing: to look at it must not create it.
fn open_to_read(target: &Target) -> Result<Option<Connection>, Failure> {
    match Connection::open_read_only(&target.db) {
        Ok(conn) => Ok(Some(conn)),
        Err(OpenError::Missing { .. }) => Ok(None),
        Err(source) => Err(StatusError::Open { source }.into()),
    }
}

fn read_status(schema: &Schema, conn: Option<&Connection>) -> Result<Status, Failure> {
    match conn {
        Some(conn) => Ok(schema.status(conn)?),
        None => Ok(schema.status_of_missing()),
    }
}

fn status(target: &Target, out: &mut dyn Write) -> Result<Exit, Failure> {
    let conn = open_to_read(target)?;
    let status = read_status(&target.kind.schema(), conn.as_ref())?;
    output::status(target, &status, out)?;
    Ok(Exit::Done)
}

fn check(target: &Target, out: &mut dyn Write) -> Result<Exit, Failure> {
    let schema = target.kind.schema();
    let conn = open_to_read(target)?;
    let status = read_status(&schema, conn.as_ref())?;
    let problems = match &conn {
        Some(conn) => schema.check(conn)?,
        None => status.problem().into_iter().collect(),
    };
    output::check(target, &status, &problems, out)?;
    Ok(if problems.iter().any(|found| found.is_schema_conflict()) {
        Exit::SchemaConflict
    } else if problems.is_empty() {
        Exit::Done
    } else {
        Exit::Problems
    })
}

fn plan(target: &Target, out: &mut dyn Write) -> Result<Exit, Failure> {
    let conn = open_to_read(target)?;
    let status = read_status(&target.kind.schema(), conn.as_ref())?;
    if matches!(status.state, State::Newer | State::Divergent) {
        return Err(crate::runner::refusal(status).into());
    }
    output::plan(target, &status, out)?;
    Ok(Exit::Done)
}

fn apply(target: &Target, applied_at_ms: i64, out: &mut dyn Write) -> Result<Exit, Failure> {
    let schema = target.kind.schema();
    let (conn, report) = schema.open_and_apply(&target.db, applied_at_ms)?;
    // The owner of the database checkpoints it; a checkpoint at close would be a foreign one.
    conn.abandon();
    output::report(target, &report, out)?;
    Ok(Exit::Done)
}
