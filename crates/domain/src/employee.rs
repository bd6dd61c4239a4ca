//! Employees at a till: their PINs, what they may do, and how long a till waits after wrong PINs.

use crate::edit::Scalar;
use crate::password;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use utoipa::ToSchema;

/// The catalog table of employees.
pub const EMPLOYEES: &str = "employees";

/// The column of employees that holds the hash of a PIN.
pub const PIN: &str = "pin";

/// The column of employees that says what they may do, see [`Permissions`].
pub const PERMISSIONS: &str = "permissions";

/// The row of `shop_settings` by which shops ask for PINs: its value is `true`.
pub const PIN_REQUIRED: &str = "pin_required";

/// Who stands in an entry of a till's own.
pub const NOBODY: &str = "-";

/// How many digits a PIN has.
pub const PIN_DIGITS: RangeInclusive<usize> = 4..=12;

/// Wrong PINs in a row after which a till waits; who mistypes stays below.
pub const FAILURES_FREE: i64 = 5;

/// The first wait, in milliseconds; each further wrong PIN doubles it.
pub const WAIT_FIRST_MS: i64 = 30_000;

/// The longest wait, in milliseconds.
pub const WAIT_LAST_MS: i64 = 15 * 60_000;

/// What an employee may do beyond selling. The names are stored and must not change.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// To sell below the catalog's price.
    Discount,
    /// To change employees, settings and PINs of others at a till, to import and to undo there.
    Manage,
    /// To open the drawer without a sale.
    NoSale,
    /// To sell at any other price than the catalog's.
    PriceOverride,
    /// To give money back.
    Refund,
}

impl Permission {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::Discount,
        Self::Manage,
        Self::NoSale,
        Self::PriceOverride,
        Self::Refund,
    ];

    /// The stored and typed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discount => "discount",
            Self::Manage => "manage",
            Self::NoSale => "no_sale",
            Self::PriceOverride => "price_override",
            Self::Refund => "refund",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == name)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an employee did, or tried to do, that only an entry of its own tells of (P7). The PIN is never part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmployeeEvent {
    /// Who, as it was typed: a catalog id when there is such an employee.
    pub employee: String,
    /// What.
    pub event: EventKind,
    /// What an approval was for.
    pub permission: Option<Permission>,
    /// How it ended.
    pub outcome: Outcome,
    /// Tries before this one that came while it was locked, and have no entry of their own: of those in a row only the first has.
    pub unlooked: i64,
    /// Milliseconds since the Unix epoch, the till's clock.
    pub at_ms: i64,
}

/// What an employee did. The names are stored and must not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Signed in with a PIN.
    SignIn,
    /// Allowed somebody else one thing with a PIN.
    Approval,
    /// Opened the drawer without a sale.
    NoSale,
    /// Nobody in particular: the till has begun to record without asking for PINs, because no active employee has one.
    Unguarded,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SignIn, Self::Approval, Self::NoSale, Self::Unguarded];

    /// The stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Approval => "approval",
            Self::NoSale => "no_sale",
            Self::Unguarded => "unguarded",
        }
    }
}

/// How that ended. The names are stored and must not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Granted,
    /// The PIN was wrong, or there is no such employee.
    WrongPin,
    /// There had been too many wrong ones: the PIN was not looked at.
    Locked,
    /// The employee has no PIN.
    NoPin,
    /// The employee is not active.
    NotActive,
    /// The PIN was right, and the employee may not do that.
    NotPermitted,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Granted,
        Self::WrongPin,
        Self::Locked,
        Self::NoPin,
        Self::NotActive,
        Self::NotPermitted,
    ];

    /// The stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::WrongPin => "wrong_pin",
            Self::Locked => "locked",
            Self::NoPin => "no_pin",
            Self::NotActive => "not_active",
            Self::NotPermitted => "not_permitted",
        }
    }
}

/// A stored word that this program does not know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no word of an employee's event")]
pub struct UnknownWord(pub String);

