//! Which entries of a batch keep the rules, and where do they go?
//!
//! Rows are judged and moved as sets; none visits the program.

use super::consolidation::{NodeKey, condition};
use super::{StoreError, lineage};
use counterfoil_domain::item::{ITEM_BITS, PAYMENTS_FROM};
use counterfoil_domain::{Priority, Topic};
use counterfoil_migrate::{Connection, params};

/// A stretch of a node's journal: entries of one priority after `after`, up to `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) node: NodeKey,
    pub(super) priority: Priority,
    pub(super) after: i64,
    pub(super) until: i64,
    pub(super) now_ms: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) entries: i64,
    pub(super) edits: i64,
    pub(super) quarantined: u64,
}

/// A topic whose row is kept as a JSON object.
struct Plain {
    topic: Topic,
    table: &'static str,
    content: &'static str,
}

/// Sales and refunds have tables of their own, edits become versions of catalog fields (`edits`).
const PLAIN: [Plain; 7] = [
    Plain {
        topic: Topic::Activation,
        table: "activation",
        content: "'shop', lower(hex(shop)), 'shop_name', shop_name, 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::LedgerEntry,
        table: "ledger_entry",
        content: "'customer', customer, 'amount_minor', amount_minor, 'currency', currency,
                  'note', note, 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::AdvanceOrder,
        table: "advance_order",
        content: "'customer', customer, 'due_ms', due_ms, 'lines', json(lines),
                  'total_minor', total_minor, 'deposit_minor', deposit_minor,
                  'currency', currency, 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::CashSession,
        table: "cash_session",
        content: "'event', event, 'counted_minor', counted_minor, 'currency', currency,
                  'employee', employee, 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::Expense,
        table: "expense",
        content: "'category', category, 'amount_minor', amount_minor, 'currency', currency,
                  'note', note, 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::StockMovement,
        table: "stock_movement",
        content: "'sku', sku, 'quantity_milli', quantity_milli, 'reason', reason,
                  'at_ms', at_ms, 'external_ref', external_ref",
    },
    Plain {
        topic: Topic::StockCount,
        table: "stock_count",
        content: "'sku', sku, 'quantity_milli', quantity_milli, 'at_ms', at_ms",
    },
];

/// `?1` node, `?2` after, `?3` until, `?4` now: every statement here has these four.
fn run(tx: &Connection, batch: &Batch, sql: &str) -> Result<u64, StoreError> {
    let Batch {
        node,
        after,
        until,
        now_ms,
        ..
    } = *batch;
    Ok(tx.execute(sql, params![node.number, after, until, now_ms])?)
}

/// The entries of the batch that no rule has put aside and no other node of the lineage has.
fn sound(batch: &Batch) -> String {
    let own = if batch.node.kin {
        "NOT EXISTS (SELECT 1 FROM main.inherited AS i WHERE i.node = ?1 AND i.seq = j.seq)"
    } else {
        "TRUE"
    };
    format!(
        "j.seq > ?2 AND j.seq <= ?3 AND j.{} AND NOT EXISTS
         (SELECT 1 FROM main.quarantine AS q WHERE q.node = ?1 AND q.seq = j.seq)
         AND {own} AND ?4 IS NOT NULL",
        condition(batch.priority)
    )
}

