//! Parked sales of all lanes whose journals are here: which are open, and what became of the others.
//!
//! `local.parked_entry` lists the entries about each. Those of other lanes are noted as they are kept; the own book is
//! written alone, and looked through as far as it has grown when somebody asks.

use crate::error::{StoreError, readable};
use crate::open::ShopStore;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::parked::{
    Deed, Finishes, Known, ParkedDiscard, ParkedSale, Sold, is_stale, parked_of,
};
use counterfoil_domain::{Document, DocumentId, Hlc, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::parked::{DiscardRequest, ParkRequest, ParkedRow};
use std::collections::BTreeSet;

/// How far the own book is looked through: position and chain value.
const UNTIL_KEY: &str = "parked_until";

/// In the place of a peer's journal: the own book.
const OWN: i64 = 0;

/// Lanes that could not see each other finished the same parked sale. Both were paid, and both stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SoldTwice {
    /// The parked sale.
    pub parked: DocumentId,
    /// The sales.
    pub sold: Vec<Sold>,
}

impl ShopStore {
    /// A cart to be parked as asked for, with the prices of this moment.
    ///
    /// # Errors
    /// As [`Self::draft_receipt`].
    pub fn draft_parked(&self, request: &ParkRequest, now_ms: i64) -> Result<Document, StoreError> {
        let lines = self.draft_lines((&request.lines, &[]), false, now_ms)?;
        Ok(Document::ParkedSale(ParkedSale {
            lane: self.lane()?,
            at_ms: now_ms,
            currency: self.currency,
            total_minor: crate::draft::total(&lines)?,
            customer: self.customer(request.customer.as_deref())?,
            employee: request.employee.clone(),
            note: request.note.clone(),
            lines,
        }))
    }

    /// The end of a parked sale that will not be paid.
    ///
    /// # Errors
    /// [`StoreError::UnknownParked`], [`StoreError::ParkedSettled`].
    pub fn draft_discard(
        &self,
        request: &DiscardRequest,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        self.open_cart(request.parked)?;
        Ok(Document::ParkedDiscard(ParkedDiscard {
            parked: request.parked,
            lane: self.lane()?,
            at_ms: now_ms,
            employee: request.employee.clone(),
        }))
    }

