//! Which people are there, and who of them has signed in?

use super::audit::{Decided, write_down};
use super::{Reader, Store, StoreError, shop_id_optional};
use crate::limits::{
    LOCK_MS_MAX, LOCK_MS_MIN, SESSION_MS, SESSIONS_MAX, SIGN_IN_FAILURES_MAX, SIGN_IN_FORGET_MS,
    SIGN_IN_NAMES_MAX,
};
use counterfoil_domain::ShopId;
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::access::{Role, SessionRow, UserRow};
use serde_json::{Value, json};

/// A person about to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) shop: Option<ShopId>,
    /// Argon2id, as a PHC string.
    pub(crate) password: String,
}

/// What decides whether somebody may sign in.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    /// Argon2id; `None`: there is nobody of that name.
    pub(crate) password: Option<String>,
    pub(crate) disabled: bool,
    /// Until when the name is locked, milliseconds since the Unix epoch.
    pub(crate) locked_until_ms: i64,
}

/// A session about to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    pub(crate) user: String,
    /// The password that was found right, as it is stored.
    pub(crate) password: String,
    pub(crate) token_hash: Vec<u8>,
    pub(crate) now_ms: i64,
}

/// A person's own change of the password.
#[derive(Clone, Debug)]
pub(crate) struct PasswordChange {
    pub(crate) user: String,
    /// The session in which it is made.
    pub(crate) session: i64,
    /// The password that was found right, as it is stored.
    pub(crate) current: String,
    /// Argon2id, as a PHC string.
    pub(crate) new: String,
}

pub(super) fn role(row: &Row<'_>, index: usize) -> Result<Role, SqlError> {
    row.get_with(index, |name: String| {
        Role::from_name(&name).ok_or(StoreError::Missing { what: "role" })
    })
}

