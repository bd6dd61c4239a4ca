//! What was consolidated from the book of one node, wherever it is counted?
//!
//! A till that was restored or cloned has entries that are counted with another node of its lineage: its
//! book is put together from them.

use crate::store::{StoreError, lineage};
use counterfoil_domain::closure::{Counted, Day};
use counterfoil_domain::document::{Line, Payment, Receipt};
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::parked::Finishes;
use counterfoil_domain::proof::Aside;
use counterfoil_domain::{
    Chain, Closure, Document, DocumentId, Hlc, Quantity, Rule, Topic, UnitPrice,
};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use std::collections::{BTreeMap, BTreeSet};

/// The book of one node as it stands in the hub's tables.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) node: i64,
    /// The nodes whose entries it holds, itself among them, each up to a position.
    owners: BTreeMap<i64, i64>,
    /// Single entries that are counted with another node.
    inherited: BTreeMap<i64, i64>,
    /// Its closures by position: who has them, and for which day.
    pub(super) closures: BTreeMap<i64, (i64, Day)>,
    /// Those whose day cannot be read.
    undated: BTreeSet<i64>,
}

/// A receipt in quarantine.
pub(super) struct HeldAside {
    reason: String,
    /// As its till dated it, when that is known.
    pub(super) at_ms: Option<i64>,
}

impl HeldAside {
    pub(super) fn told(self, seq: i64) -> Aside {
        let dated = self.at_ms.is_some();
        let reason = self.reason;
        Aside { seq, reason, dated }
    }
}

/// A receipt as it was consolidated.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The node that it is counted with.
    pub(super) owner: i64,
    pub(super) counted: Counted,
    /// Whether its rows give its chain value.
    pub(super) whole: bool,
    /// It came back from quarantine with other fields.
    pub(super) fixed: bool,
}

/// A closure as it was consolidated.
pub(super) struct Closed {
    pub(super) seq: i64,
    pub(super) closure: Closure,
    /// Whether its row gives its chain value.
    pub(super) whole: bool,
    /// Whether the chain before it is the one that it states.
    pub(super) head_fits: bool,
}

/// Receipts by position and time; positions after `after_seq` up to `until_seq`, times from `from_ms`,
/// before `until_ms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) after_seq: i64,
    pub(super) until_seq: i64,
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
}

impl Book {
    pub(super) fn read(hub: &Connection, node: i64) -> Result<Self, StoreError> {
        let mut owners = BTreeMap::from([(node, i64::MAX)]);
        for ancestor in lineage::ancestors(hub, node)? {
            owners.insert(ancestor.number, ancestor.common.seq);
        }
        let mut book = Self {
            node,
            owners: owners.clone(),
            inherited: BTreeMap::new(),
            closures: BTreeMap::new(),
            undated: BTreeSet::new(),
        };
        for (&owner, &limit) in &owners {
            let sql = "SELECT seq, owner FROM inherited WHERE node = ?1 AND seq <= ?2";
            let rows = hub.query_map(sql, params![owner, limit], |row| {
                Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
            })?;
            book.inherited.extend(rows);
            book.list(hub, owner, (0, limit))?;
        }
        for (seq, owner) in book.inherited.clone() {
            book.list(hub, owner, (seq - 1, seq))?;
        }
        Ok(book)
    }

    /// Whether an entry that is counted with a node stands in this book.
    pub(super) fn holds(&self, owner: i64, seq: i64) -> bool {
        self.owners.get(&owner).is_some_and(|limit| seq <= *limit)
            || self.inherited.get(&seq) == Some(&owner)
    }

    /// The receipts in a range, by position.
    pub(super) fn receipts(
        &self,
        hub: &Connection,
        range: Range,
    ) -> Result<BTreeMap<i64, Held>, StoreError> {
        let mut found = BTreeMap::new();
        for (&owner, &limit) in &self.owners {
            let until_seq = range.until_seq.min(limit);
            let range = Range { until_seq, ..range };
            found.extend(own_receipts(hub, owner, range)?);
        }
        for (&seq, &owner) in self.inherited.range(range.after_seq.saturating_add(1)..) {
            if seq > range.until_seq {
                break;
            }
            let (after_seq, until_seq) = (seq - 1, seq);
            let one = Range {
                after_seq,
                until_seq,
                ..range
            };
            found.extend(own_receipts(hub, owner, one)?);
        }
        Ok(found)
    }

