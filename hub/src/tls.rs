//! The hub's certificate: the operator's, read again when it changes, or one of an authority that the hub makes
//! for itself, which is pinned through the join code.

mod listener;
mod own;

pub(crate) use listener::TlsListener;

use crate::datadir::DataDir;
use counterfoil_domain::env::Clock;
use counterfoil_protocol::hub_url::Pin;
use counterfoil_replica::env::{Env, fingerprint, provider};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How the hub is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum TlsMode {
    /// Plain HTTP: on this machine, or behind something that secures the way.
    #[default]
    Off,
    /// A certificate of the hub's own authority, made at the first start.
    Own,
    /// The operator's files, in PEM form.
    Files {
        /// Certificate, with those that lead to its authority behind it.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// Nobody but tills of this hub knows the authority: its certificate, the last of the file, is pinned.
        private: bool,
    },
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM form", path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// Why it was not found.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The hub's own authority is there without its key.
    #[error("{} is gone: without it the hub cannot show the certificate that its join codes pin; bring it \
        back from a backup, or remove the folder and give every till a new join code", path.display())]
    KeyLost {
        /// Where the key belongs.
        path: PathBuf,
    },
    /// Key and certificate do not fit, or are of a kind that nobody reads.
    #[error("the certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File {
        action,
        path,
        source,
    }
}

/// What the hub shows to who connects.
struct Shown {
    key: Arc<CertifiedKey>,
    /// When it is made anew, milliseconds since the Unix epoch; `None`: when its files change.
    renew_ms: Option<i64>,
    /// What the files held.
    files: Option<(Vec<u8>, Vec<u8>)>,
}

/// The hub's certificate, which may change while it listens.
pub(crate) struct Certificate {
    mode: TlsMode,
    dir: DataDir,
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    shown: RwLock<Shown>,
    /// The last failure to renew, so that it is told once.
    told: Mutex<Option<String>>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Certificate")
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads or makes the certificate; `None` for plain HTTP.
    pub(crate) fn load(
        mode: &TlsMode,
        dir: &DataDir,
        env: &Env,
        names: Vec<String>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let shown = match mode {
            TlsMode::Off => return Ok(None),
            TlsMode::Own => own::issue(dir, &*env.files, &names, env.clock.now_ms())?,
            TlsMode::Files {
                certificate, key, ..
            } => from_files(certificate, key)?,
        };
        Ok(Some(Arc::new(Self {
            mode: mode.clone(),
            dir: dir.clone(),
            names,
            clock: Arc::clone(&env.clock),
            shown: RwLock::new(shown),
            told: Mutex::new(None),
        })))
    }

    fn shown<T>(&self, look: impl FnOnce(&Shown) -> T) -> T {
        look(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What tills pin: the authority that is known to nobody else.
    pub(crate) fn pin(&self) -> Option<Pin> {
        let is_private = match self.mode {
            TlsMode::Off => false,
            TlsMode::Own => true,
            TlsMode::Files { private, .. } => private,
        };
        let authority = self.shown(|shown| shown.key.cert.last().map(|it| fingerprint(it)));
        authority.filter(|_| is_private)
    }

    /// The very certificate, for commands on this machine, which do not ask for its name.
    pub(crate) fn own_pin(&self) -> Option<Pin> {
        self.shown(|shown| shown.key.cert.first().map(|it| fingerprint(it)))
    }

    /// Makes the certificate anew when it is time, or takes what its files hold now. Whether it is another one;
    /// what cannot be read leaves the one that there is.
    pub(crate) fn refresh(&self, env: &Env) -> Result<bool, TlsError> {
        let (due, held) = self.shown(|shown| {
            let due = shown
                .renew_ms
                .is_some_and(|at_ms| self.clock.now_ms() >= at_ms);
            (due, shown.files.clone())
        });
        let fresh = match &self.mode {
            TlsMode::Files {
                certificate, key, ..
            } if held != Some(read_both(certificate, key)?) => from_files(certificate, key)?,
            TlsMode::Own if due => {
                own::issue(&self.dir, &*env.files, &self.names, self.clock.now_ms())?
            }
            TlsMode::Off | TlsMode::Own | TlsMode::Files { .. } => return Ok(false),
        };
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    /// Whether a failure is another one than the last that was told.
    pub(crate) fn is_news(&self, failure: Option<String>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *told != failure;
        *told = failure;
        news
    }

    /// What a listener needs.
    pub(crate) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let shown: Arc<dyn ResolvesServerCert> = Arc::new(Resolver(Arc::clone(self)));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(shown);
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.shown(|shown| Arc::clone(&shown.key)))
    }
}

fn read_both(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| std::fs::read(path).map_err(file_error("read", path));
    Ok((read(certificate)?, read(key)?))
}

fn from_files(certificate: &Path, key: &Path) -> Result<Shown, TlsError> {
    let (chain_pem, key_pem) = read_both(certificate, key)?;
    let pem = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { what, path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<_, _>>()
        .map_err(pem("certificate", certificate))?;
    if chain.is_empty() {
        let source = rustls::pki_types::pem::Error::NoItemsFound;
        return Err(pem("certificate", certificate)(source));
    }
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(pem("private key", key))?;
    Ok(Shown {
        key: Arc::new(CertifiedKey::from_der(chain, private, &provider())?),
        renew_ms: None,
        files: Some((chain_pem, key_pem)),
    })
}
