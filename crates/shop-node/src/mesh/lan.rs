//! Being found by the other lanes of the shop, and finding them, by multicast DNS (RFC 6762, 6763). What is heard is not
//! believed: whoever is found is dialed, over TLS alone, and shows who it is.

use super::found::Found;
use super::settings::Peer;
use super::{Me, dial};
use crate::limits::{
    PEER_FOUND_ADDRESSES_MAX, PEER_FOUND_DIALS_MAX, PEER_FOUND_LOOK_PAUSE, PEER_FOUND_PAUSE,
    PEER_FOUND_RECORDS_MAX, PEER_GOODBYE_WITHIN, PEER_MARKS_PAUSE,
};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::mesh::announcement::{may_be_dialed, tag};
use counterfoil_protocol::wire::lane::LANE_PROTOCOL;
use mdns_sd::{
    DaemonEvent, IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What lanes announce themselves as. Lanes of different releases meet: it must not change.
const SERVICE: &str = "_counterfoil._tcp.local.";
/// Characters of the name of an announcement that are looked at.
const NAME_CHARS_MAX: usize = 64;
/// Different errors that are told once each.
const TOLD_MAX: usize = 32;

/// Why announcing and looking begin anew.
#[derive(Debug, thiserror::Error)]
enum LanError {
    #[error("multicast DNS does not work here")]
    Mdns(#[from] mdns_sd::Error),
    #[error("multicast DNS has ended by itself, or more was announced than could be read")]
    Ended,
    #[error("more is announced on this network than any shop has lanes")]
    TooMuch,
}

/// Announces this lane and dials those that announce themselves. Ends never; what goes wrong is told once, and lanes that are
/// configured meet all the same.
pub(super) async fn run(node: &Node, me: &Me, configured: Vec<Peer>) {
    let mut bytes = [0; 8];
    node.inner.env.random.fill(&mut bytes);
    let mut lan = Lan {
        node,
        me,
        // It says nothing: who this lane is, is for those to know who may.
        name: to_hex(&bytes),
        configured,
        found: Found::default(),
        dials: JoinSet::new(),
        places: Arc::new(Semaphore::new(PEER_FOUND_DIALS_MAX)),
        told: BTreeSet::new(),
    };
    loop {
        let address = node.inner.mesh.bound().await;
        if address.ip().is_loopback() {
            tracing::warn!(%address, "the name in `peer_listen` is an address of this machine alone: nobody on the network reaches this \
                                      lane, and it is not announced");
            std::future::pending::<()>().await;
        }
        let Err(error) = lan.look(address).await;
        lan.tell(&error, "other lanes find this one, and it finds them, by their configuration alone until that is better");
        lan.found.forget();
        tokio::time::sleep(PEER_FOUND_PAUSE).await;
    }
}

struct Lan<'n> {
    node: &'n Node,
    me: &'n Me,
    /// Under which this lane announces itself.
    name: String,
    configured: Vec<Peer>,
    found: Found,
    /// Whose announcement led to whom.
    dials: JoinSet<(String, Option<NodeId>)>,
    places: Arc<Semaphore>,
    told: BTreeSet<String>,
}

/// Never made.
enum Never {}

impl Lan<'_> {
    async fn look(&mut self, address: SocketAddr) -> Result<Never, LanError> {
        let announced = Announced::begin(self.me, &self.name, address)?;
        let Announced {
            daemon,
            heard,
            noted,
        } = &announced;
        tracing::info!(%address, "this lane announces itself, and looks for others of its shop");
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                event = heard.recv_async() => self.hear(event.map_err(|_| LanError::Ended)?)?,
                event = noted.recv_async() => self.note(event.map_err(|_| LanError::Ended)?),
                Some(ended) = self.dials.join_next(), if !self.dials.is_empty() => self.ended(ended),
                () = tokio::time::sleep(PEER_MARKS_PAUSE) => {}
            }
            self.dial();
            if looked.elapsed() >= PEER_FOUND_LOOK_PAUSE {
                looked = Instant::now();
                let counts = daemon.get_metrics()?;
                let counts = counts.recv_async().await.map_err(|_| LanError::Ended)?;
                let kept = counts
                    .iter()
                    .filter(|(name, _)| name.starts_with("cached-"));
                if kept.map(|(_, count)| count).sum::<i64>() > PEER_FOUND_RECORDS_MAX {
                    return Err(LanError::TooMuch);
                }
            }
        }
    }

    fn hear(&mut self, event: ServiceEvent) -> Result<(), LanError> {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let Some((name, peers)) = self.judge(&service) else {
                    return Ok(());
                };
                tracing::debug!(name, ?peers, "a lane of the shop announces itself");
                let has_room = self.found.seen(&name, peers, Instant::now());
                has_room.then_some(()).ok_or(LanError::TooMuch)
            }
            ServiceEvent::ServiceRemoved(_, full) => {
                if let Some(name) = name_in(&full) {
                    self.found.gone(name);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Under which name a lane announced itself, and where it is reached; nothing when it is not one to be dialed.
    fn judge(&self, service: &ResolvedService) -> Option<(String, Vec<Peer>)> {
        let name = name_in(service.get_fullname())?;
        let (port, text) = (service.get_port(), |key| service.get_property_val_str(key));
        let is_of_shop = text("tag") == Some(tag(self.me.shop, name, port).as_str());
        let is_understood = text("v") == Some(LANE_PROTOCOL.to_string().as_str());
        if name == self.name || !is_of_shop || !is_understood {
            return None;
        }
        let addresses = service.get_addresses().iter().map(|it| it.to_ip_addr());
        let addresses: BTreeSet<IpAddr> = addresses.filter(|it| may_be_dialed(*it)).collect();
        let peers = addresses.into_iter().map(|address| Peer {
            host: address.to_string(),
            port,
            secured: true,
        });
        let peers: Vec<Peer> = peers.take(PEER_FOUND_ADDRESSES_MAX).collect();
        let is_configured = |peer: &Peer| {
            let mut configured = self.configured.iter();
            configured.any(|it| (&it.host, it.port) == (&peer.host, peer.port))
        };
        let is_new = !peers.is_empty() && !peers.iter().any(is_configured);
        is_new.then(|| (name.to_owned(), peers))
    }

    fn note(&mut self, event: DaemonEvent) {
        match event {
            DaemonEvent::Error(error) => {
                self.tell(
                    &LanError::Mdns(error),
                    "the others may not find this lane on the network",
                );
            }
            event => tracing::debug!(?event, "multicast DNS"),
        }
    }

    /// Says what went wrong, the same once.
    fn tell(&mut self, error: &LanError, consequence: &str) {
        let text = chain(error);
        if self.told.len() >= TOLD_MAX || self.told.contains(&text) {
            tracing::debug!(error = text, "lanes are not found");
        } else {
            tracing::warn!(error = text, consequence, "lanes are not found");
            self.told.insert(text);
        }
    }

    /// Dials who is to be dialed, as many at once as may be. Without a certificate nobody would believe this lane.
    fn dial(&mut self) {
        let (node, me) = (self.node, self.me);
        while node.inner.trust.identity_of((me.node, me.shop)).is_some()
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            && let Some((name, peer)) = self
                .found
                .choose(Instant::now(), |peer| node.inner.mesh.is_connected(peer))
        {
            let (node, me) = (node.clone(), me.clone());
            let dialing = async move { (name, dial::once(&node, &me, &peer, place).await) };
            self.dials.spawn(dialing);
        }
    }

    fn ended(&mut self, ended: Result<(String, Option<NodeId>), tokio::task::JoinError>) {
        match ended {
            Ok((name, reached)) => {
                let random = self.node.inner.env.random.as_ref();
                self.found.ended(&name, reached, (Instant::now(), random));
            }
            Err(error) => {
                tracing::error!(%error, "a connection with a lane ended by a failed assertion");
            }
        }
    }
}

/// The name of an announcement in its full name.
fn name_in(full: &str) -> Option<&str> {
    let name = full.strip_suffix(SERVICE)?.strip_suffix('.')?;
    (!name.is_empty() && name.len() <= NAME_CHARS_MAX).then_some(name)
}

/// This lane is announced; as long as this is there.
struct Announced {
    daemon: ServiceDaemon,
    heard: Receiver<ServiceEvent>,
    noted: Receiver<DaemonEvent>,
}

impl Announced {
    fn begin(me: &Me, name: &str, address: SocketAddr) -> Result<Self, LanError> {
        let daemon = ServiceDaemon::new()?;
        let noted = daemon.monitor()?;
        let version = LANE_PROTOCOL.to_string();
        let tag = tag(me.shop, name, address.port());
        let text = [("v", version.as_str()), ("tag", tag.as_str())];
        let (ip, host) = (address.ip(), format!("{name}.local."));
        let service = |addresses: &str| {
            ServiceInfo::new(SERVICE, name, &host, addresses, address.port(), &text[..])
        };
        let mut service = if ip.is_unspecified() {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
            if ip.is_ipv4() {
                daemon.disable_interface(IfKind::IPv6)?;
            }
            // Those of this machine, as they change.
            service("")?.enable_addr_auto()
        } else {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::Addr(ip))?;
            service(&ip.to_string())?
        };
        // The name is drawn: nobody else has it.
        service.set_requires_probe(false);
        daemon.register(service)?;
        let heard = daemon.browse(SERVICE)?;
        Ok(Self {
            daemon,
            heard,
            noted,
        })
    }
}

impl Drop for Announced {
    /// Says goodbye, so that nobody dials this lane in vain.
    fn drop(&mut self) {
        match self.daemon.shutdown() {
            Ok(done) => {
                if done.recv_timeout(PEER_GOODBYE_WITHIN).is_err() {
                    tracing::debug!(
                        "whether this lane has said goodbye on the network is not known"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "this lane cannot say goodbye on the network"),
        }
    }
}
