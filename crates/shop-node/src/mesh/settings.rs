//! Where lanes meet, and what they must know to be let in.

use crate::config::Config;
use crate::limits::PEER_SECRET_CHARS_MIN;
use counterfoil_domain::mesh::pairing::PairingKey;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port on which lanes are reached when none is named (P4).
const PORT: u16 = 8123;

/// Settings of the mesh that cannot be used; nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Not an address.
    #[error(
        "`{0}` is no address of a lane; write HOST or HOST:PORT, or ws://HOST:PORT, or wss://HOST:PORT"
    )]
    Address(String),
    /// The secret cannot be read.
    #[error("the secret of the lanes cannot be read from {path}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The secret can be guessed.
    #[error(
        "the secret in {0} is too short: lanes need {PEER_SECRET_CHARS_MIN} characters or more, such as \
             `openssl rand -hex 32` prints"
    )]
    ShortSecret(PathBuf),
    /// The secret is everybody's.
    #[error("others than its owner may read {0}: allow it to the owner alone (chmod 600)")]
    OpenSecret(PathBuf),
}

/// Where a lane is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Name or address of its machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Nothing but TLS is spoken there.
    pub secured: bool,
}

impl Peer {
    /// Reads `HOST`, `HOST:PORT`, `ws://HOST:PORT` or `wss://HOST:PORT`.
    ///
    /// # Errors
    /// [`MeshError::Address`].
    pub fn parse(text: &str) -> Result<Self, MeshError> {
        let wrong = || MeshError::Address(text.to_owned());
        let secured = text.strip_prefix("wss://");
        let rest = secured.or_else(|| text.strip_prefix("ws://"));
        let (rest, secured) = (rest.unwrap_or(text), secured.is_some());
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']').ok_or_else(wrong)?;
                host.parse::<IpAddr>().map_err(|_| wrong())?;
                (host, rest.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || !host.chars().all(fits) {
            return Err(wrong());
        }
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong())?;
        let host = host.to_owned();
        Ok(Self {
            host,
            port,
            secured,
        })
    }

    pub(super) fn is_this_machine(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|it| it.is_loopback())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// How this lane takes part in the mesh of its shop.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens, if it does.
    pub listen: Option<Peer>,
    /// Whom it dials.
    pub peers: Vec<Peer>,
    /// Whether it announces itself, and dials who does.
    pub discovery: bool,
    /// What lanes of the shop share that speak in the clear; without it only this machine's do.
    pub(crate) key: Option<PairingKey>,
    /// The longest silence that it keeps; twice and a half of it from a peer, and the connection counts as lost.
    pub(crate) heartbeat: Duration,
}

impl Settings {
    /// The settings of a data directory; `None` when the lane is by itself.
    ///
    /// # Errors
    /// [`MeshError`].
    pub fn of(config: &Config, data: &Path) -> Result<Option<Self>, MeshError> {
        let named = config.peers.iter().map(|text| text.trim());
        let named: Vec<&str> = named.filter(|text| !text.is_empty()).collect();
        if config.peer_listen.is_empty() && named.is_empty() {
            return Ok(None);
        }
        let listen = match config.peer_listen.as_str() {
            "" => None,
            // A port alone, of all addresses.
            port if port.bytes().all(|it| it.is_ascii_digit()) => {
                Some(Peer::parse(&format!("0.0.0.0:{port}"))?)
            }
            text => Some(Peer::parse(text)?),
        };
        let peers: Result<Vec<Peer>, MeshError> = named.into_iter().map(Peer::parse).collect();
        let peers = peers?;
        let key = match config.peer_secret_file.as_str() {
            "" => None,
            file => Some(PairingKey::of_secret(&secret(&data.join(file))?)),
        };
        let is_reached = listen.as_ref().is_some_and(|it| !it.is_this_machine());
        Ok(Some(Self {
            listen,
            peers,
            discovery: config.peer_discovery && is_reached,
            key,
            heartbeat: Duration::from_millis(config.peer_heartbeat_ms.max(10)),
        }))
    }
}

