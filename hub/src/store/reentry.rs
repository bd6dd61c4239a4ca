//! How does a record leave quarantine?
//!
//! A decision, the move of the record and the mark that it is settled are one transaction, so the record
//! is consolidated once, whatever is interrupted or repeated. The book stays as it is: what is judged
//! and moved is a copy of the entry in `temp`.

use super::audit::{Decided, write_down};
use super::clock::Correction;
use super::consolidation::{NodeBook, NodeKey, is_about_a_record};
use super::entry::{self, Changes};
use super::movement::{self, Batch};
use super::nodes::till_name;
use super::relayed::{self, LAID_OUT};
use super::{Store, StoreError, edits, lineage, rules};
use counterfoil_domain::{Priority, Rule, RuleSet, Topic};
use counterfoil_migrate::{Connection, SqlError, params};
use serde_json::json;

/// What shall become of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// It is taken in as it is, though a rule says no.
    Waive,
    /// It is taken in with other fields.
    Fix,
    /// It is judged again.
    Retry,
    /// It is judged again because its reason may be gone.
    Follow,
}

impl Decision {
    const fn name(self) -> &'static str {
        match self {
            Self::Waive => "waive",
            Self::Fix => "fix",
            Self::Retry => "retry",
            Self::Follow => "follow",
        }
    }

    /// As the audit trail names it; none for what nobody decided.
    const fn action(self) -> Option<&'static str> {
        match self {
            Self::Waive => Some("quarantine_waived"),
            Self::Fix => Some("quarantine_fixed"),
            Self::Retry => Some("quarantine_retried"),
            Self::Follow => None,
        }
    }

    const fn settles_as(self) -> &'static str {
        match self {
            Self::Waive => "waived",
            Self::Fix => "fixed",
            Self::Retry => "retried",
            Self::Follow => FOLLOWED,
        }
    }
}

const FOLLOWED: &str = "followed";
const INHERITED: &str = "inherited";

/// A decision, by whom and why.
#[derive(Clone, Debug)]
pub(crate) struct Ruling {
    pub(crate) decision: Decision,
    pub(crate) who: String,
    pub(crate) why: String,
    pub(crate) changes: Changes,
    /// Whether it may reach into another shop than the record's.
    pub(crate) crosses_shops: bool,
}

impl Ruling {
    /// Whether a waiver of a rule counts for it: what is another shop's is not stepped over for that shop.
    const fn may_step_over(&self, rule: Rule) -> bool {
        self.crosses_shops || !rule.is_about_another_shop()
    }
}

/// What a decision came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ruled {
    /// The record is consolidated now.
    TakenIn,
    /// It was, by the same decision; nothing changed.
    Repeated,
    /// It stands in quarantine still; the reason may be another one.
    Still,
    /// There is no such record in quarantine, and never was.
    Missing,
    /// Something else was decided about it before.
    Settled { how: String, at_ms: i64 },
    /// It cannot be done; why, for a person.
    Refused(String),
    /// It would reach into another shop than that of whoever decides.
    AnotherShop,
    /// The hub cannot read the record in its copy of the book.
    NoRecord,
}

/// Ends the transaction without a trace.
enum Stop {
    Ruled(Ruled),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Self::Failed(error.into())
    }
}

fn refused(reason: impl Into<String>) -> Stop {
    Stop::Ruled(Ruled::Refused(reason.into()))
}

/// A row of the quarantine.
struct Aside {
    id: Vec<u8>,
    topic: Option<Topic>,
    code: String,
    reason: String,
    /// When and how it was settled.
    settled: Option<(i64, String)>,
}

impl Aside {
    /// The rule that it broke, when a person may step over that one.
    fn waivable(&self) -> Option<Rule> {
        Rule::from_name(&self.code).filter(|rule| rule.may_be_waived())
    }
}

