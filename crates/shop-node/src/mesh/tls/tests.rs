use super::*;
use crate::mesh::trust::Trust;
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::mesh::authority::shop_seed;
use counterfoil_protocol::wire::certificate::{Revocations, RevokedLane, SignedRevocations};
use counterfoil_replica::env::{public_key, sign};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519,
};
use time::OffsetDateTime;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const NOW_MS: i64 = 1_795_000_000_000;

fn node(number: u8) -> NodeId {
    NodeId::from_slice(&[number; 16]).expect("an id")
}

fn shop(number: u8) -> ShopId {
    ShopId::from_slice(&[number; 16]).expect("an id")
}

/// The authority of a shop, as the hub has it.
struct Authority {
    shop: ShopId,
    seed: [u8; 32],
}

impl Authority {
    fn of(number: u8) -> Self {
        let shop = shop(number);
        let seed = shop_seed(&[7; 32], shop);
        Self { shop, seed }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
    }

    fn key(&self) -> KeyPair {
        let key = private_key(&self.seed);
        KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).expect("a key")
    }

    fn revoked(&self, number: i64, nodes: &[NodeId]) -> SignedRevocations {
        let lanes: Vec<_> = nodes.iter().map(|node| (*node, None)).collect();
        self.revoked_before(number, &lanes)
    }

    fn revoked_before(&self, number: i64, lanes: &[(NodeId, Option<i64>)]) -> SignedRevocations {
        let lane = |&(node, issued_before_ms)| RevokedLane {
            node,
            issued_before_ms,
        };
        let list = serde_json::to_string(&Revocations {
            shop: self.shop,
            number,
            lanes: lanes.iter().map(lane).collect(),
        });
        let list = list.expect("written");
        let signature = sign(&self.seed, &SignedRevocations::signed(&list)).expect("signed");
        let signature = to_hex(&signature);
        SignedRevocations { list, signature }
    }

    /// A lane whose certificate names `named`, and holds over these days around now.
    fn given(&self, lane: NodeId, named: NodeId, days: (i64, i64)) -> LaneCertificate {
        let names = vec![ANY_LANE_NAME.to_owned(), lane_name(named, self.shop)];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let (issued_ms, expires_ms) = (NOW_MS + days.0 * DAY_MS, NOW_MS + days.1 * DAY_MS);
        let moment = |ms: i64| {
            let seconds = ms.div_euclid(1_000);
            OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
        };
        params.not_before = moment(issued_ms);
        params.not_after = moment(expires_ms);
        let own = KeyPair::from_pkcs8_der_and_sign_algo(&private_key(&seed(lane)), &PKCS_ED25519);
        let issuer = Issuer::new(Self::params(), self.key());
        let certificate = params.signed_by(&own.expect("a key"), &issuer);
        LaneCertificate {
            certificate: certificate.expect("signed").pem(),
            authority: Self::params()
                .self_signed(&self.key())
                .expect("signed")
                .pem(),
            authority_key: to_hex(&public_key(&self.seed).expect("a key")),
            issued_ms,
            expires_ms,
            revocations: self.revoked(1, &[]),
        }
    }

    fn lane(&self, number: u8, days: (i64, i64)) -> Identity {
        let given = self.given(node(number), node(number), days);
        Identity::new((node(number), self.shop), seed(node(number)), &given).expect("good")
    }
}

fn seed(lane: NodeId) -> [u8; 32] {
    shop_seed(
        &[9; 32],
        ShopId::from_slice(&lane.to_bytes()).expect("an id"),
    )
}

fn certificate_of(lane: &Identity) -> CertificateDer<'static> {
    lane.certificate.clone()
}

