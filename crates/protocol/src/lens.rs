//! Lenses: how a book of an older schema version reads as one of the newest (X5).
//!
//! Every migration of the book has its lens here and nowhere else. The hub reads older books through them and never writes one; a test compares
//! what a lens gives with what the migration itself does.
//!
//! What no lens can change, because every version is read for it: the columns `seq`, `id`, `hlc`, `topic`,
//! `priority` and `chain` of `journal`, and the table `meta`. A name that went is never used again for
//! something else.

use std::collections::BTreeMap;

/// How many schema versions behind the hub a book may be and is still consolidated. A book behind that is
/// stored and waits.
pub const VERSIONS_BEHIND_MAX: i32 = 2;

/// What a migration did, as far as a reader is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A column came.
    Added {
        /// Its table, as it is named afterwards.
        table: &'static str,
        /// Its name.
        column: &'static str,
        /// What rows from before hold in it: a literal of SQL.
        default: &'static str,
    },
    /// A table came.
    Made {
        /// Its name.
        table: &'static str,
        /// Its columns; a book from before has no rows of them.
        columns: &'static [&'static str],
    },
    /// A column has another name.
    Renamed {
        /// Its table, as it is named afterwards.
        table: &'static str,
        /// The name before.
        from: &'static str,
        /// The name since.
        to: &'static str,
    },
    /// A table has another name.
    Moved {
        /// The name before.
        from: &'static str,
        /// The name since.
        to: &'static str,
    },
}

/// What one migration did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lens {
    /// The schema version that the migration leads to.
    pub to: i32,
    /// In the order in which they are applied.
    pub changes: &'static [Change],
}

/// Lenses of the book, ascending, without gaps.
pub const BOOK: &[Lens] = &[
    Lens {
        to: 2,
        changes: &[Change::Added {
            table: "journal",
            column: "import_id",
            default: "NULL",
        }],
    },
    Lens {
        to: 3,
        changes: &[Change::Added {
            table: "expense",
            column: "employee",
            default: "NULL",
        }],
    },
    Lens {
        to: 4,
        changes: &[
            Change::Added {
                table: "stock_count",
                column: "seen",
                default: "NULL",
            },
            Change::Made {
                table: "employee_event",
                columns: &[
                    "seq",
                    "employee",
                    "event",
                    "permission",
                    "outcome",
                    "unlooked",
                    "at_ms",
                ],
            },
        ],
    },
];

/// How one table of an older book reads as a table of the newest schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Its name in the newest schema.
    pub name: String,
    /// Its name in the book; empty: there is none, and it has no rows.
    pub table: String,
    /// Columns of the newest schema, each with what stands for it: a column of the book, or a literal.
    pub columns: Vec<(String, String)>,
}

/// Tables of a book with their columns.
pub type Tables = BTreeMap<String, Vec<String>>;

/// Applies the lenses behind `version` to the tables of a book of that version.
pub fn views(tables: &Tables, version: i32, lenses: &[Lens]) -> Vec<View> {
    let mut views: Vec<View> = tables
        .iter()
        .map(|(name, columns)| View {
            name: name.clone(),
            table: name.clone(),
            columns: columns
                .iter()
                .map(|column| (column.clone(), column.clone()))
                .collect(),
        })
        .collect();
    let later = lenses.iter().filter(|lens| lens.to > version);
    for change in later.flat_map(|lens| lens.changes) {
        apply(&mut views, change);
    }
    views
}

fn apply(views: &mut Vec<View>, change: &Change) {
    match *change {
        Change::Added {
            table,
            column,
            default,
        } => {
            for view in views.iter_mut().filter(|view| view.name == table) {
                view.columns.push((column.to_owned(), default.to_owned()));
            }
        }
        Change::Made { table, columns } => {
            let empty = |column: &&str| ((*column).to_owned(), "NULL".to_owned());
            views.push(View {
                name: table.to_owned(),
                table: String::new(),
                columns: columns.iter().map(empty).collect(),
            });
        }
        Change::Renamed { table, from, to } => {
            let of_table = views.iter_mut().filter(|view| view.name == table);
            for (name, _) in of_table.flat_map(|view| &mut view.columns) {
                if name == from {
                    to.clone_into(name);
                }
            }
        }
        Change::Moved { from, to } => {
            for view in views.iter_mut().filter(|view| view.name == from) {
                to.clone_into(&mut view.name);
            }
        }
    }
}

/// How a hub reads a book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// As it is.
    AsIs,
    /// Through the lenses.
    Through,
    /// Not: the book waits until the hub is upgraded.
    HubOlder,
    /// Not: the book waits until its node is upgraded.
    NodeTooOld,
}

/// Decides how a hub of one schema version reads a book of another.
pub const fn reading(hub: i32, book: i32) -> Reading {
    if book > hub {
        Reading::HubOlder
    } else if book == hub {
        Reading::AsIs
    } else if book < hub - VERSIONS_BEHIND_MAX {
        Reading::NodeTooOld
    } else {
        Reading::Through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(of: &[(&str, &[&str])]) -> Tables {
        let columns = |columns: &[&str]| columns.iter().map(|name| (*name).to_owned()).collect();
        of.iter()
            .map(|(name, of)| ((*name).to_owned(), columns(of)))
            .collect()
    }

    #[test]
    fn what_came_moved_and_was_renamed_reads_as_the_newest() {
        const LENSES: &[Lens] = &[
            Lens {
                to: 2,
                changes: &[Change::Added {
                    table: "visit",
                    column: "tip",
                    default: "0",
                }],
            },
            Lens {
                to: 3,
                changes: &[
                    Change::Moved {
                        from: "visit",
                        to: "call",
                    },
                    Change::Renamed {
                        table: "call",
                        from: "tip",
                        to: "tip_minor",
                    },
                ],
            },
        ];
        let view = |columns: &[(&str, &str)]| View {
            name: "call".to_owned(),
            table: "visit".to_owned(),
            columns: columns
                .iter()
                .map(|(name, of)| ((*name).to_owned(), (*of).to_owned()))
                .collect(),
        };
        let first = tables(&[("visit", &["seq"])]);
        let read = view(&[("seq", "seq"), ("tip_minor", "0")]);
        assert_eq!(views(&first, 1, LENSES), [read]);
        let second = tables(&[("visit", &["seq", "tip"])]);
        let read = view(&[("seq", "seq"), ("tip_minor", "tip")]);
        assert_eq!(views(&second, 2, LENSES), [read]);
    }

    #[test]
    fn two_versions_behind_are_read_and_newer_ones_wait() {
        let readings = [6, 5, 4, 3, 2].map(|book| reading(5, book));
        let expected = [
            Reading::HubOlder,
            Reading::AsIs,
            Reading::Through,
            Reading::Through,
            Reading::NodeTooOld,
        ];
        assert_eq!(readings, expected);
    }

    #[test]
    fn lenses_have_no_gaps() {
        let versions: Vec<i32> = BOOK.iter().map(|lens| lens.to).collect();
        let newest = versions.last().copied().unwrap_or(1);
        assert_eq!(versions, (2..=newest).collect::<Vec<_>>());
    }
}
