//! The hub's databases: the only SQL on the hub side. One module for each question asked.
//!
//! [`Store`] owns the one connection that writes `hub.db` and the one that writes `catalog.db`;
//! [`Reader`] sees what is committed and never makes a writer wait.

mod activation;
mod alerts;
mod aliases;
mod audit;
mod callers;
mod catalog;
mod clock;
mod closures;
mod conflicts;
mod consolidation;
mod contact;
mod databases;
mod decisions;
mod edits;
mod employees;
mod entry;
mod fields;
mod gate;
mod hub_edits;
mod imports;
mod known;
mod lineage;
mod losers;
mod movement;
mod nodes;
mod outbox;
mod parked;
#[cfg(test)]
mod plans;
mod policies;
mod prices;
mod proof;
mod publication;
mod quarantine;
mod reading;
mod reentry;
mod refunded;
mod rehearsal;
mod relayed;
mod reports;
mod revocations;
mod rules;
mod runs;
mod shops;
mod stamps;
mod status;
mod stock;
mod tokens;
mod undecided;
mod undo;
mod users;
mod watch;

pub(crate) use activation::{Activation, Admitted, Refusal, Right};
pub(crate) use alerts::NewAlert;
pub(crate) use callers::{Account, KnownToken, NewMachine};
pub(crate) use conflicts::ConflictFilter;
pub(crate) use consolidation::{Found, NodeBook, Step};
pub(crate) use contact::{AuthedNode, Contact, Credential};
pub(crate) use databases::{Database, DatabaseAddOutcome};
pub(crate) use decisions::{DecideError, DecisionMade, What};
pub(crate) use employees::EmployeeEventFilter;
pub(crate) use hub_edits::{HubEdit, HubEditError};
pub(crate) use lineage::{Claim, Claimed};
pub(crate) use movement::Moved;
pub(crate) use outbox::{Channel, Delivery};
pub(crate) use policies::{PolicyError, WantedPolicy};
pub(crate) use quarantine::Listed;
pub(crate) use reentry::{Decision, Ruled, Ruling};
pub(crate) use relayed::{Lane, Relayed};
pub(crate) use reports::Grouping;
pub(crate) use revocations::{Applicant, Certified};
pub(crate) use runs::{NewRun, RunFilter};
pub(crate) use shops::{NewCode, ShopAdd, ShopAddOutcome};
pub(crate) use stock::StockFilter;
pub(crate) use tokens::{NextToken, TokenState};
pub(crate) use undecided::RowName;
pub(crate) use undo::{UndoError, UndoOf, UndoOrder, UndoPage};
pub(crate) use users::{NewSession, NewUser, PasswordChange};
pub(crate) use watch::{Changes, ProofMark, Silence, state};

use counterfoil_book::BookError;
use counterfoil_domain::env::{Random, uuid_v7};
use counterfoil_domain::ids::ParseIdError;
use counterfoil_domain::{HubId, NodeId, ShopId};
use counterfoil_migrate::{
    ApplyError, Connection, Durability, Kind, OpenError, Row, SqlError, StatusError,
    open_and_migrate, open_and_migrate_to, params,
};
use counterfoil_protocol::gate::Schemas;
use std::path::Path;