impl Store {
    /// Carries a decision out.
    pub(crate) fn rule(
        &mut self,
        book: &NodeBook,
        seq: i64,
        ruling: &Ruling,
    ) -> Result<Ruled, StoreError> {
        let done = self.with_book(book, |store, node| {
            let done = store
                .hub
                .transaction(|tx| store.ruled(tx, (node, book), seq, ruling));
            match done {
                Ok(ruled) | Err(Stop::Ruled(ruled)) => Ok(ruled),
                Err(Stop::Failed(StoreError::Sql(error))) if is_about_a_record(&error) => {
                    tracing::warn!(node = %node.id, seq, error = &error as &dyn std::error::Error,
                        "a record cannot leave quarantine");
                    store.cannot_be_held(node, seq, ruling.decision)
                }
                Err(Stop::Failed(error)) => Err(error),
            }
        });
        self.count_transaction()?;
        Ok(done?.unwrap_or(Ruled::NoRecord))
    }

    fn ruled(
        &self,
        tx: &Connection,
        (node, book): (&NodeKey, &NodeBook),
        seq: i64,
        ruling: &Ruling,
    ) -> Result<Ruled, Stop> {
        let Some(aside) = load(tx, node.number, seq)? else {
            return Ok(Ruled::Missing);
        };
        if let Some((at_ms, how)) = aside.settled {
            return match is_repeated(tx, node.number, seq, (&how, ruling))? {
                true => Ok(Ruled::Repeated),
                false => Ok(Ruled::Settled { how, at_ms }),
            };
        }
        let waived = waived(tx, (node.number, seq), &aside, ruling)?;
        // What is around the entry tells of its till's clock; of one that others brought only the entry itself.
        let around = if seq > node.sent_until {
            relayed::lay_out(tx, node, (seq - 1, seq))?
        } else {
            entry::lay_out(tx, node.tables, seq, aside.topic)?;
            node.tables
        };
        let sql = format!(
            "SELECT CASE typeof(priority) WHEN 'integer' THEN priority ELSE {} END
             FROM temp.journal WHERE {} = ?1",
            Priority::Low.code(),
            rules::id_bytes("id")
        );
        let priority = tx.query_optional(&sql, params![aside.id.clone()], |row| row.get(0))?;
        let Some(priority) = priority.map(priority_of) else {
            return Err(Stop::Ruled(Ruled::NoRecord));
        };
        if let Err(reason) = entry::change(tx, &self.shape, seq, aside.topic, &ruling.changes)? {
            return Err(refused(reason));
        }
        let clock = match ruling.changes.contains_key("at_ms") {
            // A person says when it was.
            true => Correction::none(),
            false => Correction::of(tx, (node.number, around), (seq - 1, seq), book.now_ms)?,
        };
        let batch = Batch {
            clock,
            node: *node,
            priority,
            after: seq - 1,
            until: seq,
            now_ms: book.now_ms,
            ahead_ms: book.ahead_ms,
            source: LAID_OUT,
            is_decided: true,
            waived,
        };
        if !self.admit(tx, &batch, ruling.decision, &aside)? {
            if ruling.decision == Decision::Waive {
                // What was waived stays waived, and on record.
                note(tx, &batch, &aside.code, ruling)?;
            }
            counterfoil_book::take_away(tx)?;
            return Ok(Ruled::Still);
        }
        check_landed(tx, &batch, aside.topic)?;
        note(tx, &batch, &aside.code, ruling)?;
        counterfoil_book::take_away(tx)?;
        Ok(Ruled::TakenIn)
    }

