//! How a document enters the book: its rows and its journal entry in one transaction, with the
//! number, the logical time and the chain value that follow the one before.

use crate::error::StoreError;
use crate::open::{Head, ShopStore};
use counterfoil_domain::env::document_id;
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::stock::Seen;
use counterfoil_domain::{Document, DocumentId, Hlc, ImportId, Topic};
use counterfoil_protocol::wire::node::Recorded;

/// A document on its way into the book.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Minted by the caller so that a retry is recognized; minted here when absent.
    pub id: Option<DocumentId>,
    /// What to record. Series, number and trial mark of a receipt are set here.
    pub document: Document,
    /// Wall time in milliseconds since the Unix epoch; drives the logical clock.
    pub now_ms: i64,
}

impl ShopStore {
    /// Records one document. When this returns, the commit is durable.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a document that breaks a rule, [`StoreError::IdTaken`] when its id
    /// names something else, [`StoreError::Sql`] from the engine. Nothing was recorded then.
    pub fn record(&mut self, entry: Entry) -> Result<Recorded, StoreError> {
        let recorded = self.record_all(vec![entry])?;
        recorded.into_iter().next().ok_or(StoreError::Corrupt {
            what: "an empty batch",
        })
    }

    /// Records several documents in one transaction: all or none.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_all(&mut self, entries: Vec<Entry>) -> Result<Vec<Recorded>, StoreError> {
        self.write(|store| {
            let now_ms = entries.iter().map(|entry| entry.now_ms).max();
            let recorded: Result<Vec<_>, _> = entries
                .into_iter()
                .map(|entry| store.append(entry))
                .collect();
            let recorded = recorded?;
            if let Some(now_ms) = now_ms {
                store.tell_unguarded(now_ms)?;
            }
            Ok(recorded)
        })
    }

    /// What a document would be recorded as; nothing is. For tests of the tests.
    ///
    /// # Errors
    /// As [`Self::record`].
    #[cfg(feature = "planted-bugs")]
    pub fn foretell(&mut self, entry: Entry) -> Result<Recorded, StoreError> {
        let mut foretold = None;
        let undone = self.write(|writer| -> Result<(), StoreError> {
            foretold = Some(writer.append(entry)?);
            Err(StoreError::Corrupt {
                what: "a transaction that only looks ahead",
            })
        });
        match (foretold, undone) {
            (Some(recorded), _) => Ok(recorded),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Corrupt {
                what: "a transaction that did nothing",
            }),
        }
    }

    /// Runs a write in one transaction; what it left in memory is taken back with it.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut head = self.head.clone();
        let done = self.conn.transaction(|_| {
            work(&mut Writer {
                store: self,
                head: &mut head,
                import: None,
            })
        });
        match done {
            Ok(value) => {
                self.head = head;
                Ok(value)
            }
            Err(error) => {
                // An uncertain commit may have happened: the file knows.
                self.reload()?;
                Err(error)
            }
        }
    }
}

/// The book inside a write transaction.
pub(crate) struct Writer<'s> {
    pub(crate) store: &'s ShopStore,
    pub(crate) head: &'s mut Head,
    /// The import that makes the entries.
    pub(crate) import: Option<ImportId>,
}

