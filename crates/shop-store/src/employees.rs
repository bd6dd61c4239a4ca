//! Employees at this till: wrong PINs, who is signed in, and approvals of one thing.
//!
//! A PIN is checked in three steps, because a hash takes its time and sales must not wait for it: [`ShopStore::look_for_pin`] on
//! the store's thread, the hash elsewhere, [`ShopStore::pin_checked`] on the store's thread again. The caller lets one
//! check at a time through, so nobody guesses many at once. What a session may do is in [`crate::admission`].

use crate::admission::Presented;
use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use counterfoil_domain::employee::{
    EMPLOYEES, EmployeeEvent, EventKind, Outcome, PERMISSIONS, PIN, Permission, Permissions,
    PinLock,
};
use counterfoil_domain::{Document, DocumentId, Scalar, Topic, password};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::node::Recorded;
use std::collections::BTreeMap;
use std::fmt;

/// A session that was not used for so long has ended, in milliseconds: whoever comes back from the stock room still has it,
/// and whoever goes home does not leave it.
pub const SESSION_IDLE_MS: i64 = 15 * 60_000;

/// The longest session, in milliseconds: a shift.
pub const SESSION_MS: i64 = 12 * 60 * 60_000;

/// How long an approval can be used, in milliseconds: it is asked for when the document is ready.
pub const APPROVAL_MS: i64 = 2 * 60_000;

/// Employees whose wrong PINs are remembered; beyond it those are forgotten that were tried longest ago. There are a few
/// in a shop; the others are names that nobody has.
const LOCKS_MAX: i64 = 1_000;

/// Where the wait is kept that names share which nobody has: no name is this.
const MADE_UP: &str = " ";

/// Characters of what was typed as an employee's id that are kept; the ids of a catalog are shorter.
const EMPLOYEE_CHARS_MAX: usize = 200;

/// What a person wants with a PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To allow one thing.
    Approve(Permission),
}

impl Purpose {
    const fn event(self) -> (EventKind, Option<Permission>) {
        match self {
            Self::SignIn => (EventKind::SignIn, None),
            Self::Approve(permission) => (EventKind::Approval, Some(permission)),
        }
    }
}

/// Why a PIN opened nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinFault {
    /// There were too many wrong ones: this one was not looked at.
    Locked {
        /// What is left of the wait, in milliseconds.
        wait_ms: i64,
    },
    /// It is wrong, or there is no such employee, or none who is active and has a PIN. Only the journal says which.
    Wrong {
        /// How long to wait now, in milliseconds.
        wait_ms: i64,
    },
    /// It is right, and the employee may not do that.
    NotPermitted(Permission),
}

impl PinFault {
    /// How the attempt stands in the journal.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Locked { .. } => Outcome::Locked,
            Self::Wrong { .. } => Outcome::WrongPin,
            Self::NotPermitted(_) => Outcome::NotPermitted,
        }
    }
}

/// What a PIN must fit; it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PinHash(String);

impl PinHash {
    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(password::HIDDEN)
    }
}

/// A PIN that is about to be checked.
#[derive(Clone, Debug)]
pub struct PinCheck {
    /// Whose it is said to be.
    pub employee: String,
    /// What it opens.
    pub purpose: Purpose,
    /// What it must fit; without one it is wrong whatever it is, and is checked for as long.
    pub hash: Option<PinHash>,
}

/// What was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Who.
    pub employee: Employee,
    /// When it ends at the latest, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// An employee as this till sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Employee {
    /// A catalog id.
    pub id: String,
    /// Their name; the id when there is none.
    pub name: String,
    /// Whether they work here now.
    pub active: bool,
    /// Hash of the PIN.
    pub(crate) pin: Option<PinHash>,
    /// What they may do.
    pub permissions: Permissions,
}

impl ShopStore {
    /// Whether the catalog knows PINs; one of an older hub does not.
    pub(crate) fn knows_pins(&self) -> bool {
        let table = self.tables.get(EMPLOYEES);
        table.is_some_and(|table| table.editable.iter().any(|column| column.name == PIN))
    }

