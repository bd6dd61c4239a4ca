//! G1 to G4: sales, their number, their sums, their numbering.

use super::evidence::{Evidence, NodeEvidence, ReceiptRow, difference, dump, tables};
use super::{Guarantee, Judgement};
use crate::record::{Acknowledged, Record};
use counterfoil_domain::{DocumentId, Topic};
use counterfoil_migrate::Connection;
use std::collections::{BTreeMap, BTreeSet};

type Receipts = BTreeMap<DocumentId, ReceiptRow>;

pub(super) fn check(
    evidence: &Evidence,
    record: &Record,
    judgement: &mut Judgement,
) -> anyhow::Result<()> {
    let mut everywhere: BTreeSet<DocumentId> = BTreeSet::new();
    for (index, node) in evidence.nodes.iter().enumerate() {
        let book = node.receipts()?;
        let (hub, twice) = evidence.hub_receipts(node.number)?;
        for id in hub
            .keys()
            .filter(|id| !everywhere.insert(**id))
            .chain(&twice)
        {
            judgement.breaks(
                Guarantee::G2,
                format!("receipt {id} stands at the hub twice"),
            );
        }
        acknowledged_receipts(node, index, record, (&book, &hub), judgement);
        acknowledged_imports(node, index, record, (&book, &hub), judgement);
        nothing_from_nowhere(node, record, &book, judgement);
        exactly_once(node, (&book, &hub), judgement);
        other_documents(evidence, node, index, record, judgement)?;
        sums(evidence, node, judgement)?;
        dates(evidence, node, record, judgement)?;
        numbers(node, &book, judgement);
        numbers(node, &hub, judgement);
        journal(evidence, node, judgement)?;
        copy_is_the_book(node, judgement)?;
    }
    nothing_in_quarantine(evidence, judgement)
}

/// G1: what a till was told is in the book and at the hub, with the same number and total.
fn acknowledged_receipts(
    node: &NodeEvidence,
    index: usize,
    record: &Record,
    (book, hub): (&Receipts, &Receipts),
    judgement: &mut Judgement,
) {
    for (id, told) in record
        .acknowledged
        .iter()
        .filter(|(_, told)| told.node == index)
    {
        if told.receipt.is_none() {
            continue;
        }
        for (place, rows) in [("the book", book), ("the hub", hub)] {
            match rows.get(id) {
                None => judgement.breaks(
                    Guarantee::G1,
                    format!("{} {id} was acknowledged and is not in {place}", node.name),
                ),
                Some(row) => judgement.require(Guarantee::G1, is_as_told(row, told), || {
                    format!(
                        "{} {id} was acknowledged as {told:?}, {place} has {row:?}",
                        node.name
                    )
                }),
            }
        }
    }
}

/// How far a corrected time may be off: a line that stalls makes a clock look behind by that. The clocks that are
/// wrong are days wrong.
const STALLED_MS: i64 = 120_000;

/// A sale is dated when it was made, whatever the clock of its till said (X1).
fn dates(
    evidence: &Evidence,
    node: &NodeEvidence,
    record: &Record,
    judgement: &mut Judgement,
) -> anyhow::Result<()> {
    for (id, corrected_ms) in evidence.corrected_ms(node.number)? {
        let told = record.acknowledged.get(&id);
        let Some(true_ms) = told.and_then(|told| told.true_ms) else {
            continue;
        };
        judgement.require(
            Guarantee::G3,
            (corrected_ms - true_ms).abs() <= STALLED_MS,
            || format!("{} {id} of {true_ms} is dated {corrected_ms}", node.name),
        );
    }
    Ok(())
}

fn is_as_told(row: &ReceiptRow, told: &Acknowledged) -> bool {
    let receipt = (row.series.clone(), row.number, row.total_minor);
    let topic = Topic::from_code(row.topic).map_or("unknown", Topic::name);
    row.seq == told.seq
        && told.receipt.as_ref() == Some(&receipt)
        && topic == told.topic
        && row.trial == told.trial
}

