//! HTTPS between real processes (L9): whom a till believes, and what becomes of its sales meanwhile.

use crate::process::{Daemon, HUB, eventually, join_code, node, till};
use crate::store::assert_whole;
use crate::world::{Account, settle};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::Admission;
use counterfoil_replica::env::Env;
use counterfoil_shop_node::activation;
use counterfoil_shop_node::config::Config;
use counterfoil_shop_node::credentials::Keyring;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_store::{Paths, PendingActivation, ShopStore};
use counterfoil_testkit::TempDir;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

fn secured(data: &Path, address: &str) -> Daemon {
    Daemon::start_with(HUB, data, &["--listen", address, "--tls"])
}

fn address(url: &str) -> String {
    let address = url.strip_prefix("https://").expect("it is secured");
    address.to_owned()
}

/// What the till's status says of the last failure.
fn last_error(data: &Path) -> String {
    let status = node(data, &["status", "--json"]).json();
    status["last_error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_till_sells_and_delivers_over_https_and_so_it_does_after_the_hub_was_killed() {
    let dir = TempDir::new("https");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let hub = secured(&hub_data, "127.0.0.1:0");
    let mut account = Account::default();
    till(&data);
    account.sell(&data, 2);
    let code = join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    let daemon = Daemon::node(&data);
    account.sell(&data, 3);
    settle(&data);
    eventually("the till listens", || {
        daemon.get("/v1/status")["listening"] == true
    });
    let url = hub.kill();
    account.sell(&data, 2);
    // It makes another certificate, under the authority that the till has pinned.
    let hub = secured(&hub_data, &address(&url));
    settle(&data);
    drop((hub, daemon));
    account.assert_settled(&hub_data);
    assert_whole(&data.join("book.db"));
}

#[test]
fn a_till_tells_nothing_to_a_hub_with_another_certificate_and_goes_on_selling() {
    const OTHER: &str = "another certificate than the one that was pinned";
    let dir = TempDir::new("pin");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let mut account = Account::default();
    till(&data);
    let hub = secured(&hub_data, "127.0.0.1:0");
    let code = join_code(&hub_data, "France");
    let url = hub.kill();
    let other_data = dir.join("other");
    let other = secured(&other_data, &address(&url));
    // The code of one hub, and another hub where it says.
    node(&data, &["activate", "--join", &code]).fails(4, OTHER);
    account.sell(&data, 1);
    drop(other);
    let hub = secured(&hub_data, &address(&url));
    node(&data, &["activate", "--join", &code]).succeeds();
    settle(&data);
    hub.kill();

    let other = secured(&other_data, &address(&url));
    account.sell(&data, 2);
    node(&data, &["sync", "now"]).fails(4, OTHER);
    assert!(last_error(&data).contains(OTHER), "{}", last_error(&data));
    account.sell(&data, 1);
    drop(other);
    // The hub's folder is at hand, its authority is not: a new code leads every till over, or what the alert says.
    std::fs::remove_dir_all(hub_data.join("tls")).expect("it had an authority");
    let arguments = [
        "--listen",
        &address(&url),
        "--tls",
        "--accept-new-authority",
    ];
    let hub = Daemon::start_with(HUB, &hub_data, &arguments);
    node(&data, &["sync", "now"]).fails(4, OTHER);
    let alerts = crate::process::hub(&hub_data, &["alerts", "list", "--json"]).json();
    let told = alerts.to_string();
    let remedy = told
        .split("`counterfoil-node hub ")
        .nth(1)
        .expect("a remedy");
    let new = remedy.split('`').next().expect("an address").to_owned();
    let newcomer = dir.join("newcomer");
    till(&newcomer);
    let code = join_code(&hub_data, "France");
    node(&newcomer, &["activate", "--join", &code]).succeeds();
    node(&data, &["hub", &new]).succeeds();
    settle(&data);
    drop(hub);
    account.assert_settled(&hub_data);
    assert_whole(&data.join("book.db"));
}

#[test]
fn an_activation_that_was_cut_off_goes_on_over_no_way_that_others_can_read() {
    let dir = TempDir::new("plain");
    let data = dir.join("till");
    let attempt = |insecure_http| {
        let config = Config {
            insecure_http,
            ..Config::default()
        };
        let options = NodeOptions {
            keyring: Keyring::Away,
            ..NodeOptions::default()
        };
        let node = Node::open(&data, config, Env::system(), &options).expect("opens");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let outcome = runtime.block_on(activation::resume(&node));
        outcome.map(|answer| answer.expect_err("nobody is there"))
    };
    assert!(attempt(false).is_none(), "nothing is begun");
    let env = Env::system();
    let store = ShopStore::open(&Paths::of(&data), env.clock.now_ms(), env.random);
    let pending = PendingActivation {
        hub_url: "http://hub.invalid:8700".to_owned(),
        admission: Admission::JoinSecret("00".to_owned()),
    };
    let begun = store.expect("opens").begin_activation(&pending);
    begun.expect("kept");
    for _ in 0..2 {
        let refused = attempt(false).expect("it is begun still");
        assert_eq!(refused.code, Code::Invalid, "{refused:?}");
        assert!(refused.detail.contains("plain HTTP"), "{refused:?}");
    }
    let tried = attempt(true).expect("it is begun still");
    assert_eq!(tried.code, Code::HubUnreachable, "{tried:?}");
}

#[test]
fn a_till_takes_no_address_whose_pin_is_damaged_and_tells_nothing_to_one_that_it_has() {
    const DAMAGED: &str = "https://sha256-00@127.0.0.1:1";
    const WORDS: &str = "64 hexadecimal digits";
    let dir = TempDir::new("damaged");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let hub = secured(&hub_data, "127.0.0.1:0");
    let code = join_code(&hub_data, "France");
    till(&data);
    node(&data, &["activate", "--join", &code, "--hub", DAMAGED]).fails(1, WORDS);
    node(&data, &["activate", "--join", &code]).succeeds();
    node(&data, &["hub", DAMAGED]).fails(1, WORDS);
    settle(&data);
    // As an earlier version took it.
    let env = Env::system();
    let store = ShopStore::open(&Paths::of(&data), env.clock.now_ms(), env.random);
    let kept = store.expect("opens").set_hub_url(DAMAGED);
    kept.expect("kept");
    let refused = node(&data, &["sync", "now"]);
    refused.fails(1, WORDS);
    assert!(
        refused.stderr.contains("counterfoil-node hub URL"),
        "{refused:?}"
    );
    assert!(last_error(&data).contains(WORDS), "{}", last_error(&data));
    // What was pinned is lost with it: the address alone is not enough.
    let bare = format!("https://{}", address(&hub.url));
    node(&data, &["hub", &bare]).fails(1, "join code");
    let code = join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    settle(&data);
}

#[test]
fn an_operators_certificate_is_replaced_while_a_till_is_connected() {
    let dir = TempDir::new("operator");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let authority = Authority::new();
    let (certificate, key) = (dir.join("hub.pem"), dir.join("hub.key"));
    authority.issue(&certificate, &key);
    let files = [&certificate, &key].map(|path| path.to_str().expect("text").to_owned());
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        &files[0],
        "--tls-key",
        &files[1],
        "--tls-private",
        "--tls-check-seconds",
        "1",
    ];
    let hub = Daemon::start_with(HUB, &hub_data, &arguments);
    let mut account = Account::default();
    till(&data);
    let code = join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    let daemon = Daemon::node(&data);
    account.sell(&data, 2);
    settle(&data);
    let announced = || std::fs::read_to_string(hub_data.join("hub.json")).expect("it runs");
    let before = announced();
    authority.issue(&certificate, &key);
    account.sell(&data, 1);
    eventually("the hub shows the new one", || announced() != before);
    account.sell(&data, 2);
    settle(&data);
    // Every command opens a connection of its own, and this one begins anew.
    drop(daemon);
    account.sell(&data, 1);
    settle(&data);
    drop(hub);
    account.assert_settled(&hub_data);
}

/// An operator's own authority, which no machine knows.
struct Authority {
    signer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key).expect("it signs for itself");
        Self {
            certificate: made.pem(),
            signer: Issuer::new(params, key),
        }
    }

    /// Puts a new certificate and its key in place of those that are there.
    fn issue(&self, certificate: &PathBuf, key: &PathBuf) {
        let new = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let made = params.signed_by(&new, &self.signer).expect("signed");
        std::fs::write(key, new.serialize_pem()).expect("written");
        std::fs::write(certificate, made.pem() + &self.certificate).expect("written");
    }
}
