//! The network of a run: namespaces where they are to be had, relays elsewhere.

use super::relays::Relays;
use super::spaces::Spaces;
use super::weather::Weather;
use anyhow::bail;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// The port of lanes, and of the hub, in a namespace.
pub(super) const LANE_PORT: u16 = 8123;

pub(super) enum Network {
    Spaces(Box<Spaces>),
    Relays(Relays),
}

impl Network {
    /// A network of so many hosts. Whoever asks for namespaces and does not get them is told on standard error.
    pub(super) async fn of(hosts: usize, seed: u64, spaces: bool) -> anyhow::Result<Self> {
        if spaces {
            match Spaces::new(hosts, seed).await {
                Ok(spaces) => return Ok(Self::Spaces(Box::new(spaces))),
                Err(error) => writeln!(
                    std::io::stderr(),
                    "no network namespaces here ({error:#}): relays stand between the lanes, and nothing is lost, repeated or \
                     overtaken"
                )?,
            }
        }
        Ok(Self::Relays(Relays::default()))
    }

    /// A program on a host.
    pub(super) fn command(&self, host: usize, program: &Path) -> Command {
        match self {
            Self::Spaces(spaces) => spaces.command(host, program),
            Self::Relays(_) => Command::new(program),
        }
    }

    /// Where a host's own API listens, which the driver reaches whatever the weather.
    pub(super) fn api(&self, host: usize) -> String {
        match self {
            Self::Spaces(spaces) => format!("{}:0", spaces.outside(host)),
            Self::Relays(_) => "127.0.0.1:0".to_owned(),
        }
    }

    /// Where a lane, or the hub, is to listen to the others.
    pub(super) fn listen(&self, host: usize) -> String {
        match self {
            Self::Spaces(spaces) => format!("{}:{LANE_PORT}", spaces.inside(host)),
            Self::Relays(_) => "127.0.0.1:0".to_owned(),
        }
    }

    /// Where a lane listens to the others; when it is not told of them, whatever its address is.
    pub(super) fn lane_port(&self, host: usize, configured: bool) -> anyhow::Result<String> {
        match configured {
            true => Ok(self.listen(host)),
            false => self.spaces().map(|_| format!("0.0.0.0:{LANE_PORT}")),
        }
    }

    /// The namespaces, which some runs are about.
    pub(super) fn spaces(&self) -> anyhow::Result<&Spaces> {
        match self {
            Self::Spaces(spaces) => Ok(spaces),
            Self::Relays(_) => bail!("this takes network namespaces, which only root can make"),
        }
    }

    /// A host listens there from now on.
    pub(super) fn listens(&mut self, host: usize, address: &str) -> anyhow::Result<()> {
        match self {
            Self::Spaces(_) => Ok(()),
            Self::Relays(relays) => relays.listens(host, address),
        }
    }

    /// Where a host listens, when that was not known before it did.
    pub(super) fn address(&self, host: usize) -> Option<String> {
        match self {
            Self::Spaces(_) => None,
            Self::Relays(relays) => relays.address(host),
        }
    }

    /// Where a host reaches another one; `None` when that one is not known yet, and dials itself.
    pub(super) async fn way(&mut self, from: usize, to: usize) -> anyhow::Result<Option<String>> {
        match self {
            Self::Spaces(_) => Ok(Some(self.listen(to))),
            Self::Relays(relays) => relays.way(from, to).await,
        }
    }

    pub(super) async fn set(&mut self, weather: &Weather) -> anyhow::Result<()> {
        match self {
            Self::Spaces(spaces) => spaces.set(weather).await,
            Self::Relays(relays) => {
                relays.set(weather);
                Ok(())
            }
        }
    }

    /// Faults that cannot happen in it.
    pub(super) const fn missing(&self) -> &'static [&'static str] {
        match self {
            Self::Spaces(_) => &[],
            Self::Relays(_) => &["packets lost", "packets repeated", "packets overtaken"],
        }
    }

    /// What there was to be and never was.
    pub(super) fn unmet(&self) -> Vec<String> {
        match self {
            Self::Spaces(spaces) => spaces.unmet(),
            Self::Relays(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spaces(spaces) => write!(f, "namespaces, packets {}", spaces.counts()),
            Self::Relays(_) => f.write_str("relays: cuts, one way or both, and delays"),
        }
    }
}