/// Why a question to the databases has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("the hub's database refused a statement")]
    Sql(#[from] SqlError),
    /// A database cannot be opened.
    #[error("the hub's database cannot be opened")]
    Open(#[from] OpenError),
    /// The schema of a database cannot be told.
    #[error("the schema of the hub's database cannot be told")]
    Schema(#[from] StatusError),
    /// A database cannot be brought to this program's schema.
    #[error("the hub's database cannot be migrated")]
    Migrate(#[from] ApplyError),
    /// A stored JSON text is damaged.
    #[error("a stored {what} is not valid JSON")]
    Json {
        /// What was read.
        what: &'static str,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Something is gone that nothing removes.
    #[error("a {what} is gone")]
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// A file beside the databases cannot be handled.
    #[error("cannot prepare {what}")]
    File {
        /// Which file.
        what: &'static str,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

impl From<BookError> for StoreError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Sql(error) => Self::Sql(error),
            BookError::Json(source) => Self::Json {
                what: "document",
                source,
            },
        }
    }
}

/// The writing connections.
pub(crate) struct Store {
    pub(crate) hub: Connection,
    pub(crate) catalog: Connection,
    pub(crate) shape: catalog::CatalogShape,
    /// What this hub reads and writes.
    schemas: Schemas,
    transactions: u64,
    /// The catalog was lost and is not whole before everything is published again.
    pub(crate) catalog_was_lost: bool,
}

/// Connections that only read.
pub(crate) struct Reader {
    pub(crate) hub: Connection,
    pub(crate) catalog: Connection,
}

impl Store {
    /// Opens both databases. Somebody must hold a pin on the catalog's WAL already.
    pub(crate) fn open(
        hub: &Path,
        catalog: &Path,
        schemas: Schemas,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let hub = open_and_migrate(hub, Kind::Hub, now_ms)?;
        let catalog = Connection::open_existing(catalog, Durability::Full)?;
        let schema = Kind::Catalog.schema().up_to(schemas.catalog);
        schema.apply(&catalog, now_ms)?;
        policies::take_over(&hub, &catalog)?;
        closures::list_again(&hub)?;
        quarantine::judge_again(&hub, schemas.catalog)?;
        let shape = catalog::CatalogShape::load(&catalog, &hub)?;
        let mut store = Self {
            hub,
            catalog,
            shape,
            schemas,
            transactions: 0,
            catalog_was_lost: false,
        };
        store.catalog_was_lost = store.republish_when_lost()?;
        Ok(store)
    }

    /// The hub's own id, minted at the first start.
    pub(crate) fn hub_id(&self, now_ms: i64, random: &dyn Random) -> Result<HubId, StoreError> {
        let minted = uuid_v7(now_ms, random).hyphenated().to_string();
        self.hub.execute(
            "INSERT OR IGNORE INTO meta VALUES ('hub_id', ?1)",
            params![minted],
        )?;
        let sql = "SELECT value FROM meta WHERE key = 'hub_id'";
        Ok(self
            .hub
            .query_row(sql, (), |row| row.get_with(0, |text: String| text.parse()))?)
    }

    /// Remembers the URL that join codes carry, for commands that run without the hub.
    pub(crate) fn remember_url(&self, url: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta VALUES ('public_url', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value
                   WHERE value <> excluded.value";
        self.hub.execute(sql, params![url])?;
        Ok(())
    }

    /// The URL remembered last.
    pub(crate) fn remembered_url(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM meta WHERE key = 'public_url'";
        Ok(self.hub.query_optional(sql, (), |row| row.get(0))?)
    }

    /// Counts a write transaction of the consolidator; folds the WAL of `hub.db` now and then. A
    /// reader in the way is no error: the next time will do.
    pub(crate) fn count_transaction(&mut self) -> Result<(), StoreError> {
        self.transactions += 1;
        if self.transactions >= crate::limits::CHECKPOINT_TRANSACTIONS {
            self.transactions = 0;
            self.hub.checkpoint_truncate()?;
        }
        Ok(())
    }
}

impl Reader {
    /// Opens both databases, which must exist.
    pub(crate) fn open(hub: &Path, catalog: &Path) -> Result<Self, StoreError> {
        let hub = Connection::open_read_only(hub)?;
        let catalog = Connection::open_read_only(catalog)?;
        Ok(Self { hub, catalog })
    }
}

/// Makes a `catalog.db` that holds the schema in its main file, complete or not at all.
pub(crate) fn create_catalog(
    path: &Path,
    files: &dyn counterfoil_replica::env::Files,
    schema: i32,
    now_ms: i64,
) -> Result<(), StoreError> {
    let file_error = |source| StoreError::File {
        what: "catalog.db",
        source,
    };
    if files.exists(path).map_err(file_error)? {
        return Ok(());
    }
    let new = migrated_catalog(path, files, schema, now_ms)?;
    files.rename_durable(&new, path).map_err(file_error)
}

/// The content of a catalog with nothing in it.
pub(crate) fn fresh_catalog(
    path: &Path,
    files: &dyn counterfoil_replica::env::Files,
    schema: i32,
    now_ms: i64,
) -> Result<Vec<u8>, StoreError> {
    let new = migrated_catalog(path, files, schema, now_ms)?;
    let file_error = |source| StoreError::File {
        what: "catalog.db",
        source,
    };
    let content = files.read(&new).map_err(file_error)?;
    files.remove_if_exists(&new).map_err(file_error)?;
    Ok(content.unwrap_or_default())
}

fn migrated_catalog(
    path: &Path,
    files: &dyn counterfoil_replica::env::Files,
    schema: i32,
    now_ms: i64,
) -> Result<std::path::PathBuf, StoreError> {
    let file_error = |source| StoreError::File {
        what: "catalog.db",
        source,
    };
    let new = path.with_extension("new");
    for leftover in ["new", "new-wal", "new-shm"] {
        files
            .remove_if_exists(&path.with_extension(leftover))
            .map_err(file_error)?;
    }
    let catalog = open_and_migrate_to(&new, Kind::Catalog, schema, now_ms)?;
    prices::state(&catalog)?;
    // Closing would fold the WAL too, and keep silent when it cannot.
    let folded = catalog.checkpoint_truncate()?;
    catalog.close();
    if folded.busy {
        return Err(file_error(std::io::ErrorKind::ResourceBusy.into()));
    }
    Ok(new)
}

fn shop_id(row: &Row<'_>, index: usize) -> Result<ShopId, SqlError> {
    row.get_with(index, |bytes: Vec<u8>| ShopId::from_slice(&bytes))
}

fn shop_id_optional(row: &Row<'_>, index: usize) -> Result<Option<ShopId>, SqlError> {
    row.get_with(index, |bytes: Option<Vec<u8>>| -> Result<_, ParseIdError> {
        bytes.map(|bytes| ShopId::from_slice(&bytes)).transpose()
    })
}

fn node_id(row: &Row<'_>, index: usize) -> Result<NodeId, SqlError> {
    row.get_with(index, |bytes: Vec<u8>| NodeId::from_slice(&bytes))
}

fn node_id_optional(row: &Row<'_>, index: usize) -> Result<Option<NodeId>, SqlError> {
    row.get_with(index, |bytes: Option<Vec<u8>>| -> Result<_, ParseIdError> {
        bytes.map(|bytes| NodeId::from_slice(&bytes)).transpose()
    })
}