    /// Judges the one entry of the batch and moves it; false when it has to stay in quarantine.
    fn admit(
        &self,
        tx: &Connection,
        batch: &Batch,
        decision: Decision,
        aside: &Aside,
    ) -> Result<bool, Stop> {
        settle(tx, batch, decision.settles_as())?;
        if batch.node.kin {
            lineage::inherit(tx, batch)?;
        }
        let (_, topics) = movement::topics(tx, batch)?;
        rules::judge(tx, batch, &topics)?;
        let mut found = broken(tx, batch)?;
        if found.is_none() {
            movement::carry(tx, batch, &topics)?;
            edits::merge_batch(tx, &self.shape, batch)?;
            found = broken(tx, batch)?;
        }
        match (found, decision) {
            (None, _) => Ok(true),
            // A person steps over what they were shown, and nothing else.
            (Some(_), Decision::Waive) if aside.waivable().is_some() => Ok(false),
            (Some(reason), Decision::Waive) => Err(cannot_be_waived(&reason)),
            (Some(reason), Decision::Fix) => Err(still_broken(&reason)),
            (Some(_), Decision::Retry | Decision::Follow) => Ok(false),
        }
    }

    /// The engine refused the record. Who waits for it to be judged again hears that it never will be
    /// taken in as it is.
    fn cannot_be_held(
        &self,
        node: &NodeKey,
        seq: i64,
        decision: Decision,
    ) -> Result<Ruled, StoreError> {
        const REASON: &str = "a value in it is damaged or missing and cannot be stored";
        if matches!(decision, Decision::Waive | Decision::Fix) {
            let reason = format!("{REASON}: give it with `quarantine fix`");
            return Ok(Ruled::Refused(reason));
        }
        let sql = "UPDATE quarantine SET code = ?3, reason = ?4, cause = NULL, again = 0
                   WHERE node = ?1 AND seq = ?2 AND settled_ms IS NULL";
        let code = Rule::ValueDamaged.name();
        self.hub
            .execute(sql, params![node.number, seq, code, REASON])?;
        Ok(Ruled::Still)
    }
}

fn cannot_be_waived(reason: &str) -> Stop {
    refused(format!(
        "this cannot be waived, because the hub could not count it: {reason}"
    ))
}

fn still_broken(reason: &str) -> Stop {
    refused(format!(
        "with these changes the record breaks a rule still: {reason}"
    ))
}

fn priority_of(code: i64) -> Priority {
    let known = Priority::ALL.into_iter().find(|known| known.code() == code);
    known.unwrap_or(if code < 0 {
        Priority::Critical
    } else {
        Priority::Low
    })
}

fn load(tx: &Connection, node: i64, seq: i64) -> Result<Option<Aside>, StoreError> {
    let sql = "SELECT id, topic, code, settled_ms, settled_as, reason FROM quarantine
               WHERE node = ?1 AND seq = ?2";
    Ok(tx.query_optional(sql, params![node, seq], |row| {
        let at_ms: Option<i64> = row.get(3)?;
        Ok(Aside {
            id: row.get(0)?,
            topic: Topic::from_code(row.get(1)?),
            code: row.get(2)?,
            reason: row.get(5)?,
            settled: at_ms.zip(row.get(4)?),
        })
    })?)
}

/// Whether the settled record was settled by this decision: an answer was lost, or somebody asked for
/// a judgement that has been given.
fn is_repeated(
    tx: &Connection,
    node: i64,
    seq: i64,
    (how, ruling): (&str, &Ruling),
) -> Result<bool, StoreError> {
    if matches!(ruling.decision, Decision::Retry | Decision::Follow) {
        let by_itself = [Decision::Retry.settles_as(), FOLLOWED, INHERITED];
        return Ok(by_itself.contains(&how));
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM quarantine_decision
               WHERE node = ?1 AND seq = ?2 AND decision = ?3 AND why = ?4 AND changes = ?5)";
    let (why, changes) = (ruling.why.as_str(), to_json(&ruling.changes)?);
    let row = params![node, seq, ruling.decision.name(), why, changes];
    Ok(tx.query_value(sql, row)?)
}

fn to_json(changes: &Changes) -> Result<String, StoreError> {
    serde_json::to_string(changes).map_err(|source| StoreError::Json {
        what: "list of changes",
        source,
    })
}

