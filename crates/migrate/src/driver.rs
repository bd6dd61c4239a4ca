//! refinery's driver for libSQL, on the synchronous traits.
//!
//! refinery asks for the history, verifies it once more, and hands over the statements of the whole
//! run; this runs them in one transaction with the checks of design 12.

use std::borrow::Cow;

use refinery_core::Migration;
use refinery_core::traits::sync::{Migrate, Query, Transaction};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::Connection;
use crate::halt;
use crate::runner::ApplyError;
use crate::schema::MigrationName;
use crate::status::{foreign_key_violations, read_history};

pub(crate) struct Driver<'c> {
    pub(crate) conn: &'c Connection,
    /// In the order refinery will run them.
    pub(crate) pending: Vec<MigrationName>,
    /// RFC 3339; takes the place of refinery's own look at the clock.
    pub(crate) applied_on: String,
    /// Why `execute` or `query` failed; refinery would wrap it beyond recognition.
    pub(crate) failure: Option<ApplyError>,
}

/// Tells refinery to stop; the reason is in [`Driver::failure`].
#[derive(Debug, thiserror::Error)]
#[error("the migration run stopped")]
pub(crate) struct Stopped;

impl Driver<'_> {
    fn run_all(&self, queries: &[&str]) -> Result<(), ApplyError> {
        self.conn.transaction(|tx| -> Result<(), ApplyError> {
            for (index, query) in queries.iter().enumerate() {
                let migration = || self.migration_at(index);
                // refinery wrote its own look at the clock into the row; correcting the row afterwards
                // would leave traces of it in the page.
                let query = self.stamped(index, query)?;
                tx.execute_batch("SAVEPOINT migration")?;
                halt::run_script(tx, &query).map_err(|source| ApplyError::Statement {
                    migration: migration(),
                    source,
                })?;
                // The savepoint is gone if the script ended the transaction, even if it began
                // another one. What it committed stays, so tests apply every embedded migration.
                if tx.is_autocommit() || tx.execute_batch("RELEASE migration").is_err() {
                    let migration = migration();
                    return Err(ApplyError::EndedTransaction { migration });
                }
            }
            let violations = foreign_key_violations(tx)?;
            if violations.is_empty() {
                return Ok(());
            }
            Err(ApplyError::ForeignKeys { violations })
        })
    }

    /// refinery hands over pairs: the migration, then its row in the history.
    fn migration_at(&self, index: usize) -> String {
        let name = self.pending.get(index >> 1);
        name.map_or_else(|| "the schema history".to_owned(), ToString::to_string)
    }

    /// A row of the history with the injected time; a migration as it is.
    fn stamped<'q>(&self, index: usize, query: &'q str) -> Result<Cow<'q, str>, ApplyError> {
        if index & 1 == 0 {
            return Ok(Cow::Borrowed(query));
        }
        // `.., applied_on, checksum) VALUES (version, 'name', 'applied_on', 'checksum')`
        let mut parts: Vec<&str> = query.split('\'').collect();
        match (parts.len(), parts.get_mut(3)) {
            (7, Some(applied_on)) => *applied_on = &self.applied_on,
            _ => {
                let version = self.pending.get(index >> 1).map_or(0, |name| name.version);
                return Err(ApplyError::HistoryRow { version });
            }
        }
        Ok(Cow::Owned(parts.join("'")))
    }

    fn stop(&mut self, failure: ApplyError) -> Stopped {
        self.failure = Some(failure);
        Stopped
    }
}

impl Transaction for Driver<'_> {
    type Error = Stopped;

    fn execute<'a, T: Iterator<Item = &'a str>>(&mut self, queries: T) -> Result<usize, Stopped> {
        let queries: Vec<&str> = queries.collect();
        match self.run_all(&queries) {
            Ok(()) => {
                // Committed, and nobody knows.
                halt::pass(self.conn);
                Ok(queries.len())
            }
            Err(failure) => Err(self.stop(failure)),
        }
    }
}

impl Query<Vec<Migration>> for Driver<'_> {
    fn query(&mut self, _query: &str) -> Result<Vec<Migration>, Stopped> {
        let history = match read_history(self.conn) {
            Ok(history) => history,
            Err(source) => return Err(self.stop(ApplyError::from(source))),
        };
        let mut migrations = Vec::with_capacity(history.len());
        for row in history {
            let applied_on = OffsetDateTime::parse(&row.applied_on, &Rfc3339);
            let (Ok(applied_on), Ok(checksum)) = (applied_on, row.checksum.parse::<u64>()) else {
                let version = row.version;
                return Err(self.stop(ApplyError::HistoryRow { version }));
            };
            migrations.push(Migration::applied(
                row.version,
                row.name,
                applied_on,
                checksum,
            ));
        }
        Ok(migrations)
    }
}

impl Migrate for Driver<'_> {}
