//! Where the lines and payments of a receipt stand in a book: one key for each, in the order in which
//! they are written.
//!
//! The format must not change: the book's views and the hub's statements depend on it.

/// Bits of a key that number the items of one receipt.
pub const ITEM_BITS: u32 = 16;

/// Payments count from here, so that they stand behind the lines.
pub const PAYMENTS_FROM: i64 = 1 << 15;

/// The key of a line of the receipt with journal number `seq`.
///
/// `line` counts from 1 and is at most [`crate::document::RECEIPT_LINES_MAX`], which leaves room.
pub const fn line_key(seq: i64, line: i64) -> i64 {
    seq << ITEM_BITS | line
}

/// The key of a payment of the receipt with journal number `seq`.
///
/// `payment` counts from 1 and is at most [`crate::document::RECEIPT_PAYMENTS_MAX`].
pub const fn payment_key(seq: i64, payment: i64) -> i64 {
    seq << ITEM_BITS | PAYMENTS_FROM | payment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{RECEIPT_LINES_MAX, RECEIPT_PAYMENTS_MAX};

    #[test]
    fn the_largest_receipt_keeps_its_lines_before_its_payments_and_both_before_the_next() {
        let most = |limit: usize| i64::try_from(limit).unwrap();
        let keys = [
            line_key(7, 1),
            line_key(7, most(RECEIPT_LINES_MAX)),
            payment_key(7, 1),
            payment_key(7, most(RECEIPT_PAYMENTS_MAX)),
            line_key(8, 1),
        ];
        assert!(keys.is_sorted_by(|one, next| one < next), "{keys:?}");
        assert!(line_key(7, most(RECEIPT_LINES_MAX)) < (7 << ITEM_BITS | PAYMENTS_FROM));
        assert!(payment_key(7, most(RECEIPT_PAYMENTS_MAX)) < 8 << ITEM_BITS);
    }
}