/// Judges the batch, then moves what is sound. Catalog edits are left to `edits`.
pub(super) fn move_batch(tx: &Connection, batch: &Batch) -> Result<Moved, StoreError> {
    let mut moved = Moved::default();
    let mut topics = Vec::new();
    let sql = format!(
        "SELECT topic, count(*) FROM book.journal
         WHERE seq > ?1 AND seq <= ?2 AND {} GROUP BY topic",
        condition(batch.priority)
    );
    for (topic, count) in tx.query_map(&sql, params![batch.after, batch.until], |row| {
        Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
    })? {
        moved.entries += count;
        topics.push(topic);
    }
    let has = |topic: Topic| topics.contains(&topic.code());
    if batch.node.kin {
        lineage::inherit(tx, batch)?;
    }
    moved.quarantined += run(tx, batch, &judge_entries(batch))?;
    if has(Topic::Sale) || has(Topic::Refund) {
        moved.quarantined += run(tx, batch, &judge_receipts(batch))?;
        move_receipts(tx, batch)?;
    }
    for plain in PLAIN.iter().filter(|plain| has(plain.topic)) {
        let topic = plain.topic.code();
        moved.quarantined += run(tx, batch, &judge_plain(batch, plain))?;
        let sql = format!(
            "INSERT INTO main.document (node, seq, id, topic, hlc, at_ms, content)
             SELECT ?1, j.seq, j.id, j.topic, j.hlc, at_ms, json_object({})
             FROM (SELECT seq, id, topic, hlc, priority FROM book.journal) AS j
             CROSS JOIN book.{} AS d ON d.seq = j.seq
             WHERE j.topic = {topic} AND {}",
            plain.content,
            plain.table,
            sound(batch)
        );
        run(tx, batch, &sql)?;
    }
    Ok(moved)
}

/// Puts aside what no table can take: kinds from a newer program, damaged ids, repeated ids.
fn judge_entries(batch: &Batch) -> String {
    let known = Topic::ALL.map(|topic| topic.code().to_string()).join(", ");
    format!(
        "INSERT OR IGNORE INTO main.quarantine (node, seq, id, topic, reason, found_ms)
         SELECT ?1, seq, id, topic, reason, ?4 FROM (
             SELECT j.seq, j.id, j.topic, CASE
                 WHEN j.topic NOT IN ({known}) THEN
                     'this kind of record (' || j.topic || ') is not known to this hub; update the hub'
                 WHEN length(j.id) <> 16 THEN 'its id is damaged'
                 WHEN EXISTS (SELECT 1 FROM main.receipt AS h WHERE h.id = j.id)
                   OR EXISTS (SELECT 1 FROM main.document AS h WHERE h.id = j.id) THEN
                     'a record with the same id is here already, from another place'
             END AS reason
             FROM book.journal AS j WHERE {}
         ) WHERE reason IS NOT NULL",
        sound(batch)
    )
}

/// Lines of the receipt in the journal's row `j`: a range of the table's own keys.
fn lines() -> String {
    let head = format!("j.seq << {ITEM_BITS}");
    format!("i.key > {head} AND i.key < {head} | {PAYMENTS_FROM}")
}

/// Payments of the receipt in the journal's row `j`.
fn payments() -> String {
    let next = format!("j.seq + 1 << {ITEM_BITS}");
    format!("i.key > j.seq << {ITEM_BITS} | {PAYMENTS_FROM} AND i.key < {next}")
}

/// Puts aside receipts that do not add up.
fn judge_receipts(batch: &Batch) -> String {
    format!(
        "INSERT OR IGNORE INTO main.quarantine (node, seq, id, topic, reason, found_ms)
         WITH checked AS MATERIALIZED (
             SELECT j.seq, j.id, j.topic, j.total_minor AS total, j.trial IS NOT NULL
                     AND j.series IS NOT NULL AND j.number IS NOT NULL AND j.at_ms IS NOT NULL
                     AND j.currency IS NOT NULL AND j.total_minor IS NOT NULL AS whole,
                 (SELECT sum(amount_minor) FROM book.receipt_item AS i WHERE {}) AS lines,
                 (SELECT sum(amount_minor) FROM book.receipt_item AS i WHERE {}) AS payments
             FROM book.journal AS j WHERE j.topic IN (1, 2) AND {}
         )
         SELECT ?1, seq, id, topic, reason, ?4 FROM (
             SELECT seq, id, topic, CASE
                 WHEN NOT whole THEN 'the receipt itself is missing'
                 WHEN lines IS NULL THEN 'the receipt has no lines'
                 WHEN lines <> total THEN 'the lines come to ' || lines
                     || ' minor units, but the total says ' || total
                 WHEN coalesce(payments, 0) <> total THEN 'the payments come to '
                     || coalesce(payments, 0) || ' minor units, but the total says ' || total
             END AS reason FROM checked
         ) WHERE reason IS NOT NULL",
        lines(),
        payments(),
        sound(batch)
    )
}

