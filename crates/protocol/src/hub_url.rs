//! A hub's address, with the certificate that is expected there.
//!
//! `https://sha256-<64 hex digits>@hub.example:8700` names the hub at `https://hub.example:8700` and pins the
//! SHA-256 fingerprint of its certificate authority, or of its certificate. It is one text, so that the pin goes wherever
//! the address goes: into join codes, a till's book, a command's `--hub`.

use std::net::IpAddr;

const PIN_PREFIX: &str = "sha256-";

/// The fingerprint of a certificate: SHA-256 over its DER form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Reads 64 hexadecimal digits, with or without `sha256-` before them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PIN_PREFIX).unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            if pair.starts_with('+') {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
    }
}

/// The pin in an address, when it has one.
#[must_use]
pub fn pin_of(url: &str) -> Option<Pin> {
    let (user, _) = authority(url)?.rsplit_once('@')?;
    Pin::parse(user.strip_prefix(PIN_PREFIX)?)
}

/// The address with that pin in place of any other. Only `https` has one.
#[must_use]
pub fn with_pin(url: &str, pin: Pin) -> String {
    match without_pin(url).strip_prefix("https://") {
        Some(rest) => format!("https://{PIN_PREFIX}{}@{rest}", pin.to_hex()),
        None => url.to_owned(),
    }
}

/// The address as people know it.
#[must_use]
pub fn without_pin(url: &str) -> String {
    match (url.split_once("://"), pin_of(url)) {
        (Some((scheme, rest)), Some(_)) => {
            let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
            format!("{scheme}://{rest}")
        }
        _ => url.to_owned(),
    }
}

/// The host of an address, without brackets and port.
#[must_use]
pub fn host(url: &str) -> Option<&str> {
    let authority = authority(url)?;
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    if let Some(rest) = place.strip_prefix('[') {
        return rest.split_once(']').map(|(host, _)| host);
    }
    Some(place.split_once(':').map_or(place, |(host, _)| host))
}

/// Whether what is said to this address can be read on the way: `http` to another machine.
#[must_use]
pub fn is_open_to_others(url: &str) -> bool {
    if !url.starts_with("http://") {
        return false;
    }
    let host = host(url).unwrap_or_default();
    let is_near = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !is_near && !host.eq_ignore_ascii_case("localhost")
}

fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_travels_in_the_address_and_comes_out_again() {
        let pin = Pin([0xab; 32]);
        let url = with_pin("https://hub.example:8700", pin);
        assert_eq!(
            url,
            format!("https://sha256-{}@hub.example:8700", "ab".repeat(32))
        );
        assert_eq!(pin_of(&url), Some(pin));
        assert_eq!(without_pin(&url), "https://hub.example:8700");
        let other = with_pin(&url, Pin([1; 32]));
        assert_eq!(pin_of(&other), Some(Pin([1; 32])));
        assert_eq!(host(&other), Some("hub.example"));
        assert_eq!(with_pin("http://127.0.0.1:1", pin), "http://127.0.0.1:1");
        for none in [
            "https://hub:1",
            "https://user@hub:1",
            "https://sha256-zz@hub:1",
            "hub",
        ] {
            assert_eq!(pin_of(none), None, "{none}");
            assert_eq!(without_pin(none), none);
        }
    }

    #[test]
    fn only_plain_http_to_another_machine_is_open_to_others() {
        for open in [
            "http://hub:8700",
            "http://10.0.0.1",
            "http://localhost.example:1",
            "http://[::2]:1",
        ] {
            assert!(is_open_to_others(open), "{open}");
        }
        for closed in [
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "https://hub:1",
        ] {
            assert!(!is_open_to_others(closed), "{closed}");
        }
    }
}
