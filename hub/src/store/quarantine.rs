//! Which records stepped aside, what belongs to them, and which may be judged again?

use super::alerts::{NewAlert, raise};
use super::consolidation::NodeBook;
use super::{Reader, Store, StoreError, entry, known, node_id, relayed, rules};
use counterfoil_domain::{NodeId, Rule, ShopId, Topic};
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::quarantine::{QuarantineDecision, QuarantineDetail, QuarantineRow};
use serde_json::{Map, Value};

/// Which records are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// Of this shop's nodes.
    pub(crate) shop: Option<ShopId>,
    /// Of this node.
    pub(crate) node: Option<NodeId>,
    /// That broke this rule.
    pub(crate) code: Option<String>,
    /// That stand in quarantine now.
    pub(crate) open: bool,
}

const ROW: &str =
    "SELECT node.id, shop.name, node.lane, q.seq, q.topic, q.code, q.reason, q.found_ms,
        q.settled_ms, q.settled_as
    FROM quarantine AS q JOIN node ON node.number = q.node JOIN shop ON shop.id = node.shop";

fn row(row: &Row<'_>) -> Result<QuarantineRow, SqlError> {
    let topic: i64 = row.get(4)?;
    let name = Topic::from_code(topic).map(|topic| topic.name().to_owned());
    Ok(QuarantineRow {
        node_id: node_id(row, 0)?,
        shop: row.get(1)?,
        lane: row.get(2)?,
        seq: row.get(3)?,
        topic: name.unwrap_or_else(|| format!("unknown ({topic})")),
        code: row.get(5)?,
        reason: row.get(6)?,
        found_ms: row.get(7)?,
        settled_ms: row.get(8)?,
        settled_as: row.get(9)?,
    })
}

impl Reader {
    /// Records in quarantine, and those that were, by node and position.
    pub(crate) fn quarantine(&self, listed: &Listed) -> Result<Vec<QuarantineRow>, StoreError> {
        let sql = format!(
            "{ROW} WHERE (?1 IS NULL OR node.id = ?1) AND (?2 IS NULL OR q.code = ?2)
                 AND (NOT ?3 OR q.settled_ms IS NULL) AND (?4 IS NULL OR node.shop = ?4) ORDER BY q.node, q.seq"
        );
        let node = listed.node.map(NodeId::to_bytes);
        let shop = listed.shop.map(ShopId::to_bytes);
        let row_of = params![node, listed.code.clone(), i64::from(listed.open), shop];
        Ok(self.hub.query_map(&sql, row_of, row)?)
    }

    /// One record with everything that belongs to it but what the book holds; what waits for it only as far as it
    /// is of a shop, when one is given.
    pub(crate) fn quarantined(
        &self,
        (node, seq): (NodeId, i64),
        shop: Option<ShopId>,
    ) -> Result<Option<QuarantineDetail>, StoreError> {
        self.hub.snapshot(|hub| detail(hub, (node, seq), shop))
    }

    /// How many records stand in quarantine, of one shop or of all.
    pub(crate) fn quarantine_size(&self, shop: Option<ShopId>) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM quarantine AS q JOIN node ON node.number = q.node
                   WHERE q.settled_ms IS NULL AND (?1 IS NULL OR node.shop = ?1)";
        Ok(self
            .hub
            .query_value(sql, params![shop.map(ShopId::to_bytes)])?)
    }

    /// Records whose reason to stand in quarantine has gone, or may have: what they waited for is here, this program
    /// knows their kind or the words in them, the catalog has got other tables and columns, or they were consolidated from another book, which
    /// another till of a lineage may have too.
    pub(crate) fn due_again(&self) -> Result<Vec<(NodeId, i64)>, StoreError> {
        const CAUSE: &str = "CAST(q.cause AS TEXT)";
        let topics = Topic::ALL.map(|topic| topic.code().to_string()).join(", ");
        let sql = format!(
            "SELECT node.id, q.seq FROM quarantine AS q JOIN node ON node.number = q.node
             WHERE q.settled_ms IS NULL AND CASE
                 WHEN q.again = 1 THEN TRUE
                 WHEN q.code <> '{}' AND (EXISTS (SELECT 1 FROM receipt AS h WHERE h.id = q.id)
                     OR EXISTS (SELECT 1 FROM document AS h WHERE h.id = q.id)) THEN TRUE
                 WHEN q.code IN ('{}', '{}') THEN
                     EXISTS (SELECT 1 FROM receipt AS h WHERE h.id = q.cause)
                 WHEN q.code = '{}' THEN {}
                 WHEN q.code = '{}' THEN {}
                 WHEN q.code = '{}' THEN q.topic IN ({topics})
             END ORDER BY q.node, q.seq",
            Rule::IdKnown.name(),
            Rule::RefundOfQuarantined.name(),
            Rule::RefundOfUnknown.name(),
            Rule::ProductUnknown.name(),
            known::is_entered("products", CAUSE),
            Rule::CustomerUnknown.name(),
            known::is_known_customer(CAUSE),
            Rule::TopicUnknown.name(),
        );
        let place = |row: &Row<'_>| Ok((node_id(row, 0)?, row.get(1)?));
        Ok(self.hub.query_map(&sql, (), place)?)
    }
}