fn judge_plain(batch: &Batch, plain: &Plain) -> String {
    format!(
        "INSERT OR IGNORE INTO main.quarantine (node, seq, id, topic, reason, found_ms)
         SELECT ?1, j.seq, j.id, j.topic, 'the record itself is missing', ?4
         FROM book.journal AS j LEFT JOIN book.{} AS d ON d.seq = j.seq
         WHERE j.topic = {} AND d.seq IS NULL AND {}",
        plain.table,
        plain.topic.code(),
        sound(batch)
    )
}

fn move_receipts(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let sound = sound(batch);
    // A number given twice is kept and reported: both sales happened.
    let doubled = format!(
        "INSERT INTO main.alert (at_ms, kind, node, detail)
         SELECT ?4, 'receipt_number_repeated', n.id,
                'receipt ' || j.series || '-' || j.number || ' was given twice (entry ' || j.seq || ')'
         FROM book.journal AS j CROSS JOIN main.node AS n ON n.number = ?1
         WHERE j.topic IN (1, 2) AND {sound} AND EXISTS (SELECT 1 FROM main.receipt AS h
             WHERE h.node = ?1 AND h.series = j.series AND h.number = j.number)"
    );
    run(tx, batch, &doubled)?;
    let receipts = format!(
        "INSERT INTO main.receipt (node, seq, id, topic, hlc, trial, series, number, at_ms,
             currency, total_minor, customer, employee, refund_of, external_ref)
         SELECT ?1, j.seq, j.id, j.topic, j.hlc, j.trial, j.series, j.number, j.at_ms,
             j.currency, j.total_minor, j.customer, j.employee, j.refund_of, j.external_ref
         FROM book.journal AS j WHERE j.topic IN (1, 2) AND {sound}"
    );
    run(tx, batch, &receipts)?;
    let mask = PAYMENTS_FROM - 1;
    let moved = format!(
        "INSERT INTO main.receipt_line (node, seq, line, sku, description, quantity_milli,
             unit_price_mills, amount_minor)
         SELECT ?1, j.seq, i.key & {mask}, i.sku, i.description, i.quantity_milli,
             i.unit_price_mills, i.amount_minor
         FROM book.journal AS j CROSS JOIN book.receipt_item AS i ON {}
         WHERE j.topic IN (1, 2) AND {sound}",
        lines()
    );
    run(tx, batch, &moved)?;
    let moved = format!(
        "INSERT INTO main.payment (node, seq, payment, tender, amount_minor)
         SELECT ?1, j.seq, i.key & {mask}, i.tender, i.amount_minor
         FROM book.journal AS j CROSS JOIN book.receipt_item AS i ON {}
         WHERE j.topic IN (1, 2) AND {sound}",
        payments()
    );
    run(tx, batch, &moved)?;
    Ok(())
}

/// The first entry of the batch cannot be stored at all: it steps aside, the rest goes on.
pub(super) fn put_first_aside(tx: &Connection, batch: &Batch) -> Result<Moved, StoreError> {
    let sql = format!(
        "INSERT OR IGNORE INTO main.quarantine (node, seq, id, topic, reason, found_ms)
         SELECT ?1, j.seq, j.id, j.topic, 'a value in it is damaged and cannot be stored', ?4
         FROM book.journal AS j WHERE {} ORDER BY j.seq LIMIT 1",
        sound(batch)
    );
    let quarantined = run(tx, batch, &sql)?;
    Ok(Moved {
        entries: 1,
        edits: 0,
        quarantined,
    })
}