    /// The employee of that id.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub(crate) fn employee(&self, id: &str) -> Result<Option<Employee>, StoreError> {
        if !self.knows_pins() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT id, coalesce(name, id), coalesce(active, 1), {PIN}, coalesce({PERMISSIONS}, '')
             FROM temp.{EMPLOYEES} WHERE id = ?1 AND deleted = 0"
        );
        Ok(self.conn.query_optional(&sql, [id.trim()], |row| {
            Ok(Employee {
                id: row.get(0)?,
                name: row.get(1)?,
                active: row.get::<i64>(2)? != 0,
                pin: row.get::<Option<String>>(3)?.map(PinHash),
                permissions: Permissions::of_stored(&row.get::<String>(4)?),
            })
        })?)
    }

    /// Gives an employee another PIN, of which only a hash comes here, or none. It travels as any edit of the catalog.
    ///
    /// # Errors
    /// [`StoreError::UnknownRow`] for an employee who is not there, [`StoreError::PinsUnknown`].
    pub fn set_pin(
        &mut self,
        employee: &str,
        hash: Option<String>,
        now_ms: i64,
    ) -> Result<Option<Recorded>, StoreError> {
        if !self.knows_pins() {
            return Err(StoreError::PinsUnknown);
        }
        let known = self.employee(employee)?;
        let known = known.ok_or_else(|| StoreError::UnknownRow {
            table: EMPLOYEES.to_owned(),
            row: employee.trim().to_owned(),
        })?;
        let columns = BTreeMap::from([(PIN.to_owned(), hash.into())]);
        self.catalog_set(EMPLOYEES, &known.id, &columns, now_ms)
    }

    /// Says what a PIN must fit, unless it is too early to try one.
    ///
    /// # Errors
    /// [`StoreError::Pin`] while it is locked, [`StoreError::PinsUnknown`].
    pub fn look_for_pin(
        &mut self,
        employee: &str,
        purpose: Purpose,
        now_ms: i64,
    ) -> Result<PinCheck, StoreError> {
        if !self.knows_pins() {
            return Err(StoreError::PinsUnknown);
        }
        let asked: String = employee.trim().chars().take(EMPLOYEE_CHARS_MAX).collect();
        let found = self.employee(&asked)?;
        // Whoever was found is locked, however the name was written.
        let known = found.as_ref().map(|found| found.id.clone());
        let is_known = known.is_some();
        let employee = known.unwrap_or_else(|| asked.trim().to_owned());
        let hash = found.as_ref().and_then(|found| found.pin.as_ref());
        let lock = self.pin_lock(&employee, hash)?.looked_at(now_ms);
        if lock.wait_ms > 0 {
            let lock = PinLock {
                unlooked: lock.unlooked.saturating_add(1),
                ..lock
            };
            let fault = PinFault::Locked {
                wait_ms: lock.wait_ms,
            };
            self.write(|writer| {
                if lock.unlooked == 1 {
                    let of = (employee.as_str(), is_known, purpose);
                    writer.note_attempt(of, fault.outcome(), (0, now_ms))?;
                }
                writer.store.keep_pin_lock((&employee, hash), lock)
            })?;
            return Err(StoreError::Pin { employee, fault });
        }
        let active = found.filter(|found| found.active);
        Ok(PinCheck {
            employee,
            purpose,
            hash: active.and_then(|found| found.pin),
        })
    }

    /// Opens a session or an approval when the PIN was right, and counts it when it was not. `token` is the digest of
    /// what the caller will name it by. The attempt stands in the journal when this returns.
    ///
    /// # Errors
    /// [`StoreError::Pin`] with the reason; [`StoreError::PinChanged`] when another PIN holds by now: nothing counts.
    pub fn pin_checked(
        &mut self,
        check: &PinCheck,
        is_right: bool,
        token: [u8; 32],
        now_ms: i64,
    ) -> Result<Opened, StoreError> {
        let found = self.employee(&check.employee)?;
        let hash = found.as_ref().and_then(|found| found.pin.clone());
        let lock = self.pin_lock(&check.employee, hash.as_ref())?;
        let lock = lock.looked_at(now_ms);
        let is_known = found.is_some();
        let judged = judged(found, check, is_right).ok_or(StoreError::PinChanged)?;
        let outcome = judged.as_ref().err().copied();
        let outcome = outcome.unwrap_or(Outcome::Granted);
        let expires_ms = now_ms.saturating_add(match check.purpose {
            Purpose::SignIn => SESSION_MS,
            Purpose::Approve(_) => APPROVAL_MS,
        });
        self.write(|writer| {
            let of = (check.employee.as_str(), is_known, check.purpose);
            writer.note_attempt(of, outcome, (lock.untold(), now_ms))?;
            let (store, employee) = (writer.store, check.employee.as_str());
            match outcome {
                // The PIN was right.
                Outcome::Granted | Outcome::NotPermitted => {
                    let sql = "DELETE FROM local.pin_lock WHERE employee = ?1";
                    store.conn.execute(sql, [employee])?;
                }
                Outcome::WrongPin | Outcome::Locked | Outcome::NoPin | Outcome::NotActive => {
                    store.keep_pin_lock((employee, hash.as_ref()), lock.failed(now_ms))?;
                }
            }
            match &judged {
                Ok(employee) => {
                    store.begin_session(employee, check.purpose, (token, now_ms, expires_ms))
                }
                Err(_) => Ok(()),
            }
        })?;
        match judged {
            Ok(employee) => Ok(Opened {
                employee,
                expires_ms,
            }),
            Err(outcome) => {
                let wait_ms = lock.failed(now_ms).wait_ms;
                let fault = match (outcome, check.purpose) {
                    (Outcome::NotPermitted, Purpose::Approve(it)) => PinFault::NotPermitted(it),
                    _ => PinFault::Wrong { wait_ms },
                };
                let employee = check.employee.clone();
                Err(StoreError::Pin { employee, fault })
            }
        }
    }

    /// Keeps a session or an approval, and forgets those that have ended.
    fn begin_session(
        &self,
        employee: &Employee,
        purpose: Purpose,
        (token, now_ms, expires_ms): ([u8; 32], i64, i64),
    ) -> Result<(), StoreError> {
        let ended = "DELETE FROM local.employee_session WHERE seen_ms <= ?1 OR expires_ms <= ?2";
        let idle_ms = now_ms.saturating_sub(SESSION_IDLE_MS);
        self.conn.execute(ended, params![idle_ms, now_ms])?;
        let (_, permission) = purpose.event();
        self.conn.execute(
            "INSERT INTO local.employee_session
                 (token, employee, permission, pin, begun_ms, seen_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
            params![
                token.to_vec(),
                employee.id.as_str(),
                permission.map(Permission::name),
                employee.pin.as_ref().map(PinHash::as_str),
                now_ms,
                expires_ms
            ],
        )?;
        Ok(())
    }

    /// Ends a session; false when there is none of that digest.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn sign_out(&mut self, token: [u8; 32]) -> Result<bool, StoreError> {
        let sql = "DELETE FROM local.employee_session WHERE token = ?1";
        Ok(self.conn.execute(sql, [token.to_vec()])? > 0)
    }

    /// Records that whoever is signed in opens the drawer without a sale. The same id again records nothing.
    ///
    /// # Errors
    /// [`StoreError::SignInRequired`] also where the shop asks for no PINs; [`StoreError::NotPermitted`].
    pub fn no_sale(
        &mut self,
        presented: Presented,
        id: Option<DocumentId>,
        now_ms: i64,
    ) -> Result<Recorded, StoreError> {
        if let Some(known) = self.known(id, Topic::EmployeeEvent)? {
            return Ok(known);
        }
        let employee = self.opens_drawer(presented, now_ms)?;
        let event = EmployeeEvent {
            employee,
            event: EventKind::NoSale,
            permission: None,
            outcome: Outcome::Granted,
            unlooked: 0,
            at_ms: now_ms,
        };
        self.record(Entry {
            id,
            document: Document::EmployeeEvent(event),
            now_ms,
        })
    }

    /// The lock of an employee. Of another PIN than the one it has now there is none: nobody has guessed at that.
    fn pin_lock(&self, employee: &str, hash: Option<&PinHash>) -> Result<PinLock, StoreError> {
        let sql = "SELECT failures, wait_ms, at_ms, unlooked FROM local.pin_lock
                   WHERE employee = ?1 AND pin IS ?2";
        let key = params![employee, hash.map(PinHash::as_str)];
        let held = self.conn.query_optional(sql, key, |row| {
            Ok(PinLock {
                failures: row.get(0)?,
                wait_ms: row.get(1)?,
                at_ms: row.get(2)?,
                unlooked: row.get(3)?,
            })
        })?;
        Ok(held.unwrap_or_default())
    }

    fn keep_pin_lock(
        &self,
        (employee, hash): (&str, Option<&PinHash>),
        lock: PinLock,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO local.pin_lock
                       (employee, pin, failures, wait_ms, at_ms, unlooked)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![
            employee,
            hash.map(PinHash::as_str),
            lock.failures,
            lock.wait_ms,
            lock.at_ms,
            lock.unlooked
        ];
        self.conn.execute(sql, row)?;
        let sql = format!(
            "DELETE FROM local.pin_lock WHERE employee IN (
                 SELECT employee FROM local.pin_lock
                 WHERE employee <> '{MADE_UP}' AND employee NOT IN (SELECT id FROM temp.{EMPLOYEES})
                 ORDER BY at_ms DESC, employee LIMIT -1 OFFSET ?1)"
        );
        self.conn.execute(&sql, [LOCKS_MAX])?;
        Ok(())
    }
}

