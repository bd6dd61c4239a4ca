//! HTTPS over real sockets: whom a till believes, and how the certificate changes.

use crate::hub::{TestHub, program};
use crate::till::Till;
use counterfoil_hub::TlsMode;
use counterfoil_protocol::hub_url::{HubUrl, Pin};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::hub::ShopAdded;
use counterfoil_replica::env::{Env, HttpError, HttpRequest, HttpResponse, fingerprint};
use counterfoil_testkit::{ManualClock, TempDir};
use http::{HeaderMap, Method};
use rcgen::{CertificateParams, KeyPair};
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

pub(crate) fn own(config: &mut counterfoil_hub::HubConfig) {
    config.tls = TlsMode::Own;
    config.tls_check = Duration::from_millis(20);
}

pub(crate) fn ask(url: &str) -> HttpRequest {
    HttpRequest {
        method: Method::GET,
        url: format!("{url}/healthz"),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        timeout: Duration::from_secs(30),
        response_bytes_max: 1 << 20,
    }
}

pub(crate) async fn health(
    url: impl std::fmt::Display,
    env: &Env,
) -> Result<HttpResponse, HttpError> {
    env.http().send(ask(&url.to_string())).await
}

/// Everything that an error says.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The address in a join code, with what it pins.
pub(crate) async fn joined(hub: &TestHub) -> HubUrl {
    let added: ShopAdded = hub.client().code("Corner").await;
    let code: JoinCode = added.join_code.parse().unwrap();
    let pin = code
        .certificate
        .expect("the hub's own certificate is pinned");
    let url: HubUrl = code.hub_url.parse().unwrap();
    url.with_pin(Pin::parse(&pin).unwrap())
}

#[tokio::test]
async fn a_hubs_own_certificate_is_believed_through_the_join_code_alone() {
    let hub = TestHub::start_with(own).await;
    let url = joined(&hub).await;
    assert!(url.to_string().starts_with("https://sha256-"), "{url}");
    let env = Env::system();
    assert_eq!(health(url.clone(), &env).await.unwrap().status, 200);
    // Nobody else signed for it.
    let error = words(&health(url.clone().without_pin(), &env).await.unwrap_err());
    assert!(error.contains("UnknownIssuer"), "{error}");
    // Another hub, or somebody in between.
    let other = TestHub::start_with(own).await;
    let elsewhere = joined(&other).await.with_pin(url.pin().unwrap());
    let error = words(&health(&elsewhere, &env).await.unwrap_err());
    assert!(
        error.contains("another certificate than the one that was pinned"),
        "{error}"
    );
    // Plain HTTP gets no answer there.
    let plain = url.without_pin().to_string().replace("https://", "http://");
    assert!(health(&plain, &env).await.is_err());
}

