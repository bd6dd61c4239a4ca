//! Closing a business day: what the receipts come to that no closure covers yet (X9).

use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use counterfoil_domain::closure::{Counted, Day, DayRule, SealKey, Takings};
use counterfoil_domain::item::{ITEM_BITS, PAYMENTS_FROM};
use counterfoil_domain::{Closure, Document, DocumentId, NodeId, Topic};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::closure::ClosedDay;
use std::collections::{BTreeMap, BTreeSet};

/// Which day to close, and how.
#[derive(Clone, Copy)]
pub struct CloseDay {
    /// Which one; the business day of the moment when absent.
    pub day: Option<Day>,
    /// When a day begins.
    pub rule: DayRule,
    /// What to seal it with, and whose that is; `None` in trial.
    pub key: Option<(NodeId, SealKey)>,
    /// Wall time in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl ShopStore {
    /// Closes a business day, and before it each earlier one that has receipts and no closure. A day that
    /// is closed already is answered with its closure.
    ///
    /// # Errors
    /// [`StoreError::DayAhead`], [`StoreError::DayPassed`], [`StoreError::Sql`], and [`StoreError::SealOfAnother`]
    /// when the till was activated or got another identity since the key was read. Nothing was recorded then.
    pub fn close_day(&mut self, order: &CloseDay) -> Result<ClosedDay, StoreError> {
        let today = order.rule.day_of(order.now_ms);
        let day = order.day.unwrap_or(today);
        if let Some(known) = closed(&self.conn, day)? {
            return Ok(known);
        }
        if day > today {
            return Err(StoreError::DayAhead { day, today });
        }
        let wanted = self.binding.as_ref().map(|_| self.node);
        if order.key.map(|(node, _)| node) != wanted {
            return Err(StoreError::SealOfAnother);
        }
        self.write(|writer| close(writer, order, day))
    }
}

fn close(writer: &mut Writer<'_>, order: &CloseDay, day: Day) -> Result<ClosedDay, StoreError> {
    let rule = order.rule;
    let mut before = closure_before(&writer.store.conn, i64::MAX)?;
    let mut open = uncovered(&writer.store.conn, before.as_ref())?;
    // A closure of a day that has not come yet was made while the clock was wrong: it covers what it
    // covers, and does not keep the days before it from being closed.
    let mut newest = newest_until(&writer.store.conn, rule.day_of(order.now_ms))?;
    let mut days: BTreeSet<Day> = open.iter().map(|it| rule.day_of(it.at_ms)).collect();
    days.retain(|found| *found < day && newest.as_ref().is_none_or(|it| it.day < *found));
    days.insert(day);
    let mut made = Vec::new();
    for next in days {
        if let Some(newest) = &newest
            && (newest.day >= next || newest.rule.end_ms(newest.day) > rule.end_ms(next))
        {
            let (day, closed) = (next, newest.day);
            return Err(StoreError::DayPassed { day, closed });
        }
        let (covered, rest): (Vec<_>, Vec<_>) = open
            .into_iter()
            .partition(|it| it.at_ms < rule.end_ms(next));
        open = rest;
        let closure = draft(writer, order, next, before.as_ref(), &covered, open.len())?;
        let recorded = writer.append(Entry {
            id: None,
            document: Document::Closure(closure.clone()),
            now_ms: order.now_ms,
        })?;
        (before, newest) = (Some(closure.clone()), Some(closure.clone()));
        made.push((recorded.id, recorded.seq, closure));
    }
    let (id, seq, closure) = made.pop().ok_or(StoreError::Corrupt {
        what: "a list of days",
    })?;
    Ok(ClosedDay {
        id,
        seq,
        closure,
        repeated: false,
        also_closed: made.into_iter().map(|(_, _, closure)| closure).collect(),
    })
}

fn draft(
    writer: &Writer<'_>,
    order: &CloseDay,
    day: Day,
    before: Option<&Closure>,
    covered: &[Counted],
    ahead: usize,
) -> Result<Closure, StoreError> {
    let store = writer.store;
    let count = |number: usize| {
        i64::try_from(number).map_err(|_| StoreError::Corrupt {
            what: "a number of receipts",
        })
    };
    let late = covered
        .iter()
        .filter(|it| it.at_ms < order.rule.start_ms(day));
    let mut closure = Closure {
        node: store.node,
        trial: store.binding.is_none(),
        day,
        rule: order.rule,
        first_seq: before.map_or(0, |it| it.last_seq) + 1,
        last_seq: writer.head.seq,
        currency: store.currency,
        takings: Takings::of(covered)?,
        late: count(late.count())?,
        ahead: count(ahead)?,
        head: writer.head.chain,
        at_ms: order.now_ms,
        seal: None,
    };
    closure.seal = order.key.map(|(_, key)| key.seal(&closure));
    Ok(closure)
}

