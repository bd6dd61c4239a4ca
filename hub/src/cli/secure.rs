//! How the hub is reached (L9): the flags, and what they may not be together.

use super::Failure;
use crate::limits::TLS_CHECK_SECONDS;
use crate::tls::TlsMode;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct WayArgs {
    /// Serve HTTPS with a certificate that the hub makes for itself; join codes pin its authority.
    #[arg(long, conflicts_with = "tls_cert")]
    tls: bool,
    /// Serve HTTPS with this certificate, in PEM form with those that lead to its authority behind it; read
    /// again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The certificate's authority is known to nobody else: join codes pin it. Its certificate stands in the file
    /// too; a certificate that stands there alone is pinned itself.
    #[arg(long, requires = "tls_cert")]
    tls_private: bool,
    /// Start although tills have pinned another authority, and shut them out until each is told the new one: an alert
    /// says which, and how.
    #[arg(long)]
    pub(super) accept_new_authority: bool,
    /// Time between two looks whether the certificate is due, or its files have changed, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = TLS_CHECK_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) tls_check_seconds: u32,
    /// Serve plain HTTP to other machines.
    #[arg(long)]
    insecure_http: bool,
}

impl WayArgs {
    /// Nothing is served in the clear beyond this machine unless the operator says so.
    pub(super) fn mode(&self, listen: SocketAddr) -> Result<TlsMode, Failure> {
        let mode = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => TlsMode::Files {
                certificate: certificate.clone(),
                key: key.clone(),
                private: self.tls_private,
            },
            _ if self.tls => TlsMode::Own,
            _ => TlsMode::Off,
        };
        let is_open = mode == TlsMode::Off && !listen.ip().is_loopback();
        if !is_open || self.insecure_http {
            return Ok(mode);
        }
        let text =
            format!("{listen} is reached by other machines, and plain HTTP can be read on the way");
        Err(Failure::usage(text).hint(
            "add --tls for a certificate of the hub's own, which join codes pin, or --tls-cert and \
             --tls-key for yours; --insecure-http only behind something that secures the way",
        ))
    }
}