fn settle(tx: &Connection, batch: &Batch, how: &str) -> Result<(), StoreError> {
    let sql = "UPDATE quarantine SET settled_ms = ?3, settled_as = ?4, again = 0
               WHERE node = ?1 AND seq = ?2";
    let row = params![batch.node.number, batch.until, batch.now_ms, how];
    tx.execute(sql, row)?;
    Ok(())
}

/// How the rule reads that the entry was found to break just now.
fn broken(tx: &Connection, batch: &Batch) -> Result<Option<String>, StoreError> {
    let sql = "SELECT reason FROM quarantine
               WHERE node = ?1 AND seq = ?2 AND settled_ms IS NULL";
    let row = params![batch.node.number, batch.until];
    Ok(tx.query_optional(sql, row, |row| row.get(0))?)
}

/// The rules that people have stepped over for a record, with this decision.
fn waived(
    tx: &Connection,
    (node, seq): (i64, i64),
    aside: &Aside,
    ruling: &Ruling,
) -> Result<RuleSet, Stop> {
    let sql = "SELECT code, why FROM quarantine_decision
               WHERE node = ?1 AND seq = ?2 AND decision = ?3";
    let row = params![node, seq, Decision::Waive.name()];
    let before = tx.query_map(sql, row, |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?))
    })?;
    let mut waived = RuleSet::default();
    for (code, why) in before {
        // An answer may have been lost: the same words again do not waive what nobody has seen.
        if ruling.decision == Decision::Waive && why == ruling.why && code != aside.code {
            let reason = &aside.reason;
            return Err(refused(format!(
                "`{code}` was waived in these words before, and the record breaks another rule, which takes \
                 words of its own: {reason}"
            )));
        }
        // It was waived for the record as it is, not for what somebody of the shop makes of it.
        let counts = |rule: &Rule| ruling.decision != Decision::Fix || ruling.may_step_over(*rule);
        let rule = Rule::from_name(&code).filter(counts);
        waived = rule.map_or(waived, |rule| waived.with(rule));
    }
    if let (Decision::Waive, Some(rule)) = (ruling.decision, aside.waivable()) {
        if !ruling.may_step_over(rule) {
            return Err(Stop::Ruled(Ruled::AnotherShop));
        }
        waived = waived.with(rule);
    }
    Ok(waived)
}

/// No record is called settled that the hub's tables do not hold.
fn check_landed(tx: &Connection, batch: &Batch, topic: Option<Topic>) -> Result<(), Stop> {
    let row = || params![batch.node.number, batch.until];
    let sql = "SELECT EXISTS (SELECT 1 FROM inherited WHERE node = ?1 AND seq = ?2)";
    if tx.query_value(sql, row())? {
        settle(tx, batch, INHERITED)?;
        return Ok(());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM receipt WHERE node = ?1 AND seq = ?2)
                   OR EXISTS (SELECT 1 FROM document WHERE node = ?1 AND seq = ?2)";
    if topic == Some(Topic::CatalogEdit) || tx.query_value(sql, row())? {
        return Ok(());
    }
    Err(refused("the hub's tables have no place for such a record"))
}

fn note(tx: &Connection, batch: &Batch, code: &str, ruling: &Ruling) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO quarantine_decision (node, seq, decision, who, why, at_ms, changes, code)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let row = params![
        batch.node.number,
        batch.until,
        ruling.decision.name(),
        ruling.who.as_str(),
        ruling.why.as_str(),
        batch.now_ms,
        to_json(&ruling.changes)?,
        code
    ];
    tx.execute(sql, row)?;
    let Some(action) = ruling.decision.action() else {
        return Ok(());
    };
    let till = till_name(tx, batch.node.number)?;
    let decided = Decided {
        at_ms: batch.now_ms,
        who: &ruling.who,
        action,
        subject: format!("{till} entry {}", batch.until),
        detail: &ruling.why,
        before: json!(code),
        after: json!(ruling.changes),
        edit: None,
        conflict: None,
    };
    write_down(tx, decided)
}
