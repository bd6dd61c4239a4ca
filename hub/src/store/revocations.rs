//! Which lanes of a shop may not take part in its mesh, and which of their keys are never certified again?
//!
//! Whoever was revoked once stays on the list: a till that was taken in again is there with the time before which its
//! certificates are refused. So a list that a lane brings, and that names somebody whom this hub has forgotten, says that the
//! hub was restored from a backup.
//!
//! The list has a number, by which lanes know the newer of two. It is a time, so that a hub that was restored goes on above
//! what it has forgotten.

use super::alerts::{NewAlert, insert_alert};
use super::users::note;
use super::{Reader, Store, StoreError, node_id, shop_id};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::certificate::{REVOKED_MAX, Revocations, RevokedLane};
use serde_json::Value;

/// Certificates count whole seconds.
const SECOND_MS: i64 = 1_000;

/// A lane that asks for a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Applicant {
    pub(crate) node: NodeId,
    pub(crate) shop: ShopId,
    /// Public half of its key.
    pub(crate) key: [u8; 32],
    /// The lists that it has, which this hub has signed.
    pub(crate) lists: Vec<Revocations>,
}

/// What becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Certified {
    /// It is given a certificate.
    Given {
        revoked: Revocations,
        /// Its time begins not before this, milliseconds since the Unix epoch.
        begins_ms: i64,
    },
    /// Somebody else may have the key: the lane was revoked while it had it.
    KeyRefused,
    /// It was revoked, as its own list or another lane's says.
    Revoked,
}

/// What stands on the list of a lane.
struct Row {
    issued_before_ms: Option<i64>,
    number: i64,
}

fn number(hub: &Connection, shop: ShopId) -> Result<i64, StoreError> {
    let sql = "SELECT revocations FROM shop WHERE id = ?1";
    Ok(hub.query_value(sql, params![shop.to_bytes()])?)
}

/// The list of a shop is another one from now on, with a number above this; which one.
fn renumber(tx: &Connection, shop: ShopId, above: i64, now_ms: i64) -> Result<i64, StoreError> {
    let sql = "UPDATE shop SET revocations = max(revocations + 1, ?2 + 1, ?3) WHERE id = ?1";
    tx.execute(sql, params![shop.to_bytes(), above, now_ms])?;
    number(tx, shop)
}

fn row_of(tx: &Connection, (shop, node): (ShopId, NodeId)) -> Result<Option<Row>, StoreError> {
    let sql = "SELECT issued_before_ms, number FROM revoked_lane WHERE shop = ?1 AND node = ?2";
    let key = params![shop.to_bytes(), node.to_bytes()];
    Ok(tx.query_optional(sql, key, |row| {
        Ok(Row {
            issued_before_ms: row.get(0)?,
            number: row.get(1)?,
        })
    })?)
}

fn keep(
    tx: &Connection,
    shop: ShopId,
    lane: &RevokedLane,
    (number, now_ms): (i64, i64),
) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO revoked_lane (shop, node, issued_before_ms, number, heard_ms)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let (node, before_ms) = (lane.node.to_bytes(), lane.issued_before_ms);
    let row = params![shop.to_bytes(), node, before_ms, number, now_ms];
    tx.execute(sql, row)?;
    // Whoever is revoked has told nobody how many copies of its folder there are.
    let sql = "UPDATE lane_key SET refused = 1 WHERE node = ?1";
    tx.execute(sql, params![lane.node.to_bytes()])?;
    Ok(())
}

/// Puts a node on its shop's list: all of its certificates are refused, and none of its keys is certified again.
pub(super) fn refuse(tx: &Connection, node: NodeId, now_ms: i64) -> Result<(), StoreError> {
    let sql = "SELECT shop FROM node WHERE id = ?1";
    let shop = tx.query_row(sql, params![node.to_bytes()], |row| shop_id(row, 0))?;
    let number = renumber(tx, shop, 0, now_ms)?;
    let issued_before_ms = None;
    let lane = RevokedLane {
        node,
        issued_before_ms,
    };
    keep(tx, shop, &lane, (number, now_ms))
}

