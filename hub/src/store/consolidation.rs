//! How far is a node's journal consolidated, and what comes next?
//!
//! The book is attached as `book` and only read. One batch is one transaction on `hub.db` together
//! with its watermark, so every entry is moved exactly once, whatever is interrupted or repeated.

mod batch;
mod check;

use self::batch::{advance, reach};
use self::check::{Broken, check, gapless, waiting};
use super::alerts::NewAlert;
use super::clock::Correction;
use super::movement::{self, Batch, Moved};
use super::reading::AS_IS;
use super::{Store, StoreError, alerts, edits, lineage, relayed, rules, shop_id};
use crate::limits::CONSOLIDATE_ENTRIES_MAX;
use counterfoil_domain::{NodeId, Priority, RuleSet, ShopId};
use counterfoil_migrate::{SqlError, params};
use std::error::Error as _;
use std::path::PathBuf;

/// A node's book that the caller holds.
#[derive(Clone, Debug)]
pub(crate) struct NodeBook {
    pub(crate) node: NodeId,
    /// `None` when its till has sent nothing.
    pub(crate) path: Option<PathBuf>,
    pub(crate) now_ms: i64,
    /// How far a record may be dated ahead of now, in milliseconds.
    pub(crate) ahead_ms: i64,
}

/// What waits in a book.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) priorities: Vec<Priority>,
    /// Where the book ended then.
    pub(crate) newest: i64,
}

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Entries were moved or put aside.
    Moved {
        moved: Moved,
        /// The newest entry that was looked at.
        until: i64,
        /// Whether there are entries behind it.
        more: bool,
    },
    /// There is nothing to do.
    Idle,
    /// The book contradicts what is consolidated; nothing was moved.
    Halted,
}

/// The node as the hub's tables know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeKey {
    pub(super) number: i64,
    pub(super) id: NodeId,
    pub(super) shop: ShopId,
    /// Whether it was another node before.
    pub(super) forked: bool,
    /// Whether there are other nodes of its lineage.
    pub(super) kin: bool,
    /// What stands before the names of its book's tables, while that is attached.
    pub(super) tables: &'static str,
    /// All its entries with their places in the chain, while its book is attached.
    pub(super) journal: &'static str,
    /// Entries behind this one were brought by others and are laid out for reading.
    pub(super) sent_until: i64,
    /// The last of those; 0 when there are none.
    pub(super) brought_until: i64,
}

/// The alert of a book that cannot be consolidated any further.
const DIVERGED: &str = "diverged";

/// Priorities as conditions on the journal: what this hub does not know goes last, and so does what is
/// no number.
pub(super) const fn condition(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "priority <= 0",
        Priority::High => "priority = 1",
        Priority::Normal => "priority = 2",
        Priority::Low => "priority >= 3 IS NOT FALSE",
    }
}

impl Store {
    /// Which priorities of a node have entries that wait, most urgent first.
    pub(crate) fn survey(&mut self, book: &NodeBook) -> Result<Found, StoreError> {
        self.with_book(book, |store, node| {
            if node.forked {
                store
                    .hub
                    .transaction(|tx| lineage::begin(tx, node, book.now_ms))?;
            }
            if book.path.is_some() {
                relayed::tend(&store.hub, node, book.now_ms)?;
            }
            match store.hub.snapshot(|hub| waiting(hub, node))? {
                Ok(found) => {
                    if found.priorities.is_empty() {
                        store.resume(node, book.now_ms)?;
                    }
                    Ok(found)
                }
                Err(Broken(reason)) => {
                    store.halt(node, &reason, book.now_ms)?;
                    Ok(Found::default())
                }
            }
        })
        .map(Option::unwrap_or_default)
    }

    /// Moves the next batch of one priority.
    pub(crate) fn consolidate(
        &mut self,
        book: &NodeBook,
        priority: Priority,
    ) -> Result<Step, StoreError> {
        let step = self.with_book(book, |store, node| {
            let mut size = CONSOLIDATE_ENTRIES_MAX;
            loop {
                match store.batch(node, priority, size, book) {
                    // Some record cannot be stored: halve until it stands alone, then put it aside.
                    Err(StoreError::Sql(error)) if is_about_a_record(&error) && size > 0 => {
                        tracing::warn!(node = %node.id, size, error = &error as &dyn std::error::Error,
                            "a record cannot be consolidated");
                        size >>= 1;
                    }
                    Ok(done @ Step::Moved { more: false, .. }) => {
                        store.resume_when_done(node, book.now_ms)?;
                        return Ok(done);
                    }
                    done => return done,
                }
            }
        });
        self.count_transaction()?;
        step.map(|step| step.unwrap_or(Step::Idle))
    }

