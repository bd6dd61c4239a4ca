//! Numbers for people.

use std::time::Duration;

/// `1234567` becomes `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len().div_ceil(3));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 sale`, `2 sales`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    format!(
        "{} {one}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// Minor units as `-1,234.50`.
pub(crate) fn money(minor: i64) -> String {
    let size = minor.unsigned_abs();
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", count(size.div_euclid(100)), size % 100)
}

/// Bytes as `512 B`, `12.3 kB` or `4.5 MB`.
pub(crate) fn bytes(size: u64) -> String {
    let tenths = |unit: u64, name: &str| {
        let tenths = size.saturating_mul(10).div_euclid(unit);
        format!("{}.{} {name}", count(tenths.div_euclid(10)), tenths % 10)
    };
    match size {
        0..1_000 => format!("{size} B"),
        1_000..1_000_000 => tenths(1_000, "kB"),
        _ => tenths(1_000_000, "MB"),
    }
}

/// A duration as `0.31 s` or `12.4 s`.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(money(-123_450), "-1,234.50");
        assert_eq!(money(7), "0.07");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345), "12.3 kB");
        assert_eq!(bytes(4_560_000), "4.5 MB");
        assert_eq!(plural(1, "sale"), "1 sale");
        assert_eq!(plural(1_000, "sale"), "1,000 sales");
    }
}