    /// What ends a parked sale needs an id of its own: where the cart is not known yet, nothing else tells that its id is
    /// taken.
    pub(crate) fn check_own_id(
        &self,
        id: Option<DocumentId>,
        document: &Document,
    ) -> Result<(), StoreError> {
        let ended = match document {
            Document::Sale(receipt) => receipt.parked.map(|it| it.id),
            Document::ParkedDiscard(discard) => Some(discard.parked),
            _ => None,
        };
        match ended.filter(|ended| id == Some(*ended)) {
            Some(ended) => Err(StoreError::IdTaken {
                id: ended.to_string(),
                topic: Topic::ParkedSale.name().to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Number of this lane in its shop, or in its trial shop.
    pub(crate) fn lane(&self) -> Result<Option<i64>, StoreError> {
        match &self.binding {
            Some(binding) => Ok(Some(binding.lane)),
            None => Ok(self.trial_shop()?.map(|trial| trial.lane)),
        }
    }

    /// A parked sale that may be finished, as far as is known here.
    ///
    /// # Errors
    /// [`StoreError::UnknownParked`], [`StoreError::ParkedSettled`].
    pub(crate) fn open_cart(&self, id: DocumentId) -> Result<ParkedSale, StoreError> {
        let known = self.about_parked(id)?;
        match (settled(&known), known.cart) {
            (Some(how), _) => Err(StoreError::ParkedSettled { id, how }),
            (None, Some(cart)) => self.as_merged(cart),
            (None, None) => Err(StoreError::UnknownParked(id)),
        }
    }

    /// The cart with the products and the customer that stand for those it was parked with.
    pub(crate) fn as_merged(&self, mut cart: ParkedSale) -> Result<ParkedSale, StoreError> {
        for line in &mut cart.lines {
            line.sku = self.survivor("products", &line.sku)?;
        }
        cart.customer = self.customer(cart.customer.as_deref())?;
        Ok(cart)
    }

    /// Parked sales that are open, behind an id, at most so many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn parked_sales(
        &self,
        after: Option<DocumentId>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<ParkedRow>, StoreError> {
        self.follow_own_book()?;
        let sql = "SELECT parked FROM local.parked_entry WHERE parked > ?1
                   GROUP BY parked HAVING min(kind) = ?2 AND max(kind) = ?2 ORDER BY parked";
        let after = after.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
        let noted = self
            .conn
            .query_map(sql, params![after, Topic::ParkedSale.code()], |row| {
                row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))
            })?;
        let mut rows = Vec::new();
        for id in noted {
            if rows.len() >= limit {
                break;
            }
            let known = self.read_parked(id)?;
            let is_open = known.is_open();
            rows.extend(known.cart.filter(|_| is_open).map(|cart| ParkedRow {
                id,
                at_ms: cart.at_ms,
                lane: cart.lane,
                employee: cart.employee,
                customer: cart.customer,
                note: cart.note,
                total_minor: cart.total_minor,
                stale: is_stale(cart.at_ms, now_ms),
                lines: cart.lines,
            }));
        }
        Ok(rows)
    }

    /// Parked sales that more than one sale has finished, of those that entries of another lane finish.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sold_twice(&self, entries: &[LaneEntry]) -> Result<Vec<SoldTwice>, StoreError> {
        let sales = entries
            .iter()
            .filter(|entry| entry.kind == Topic::Sale.code());
        let finished: BTreeSet<DocumentId> = sales.filter_map(parked_of).collect();
        let mut twice = Vec::new();
        for parked in finished {
            let sold = self.about_parked(parked)?.sold;
            if sold.len() > 1 {
                twice.push(SoldTwice { parked, sold });
            }
        }
        Ok(twice)
    }

    /// What is known of a parked sale here. An entry about it that cannot be read is one more thing that is known: it stops
    /// what asks for this parked sale, and nothing else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn about_parked(&self, id: DocumentId) -> Result<Known, StoreError> {
        self.follow_own_book()?;
        self.read_parked(id)
    }

    fn read_parked(&self, id: DocumentId) -> Result<Known, StoreError> {
        let sql = "SELECT j.id, j.hlc, p.kind, p.seq, j.payload FROM local.parked_entry AS p
                   JOIN main.journal AS j ON j.seq = p.seq WHERE p.parked = ?1 AND p.origin = ?2";
        let own = self
            .conn
            .query_map(sql, params![id.to_bytes(), OWN], |row| {
                readable(own_place(row))
            })?;
        let mut read = Vec::new();
        for place in own {
            read.push(match place {
                Some((id, hlc, place)) => self.own_deed((id, hlc), place)?,
                None => None,
            });
        }
        let sql = "SELECT e.id, e.hlc, e.document FROM local.parked_entry AS p
                   JOIN local.peer_entry AS e ON e.origin = p.origin AND e.seq = p.seq
                   WHERE p.parked = ?1 AND p.origin <> ?2";
        let theirs = self
            .conn
            .query_map(sql, params![id.to_bytes(), OWN], |row| readable(deed(row)))?;
        read.extend(theirs.into_iter().map(Option::flatten));
        let unread = read.iter().any(Option::is_none);
        let known = Known::of(read.into_iter().flatten());
        Ok(Known { unread, ..known })
    }

    /// What the own book holds of a parked sale at a position; `None` when it is damaged.
    fn own_deed(
        &self,
        (id, hlc): (DocumentId, Hlc),
        (kind, seq, payload): (i64, i64, Option<String>),
    ) -> Result<Option<Deed>, StoreError> {
        let Some(topic) = Topic::from_code(kind) else {
            return Ok(None);
        };
        let document = self.own_document(topic, seq, payload.as_deref())?;
        Ok(document.map(|document| Deed { id, hlc, document }))
    }

