//! TLS between lanes: both sides show a certificate that the authority of their shop signed.
//!
//! Nothing is resumed: every connection shows its certificate anew.

use super::verifier::{Verifier, at};
use counterfoil_domain::hex::array_from_hex;
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::wire::certificate::{ANY_LANE_NAME, LaneCertificate, lane_name};
use counterfoil_replica::env::{Io, private_key, provider};
use rustls::client::{Resumption, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, ServerConfig,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Certificates count whole seconds.
const SECOND_MS: i64 = 1_000;

/// The first byte of everybody who begins to speak TLS, and of no HTTP request.
const HANDSHAKE: u8 = 0x16;

/// A certificate that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not what a certificate looks like.
    #[error("a certificate is malformed")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// It does not fit its key, its authority or this lane.
    #[error("it is of another lane, key or authority")]
    Unusable(#[from] Error),
    /// The authority's key is none.
    #[error("the key of the authority is malformed")]
    Authority,
    /// There is nobody to believe.
    #[error("there is no authority to believe")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// By what this lane is known, and by what it knows others.
pub(crate) struct Identity {
    pub(super) node: NodeId,
    pub(super) shop: ShopId,
    /// Public half of the authority's key.
    pub(super) authority: [u8; 32],
    authority_key: String,
    pub(crate) issued_ms: i64,
    pub(crate) expires_ms: i64,
    #[cfg(test)]
    certificate: CertificateDer<'static>,
    own: Arc<SingleCertAndKey>,
    verifier: Arc<Verifier>,
}

/// One moment, as rustls asks for it.
#[derive(Debug)]
struct At(UnixTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl Identity {
    /// What the hub gave for this key.
    ///
    /// # Errors
    /// [`IdentityError`]: nobody would believe it.
    pub(super) fn new(
        (node, shop): (NodeId, ShopId),
        seed: [u8; 32],
        given: &LaneCertificate,
    ) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(given.certificate.as_bytes())?;
        let root = CertificateDer::from_pem_slice(given.authority.as_bytes())?;
        let authority = array_from_hex(&given.authority_key);
        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let expires_ms = given.expires_ms.max(given.issued_ms);
        let verifier = Verifier::of(&Arc::new(roots), given.issued_ms..=expires_ms)?;
        let key = PrivateKeyDer::Pkcs8(private_key(&seed));
        let own = CertifiedKey::from_der(vec![certificate.clone()], key, &provider())?;
        let identity = Self {
            node,
            shop,
            authority: authority.ok_or(IdentityError::Authority)?,
            authority_key: given.authority_key.clone(),
            issued_ms: given.issued_ms,
            expires_ms,
            #[cfg(test)]
            certificate: certificate.clone(),
            own: Arc::new(SingleCertAndKey::from(own)),
            verifier: Arc::new(verifier),
        };
        identity.check(&certificate, node, given.issued_ms)?;
        Ok(identity)
    }

    pub(super) fn is_of(&self, (node, shop): (NodeId, ShopId)) -> bool {
        self.node == node && self.shop == shop
    }

    pub(super) fn authority_key(&self) -> &str {
        &self.authority_key
    }

    /// Whether a third of its time is over at a moment by the hub's clock, or it is not yet begun.
    pub(super) fn is_due(&self, hub_ms: i64) -> bool {
        let third_ms = (self.expires_ms - self.issued_ms).div_euclid(3);
        !(self.issued_ms..self.issued_ms.saturating_add(third_ms)).contains(&hub_ms)
    }

    /// Whether a certificate is good at a moment, and of that lane of this shop.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'static>,
        node: NodeId,
        now_ms: i64,
    ) -> Result<(), Error> {
        self.verifier
            .verify_client_cert(certificate, &[], at(now_ms))?;
        let name = ServerName::try_from(lane_name(node, self.shop));
        let name = name.map_err(|error| Error::General(error.to_string()))?;
        verify_server_name(&ParsedCertificate::try_from(certificate)?, &name)
    }

    /// Whether the time of a certificate begins at a moment, or later.
    pub(super) fn begins_after(&self, certificate: &CertificateDer<'static>, ms: i64) -> bool {
        self.verifier
            .is_early(certificate, at(ms.saturating_sub(SECOND_MS)))
    }

    fn server(&self, now_ms: i64) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_details(provider(), Arc::new(At(at(now_ms))));
        let mut config = builder
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&self.verifier) as _)
            .with_cert_resolver(Arc::clone(&self.own) as _);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn client(&self, now_ms: i64) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(At(at(now_ms))));
        let mut config = builder
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
            .with_client_cert_resolver(Arc::clone(&self.own) as _);
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }
}