/// The closure of a day, when it is closed.
fn closed(conn: &Connection, day: Day) -> Result<Option<ClosedDay>, StoreError> {
    let sql = "SELECT j.id, c.seq, c.content FROM main.closure AS c JOIN main.journal AS j ON j.seq = c.seq
               WHERE c.day = ?1";
    let found = conn.query_optional(sql, params![day.to_string()], |row| {
        Ok((
            row.get_with(0, |id: Vec<u8>| DocumentId::from_slice(&id))?,
            row.get::<i64>(1)?,
            row.get::<String>(2)?,
        ))
    })?;
    let Some((id, seq, content)) = found else {
        return Ok(None);
    };
    Ok(Some(ClosedDay {
        id,
        seq,
        closure: serde_json::from_str(&content)?,
        repeated: true,
        also_closed: Vec::new(),
    }))
}

/// The last closure that stands before a position in the journal.
fn closure_before(conn: &Connection, seq: i64) -> Result<Option<Closure>, StoreError> {
    let sql = "SELECT content FROM main.closure WHERE seq < ?1 ORDER BY seq DESC LIMIT 1";
    read_closure(conn.query_optional(sql, params![seq], |row| row.get(0))?)
}

/// The closure of the latest day that is not after this one.
fn newest_until(conn: &Connection, day: Day) -> Result<Option<Closure>, StoreError> {
    let sql =
        "SELECT content FROM main.closure WHERE day <= ?1 ORDER BY day DESC, seq DESC LIMIT 1";
    read_closure(conn.query_optional(sql, params![day.to_string()], |row| row.get(0))?)
}

fn read_closure(content: Option<String>) -> Result<Option<Closure>, StoreError> {
    Ok(match content {
        Some(content) => Some(serde_json::from_str(&content)?),
        None => None,
    })
}

/// The receipts that no closure covers, ascending by position.
fn uncovered(conn: &Connection, last: Option<&Closure>) -> Result<Vec<Counted>, StoreError> {
    // Only receipts that are dated after their closure's day lie further back: up to the last closure that
    // left none.
    let (mut closures, mut after) = (Vec::new(), 0);
    let mut before = last.cloned();
    while let Some(closure) = before {
        if closure.ahead == 0 {
            after = closure.last_seq;
            break;
        }
        before = closure_before(conn, closure.last_seq + 1)?;
        closures.push(closure);
    }
    let sql = format!(
        "SELECT key >> {ITEM_BITS}, tender, sum(amount_minor) FROM main.receipt_item
         WHERE key >= ?1 AND key & {PAYMENTS_FROM} <> 0 GROUP BY 1, 2"
    );
    let rows = conn.query_map(&sql, params![(after + 1) << ITEM_BITS], |row| {
        Ok((
            row.get::<i64>(0)?,
            row.get::<String>(1)?,
            row.get::<i64>(2)?,
        ))
    })?;
    let mut payments: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for (seq, tender, amount_minor) in rows {
        let payment = (tender.parse()?, amount_minor);
        payments.entry(seq).or_default().push(payment);
    }
    let sql = "SELECT seq, topic, series, number, at_ms, total_minor FROM main.journal
               WHERE seq > ?1 AND number IS NOT NULL ORDER BY seq";
    let mut receipts = conn.query_map(sql, params![after], |row| {
        let seq = row.get(0)?;
        Ok(Counted {
            seq,
            refund: row.get::<i64>(1)? == Topic::Refund.code(),
            series: row.get(2)?,
            number: row.get(3)?,
            at_ms: row.get(4)?,
            total_minor: row.get(5)?,
            payments: payments.remove(&seq).unwrap_or_default(),
        })
    })?;
    receipts.retain(|it| {
        !closures
            .iter()
            .any(|closure| closure.reaches(it.seq, it.at_ms))
    });
    Ok(receipts)
}
