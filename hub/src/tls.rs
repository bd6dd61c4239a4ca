//! The hub's certificate: the operator's, read again when it changes, or one of an authority that the hub makes
//! for itself, which is pinned through the join code.

mod listener;
mod own;

pub(crate) use listener::TlsListener;

use crate::datadir::DataDir;
use counterfoil_domain::env::Clock;
use counterfoil_protocol::hub_url::Pin;
use counterfoil_replica::env::{Env, authority_of, fingerprint, provider};
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
        /// Nobody but tills of this hub knows the authority: its certificate, which the file must hold, is pinned.
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
        back from a backup, or remove the folder and start with --accept-new-authority", path.display())]
    KeyLost {
        /// Where the key belongs.
        path: PathBuf,
    },
    /// The hub's own authority, which tills have pinned, is gone.
    #[error("{} is not there, and tills have pinned sha256-{}: another authority would shut them all out; bring \
        the folder back from the backup, or start with --accept-new-authority, which says what every till has to \
        be told", path.display(), pinned.to_hex())]
    AuthorityLost {
        /// What the join codes have had.
        pinned: Pin,
        /// Where its certificate belongs.
        path: PathBuf,
    },
    /// What tills would pin is another certificate than the one that they have pinned.
    #[error("tills have pinned sha256-{}, and this hub would show {}: they would all be shut out; bring the former \
        authority back (--tls or --tls-private, with the files of the backup), or start with \
        --accept-new-authority, which says what every till has to be told", pinned.to_hex(), shown(*found))]
    OtherAuthority {
        /// What the join codes have had.
        pinned: Pin,
        /// What they would have now.
        found: Option<Pin>,
    },
    /// The operator's private authority does not stand in the file.
    #[error("no certificate behind the first one in {} signed it: put the one of the authority behind it, or leave \
        the first one alone there, and tills pin that", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate do not fit, or are of a kind that nobody reads.
    #[error("the certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

fn shown(pin: Option<Pin>) -> String {
    match pin {
        Some(pin) => format!("sha256-{}", pin.to_hex()),
        None => "nothing that they can pin".to_owned(),
    }
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File {
        action,
        path,
        source,
    }
}

/// The authority that tills have pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pinned {
    /// What join codes have had, if anything.
    pub(crate) pin: Option<Pin>,
    /// Whether the operator accepts another one.
    pub(crate) may_change: bool,
}

/// What the hub shows to who connects.
struct Shown {
    key: Arc<CertifiedKey>,
    /// What tills pin: the authority that is known to nobody else.
    pin: Option<Pin>,
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
    /// Reads or makes the certificate; `None` for plain HTTP. An authority that is gone is made anew only if the
    /// hub may.
    pub(crate) fn load(
        mode: &TlsMode,
        dir: &DataDir,
        env: &Env,
        names: Vec<String>,
        pinned: Pinned,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let now_ms = env.clock.now_ms();
        let shown = match mode {
            TlsMode::Off => return Ok(None),
            TlsMode::Own => own::issue(dir, &*env.files, &names, now_ms, pinned)?,
            TlsMode::Files {
                certificate,
                key,
                private,
            } => from_files(certificate, key, private.then_some((pinned.pin, now_ms)))?,
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
        self.shown(|shown| shown.pin)
    }

    /// The very certificate, for commands on this machine, which do not ask for its name.
    pub(crate) fn own_pin(&self) -> Option<Pin> {
        self.shown(|shown| shown.key.cert.first().map(|it| fingerprint(it)))
    }

    /// Makes the certificate anew when it is time, or takes what its files hold now. Whether it is another one;
    /// what cannot be read, or what tills have not pinned, leaves the one that there is.
    pub(crate) fn refresh(&self, env: &Env) -> Result<bool, TlsError> {
        let now_ms = self.clock.now_ms();
        let (due, held, pinned) = self.shown(|shown| {
            let due = shown.renew_ms.is_some_and(|at_ms| now_ms >= at_ms);
            (due, shown.files.clone(), shown.pin)
        });
        let fresh = match &self.mode {
            TlsMode::Files {
                certificate,
                key,
                private,
            } if held != Some(read_both(certificate, key)?) => {
                from_files(certificate, key, private.then_some((pinned, now_ms)))?
            }
            TlsMode::Own if due => {
                let (files, names) = (&*env.files, &self.names);
                let held = Pinned {
                    pin: pinned,
                    may_change: false,
                };
                own::issue(&self.dir, files, names, now_ms, held)?
            }
            TlsMode::Off | TlsMode::Own | TlsMode::Files { .. } => return Ok(false),
        };
        if let Some(pinned) = pinned.filter(|pinned| fresh.pin != Some(*pinned)) {
            let found = fresh.pin;
            return Err(TlsError::OtherAuthority { pinned, found });
        }
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

/// What the operator's files hold. Of a private authority, with what tills have pinned and the time, also what
/// they pin now.
fn from_files(
    certificate: &Path,
    key: &Path,
    private: Option<(Option<Pin>, i64)>,
) -> Result<Shown, TlsError> {
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
    let no_authority = || TlsError::NoAuthority {
        path: certificate.to_owned(),
    };
    let pin = match private {
        Some((pinned, now_ms)) => {
            Some(authority_of(&chain, pinned, now_ms).ok_or_else(no_authority)?)
        }
        None => None,
    };
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(pem("private key", key))?;
    Ok(Shown {
        pin,
        key: Arc::new(CertifiedKey::from_der(chain, key, &provider())?),
        renew_ms: None,
        files: Some((chain_pem, key_pem)),
    })
}