    /// Numbers of a series in this book, with their positions.
    pub(super) fn numbers(
        &self,
        hub: &Connection,
        series: &str,
        numbers: (i64, i64),
    ) -> Result<BTreeMap<i64, i64>, StoreError> {
        let sql = "SELECT seq, number FROM receipt
                   WHERE node = ?1 AND series = ?2 AND number BETWEEN ?3 AND ?4";
        let others: BTreeSet<i64> = self.inherited.values().copied().collect();
        let mut found = BTreeMap::new();
        for owner in self.owners.keys().copied().chain(others) {
            let (first, last) = numbers;
            let rows = hub.query_map(sql, params![owner, series, first, last], |row| {
                Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
            })?;
            found.extend(rows.into_iter().filter(|(seq, _)| self.holds(owner, *seq)));
        }
        Ok(found)
    }

    /// Whether the till was activated before an entry: from then on there is a hub to seal a day for.
    pub(super) fn is_active_before(&self, hub: &Connection, seq: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM document
                   WHERE node = ?1 AND seq < ?2 AND seq <= ?3 AND topic = ?4)";
        let topic = Topic::Activation.code();
        for (&owner, &limit) in &self.owners {
            if hub.query_value(sql, params![owner, seq, limit, topic])? {
                return Ok(true);
            }
        }
        for (&at, &owner) in self.inherited.range(..seq) {
            if hub.query_value(sql, params![owner, at + 1, at, topic])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Receipts in quarantine, by position: those of a range, and those in it of which the hub does not know when
    /// they were.
    pub(super) fn aside(
        &self,
        hub: &Connection,
        range: Range,
    ) -> Result<BTreeMap<i64, HeldAside>, StoreError> {
        let sql = "SELECT seq, reason, at_ms FROM (
                       SELECT seq, reason, CASE WHEN code <> ?8 THEN at_ms END AS at_ms FROM quarantine
                       WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND topic IN (?4, ?5)
                         AND settled_ms IS NULL)
                   WHERE at_ms IS NULL OR at_ms >= ?6 AND at_ms < ?7";
        let mut found = BTreeMap::new();
        for (&owner, &limit) in &self.owners {
            let of = params![
                owner,
                range.after_seq,
                range.until_seq.min(limit),
                Topic::Sale.code(),
                Topic::Refund.code(),
                range.from_ms,
                range.until_ms,
                // Such a date is known to be wrong.
                Rule::TimeImpossible.name()
            ];
            found.extend(hub.query_map(sql, of, |row| {
                let (reason, at_ms) = (row.get(1)?, row.get(2)?);
                Ok((row.get::<i64>(0)?, HeldAside { reason, at_ms }))
            })?);
        }
        Ok(found)
    }

    /// Whether a closure is listed for the day that it states.
    pub(super) fn is_dated(&self, seq: i64, day: Day) -> bool {
        let listed = self.closures.get(&seq);
        listed.is_some_and(|(_, listed)| *listed == day) && !self.undated.contains(&seq)
    }

    /// Lists closures: who has them, and for which day. One whose day cannot be read stands at the day that
    /// it states itself.
    fn list(
        &mut self,
        hub: &Connection,
        owner: i64,
        (after, until): (i64, i64),
    ) -> Result<(), StoreError> {
        let sql = "SELECT seq, CAST(day AS BLOB) FROM closure
                   WHERE node = ?1 AND seq > ?2 AND seq <= ?3";
        let rows = hub.query_map(sql, params![owner, after, until], |row| {
            let mut readable = true;
            let day = text(row, 1, &mut readable)?;
            Ok((
                row.get::<i64>(0)?,
                day.and_then(|day| day.parse::<Day>().ok()),
            ))
        })?;
        for (seq, day) in rows {
            let day = match day {
                Some(day) => Some(day),
                None => {
                    self.undated.insert(seq);
                    closed(hub, owner, seq)?.map(|closed| closed.closure.day)
                }
            };
            if let Some(day) = day {
                self.closures.insert(seq, (owner, day));
            }
        }
        Ok(())
    }
}

/// A text as it stands in a row that is read as bytes: what is no text must not keep the rest from being proved.
fn text(row: &Row<'_>, index: usize, readable: &mut bool) -> Result<Option<String>, SqlError> {
    let bytes: Option<Vec<u8>> = row.get(index)?;
    Ok(bytes.map(|bytes| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            *readable = false;
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }
    }))
}

