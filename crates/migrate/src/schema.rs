//! An ordered set of migrations, checked for the rules of the folder.

use std::fmt;
use std::path::Path;

use refinery_core::{Migration, Runner};

/// Version and name of a migration file: `V2__outbox.sql` is version 2, name `outbox`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MigrationName {
    /// Counts from 1 without gaps.
    pub version: i32,
    /// What the migration brings.
    pub name: String,
}

impl MigrationName {
    pub(crate) fn of(migration: &Migration) -> Self {
        Self {
            version: migration.version(),
            name: migration.name().to_owned(),
        }
    }
}

impl fmt::Display for MigrationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "V{}__{}", self.version, self.name)
    }
}

/// Why a set of migrations cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The folder could not be read, or a name is not `V<number>__<name>`.
    #[error("cannot read the migrations")]
    Read {
        /// What refinery said.
        #[source]
        source: refinery_core::Error,
    },
    /// A number is missing or used twice. refinery would apply one of the two, or none.
    #[error("migration {found} stands where number {expected} is due")]
    Numbering {
        /// The file.
        found: MigrationName,
        /// The number without a gap.
        expected: i32,
    },
    /// Undo or unversioned migrations are not used here.
    #[error("migration {name} does not start with `V`")]
    Unversioned {
        /// The file.
        name: MigrationName,
    },
    /// SQLite stops reading a script at a NUL byte, silently.
    #[error("migration {name} contains a NUL byte")]
    Nul {
        /// The file.
        name: MigrationName,
    },
}

/// An ordered set of migrations: versions 1, 2, 3 … without a gap.
#[derive(Clone, Debug)]
pub struct Schema {
    migrations: Vec<Migration>,
}

impl Schema {
    /// Builds a set from pairs of file stem (`V1__init`) and SQL text.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when a name or the numbering is wrong.
    pub fn new<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SchemaError> {
        let migrations = files
            .into_iter()
            .map(|(name, sql)| Migration::unapplied(name, sql))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| SchemaError::Read { source })?;
        Self::from_migrations(migrations)
    }

    /// Reads a folder of `V<number>__<name>.sql` files.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when the folder cannot be read, or a name or the numbering is wrong.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, SchemaError> {
        let migrations = refinery_core::load_sql_migrations(folder)
            .map_err(|source| SchemaError::Read { source })?;
        Self::from_migrations(migrations)
    }

    pub(crate) fn from_migrations(mut migrations: Vec<Migration>) -> Result<Self, SchemaError> {
        migrations.sort();
        for (migration, expected) in migrations.iter().zip(1_i32..) {
            let name = MigrationName::of(migration);
            if migration.prefix().to_string() != "V" {
                return Err(SchemaError::Unversioned { name });
            }
            if migration.version() != expected {
                return Err(SchemaError::Numbering {
                    found: name,
                    expected,
                });
            }
            if migration.sql().is_some_and(|sql| sql.contains('\0')) {
                return Err(SchemaError::Nul { name });
            }
        }
        Ok(Self { migrations })
    }

    /// The same set without the migrations after `version`, as an older program knew it.
    #[must_use]
    pub fn up_to(mut self, version: i32) -> Self {
        self.migrations.retain(|known| known.version() <= version);
        self
    }

    /// The newest version; 0 when the set is empty.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.migrations.last().map_or(0, Migration::version)
    }

    /// Version and name of each migration, ascending.
    #[must_use]
    pub fn names(&self) -> Vec<MigrationName> {
        self.migrations.iter().map(MigrationName::of).collect()
    }

    pub(crate) fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// Grouped: every pending migration in one transaction, so a failed run changes nothing.
    pub(crate) fn runner(&self) -> Runner {
        Runner::new(&self.migrations)
            .set_grouped(true)
            .set_abort_divergent(true)
            .set_abort_missing(true)
    }
}