/// A node that was revoked takes part again, with certificates that are made from now on. Of one that was not revoked
/// nothing changes.
pub(super) fn take_in_again(
    tx: &Connection,
    (shop, node): (ShopId, NodeId),
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE id = ?1 AND revoked_ms IS NOT NULL)";
    let was_revoked: bool = tx.query_value(sql, params![node.to_bytes()])?;
    let row = row_of(tx, (shop, node))?;
    let was_out = row.as_ref().is_some_and(|it| it.issued_before_ms.is_none());
    if !was_revoked && !was_out {
        return Ok(());
    }
    // Later than any certificate that it has had, whatever the hub's clock said then.
    let sql = "SELECT coalesce(max(issued_ms), 0) FROM lane_key WHERE node = ?1";
    let newest_ms: i64 = tx.query_value(sql, params![node.to_bytes()])?;
    let before_ms = row.and_then(|it| it.issued_before_ms).unwrap_or(0);
    let from_ms = now_ms.max(newest_ms).max(before_ms);
    let from_ms = (from_ms.div_euclid(SECOND_MS) + 1) * SECOND_MS;
    let number = renumber(tx, shop, 0, now_ms)?;
    let lane = RevokedLane {
        node,
        issued_before_ms: Some(from_ms),
    };
    keep(tx, shop, &lane, (number, now_ms))
}

/// Whether a node that this hub does not know was revoked, and this hub has heard of that after a join code was made: the
/// code was not made to take it in again.
pub(super) fn is_out_for(
    tx: &Connection,
    (shop, node): (ShopId, NodeId),
    code_ms: i64,
) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM revoked_lane
                   WHERE shop = ?1 AND node = ?2 AND issued_before_ms IS NULL AND heard_ms >= ?3)";
    let asked = params![shop.to_bytes(), node.to_bytes(), code_ms];
    Ok(tx.query_value(sql, asked)?)
}

/// Takes in what lists say that this hub has signed and forgotten, and tells a person.
fn remember(
    tx: &Connection,
    shop: ShopId,
    lists: &[Revocations],
    now_ms: i64,
) -> Result<(), StoreError> {
    let highest = lists.iter().map(|list| list.number).max().unwrap_or(0);
    let mut is_news = highest > number(tx, shop)?;
    for (list, lane) in lists
        .iter()
        .flat_map(|it| it.lanes.iter().map(move |lane| (it, lane)))
    {
        let lane = match (row_of(tx, (shop, lane.node))?, lane.issued_before_ms) {
            (None, _) => lane.clone(),
            // It was taken in again, and then revoked.
            (Some(row), None) if row.issued_before_ms.is_some() && row.number < list.number => {
                lane.clone()
            }
            (Some(row), Some(theirs)) if row.issued_before_ms.is_some_and(|it| it < theirs) => {
                lane.clone()
            }
            _ => continue,
        };
        is_news = true;
        let taken_in_ms = match lane.issued_before_ms {
            Some(then_ms) => taken_in_after(tx, lane.node, then_ms)?,
            None => None,
        };
        let issued_before_ms = match taken_in_ms {
            Some(taken_in_ms) => Some(taken_in_ms),
            // What it was given meanwhile may be anybody's who has a copy, however late it is dated.
            None if shut_out_again(tx, &lane, now_ms)? => None,
            None => lane.issued_before_ms,
        };
        let lane = RevokedLane {
            issued_before_ms,
            ..lane
        };
        keep(tx, shop, &lane, (list.number, now_ms))?;
    }
    if is_news {
        renumber(tx, shop, highest, now_ms)?;
    }
    Ok(())
}

/// Since when a node has access by a join code that it used after a moment; the copy of its folder has no code. Whole seconds,
/// later than any certificate of before.
fn taken_in_after(tx: &Connection, node: NodeId, then_ms: i64) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT max(used_ms) FROM join_code WHERE used_by = ?1 AND used_ms >= ?2
               AND (SELECT revoked_ms FROM node WHERE id = ?1) IS NULL";
    let used_ms: Option<i64> = tx.query_value(sql, params![node.to_bytes(), then_ms])?;
    Ok(used_ms.map(|used_ms| (used_ms.div_euclid(SECOND_MS) + 1) * SECOND_MS))
}

