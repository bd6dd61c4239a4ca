//! The end of a business day (X9): what a till says it took, so that the hub can check what it has.
//!
//! A closure covers every receipt of the journal before it that is dated before the end of its day and
//! that no earlier closure covers. Closures follow each other: each begins where the one before
//! ended, and ends with the entry before its own. So each receipt has exactly one closure, and a sale
//! that comes after its day was closed belongs to the next one, as a late entry.

use crate::document::Tender;
use crate::ids::NodeId;
use crate::journal::Chain;
use crate::money::{Currency, MoneyError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// Farthest day either way, in days since 1970: the years 0000 to 9999, which four digits can write.
const DAYS: std::ops::RangeInclusive<i64> = -719_528..=2_932_896;

/// A day of the calendar, written `YYYY-MM-DD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(i64);

/// A text that is no day.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a day; write YYYY-MM-DD")]
pub struct ParseDayError(String);

impl Day {
    /// The day of that number, from 1970-01-01 as 0; beyond the years 0000 to 9999 the last one there is.
    pub fn from_number(number: i64) -> Self {
        Self(number.clamp(*DAYS.start(), *DAYS.end()))
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Year, month from 1, day from 1; Howard Hinnant's `civil_from_days`.
    fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0 + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let leaps = day_of_era.div_euclid(1_460) - day_of_era.div_euclid(36_524)
            + day_of_era.div_euclid(146_096);
        let year_of_era = (day_of_era - leaps).div_euclid(365);
        let leap_days = year_of_era.div_euclid(4) - year_of_era.div_euclid(100);
        let day_of_year = day_of_era - (365 * year_of_era + leap_days);
        let month_index = (5 * day_of_year + 2).div_euclid(153);
        let day = day_of_year - (153 * month_index + 2).div_euclid(5) + 1;
        let month = month_index + if month_index < 10 { 3 } else { -9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }

    /// The inverse, by Hinnant's `days_from_civil`; of nonsense, some other day.
    fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let year = year - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month_index = (month + 9).rem_euclid(12);
        let day_of_year = (153 * month_index + 2).div_euclid(5) + day - 1;
        let leap_days = year_of_era.div_euclid(4) - year_of_era.div_euclid(100);
        Self(era * 146_097 + year_of_era * 365 + leap_days + day_of_year - 719_468)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        let wrong = || ParseDayError(text.to_owned());
        let mut parts = text.split('-').map(|part| part.parse::<i64>().ok());
        let mut next = || parts.next().flatten().ok_or_else(wrong);
        let (year, month, day) = (next()?, next()?, next()?);
        if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(wrong());
        }
        let found = Self::from_civil(year, month, day);
        // The 30th of February is written back as another day.
        if found.to_string() == text {
            Ok(found)
        } else {
            Err(wrong())
        }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// When a shop's business day begins. It stands in every closure, so that nobody else needs to know the
/// shop's time zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DayRule {
    /// Minutes that the shop's clock on the wall is ahead of UTC.
    pub utc_offset_minutes: i64,
    /// Minutes after midnight, by that clock, at which a day begins.
    pub cutoff_minutes: i64,
}

impl DayRule {
    const fn shift_ms(self) -> i64 {
        self.utc_offset_minutes
            .saturating_sub(self.cutoff_minutes)
            .saturating_mul(MINUTE_MS)
    }

    /// The business day of an instant in milliseconds since the Unix epoch.
    pub fn day_of(self, at_ms: i64) -> Day {
        Day::from_number(at_ms.saturating_add(self.shift_ms()).div_euclid(DAY_MS))
    }

    /// When a day begins, milliseconds since the Unix epoch.
    pub const fn start_ms(self, day: Day) -> i64 {
        (day.0 * DAY_MS).saturating_sub(self.shift_ms())
    }

    /// When it ends; the first millisecond of the next.
    pub const fn end_ms(self, day: Day) -> i64 {
        self.start_ms(Day(day.0 + 1))
    }
}

/// Numbers of one series, as far as a closure covers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NumberRange {
    /// Lowest.
    pub first: i64,
    /// Highest.
    pub last: i64,
    /// How many; fewer than the range holds when one in it is dated after the day.
    pub count: i64,
}

/// What receipts come to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Takings {
    /// Number of sales.
    pub sales: i64,
    /// Number of refunds.
    pub refunds: i64,
    /// Sum of both in minor units.
    pub total_minor: i64,
    /// Sum of the payments by tender, minor units.
    pub tenders: BTreeMap<Tender, i64>,
    /// Numbers by series.
    pub series: BTreeMap<String, NumberRange>,
}