#[tokio::test]
async fn the_authority_stays_when_the_hub_starts_again_and_its_key_is_for_its_owner_alone() {
    let mut hub = TestHub::start_with(own).await;
    let pin = joined(&hub).await.pin();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = std::fs::metadata(hub.dir.join("tls").join("ca.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
    hub.stop().await;
    let hub = hub.restart_with(own).await;
    assert_eq!(joined(&hub).await.pin(), pin);
}

/// A till's environment, whose clock says that.
fn at(now_ms: i64) -> Env {
    Env {
        clock: Arc::new(ManualClock::at(now_ms)),
        ..Env::system()
    }
}

#[tokio::test]
async fn a_till_believes_its_hub_whatever_its_own_clock_says() {
    let hub = TestHub::start_in(TempDir::new("hub"), at(NOW_MS), own).await;
    let url = joined(&hub).await;
    for till_ms in [0, NOW_MS - 3_650 * DAY_MS, NOW_MS + 3_650 * DAY_MS] {
        let answer = health(url.clone(), &at(till_ms)).await;
        assert_eq!(answer.unwrap().status, 200, "its clock says {till_ms}");
    }
}

#[tokio::test]
async fn the_certificate_is_renewed_while_tills_are_connected_and_nothing_is_lost() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let env = Env {
        clock: Arc::clone(&clock) as Arc<dyn counterfoil_domain::env::Clock>,
        ..Env::system()
    };
    let hub = TestHub::start_in(TempDir::new("hub"), env.clone(), own).await;
    let url = joined(&hub).await;
    let mut client = hub.client();
    client.url = url.to_string();
    let mut till = Till::of(&client, "Corner", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    // A connection that stays open.
    let open = env.http();
    assert_eq!(open.send(ask(&url.to_string())).await.unwrap().status, 200);
    let before = hub.client().url;
    clock.advance(31 * DAY_MS);
    let mut attempts = 0..1_000;
    while hub.client().url == before {
        assert!(attempts.next().is_some(), "the certificate was not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Who pinned the very certificate sees another one; who pinned the authority sees the same hub.
    let error = words(&health(&before, &env).await.unwrap_err());
    assert!(error.contains("another certificate"), "{error}");
    assert_eq!(open.send(ask(&url.to_string())).await.unwrap().status, 200);
    till.sell(2);
    till.push(&client).await.unwrap();
    let mut attempts = 0..1_000;
    while till.hello(&client).await.consolidated_seq < till.seq {
        assert!(attempts.next().is_some(), "not everything is consolidated");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(joined(&hub).await.pin(), url.pin());
}

#[tokio::test]
async fn an_ended_certificate_of_an_operators_authority_is_refused() {
    let folder = TempDir::new("certificate");
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let signer = rcgen::Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    let leaf = params.signed_by(&key, &signer).unwrap();
    let (certificate, key_file) = (folder.join("hub.pem"), folder.join("hub.key"));
    std::fs::write(&certificate, leaf.pem() + &authority.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let hub = TestHub::start_with(|config| {
        config.tls = TlsMode::Files {
            certificate,
            key: key_file,
            private: true,
        };
    })
    .await;
    let url = joined(&hub).await;
    assert_eq!(url.pin(), Some(fingerprint(authority.der())));
    assert_eq!(health(url.clone(), &at(NOW_MS)).await.unwrap().status, 200);
    let later = at(NOW_MS + 365 * DAY_MS);
    let error = words(&health(url.clone(), &later).await.unwrap_err());
    assert!(error.contains("certificate"), "{error}");
    // The authority signs for others too: the name counts.
    let elsewhere = url.to_string().replace("127.0.0.1", "localhost");
    assert!(health(&elsewhere, &at(NOW_MS)).await.is_err());
}

#[tokio::test]
async fn a_hub_whose_authority_lost_its_key_says_so_and_makes_no_other_one() {
    let mut hub = TestHub::start_with(own).await;
    hub.stop().await;
    std::fs::remove_file(hub.dir.join("tls").join("ca.key")).unwrap();
    let output = program()
        .args(["run", "--tls", "--listen", "127.0.0.1:0", "--data"])
        .arg(hub.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("ca.key is gone"), "{text}");
}

#[tokio::test]
async fn a_damaged_pin_is_refused_wherever_it_is_given_and_no_other_authority_is_asked_instead() {
    let mut hub = TestHub::start_with(own).await;
    let whole = joined(&hub).await.to_string();
    let damaged = whole.replacen("sha256-", "sha256-0", 1);
    let error = words(&health(&damaged, &Env::system()).await.unwrap_err());
    assert!(error.contains("64 hexadecimal digits"), "{error}");
    hub.stop().await;
    for arguments in [
        vec!["status", "--hub", &damaged],
        vec!["run", "--public-url", &damaged, "--data", "nowhere"],
    ] {
        let output = program().args(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("64 hexadecimal digits"), "{text}");
    }
    let output = program()
        .args(["shop", "add", "Corner", "--hub-url", &damaged, "--data"])
        .arg(hub.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("64 hexadecimal digits"), "{text}");
}

#[test]
fn plain_http_beyond_this_machine_is_refused_with_what_to_do() {
    let dir = TempDir::new("plain");
    let output = program()
        .args(["run", "--listen", "0.0.0.0:0", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for wanted in ["--tls", "--tls-cert", "--insecure-http"] {
        assert!(text.contains(wanted), "{text}");
    }
    let output = program()
        .args(["status", "--hub", "http://192.0.2.1:8700"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--insecure"), "{text}");
}
