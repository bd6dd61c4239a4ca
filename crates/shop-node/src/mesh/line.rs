//! How two lanes speak: over TLS when both have certificates, in the clear only where that is allowed, and no longer than
//! either is believed.

use super::Me;
use super::connection::{Asked, no_page, web_socket};
use super::greeting::{ConnectionError, Socket, refuse, step};
use super::meter::Meter;
use super::settings::Peer;
use super::tls::{self, Disbelief};
use crate::limits::PEER_TRUST_PAUSE;
use crate::node::Node;
use counterfoil_domain::NodeId;
use counterfoil_protocol::wire::lane::RefusalCode;
use counterfoil_replica::env::Io;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite;

/// Whether others can read what is said.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// They can; only this machine's lanes, or such as know the secret, meet there.
    Plain,
    /// They cannot. What the peer has shown.
    Secured(CertificateDer<'static>),
}

impl Way {
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }
}

/// An open line to somebody who is not known yet.
pub(super) struct Line {
    pub(super) socket: Socket,
    pub(super) way: Way,
    pub(super) meter: Arc<Meter>,
}

/// Who comes.
pub(super) enum Comes {
    /// Perhaps a lane of the shop.
    Peer(Line),
    /// Somebody who wants to be taken in by a code. What is said then is proved and no secret, so it needs no TLS.
    Newcomer(Socket),
}

/// Takes in whoever connected. One port serves both ways.
pub(super) async fn answer(
    node: &Node,
    me: &Me,
    io: Box<dyn Io>,
) -> Result<Comes, ConnectionError> {
    let (io, meter) = Meter::on(io);
    let begins = async { tls::begins_tls(io).await.map_err(ConnectionError::Line) };
    let (is_tls, io) = step(begins).await?;
    let (io, way) = if is_tls {
        let identity = node.inner.trust.identity_of((me.node, me.shop));
        let identity = identity.ok_or(ConnectionError::NoCertificate)?;
        let accepting = tls::accept(&identity, node.lane_time_ms(), io);
        let secured = step(async { accepting.await.map_err(ConnectionError::Line) }).await?;
        (secured.io, Way::Secured(secured.certificate))
    } else {
        (io, Way::Plain)
    };
    let mut asked = Asked::default();
    let callback = no_page(&mut asked);
    let socket = tokio_tungstenite::accept_hdr_async_with_config(io, callback, Some(web_socket()));
    let mut socket = step(socket).await?;
    if me.is_trial && way.is_plain() && asked.to_pair {
        return Ok(Comes::Newcomer(socket));
    }
    if way.is_plain() && !me.takes_plain {
        let detail = "it came without TLS, which this lane asks of all that come over the network";
        let error = ConnectionError::refusing(RefusalCode::Unpaired, detail);
        refuse(&mut socket, &error).await;
        return Err(error);
    }
    Ok(Comes::Peer(Line { socket, way, meter }))
}

/// Connects with a peer: over TLS when this lane has a certificate. A peer that speaks none is spoken to in the clear where
/// that is allowed.
pub(super) async fn open(node: &Node, me: &Me, peer: &Peer) -> Result<Line, ConnectionError> {
    let may_be_plain =
        !me.is_trial && !peer.secured && (me.key.is_some() || peer.is_this_machine());
    let connect = || async {
        let dialing = node.inner.env.dial.dial(&peer.host, peer.port);
        let io = step(async { dialing.await.map_err(ConnectionError::Dial) }).await?;
        Ok::<_, ConnectionError>(Meter::on(io))
    };
    let ((io, meter), way) = match node.inner.trust.identity_of((me.node, me.shop)) {
        Some(identity) => {
            let now_ms = node.lane_time_ms();
            let (io, meter) = connect().await?;
            let securing = tls::connect(&identity, now_ms, io);
            match step(async { securing.await.map_err(ConnectionError::Line) }).await {
                Ok(secured) => ((secured.io, meter), Way::Secured(secured.certificate)),
                Err(ConnectionError::Line(error)) if may_be_plain && tls::speaks_no_tls(&error) => {
                    (connect().await?, Way::Plain)
                }
                Err(error) => return Err(error),
            }
        }
        None if may_be_plain => (connect().await?, Way::Plain),
        None => return Err(ConnectionError::NoCertificate),
    };
    // TLS, where there is some, is this program's own.
    let url = format!("ws://{peer}/");
    let socket = tokio_tungstenite::client_async_with_config(url, io, Some(web_socket()));
    let socket = step(socket).await?.0;
    Ok(Line { socket, way, meter })
}

/// What a failure means when one of the two did not believe the other's certificate.
pub(super) fn explained(error: ConnectionError) -> ConnectionError {
    let (ConnectionError::Line(io) | ConnectionError::Network(tungstenite::Error::Io(io))) = &error
    else {
        return error;
    };
    let code = RefusalCode::Certificate;
    match tls::disbelief(io) {
        Some(Disbelief::Ours(why)) => ConnectionError::refusing(code, why),
        Some(Disbelief::Theirs(why)) => {
            let detail = why.to_owned();
            ConnectionError::Refused { code, detail }
        }
        None => error,
    }
}

/// Whether a lane may take part: the hub has not revoked it, and it is the one that its certificate names.
///
/// # Errors
/// [`ConnectionError::Refusing`].
pub(super) fn vouch(node: &Node, me: &Me, peer: NodeId, way: &Way) -> Result<(), ConnectionError> {
    let trust = &node.inner.trust;
    let held = trust.held();
    let revoked = held.revoked(peer);
    let refusing = |detail| Err(ConnectionError::refusing(RefusalCode::Revoked, detail));
    if revoked.is_some_and(|it| it.issued_before_ms.is_none()) {
        return refusing(if me.is_trial {
            "the first lane of the trial shop has revoked it"
        } else {
            "the hub has revoked it"
        });
    }
    if let Way::Secured(certificate) = way {
        let identity = trust.identity_of((me.node, me.shop));
        let identity = identity.ok_or(ConnectionError::NoCertificate)?;
        let checked = identity.check(certificate, peer, node.lane_time_ms());
        let wrong =
            |error| ConnectionError::refusing(RefusalCode::Certificate, tls::in_words(&error));
        checked.map_err(wrong)?;
        let before_ms = revoked.and_then(|it| it.issued_before_ms);
        if before_ms.is_some_and(|it| !identity.begins_after(certificate, it)) {
            return refusing(
                "the hub has revoked its certificate, which is of before it was taken in again: it is a copy of its \
                 folder, or gets another one when it reaches the hub",
            );
        }
    }
    Ok(())
}

/// Waits until a peer may not take part any more, or until this lane can speak TLS and did not. When there is another list
/// of revoked lanes, the connection is woken to hand it on.
pub(super) async fn ends(
    node: &Node,
    me: &Me,
    (peer, way): (NodeId, &Way),
    wake: &Notify,
) -> ConnectionError {
    let mut held = node.inner.trust.watch();
    let me_here = (me.node, me.shop);
    // What lanes of one machine say in the clear nobody else reads.
    let may_upgrade =
        way.is_plain() && me.key.is_some() && node.inner.trust.identity_of(me_here).is_none();
    loop {
        held.mark_unchanged();
        if let Err(error) = vouch(node, me, peer, way) {
            return error;
        }
        if may_upgrade && node.inner.trust.identity_of(me_here).is_some() {
            return ConnectionError::Upgraded;
        }
        wake.notify_one();
        // Whichever it was, there is something to look at.
        let _either = tokio::time::timeout(PEER_TRUST_PAUSE, held.changed()).await;
    }
}