impl FromStr for EventKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl FromStr for Permission {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::from_name(text).ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// What one employee may do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Permissions(BTreeSet<Permission>);

impl Permissions {
    /// Reads what is stored. Words of a newer program say nothing here.
    pub fn of_stored(text: &str) -> Self {
        Self(words(text).filter_map(Permission::from_name).collect())
    }

    /// Whether that is allowed.
    pub fn allow(&self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }

    /// Those there are, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Permission> {
        self.0.iter().copied()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// A value that the columns of an employee do not take. It says nothing of the value, which may be a PIN.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidEmployee {
    /// Something else than a hash.
    #[error(
        "`employees.pin` takes the hash of a PIN alone: set it with `employee pin`, at the hub `employees pin`"
    )]
    NoHash,
    /// A word that is no permission.
    #[error("a permission is one of discount, manage, no_sale, price_override, refund")]
    UnknownPermission,
    /// A PIN of another length, or of other letters than digits.
    #[error("a PIN has 4 to 12 digits")]
    PinForm,
    /// A PIN that is tried first.
    #[error("a PIN of equal digits, or of digits in a row such as 1234, is guessed at once")]
    PinTrivial,
}

/// The value that a column takes for what is wanted: for most columns the same.
///
/// # Errors
/// [`InvalidEmployee`] for what the PIN or the permissions of an employee do not take.
pub fn column_value(table: &str, column: &str, value: Scalar) -> Result<Scalar, InvalidEmployee> {
    match (table, column, value) {
        (EMPLOYEES, PIN, Scalar::Text(text)) if !password::is_hash(&text) => {
            Err(InvalidEmployee::NoHash)
        }
        (EMPLOYEES, PERMISSIONS, Scalar::Text(text)) => {
            let named: Option<BTreeSet<&str>> = words(&text)
                .map(|word| Permission::from_name(word).map(Permission::name))
                .collect();
            let named = named.ok_or(InvalidEmployee::UnknownPermission)?;
            let sorted: Vec<&str> = named.into_iter().collect();
            Ok(Scalar::Text(sorted.join(",")))
        }
        (_, _, value) => Ok(value),
    }
}

/// Whether a value is one that stands for a secret of an employee: it is not put back or chosen by its text.
pub fn is_secret(table: &str, column: &str) -> bool {
    table == EMPLOYEES && column == PIN
}

/// Whether a setting asks for PINs.
pub fn asks_for_pins(value: &str) -> bool {
    matches!(value.trim(), "1" | "true" | "yes" | "on")
}

/// Whether a person may have that PIN.
///
/// # Errors
/// [`InvalidEmployee::PinForm`], [`InvalidEmployee::PinTrivial`].
pub fn check_pin(pin: &str) -> Result<(), InvalidEmployee> {
    if !PIN_DIGITS.contains(&pin.len()) || !pin.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidEmployee::PinForm);
    }
    let steps: BTreeSet<i16> = pin
        .as_bytes()
        .windows(2)
        .filter_map(|pair| match pair {
            [first, second] => Some(i16::from(*second) - i16::from(*first)),
            _ => None,
        })
        .collect();
    match steps.first() {
        Some(-1..=1) if steps.len() == 1 => Err(InvalidEmployee::PinTrivial),
        _ => Ok(()),
    }
}

/// Wrong PINs of one employee since the last right one, and how long the till still waits.
///
/// The wait runs down by what the clock has moved forward between two looks: whoever turns it back gains nothing, and a clock
/// that was years ahead and is put right locks nobody out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PinLock {
    /// Wrong PINs.
    pub failures: i64,
    /// What is left of the wait, in milliseconds.
    pub wait_ms: i64,
    /// When that was so, milliseconds since the Unix epoch by the till's clock.
    pub at_ms: i64,
    /// Tries that came during the wait and were not looked at.
    pub unlooked: i64,
}

