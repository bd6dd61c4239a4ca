//! Where do the entries of a batch go?
//!
//! Rows are moved as sets; none visits the program.

use super::clock::Correction;
use super::consolidation::{NodeKey, condition};
use super::{StoreError, closures, lineage, parked, refunded, rules};
use counterfoil_domain::item::{ITEM_BITS, PAYMENTS_FROM};
use counterfoil_domain::{Priority, RuleSet, Topic};
use counterfoil_migrate::{Connection, params};

/// A stretch of a node's journal: entries of one priority after `after`, up to `until`.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) node: NodeKey,
    pub(super) priority: Priority,
    pub(super) after: i64,
    pub(super) until: i64,
    pub(super) now_ms: i64,
    /// How far a record may be dated ahead of now, in milliseconds.
    pub(super) ahead_ms: i64,
    /// What stands before the names of the tables that hold the entries: those of the attached book, or those that
    /// are laid out beside it.
    pub(super) source: &'static str,
    /// Whether it is one entry that somebody decides about.
    pub(super) is_decided: bool,
    /// Rules that a person has stepped over.
    pub(super) waived: RuleSet,
    /// What its till's clock makes of its times.
    pub(super) clock: Correction,
}

impl Batch {
    /// Whether other lanes brought its entries, and their own till has not sent them.
    pub(super) const fn is_brought(&self) -> bool {
        self.until > self.node.sent_until
    }
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) entries: i64,
    pub(crate) edits: i64,
    pub(crate) quarantined: u64,
}

/// A topic whose row is kept as a JSON object.
pub(super) struct Plain {
    pub(super) topic: Topic,
    pub(super) table: &'static str,
    content: &'static str,
}

/// Where a receipt's time comes from the data of another system.
pub(super) const RECEIPT_DATA: &str = "j.external_ref IS NOT NULL";

impl Plain {
    /// The same of a row `d` of this topic.
    pub(super) fn data(&self) -> Option<&'static str> {
        (self.topic == Topic::StockMovement).then_some("d.external_ref IS NOT NULL")
    }
}

/// Sales and refunds have tables of their own, parked ones and rights stand in the journal, edits become versions of catalog fields (`edits`).
pub(super) const PLAIN: [Plain; 12] = [
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
                  'note', note, 'at_ms', at_ms, 'employee', employee",
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
        content: "'sku', sku, 'quantity_milli', quantity_milli, 'at_ms', at_ms, 'seen', json(seen)",
    },
    Plain {
        topic: Topic::Closure,
        table: "closure",
        content: "'closure', json(content), 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::EmployeeEvent,
        table: "employee_event",
        content: "'employee', employee, 'event', event, 'permission', permission,
                  'outcome', outcome, 'unlooked', unlooked, 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::ParkedSale,
        table: "journal",
        content: "'parked', json(payload), 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::ParkedDiscard,
        table: "journal",
        content: "'discard', json(payload), 'at_ms', at_ms",
    },
    Plain {
        topic: Topic::Escrow,
        table: "journal",
        content: "'escrow', json(payload), 'at_ms', at_ms",
    },
];