/// What lanes make of each other over a real handshake: how the one that dialed ends, and the one that was dialed.
fn meet(
    dials: (&Identity, i64),
    dialed: (&Identity, i64),
) -> (Option<Disbelief>, Option<Disbelief>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let (one, other) = tokio::io::duplex(64 * 1024);
        let client = async {
            let mut line = connect(dials.0, dials.1, Box::new(one)).await?;
            line.io.read_u8().await
        };
        let server = async {
            use tokio::io::AsyncWriteExt as _;
            let mut line = accept(dialed.0, dialed.1, Box::new(other)).await?;
            line.io.write_u8(1).await
        };
        let (client, server) = tokio::join!(client, server);
        let why = |error: &io::Error| disbelief(error);
        (
            client.as_ref().err().and_then(why),
            server.as_ref().err().and_then(why),
        )
    })
}

#[test]
fn lanes_of_one_shop_believe_each_other_and_no_one_else() {
    let (ours, theirs) = (Authority::of(1), Authority::of(2));
    let (one, other) = (ours.lane(1, (-10, 80)), ours.lane(2, (-1, 89)));
    assert_eq!(meet((&one, NOW_MS), (&other, NOW_MS)), (None, None));
    let stranger = theirs.lane(3, (-1, 89));
    let (dialed, dials) = meet((&one, NOW_MS), (&stranger, NOW_MS));
    assert_eq!(dialed, Some(Disbelief::Ours(STRANGER)));
    assert!(matches!(dials, Some(Disbelief::Theirs(_))), "{dials:?}");
    let (dials, dialed) = meet((&stranger, NOW_MS), (&one, NOW_MS));
    assert!(matches!(dials, Some(Disbelief::Ours(_))), "{dials:?}");
    assert!(matches!(dialed, Some(Disbelief::Theirs(_))), "{dialed:?}");
    assert!(
        one.check(&certificate_of(&stranger), node(3), NOW_MS)
            .is_err()
    );
}

#[test]
fn a_certificate_speaks_for_the_lane_that_it_names_and_for_its_own_key() {
    let authority = Authority::of(1);
    let (one, other) = (authority.lane(1, (-1, 89)), authority.lane(2, (-1, 89)));
    let shown = certificate_of(&other);
    one.check(&shown, node(2), NOW_MS).expect("it is that lane");
    let wrong = one
        .check(&shown, node(3), NOW_MS)
        .expect_err("another lane");
    assert_eq!(in_words(&wrong), "its certificate is of another lane");
    // Nor does a lane take one that the hub made for another, or for another key.
    let of_another = authority.given(node(3), node(2), (-1, 89));
    let taken = Identity::new((node(3), authority.shop), seed(node(3)), &of_another);
    assert!(taken.is_err());
    let own = authority.given(node(3), node(3), (-1, 89));
    assert!(Identity::new((node(3), authority.shop), seed(node(2)), &own).is_err());
    assert!(Identity::new((node(3), shop(2)), seed(node(3)), &own).is_err());
}

#[test]
fn a_certificate_that_has_ended_is_refused_by_a_lane_that_knows_the_time() {
    let authority = Authority::of(1);
    let (one, ended) = (authority.lane(1, (-10, 80)), authority.lane(2, (-95, -5)));
    let (dials, dialed) = meet((&one, NOW_MS), (&ended, NOW_MS));
    assert_eq!(dials, Some(Disbelief::Ours(ENDED)));
    assert!(matches!(dialed, Some(Disbelief::Theirs(_))), "{dialed:?}");
    // It would let the other in, and is told why it is not itself.
    let (dials, dialed) = meet((&ended, NOW_MS), (&one, NOW_MS));
    assert!(matches!(dials, Some(Disbelief::Theirs(_))), "{dials:?}");
    assert_eq!(dialed, Some(Disbelief::Ours(ENDED)));
}