fn acknowledged_imports(
    node: &NodeEvidence,
    index: usize,
    record: &Record,
    (book, hub): (&Receipts, &Receipts),
    judgement: &mut Judgement,
) {
    for (place, rows) in [("the book", book), ("the hub", hub)] {
        let mut by_number: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for row in rows.values() {
            if let Some(number) = &row.external_ref {
                by_number.entry(number).or_default().push(row.total_minor);
            }
        }
        for invoice in record
            .invoices
            .iter()
            .filter(|invoice| invoice.node == index)
        {
            let found = by_number
                .get(invoice.number.as_str())
                .map_or(&[][..], Vec::as_slice);
            let guarantee = if found.len() > 1 {
                Guarantee::G2
            } else {
                Guarantee::G1
            };
            judgement.require(guarantee, found == [invoice.total_minor], || {
                let (name, number) = (node.name, &invoice.number);
                format!("{name} imported {number}, {place} has totals {found:?}")
            });
        }
    }
}

/// What nobody asked for must not be in a book.
fn nothing_from_nowhere(
    node: &NodeEvidence,
    record: &Record,
    book: &Receipts,
    judgement: &mut Judgement,
) {
    for (id, row) in book {
        let known = match &row.external_ref {
            Some(number) => record.invoices_attempted.contains(number),
            None => record.attempted.contains(id),
        };
        judgement.require(Guarantee::G2, known, || {
            format!("{} has receipt {id} that nobody asked for", node.name)
        });
    }
}

/// G2: the hub has the book's receipts, each once, and no other.
fn exactly_once(
    node: &NodeEvidence,
    (book, hub): (&Receipts, &Receipts),
    judgement: &mut Judgement,
) {
    for (id, row) in book {
        match hub.get(id) {
            None => judgement.breaks(
                Guarantee::G1,
                format!("{} receipt {id} of the book is not at the hub", node.name),
            ),
            Some(found) => judgement.require(Guarantee::G3, found == row, || {
                format!(
                    "{} receipt {id} is {row:?} in the book, {found:?} at the hub",
                    node.name
                )
            }),
        }
    }
    for id in hub.keys().filter(|id| !book.contains_key(id)) {
        let text = format!("{} receipt {id} of the hub is not in the book", node.name);
        judgement.breaks(Guarantee::G2, text);
    }
}

/// The same for stock, expenses and whatever else stands in `document`.
fn other_documents(
    evidence: &Evidence,
    node: &NodeEvidence,
    index: usize,
    record: &Record,
    judgement: &mut Judgement,
) -> anyhow::Result<()> {
    let read = |database: &Connection, sql: &str| -> anyhow::Result<Vec<(DocumentId, i64)>> {
        Ok(database.query_map(sql, (), |row| {
            let id = row.get_with(0, |bytes: Vec<u8>| DocumentId::from_slice(&bytes))?;
            Ok((id, row.get(1)?))
        })?)
    };
    let sql = "SELECT id, topic FROM journal WHERE topic IN (3, 4, 5, 6, 8, 9) ORDER BY id";
    let book = read(&node.book, sql)?;
    let sql = format!(
        "SELECT id, topic FROM document WHERE node = {} AND topic IN (3, 4, 5, 6, 8, 9) ORDER BY id",
        node.number
    );
    let hub = read(&evidence.hub, &sql)?;
    judgement.require(Guarantee::G2, book == hub, || {
        let (name, book, hub) = (node.name, book.len(), hub.len());
        format!("{name} has {book} other documents, the hub has {hub} of it, or not the same ones")
    });
    let hub: BTreeSet<DocumentId> = hub.into_iter().map(|(id, _)| id).collect();
    for (id, told) in record
        .acknowledged
        .iter()
        .filter(|(_, told)| told.node == index)
    {
        judgement.require(
            Guarantee::G1,
            told.receipt.is_some() || hub.contains(id),
            || {
                format!(
                    "{} {} {id} was acknowledged and is not at the hub",
                    node.name, told.topic
                )
            },
        );
    }
    for (id, _) in book {
        judgement.require(Guarantee::G2, record.attempted.contains(&id), || {
            format!("{} has document {id} that nobody asked for", node.name)
        });
    }
    Ok(())
}