    /// Attaches the book meanwhile; `None` when the node is unknown.
    pub(super) fn with_book<T>(
        &mut self,
        book: &NodeBook,
        work: impl FnOnce(&mut Self, &NodeKey) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let node = self.key_of(book.node)?;
        let Some(mut node) = node else {
            return Ok(None);
        };
        let attached = match &book.path {
            Some(path) => self.hub.attach(path, "book"),
            None => self.attach_nothing(),
        };
        if let Err(error) = attached {
            tracing::warn!(node = %node.id, error = &error as &dyn std::error::Error, "attach");
            self.halt(&node, "the book is no readable database", book.now_ms)?;
            return Ok(None);
        }
        let done = self.begun().and_then(|begun| {
            // Between a node's first question and its first push there is nothing to judge.
            if !begun {
                return Ok(None);
            }
            match self.begin_reading()? {
                Ok(tables) => {
                    node.tables = tables;
                    relayed::begin_reading(&self.hub, &mut node)?;
                    if book.path.is_none() && relayed::is_refilled(&self.hub, &node)? {
                        return Ok(None);
                    }
                    self.note_reading(&node, book.now_ms)?;
                    work(self, &node).map(Some)
                }
                Err(waits) => {
                    self.note_waiting(&node, &waits, book.now_ms)?;
                    Ok(None)
                }
            }
        });
        self.end_reading()?;
        self.hub.detach("book")?;
        match done {
            Err(StoreError::Sql(error)) if is_about_the_schema(&error) => {
                tracing::warn!(node = %node.id, error = &error as &dyn std::error::Error, "book");
                self.halt(
                    &node,
                    "the book's tables are of another version",
                    book.now_ms,
                )?;
                Ok(None)
            }
            Err(StoreError::Sql(error)) if error.is_corrupt() => {
                tracing::warn!(node = %node.id, error = &error as &dyn std::error::Error, "book");
                self.halt(&node, "the book is damaged", book.now_ms)?;
                Err(StoreError::Sql(error))
            }
            // Not even to put the record aside was possible.
            Err(StoreError::Sql(error)) if is_about_a_record(&error) => {
                let cause = error
                    .source()
                    .map_or_else(|| error.to_string(), ToString::to_string);
                let reason =
                    format!("an entry of the journal is damaged beyond quarantine: {cause}");
                self.halt(&node, &reason, book.now_ms)?;
                Ok(None)
            }
            done => done,
        }
    }

    /// The node as it is before its book is attached.
    fn key_of(&self, id: NodeId) -> Result<Option<NodeKey>, StoreError> {
        let sql = "SELECT number, shop, forked_from IS NOT NULL,
                          root IS NOT NULL OR EXISTS (SELECT 1 FROM node AS heir WHERE heir.root = node.number)
                   FROM node WHERE id = ?1";
        Ok(self
            .hub
            .query_optional(sql, params![id.to_bytes()], |row| {
                Ok(NodeKey {
                    number: row.get(0)?,
                    id,
                    shop: shop_id(row, 1)?,
                    forked: row.get(2)?,
                    kin: row.get(3)?,
                    tables: AS_IS,
                    journal: relayed::SENT,
                    sent_until: i64::MAX,
                    brought_until: 0,
                })
            })?)
    }

    /// An empty book in the place of one that has not arrived.
    fn attach_nothing(&self) -> Result<(), SqlError> {
        self.hub
            .execute_batch("ATTACH DATABASE ':memory:' AS book")?;
        let laid = counterfoil_book::lay_tables(&self.hub, "book").and_then(|()| {
            let meta = "CREATE TABLE book.meta (key TEXT, value TEXT)";
            self.hub.execute(meta, ()).map(|_| ())
        });
        if laid.is_err() {
            self.hub.detach("book")?;
        }
        laid
    }

