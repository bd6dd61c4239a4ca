//! What can go wrong in the store, by what the caller would do about it.

use crate::employees::PinFault;
use crate::escrow::EscrowFault;
use crate::refunds::OverRefund;
use counterfoil_book::BookError;
use counterfoil_domain::DocumentId;
use counterfoil_domain::closure::Day;
use counterfoil_domain::document::InvalidDocument;
use counterfoil_domain::employee::{InvalidEmployee, Permission};
use counterfoil_domain::ids::ParseIdError;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::money::MoneyError;
use counterfoil_migrate::{ApplyError, OpenError, SqlError, StatusError};

/// The databases of a node cannot be opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// A file cannot be opened by the engine rules.
    #[error("cannot open the databases of this node")]
    Open(#[from] OpenError),
    /// A database cannot be brought to the schema of this program.
    #[error("cannot bring the databases of this node up to date")]
    Migrate(#[from] ApplyError),
    /// The schema of a database cannot be read.
    #[error("cannot read the schema of a database")]
    Schema(#[from] StatusError),
    /// What the databases hold cannot be read.
    #[error("cannot read the state of this node")]
    State(#[from] StoreError),
}

impl From<SqlError> for OpenStoreError {
    fn from(error: SqlError) -> Self {
        Self::State(error.into())
    }
}

/// A call of the store failed; the databases are as they were before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused.
    #[error("the database refused")]
    Sql(#[source] SqlError),
    /// Another lane's entry does not follow what is held of its journal: two books went on under one name.
    #[error(
        "entry {seq} of lane {origin} does not follow what is held: two books go on under that name"
    )]
    Forked {
        /// Whose journal.
        origin: counterfoil_domain::NodeId,
        /// Position of the entry.
        seq: i64,
    },
    /// Another lane's entries came with a gap before them.
    #[error("entries of lane {origin} before {seq} are missing")]
    Gap {
        /// Whose journal.
        origin: counterfoil_domain::NodeId,
        /// Position of the entry that came.
        seq: i64,
    },
    /// A text that cannot be stored.
    #[error("a text holds a NUL character (U+0000), which cannot be stored")]
    NulCharacter,
    /// The schema of the book cannot be told.
    #[error("the schema of the book cannot be told")]
    Schema(#[from] StatusError),
    /// The document breaks a rule of its own.
    #[error("the document is not valid")]
    Invalid(#[from] InvalidDocument),
    /// A number cannot be read or computed.
    #[error("a number is not valid")]
    Number(#[from] MoneyError),
    /// The id is known, for a document of another kind.
    #[error("id {id} is taken by a {topic} already")]
    IdTaken {
        /// The id.
        id: String,
        /// What it names.
        topic: String,
    },
    /// No product of that code or barcode.
    #[error("there is no product {0}")]
    UnknownProduct(String),
    /// The product has no price.
    #[error("product {0} has no price")]
    NoPrice(String),
    /// No catalog table of that name.
    #[error("there is no catalog table {name}; there are {known}")]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// The tables there are.
        known: String,
    },
    /// No column of that name that a shop may set.
    #[error("{table} has no column {column}; there are {known}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// What was asked for.
        column: String,
        /// The columns there are.
        known: String,
    },
    /// A value of the wrong type.
    #[error("{table}.{column} holds {expected}, not `{value}`")]
    ColumnType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What it holds.
        expected: &'static str,
        /// What was given.
        value: String,
    },
    /// A PIN or a permission that no employee has.
    #[error("the employee cannot be changed like that")]
    Employee(#[from] InvalidEmployee),
    /// A PIN opened nothing.
    #[error("{}", told(employee, *fault))]
    Pin {
        /// Whose it was said to be.
        employee: String,
        /// Why.
        fault: PinFault,
    },
    /// The PIN was changed while it was checked.
    #[error("the PIN was changed in this moment")]
    PinChanged,
    /// The catalog has no place for PINs: its hub is older than this till.
    #[error("the catalog of this shop has no PINs yet: its hub is older than this till")]
    PinsUnknown,
    /// Nobody is signed in, and the shop asks for PINs.
    #[error("nobody is signed in, or the session has ended")]
    SignInRequired,
    /// Whoever is signed in may not do that.
    #[error("employee {employee} may not do that: it needs the permission {permission}")]
    NotPermitted {
        /// Who.
        employee: String,
        /// What is missing.
        permission: Permission,
    },
    /// The approval was used, is too old, or is for something else.
    #[error("there is no approval of {0} that still holds")]
    ApprovalEnded(Permission),
    /// A document names somebody else than who is signed in.
    #[error("employee {signed_in} is signed in, and the document names {named}")]
    AnotherEmployee {
        /// Who is signed in.
        signed_in: String,
        /// Who is named.
        named: String,
    },
    /// PINs would be asked for, and nobody could switch that off.
    #[error(
        "no active employee has a PIN and the permission manage: nobody could change this again"
    )]
    NobodyManages,
    /// The shop asks for PINs, nobody has one, and that is for those who manage.
    #[error(
        "the shop asks for PINs and no active employee has one: this till sells, and nothing else is changed at it"
    )]
    NobodyHasPin,
    /// No such catalog row.
    #[error("{table} has no row {row}")]
    UnknownRow {
        /// The table.
        table: String,
        /// The row.
        row: String,
    },
    /// No conflict of that number in which this shop has a part.
    #[error("this shop has no part in a conflict {0}")]
    UnknownConflict(i64),
    /// The conflict is settled, or the value is there already.
    #[error("conflict {id} is settled already ({state}): {present}")]
    ConflictSettled {
        /// Its number.
        id: i64,
        /// How.
        state: &'static str,
        /// What is there.
        present: String,
    },
    /// Something else is current than what the person saw.
    #[error("something newer is there: {present}")]
    ConflictChanged {
        /// What is there.
        present: String,
        /// The version that is current.
        seen: Stamp,
    },
    /// Nothing of that type changes here.
    #[error("there are no changes of type {name}; there are {known}")]
    UnknownType {
        /// What was asked for.
        name: String,
        /// The types there are.
        known: String,
    },
    /// Not a cursor of this node, or one for other types.
    #[error("the cursor is not one that this till gave out for these types")]
    CursorMalformed,
    /// What the cursor counted on is not there any more.
    #[error("the till or its hub was restored since the cursor was given out")]
    CursorGone,
    /// Rows of this table are not merged.
    #[error("rows of {0} are not merged; customers and products are")]
    NotMergeable(String),
    /// One stands for the other already.
    #[error("{into} stands for {row} or the other way round already")]
    MergedAlready {
        /// The row that was to be merged.
        row: String,
        /// Into which one.
        into: String,
    },
    /// More would be taken back than the sale had.
    #[error("{} of {} sold, {} would be taken back by all refunds of sale {}", .0.sold, .0.sku, .0.refunded, .0.sale)]
    RefundedAlready(OverRefund),
    /// A product under escrow, or its rights.
    #[error(transparent)]
    Escrow(Box<EscrowFault>),
    /// No such parked sale has come here.
    #[error("no parked sale {0} is known at this lane")]
    UnknownParked(DocumentId),
    /// It was finished or discarded, as far as is known here, or nobody can tell.
    #[error("parked sale {id} {how}")]
    ParkedSettled {
        /// The parked sale.
        id: DocumentId,
        /// By which lane, with which receipt, or why nobody can tell.
        how: String,
    },
    /// An imported invoice is dated after tomorrow.
    #[error("invoice {0} is dated more than a day ahead of this till's clock")]
    FutureInvoice(String),
    /// The business day has not begun.
    #[error("business day {day} has not begun; today is {today}")]
    DayAhead {
        /// What was to be closed.
        day: Day,
        /// The business day of this moment.
        today: Day,
    },
    /// A later day was closed before.
    #[error("business day {closed} is closed already, {day} cannot be closed behind it")]
    DayPassed {
        /// What was to be closed.
        day: Day,
        /// The day closed last.
        closed: Day,
    },
    /// The till was activated or got another identity since its key was read: read it again.
    #[error("the key to seal the day with is not this till's any more")]
    SealOfAnother,
    /// The node belongs to another shop.
    #[error("this till belongs to shop {0} already")]
    AlreadyActivated(String),
    /// A stored value cannot be read; the file was changed by something else.
    #[error("a stored value of {what} cannot be read")]
    Corrupt {
        /// Where it stands.
        what: &'static str,
    },
}

