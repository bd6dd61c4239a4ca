//! The authority that tills have pinned: it never becomes another one without a word.

use crate::hub::{Client, TestHub};
use crate::till::Till;
use crate::tls::{ask, health, joined, own, words};
use counterfoil_hub::service::{RunError, Tcp, run};
use counterfoil_hub::{DataDir, HubConfig, OpenHubError, TlsMode};
use counterfoil_protocol::hub_url::Pin;
use counterfoil_protocol::wire::hub::HubStatus;
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_replica::env::{Env, authority_of, fingerprint};
use counterfoil_testkit::TempDir;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::time::Duration;

const NOW_MS: i64 = 1_780_000_000_000;
const FLAG: &str = "--accept-new-authority";

/// An operator's authority, of its own or below another one.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Signer {
    fn new(name: &str, above: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = match above {
            Some(above) => params.signed_by(&key, &above.issuer),
            None => params.self_signed(&key),
        };
        Self {
            certificate: made.unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    fn pin(&self) -> Pin {
        fingerprint(self.certificate.der())
    }

    fn sign(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Puts a new certificate of the hub into its files, with others behind it.
    fn issue(&self, folder: &Path, behind: &[&Self]) -> TlsMode {
        let (made, made_key) = self.sign();
        let (certificate, key) = (folder.join("hub.pem"), folder.join("hub.key"));
        let behind = behind.iter().map(|it| it.certificate.pem());
        std::fs::write(&key, made_key.serialize_pem()).unwrap();
        std::fs::write(&certificate, made.pem() + &behind.collect::<String>()).unwrap();
        TlsMode::Files {
            certificate,
            key,
            private: true,
        }
    }
}

/// Starts a hub on a folder and ends it at once; what it says when it does not start.
async fn start(folder: &Path, tls: &TlsMode, accept_new_authority: bool) -> Result<(), String> {
    let mut attempts = 0..100;
    loop {
        let config = HubConfig {
            tls: tls.clone(),
            accept_new_authority,
            ..HubConfig::new(folder)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = std::future::ready(());
        match run(config, Tcp(listener), end, Env::system()).await {
            // A process that another test starts in this moment has the folder's lock for an instant.
            Err(RunError::Open(OpenHubError::InUse)) if attempts.next().is_some() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome.map_err(|error| words(&error)),
        }
    }
}

/// A hub with the operator's files, which it looks at all the time.
async fn with_files(mode: TlsMode) -> TestHub {
    TestHub::start_with(|config| {
        config.tls = mode;
        config.tls_check = Duration::from_millis(20);
    })
    .await
}

/// Speaks to the hub as whoever has pinned its authority.
async fn pinned_client(hub: &TestHub) -> Client {
    let mut client = hub.client();
    client.url = joined(hub).await.to_string();
    client
}

/// Waits for an alert of this kind that says this.
async fn alert(client: &Client, kind: &str, says: &str) -> AlertRow {
    let mut attempts = 0..1_000;
    loop {
        let status: HubStatus = client.admin_get("status").await;
        let mut alerts = status.alerts.into_iter();
        if let Some(found) = alerts.find(|it| it.kind == kind && it.detail.contains(says)) {
            return found;
        }
        assert!(attempts.next().is_some(), "no alert {kind} says {says}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until commands on the hub's machine are told of another certificate than this.
async fn announced_after(hub: &TestHub, before: &str) -> String {
    let mut attempts = 0..1_000;
    loop {
        let folder = DataDir::new(hub.dir.path());
        // A folder in its place cannot be read.
        let running = folder.running(&Env::system()).ok().flatten();
        if let Some(running) = running.filter(|running| running.url != before) {
            return running.url;
        }
        assert!(attempts.next().is_some(), "nothing new is announced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_authority_that_is_gone_stops_the_hub_and_is_made_anew_only_by_the_operators_will() {
    let mut hub = TestHub::start_with(own).await;
    let before = joined(&hub).await;
    let mut till = Till::of(&pinned_client(&hub).await, "Corner", 1).await;
    till.sell(1);
    hub.stop().await;
    let (folder, tls) = (hub.dir.path(), hub.dir.join("tls"));
    let (certificate, key) = (tls.join("ca.pem"), tls.join("ca.key"));
    let held = std::fs::read(&key).unwrap();
    let backup = hub.dir.join("backup");
    std::fs::rename(&tls, &backup).unwrap();
    for key_is_left in [false, true] {
        if key_is_left {
            std::fs::create_dir_all(&tls).unwrap();
            std::fs::copy(backup.join("ca.key"), &key).unwrap();
        }
        let refused = start(folder, &TlsMode::Own, false).await.unwrap_err();
        for wanted in [FLAG, "backup", &before.pin().unwrap().to_hex()] {
            assert!(refused.contains(wanted), "{refused}");
        }
        assert!(!certificate.exists(), "none is made");
    }
    // Nor does the hub go on in the clear, where tills expect a certificate.
    let refused = start(folder, &TlsMode::Off, false).await.unwrap_err();
    assert!(refused.contains(FLAG), "{refused}");
    // With the backup everything is as before.
    std::fs::copy(backup.join("ca.pem"), &certificate).unwrap();
    start(folder, &TlsMode::Own, false).await.unwrap();
    std::fs::remove_file(&certificate).unwrap();

    let hub = hub
        .restart_with(|config| {
            own(config);
            config.accept_new_authority = true;
        })
        .await;
    assert_eq!(std::fs::read(&key).unwrap(), held, "a key is never lost");
    let after = joined(&hub).await;
    assert_ne!(after.pin(), before.pin());
    let told = alert(&pinned_client(&hub).await, "authority_changed", "Corner/1").await;
    let remedy = format!("counterfoil-node hub {after}");
    assert!(told.detail.contains(&remedy), "{}", told.detail);
    let mut hub = hub;
    hub.stop().await;
    start(hub.dir.path(), &TlsMode::Own, false).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_was_killed_between_key_and_certificate_of_its_authority_goes_on_with_the_key() {
    let dir = TempDir::new("killed");
    let key = dir.join("tls").join("ca.key");
    std::fs::create_dir_all(dir.join("tls")).unwrap();
    let held = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(&key, &held).unwrap();
    for _ in 0..2 {
        start(dir.path(), &TlsMode::Own, false).await.unwrap();
        assert_eq!(std::fs::read_to_string(&key).unwrap(), held);
    }
}

#[tokio::test]
async fn the_operators_files_are_read_again_when_they_change_and_broken_ones_are_not_taken() {
    let folder = TempDir::new("certificate");
    let root = Signer::new("root", None);
    let hub = with_files(root.issue(folder.path(), &[&root])).await;
    let (client, env) = (pinned_client(&hub).await, Env::system());
    let first = hub.client().url;
    // Half of a pair: the hub goes on with what it has, and says so.
    std::fs::write(folder.join("hub.pem"), "no certificate").unwrap();
    alert(&client, "certificate", "hub.pem").await;
    assert_eq!(health(&first, &env).await.unwrap().status, 200);
    root.issue(folder.path(), &[&root]);
    let second = announced_after(&hub, &first).await;
    assert_eq!(health(&second, &env).await.unwrap().status, 200);
    assert!(health(&first, &env).await.is_err());
    assert_eq!(joined(&hub).await.pin(), Some(root.pin()));
}

#[tokio::test]
async fn files_of_another_authority_are_not_taken_until_the_operator_says_so() {
    let folder = TempDir::new("certificate");
    let (root, other) = (Signer::new("root", None), Signer::new("other", None));
    let mut hub = with_files(root.issue(folder.path(), &[&root])).await;
    let client = pinned_client(&hub).await;
    let mode = other.issue(folder.path(), &[&other]);
    let told = alert(&client, "certificate", FLAG).await;
    for pin in [root.pin(), other.pin()] {
        assert!(told.detail.contains(&pin.to_hex()), "{}", told.detail);
    }
    // Tills go on, and so do new ones.
    assert_eq!(health(&client.url, &client.env).await.unwrap().status, 200);
    assert_eq!(joined(&hub).await.to_string(), client.url);
    hub.stop().await;
    let refused = start(hub.dir.path(), &mode, false).await.unwrap_err();
    assert!(refused.contains(FLAG), "{refused}");
    assert!(refused.contains(&other.pin().to_hex()), "{refused}");
    start(hub.dir.path(), &mode, true).await.unwrap();
    start(hub.dir.path(), &mode, false).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_announced_is_announced_later() {
    let folder = TempDir::new("certificate");
    let root = Signer::new("root", None);
    let hub = with_files(root.issue(folder.path(), &[&root])).await;
    let (client, before) = (pinned_client(&hub).await, hub.client().url);
    let (announcement, aside) = (hub.dir.join("hub.json"), hub.dir.join("aside"));
    std::fs::rename(&announcement, &aside).unwrap();
    std::fs::create_dir(&announcement).unwrap();
    root.issue(folder.path(), &[&root]);
    alert(&client, "certificate", "hub.json").await;
    std::fs::remove_dir(&announcement).unwrap();
    let after = announced_after(&hub, &before).await;
    assert_eq!(health(&after, &client.env).await.unwrap().status, 200);
}

#[tokio::test]
async fn tills_pin_the_authority_that_signed_wherever_it_stands_in_the_file() {
    let folder = TempDir::new("certificate");
    let root = Signer::new("root", None);
    let middle = Signer::new("middle", Some(&root));
    let stranger = Signer::new("stranger", None);
    let mode = middle.issue(folder.path(), &[&root, &middle, &stranger]);
    let hub = with_files(mode).await;
    let url = joined(&hub).await;
    assert_eq!(url.pin(), Some(root.pin()));
    let answer = Env::system().http().send(ask(&url.to_string())).await;
    assert_eq!(answer.unwrap().status, 200);
    let dir = TempDir::new("stranger");
    let mode = middle.issue(folder.path(), &[&stranger]);
    let refused = start(dir.path(), &mode, false).await.unwrap_err();
    assert!(refused.contains("signed it"), "{refused}");
}

#[test]
fn the_authority_of_a_chain_is_the_topmost_that_leads_down_or_the_one_that_was_pinned() {
    let root = Signer::new("root", None);
    let middle = Signer::new("middle", Some(&root));
    let stranger = Signer::new("stranger", None);
    let (made, _) = middle.sign();
    let own = fingerprint(made.der());
    let of = |behind: &[&Signer], pinned| {
        let mut chain = vec![made.der().clone()];
        chain.extend(behind.iter().map(|it| it.certificate.der().clone()));
        authority_of(&chain, pinned, NOW_MS)
    };
    assert_eq!(of(&[], None), Some(own));
    assert_eq!(of(&[&middle], None), Some(middle.pin()));
    for behind in [[&middle, &root], [&root, &middle]] {
        assert_eq!(of(&behind, None), Some(root.pin()));
        let pinned = Some(middle.pin());
        assert_eq!(of(&behind, pinned), pinned, "tills have it");
        assert_eq!(of(&behind, Some(own)), Some(own), "tills have it");
        assert_eq!(of(&behind, Some(stranger.pin())), Some(root.pin()));
    }
    assert_eq!(
        of(&[&stranger, &middle, &stranger, &root], None),
        Some(root.pin())
    );
    assert_eq!(of(&[&root], None), None, "the one between is missing");
    assert_eq!(of(&[&stranger], None), None);
    assert_eq!(authority_of(&[], None, NOW_MS), None);
    // What holds at another time only leads down all the same.
    let chain = [made.der().clone(), middle.certificate.der().clone()];
    for at_ms in [-1, 90_000_000_000_000] {
        assert_eq!(authority_of(&chain, None, at_ms), Some(middle.pin()));
    }
}
