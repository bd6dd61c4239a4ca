//! Which entries of a batch break a rule, and which one?
//!
//! Rows are judged as sets; none visits the program. A statement finds `rule: sentence`; the entry goes
//! to quarantine with both. Later statements look only at what earlier ones left.

use super::movement::{Batch, PLAIN, Plain, RECEIPT_DATA, lines, payments, run, sound};
use super::{StoreError, known};
use crate::limits::TIME_MS_MIN;
use counterfoil_domain::document::{AMOUNT_MINOR_MAX, CashEvent, Tender};
use counterfoil_domain::item::PAYMENTS_FROM;
use counterfoil_domain::{Rule, Topic};
use counterfoil_migrate::Connection;

/// Puts aside what `SELECT seq, id, topic, finding, cause` finds. An entry that is judged again
/// after it had been settled stands in quarantine again.
fn put_aside(batch: &Batch, select: &str) -> String {
    format!(
        "INSERT INTO main.quarantine (node, seq, id, topic, code, reason, cause, found_ms, at_ms)
         SELECT ?1, seq, {}, {}, substr(finding, 1, instr(finding, ':') - 1),
                substr(finding, instr(finding, ':') + 2), CAST(cause AS BLOB), ?4,
                (SELECT CASE typeof(a.at_ms) WHEN 'integer' THEN a.at_ms END
                 FROM {}journal AS a WHERE a.seq = found.seq)
         FROM ({select}) AS found WHERE finding IS NOT NULL
         ON CONFLICT (node, seq) DO UPDATE SET code = excluded.code, reason = excluded.reason,
             cause = excluded.cause, settled_ms = NULL, settled_as = NULL",
        id_bytes("id"),
        topic_code("topic"),
        batch.source,
    )
}

/// The bytes of an id, whatever type damage has made of it: the quarantine takes no other.
pub(super) fn id_bytes(id: &str) -> String {
    format!("CAST(coalesce({id}, x'') AS BLOB)")
}

/// The number of a topic; -1, which no topic has, when damage has made something else of it.
pub(super) fn topic_code(topic: &str) -> String {
    format!("CASE typeof({topic}) WHEN 'integer' THEN {topic} ELSE -1 END")
}

/// A condition and what it finds, as a part of CASE; nothing when a person has waived the rule. `sentence` is an
/// SQL expression.
fn when(batch: &Batch, condition: &str, rule: Rule, sentence: &str) -> String {
    if batch.waived.has(rule) {
        return "WHEN FALSE THEN NULL".to_owned();
    }
    format!("WHEN {condition} THEN '{}: ' || {sentence}", rule.name())
}

/// Judges everything but catalog edits; gives how many entries stepped aside.
pub(super) fn judge(tx: &Connection, batch: &Batch, topics: &[i64]) -> Result<u64, StoreError> {
    let has = |topic: Topic| topics.contains(&topic.code());
    let mut aside = run(tx, batch, &put_aside(batch, &entries(batch)))?;
    if has(Topic::Sale) || has(Topic::Refund) {
        aside += run(tx, batch, &put_aside(batch, &receipts(batch)))?;
        aside += run(tx, batch, &put_aside(batch, &numbers(batch)))?;
        // A refund that steps aside takes along what refers to it.
        // What it takes back is in quarantine or unknown: who waives the one waives the other.
        let waived = [Rule::RefundOfQuarantined, Rule::RefundOfUnknown];
        while !waived.iter().any(|rule| batch.waived.has(*rule)) {
            let more = run(tx, batch, &put_aside(batch, &refunds(batch)))?;
            if more == 0 {
                break;
            }
            aside += more;
        }
    }
    for plain in PLAIN.iter().filter(|plain| has(plain.topic)) {
        aside += run(tx, batch, &put_aside(batch, &documents(batch, plain)))?;
    }
    Ok(aside)
}

/// What no table can take: kinds from a newer program, damaged ids, repeated ids.
fn entries(batch: &Batch) -> String {
    let known = Topic::ALL.map(|topic| topic.code().to_string()).join(", ");
    let code = topic_code("j.topic");
    let cases = [
        when(
            batch,
            &format!("{code} NOT IN ({known})"),
            Rule::TopicUnknown,
            &format!(
                "'this kind of record (' || {code} || ') is not known to this hub; update the hub'"
            ),
        ),
        when(
            batch,
            "typeof(j.id) <> 'blob' OR length(j.id) <> 16",
            Rule::IdDamaged,
            "'its id is damaged'",
        ),
        when(
            batch,
            "EXISTS (SELECT 1 FROM main.receipt AS h WHERE h.id = j.id)
                 OR EXISTS (SELECT 1 FROM main.document AS h WHERE h.id = j.id)",
            Rule::IdKnown,
            "'a record with the same id is here already, from another place'",
        ),
    ];
    format!(
        "SELECT j.seq, j.id, j.topic, CASE {} END AS finding, NULL AS cause
         FROM {}journal AS j WHERE {}",
        cases.join(" "),
        batch.source,
        sound(batch)
    )
}

