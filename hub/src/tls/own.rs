//! The hub's own authority and the certificate that it signs.
//!
//! The authority's key lies in the hub's folder, for its owner alone. The certificate is made at each start and again
//! before it ends, and kept in memory only: nothing on disk can be out of date.

use super::{Pinned, Shown, TlsError, file_error};
use crate::datadir::DataDir;
use crate::limits::{CA_DAYS, LEAF_DAYS};
use crate::secrets;
use counterfoil_replica::env::{Files, HUB_NAME, create_folder, fingerprint, provider};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn moment(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A certificate for the hub, signed by its authority.
pub(super) fn issue(
    dir: &DataDir,
    files: &dyn Files,
    names: &[String],
    now_ms: i64,
    pinned: Pinned,
) -> Result<Shown, TlsError> {
    let (authority_pem, key_pem) = authority(dir, files, now_ms, pinned)?;
    let authority_path = dir.tls().join("ca.pem");
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes());
    let authority = authority.map_err(|source| TlsError::Pem {
        what: "certificate",
        path: authority_path,
        source,
    })?;
    let signer = Issuer::new(authority_params(), KeyPair::from_pem(&key_pem)?);
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1", HUB_NAME]
        .map(str::to_owned)
        .into();
    all.extend(names.iter().filter(|name| !name.is_empty()).cloned());
    all.sort_unstable();
    all.dedup();
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name.push(DnType::CommonName, HUB_NAME);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Tills whose clocks are a little behind believe it too.
    params.not_before = moment(now_ms.saturating_sub(DAY_MS));
    params.not_after = moment(now_ms.saturating_add(LEAF_DAYS * DAY_MS));
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &signer)?;
    let pin = Some(fingerprint(&authority));
    let chain = vec![certificate.der().clone(), authority];
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(Shown {
        key: Arc::new(CertifiedKey::from_der(chain, private, &provider())?),
        pin,
        renew_ms: Some(now_ms.saturating_add(LEAF_DAYS.div_euclid(3) * DAY_MS)),
        files: None,
    })
}

/// What is said of every hub's authority, and has to be the same in its certificate and in what it signs.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Counterfoil hub");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Certificate and key of the authority, in PEM form. It is made when there is none, unless tills have pinned one; a
/// key that is there is never written over.
fn authority(
    dir: &DataDir,
    files: &dyn Files,
    now_ms: i64,
    pinned: Pinned,
) -> Result<(String, String), TlsError> {
    let folder = dir.tls();
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error("read", path)(error)),
    };
    let held_key = match (read(&certificate)?, read(&key)?) {
        (Some(certificate), Some(key)) => return Ok((certificate, key)),
        // Join codes may pin it: a new authority would shut every till out.
        (Some(_), None) => return Err(TlsError::KeyLost { path: key }),
        (None, held) => held,
    };
    if let Some(pin) = pinned.pin.filter(|_| !pinned.may_change) {
        return Err(TlsError::AuthorityLost {
            pinned: pin,
            path: certificate,
        });
    }
    create_folder(&folder).map_err(file_error("make", &folder))?;
    // A key alone is left when the hub is killed between the two files.
    let new = match &held_key {
        Some(pem) => KeyPair::from_pem(pem)?,
        None => KeyPair::generate()?,
    };
    let mut params = authority_params();
    params.not_before = moment(now_ms.saturating_sub(DAY_MS));
    params.not_after = moment(now_ms.saturating_add(CA_DAYS * DAY_MS));
    let made = params.self_signed(&new)?;
    let certificate_pem = made.pem();
    let key_pem = held_key.clone().unwrap_or_else(|| new.serialize_pem());
    // The key first: a certificate without its key would be pinned and never shown again.
    if held_key.is_none() {
        secrets::write_file(&key, key_pem.as_bytes()).map_err(file_error("write", &key))?;
    }
    files
        .write_atomic(&certificate, certificate_pem.as_bytes())
        .map_err(file_error("write", &certificate))?;
    Ok((certificate_pem, key_pem))
}