/// `?1` node, `?2` after, `?3` until, `?4` now: every statement here has these four.
pub(super) fn run(tx: &Connection, batch: &Batch, sql: &str) -> Result<u64, StoreError> {
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
pub(super) fn sound(batch: &Batch) -> String {
    let own = if batch.node.kin {
        "NOT EXISTS (SELECT 1 FROM main.inherited AS i WHERE i.node = ?1 AND i.seq = j.seq)"
    } else {
        "TRUE"
    };
    format!(
        "j.seq > ?2 AND j.seq <= ?3 AND j.{} AND NOT EXISTS
         (SELECT 1 FROM main.quarantine AS q
          WHERE q.node = ?1 AND q.seq = j.seq AND q.settled_ms IS NULL)
         AND {own} AND ?4 IS NOT NULL",
        condition(batch.priority)
    )
}

/// Judges the batch, then moves what is sound. Catalog edits are left to `edits`.
pub(super) fn move_batch(tx: &Connection, batch: &Batch) -> Result<Moved, StoreError> {
    let (entries, topics) = topics(tx, batch)?;
    if batch.node.kin {
        lineage::inherit(tx, batch)?;
    }
    let quarantined = rules::judge(tx, batch, &topics)?;
    carry(tx, batch, &topics)?;
    Ok(Moved {
        entries,
        edits: 0,
        quarantined,
    })
}

/// How many entries the batch has, and of which topics.
pub(super) fn topics(tx: &Connection, batch: &Batch) -> Result<(i64, Vec<i64>), StoreError> {
    let (mut entries, mut topics) = (0, Vec::new());
    let sql = format!(
        "SELECT {} AS code, count(*) FROM {}journal
         WHERE seq > ?1 AND seq <= ?2 AND {} GROUP BY code",
        rules::topic_code("topic"),
        batch.source,
        condition(batch.priority)
    );
    for (topic, count) in tx.query_map(&sql, params![batch.after, batch.until], |row| {
        Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
    })? {
        entries += count;
        topics.push(topic);
    }
    Ok((entries, topics))
}

/// Moves what is sound.
pub(super) fn carry(tx: &Connection, batch: &Batch, topics: &[i64]) -> Result<(), StoreError> {
    let has = |topic: Topic| topics.contains(&topic.code());
    if has(Topic::Sale) || has(Topic::Refund) {
        move_receipts(tx, batch)?;
        parked::tell(tx, batch)?;
        refunded::tell(tx, batch)?;
    }
    let source = batch.source;
    for plain in PLAIN.iter().filter(|plain| has(plain.topic)) {
        let topic = plain.topic.code();
        let corrected = batch.clock.sql("j.seq", "d.at_ms", plain.data());
        let error = batch.clock.error_sql("j.seq", plain.data());
        let sql = format!(
            "INSERT INTO main.document (node, seq, id, topic, hlc, at_ms, content, corrected_ms,
                 corrected_error_ms, import_id)
             SELECT ?1, j.seq, j.id, j.topic, j.hlc, at_ms, json_object({}), {corrected}, {error},
                 j.import_id
             FROM (SELECT seq, id, topic, hlc, priority, import_id FROM {source}journal) AS j
             CROSS JOIN {source}{} AS d ON d.seq = j.seq
             WHERE j.topic = {topic} AND {}",
            plain.content,
            plain.table,
            sound(batch)
        );
        run(tx, batch, &sql)?;
    }
    if [Topic::Sale, Topic::Refund, Topic::Closure]
        .into_iter()
        .any(has)
    {
        closures::note(tx, batch)?;
    }
    Ok(())
}

/// Lines of the receipt in the journal's row `j`: a range of the table's own keys.
pub(super) fn lines() -> String {
    let head = format!("j.seq << {ITEM_BITS}");
    format!("i.key > {head} AND i.key < {head} | {PAYMENTS_FROM}")
}

/// Payments of the receipt in the journal's row `j`.
pub(super) fn payments() -> String {
    let next = format!("j.seq + 1 << {ITEM_BITS}");
    format!("i.key > j.seq << {ITEM_BITS} | {PAYMENTS_FROM} AND i.key < {next}")
}

fn move_receipts(tx: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let (source, sound) = (batch.source, sound(batch));
    let data = Some(RECEIPT_DATA);
    let corrected = batch.clock.sql("j.seq", "j.at_ms", data);
    let error = batch.clock.error_sql("j.seq", data);
    let receipts = format!(
        "INSERT INTO main.receipt (node, seq, id, topic, hlc, trial, series, number, at_ms,
             currency, total_minor, customer, employee, refund_of, external_ref, parked,
             import_id,
             corrected_ms, corrected_error_ms)
         SELECT ?1, j.seq, j.id, j.topic, j.hlc, j.trial, j.series, j.number, j.at_ms,
             j.currency, j.total_minor, j.customer, j.employee, j.refund_of, j.external_ref,
             CASE WHEN json_valid(j.payload) THEN j.payload END, j.import_id, {corrected}, {error}
         FROM {source}journal AS j WHERE j.topic IN (1, 2) AND {sound}"
    );
    run(tx, batch, &receipts)?;
    let mask = PAYMENTS_FROM - 1;
    let moved = format!(
        "INSERT INTO main.receipt_line (node, seq, line, sku, description, quantity_milli,
             unit_price_mills, amount_minor)
         SELECT ?1, j.seq, i.key & {mask}, i.sku, i.description, i.quantity_milli,
             i.unit_price_mills, i.amount_minor
         FROM {source}journal AS j CROSS JOIN {source}receipt_item AS i ON {}
         WHERE j.topic IN (1, 2) AND {sound}",
        lines()
    );
    run(tx, batch, &moved)?;
    let moved = format!(
        "INSERT INTO main.payment (node, seq, payment, tender, amount_minor)
         SELECT ?1, j.seq, i.key & {mask}, i.tender, i.amount_minor
         FROM {source}journal AS j CROSS JOIN {source}receipt_item AS i ON {}
         WHERE j.topic IN (1, 2) AND {sound}",
        payments()
    );
    run(tx, batch, &moved)?;
    Ok(())
}
