//! What one line of a receipt is worth: a quantity times a unit price, rounded once.

use crate::money::{MoneyError, parse_fixed};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// A quantity in thousandths of the selling unit: 6 pieces are 6000, 350 g of a kilogram are 350.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct Quantity {
    /// Thousandths of the unit; negative when goods come back or leave unsold.
    pub milli: i64,
}

impl Quantity {
    /// A number of thousandths.
    pub const fn from_milli(milli: i64) -> Self {
        Self { milli }
    }

    /// Reads `6`, `0.350` or `-2`.
    ///
    /// # Errors
    /// [`MoneyError::Number`] when it is no number of at most three decimals.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        parse_fixed(text, 3).map(Self::from_milli)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.milli < 0 { "-" } else { "" };
        let milli = self.milli.unsigned_abs();
        match milli % 1000 {
            0 => write!(f, "{sign}{}", milli.div_euclid(1000)),
            rest => write!(f, "{sign}{}.{rest:03}", milli.div_euclid(1000)),
        }
    }
}

/// A price per unit in thousandths of the major unit (tenths of a penny), as price labels of
/// wholesalers carry it: 2.55 is 2550.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct UnitPrice {
    /// Thousandths of the major currency unit.
    pub mills: i64,
}

impl UnitPrice {
    /// A number of thousandths.
    pub const fn from_mills(mills: i64) -> Self {
        Self { mills }
    }

    /// Reads `2.55` or `0.001`.
    ///
    /// # Errors
    /// [`MoneyError::Number`] when it is no number of at most three decimals.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        parse_fixed(text, 3).map(Self::from_mills)
    }
}

/// Quantity times unit price in minor units (two decimals), rounded half away from zero.
///
/// # Errors
/// [`MoneyError::Overflow`] when the amount does not fit in 64 bits.
pub fn line_amount(quantity: Quantity, price: UnitPrice) -> Result<i64, MoneyError> {
    // thousandths x thousandths = millionths of the major unit; a minor unit is 10^4 of them.
    const PER_MINOR: i128 = 10_000;
    const HALF: i128 = 5_000;
    let millionths = i128::from(quantity.milli) * i128::from(price.mills);
    // Rounded without its sign: half away from zero.
    let rounded = (millionths.abs() + HALF).div_euclid(PER_MINOR);
    let minor = if millionths < 0 { -rounded } else { rounded };
    i64::try_from(minor).map_err(|_| MoneyError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_rounded_half_away_from_zero() {
        let check = |quantity: &str, price: &str, expected: i64| {
            let quantity = Quantity::parse(quantity).expect("a quantity");
            let price = UnitPrice::parse(price).expect("a price");
            assert_eq!(line_amount(quantity, price), Ok(expected));
        };
        check("6", "2.55", 1530);
        check("1", "0.005", 1);
        check("-1", "0.005", -1);
        check("1", "0.004", 0);
        check("3", "0.001", 0);
        check("5", "0.001", 1);
        check("0.350", "12.99", 455);
        check("80995", "2.08", 16_846_960);
    }

    #[test]
    fn an_amount_that_does_not_fit_is_refused() {
        let most = Quantity::from_milli(i64::MAX);
        assert_eq!(
            line_amount(most, UnitPrice::from_mills(i64::MAX)),
            Err(MoneyError::Overflow)
        );
    }

    #[test]
    fn a_quantity_prints_as_it_was_typed() {
        for text in ["6", "-2", "0.350", "-0.001"] {
            assert_eq!(Quantity::parse(text).expect("a quantity").to_string(), text);
        }
    }
}