/// Writes down who did what to whose access.
pub(super) fn note(
    tx: &Connection,
    (by, now_ms): (&str, i64),
    (action, subject): (&'static str, String),
    after: Value,
) -> Result<(), StoreError> {
    write_down(
        tx,
        Decided {
            at_ms: now_ms,
            who: by,
            action,
            subject,
            detail: "",
            before: Value::Null,
            after,
            edit: None,
            conflict: None,
        },
    )
}

impl Store {
    /// Adds a person; false when the name is taken.
    pub(crate) fn add_user(&self, new: &NewUser, by: (&str, i64)) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let added = tx.execute(
                "INSERT OR IGNORE INTO user (name, role, shop, password, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    new.name.as_str(),
                    new.role.name(),
                    new.shop.map(ShopId::to_bytes),
                    new.password.as_str(),
                    by.1
                ],
            )?;
            if added > 0 {
                let after = json!({"role": new.role, "shop_id": new.shop});
                note(tx, by, ("user_added", format!("user {}", new.name)), after)?;
            }
            Ok(added > 0)
        })
    }

    /// Takes a person's access back and ends their sessions; false when there is nobody of that name.
    pub(crate) fn disable_user(&self, name: &str, by: (&str, i64)) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE user SET disabled_ms = ?2 WHERE name = ?1 AND disabled_ms IS NULL";
            if tx.execute(sql, params![name, by.1])? > 0 {
                note(
                    tx,
                    by,
                    ("user_disabled", format!("user {name}")),
                    Value::Null,
                )?;
            }
            tx.execute("DELETE FROM session WHERE user = ?1", params![name])?;
            let sql = "SELECT EXISTS (SELECT 1 FROM user WHERE name = ?1)";
            Ok(tx.query_value(sql, params![name])?)
        })
    }

    /// Gives a person another password, which also lets a disabled one in again, and ends their sessions; false
    /// when there is nobody of that name.
    pub(crate) fn set_password(
        &self,
        name: &str,
        password: &str,
        by: (&str, i64),
    ) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE user SET password = ?2, disabled_ms = NULL WHERE name = ?1";
            if tx.execute(sql, params![name, password])? == 0 {
                return Ok(false);
            }
            password_is_set(tx, name, None, by)?;
            Ok(true)
        })
    }

    /// Gives a person the password that they want, and ends their other sessions; false when an owner has ended the
    /// access, or a password other than the one that was found right counts by now.
    pub(crate) fn change_password(
        &self,
        change: &PasswordChange,
        by: (&str, i64),
    ) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let (name, current) = (change.user.as_str(), change.current.as_str());
            let sql = "UPDATE user SET password = ?2
                       WHERE name = ?1 AND password = ?3 AND disabled_ms IS NULL
                       AND EXISTS (SELECT 1 FROM session WHERE number = ?4 AND user = ?1)";
            let row = params![name, change.new.as_str(), current, change.session];
            if tx.execute(sql, row)? == 0 {
                return Ok(false);
            }
            password_is_set(tx, name, Some(change.session), by)?;
            Ok(true)
        })
    }

    /// Counts a wrong password for a name; until when it is locked now, milliseconds since the Unix epoch.
    pub(crate) fn sign_in_failed(&self, name: &str, now_ms: i64) -> Result<i64, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "SELECT failures FROM sign_in_failure WHERE name = ?1 AND last_ms > ?2";
            let since = now_ms.saturating_sub(SIGN_IN_FORGET_MS);
            let before: Option<i64> =
                tx.query_optional(sql, params![name, since], |row| row.get(0))?;
            let failures = before.unwrap_or(0) + 1;
            let locked_ms = lock_ms(failures);
            let until = if locked_ms == 0 {
                0
            } else {
                now_ms.saturating_add(locked_ms)
            };
            tx.execute(
                "INSERT INTO sign_in_failure VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE
                 SET failures = ?2, last_ms = ?3, locked_until_ms = ?4",
                params![name, failures, now_ms, until],
            )?;
            tx.execute(
                "DELETE FROM sign_in_failure WHERE name IN (
                     SELECT name FROM sign_in_failure WHERE name NOT IN (SELECT name FROM user)
                     ORDER BY last_ms DESC, name LIMIT -1 OFFSET ?1)",
                params![SIGN_IN_NAMES_MAX],
            )?;
            Ok(until)
        })
    }

    /// Begins a session; its number and when it ends, milliseconds since the Unix epoch. `None` when an owner has
    /// ended the access, or a password other than the one that was found right counts by now.
    pub(crate) fn begin_session(&self, new: &NewSession) -> Result<Option<(i64, i64)>, StoreError> {
        let expires_ms = new.now_ms.saturating_add(SESSION_MS);
        self.hub.transaction(|tx| {
            let name = new.user.as_str();
            let sql = "SELECT EXISTS (SELECT 1 FROM user
                       WHERE name = ?1 AND password = ?2 AND disabled_ms IS NULL)";
            if !tx.query_value(sql, params![name, new.password.as_str()])? {
                return Ok(None);
            }
            tx.execute("DELETE FROM sign_in_failure WHERE name = ?1", params![name])?;
            tx.execute(
                "DELETE FROM session WHERE expires_ms <= ?1",
                params![new.now_ms],
            )?;
            tx.execute(
                "INSERT INTO session (user, token_hash, created_ms, seen_ms, expires_ms)
                 VALUES (?1, ?2, ?3, ?3, ?4)",
                params![name, new.token_hash.clone(), new.now_ms, expires_ms],
            )?;
            tx.execute(
                "DELETE FROM session WHERE number IN (SELECT number FROM session
                     WHERE user = ?1 ORDER BY number DESC LIMIT -1 OFFSET ?2)",
                params![name, SESSIONS_MAX],
            )?;
            let number = tx.query_value("SELECT max(number) FROM session", ())?;
            Ok(Some((number, expires_ms)))
        })
    }

    /// Ends a session; false when there is none of that number.
    pub(crate) fn end_session(&self, number: i64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM session WHERE number = ?1";
        Ok(self.hub.execute(sql, params![number])? > 0)
    }

    /// Ends somebody's session for them; false when there is none of that number.
    pub(crate) fn revoke_session(&self, number: i64, by: (&str, i64)) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "DELETE FROM session WHERE number = ?1 RETURNING user";
            let user = tx.query_optional(sql, params![number], |row| row.get::<String>(0))?;
            let Some(user) = user else {
                return Ok(false);
            };
            let what = ("session_ended", format!("user {user}"));
            note(tx, by, what, json!({ "session": number }))?;
            Ok(true)
        })
    }

    /// Notes that a session was used.
    pub(crate) fn session_seen(&self, number: i64, now_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE session SET seen_ms = ?2 WHERE number = ?1";
        self.hub.execute(sql, params![number, now_ms])?;
        Ok(())
    }
}