const WHOLE: &str = "j.trial IS NOT NULL AND j.series IS NOT NULL AND j.number IS NOT NULL
    AND j.at_ms IS NOT NULL AND j.currency IS NOT NULL AND j.total_minor IS NOT NULL";

/// Series are short and plain: they are names that people read out, and stand in sentences.
const SERIES_PLAIN: &str =
    "length(series) BETWEEN 1 AND 16 AND series NOT GLOB '*[^A-Za-z0-9_.-]*'";

fn out_of_range(amount: &str) -> String {
    format!("{amount} NOT BETWEEN -{AMOUNT_MINOR_MAX} AND {AMOUNT_MINOR_MAX}")
}

/// What is wrong with a time, which is judged as it is corrected; `?4` is now.
fn impossible_time(batch: &Batch, at_ms: &str, corrected: &str) -> String {
    let ahead = batch.ahead_ms;
    when(
        batch,
        &format!("{corrected} < {TIME_MS_MIN} OR {corrected} > ?4 + {ahead}"),
        Rule::TimeImpossible,
        &format!(
            "'it is dated ' || coalesce(datetime({at_ms} / 1000, 'unixepoch'), {at_ms} || ' ms')
                 || ', which cannot be: was the clock of the till wrong?'"
        ),
    )
}

/// The words of other programs that this one knows. One that it does not know is [`Rule::ValueUnknown`].
pub(super) fn words() -> String {
    let (tenders, events) = (
        Tender::ALL.map(Tender::name),
        CashEvent::ALL.map(CashEvent::name),
    );
    format!("{} {}", tenders.join(" "), events.join(" "))
}

/// Receipts that do not add up, or hold what cannot be. The first wrong line or payment is named by
/// the least number of `fault << 16 | position`; amounts out of range are left out of the sums, which
/// would overflow.
fn receipts(batch: &Batch) -> String {
    let (position, amount) = (PAYMENTS_FROM - 1, out_of_range("i.amount_minor"));
    let tenders = Tender::ALL.map(Tender::name).join("', '");
    let summed = format!("sum(CASE WHEN {amount} THEN 0 ELSE i.amount_minor END)");
    // Only the first fault is told: one that is waived must not hide another.
    let sign = match batch.waived.has(Rule::QuantitySignWrong) {
        true => "FALSE",
        false => "(i.quantity_milli > 0) <> (j.topic = 1) OR i.quantity_milli = 0",
    };
    // Within half a minor unit: however halves are rounded.
    let line_fault = format!(
        "min(CASE WHEN {amount} OR i.unit_price_mills < 0 THEN 1
                  WHEN ({sign}) THEN 2
                  WHEN abs(i.amount_minor * 10000 - i.quantity_milli * i.unit_price_mills) > 5000 THEN 3
             END << 16 | (i.key & {position}))"
    );
    let payment_fault = format!(
        "min(CASE WHEN {amount} THEN 1 WHEN i.tender NOT IN ('{tenders}') THEN 2
             END << 16 | (i.key & {position}))"
    );
    format!(
        "WITH checked AS MATERIALIZED (
             SELECT j.seq, j.id, j.topic, {WHOLE} AS whole, j.total_minor AS total, j.at_ms,
                 {corrected} AS corrected, j.currency, j.series, j.number, j.trial,
                 (SELECT {summed} FROM {source}receipt_item AS i WHERE {lines}) AS lines,
                 (SELECT {line_fault} FROM {source}receipt_item AS i WHERE {lines}) AS line_fault,
                 (SELECT {summed} FROM {source}receipt_item AS i WHERE {payments}) AS payments,
                 (SELECT {payment_fault} FROM {source}receipt_item AS i WHERE {payments})
                     AS payment_fault
             FROM {source}journal AS j WHERE j.topic IN (1, 2) AND {sound}
         )
         SELECT seq, id, topic, CASE {cases} END AS finding, NULL AS cause FROM checked",
        source = batch.source,
        corrected = batch.clock.sql("j.seq", "j.at_ms", Some(RECEIPT_DATA)),
        lines = lines(),
        payments = payments(),
        sound = sound(batch),
        cases = receipt_cases(batch).join(" "),
    )
}

