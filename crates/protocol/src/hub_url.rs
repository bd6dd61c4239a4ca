//! A hub's address, with the certificate that is expected there.
//!
//! `https://sha256-<64 hex digits>@hub.example:8700` names the hub at `https://hub.example:8700` and pins the
//! SHA-256 fingerprint of its certificate authority, or of its certificate. It is one text, so that the pin goes wherever
//! the address goes: into join codes, a till's book, a command's `--hub`. Whoever reads one parses it: an address
//! whose pin is damaged is an error, never one without a pin.

use counterfoil_domain::hex::{array_from_hex, to_hex};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

const PIN_PREFIX: &str = "sha256-";
const SECURED: &str = "https://";
const PLAIN: &str = "http://";

/// The fingerprint of a certificate: SHA-256 over its DER form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Reads 64 hexadecimal digits, with or without `sha256-` before them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PIN_PREFIX).unwrap_or(text);
        array_from_hex(digits).map(Self)
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }
}

/// Text that is no address of a hub.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseHubUrlError {
    /// It names no place.
    #[error("`{0}` is not a hub's URL: it looks like https://hub.example:8700")]
    Address(String),
    /// Something stands before the `@` that is no fingerprint.
    #[error(
        "what stands before the @ in `{0}` is not the fingerprint of a certificate: it is {PIN_PREFIX} and 64 \
         hexadecimal digits; copy the whole address again, or ask the hub's operator for a new join code"
    )]
    Pin(String),
    /// It pins a certificate where none is shown.
    #[error("`{0}` pins a certificate, and plain HTTP shows none: it begins with {SECURED}")]
    PinInTheClear(String),
}

/// The address of a hub. Displayed with its pin, as [`FromStr`] reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubUrl {
    is_secured: bool,
    pin: Option<Pin>,
    /// Host, port and path, without a slash at the end.
    place: String,
}

impl HubUrl {
    /// Where somebody listens, without a pin.
    #[must_use]
    pub fn of(address: SocketAddr, is_secured: bool) -> Self {
        let place = address.to_string();
        Self {
            is_secured,
            pin: None,
            place,
        }
    }

    /// The certificate that is expected there; without one those whom the operating system trusts.
    #[must_use]
    pub const fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// The address with that pin in place of any other. Only `https` has one.
    #[must_use]
    pub fn with_pin(self, pin: Pin) -> Self {
        let pin = self.is_secured.then_some(pin);
        Self { pin, ..self }
    }

    /// The address as people know it.
    #[must_use]
    pub fn without_pin(self) -> Self {
        Self { pin: None, ..self }
    }

    /// The host, without brackets and port.
    #[must_use]
    pub fn host(&self) -> &str {
        host_of(&self.place)
    }

    /// Whether what is said to this address can be read on the way: `http` to another machine.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        let host = self.host();
        let is_near = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !self.is_secured && !is_near && !host.eq_ignore_ascii_case("localhost")
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_secured { SECURED } else { PLAIN })?;
        if let Some(pin) = self.pin {
            write!(f, "{PIN_PREFIX}{}@", pin.to_hex())?;
        }
        f.write_str(&self.place)
    }
}

impl FromStr for HubUrl {
    type Err = ParseHubUrlError;

    fn from_str(text: &str) -> Result<Self, ParseHubUrlError> {
        let text = text.trim().trim_end_matches('/');
        let no_address = || ParseHubUrlError::Address(text.to_owned());
        let pin = pin_of(text)?;
        let (is_secured, rest) = match (text.strip_prefix(SECURED), text.strip_prefix(PLAIN)) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(no_address()),
        };
        if !is_secured && pin.is_some() {
            return Err(ParseHubUrlError::PinInTheClear(text.to_owned()));
        }
        let place = match (pin, rest.split_once('@')) {
            (Some(_), Some((_, place))) => place,
            _ => rest,
        };
        let is_plain = place.chars().all(|c| !c.is_whitespace() && !c.is_control());
        if host_of(place).is_empty() || !is_plain {
            return Err(no_address());
        }
        Ok(Self {
            is_secured,
            pin,
            place: place.to_owned(),
        })
    }
}