    /// Whether anything has arrived in the attached book.
    pub(super) fn begun(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM book.sqlite_schema)";
        Ok(self.hub.query_value(sql, ())?)
    }

    /// `size` 0 puts the first entry aside instead of moving it.
    fn batch(
        &self,
        node: &NodeKey,
        priority: Priority,
        size: i64,
        book: &NodeBook,
    ) -> Result<Step, StoreError> {
        let done = self.hub.transaction(|tx| {
            let position = match check(tx, node)? {
                Ok(position) => position,
                Err(broken) => return Ok(Err(broken)),
            };
            let lane = position.lanes.iter().find(|(lane, _)| *lane == priority);
            let after = lane.map_or(0, |(_, at)| *at);
            if after >= position.newest {
                return Ok(Ok(Step::Idle));
            }
            // What the till has sent stands elsewhere than what others brought.
            let newest = match after < node.sent_until {
                true => position.newest.min(node.sent_until),
                false => position.newest,
            };
            let reach = reach(tx, node, priority, (after, newest), size)?;
            if let Err(broken) = gapless(tx, node, (after, reach.until))? {
                return Ok(Err(broken));
            }
            let range = (reach.first - 1, reach.last);
            let is_laid_out = after >= node.sent_until;
            let source = match is_laid_out {
                true => relayed::lay_out(tx, node, range)?,
                false => node.tables,
            };
            let of = (node.number, source);
            let clock = Correction::of(tx, of, range, book.now_ms)?;
            let batch = Batch {
                clock,
                node: *node,
                priority,
                after: reach.first - 1,
                until: reach.last,
                now_ms: book.now_ms,
                ahead_ms: book.ahead_ms,
                source,
                is_decided: false,
                waived: RuleSet::default(),
            };
            let moved = if size == 0 {
                edits::note_progress(tx, &batch)?;
                let quarantined = rules::put_first_aside(tx, &batch)?;
                Moved {
                    entries: 1,
                    edits: 0,
                    quarantined,
                }
            } else {
                let mut moved = movement::move_batch(tx, &batch)?;
                moved.edits = edits::merge_batch(tx, &self.shape, &batch)?;
                moved
            };
            advance(tx, &batch, reach.until, &position)?;
            if is_laid_out {
                counterfoil_book::take_away(tx)?;
            }
            let more = reach.until < position.newest;
            let until = reach.until;
            Ok::<_, StoreError>(Ok(Step::Moved { moved, until, more }))
        })?;
        done.or_else(|Broken(reason)| {
            self.halt(node, &reason, book.now_ms)?;
            Ok(Step::Halted)
        })
    }

    fn halt(&self, node: &NodeKey, reason: &str, now_ms: i64) -> Result<(), StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE node SET halted = ?2 WHERE number = ?1 AND halted IS NOT ?2";
            if tx.execute(sql, params![node.number, reason])? > 0 {
                tracing::error!(node = %node.id, reason, "consolidation of a node stopped");
                let alert = NewAlert {
                    at_ms: now_ms,
                    kind: DIVERGED,
                    node: Some(node.id),
                    subject: String::new(),
                    detail: reason.to_owned(),
                };
                alerts::raise(tx, &alert)?;
            }
            Ok(())
        })
    }

    fn is_halted(&self, node: &NodeKey) -> Result<bool, StoreError> {
        let halted = "SELECT halted IS NOT NULL FROM node WHERE number = ?1";
        Ok(self.hub.query_value(halted, params![node.number])?)
    }

    fn resume(&self, node: &NodeKey, now_ms: i64) -> Result<(), StoreError> {
        if self.is_halted(node)? {
            self.hub.transaction(|tx| {
                let sql = "UPDATE node SET halted = NULL WHERE number = ?1";
                tx.execute(sql, params![node.number])?;
                alerts::clear(tx, DIVERGED, Some(node.id), now_ms)
            })?;
        }
        Ok(())
    }

    /// Resumes a node of which nothing waits any more: one whose sales go on while a record behind them
    /// holds up the rest stays halted, and is told of once.
    fn resume_when_done(&self, node: &NodeKey, now_ms: i64) -> Result<(), StoreError> {
        if self.is_halted(node)?
            && self
                .hub
                .snapshot(|hub| waiting(hub, node))?
                .is_ok_and(|found| found.priorities.is_empty())
        {
            self.resume(node, now_ms)?;
        }
        Ok(())
    }
}

/// Whether the failure is about what a record holds, not about the database or its schema.
pub(super) fn is_about_a_record(error: &SqlError) -> bool {
    /// SQLite's generic error: a missing column is one, but so is what a single record can cause.
    const SQLITE_ERROR: i32 = 1;
    /// A value that is larger than the engine takes.
    const SQLITE_TOOBIG: i32 = 18;
    /// A value of a type that the column cannot take.
    const SQLITE_MISMATCH: i32 = 20;
    /// The generic errors that a record can cause.
    const BY_A_RECORD: [&str; 3] = [
        "integer overflow",
        "malformed JSON",
        "JSON cannot hold BLOB values",
    ];
    error.is_constraint()
        || matches!(error, SqlError::Column { .. } | SqlError::Decode { .. })
        || match error.primary_code() {
            Some(SQLITE_TOOBIG | SQLITE_MISMATCH) => true,
            Some(SQLITE_ERROR) => {
                let text = error.source().map_or_else(String::new, ToString::to_string);
                BY_A_RECORD.iter().any(|known| text.contains(known))
            }
            _ => false,
        }
}

/// Whether the failure is a book whose tables are not those that this hub reads.
fn is_about_the_schema(error: &SqlError) -> bool {
    const SQLITE_ERROR: i32 = 1;
    let cause = error.source().map_or_else(String::new, ToString::to_string);
    let is_missing = ["no such column", "no such table"]
        .iter()
        .any(|known| cause.contains(known));
    error.primary_code() == Some(SQLITE_ERROR) && is_missing
}
