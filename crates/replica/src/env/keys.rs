//! Keys of lanes and of their authorities: Ed25519, each made of 32 bytes that somebody drew.

use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{Error, SignatureScheme};

use super::provider;

/// What stands before the 32 bytes in a private key of this kind (RFC 8410).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The private key of a seed.
#[must_use]
pub fn private_key(seed: &[u8; 32]) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from([&PKCS8_HEAD[..], seed].concat())
}

/// Its public half.
///
/// # Errors
/// When the library takes the key for none.
pub fn public_key(seed: &[u8; 32]) -> Result<[u8; 32], Error> {
    let key = any_eddsa_type(&private_key(seed))?;
    let described = key.public_key();
    let bytes = described.as_ref().and_then(|it| it.last_chunk::<32>());
    bytes
        .copied()
        .ok_or_else(|| Error::General("a key without a public half".to_owned()))
}

/// Signs with the key of a seed.
///
/// # Errors
/// When the library takes the key for none.
pub fn sign(seed: &[u8; 32], message: &[u8]) -> Result<Vec<u8>, Error> {
    let key = any_eddsa_type(&private_key(seed))?;
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]);
    let signer = signer.ok_or_else(|| Error::General("a key that does not sign".to_owned()))?;
    signer.sign(message)
}

/// Whether whoever has the private half of this key signed the message.
#[must_use]
pub fn is_signed_by(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let algorithms = provider().signature_verification_algorithms;
    let of_kind = |(scheme, _): &&(SignatureScheme, _)| *scheme == SignatureScheme::ED25519;
    let found = algorithms.mapping.iter().find(of_kind);
    found.is_some_and(|(_, by)| {
        by.iter()
            .any(|it| it.verify_signature(public_key, message, signature).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_key_signed_no_other_did() {
        let (own, other) = ([7; 32], [8; 32]);
        let public = public_key(&own).expect("a key");
        let signature = sign(&own, b"a list").expect("signed");
        assert!(is_signed_by(&public, b"a list", &signature));
        assert!(!is_signed_by(&public, b"another", &signature));
        assert!(!is_signed_by(&public, b"a list", &[0; 64]));
        assert!(!is_signed_by(&public, b"a list", b""));
        let public = public_key(&other).expect("a key");
        assert!(!is_signed_by(&public, b"a list", &signature));
    }
}