/// What the columns of a receipt hold, in the order of the statement below.
struct Head {
    seq: i64,
    entry: Option<EntryHead>,
    receipt: Option<Receipt>,
    counted: Counted,
}

fn own_receipts(
    hub: &Connection,
    owner: i64,
    range: Range,
) -> Result<Vec<(i64, Held)>, StoreError> {
    let sql = "SELECT seq, id, hlc, topic, trial, CAST(series AS BLOB), number, at_ms,
                   CAST(currency AS BLOB), total_minor, CAST(customer AS BLOB),
                   CAST(employee AS BLOB), refund_of, CAST(external_ref AS BLOB),
                   CAST(parked AS BLOB)
               FROM receipt
               WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND at_ms >= ?4 AND at_ms < ?5 ORDER BY seq";
    let Range {
        after_seq,
        until_seq,
        from_ms,
        until_ms,
    } = range;
    let row = params![owner, after_seq, until_seq, from_ms, until_ms];
    let heads = hub.query_map(sql, row, head)?;
    let mut found = Vec::with_capacity(heads.len());
    for mut head in heads {
        let lines = lines(hub, owner, head.seq)?;
        let payments = payments(hub, owner, head.seq)?;
        let whole = whole(hub, owner, &head, lines, payments.as_deref())?;
        let payments = payments.unwrap_or_default();
        head.counted.payments = payments
            .iter()
            .map(|it| (it.tender, it.amount_minor))
            .collect();
        let fixed = "SELECT EXISTS (SELECT 1 FROM quarantine
                     WHERE node = ?1 AND seq = ?2 AND settled_as = 'fixed')";
        let held = Held {
            fixed: !whole && hub.query_value(fixed, params![owner, head.seq])?,
            owner,
            counted: head.counted,
            whole,
        };
        found.push((head.seq, held));
    }
    Ok(found)
}

fn head(row: &Row<'_>) -> Result<Head, SqlError> {
    let (seq, at_ms, total_minor) = (row.get(0)?, row.get(7)?, row.get(9)?);
    let (number, mut readable) = (row.get(6)?, true);
    let series = text(row, 5, &mut readable)?.unwrap_or_default();
    let topic = Topic::from_code(row.get(3)?);
    let id = DocumentId::from_slice(&row.get::<Vec<u8>>(1)?).ok();
    let refund_of: Option<Vec<u8>> = row.get(12)?;
    let refund_of = refund_of.map(|bytes| DocumentId::from_slice(&bytes).ok());
    let currency = text(row, 8, &mut readable)?.and_then(|name| name.parse().ok());
    let [customer, employee, external_ref] = [
        text(row, 10, &mut readable)?,
        text(row, 11, &mut readable)?,
        text(row, 13, &mut readable)?,
    ];
    let parked: Option<Vec<u8>> = row.get(14)?;
    let parked = parked.map(|json| serde_json::from_slice::<Finishes>(&json).ok());
    readable &= parked != Some(None);
    let hlc = Hlc::from_raw(row.get(2)?);
    let entry = id.zip(topic).map(|(id, topic)| EntryHead {
        seq,
        id,
        hlc,
        topic,
    });
    // A value that no till writes is no reason to fail: the row is not what was recorded.
    let receipt = match (currency, refund_of) {
        (Some(currency), None | Some(Some(_))) if readable => Some(Receipt {
            trial: row.get::<i64>(4)? == 1,
            series: series.clone(),
            number,
            at_ms,
            currency,
            total_minor,
            customer,
            employee,
            refund_of: refund_of.flatten(),
            external_ref,
            parked: parked.flatten(),
            lines: Vec::new(),
            payments: Vec::new(),
        }),
        _ => None,
    };
    let counted = Counted {
        seq,
        refund: topic == Some(Topic::Refund),
        series,
        number,
        at_ms,
        total_minor,
        payments: Vec::new(),
    };
    Ok(Head {
        seq,
        entry,
        receipt,
        counted,
    })
}

