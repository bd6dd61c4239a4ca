//! The authorities of the lanes, one a shop.
//!
//! All their keys come from one secret in the hub's folder, and their own certificates are the same whenever they are made:
//! nothing is kept for a shop, and a hub that was restored from a backup has every authority again.

use crate::limits::LANE_CERTIFICATE_DAYS;
use counterfoil_domain::ShopId;
use counterfoil_domain::mesh::authority::shop_seed;
pub(crate) use counterfoil_replica::env::{LaneAuthority, LaneAuthorityError};

/// The secret of which every shop's authority is made.
pub(crate) struct LaneAuthorities {
    secret: [u8; 32],
}

impl LaneAuthorities {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The authority of one shop.
    pub(crate) fn of(&self, shop: ShopId) -> LaneAuthority {
        let seed = shop_seed(&self.secret, shop);
        LaneAuthority::new(shop, seed, LANE_CERTIFICATE_DAYS)
    }
}
