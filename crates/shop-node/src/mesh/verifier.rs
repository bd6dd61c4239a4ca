//! Whether a certificate is good: signed by the shop's authority, and at which time.
//!
//! A till's clock may be wrong by years, and no hub there to say so. It counts while it shows a time of the lane's own
//! certificate. When it does not, it is wrong, or the lane has been away from the hub for as long as a certificate holds;
//! then one counts as good that was good at any time of the own one.

use counterfoil_replica::env::provider;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// A moment, as rustls counts it.
pub(super) fn at(ms: i64) -> UnixTime {
    // A clock before 1970 is as wrong as one that says 1970.
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Verifier {
    server: Arc<WebPkiServerVerifier>,
    client: Arc<dyn ClientCertVerifier>,
    /// From when until when the own certificate holds.
    own: RangeInclusive<UnixTime>,
}

impl Verifier {
    /// Believes what this authority signed.
    pub(super) fn of(
        roots: &Arc<RootCertStore>,
        own_ms: RangeInclusive<i64>,
    ) -> Result<Self, VerifierBuilderError> {
        let server = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider());
        let client = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
        let (issued_ms, expires_ms) = own_ms.into_inner();
        Ok(Self {
            server: server.build()?,
            client: client.build()?,
            own: at(issued_ms)..=at(expires_ms),
        })
    }

    /// Whether the time of a certificate begins after a moment. Who signed it is another question.
    pub(super) fn is_early(&self, certificate: &CertificateDer<'_>, then: UnixTime) -> bool {
        let judged = self.client.verify_client_cert(certificate, &[], then);
        matches!(
            judged,
            Err(Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
            ))
        )
    }

    fn judge<T>(
        &self,
        now: UnixTime,
        verify: impl Fn(UnixTime) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let is_outside = !self.own.contains(&now);
        match verify(now) {
            Err(Error::InvalidCertificate(wrong)) => {
                // The moment of its time that is nearest to now. The authority signs nothing for later: a certificate that is
                // not good yet says that the own clock is behind.
                let nearest = match wrong {
                    CertificateError::ExpiredContext { not_after, .. } if is_outside => not_after,
                    CertificateError::NotValidYetContext { not_before, .. } => not_before,
                    wrong => return Err(Error::InvalidCertificate(wrong)),
                };
                // Outside of the own one's time it is still judged then, and not good.
                let then = nearest.clamp(*self.own.start(), *self.own.end());
                verify(then)
            }
            judged => judged,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(now, |at| {
            let server = &self.server;
            server.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(&*self.server, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(&*self.server, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(&*self.server)
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.client.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let client = &self.client;
        self.judge(now, |at| {
            client.verify_client_cert(end_entity, intermediates, at)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.client
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.client
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.client.supported_verify_schemes()
    }
}