/// Ends the sessions of whoever has another password now but for the one that is kept, and writes it down.
fn password_is_set(
    tx: &Connection,
    name: &str,
    kept: Option<i64>,
    by: (&str, i64),
) -> Result<(), StoreError> {
    let sql = "DELETE FROM session WHERE user = ?1 AND number IS NOT ?2";
    tx.execute(sql, params![name, kept])?;
    tx.execute("DELETE FROM sign_in_failure WHERE name = ?1", params![name])?;
    let what = ("password_set", format!("user {name}"));
    note(tx, by, what, Value::Null)
}

/// How long a name is locked after so many wrong passwords, in milliseconds.
fn lock_ms(failures: i64) -> i64 {
    let beyond = failures - SIGN_IN_FAILURES_MAX;
    match u32::try_from(beyond) {
        Err(_) => 0,
        Ok(beyond) => 1_i64
            .checked_shl(beyond.min(32))
            .map_or(LOCK_MS_MAX, |times| times.saturating_mul(LOCK_MS_MIN))
            .min(LOCK_MS_MAX),
    }
}

impl Reader {
    /// All people by name.
    pub(crate) fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        let sql = "SELECT user.name, user.role, user.shop, shop.name, user.created_ms,
                       user.disabled_ms IS NOT NULL,
                       (SELECT max(seen_ms) FROM session WHERE session.user = user.name)
                   FROM user LEFT JOIN shop ON shop.id = user.shop ORDER BY user.name";
        Ok(self.hub.query_map(sql, (), |row| {
            Ok(UserRow {
                name: row.get(0)?,
                role: role(row, 1)?,
                shop_id: shop_id_optional(row, 2)?,
                shop: row.get(3)?,
                created_ms: row.get(4)?,
                disabled: row.get(5)?,
                seen_ms: row.get(6)?,
            })
        })?)
    }

    /// What decides whether somebody may sign in under a name.
    pub(crate) fn sign_in(&self, name: &str) -> Result<SignIn, StoreError> {
        let sql = "SELECT (SELECT password FROM user WHERE name = ?1),
                          (SELECT disabled_ms IS NOT NULL FROM user WHERE name = ?1),
                          (SELECT locked_until_ms FROM sign_in_failure WHERE name = ?1)";
        Ok(self.hub.query_row(sql, params![name], |row| {
            Ok(SignIn {
                password: row.get(0)?,
                disabled: row.get::<Option<bool>>(1)?.unwrap_or(false),
                locked_until_ms: row.get::<Option<i64>>(2)?.unwrap_or(0),
            })
        })?)
    }

    /// Sessions that have not ended, by number.
    pub(crate) fn sessions(&self, now_ms: i64) -> Result<Vec<SessionRow>, StoreError> {
        let sql = "SELECT number, user, created_ms, seen_ms, expires_ms FROM session
                   WHERE expires_ms > ?1 ORDER BY number";
        Ok(self.hub.query_map(sql, params![now_ms], |row| {
            Ok(SessionRow {
                number: row.get(0)?,
                user: row.get(1)?,
                created_ms: row.get(2)?,
                seen_ms: row.get(3)?,
                expires_ms: row.get(4)?,
            })
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_locked_longer_each_time_up_to_an_hour() {
        let minutes = [4, 5, 6, 7, 11, 12, 40, 400].map(lock_ms);
        let wanted = [
            0, 30_000, 60_000, 120_000, 1_920_000, 3_600_000, 3_600_000, 3_600_000,
        ];
        assert_eq!(minutes, wanted);
    }
}
