//! Why something about escrow is refused.

use crate::error::StoreError;
use counterfoil_domain::{DocumentId, NodeId, Quantity};
use std::fmt;

/// Why something about escrow is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EscrowFault {
    /// This lane has not the right to sell so many.
    #[error("{0}")]
    NoRights(Lack),
    /// It was restored or copied.
    #[error(
        "this till was restored or copied, and what it had the right to sell of {0} may have been sold since"
    )]
    Frozen(String),
    /// An entry of its own about this product cannot be read.
    #[error("an entry of this till about the escrow of {0} cannot be read: it has no rights")]
    Unread(String),
    /// It was paired with nobody.
    #[error("this till is in trial, and was paired with no other lane")]
    Trial,
    /// It has begun.
    #[error("{0} is under escrow already")]
    Begun(String),
    /// It has not begun.
    #[error("{0} is not under escrow")]
    NotBegun(String),
    /// Something that the order needs is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No such lane has a part in it.
    #[error("no such lane has taken part in the escrow of {0}, as far as is known here")]
    UnknownLane(String),
    /// Rights go to another lane, or come from one.
    #[error("that is this lane itself")]
    Myself,
    /// A lane that is there can give.
    #[error(
        "that lane is connected: rights of {0} are taken over from a lane that does not come back"
    )]
    Connected(String),
    /// Several lanes have that number.
    #[error("several tills were lane {lane}: say which one by its node{}", listed(.nodes))]
    SeveralLanes {
        /// The number.
        lane: i64,
        /// Who has or had it.
        nodes: Vec<NodeId>,
    },
    /// It has not so many, as far as is known here.
    #[error("that lane has the right to sell {has} of {sku}, as far as is known here")]
    TooMany {
        /// The product.
        sku: String,
        /// What it has.
        has: Quantity,
    },
    /// The rights are in use.
    #[error("the rights of this till are not frozen")]
    NotFrozen,
}

/// What a lane lacks to sell a product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lack {
    /// The product.
    pub sku: String,
    /// The escrow.
    pub escrow: DocumentId,
    /// What is to be sold, thousandths of the unit.
    pub needed: i64,
    /// What this lane has.
    pub rights: i64,
    /// Lanes that have some, as far as is known here.
    pub others: Vec<(NodeId, Option<i64>, i64)>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, rights) = (Quantity::from_milli(self.needed), self.rights.max(0));
        let (sku, rights) = (&self.sku, Quantity::from_milli(rights));
        write!(
            f,
            "{needed} of {sku} is more than the {rights} that this lane has the right to sell"
        )?;
        for (node, lane, milli) in &self.others {
            let has = Quantity::from_milli(*milli);
            match lane {
                Some(lane) => write!(f, "; lane {lane} has {has}")?,
                None => write!(f, "; lane {node} has {has}")?,
            }
        }
        if self.others.is_empty() {
            f.write_str("; no lane has any that is known here")?;
        }
        Ok(())
    }
}

impl Lack {
    pub(super) fn fault(self) -> StoreError {
        StoreError::Escrow(Box::new(EscrowFault::NoRights(self)))
    }
}

pub(super) fn fault(fault: EscrowFault) -> StoreError {
    StoreError::Escrow(Box::new(fault))
}

fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| format!("; {node}")).collect()
}

impl From<EscrowFault> for StoreError {
    fn from(found: EscrowFault) -> Self {
        fault(found)
    }
}
