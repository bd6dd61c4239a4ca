//! The authority of the lanes of one shop.

use crate::ids::ShopId;

/// Names what the seed is for. It must not change: every lane's certificate would end with it.
const PURPOSE: &str = "counterfoil 2026-11 authority of the lanes of a shop";

/// The seed of the key of a shop's authority, from the one secret of the hub: no two shops share one, and who knows that
/// of one shop knows no other's.
pub fn shop_seed(secret: &[u8; 32], shop: ShopId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(PURPOSE);
    hasher.update(secret);
    hasher.update(shop.uuid().as_bytes());
    *hasher.finalize().as_bytes()
}