impl PinLock {
    /// Those of them that no entry tells of: the first one has its own.
    pub fn untold(self) -> i64 {
        (self.unlooked - 1).max(0)
    }

    /// The lock as it is now.
    #[must_use]
    pub fn looked_at(self, now_ms: i64) -> Self {
        let passed = now_ms.saturating_sub(self.at_ms).max(0);
        Self {
            wait_ms: self.wait_ms.saturating_sub(passed).max(0),
            at_ms: now_ms,
            ..self
        }
    }

    /// The lock after one more wrong PIN.
    #[must_use]
    pub fn failed(self, now_ms: i64) -> Self {
        let failures = self.failures.saturating_add(1);
        let doublings = u32::try_from(failures - FAILURES_FREE).ok();
        let wait = |doublings: u32| WAIT_FIRST_MS << doublings.min(16);
        Self {
            failures,
            wait_ms: doublings.map_or(0, wait).min(WAIT_LAST_MS),
            at_ms: now_ms,
            unlooked: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_of_4_to_12_digits_and_not_the_first_that_is_tried() {
        let good = ["4711", "0007", "1357", "1233", "900900900900"];
        assert_eq!(good.map(check_pin), good.map(|_| Ok(())));
        let form = ["", "471", "4711 ", "471a", "٤٧١١", "4711471147114"];
        assert_eq!(
            form.map(check_pin),
            form.map(|_| Err(InvalidEmployee::PinForm))
        );
        let trivial = ["0000", "1234", "9876", "777777777777", "0123456789"];
        let refused = trivial.map(|_| Err(InvalidEmployee::PinTrivial));
        assert_eq!(trivial.map(check_pin), refused);
    }

    #[test]
    fn permissions_are_stored_in_one_form_and_words_of_newer_programs_are_passed_over() {
        let set = |text: &str| column_value(EMPLOYEES, PERMISSIONS, Scalar::Text(text.to_owned()));
        let stored = |text: &str| Ok(Scalar::Text(text.to_owned()));
        assert_eq!(set(" refund,discount , refund"), stored("discount,refund"));
        assert_eq!(set(""), stored(""));
        assert_eq!(set("refunds"), Err(InvalidEmployee::UnknownPermission));
        let read = Permissions::of_stored("discount,fly,refund");
        let all: Vec<_> = read.iter().collect();
        assert_eq!(all, [Permission::Discount, Permission::Refund]);
        let names = Permission::ALL.map(Permission::name);
        assert!(names.is_sorted());
    }

    #[test]
    fn the_pin_of_an_employee_takes_a_hash_or_nothing() {
        let plain = Scalar::Text("4711".to_owned());
        let refused = column_value(EMPLOYEES, PIN, plain.clone());
        assert_eq!(refused, Err(InvalidEmployee::NoHash));
        assert_eq!(column_value(EMPLOYEES, PIN, Scalar::Null), Ok(Scalar::Null));
        assert_eq!(column_value("products", PIN, plain.clone()), Ok(plain));
    }

    #[test]
    fn waits_begin_with_the_fifth_wrong_pin_and_double_up_to_a_quarter_of_an_hour() {
        let mut lock = PinLock::default();
        let waits = (1..=12).map(|_| {
            lock = lock.failed(7);
            lock.wait_ms
        });
        let seconds = [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900];
        assert!(waits.eq(seconds.map(|seconds| seconds * 1000)));
    }

    #[test]
    fn a_clock_that_is_turned_back_shortens_no_wait_and_one_that_is_put_right_prolongs_none() {
        let locked = PinLock {
            failures: 5,
            wait_ms: 30_000,
            at_ms: 1_000_000,
            unlooked: 0,
        };
        let back = locked.looked_at(0);
        assert_eq!(back.wait_ms, 30_000);
        assert_eq!(back.looked_at(10_000).wait_ms, 20_000);
        assert_eq!(locked.looked_at(1_029_999).wait_ms, 1);
        assert_eq!(locked.looked_at(9_000_000).wait_ms, 0);
    }
}
