//! Who is calling the admin API, which machines may, and who was refused what?

use super::users::{note, role};
use super::{Reader, Store, StoreError, shop_id_optional};
use crate::limits::{ALERT_REPEAT_MS, HISTORY_ROWS_MAX};
use counterfoil_domain::ShopId;
use counterfoil_migrate::{SqlError, params};
use counterfoil_protocol::wire::access::{AccessLogPage, AccessLogRow, MachineRow, Role};
use serde_json::{Value, json};
use std::fmt;

/// A machine about to be stored; its token is not.
#[derive(Clone, Debug)]
pub(crate) struct NewMachine {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) shop: Option<ShopId>,
    pub(crate) token_hash: Vec<u8>,
    pub(crate) expires_ms: i64,
}

/// By what somebody is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Account {
    /// A person, by the number of the session.
    User { name: String, session: i64 },
    /// A machine.
    Machine { name: String },
}

impl fmt::Display for Account {
    /// A person's name has no space, so none is a machine's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name, .. } => f.write_str(name),
            Self::Machine { name } => write!(f, "machine {name}"),
        }
    }
}

/// What a token of a person or machine stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KnownToken {
    pub(crate) account: Account,
    pub(crate) role: Role,
    pub(crate) shop: Option<ShopId>,
    pub(crate) expires_ms: i64,
    pub(crate) revoked: bool,
    /// When it was noted last that the token was used, milliseconds since the Unix epoch.
    pub(crate) seen_ms: Option<i64>,
}

impl Store {
    /// Adds a machine; false when the name is taken. The name of a revoked one is free again.
    pub(crate) fn add_machine(
        &self,
        new: &NewMachine,
        by: (&str, i64),
    ) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "DELETE FROM machine WHERE name = ?1 AND revoked_ms IS NOT NULL";
            tx.execute(sql, params![new.name.as_str()])?;
            let added = tx.execute(
                "INSERT OR IGNORE INTO machine
                     (name, role, shop, token_hash, created_ms, expires_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    new.name.as_str(),
                    new.role.name(),
                    new.shop.map(ShopId::to_bytes),
                    new.token_hash.clone(),
                    by.1,
                    new.expires_ms
                ],
            )?;
            if added > 0 {
                let expires_ms = new.expires_ms;
                let after =
                    json!({"role": new.role, "shop_id": new.shop, "expires_ms": expires_ms});
                note(
                    tx,
                    by,
                    ("token_added", format!("machine {}", new.name)),
                    after,
                )?;
            }
            Ok(added > 0)
        })
    }

    /// Takes a machine's access back; false when there is none of that name.
    pub(crate) fn revoke_machine(&self, name: &str, by: (&str, i64)) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE machine SET revoked_ms = ?2 WHERE name = ?1 AND revoked_ms IS NULL";
            if tx.execute(sql, params![name, by.1])? > 0 {
                note(
                    tx,
                    by,
                    ("token_revoked", format!("machine {name}")),
                    Value::Null,
                )?;
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM machine WHERE name = ?1)";
            Ok(tx.query_value(sql, params![name])?)
        })
    }

    /// Notes that a machine's token was used.
    pub(crate) fn machine_seen(&self, name: &str, now_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE machine SET seen_ms = ?2 WHERE name = ?1";
        self.hub.execute(sql, params![name, now_ms])?;
        Ok(())
    }

    /// Puts on record what became of somebody's wish; the same again within a minute is counted only.
    pub(crate) fn log_access(&self, row: &AccessLogRow) -> Result<(), StoreError> {
        self.hub.transaction(|tx| {
            // Only the newest rows are looked at, so the check costs the same however many there are.
            let repeated = tx.execute(
                "UPDATE access_log SET times = times + 1, at_ms = ?1 WHERE id = (
                     SELECT id FROM (SELECT * FROM access_log ORDER BY id DESC LIMIT 100)
                     WHERE who = ?2 AND what = ?3 AND outcome = ?4 AND at_ms > ?5 LIMIT 1)",
                params![
                    row.at_ms,
                    row.who.as_str(),
                    row.what.as_str(),
                    row.outcome.as_str(),
                    row.at_ms.saturating_sub(ALERT_REPEAT_MS)
                ],
            )?;
            if repeated > 0 {
                return Ok(());
            }
            tx.execute(
                "INSERT INTO access_log (at_ms, who, what, outcome, times) VALUES (?1, ?2, ?3, ?4, 1)",
                params![row.at_ms, row.who.as_str(), row.what.as_str(), row.outcome.as_str()],
            )?;
            tx.execute(
                "DELETE FROM access_log WHERE id <= (SELECT max(id) FROM access_log) - ?1",
                params![HISTORY_ROWS_MAX],
            )?;
            Ok(())
        })
    }
}

impl Reader {
    /// Whose a token is, by its hash; `None`: nobody's.
    pub(crate) fn known_token(&self, hash: &[u8]) -> Result<Option<KnownToken>, StoreError> {
        let sql = "SELECT user.name, user.role, user.shop, session.expires_ms,
                       user.disabled_ms IS NOT NULL, session.seen_ms, session.number
                   FROM session JOIN user ON user.name = session.user WHERE token_hash = ?1
                   UNION ALL
                   SELECT name, role, shop, expires_ms, revoked_ms IS NOT NULL, seen_ms, NULL
                   FROM machine WHERE token_hash = ?1";
        Ok(self.hub.query_optional(sql, params![hash], |row| {
            let name = row.get(0)?;
            let session: Option<i64> = row.get(6)?;
            Ok(KnownToken {
                account: match session {
                    Some(session) => Account::User { name, session },
                    None => Account::Machine { name },
                },
                role: role(row, 1)?,
                shop: shop_id_optional(row, 2)?,
                expires_ms: row.get(3)?,
                revoked: row.get(4)?,
                seen_ms: row.get(5)?,
            })
        })?)
    }

    /// All machines by name.
    pub(crate) fn machines(&self) -> Result<Vec<MachineRow>, StoreError> {
        let sql = "SELECT machine.name, role, shop, shop.name, machine.created_ms, seen_ms,
                       expires_ms, revoked_ms IS NOT NULL
                   FROM machine LEFT JOIN shop ON shop.id = machine.shop ORDER BY machine.name";
        Ok(self.hub.query_map(sql, (), |row| {
            Ok(MachineRow {
                name: row.get(0)?,
                role: role(row, 1)?,
                shop_id: shop_id_optional(row, 2)?,
                shop: row.get(3)?,
                created_ms: row.get(4)?,
                seen_ms: row.get(5)?,
                expires_ms: row.get(6)?,
                revoked: row.get(7)?,
            })
        })?)
    }

    /// A page of the access log by number.
    pub(crate) fn access_log(&self, after: i64, limit: i64) -> Result<AccessLogPage, StoreError> {
        let sql = "SELECT id, at_ms, who, what, outcome, times FROM access_log
                   WHERE id > ?1 ORDER BY id LIMIT ?2";
        let page = params![after, limit.saturating_add(1)];
        let mut rows = self
            .hub
            .query_map(sql, page, |row| -> Result<_, SqlError> {
                Ok(AccessLogRow {
                    id: row.get(0)?,
                    at_ms: row.get(1)?,
                    who: row.get(2)?,
                    what: row.get(3)?,
                    outcome: row.get(4)?,
                    times: row.get(5)?,
                })
            })?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next = rows.last().filter(|_| more).map(|last| last.id);
        Ok(AccessLogPage { rows, next })
    }
}