/// `None` when there is a text in them that is none.
fn lines(hub: &Connection, owner: i64, seq: i64) -> Result<Option<Vec<Line>>, StoreError> {
    let sql =
        "SELECT CAST(sku AS BLOB), CAST(description AS BLOB), quantity_milli, unit_price_mills,
                   amount_minor
               FROM receipt_line WHERE node = ?1 AND seq = ?2 ORDER BY line";
    let rows = hub.query_map(sql, params![owner, seq], |row| {
        let mut readable = true;
        let line = Line {
            sku: text(row, 0, &mut readable)?.unwrap_or_default(),
            description: text(row, 1, &mut readable)?.unwrap_or_default(),
            quantity: Quantity { milli: row.get(2)? },
            unit_price: UnitPrice { mills: row.get(3)? },
            amount_minor: row.get(4)?,
        };
        Ok(readable.then_some(line))
    })?;
    Ok(rows.into_iter().collect())
}

/// `None` when there is a tender that no till knows.
fn payments(hub: &Connection, owner: i64, seq: i64) -> Result<Option<Vec<Payment>>, StoreError> {
    let sql = "SELECT CAST(tender AS BLOB), amount_minor FROM payment WHERE node = ?1 AND seq = ?2 ORDER BY payment";
    let rows = hub.query_map(sql, params![owner, seq], |row| {
        Ok((text(row, 0, &mut true)?, row.get::<i64>(1)?))
    })?;
    let payment = |(tender, amount_minor): (Option<String>, i64)| {
        let tender = tender?.parse().ok()?;
        Some(Payment {
            tender,
            amount_minor,
        })
    };
    Ok(rows.into_iter().map(payment).collect())
}

/// Whether the rows of a receipt give the chain value with which it arrived.
fn whole(
    hub: &Connection,
    owner: i64,
    head: &Head,
    lines: Option<Vec<Line>>,
    payments: Option<&[Payment]>,
) -> Result<bool, StoreError> {
    let (Some(entry), Some(receipt)) = (head.entry, &head.receipt) else {
        return Ok(false);
    };
    let (Some(lines), Some(payments)) = (lines, payments) else {
        return Ok(false);
    };
    let receipt = Receipt {
        lines,
        payments: payments.to_vec(),
        ..receipt.clone()
    };
    let document = match entry.topic {
        Topic::Refund => Document::Refund(receipt),
        _ => Document::Sale(receipt),
    };
    Ok(linked(hub, owner, &entry, &document)?.is_some())
}

/// The chain value before an entry, when the document gives the one behind it.
fn linked(
    hub: &Connection,
    owner: i64,
    entry: &EntryHead,
    document: &Document,
) -> Result<Option<Chain>, StoreError> {
    let sql = "SELECT before, chain FROM link WHERE node = ?1 AND seq = ?2";
    let link = hub.query_optional(sql, params![owner, entry.seq], |row| {
        Ok((row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?))
    })?;
    let Some((before, chain)) = link else {
        return Ok(None);
    };
    let pair = Chain::from_slice(&before).zip(Chain::from_slice(&chain));
    Ok(pair
        .filter(|(before, chain)| before.next(entry, &document.canonical()) == *chain)
        .map(|(before, _)| before))
}

/// Reads a closure; `None` when its document is gone or cannot be read.
pub(super) fn closed(hub: &Connection, owner: i64, seq: i64) -> Result<Option<Closed>, StoreError> {
    let sql = "SELECT d.id, d.hlc, CAST(json_extract(d.content, '$.closure') AS BLOB)
               FROM closure AS c JOIN document AS d ON d.node = c.node AND d.seq = c.seq
               WHERE c.node = ?1 AND c.seq = ?2 AND d.topic = ?3 AND json_valid(d.content)";
    let row = params![owner, seq, Topic::Closure.code()];
    let found = hub.query_optional(sql, row, |row| {
        Ok((
            DocumentId::from_slice(&row.get::<Vec<u8>>(0)?).ok(),
            row.get::<i64>(1)?,
            text(row, 2, &mut true)?,
        ))
    })?;
    let Some((Some(id), hlc, Some(content))) = found else {
        return Ok(None);
    };
    let Ok(closure) = serde_json::from_str::<Closure>(&content) else {
        return Ok(None);
    };
    let entry = EntryHead {
        seq,
        id,
        hlc: Hlc::from_raw(hlc),
        topic: Topic::Closure,
    };
    let before = linked(hub, owner, &entry, &Document::Closure(closure.clone()))?;
    Ok(Some(Closed {
        seq,
        whole: before.is_some(),
        head_fits: before == Some(closure.head) && closure.last_seq == seq - 1,
        closure,
    }))
}