#[test]
fn a_clock_that_contradicts_the_own_certificate_judges_none() {
    let authority = Authority::of(1);
    let (one, older) = (authority.lane(1, (-10, 80)), authority.lane(2, (-40, 50)));
    let gone = authority.lane(3, (-200, -110));
    for wrong_ms in [0, NOW_MS - 9_000 * DAY_MS, NOW_MS + 9_000 * DAY_MS] {
        for (left, right) in [(&one, &older), (&older, &one)] {
            assert_eq!(meet((left, wrong_ms), (right, NOW_MS)), (None, None));
            assert_eq!(meet((left, NOW_MS), (right, wrong_ms)), (None, None));
        }
        // What was over before the own one began is over.
        let wrong = one.check(&certificate_of(&gone), node(3), wrong_ms);
        assert_eq!(in_words(&wrong.expect_err("over")), ENDED);
    }
    // All of them away from the hub for longer than certificates hold.
    let later_ms = NOW_MS + 100 * DAY_MS;
    assert_eq!(meet((&one, later_ms), (&older, later_ms)), (None, None));
}

#[test]
fn a_clock_that_is_some_weeks_behind_refuses_nobody_whose_certificate_is_new() {
    let ours = Authority::of(1);
    // It was off for weeks, its clock stood still, and the other has another certificate since.
    let (behind, renewed) = (ours.lane(1, (-40, 50)), ours.lane(2, (-2, 88)));
    let stood_still = NOW_MS - 35 * DAY_MS;
    assert_eq!(
        meet((&behind, stood_still), (&renewed, NOW_MS)),
        (None, None)
    );
    assert_eq!(
        meet((&renewed, NOW_MS), (&behind, stood_still)),
        (None, None)
    );
}

#[test]
fn only_lists_of_the_own_authority_revoke_and_what_one_says_no_newer_one_forgets() {
    let (ours, theirs) = (Authority::of(1), Authority::of(2));
    let trust = Trust::default();
    let is_out = |lane: u8| {
        let held = trust.held();
        let revoked = held.revoked(node(lane));
        revoked.is_some_and(|it| it.issued_before_ms.is_none())
    };
    let number = || trust.held().number();
    assert!(
        !trust.offer(&ours.revoked(5, &[node(2)])),
        "nobody to believe"
    );
    trust.set(ours.lane(1, (-1, 89)));
    let mut forged = ours.revoked(5, &[]);
    forged.list = ours.revoked(5, &[node(2)]).list;
    assert!(!trust.offer(&forged));
    assert!(!trust.offer(&theirs.revoked(5, &[node(2)])));
    assert!(!is_out(2));
    assert!(trust.offer(&ours.revoked(5, &[node(2)])));
    assert!(is_out(2));
    for older in [5, 4] {
        assert!(!trust.offer(&ours.revoked(older, &[])), "{older}");
    }
    assert!(!trust.offer(&ours.revoked(4, &[node(2)])), "nothing new");
    // The hub was restored from a backup, signs on, and hears of it from a lane some time.
    assert!(trust.offer(&ours.revoked(6, &[node(3)])));
    assert!(is_out(2) && is_out(3));
    assert_eq!((number(), trust.held().signed().len()), (6, 2));
    let again = [(node(2), Some(NOW_MS)), (node(3), None)];
    assert!(trust.offer(&ours.revoked_before(7, &again)));
    assert!(!is_out(2) && is_out(3), "taken in again");
    assert_eq!((number(), trust.held().signed().len()), (7, 1));
    // Another lane comes with what it heard last.
    assert!(trust.offer(&ours.revoked(6, &[node(4)])));
    assert!(!is_out(2) && is_out(3) && is_out(4));
}

#[test]
fn a_certificate_of_before_a_moment_is_told_from_one_of_after() {
    let authority = Authority::of(1);
    let (one, other) = (authority.lane(1, (-10, 80)), authority.lane(2, (-5, 85)));
    let (shown, begun_ms) = (certificate_of(&other), NOW_MS - 5 * DAY_MS);
    assert!(one.begins_after(&shown, begun_ms));
    assert!(one.begins_after(&shown, begun_ms - DAY_MS));
    assert!(!one.begins_after(&shown, begun_ms + 1_000));
    assert!(
        !one.begins_after(&shown, NOW_MS + 400 * DAY_MS),
        "ended by then"
    );
}