/// The pin in the address of a hub, or of something at a hub, when it has one.
///
/// # Errors
/// [`ParseHubUrlError::Pin`] when anything else stands in its place.
pub fn pin_of(url: &str) -> Result<Option<Pin>, ParseHubUrlError> {
    let Some((user, _)) = authority(url).and_then(|authority| authority.rsplit_once('@')) else {
        return Ok(None);
    };
    let pin = user.strip_prefix(PIN_PREFIX).and_then(Pin::parse);
    pin.map(Some)
        .ok_or_else(|| ParseHubUrlError::Pin(url.to_owned()))
}

/// The address as people know it, for what is said of it; one that is no address of a hub as it is.
#[must_use]
pub fn shown(url: &str) -> String {
    match url.parse::<HubUrl>() {
        Ok(url) => url.without_pin().to_string(),
        Err(_) => url.to_owned(),
    }
}

fn host_of(place: &str) -> &str {
    let place = place.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some(rest) = place.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(host, _)| host);
    }
    place.split_once(':').map_or(place, |(host, _)| host)
}

fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HubUrl, ParseHubUrlError> {
        text.parse()
    }

    #[test]
    fn a_pin_travels_in_the_address_and_comes_out_again() {
        let pin = Pin([0xab; 32]);
        let plain = read(" https://hub.example:8700/ ").expect("an address");
        assert_eq!((plain.pin(), plain.host()), (None, "hub.example"));
        let text = plain.clone().with_pin(pin).to_string();
        assert_eq!(
            text,
            format!("https://sha256-{}@hub.example:8700", "ab".repeat(32))
        );
        let url = read(&text).expect("an address");
        assert_eq!(url.pin(), Some(pin));
        assert_eq!(pin_of(&format!("{text}/v1/hello?a=@")), Ok(Some(pin)));
        assert_eq!(url.clone().without_pin(), plain);
        assert_eq!(shown(&text), "https://hub.example:8700");
        let other = url.with_pin(Pin([1; 32]));
        assert_eq!(other.pin(), Some(Pin([1; 32])));
        assert_eq!(other.host(), "hub.example");
        let near = read("http://127.0.0.1:1").expect("an address");
        assert_eq!(near.clone().with_pin(pin), near);
        assert_eq!(read("https://[::1]:1").expect("an address").host(), "::1");
    }

    #[test]
    fn a_damaged_pin_is_an_error_and_never_no_pin() {
        let whole = format!("sha256-{}", "ab".repeat(32));
        let damaged = [
            "https://user@hub:1".to_owned(),
            "https://@hub:1".to_owned(),
            "https://sha256-zz@hub:1".to_owned(),
            format!("https://{}@hub:1", &whole[..70]),
            format!("https://{whole}0@hub:1"),
            format!("https://{whole}@@hub:1"),
            format!("https://{whole}@{whole}@hub:1"),
            format!("https://{}@hub:1", whole.replace("256", "265")),
            format!("https://{}@hub:1", whole.replace('-', "%2D")),
            "http://user@127.0.0.1:1".to_owned(),
        ];
        for url in damaged {
            assert_eq!(read(&url), Err(ParseHubUrlError::Pin(url.clone())));
            assert!(pin_of(&format!("{url}/v1/hello")).is_err(), "{url}");
        }
        let clear = format!("http://{whole}@127.0.0.1:1");
        assert_eq!(
            read(&clear),
            Err(ParseHubUrlError::PinInTheClear(clear.clone()))
        );
        for url in [
            "hub",
            "https://",
            "ftp://hub",
            "https:// hub",
            "https://h\nb",
        ] {
            assert_eq!(
                read(url),
                Err(ParseHubUrlError::Address(
                    url.trim_end_matches('/').to_owned()
                ))
            );
        }
    }

    #[test]
    fn only_plain_http_to_another_machine_is_open_to_others() {
        let is_open = |url: &str| read(url).expect("an address").is_open_to_others();
        for open in [
            "http://hub:8700",
            "http://10.0.0.1",
            "http://localhost.example:1",
            "http://[::2]:1",
        ] {
            assert!(is_open(open), "{open}");
        }
        for closed in [
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "https://hub:1",
        ] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
