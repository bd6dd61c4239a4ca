//! What a lane says of itself to everybody on its network, so that the others of its shop find it.
//!
//! Nothing of it is believed: it saves dialing lanes of other shops, and says neither which shop it is nor whose.

use crate::hex::to_hex;
use crate::ids::ShopId;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// Names what a tag is for. It must not change: lanes of different releases meet.
const PURPOSE: &str = "counterfoil 2026-11 announcement of a lane";
/// Bytes of a tag: of a thousand strangers none has the right one by chance.
const TAG_SIZE: usize = 8;

/// Tells announcements of one shop from others', for whoever knows the shop's id: 16 hexadecimal digits over the name under
/// which the lane announces itself and its port.
pub fn tag(shop: ShopId, name: &str, port: u16) -> String {
    let text = format!("{PURPOSE}\n{shop}\n{name}\n{port}\n");
    let digest = Sha256::digest(text);
    to_hex(digest.get(..TAG_SIZE).unwrap_or_default())
}

/// Whether an address that somebody announced may be dialed: one of a local network. Nobody sends a lane out into the
/// internet, or to what listens on its own machine.
pub const fn may_be_dialed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // Of carriers, and of networks that are made of such (RFC 6598).
            let is_shared = first == 100 && second & 0b1100_0000 == 64;
            address.is_private() || address.is_link_local() || is_shared
        }
        // A link-local one means nothing without the interface.
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_one_shop_one_name_and_one_port() {
        let shop = |last: u8| ShopId::from_slice(&[[0; 15].as_slice(), &[last]].concat());
        let (one, other) = (shop(1).expect("an id"), shop(2).expect("an id"));
        let made = tag(one, "5c1f", 8123);
        // Lanes that somebody else wrote compute the same.
        assert_eq!(made, "e0262bfd437b58cc");
        assert_ne!(tag(other, "5c1f", 8123), made);
        assert_ne!(tag(one, "5c1e", 8123), made);
        assert_ne!(tag(one, "5c1f", 8124), made);
    }

    #[test]
    fn only_addresses_of_a_local_network_are_dialed() {
        let of = |text: &str| may_be_dialed(text.parse().expect("an address"));
        for text in [
            "192.168.1.7",
            "10.1.2.3",
            "172.31.0.1",
            "169.254.3.4",
            "100.64.0.1",
            "fd00::7",
        ] {
            assert!(of(text), "{text}");
        }
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.251",
            "255.255.255.255",
            "8.8.8.8",
            "100.128.0.1",
            "::1",
            "fe80::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!of(text), "{text}");
        }
    }
}
