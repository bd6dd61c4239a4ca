//! The one door to a database file: opens libSQL databases by the engine rules and migrates them.
//!
//! Every connection of every program is opened here, so that none forgets a rule that protects
//! acknowledged sales (design 12), and every schema change goes through [`apply`], which is locked,
//! all or nothing, and refuses a database that is newer than the program.
//!
//! It does not know what the tables mean, and it does not replicate. Read [`Connection`] first,
//! then [`Schema`].

pub mod cli;
mod driver;
mod engine;
pub mod halt;
mod kind;
mod runner;
mod schema;
mod status;

pub use engine::{
    BUSY_TIMEOUT, Checkpoint, CommitOutcome, Connection, Durability, FromSql, FromSqlError,
    OpenError, Retry, Row, SqlError, Transaction,
};
pub use kind::{Kind, ParseKindError};
pub use libsql::params::IntoParams;
pub use libsql::{Value, named_params, params, params_from_iter};
pub use runner::{
    ApplyError, Report, apply, check, open_and_migrate, open_and_migrate_to, schema_version, status,
};
pub use schema::{MigrationName, Schema, SchemaError};
pub use status::{
    AppliedMigration, Divergence, Problem, ProblemCode, State, Status, StatusError, Violation,
};
