//! How two lanes show each other that they know one secret, without saying it.

use crate::ids::{NodeId, ShopId};
use std::fmt;

/// Bytes that each side draws for one connection, so that no proof can be used again.
pub type Nonce = [u8; 32];

/// What lanes of a shop share until they have certificates.
#[derive(Clone)]
pub struct PairingKey([u8; 32]);

/// One side of a connection, as it introduced itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party {
    /// Who.
    pub node: NodeId,
    /// What it drew.
    pub nonce: Nonce,
}

impl PairingKey {
    /// Names what the key is for. It must not change: lanes of different releases meet.
    const PURPOSE: &'static str = "counterfoil 2026-11 lanes of one shop";

    /// The key of a secret.
    pub fn of_secret(secret: &str) -> Self {
        Self(blake3::derive_key(Self::PURPOSE, secret.as_bytes()))
    }

    /// What the prover sends, 64 hexadecimal digits. It names both sides in their parts, so it cannot be sent back.
    pub fn proof(&self, prover: &Party, verifier: &Party, shop: ShopId) -> String {
        self.hash(prover, verifier, shop).to_hex().to_string()
    }

    /// Whether that is what the prover had to send; takes the same time whatever is wrong.
    pub fn verifies(&self, proof: &str, prover: &Party, verifier: &Party, shop: ShopId) -> bool {
        blake3::Hash::from_hex(proof).is_ok_and(|found| found == self.hash(prover, verifier, shop))
    }

    fn hash(&self, prover: &Party, verifier: &Party, shop: ShopId) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(shop.uuid().as_bytes());
        for party in [prover, verifier] {
            hasher.update(party.node.uuid().as_bytes());
            hasher.update(&party.nonce);
        }
        hasher.finalize()
    }
}

impl fmt::Debug for PairingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingKey")
    }
}
