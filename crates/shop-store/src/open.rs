//! Opening a node's databases, and what the writer keeps in memory between two sales.

use crate::activation::Binding;
use crate::error::{OpenStoreError, StoreError};
use crate::lane_edits::Settlement;
use crate::overlay::{self, CatalogState, Unmerged};
use crate::tables::{self, Table};
use counterfoil_domain::env::{Random, uuid_v7};
use counterfoil_domain::lineage::Former;
use counterfoil_domain::stock::SeenLane;
use counterfoil_domain::{Chain, Currency, Hlc, HlcClock, NodeId};
use counterfoil_migrate::{
    Connection, Durability, Kind, open_and_migrate, open_and_migrate_to, params, schema_version,
};
use counterfoil_protocol::gate::Schemas;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the databases of a node lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `book.db`: written by this node, pushed to the hub.
    pub book: PathBuf,
    /// `catalog.db`: written by the hub, pulled.
    pub catalog: PathBuf,
    /// `local.db`: of this node alone.
    pub local: PathBuf,
}

impl Paths {
    /// The databases of a data directory.
    pub fn of(data: &Path) -> Self {
        Self {
            book: data.join("book.db"),
            catalog: data.join("catalog.db"),
            local: data.join("local.db"),
        }
    }
}

/// The end of the journal: what the next entry follows.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) seq: i64,
    pub(crate) chain: Chain,
    pub(crate) clock: HlcClock,
    /// Last number given, by series.
    pub(crate) numbers: BTreeMap<String, i64>,
    /// What the counts of this lane have said of the others; read when the first is made.
    pub(crate) said: Option<BTreeMap<NodeId, SeenLane>>,
}

/// The three databases of one node behind their one writer.
pub struct ShopStore {
    pub(crate) conn: Connection,
    pub(crate) paths: Paths,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) node: NodeId,
    /// The identities this book gave up, oldest first.
    pub(crate) formers: Vec<Former>,
    pub(crate) currency: Currency,
    pub(crate) epoch: i64,
    /// Tells the series of this folder from that of its copies, until the hub gives an epoch.
    pub(crate) series_tag: Option<String>,
    pub(crate) binding: Option<Binding>,
    pub(crate) head: Head,
    pub(crate) tables: BTreeMap<String, Table>,
    /// The schema of the catalog that `tables` describes.
    pub(crate) described: i64,
    /// Whether there is any dated price to look for.
    pub(crate) has_dated_prices: Cell<bool>,
    /// Codes of products of which anything about escrow is known; some may have ended.
    pub(crate) escrowed: RefCell<BTreeSet<String>>,
    /// Own edits that the catalog does not have yet.
    pub(crate) unmerged: Unmerged,
    /// The catalog over which the pending rows were last made, and what it said of who wrote it.
    pub(crate) replayed: Option<CatalogState>,
    pub(crate) settlement: Settlement,
    /// Products that went below zero and nobody was told of yet.
    pub(crate) oversold: BTreeSet<String>,
    /// Journals of other lanes that were found damaged here.
    pub(crate) damaged: BTreeSet<NodeId>,
    /// Says which lanes are connected now, with nothing outstanding.
    pub(crate) connected: Box<dyn Fn() -> BTreeSet<NodeId> + Send>,
    /// Says which lanes are connected now.
    pub(crate) reachable: Box<dyn Fn() -> BTreeSet<NodeId> + Send>,
}