impl Writer<'_> {
    /// Does something that may be refused: then nothing of it was done, and the transaction goes on.
    ///
    /// # Errors
    /// What is no refusal: the whole transaction ends.
    pub(crate) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Result<T, StoreError>, StoreError> {
        let (store, head) = (self.store, self.head.clone());
        match store.conn.savepoint(|| work(self)) {
            Err(error) if error.is_refusal() => {
                *self.head = head;
                Ok(Err(error))
            }
            Err(error) => Err(error),
            Ok(done) => Ok(Ok(done)),
        }
    }

    /// Appends a document; a known id changes nothing and returns what was recorded then.
    pub(crate) fn append(&mut self, entry: Entry) -> Result<Recorded, StoreError> {
        let Entry {
            id,
            mut document,
            now_ms,
        } = entry;
        let store = self.store;
        let trial = store.binding.is_none();
        if let Some(known) = store.known(id, document.topic())? {
            return Ok(known);
        }
        store.check_own_id(id, &document)?;
        self.by_right(&document, now_ms)?;
        if let Document::Sale(receipt) | Document::Refund(receipt) = &mut document {
            receipt.trial = trial;
            receipt.series = store.series();
            let last = self.head.numbers.entry(receipt.series.clone()).or_insert(0);
            *last += 1;
            receipt.number = *last;
        }
        let hlc = self.head.clock.tick(now_ms);
        if let Document::StockCount(count) = &mut document {
            count.seen = self.seen(&count.sku, hlc)?;
        }
        document.check()?;
        if let Document::CatalogEdit(edit) = &document {
            store.check_lock_out(edit)?;
        }
        let canonical = document.canonical();
        // Texts that are stored as JSON do not show it to the engine.
        if holds_nul(&canonical) {
            return Err(StoreError::NulCharacter);
        }
        let entry = EntryHead {
            seq: self.head.seq + 1,
            id: id.unwrap_or_else(|| document_id(now_ms, store.random.as_ref())),
            hlc,
            topic: document.topic(),
        };
        let chain = self.head.chain.next(&entry, &canonical);
        counterfoil_book::insert(&store.conn, &entry, &document, (&chain, self.import))?;
        if let Document::CatalogEdit(edit) = &document {
            if edit.table == "prices" {
                // From now on sales look for one; they find none if this is taken back.
                store.has_dated_prices.set(true);
            }
            store.keep_pending(edit, entry.seq)?;
        }
        self.head.seq = entry.seq;
        self.head.chain = chain;
        Ok(recorded(&entry, &document, trial))
    }
}

impl Writer<'_> {
    /// What a count says of the other lanes, which the counts behind it need not say again.
    fn seen(&mut self, sku: &str, hlc: Hlc) -> Result<Option<Seen>, StoreError> {
        if !self.store.counts_say_what_was_seen()? {
            return Ok(None);
        }
        let mut said = match self.head.said.take() {
            Some(said) => said,
            None => self.store.said()?,
        };
        let seen = self.store.seen((sku, hlc), &said)?;
        said.extend(
            seen.iter()
                .flat_map(|seen| &seen.lanes)
                .map(|lane| (lane.node, *lane)),
        );
        self.head.said = Some(said);
        Ok(seen)
    }
}

/// Whether a text in the JSON holds a NUL character, which stands there as `\u0000`.
fn holds_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at + 1..).unwrap_or_default();
        if escape.starts_with(b"u0000") {
            return true;
        }
        // What follows the backslash may be one itself.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

fn recorded(entry: &EntryHead, document: &Document, trial: bool) -> Recorded {
    let receipt = match document {
        Document::Sale(receipt) | Document::Refund(receipt) => Some(receipt),
        _ => None,
    };
    Recorded {
        id: entry.id,
        topic: entry.topic.name().to_owned(),
        seq: entry.seq,
        series: receipt.map(|receipt| receipt.series.clone()),
        number: receipt.map(|receipt| receipt.number),
        total_minor: receipt.map(|receipt| receipt.total_minor),
        trial,
        repeated: false,
        single_copy: false,
    }
}

impl ShopStore {
    /// What was recorded under the id of a request that may have been made before.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`] when the id names a document of another kind.
    pub fn known(
        &self,
        id: Option<DocumentId>,
        topic: Topic,
    ) -> Result<Option<Recorded>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        match self.recorded(id)? {
            Some(known) if known.topic != topic.name() => Err(StoreError::IdTaken {
                id: id.to_string(),
                topic: known.topic,
            }),
            known => Ok(known),
        }
    }

    /// What was recorded under an id.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn recorded(&self, id: DocumentId) -> Result<Option<Recorded>, StoreError> {
        let found = self.conn.query_optional(
            "SELECT seq, topic, series, number, total_minor, \
             coalesce(trial, seq < coalesce((SELECT min(seq) FROM activation), 1 << 62)) \
             FROM journal WHERE id = ?1",
            [id.to_bytes()],
            |row| {
                Ok(Recorded {
                    id,
                    topic: Topic::from_code(row.get(1)?)
                        .map_or("unknown", Topic::name)
                        .to_owned(),
                    seq: row.get(0)?,
                    series: row.get(2)?,
                    number: row.get(3)?,
                    total_minor: row.get(4)?,
                    trial: row.get(5)?,
                    repeated: true,
                    single_copy: false,
                })
            },
        )?;
        Ok(found)
    }
}
