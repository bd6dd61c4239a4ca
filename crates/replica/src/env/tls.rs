//! TLS of the client: the system's roots, or the one authority that an address pins.

use std::io;
use std::sync::{Arc, OnceLock};

use counterfoil_domain::env::Clock;
use counterfoil_protocol::hub_url::{self, Pin};
use http::Uri;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsConnector;

use super::{BoxFuture, Io};

/// A name that stands in every certificate that a hub makes for itself: the authority signs for that hub alone,
/// so whoever shows it is the hub, wherever it has moved.
pub const HUB_NAME: &str = "hub.counterfoil.internal";

/// The fingerprint of a certificate.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> Pin {
    Pin(Sha256::digest(certificate).into())
}

/// The one crypto provider of the process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// The environment's clock, as rustls asks it.
#[derive(Clone)]
pub struct TlsClock(pub Arc<dyn Clock>);

impl std::fmt::Debug for TlsClock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("TlsClock").finish()
    }
}

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        // A clock before 1970 is as wrong as one that says 1970.
        let ms = u64::try_from(self.0.now_ms()).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(
            std::time::Duration::from_millis(ms),
        ))
    }
}

/// Secures a connection that was just made.
pub(super) fn secure(
    stream: Box<dyn Io>,
    uri: &Uri,
    clock: &TlsClock,
) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
    let named = uri.to_string();
    let prepared = prepare(&named, uri.host().unwrap_or_default(), clock);
    Box::pin(async move {
        let (config, name) = prepared?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let stream: Box<dyn Io> = Box::new(stream);
        Ok(stream)
    })
}

fn prepare(
    url: &str,
    host: &str,
    clock: &TlsClock,
) -> io::Result<(Arc<ClientConfig>, ServerName<'static>)> {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match hub_url::pin_of(url).map_err(io::Error::other)? {
        Some(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(pin)))
            .with_no_client_auth(),
        None => builder
            .with_root_certificates(system_roots()?)
            .with_no_client_auth(),
    };
    Ok((Arc::new(config), name))
}

/// The authorities that the operating system trusts, read once.
fn system_roots() -> io::Result<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "this machine has no list of trusted certificate authorities",
        ));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// Believes what one authority signed.
fn under(authority: &CertificateDer<'_>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned())?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

/// The certificate that tills pin of those that a hub shows, its own first: the topmost one from which signatures come
/// down to the first, or the only one; but the one that they have pinned before, if it still does. `None` when there are
/// others and none leads to the first. Whether they hold at this time counts for nothing here.
#[must_use]
pub fn authority_of(chain: &[CertificateDer<'_>], pinned: Option<Pin>, now_ms: i64) -> Option<Pin> {
    let (own, others) = chain.split_first()?;
    let others: Vec<_> = others.iter().filter(|it| *it != own).collect();
    if others.is_empty() || pinned == Some(fingerprint(own)) {
        return Some(fingerprint(own));
    }
    let now_ms = u64::try_from(now_ms).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now_ms));
    let leads = |from: &CertificateDer<'_>, without: Option<&CertificateDer<'_>>| {
        let between = others.iter().filter(|it| ***it != *from);
        let between = between.filter(|it| Some(**it) != without);
        let between: Vec<_> = between.map(|it| (*it).clone()).collect();
        leads(from, &between, own, now)
    };
    let leading: Vec<_> = others.iter().filter(|it| leads(it, None)).collect();
    if let Some(pinned) = pinned
        && leading.iter().any(|it| fingerprint(it) == pinned)
    {
        return Some(pinned);
    }
    // Nobody needs the topmost one to come down to the first; it needs those between.
    let is_top = |top: &CertificateDer<'_>| {
        let mut below = leading.iter().filter(|it| ***it != top);
        below.all(|it| leads(it, Some(top)))
    };
    let top = leading.iter().rev().find(|it| is_top(it));
    top.or(leading.last()).map(|it| fingerprint(it))
}

/// Whether signatures come down from one certificate to another, at whatever time.
fn leads(
    from: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    to: &CertificateDer<'_>,
    now: UnixTime,
) -> bool {
    let (Ok(verifier), Ok(name)) = (under(from), ServerName::try_from(HUB_NAME)) else {
        return false;
    };
    let mut at = now;
    // A second look when the first one finds that a certificate does not hold now.
    for _ in 0..2 {
        match verifier.verify_server_cert(to, between, &name, &[], at) {
            Ok(_) => return true,
            Err(Error::InvalidCertificate(refusal)) => match refusal {
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => return true,
                CertificateError::ExpiredContext { not_after, .. } => at = not_after,
                CertificateError::NotValidYetContext { not_before, .. } => at = not_before,
                _ => return false,
            },
            Err(_) => return false,
        }
    }
    false
}

/// Trusts one certificate: the hub's own, or the authority that signed it.
#[derive(Debug)]
struct Pinned(Pin);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The handshake proves that the other side has the key of this very certificate.
        if fingerprint(end_entity) == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        let mut intermediates = intermediates.to_vec();
        let found = intermediates
            .iter()
            .position(|it| fingerprint(it) == self.0);
        let Some(index) = found else {
            return Err(Error::General(
                "the hub shows another certificate than the one that was pinned with the join code: it \
                 is another hub, or somebody in between; when the hub was set up anew, its operator has a new join code"
                    .to_owned(),
            ));
        };
        let anchor = intermediates.remove(index);
        let verifier = under(&anchor)?;
        let verify = |name: &ServerName<'_>, at| {
            verifier.verify_server_cert(end_entity, &intermediates, name, ocsp_response, at)
        };
        let own = ServerName::try_from(HUB_NAME);
        let own = own.map_err(|error| Error::General(error.to_string()))?;
        match verify(server_name, now) {
            Err(Error::InvalidCertificate(refusal)) => match refusal {
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => verify(&own, now),
                // A hub's own authority answers whatever this till's clock says: the hub is where it learns
                // how wrong its clock is.
                CertificateError::ExpiredContext { not_after, .. } => verify(&own, not_after),
                CertificateError::NotValidYetContext { not_before, .. } => verify(&own, not_before),
                refusal => Err(Error::InvalidCertificate(refusal)),
            },
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