/// G3: to the minor unit, in receipts, lines and payments, and within every receipt.
fn sums(evidence: &Evidence, node: &NodeEvidence, judgement: &mut Judgement) -> anyhow::Result<()> {
    for (table, column) in [
        ("receipt", "total_minor"),
        ("receipt_line", "amount_minor"),
        ("payment", "amount_minor"),
    ] {
        let read = |database: &Connection, condition: &str| -> anyhow::Result<(i64, i64)> {
            let sql = format!(
                "SELECT count(*), coalesce(sum({column}), 0) FROM {table} WHERE {condition}"
            );
            Ok(database.query_row(&sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?)
        };
        let book = read(&node.book, "1")?;
        let hub = read(&evidence.hub, &format!("node = {}", node.number))?;
        judgement.require(Guarantee::G3, book == hub, || {
            format!(
                "{} {table}: count and sum are {book:?}, at the hub {hub:?}",
                node.name
            )
        });
    }
    let sql = "SELECT count(*) FROM receipt r WHERE
        total_minor <> (SELECT coalesce(sum(amount_minor), 0) FROM receipt_line l WHERE l.seq = r.seq)
        OR total_minor <> (SELECT coalesce(sum(amount_minor), 0) FROM payment p WHERE p.seq = r.seq)";
    let uneven: i64 = node.book.query_value(sql, ())?;
    judgement.require(Guarantee::G3, uneven == 0, || {
        format!("{} has {uneven} receipts that do not add up", node.name)
    });
    Ok(())
}

/// G4: numbers of a series are 1, 2, 3 and so on.
fn numbers(node: &NodeEvidence, rows: &Receipts, judgement: &mut Judgement) {
    let mut series: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for row in rows.values() {
        series.entry(&row.series).or_default().push(row.number);
    }
    for (name, mut numbers) in series {
        numbers.sort_unstable();
        let dense = (1..)
            .zip(&numbers)
            .all(|(wanted, number)| wanted == *number);
        judgement.require(Guarantee::G4, dense, || {
            format!("{} series {name} has the numbers {numbers:?}", node.name)
        });
    }
}

/// The journal is dense, and the hub's watermarks stand at its end with its chain value.
fn journal(
    evidence: &Evidence,
    node: &NodeEvidence,
    judgement: &mut Judgement,
) -> anyhow::Result<()> {
    let sql = "SELECT count(*), coalesce(max(seq), 0) FROM journal";
    let (count, newest): (i64, i64) = node
        .book
        .query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
    judgement.require(Guarantee::Sound, count == newest, || {
        format!("{} has {count} entries up to {newest}", node.name)
    });
    let sql = "SELECT min(seq) FROM watermark WHERE node = ?1";
    let reached: Option<i64> = evidence.hub.query_value(sql, [node.number])?;
    judgement.require(Guarantee::G2, reached == Some(newest), || {
        format!(
            "{} is consolidated up to {reached:?} of {newest}",
            node.name
        )
    });
    let chain: Vec<u8> = node
        .book
        .query_value("SELECT chain FROM journal ORDER BY seq DESC LIMIT 1", ())?;
    let sql = "SELECT count(*) FROM watermark WHERE node = ?1 AND chain <> ?2";
    let params = counterfoil_migrate::params![node.number, chain];
    let other: i64 = evidence.hub.query_value(sql, params)?;
    judgement.require(Guarantee::Sound, other == 0, || {
        format!("the hub knows another chain value of {}", node.name)
    });
    Ok(())
}

/// The hub's copy holds the book, row by row.
fn copy_is_the_book(node: &NodeEvidence, judgement: &mut Judgement) -> anyhow::Result<()> {
    for table in tables(&node.book)? {
        let (book, copy) = (dump(&node.book, &table)?, dump(&node.copy, &table)?);
        if let Some(found) = difference(&book, &copy) {
            let text = format!("{} {table}, book against copy: {found}", node.name);
            judgement.breaks(Guarantee::G1, text);
        }
    }
    Ok(())
}

/// All a fault may cost is time: nothing steps aside, and no operator is called. Clocks that are wrong, tills that are
/// silent and prices that two shops change at once are of the plan, and rightly told.
fn nothing_in_quarantine(evidence: &Evidence, judgement: &mut Judgement) -> anyhow::Result<()> {
    let sql = "SELECT reason FROM quarantine
               UNION ALL SELECT halted FROM node WHERE halted IS NOT NULL
               UNION ALL SELECT kind || ': ' || detail FROM alert
                   WHERE kind NOT IN ('clock_wrong', 'silent', 'price_open')";
    let reasons = evidence
        .hub
        .query_map(sql, (), |row| row.get::<String>(0))?;
    judgement.require(Guarantee::Alive, reasons.is_empty(), || {
        format!(
            "the hub put aside, stopped or raised an alarm: {}",
            reasons.join("; ")
        )
    });
    Ok(())
}