/// Rules that cannot be waived come first, so that a waiver never steps over one of them.
fn receipt_cases(batch: &Batch) -> Vec<String> {
    let line = "'line ' || (line_fault & 65535) || ' '";
    let mut cases = vec![
        when(
            batch,
            "NOT whole",
            Rule::RecordMissing,
            "'the receipt itself is missing'",
        ),
        when(
            batch,
            &format!(
                "{} OR number < 1 OR trial NOT IN (0, 1)
                     OR currency NOT GLOB '[A-Z][A-Z][A-Z]' OR NOT ({SERIES_PLAIN})",
                out_of_range("total")
            ),
            Rule::ValueOutOfRange,
            "'its total, number, series or currency cannot be true'",
        ),
        when(
            batch,
            "line_fault >> 16 = 1",
            Rule::ValueOutOfRange,
            &format!("{line} || 'has an amount or a price that cannot be true'"),
        ),
        when(
            batch,
            "payment_fault >> 16 = 1",
            Rule::ValueOutOfRange,
            "'payment ' || (payment_fault & 65535) || ' is too large to be true'",
        ),
    ];
    cases.extend(sum_cases(batch));
    cases
}

/// Receipts that do not add up.
fn sum_cases(batch: &Batch) -> [String; 8] {
    let line = "'line ' || (line_fault & 65535) || ' '";
    // A person who knows that the total is wrong need not be told so again by the payments.
    let paid = match batch.waived.has(Rule::TotalWrong) {
        true => "total, coalesce(lines, total)",
        false => "total",
    };
    [
        impossible_time(batch, "at_ms", "corrected"),
        when(
            batch,
            "lines IS NULL",
            Rule::LinesMissing,
            "'the receipt has no lines'",
        ),
        when(
            batch,
            "line_fault >> 16 = 2",
            Rule::QuantitySignWrong,
            &format!(
                "{line} || CASE topic WHEN 1 THEN 'of a sale takes goods back, or none'
                     ELSE 'of a refund gives goods out, or none' END"
            ),
        ),
        when(
            batch,
            "line_fault >> 16 = 3",
            Rule::LineAmountWrong,
            &format!("{line} || 'does not come to its quantity times its price'"),
        ),
        when(
            batch,
            "lines <> total",
            Rule::TotalWrong,
            "'the lines come to ' || lines || ' minor units, but the total says ' || total",
        ),
        when(
            batch,
            &format!("coalesce(payments, 0) NOT IN ({paid})"),
            Rule::PaymentsWrong,
            "'the payments come to ' || coalesce(payments, 0)
                 || ' minor units, but the total says ' || total",
        ),
        when(
            batch,
            "payment_fault >> 16 = 2",
            Rule::ValueUnknown,
            "'payment ' || (payment_fault & 65535)
                 || ' is of a kind that this hub does not know; update the hub'",
        ),
        "ELSE NULL".to_owned(),
    ]
}

/// Receipts whose number an earlier sound receipt of the till has.
fn numbers(batch: &Batch) -> String {
    let repeated = when(
        batch,
        "nth > 1 OR known",
        Rule::NumberRepeated,
        &format!(
            "'another receipt of this till has the number ' || CASE WHEN {SERIES_PLAIN} THEN series
                 ELSE 'of the series x' || hex(series) END || '-' || number || ' too'"
        ),
    );
    format!(
        "SELECT seq, id, topic, CASE {repeated} END AS finding, NULL AS cause FROM (
             SELECT j.seq, j.id, j.topic, j.series, j.number,
                 row_number() OVER (PARTITION BY j.series, j.number ORDER BY j.seq) AS nth,
                 EXISTS (SELECT 1 FROM main.receipt AS h WHERE h.node = ?1
                         AND h.series = j.series AND h.number = j.number) AS known
             FROM {}journal AS j WHERE j.topic IN (1, 2) AND {})",
        batch.source,
        sound(batch)
    )
}

/// Refunds of a receipt that is neither consolidated nor sound and earlier in this batch.
fn refunds(batch: &Batch) -> String {
    let (source, sound_before) = (batch.source, sound(batch).replace("j.", "s."));
    let in_quarantine = when(
        batch,
        "place IS NOT NULL",
        Rule::RefundOfQuarantined,
        "'it takes back a receipt that stands in quarantine itself (' || place
             || '); when that is settled, this follows by itself'",
    );
    format!(
        "SELECT seq, id, topic, CASE {in_quarantine}
             ELSE '{}: it takes back a receipt that no till has sent so far; when that arrives, this '
                 || 'follows by itself' END AS finding, cause
         FROM (SELECT j.seq, j.id, j.topic, j.refund_of AS cause,
                   (SELECT shop.name || '/' || n.lane || ', entry ' || q.seq
                    FROM main.quarantine AS q JOIN main.node AS n ON n.number = q.node
                    JOIN main.shop ON shop.id = n.shop
                    WHERE q.id = j.refund_of AND q.settled_ms IS NULL LIMIT 1) AS place
               FROM {source}journal AS j
               WHERE j.topic IN (1, 2) AND j.refund_of IS NOT NULL AND {sound}
                 AND NOT EXISTS (SELECT 1 FROM main.receipt AS h WHERE h.id = j.refund_of)
                 AND NOT EXISTS (SELECT 1 FROM {source}journal AS s WHERE s.id = j.refund_of
                     AND s.seq < j.seq AND s.topic IN (1, 2) AND {sound_before}))",
        Rule::RefundOfUnknown.name(),
        sound = sound(batch),
    )
}

