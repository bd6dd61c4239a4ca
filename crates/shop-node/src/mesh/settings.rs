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
    #[error("`{0}` is no address of a lane; write HOST or HOST:PORT, or ws://HOST:PORT")]
    Address(String),
    /// Certificates are for later.
    #[error(
        "`{0}`: lanes have no certificates to speak TLS with; write ws://, and a `peer_secret_file`"
    )]
    Tls(String),
    /// Anybody on the network could join.
    #[error(
        "{0} is reached over the network, and this lane has no secret by which it would know the others: \
             write one into a file, the same in every lane of the shop, and name it as `peer_secret_file`"
    )]
    NoSecret(Peer),
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
}

impl Peer {
    /// Reads `HOST`, `HOST:PORT` or `ws://HOST:PORT`.
    ///
    /// # Errors
    /// [`MeshError::Address`], [`MeshError::Tls`].
    pub fn parse(text: &str) -> Result<Self, MeshError> {
        let wrong = || MeshError::Address(text.to_owned());
        if text.starts_with("wss://") {
            return Err(MeshError::Tls(text.to_owned()));
        }
        let rest = text.strip_prefix("ws://").unwrap_or(text);
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
        Ok(Self { host, port })
    }

    fn is_this_machine(&self) -> bool {
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
    /// What lanes of the shop share; without it only this machine is reached.
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
            text => Some(Peer::parse(text)?),
        };
        let peers: Result<Vec<Peer>, MeshError> = named.into_iter().map(Peer::parse).collect();
        let peers = peers?;
        let key = match config.peer_secret_file.as_str() {
            "" => None,
            file => Some(PairingKey::of_secret(&secret(&data.join(file))?)),
        };
        let mut reached = listen.iter().chain(&peers);
        if key.is_none()
            && let Some(peer) = reached.find(|peer| !peer.is_this_machine())
        {
            return Err(MeshError::NoSecret(peer.clone()));
        }
        Ok(Some(Self {
            listen,
            peers,
            key,
            heartbeat: Duration::from_millis(config.peer_heartbeat_ms.max(10)),
        }))
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
        assert!(matches!(Peer::parse("wss://till2"), Err(MeshError::Tls(_))));
    }

    #[test]
    fn a_lane_without_a_good_secret_stays_on_its_machine() {
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
        for (listen, peers) in [
            ("127.0.0.1", vec!["localhost:1", "[::1]:2"]),
            ("", vec!["127.0.0.1"]),
            ("", vec![" 127.0.0.1", ""]),
        ] {
            assert!(
                of(&config(listen, &peers, ""))
                    .expect("this machine")
                    .is_some()
            );
        }
        for (listen, peers) in [("0.0.0.0", vec![]), ("127.0.0.1", vec!["till2"])] {
            let refused = of(&config(listen, &peers, ""));
            assert!(
                matches!(refused, Err(MeshError::NoSecret(_))),
                "{refused:?}"
            );
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
                .is_some_and(|settings| settings.key.is_some())
        );
    }
}
