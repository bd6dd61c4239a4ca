//! Faults committed on purpose against the checks themselves: each must be noticed.

use crate::chaos::{HUB, NODE};
use crate::checks::Guarantee;
use crate::record::{Acknowledged, Record};
use counterfoil_domain::DocumentId;
use counterfoil_domain::env::document_id;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_testkit::SeededRandom;
use std::path::Path;

/// What is broken after the run and before the checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Sabotage {
    /// A till claims a sale that no node recorded.
    LoseAck,
    /// The hub loses a receipt.
    LoseRow,
    /// The hub holds a receipt twice.
    Twice,
    /// A total at the hub is off by one minor unit.
    Penny,
    /// A receipt number is skipped in a book and at the hub.
    Gap,
    /// One node's catalog has another name for a product.
    Catalog,
    /// The hub forgets every version of a field.
    Forget,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LoseAck,
        Self::LoseRow,
        Self::Twice,
        Self::Penny,
        Self::Gap,
        Self::Catalog,
        Self::Forget,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// The guarantee whose check must notice.
    #[must_use]
    pub const fn breaks(self) -> Guarantee {
        match self {
            Self::LoseAck | Self::LoseRow => Guarantee::G1,
            Self::Twice => Guarantee::G2,
            Self::Penny => Guarantee::G3,
            Self::Gap => Guarantee::G4,
            Self::Catalog => Guarantee::G5,
            Self::Forget => Guarantee::G6,
        }
    }
}

/// Breaks it.
pub(crate) fn commit(sabotage: Sabotage, folder: &Path, record: &mut Record) -> anyhow::Result<()> {
    let script: &[&str] = match sabotage {
        Sabotage::LoseAck => {
            claim_a_sale(record);
            return Ok(());
        }
        Sabotage::LoseRow => &["DELETE FROM receipt WHERE (node, seq) =
            (SELECT node, max(seq) FROM receipt WHERE node = 1)"],
        Sabotage::Twice => &[
            "DROP INDEX receipt_by_id",
            "INSERT INTO receipt (node, seq, id, topic, hlc, trial, series, number, at_ms,
                currency, total_minor, corrected_ms)
             SELECT node, 1000000, id, topic, hlc, trial, series, number, at_ms,
                currency, total_minor, corrected_ms
             FROM receipt ORDER BY node, seq LIMIT 1",
        ],
        Sabotage::Penny => &[
            "UPDATE receipt SET total_minor = total_minor + 1 WHERE (node, seq) =
            (SELECT node, seq FROM receipt ORDER BY node, seq LIMIT 1)",
        ],
        Sabotage::Gap => &["UPDATE receipt SET number = number + 1 WHERE (node, seq) =
            (SELECT node, max(seq) FROM receipt WHERE node = 1)"],
        Sabotage::Catalog => {
            let catalog =
                Connection::open(folder.join(NODE[1]).join("catalog.db"), Durability::Full)?;
            let sql = "UPDATE products SET name = 'Sabotage' WHERE id =
                       (SELECT max(id) FROM products)";
            catalog.execute(sql, ())?;
            catalog.close();
            return Ok(());
        }
        Sabotage::Forget => &["DELETE FROM field_version"],
    };
    let hub = Connection::open(folder.join(HUB).join("hub.db"), Durability::Full)?;
    for sql in script {
        hub.execute(sql, ())?;
    }
    hub.close();
    Ok(())
}

fn claim_a_sale(record: &mut Record) {
    let id: DocumentId = document_id(1, &SeededRandom::new(0));
    let acknowledged = Acknowledged {
        node: 0,
        topic: "sale".to_owned(),
        seq: 1,
        receipt: Some(("L1".to_owned(), 1, 100)),
        true_ms: None,
        trial: false,
    };
    record.acknowledged.insert(id, acknowledged);
    record.attempted.insert(id);
}