fn documents(batch: &Batch, plain: &Plain) -> String {
    let mut cases = vec![when(
        batch,
        "d.seq IS NULL",
        Rule::RecordMissing,
        "'the record itself is missing'",
    )];
    for (condition, rule, sentence) in document_rules(plain.topic) {
        cases.push(when(batch, &condition, rule, &format!("'{sentence}'")));
    }
    let corrected = batch.clock.sql("j.seq", "d.at_ms", plain.data());
    cases.push(impossible_time(batch, "d.at_ms", &corrected));
    let mut customer = "NULL";
    if let Some(owing) = known::owing(plain.topic) {
        customer = known::CUSTOMER;
        // The last one: what has to be put right by a person is told at once, not when the customer is here.
        cases.push(stranger(batch, owing));
    }
    format!(
        "SELECT seq, id, topic, finding, CASE WHEN finding GLOB '{}:*' THEN customer END AS cause
         FROM (SELECT j.seq, j.id, j.topic, CASE {} END AS finding, {customer} AS customer
               FROM {source}journal AS j LEFT JOIN {source}{} AS d ON d.seq = j.seq
               WHERE j.topic = {} AND {})",
        Rule::CustomerUnknown.name(),
        cases.join(" "),
        plain.table,
        plain.topic.code(),
        sound(batch),
        source = batch.source,
    )
}

/// What is owed by or to a customer whom nobody has entered.
fn stranger(batch: &Batch, owing: &str) -> String {
    let name = known::named();
    when(
        batch,
        &known::is_stranger(batch),
        Rule::CustomerUnknown,
        &format!(
            "'{owing} of the customer `' || {name} || '`, whom nobody has entered so far; when that '
                 || 'is done, this follows by itself'"
        ),
    )
}

fn document_rules(topic: Topic) -> Vec<(String, Rule, &'static str)> {
    const TOO_LARGE: &str = "its amount is too large to be true";
    let too_large = |amount| (out_of_range(amount), Rule::ValueOutOfRange, TOO_LARGE);
    match topic {
        Topic::LedgerEntry => vec![too_large("d.amount_minor")],
        Topic::AdvanceOrder => vec![
            too_large("d.total_minor"),
            too_large("d.deposit_minor"),
            (
                "(SELECT total(amount ->> 'amount_minor') FROM
                     (SELECT value AS amount FROM json_each(d.lines))) <> d.total_minor"
                    .to_owned(),
                Rule::TotalWrong,
                "the lines do not come to the total",
            ),
        ],
        Topic::CashSession => {
            let events = CashEvent::ALL.map(CashEvent::name).join("', '");
            vec![
                too_large("d.counted_minor"),
                (
                    format!("d.event NOT IN ('{events}')"),
                    Rule::ValueUnknown,
                    "what happened to the drawer is not known to this hub; update the hub",
                ),
            ]
        }
        Topic::Expense => vec![
            too_large("d.amount_minor"),
            (
                "d.amount_minor <= 0".to_owned(),
                Rule::ValueOutOfRange,
                "an expense is an amount above zero",
            ),
        ],
        Topic::ParkedSale | Topic::ParkedDiscard | Topic::Escrow => vec![(
            "d.payload IS NULL".to_owned(),
            Rule::RecordMissing,
            "the record itself is missing",
        )],
        Topic::StockCount => vec![(
            "d.quantity_milli < 0".to_owned(),
            Rule::ValueOutOfRange,
            "nobody counts less than nothing",
        )],
        Topic::Activation
        | Topic::Sale
        | Topic::Refund
        | Topic::CatalogEdit
        | Topic::StockMovement
        | Topic::Closure
        | Topic::EmployeeEvent => Vec::new(),
    }
}

/// The first entry of the batch cannot be stored at all: it steps aside, the rest goes on.
pub(super) fn put_first_aside(tx: &Connection, batch: &Batch) -> Result<u64, StoreError> {
    let select = format!(
        "SELECT j.seq, j.id, j.topic,
             '{}: a value in it is damaged and cannot be stored' AS finding, NULL AS cause
         FROM {}journal AS j WHERE {} ORDER BY j.seq LIMIT 1",
        Rule::ValueDamaged.name(),
        batch.source,
        sound(batch)
    );
    run(tx, batch, &put_aside(batch, &select))
}