/// Why a PIN opened nothing, in words.
fn told(employee: &str, fault: PinFault) -> String {
    // Of a wait that has begun the last second counts.
    let seconds = |wait_ms: i64| wait_ms.saturating_add(999).div_euclid(1_000);
    match fault {
        PinFault::Locked { wait_ms } => format!(
            "too many wrong PINs: the next one is looked at in {} s",
            seconds(wait_ms)
        ),
        PinFault::Wrong { wait_ms: 0 } => "the employee or the PIN is wrong".to_owned(),
        PinFault::Wrong { wait_ms } => format!(
            "the employee or the PIN is wrong; the next one is looked at in {} s",
            seconds(wait_ms)
        ),
        PinFault::NotPermitted(permission) => {
            format!(
                "employee {employee} may not approve that: it needs the permission {permission}"
            )
        }
    }
}

impl StoreError {
    /// Whether it is the caller's mistake, and nothing is wrong with the databases.
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Sql(_) | Self::Corrupt { .. })
    }

    /// Whether the disk has no room left.
    pub fn is_full(&self) -> bool {
        /// `SQLITE_FULL`; I/O errors of a full disk arrive as this too.
        const SQLITE_FULL: i32 = 13;
        matches!(self, Self::Sql(error) if error.code().is_some_and(|code| code & 0xFF == SQLITE_FULL))
    }
}

/// What a row says; nothing when it cannot be read: then it is damaged.
pub(crate) fn readable<T>(read: Result<T, SqlError>) -> Result<Option<T>, SqlError> {
    match read {
        Err(SqlError::Column { .. } | SqlError::Decode { .. }) => Ok(None),
        read => read.map(Some),
    }
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        match error {
            // Nothing that is stored holds one: it came with the request.
            SqlError::ParameterNul { .. } => Self::NulCharacter,
            error => Self::Sql(error),
        }
    }
}

impl From<BookError> for StoreError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Sql(error) => error.into(),
            BookError::Json(error) => error.into(),
        }
    }
}

impl From<ParseIdError> for StoreError {
    fn from(_: ParseIdError) -> Self {
        Self::Corrupt { what: "an id" }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(_: serde_json::Error) -> Self {
        Self::Corrupt {
            what: "a JSON document",
        }
    }
}