/// Has what an older program had no table, column or word for judged again: once for each catalog schema and
/// each list of words, because what is unknown still would be looked at for ever.
pub(super) fn judge_again(hub: &Connection, catalog: i32) -> Result<(), StoreError> {
    hub.transaction(|tx| {
        let sql = "INSERT INTO meta VALUES ('judged_with', ?1) ON CONFLICT (key)
                   DO UPDATE SET value = excluded.value WHERE value <> excluded.value";
        if tx.execute(sql, params![format!("{catalog} {}", rules::words())])? > 0 {
            let sql = "UPDATE quarantine SET again = 1
                       WHERE settled_ms IS NULL AND code IN (?1, ?2, ?3)";
            let codes = [Rule::TableUnknown, Rule::ColumnUnknown, Rule::ValueUnknown];
            let [table, column, value] = codes.map(Rule::name);
            tx.execute(sql, params![table, column, value])?;
        }
        Ok(())
    })
}

fn detail(
    hub: &Connection,
    (node, seq): (NodeId, i64),
    shop: Option<ShopId>,
) -> Result<Option<QuarantineDetail>, StoreError> {
    let at = || params![node.to_bytes(), seq];
    let sql = format!("{ROW} WHERE node.id = ?1 AND q.seq = ?2");
    let Some(found) = hub.query_optional(&sql, at(), row)? else {
        return Ok(None);
    };
    let number = "SELECT number FROM node WHERE id = ?1";
    let number: i64 = hub.query_value(number, params![node.to_bytes()])?;
    let sql = format!(
        "{ROW} WHERE q.settled_ms IS NULL AND q.cause = (SELECT own.id FROM quarantine AS own
             WHERE own.node = ?1 AND own.seq = ?2) AND (?3 IS NULL OR node.shop = ?3)
         ORDER BY q.node, q.seq"
    );
    let of = params![number, seq, shop.map(ShopId::to_bytes)];
    let dependants = hub.query_map(&sql, of, row)?;
    let sql = "SELECT decision, who, why, at_ms, code, changes FROM quarantine_decision
               WHERE node = ?1 AND seq = ?2 ORDER BY number";
    let decisions = hub.query_map(sql, params![number, seq], |row| {
        Ok(QuarantineDecision {
            decision: row.get(0)?,
            who: row.get(1)?,
            why: row.get(2)?,
            at_ms: row.get(3)?,
            code: row.get(4)?,
            changes: row.get_with(5, |text: String| serde_json::from_str(&text))?,
        })
    })?;
    let rule = Rule::from_name(&found.code);
    Ok(Some(QuarantineDetail {
        may_be_waived: found.settled_ms.is_none() && rule.is_some_and(Rule::may_be_waived),
        row: found,
        record: None,
        consolidated: entry::consolidated(hub, number, seq)?,
        dependants,
        decisions,
    }))
}

impl Store {
    /// An entry as it stands in the book; nothing when it cannot be read.
    pub(crate) fn recorded(
        &mut self,
        book: &NodeBook,
        seq: i64,
    ) -> Result<Option<Map<String, Value>>, StoreError> {
        let found = self.with_book(book, |store, node| {
            let found = match seq > node.sent_until {
                true => store.hub.transaction(|tx| {
                    let source = relayed::lay_out(tx, node, (seq - 1, seq))?;
                    let found = entry::record(tx, source, seq);
                    counterfoil_book::take_away(tx)?;
                    found
                }),
                false => entry::record(&store.hub, node.tables, seq),
            };
            match found {
                // What makes it unreadable may be why it stands in quarantine.
                Err(StoreError::Sql(SqlError::Column { .. } | SqlError::Decode { .. })) => Ok(None),
                found => found,
            }
        })?;
        Ok(found.flatten())
    }

    /// Names what refunds wait for that stepped aside after them, and tells a person of every record
    /// that nobody has been told of.
    pub(crate) fn tend_quarantine(&self, now_ms: i64) -> Result<(), StoreError> {
        let untold =
            "SELECT EXISTS (SELECT 1 FROM quarantine WHERE settled_ms IS NULL AND told = 0)";
        if !self.hub.query_value::<bool>(untold, ())? {
            return Ok(());
        }
        self.hub.transaction(|tx| {
            let sql = "UPDATE quarantine AS q SET code = ?2, reason =
                           'it takes back a receipt that stands in quarantine itself ('
                           || c.place || '); when that is settled, this follows by itself'
                       FROM (SELECT own.id, shop.name || '/' || node.lane || ', entry ' || own.seq AS place
                             FROM quarantine AS own JOIN node ON node.number = own.node
                             JOIN shop ON shop.id = node.shop WHERE own.settled_ms IS NULL) AS c
                       WHERE q.settled_ms IS NULL AND q.code = ?1 AND c.id = q.cause";
            let (unknown, aside) = (Rule::RefundOfUnknown, Rule::RefundOfQuarantined);
            tx.execute(sql, params![unknown.name(), aside.name()])?;
            let sql = "SELECT node.id, count(*), min(q.seq), q.reason
                       FROM quarantine AS q JOIN node ON node.number = q.node
                       WHERE q.settled_ms IS NULL AND q.told = 0 GROUP BY q.node";
            let found = tx.query_map(sql, (), |row| {
                let (count, seq, reason): (i64, i64, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((node_id(row, 0)?, count, seq, reason))
            })?;
            for (node, count, seq, reason) in found {
                let records = if count == 1 { "record" } else { "records" };
                let detail = format!(
                    "{count} {records} of this till stepped aside, the first is entry {seq}: {reason}"
                );
                let alert = NewAlert {
                    at_ms: now_ms,
                    kind: "quarantine_not_empty",
                    node: Some(node),
                    subject: String::new(),
                    detail,
                };
                raise(tx, &alert)?;
            }
            tx.execute("UPDATE quarantine SET told = 1 WHERE told = 0", ())?;
            Ok(())
        })
    }
}
