//! The authority of the lanes of one shop: it signs their certificates, and lists of lanes that may not take part any more.
//! A hub has one for each of its shops; of lanes that are paired in trial the first one has it.

use super::keys::{is_signed_by, private_key, public_key, sign};
use counterfoil_domain::env::Random;
use counterfoil_domain::hex::{from_hex, to_hex};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::wire::certificate::{
    ANY_LANE_NAME, LaneCertificate, Revocations, SignedRevocations, lane_name,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
    SignatureAlgorithm, date_time_ymd,
};
use time::OffsetDateTime;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why a certificate or a list cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LaneAuthorityError {
    /// The library refused.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// The key.
    #[error("the key of an authority cannot be used")]
    Key(#[from] rustls::Error),
    /// The list.
    #[error("the list of revoked lanes cannot be written")]
    List(#[from] serde_json::Error),
}

/// See the module.
pub struct LaneAuthority {
    shop: ShopId,
    seed: [u8; 32],
    /// How long its certificates hold.
    days: i64,
}

/// The public half of a lane's key.
struct LaneKey([u8; 32]);

impl PublicKeyData for LaneKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl LaneAuthority {
    /// The authority of a shop with the key of this seed. What it certifies holds for so many days.
    #[must_use]
    pub fn new(shop: ShopId, seed: [u8; 32], days: i64) -> Self {
        Self { shop, seed, days }
    }

    /// The public half of its key, hexadecimal.
    ///
    /// # Errors
    /// [`LaneAuthorityError`].
    pub fn public_key(&self) -> Result<String, LaneAuthorityError> {
        Ok(to_hex(&public_key(&self.seed)?))
    }

    fn key(&self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::from_pkcs8_der_and_sign_algo(&private_key(&self.seed), &PKCS_ED25519)
    }

    /// Nothing in it depends on when it is made.
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = format!("Counterfoil lanes of {}", self.shop);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2999, 12, 31);
        params
    }

    fn certificate(
        &self,
        lane: (NodeId, [u8; 32]),
        serial: [u8; 16],
        (begins_ms, now_ms): (i64, i64),
    ) -> Result<Certificate, rcgen::Error> {
        let (node, key) = lane;
        let names = vec![ANY_LANE_NAME.to_owned(), lane_name(node, self.shop)];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let name = format!("lane {node}");
        params.distinguished_name.push(DnType::CommonName, name);
        // A lane is dialed, and dials.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Numbers are positive, and none begins with a zero byte.
        let mut serial = serial;
        serial[0] = serial[0] & 0x3f | 0x40;
        params.serial_number = Some(serial.to_vec().into());
        // Lanes whose clocks are a little behind believe it too.
        params.not_before = moment(now_ms.saturating_sub(DAY_MS).max(begins_ms));
        params.not_after = moment(now_ms.saturating_add(self.days * DAY_MS));
        let issuer = Issuer::new(self.params(), self.key()?);
        params.signed_by(&LaneKey(key), &issuer)
    }

    /// What a lane is given, with the list of those that were revoked. Its time does not begin before a moment.
    ///
    /// # Errors
    /// [`LaneAuthorityError`].
    pub fn issue(
        &self,
        lane: (NodeId, [u8; 32]),
        revoked: &Revocations,
        random: &dyn Random,
        (begins_ms, now_ms): (i64, i64),
    ) -> Result<LaneCertificate, LaneAuthorityError> {
        let mut serial = [0; 16];
        random.fill(&mut serial);
        let now_ms = now_ms.max(begins_ms);
        let certificate = self.certificate(lane, serial, (begins_ms, now_ms))?;
        let authority = self.params().self_signed(&self.key()?)?;
        Ok(LaneCertificate {
            certificate: certificate.pem(),
            authority: authority.pem(),
            authority_key: self.public_key()?,
            issued_ms: now_ms,
            expires_ms: now_ms.saturating_add(self.days * DAY_MS),
            revocations: self.sign(revoked)?,
        })
    }

    /// Reads a list that a lane has; `None` when it is none of this shop that this authority has signed.
    ///
    /// # Errors
    /// [`LaneAuthorityError`].
    pub fn read(
        &self,
        signed: &SignedRevocations,
    ) -> Result<Option<Revocations>, LaneAuthorityError> {
        let signature = from_hex(&signed.signature).unwrap_or_default();
        let message = SignedRevocations::signed(&signed.list);
        if !is_signed_by(&public_key(&self.seed)?, &message, &signature) {
            return Ok(None);
        }
        // What a newer program of this hub signed may have another shape, and names nobody here.
        let list: Option<Revocations> = serde_json::from_str(&signed.list).ok();
        Ok(list.filter(|list| list.shop == self.shop))
    }

    /// A list of lanes that may not take part any more, signed.
    ///
    /// # Errors
    /// [`LaneAuthorityError`].
    pub fn sign(&self, revoked: &Revocations) -> Result<SignedRevocations, LaneAuthorityError> {
        let list = serde_json::to_string(revoked)?;
        let signature = sign(&self.seed, &SignedRevocations::signed(&list))?;
        let signature = to_hex(&signature);
        Ok(SignedRevocations { list, signature })
    }
}

fn moment(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