impl Settings {
    /// Whether somebody who comes may speak in the clear: whoever knows the secret, else this machine's lanes alone.
    pub(super) fn takes_plain(&self) -> bool {
        let listen = self.listen.as_ref().filter(|listen| !listen.secured);
        listen.is_some_and(|listen| self.key.is_some() || listen.is_this_machine())
    }
}

fn secret(path: &Path) -> Result<String, MeshError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |source| MeshError::Secret {
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path)
        .map_err(failed)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(MeshError::OpenSecret(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let secret = text.trim();
    if secret.chars().count() < PEER_SECRET_CHARS_MIN {
        return Err(MeshError::ShortSecret(path.to_owned()));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_testkit::TempDir;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn addresses_of_lanes_are_read_and_written() {
        for (text, shown) in [
            ("till2", "till2:8123"),
            ("ws://10.0.0.2", "10.0.0.2:8123"),
            ("ws://till2.shop:9000/", "till2.shop:9000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:8124", "[::1]:8124"),
            ("[fe80::1]", "[fe80::1]:8123"),
        ] {
            assert_eq!(Peer::parse(text).expect(text).to_string(), shown);
        }
        for text in [
            "",
            "ws://",
            "till:port",
            "till:70000",
            "http://till",
            "a b",
            "[till]:1",
            "till/x",
        ] {
            assert!(
                matches!(Peer::parse(text), Err(MeshError::Address(_))),
                "{text}"
            );
        }
        let secured = Peer::parse("wss://till2").expect("an address");
        assert_eq!((secured.port, secured.secured), (PORT, true));
    }

    #[test]
    fn only_this_machine_and_who_knows_the_secret_speaks_in_the_clear() {
        let dir = TempDir::new("mesh-settings");
        let config = |listen: &str, peers: &[&str], secret: &str| Config {
            peer_listen: listen.to_owned(),
            peers: peers.iter().map(|&peer| peer.to_owned()).collect(),
            peer_secret_file: secret.to_owned(),
            ..Config::default()
        };
        let of = |config: &Config| Settings::of(config, dir.path());
        assert!(of(&Config::default()).expect("by itself").is_none());
        let empty = of(&config("", &["", " "], ""));
        assert!(empty.expect("by itself").is_none());
        for (listen, plain) in [
            ("127.0.0.1", true),
            ("[::1]:2", true),
            ("wss://127.0.0.1", false),
            ("0.0.0.0", false),
            ("8124", false),
            ("till1", false),
            ("", false),
        ] {
            let settings = of(&config(listen, &[" till2", ""], "")).expect("good");
            let settings = settings.expect("not by itself");
            assert_eq!(settings.takes_plain(), plain, "{listen}");
            let is_reached = ["0.0.0.0", "8124", "till1"].contains(&listen);
            assert_eq!(settings.discovery, is_reached, "{listen}");
        }
        let open = config("0.0.0.0", &[], "secret");
        assert!(matches!(of(&open), Err(MeshError::Secret { .. })));
        let path = dir.path().join("secret");
        std::fs::write(&path, "short\n").expect("written");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("set");
        };
        mode(0o640);
        assert!(matches!(of(&open), Err(MeshError::OpenSecret(_))));
        mode(0o600);
        assert!(matches!(of(&open), Err(MeshError::ShortSecret(_))));
        std::fs::write(&path, "a".repeat(PEER_SECRET_CHARS_MIN)).expect("written");
        assert!(
            of(&open)
                .expect("good")
                .is_some_and(|settings| settings.key.is_some() && settings.takes_plain())
        );
        let secured = config("wss://0.0.0.0", &[], "secret");
        let secured = of(&secured).expect("good").expect("not by itself");
        assert!(!secured.takes_plain(), "whoever knows the secret");
    }
}
