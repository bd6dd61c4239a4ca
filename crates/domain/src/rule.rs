//! The rules that a record must keep to be consolidated. One that breaks a rule steps aside (X4).
//!
//! The names are stored at the hub and shown to programs; they must not change.

/// A rule that a record of a book broke.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// A kind of record from a newer program.
    TopicUnknown,
    /// Its id is no id.
    IdDamaged,
    /// Another record has its id.
    IdKnown,
    /// The journal names it and its table does not hold it, or not all of it.
    RecordMissing,
    /// The database cannot store a value in it.
    ValueDamaged,
    /// A number that cannot be true.
    ValueOutOfRange,
    /// A word that stands for something of a newer program.
    ValueUnknown,
    /// A receipt without lines.
    LinesMissing,
    /// A line is not quantity times price.
    LineAmountWrong,
    /// Goods come back on a sale, or go out on a refund.
    QuantitySignWrong,
    /// The lines do not come to the total.
    TotalWrong,
    /// The payments do not come to the total.
    PaymentsWrong,
    /// Dated before anybody sold here, or far ahead of the hub's clock.
    TimeImpossible,
    /// Another receipt of the till has its number.
    NumberRepeated,
    /// It takes back a receipt that stands in quarantine.
    RefundOfQuarantined,
    /// It takes back a receipt that nobody has sent.
    RefundOfUnknown,
    /// The change to the catalog cannot be read.
    EditUnreadable,
    /// A logical time that would win every conflict for ever.
    EditTimeImpossible,
    /// A catalog table of a newer program.
    TableUnknown,
    /// A catalog column of a newer program, or one that shops may not change.
    ColumnUnknown,
    /// A value that the column does not take.
    ColumnValueWrong,
    /// The row holds for another shop.
    RowOfAnotherShop,
    /// A price for a product that nobody has.
    ProductUnknown,
    /// Credit or an order of a customer whom nobody has entered.
    CustomerUnknown,
    /// A decision about a conflict in which the till's shop has no part.
    ConflictOfAnotherShop,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::TopicUnknown,
        Self::IdDamaged,
        Self::IdKnown,
        Self::RecordMissing,
        Self::ValueDamaged,
        Self::ValueOutOfRange,
        Self::ValueUnknown,
        Self::LinesMissing,
        Self::LineAmountWrong,
        Self::QuantitySignWrong,
        Self::TotalWrong,
        Self::PaymentsWrong,
        Self::TimeImpossible,
        Self::NumberRepeated,
        Self::RefundOfQuarantined,
        Self::RefundOfUnknown,
        Self::EditUnreadable,
        Self::EditTimeImpossible,
        Self::TableUnknown,
        Self::ColumnUnknown,
        Self::ColumnValueWrong,
        Self::RowOfAnotherShop,
        Self::ProductUnknown,
        Self::CustomerUnknown,
        Self::ConflictOfAnotherShop,
    ];

    /// The stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TopicUnknown => "topic_unknown",
            Self::IdDamaged => "id_damaged",
            Self::IdKnown => "id_known",
            Self::RecordMissing => "record_missing",
            Self::ValueDamaged => "value_damaged",
            Self::ValueOutOfRange => "value_out_of_range",
            Self::ValueUnknown => "value_unknown",
            Self::LinesMissing => "lines_missing",
            Self::LineAmountWrong => "line_amount_wrong",
            Self::QuantitySignWrong => "quantity_sign_wrong",
            Self::TotalWrong => "total_wrong",
            Self::PaymentsWrong => "payments_wrong",
            Self::TimeImpossible => "time_impossible",
            Self::NumberRepeated => "number_repeated",
            Self::RefundOfQuarantined => "refund_of_quarantined",
            Self::RefundOfUnknown => "refund_of_unknown",
            Self::EditUnreadable => "edit_unreadable",
            Self::EditTimeImpossible => "edit_time_impossible",
            Self::TableUnknown => "table_unknown",
            Self::ColumnUnknown => "column_unknown",
            Self::ColumnValueWrong => "column_value_wrong",
            Self::RowOfAnotherShop => "row_of_another_shop",
            Self::ProductUnknown => "product_unknown",
            Self::CustomerUnknown => "customer_unknown",
            Self::ConflictOfAnotherShop => "conflict_of_another_shop",
        }
    }

    /// Reads a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// Whether a person may say that the record counts all the same. Not where the hub's tables
    /// cannot hold it, where every sum over them would overflow, or where every clock of the chain
    /// would follow it.
    pub const fn may_be_waived(self) -> bool {
        match self {
            Self::TopicUnknown
            | Self::IdDamaged
            | Self::IdKnown
            | Self::RecordMissing
            | Self::ValueDamaged
            | Self::ValueOutOfRange
            | Self::EditUnreadable
            | Self::EditTimeImpossible
            | Self::TableUnknown
            | Self::ColumnUnknown
            | Self::ColumnValueWrong => false,
            Self::ValueUnknown
            | Self::LinesMissing
            | Self::LineAmountWrong
            | Self::QuantitySignWrong
            | Self::TotalWrong
            | Self::PaymentsWrong
            | Self::TimeImpossible
            | Self::NumberRepeated
            | Self::RefundOfQuarantined
            | Self::RefundOfUnknown
            | Self::RowOfAnotherShop
            | Self::ProductUnknown
            | Self::CustomerUnknown
            | Self::ConflictOfAnotherShop => true,
        }
    }

    /// Whether it keeps a record out of what belongs to another shop than its own.
    pub const fn is_about_another_shop(self) -> bool {
        matches!(self, Self::RowOfAnotherShop | Self::ConflictOfAnotherShop)
    }
}

/// A set of rules.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RuleSet(u64);

impl RuleSet {
    /// The same with one more.
    #[must_use]
    pub fn with(self, rule: Rule) -> Self {
        Self(self.0 | Self::bit(rule))
    }

    /// Whether a rule is one of them.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & Self::bit(rule) != 0
    }

    fn bit(rule: Rule) -> u64 {
        let place = Rule::ALL.iter().position(|known| *known == rule);
        place.map_or(0, |place| 1 << place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_is_found_by_its_own_name() {
        let names: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(rule.name()), Some(rule));
            // The hub's statements cut the name off a finding at the first colon.
            assert!(
                rule.name()
                    .chars()
                    .all(|c| c == '_' || c.is_ascii_lowercase())
            );
        }
        assert_eq!(Rule::from_name("nothing"), None);
    }

    #[test]
    fn a_set_has_what_was_put_in_and_nothing_else() {
        let mut set = RuleSet::default();
        for (index, rule) in Rule::ALL.into_iter().enumerate() {
            assert!(!set.has(rule));
            set = set.with(rule);
            let has = Rule::ALL.into_iter().filter(|rule| set.has(*rule)).count();
            assert_eq!(has, index + 1);
        }
    }
}
