//! Exact amounts of money: minor units with their currency, never a float.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Why an amount could not be computed or read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies met in one sum.
    #[error("cannot add {right} to {left}: one document has one currency")]
    CurrencyMismatch {
        /// Currency on the left.
        left: Currency,
        /// Currency on the right.
        right: Currency,
    },
    /// The amount does not fit in 64 bits.
    #[error("the amount is too large")]
    Overflow,
    /// Not three capital letters.
    #[error("`{0}` is not a currency code of three capital letters such as GBP")]
    Currency(String),
    /// Not a decimal number with at most the stated number of decimals.
    #[error("`{text}` is not a number with at most {decimals} decimals")]
    Number {
        /// What was given.
        text: String,
        /// How many decimals are allowed.
        decimals: u32,
    },
}

/// An ISO 4217 code with two decimals, such as `GBP`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// Pound sterling, the default of a new node.
    pub const GBP: Self = Self(*b"GBP");

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(MoneyError::Currency(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in minor units (pence, cents) of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// Minor units; negative for money that leaves the till.
    pub minor: i64,
    /// The currency of the amount.
    pub currency: Currency,
}

impl Money {
    /// An amount of minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Adds another amount of the same currency.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] or [`MoneyError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch {
                left: self.currency,
                right: other.currency,
            });
        }
        let minor = self
            .minor
            .checked_add(other.minor)
            .ok_or(MoneyError::Overflow)?;
        Ok(Self {
            minor,
            currency: self.currency,
        })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        write!(
            f,
            "{sign}{}.{:02} {}",
            minor.div_euclid(100),
            minor % 100,
            self.currency
        )
    }
}

/// Reads a decimal number as an integer of `10^-decimals` units, exactly: `"2.55"` with 3 decimals
/// is 2550. No exponent, no thousands separator.
///
/// # Errors
/// [`MoneyError::Number`] for anything else, also when digits would be lost.
pub fn parse_fixed(text: &str, decimals: u32) -> Result<i64, MoneyError> {
    let error = || MoneyError::Number {
        text: text.to_owned(),
        decimals,
    };
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty() && digits != "0")
        || !all_digits(whole)
        || !all_digits(fraction)
        || fraction.len() > decimals as usize
    {
        return Err(error());
    }
    let mut value: i64 = 0;
    let padding = decimals as usize - fraction.len();
    for digit in whole
        .bytes()
        .chain(fraction.bytes())
        .chain(std::iter::repeat_n(b'0', padding))
    {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or_else(error)?;
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_number_is_read_exactly() {
        let check = |text: &str, decimals, expected: Option<i64>| {
            assert_eq!(parse_fixed(text, decimals).ok(), expected, "{text}");
        };
        check("2.55", 3, Some(2550));
        check("-11062.06", 3, Some(-11_062_060));
        check("0.001", 3, Some(1));
        check("0", 3, Some(0));
        check("0.0", 3, Some(0));
        check(" 12 ", 2, Some(1200));
        check(".5", 2, Some(50));
        check("1.2345", 3, None);
        check("1.2340", 3, Some(1234));
        check("", 2, None);
        check(".", 2, None);
        check("-", 2, None);
        check("1e3", 2, None);
        check("9223372036854775807", 2, None);
    }

    #[test]
    fn sums_stay_in_one_currency() {
        let pounds = Money::new(150, Currency::GBP);
        let euros = Money::new(1, "EUR".parse().expect("a code"));
        assert_eq!(
            pounds.checked_add(pounds),
            Ok(Money::new(300, Currency::GBP))
        );
        assert!(matches!(
            pounds.checked_add(euros),
            Err(MoneyError::CurrencyMismatch { .. })
        ));
        let most = Money::new(i64::MAX, Currency::GBP);
        assert_eq!(most.checked_add(pounds), Err(MoneyError::Overflow));
        assert_eq!(Money::new(-5, Currency::GBP).to_string(), "-0.05 GBP");
    }
}
