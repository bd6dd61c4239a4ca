//! Somebody who has stolen a lane's key with its certificate, and lies: a client of the test's own.

use crate::lane_tls::{kept, secured};
use crate::process::{eventually, pause};
use crate::shop::{Lane, Shop};
use crate::store::column;
use counterfoil_replica::env::{private_key, provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Kinds of frames.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BYTES: u8 = 2;

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// See the module.
pub(crate) struct Liar {
    stream: StreamOwned<ClientConnection, TcpStream>,
    shop: String,
}

impl Liar {
    /// Connects with a lane, by the key and certificate of another one.
    pub(crate) fn with_certificate_of(id: &str, data: &Path, lane: &Lane) -> Self {
        let file = data.join(format!("credentials/counterfoil-node-{id}-lane"));
        let secret = std::fs::read(file).expect("it has a key");
        let given: Vec<String> = column(
            &data.join("local.db"),
            "SELECT value FROM state WHERE key = 'lane_certificate'",
        );
        let given: Value = serde_json::from_str(&given[0]).expect("JSON");
        let pem = |name: &str| {
            let text = given["given"][name].as_str().expect("a certificate");
            CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate")
        };
        let mut roots = RootCertStore::empty();
        roots.add(pem("authority")).expect("an authority");
        let key = private_key(&Sha256::digest(secret).into());
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![pem("certificate")], key.into())
            .expect("they fit");
        let name = ServerName::try_from("lane.counterfoil.internal").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("good");
        let address = lane.url.strip_prefix("ws://").expect("an address");
        let tcp = TcpStream::connect(address).expect("it listens");
        tcp.set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        let mut stream = StreamOwned::new(connection, tcp);
        let request = "GET / HTTP/1.1\r\nHost: lane\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "it speaks WebSocket");
        let shop: Vec<String> = column(
            &data.join("book.db"),
            "SELECT value FROM meta WHERE key = 'shop_id'",
        );
        let shop = shop[0].clone();
        Self { stream, shop }
    }

    /// A text, under a mask that changes nothing.
    pub(crate) fn say(&mut self, document: &Value) {
        self.send(TEXT, document.to_string().as_bytes())
            .expect("said");
    }

    /// The same, of any kind. The lane may be gone.
    pub(crate) fn send(&mut self, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        let head = [&[0x80 | kind, 0x80 | 126], &length[..], &[0; 4]].concat();
        self.stream.write_all(&head)?;
        self.stream.write_all(bytes)
    }

    /// The head of a frame of so many bytes, of which none follow.
    pub(crate) fn announce(&mut self, bytes: usize) {
        let length = u64::try_from(bytes).expect("a number").to_be_bytes();
        let head = [&[0x80 | TEXT, 0x80 | 127], &length[..], &[0; 4]].concat();
        self.stream.write_all(&head).expect("said");
    }

    /// A text of which a part comes each time after the pause.
    pub(crate) fn say_slowly(&mut self, text: &str, parts: usize, wait: Duration) {
        self.announce(text.len());
        for part in text.as_bytes().chunks(text.len().div_ceil(parts)) {
            pause(wait);
            self.stream.write_all(part).expect("said");
        }
    }

    pub(crate) fn hello(&mut self, node: &str) {
        self.hello_with(node, &json!([]));
    }

    /// And says how what comes to it may be packed.
    pub(crate) fn hello_with(&mut self, node: &str, compress: &Value) {
        let shop = self.shop.clone();
        self.say(
            &json!({"type": "hello", "protocol": 1, "node": node, "shop": shop, "lane": 2,
            "book_schema": 3, "nonce": ZEROS, "secret": false, "compress": compress}),
        );
    }

    /// The next thing of that type that the lane says.
    pub(crate) fn hear(&mut self, kind: &str) -> Value {
        loop {
            let (opcode, text) = self.frame();
            let said: Value = serde_json::from_slice(&text).unwrap_or_default();
            if opcode == TEXT && said["type"] == kind {
                return said;
            }
        }
    }

    /// The next frame that the lane sends: its kind, and what is in it.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("more is said");
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut long = [0; 2];
            self.stream.read_exact(&mut long).expect("a length");
            length = usize::from(u16::from_be_bytes(long));
        }
        assert_ne!(length, 127, "it says nothing that long");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("a frame");
        (head[0] & 0x0F, bytes)
    }
}

/// A shop with a lane that listens, and one whose key was stolen.
pub(crate) fn robbed(name: &str) -> (Shop, Lane, (String, PathBuf)) {
    let mut shop = Shop::new(name);
    let [one, robbed] = shop.lanes("France");
    let one = secured(&one, &[]);
    let robbed = secured(&robbed, &[]);
    let of = (robbed.id(), robbed.data.clone());
    robbed.daemon.kill();
    shop.internet_is_gone();
    (shop, one, of)
}

#[test]
fn the_certificate_of_one_lane_opens_no_door_under_the_name_of_another() {
    const OTHER: &str = "0198c0de-0000-7000-8000-00000000000a";
    let (_shop, one, (id, data)) = robbed("liar-name");
    let mut liar = Liar::with_certificate_of(&id, &data, &one);
    liar.hello(OTHER);
    let refused = liar.hear("refused");
    assert_eq!(refused["code"], "certificate", "{refused}");
    eventually("it is told", || {
        one.has_logged("lane_refused", "its certificate is of another lane")
    });
    assert_eq!((one.connections(), kept(&one.data)), (0, 0));
    // Under its own it comes in: that is what it was refused for.
    let mut thief = Liar::with_certificate_of(&id, &data, &one);
    thief.hello(&id);
    thief.say(&json!({"type": "holds", "holds": []}));
    thief.hear("holds");
    one.is_connected(1);
}

#[test]
fn an_entry_that_its_lane_did_not_chain_is_refused_and_not_applied() {
    let (_shop, one, (id, data)) = robbed("liar-entry");
    let mut liar = Liar::with_certificate_of(&id, &data, &one);
    liar.hello(&id);
    let (begin, chain) = (json!({"seq": 0, "chain": ZEROS}), "ab".repeat(32));
    let end = json!({"seq": 1, "chain": chain});
    let holds = json!([{"origin": id, "begin": begin, "end": end}]);
    liar.say(&json!({"type": "holds", "holds": holds}));
    let wanted = liar.hear("want");
    assert_eq!(wanted["origin"], id, "{wanted}");
    let payload = json!({"seq": 1, "hlc": "84619558912000000", "kind": 1, "before": ZEROS, "chain": chain,
        "document": "{\"topic\":\"sale\",\"content\":{}}"});
    liar.say(
        &json!({"id": "0198c0de-0000-7000-8000-000000000001", "fromTerminal": id,
        "topic": "transaction", "timestamp": 84_619_558_912_000_000_i64 >> 16, "payload": payload}),
    );
    eventually("the connection ends", || one.connections() == 0);
    let said = "it does not fit its chain value";
    eventually("it is told", || one.has_logged("lane_refused", said));
    assert_eq!(kept(&one.data), 0);
}