/// A receipt as it counts in takings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Position in the journal.
    pub seq: i64,
    /// Money back.
    pub refund: bool,
    /// Number series.
    pub series: String,
    /// Number in it.
    pub number: i64,
    /// Milliseconds since the Unix epoch, the till's clock.
    pub at_ms: i64,
    /// Minor units.
    pub total_minor: i64,
    /// Payments: tender and minor units.
    pub payments: Vec<(Tender, i64)>,
}

impl Takings {
    /// Counts one more receipt.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when a sum does not fit.
    pub fn add(&mut self, receipt: &Counted) -> Result<(), MoneyError> {
        let plus = |sum: i64, more: i64| sum.checked_add(more).ok_or(MoneyError::Overflow);
        *if receipt.refund {
            &mut self.refunds
        } else {
            &mut self.sales
        } += 1;
        self.total_minor = plus(self.total_minor, receipt.total_minor)?;
        for (tender, amount_minor) in &receipt.payments {
            let sum = self.tenders.entry(*tender).or_insert(0);
            *sum = plus(*sum, *amount_minor)?;
        }
        let number = receipt.number;
        let range = self.series.entry(receipt.series.clone());
        let range = range.or_insert(NumberRange {
            first: number,
            last: number,
            count: 0,
        });
        range.first = range.first.min(number);
        range.last = range.last.max(number);
        range.count += 1;
        Ok(())
    }

    /// What a list of receipts comes to.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn of<'r>(receipts: impl IntoIterator<Item = &'r Counted>) -> Result<Self, MoneyError> {
        let mut takings = Self::default();
        for receipt in receipts {
            takings.add(receipt)?;
        }
        Ok(takings)
    }
}

/// A closed business day, as its till states it. The order of fields must not change: the journal's
/// chain and the seal cover it in this form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Closure {
    /// Who closed it.
    pub node: NodeId,
    /// Closed before activation: there was no hub yet to seal it for.
    pub trial: bool,
    /// The business day.
    pub day: Day,
    /// When that day began and ended.
    pub rule: DayRule,
    /// First journal entry behind the closure before; 1 for the first closure.
    pub first_seq: i64,
    /// The entry before this closure's own.
    pub last_seq: i64,
    /// Currency of every amount.
    pub currency: Currency,
    /// What the receipts of the day, and the late ones, come to.
    pub takings: Takings,
    /// How many of them are dated before the day.
    pub late: i64,
    /// Receipts up to `last_seq` that are dated after the day: they wait for the closure of theirs.
    pub ahead: i64,
    /// Chain value of the entry `last_seq`.
    pub head: Chain,
    /// When it was closed, milliseconds since the Unix epoch, the till's clock.
    pub at_ms: i64,
    /// What [`SealKey::seal`] says of all of this.
    pub seal: Option<String>,
}

impl Closure {
    /// Whether it covers a receipt that no closure before it covers.
    pub const fn reaches(&self, seq: i64, at_ms: i64) -> bool {
        seq <= self.last_seq && at_ms < self.rule.end_ms(self.day)
    }

    /// Whether a receipt that it covers is of an earlier day.
    pub const fn is_late(&self, at_ms: i64) -> bool {
        at_ms < self.rule.start_ms(self.day)
    }
}

/// What node and hub share since the activation, made from the hash of the node's token: the hub keeps no
/// more of the token than that.
#[derive(Clone, Copy)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// The key of a token, by the token's SHA-256.
    pub fn of_token_hash(hash: &[u8; 32]) -> Self {
        Self(blake3::derive_key("counterfoil closure seal v1", hash))
    }

    /// Reads a stored key; `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes as they are stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Keyed BLAKE3 over the closure without its seal, hexadecimal.
    ///
    /// # Panics
    /// Never: a closure holds text, integers and text-keyed maps only.
    pub fn seal(&self, closure: &Closure) -> String {
        let bare = Closure {
            seal: None,
            ..closure.clone()
        };
        let content = serde_json::to_vec(&bare).expect("text-keyed maps only");
        blake3::keyed_hash(&self.0, &content).to_hex().to_string()
    }

    /// Whether the closure bears this key's seal.
    pub fn verifies(&self, closure: &Closure) -> bool {
        let Some(seal) = closure.seal.as_deref() else {
            return false;
        };
        let expected = blake3::Hash::from_hex(self.seal(closure));
        // Hashes are compared in constant time.
        matches!((expected, blake3::Hash::from_hex(seal)), (Ok(left), Ok(right)) if left == right)
    }
}

#[cfg(test)]
mod tests;