impl Writer<'_> {
    /// Attempts under names that nobody has share one wait: those during it have no entry, and the next one tells how many
    /// there were.
    fn note_attempt(
        &mut self,
        (employee, is_known, purpose): (&str, bool, Purpose),
        outcome: Outcome,
        (mut unlooked, now_ms): (i64, i64),
    ) -> Result<(), StoreError> {
        if !is_known {
            let store = self.store;
            let shared = store.pin_lock(MADE_UP, None)?.looked_at(now_ms);
            if shared.wait_ms > 0 {
                let unlooked = shared.unlooked.saturating_add(unlooked).saturating_add(1);
                let shared = PinLock { unlooked, ..shared };
                return store.keep_pin_lock((MADE_UP, None), shared);
            }
            unlooked = unlooked.saturating_add(shared.unlooked);
            store.keep_pin_lock((MADE_UP, None), shared.failed(now_ms))?;
        }
        let (event, permission) = purpose.event();
        let event = EmployeeEvent {
            employee: employee.to_owned(),
            event,
            permission,
            outcome,
            unlooked,
            at_ms: now_ms,
        };
        self.append(Entry {
            id: None,
            document: Document::EmployeeEvent(event),
            now_ms,
        })?;
        Ok(())
    }
}

/// What comes of a PIN; nothing when another one holds by now.
fn judged(
    found: Option<Employee>,
    check: &PinCheck,
    is_right: bool,
) -> Option<Result<Employee, Outcome>> {
    let Some(employee) = found else {
        return Some(Err(Outcome::WrongPin));
    };
    Some(match check.purpose {
        _ if !employee.active => Err(Outcome::NotActive),
        _ if employee.pin.is_none() => Err(Outcome::NoPin),
        _ if employee.pin != check.hash => return None,
        _ if !is_right => Err(Outcome::WrongPin),
        Purpose::Approve(permission) if !employee.permissions.allow(permission) => {
            Err(Outcome::NotPermitted)
        }
        Purpose::SignIn | Purpose::Approve(_) => Ok(employee),
    })
}

/// Whether an edit of the catalog gives or takes away what employees may do.
pub(crate) fn is_of_staff(table: &str) -> bool {
    matches!(table, EMPLOYEES | "shop_settings")
}

/// A value of an edit as a text.
pub(crate) fn text_of(value: &Scalar) -> &str {
    match value {
        Scalar::Text(text) => text,
        Scalar::Null | Scalar::Integer(_) => "",
    }
}