impl ShopStore {
    /// Opens the databases, making them if they are not there, and migrates them. The catalog is
    /// migrated only until it comes from a hub; from then on the hub's schema is its schema.
    ///
    /// The caller holds the data directory's lock, and a replica handle on the book and the
    /// catalog, without which closing this store would fold their WALs away.
    ///
    /// # Errors
    /// [`OpenStoreError`]; a database newer than this program is refused untouched.
    pub fn open(
        paths: &Paths,
        now_ms: i64,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenStoreError> {
        let schemas = Schemas {
            book: Kind::Book.schema_version(),
            catalog: Kind::Catalog.schema_version(),
        };
        Self::open_as(paths, schemas, now_ms, random)
    }

    /// As [`Self::open`], by a program that knows these schemas only.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(
        paths: &Paths,
        schemas: Schemas,
        now_ms: i64,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenStoreError> {
        Self::open_named(paths, schemas, (now_ms, None), random)
    }

    /// The same, with the id that a new node is to have; one that is there keeps its own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_named(
        paths: &Paths,
        schemas: Schemas,
        (now_ms, given): (i64, Option<NodeId>),
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenStoreError> {
        let conn = open_and_migrate_to(&paths.book, Kind::Book, schemas.book, now_ms)?;
        open_and_migrate(&paths.local, Kind::Local, now_ms)?.close();
        let catalog = Connection::open(&paths.catalog, Durability::Full)?;
        if schema_version(&catalog)?.is_none() {
            let schema = Kind::Catalog.schema().up_to(schemas.catalog);
            schema.apply(&catalog, now_ms)?;
        }
        catalog.close();
        let node = node_identity(&conn, (now_ms, given), random.as_ref())?;
        let mut store = Self {
            conn,
            paths: paths.clone(),
            random,
            node,
            formers: Vec::new(),
            currency: Currency::GBP,
            epoch: 1,
            series_tag: None,
            binding: None,
            head: Head {
                seq: 0,
                chain: Chain::START,
                clock: HlcClock::default(),
                numbers: BTreeMap::new(),
                said: None,
            },
            tables: BTreeMap::new(),
            described: 0,
            has_dated_prices: Cell::new(false),
            escrowed: RefCell::default(),
            unmerged: Unmerged::default(),
            replayed: None,
            settlement: Settlement::default(),
            oversold: BTreeSet::new(),
            damaged: BTreeSet::new(),
            connected: Box::new(BTreeSet::new),
            reachable: Box::new(BTreeSet::new),
        };
        store.conn.attach(&store.paths.local, "local")?;
        // Pending edits are replayed as what they were made under.
        store.reload_identity()?;
        store.attach_catalog()?;
        store.reload()?;
        store.make_up_for_losses(now_ms)?;
        store.reload_escrowed()?;
        store.keep_identity();
        Ok(store)
    }

    /// Reads what the journal ends with, after opening and after a failed transaction.
    pub(crate) fn reload(&mut self) -> Result<(), StoreError> {
        let last = self.conn.query_optional(
            "SELECT seq, hlc, chain FROM journal ORDER BY seq DESC LIMIT 1",
            (),
            |row| {
                Ok((
                    row.get::<i64>(0)?,
                    row.get::<i64>(1)?,
                    row.get::<[u8; 32]>(2)?,
                ))
            },
        )?;
        let catalog_hlc: i64 = self
            .conn
            .query_value("SELECT hlc FROM catalog.catalog_state", ())?;
        let (seq, hlc, chain) = last.unwrap_or((0, 0, [0; 32]));
        let mut clock = HlcClock::restored(Hlc::from_raw(hlc));
        clock.observe(Hlc::from_raw(catalog_hlc));
        let chain = Chain::from_slice(&chain).ok_or(StoreError::Corrupt {
            what: "the journal's chain",
        })?;
        let numbers = self.conn.query_map(
            "SELECT series, max(number) FROM receipt GROUP BY series",
            (),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        self.head = Head {
            seq,
            chain,
            clock,
            numbers: numbers.into_iter().collect(),
            said: None,
        };
        if let Some(currency) = self.meta("currency")? {
            self.currency = currency.parse()?;
        }
        self.reload_identity()
    }

    /// Attaches the catalog and lays the overlay of pending edits over it.
    pub(crate) fn attach_catalog(&mut self) -> Result<(), StoreError> {
        self.conn.attach(&self.paths.catalog, "catalog")?;
        self.described = self.catalog_schema()?;
        self.tables = tables::describe(&self.conn)?;
        overlay::lay(&self.conn, &self.tables)?;
        match self.catalog_changed() {
            // What is pending stays as it was: a till whose disk is full still opens and delivers.
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "the disk is full: pending edits are shown as they were");
                self.settlement = self.settlement()?;
                Ok(())
            }
            replayed => replayed,
        }
    }

    /// Lets go of the catalog so that its file can be swapped; [`Self::attach_catalog`] follows.
    pub(crate) fn detach_catalog(&mut self) -> Result<(), StoreError> {
        overlay::lift(&self.conn, &self.tables)?;
        self.conn.detach("catalog")?;
        Ok(())
    }

    /// The node's own id, minted at its first start, and anew when a backup or a clone of the
    /// folder made two of it.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The shop this node belongs to; `None` in trial.
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// The randomness of this node.
    pub fn random(&self) -> &dyn Random {
        self.random.as_ref()
    }

    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM main.meta WHERE key = ?1";
        Ok(self.conn.query_optional(sql, [key], |row| row.get(0))?)
    }
}

/// Whose book a file is; nothing is changed there. `None` for one that has not been written yet.
///
/// # Errors
/// [`OpenStoreError`] for what is no book.
pub fn node_of(book: &Path) -> Result<Option<NodeId>, OpenStoreError> {
    let conn = Connection::open_read_only(book)?;
    stored_node(&conn)
}

fn stored_node(conn: &Connection) -> Result<Option<NodeId>, OpenStoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'node_id'";
    let found = conn.query_optional(sql, (), |row| row.get::<String>(0))?;
    let corrupt = |_| StoreError::Corrupt {
        what: "the node's id",
    };
    Ok(found
        .map(|text| text.parse().map_err(corrupt))
        .transpose()?)
}

/// Reads the node's id, or takes the given one, or mints it.
fn node_identity(
    conn: &Connection,
    (now_ms, given): (i64, Option<NodeId>),
    random: &dyn Random,
) -> Result<NodeId, OpenStoreError> {
    if let Some(node) = stored_node(conn)? {
        return Ok(node);
    }
    let node = given.unwrap_or_else(|| NodeId::from_uuid(uuid_v7(now_ms, random)));
    let insert = "INSERT INTO meta (key, value) VALUES ('node_id', ?1)";
    conn.execute(insert, params![node.to_string()])?;
    Ok(node)
}