/// A node that was revoked after the backup has no access; one that was taken in again since has another token than the one
/// that is known here. Whether it had access.
fn shut_out_again(tx: &Connection, lane: &RevokedLane, now_ms: i64) -> Result<bool, StoreError> {
    let node = lane.node;
    let sql =
        "UPDATE node SET revoked_ms = ?2, next_token_hash = NULL, next_token_expires_ms = NULL
               WHERE id = ?1 AND revoked_ms IS NULL";
    let had_access = tx.execute(sql, params![node.to_bytes(), now_ms])? > 0;
    if had_access {
        let what = ("node_revoked", format!("node {node}"));
        note(tx, ("lanes of its shop", now_ms), what, Value::Null)?;
    }
    let then = match lane.issued_before_ms {
        None => "it is revoked again",
        Some(_) => "it was taken in again after that, and needs a join code once more",
    };
    let alert = NewAlert {
        at_ms: now_ms,
        kind: "revocation_forgotten",
        node: Some(node),
        subject: String::new(),
        detail: format!(
            "till {node} was revoked at this hub, which has forgotten it: it was restored from an older backup; {then}, \
             because a lane of its shop had the list"
        ),
    };
    insert_alert(tx, &alert)?;
    Ok(had_access)
}

fn list(tx: &Connection, shop: ShopId) -> Result<Revocations, StoreError> {
    let sql = "SELECT node, issued_before_ms FROM revoked_lane WHERE shop = ?1
               ORDER BY number DESC, node LIMIT ?2";
    let most = i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX);
    let lanes = tx.query_map(sql, params![shop.to_bytes(), most], |row| {
        Ok(RevokedLane {
            node: node_id(row, 0)?,
            issued_before_ms: row.get(1)?,
        })
    })?;
    let number = number(tx, shop)?;
    Ok(Revocations {
        shop,
        number,
        lanes,
    })
}

impl Reader {
    /// Number of a shop's list.
    pub(crate) fn revocations_number(&self, shop: ShopId) -> Result<i64, StoreError> {
        number(&self.hub, shop)
    }
}

impl Store {
    /// Tells a person that the secret of the lanes' authorities is gone, when there are lanes that have certificates.
    pub(crate) fn tell_lane_secret_lost(&self, now_ms: i64) -> Result<(), StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM lane_key)";
        if !self.hub.query_value(sql, ())? {
            return Ok(());
        }
        let detail = "lanes.secret is gone from this hub's folder, and another was made: lanes know each other again when each \
                      has synced. To have the former back, stop the hub, put the file back from the backup, and start it";
        tracing::error!("{detail}");
        let alert = NewAlert {
            at_ms: now_ms,
            kind: "lane_secret_lost",
            node: None,
            subject: String::new(),
            detail: detail.to_owned(),
        };
        insert_alert(&self.hub, &alert)
    }

    /// Whether a lane is given a certificate, and the list that comes with it.
    pub(crate) fn certify(
        &self,
        applicant: &Applicant,
        now_ms: i64,
    ) -> Result<Certified, StoreError> {
        self.hub.transaction(|tx| {
            let Applicant {
                node, shop, key, ..
            } = applicant;
            remember(tx, *shop, &applicant.lists, now_ms)?;
            let sql = "SELECT revoked_ms IS NOT NULL FROM node WHERE id = ?1";
            let row = row_of(tx, (*shop, *node))?;
            if tx.query_value(sql, params![node.to_bytes()])? {
                return Ok(Certified::Revoked);
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM lane_key WHERE node = ?1 AND key = ?2 AND refused = 1)";
            if tx.query_value(sql, params![node.to_bytes(), key.to_vec()])? {
                return Ok(Certified::KeyRefused);
            }
            let begins_ms = row.and_then(|it| it.issued_before_ms).unwrap_or(i64::MIN);
            let sql = "INSERT INTO lane_key (node, key, issued_ms) VALUES (?1, ?2, ?3)
                       ON CONFLICT (node, key) DO UPDATE SET issued_ms = max(issued_ms, excluded.issued_ms)";
            let issued_ms = now_ms.max(begins_ms);
            tx.execute(sql, params![node.to_bytes(), key.to_vec(), issued_ms])?;
            let revoked = list(tx, *shop)?;
            Ok(Certified::Given { revoked, begins_ms })
        })
    }
}