/// A connection on which both sides have shown their certificates.
pub(super) struct Secured {
    pub(super) io: Box<dyn Io>,
    /// What the peer showed.
    pub(super) certificate: CertificateDer<'static>,
}

fn shown(certificates: Option<&[CertificateDer<'static>]>) -> io::Result<CertificateDer<'static>> {
    let first = certificates.and_then(<[_]>::first).cloned();
    // The handshake has asked for it.
    first.ok_or_else(|| io::Error::other("the peer has shown no certificate"))
}

/// Secures a connection that this lane dialed.
pub(super) async fn connect(
    identity: &Identity,
    now_ms: i64,
    io: Box<dyn Io>,
) -> io::Result<Secured> {
    let config = identity.client(now_ms).map_err(io::Error::other)?;
    let name = ServerName::try_from(ANY_LANE_NAME).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, io);
    let stream = stream.await?;
    let certificate = shown(stream.get_ref().1.peer_certificates())?;
    let io: Box<dyn Io> = Box::new(stream);
    Ok(Secured { io, certificate })
}

/// Secures a connection that a peer dialed.
pub(super) async fn accept(
    identity: &Identity,
    now_ms: i64,
    io: Box<dyn Io>,
) -> io::Result<Secured> {
    let config = identity.server(now_ms).map_err(io::Error::other)?;
    let stream = TlsAcceptor::from(Arc::new(config)).accept(io).await?;
    let certificate = shown(stream.get_ref().1.peer_certificates())?;
    let io: Box<dyn Io> = Box::new(stream);
    Ok(Secured { io, certificate })
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether that is how a handshake fails with somebody who speaks no TLS, or has no certificate yet.
pub(super) fn speaks_no_tls(error: &io::Error) -> bool {
    match tls_error(error) {
        Some(error) => matches!(error, Error::InvalidMessage(_)),
        None => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
        ),
    }
}

/// What a person is told of a certificate that was not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Disbelief {
    /// This lane does not believe the peer.
    Ours(&'static str),
    /// The peer does not believe this lane.
    Theirs(&'static str),
}

const ENDED: &str =
    "its certificate has ended: a lane gets the next one by itself when it reaches the hub";
const EARLY: &str = "its certificate does not hold yet: one of the two clocks is wrong, and a sync with the hub corrects it";
const STRANGER: &str = "its certificate is not of this shop's authority: it is a lane of another shop, or somebody else";
const FORGED: &str = "what it says is not what a lane says over TLS: damaged, replayed or made up, or it speaks none";
const NONE: &str = "it has shown no certificate";

/// What a certificate that is not believed lacks.
pub(super) fn in_words(error: &Error) -> &'static str {
    use CertificateError as Wrong;
    match error {
        Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => ENDED,
        Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => EARLY,
        Error::InvalidCertificate(
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
        ) => "its certificate is of another lane",
        Error::NoCertificatesPresented => NONE,
        _ => STRANGER,
    }
}

/// Whether a connection failed because one of the two did not believe the other.
pub(super) fn disbelief(error: &io::Error) -> Option<Disbelief> {
    match tls_error(error)? {
        error @ (Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            Some(Disbelief::Ours(in_words(error)))
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => Some(Disbelief::Theirs(
            "this lane's certificate has ended, or does not hold yet, by its clock",
        )),
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired,
        ) => Some(Disbelief::Theirs(
            "this lane's certificate is not of its shop's authority",
        )),
        Error::AlertReceived(_) => None,
        _ => Some(Disbelief::Ours(FORGED)),
    }
}

/// A connection whose first byte was looked at.
struct Peeked {
    first: Option<u8>,
    io: Box<dyn Io>,
}

impl AsyncRead for Peeked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peeked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Whether who connected begins to speak TLS; nothing is lost of what it says.
pub(super) async fn begins_tls(mut io: Box<dyn Io>) -> io::Result<(bool, Box<dyn Io>)> {
    let first = io.read_u8().await?;
    let io: Box<dyn Io> = Box::new(Peeked {
        first: Some(first),
        io,
    });
    Ok((first == HANDSHAKE, io))
}

#[cfg(test)]
mod tests;