    /// Notes the entries about parked sales that the own book has since it was looked through, or all of them when it is
    /// another book.
    fn follow_own_book(&self) -> Result<(), StoreError> {
        self.follow_journal(UNTIL_KEY, |after| self.note_own_book(after))
    }

    fn note_own_book(&self, after: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM local.parked_entry WHERE origin = ?1 AND seq > ?2";
        self.conn.execute(sql, params![OWN, after])?;
        let sql = "SELECT seq, topic, id, payload FROM main.journal
                   WHERE seq > ?1 AND payload IS NOT NULL AND topic IN (?2, ?3, ?4) ORDER BY seq";
        let [sale, parked, discard] =
            [Topic::Sale, Topic::ParkedSale, Topic::ParkedDiscard].map(Topic::code);
        let entries = self
            .conn
            .query_map(sql, params![after, sale, parked, discard], |row| {
                readable(own_entry(row))
            })?;
        for (seq, kind, id, payload) in entries.into_iter().flatten() {
            let about = if kind == parked {
                DocumentId::from_slice(&id).ok()
            } else if kind == sale {
                let finishes = serde_json::from_str::<Finishes>(&payload);
                finishes.ok().map(|finishes| finishes.id)
            } else {
                let discard = serde_json::from_str::<ParkedDiscard>(&payload);
                discard.ok().map(|discard| discard.parked)
            };
            // What is damaged is about nothing; the hub puts it aside.
            if let Some(about) = about {
                note(&self.conn, about, (OWN, seq), kind)?;
            }
        }
        Ok(())
    }
}

/// Where the own book has an entry about a parked sale.
type OwnPlace = (DocumentId, Hlc, (i64, i64, Option<String>));

fn own_place(row: &Row<'_>) -> Result<OwnPlace, SqlError> {
    let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
    let place = (row.get(2)?, row.get(3)?, row.get(4)?);
    Ok((id, Hlc::from_raw(row.get(1)?), place))
}

fn own_entry(row: &Row<'_>) -> Result<(i64, i64, Vec<u8>, String), SqlError> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

/// What another lane's entry says of a parked sale; `None` when it is damaged, or of a newer program.
fn deed(row: &Row<'_>) -> Result<Option<Deed>, SqlError> {
    let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
    let (hlc, text) = (Hlc::from_raw(row.get(1)?), row.get::<String>(2)?);
    let document = serde_json::from_str(&text).ok();
    Ok(document.map(|document| Deed { id, hlc, document }))
}

/// What became of it, in words; `None` when nothing has.
fn settled(known: &Known) -> Option<String> {
    let at = |lane: Option<i64>| match lane {
        Some(lane) => format!("at lane {lane}"),
        None => "in trial".to_owned(),
    };
    let sold = known.sold.first().map(|sold| {
        let Sold { series, number, .. } = sold;
        let lane = at(sold.lane);
        format!("was finished {lane} with receipt {series}-{number} already")
    });
    let discarded = known.discarded.first();
    let discarded = discarded.map(|lane| format!("was discarded {} already", at(*lane)));
    let unread = known.unread.then(|| {
        "cannot be finished: an entry about it is damaged, or of a newer program".to_owned()
    });
    sold.or(discarded).or(unread)
}

/// Notes which parked sale an entry of another lane is about, to find it by.
pub(crate) fn note_parked(
    conn: &Connection,
    journal: i64,
    entry: &LaneEntry,
) -> Result<(), StoreError> {
    match parked_of(entry) {
        Some(about) => note(conn, about, (journal, entry.seq), entry.kind),
        None => Ok(()),
    }
}

fn note(
    conn: &Connection,
    about: DocumentId,
    (origin, seq): (i64, i64),
    kind: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO local.parked_entry (parked, origin, seq, kind)
               VALUES (?1, ?2, ?3, ?4)";
    conn.execute(sql, params![about.to_bytes(), origin, seq, kind])?;
    Ok(())
}
