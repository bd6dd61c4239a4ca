//! Whatever arrives at a till's API, it answers with a problem and goes on selling.

use crate::process::{Daemon, node, request, till};
use counterfoil_testkit::TempDir;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const POSTS: [&str; 10] = [
    "/v1/sales",
    "/v1/refunds",
    "/v1/stock",
    "/v1/expenses",
    "/v1/ledger",
    "/v1/orders",
    "/v1/cash",
    "/v1/import",
    "/v1/activate",
    "/v1/sync",
];

#[test]
fn garbage_and_oversized_bodies_are_answered_with_a_problem() {
    let dir = TempDir::new("garbage");
    till(dir.path());
    let daemon = Daemon::node(dir.path());
    let oversized = vec![b' '; 40 * 1024 * 1024];
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 6] = [
        b"",
        b"{",
        b"\xFF\x00\xFE",
        b"{\"lines\": 7}",
        b"[1, 2, 3]",
        deep.as_bytes(),
    ];
    for path in POSTS {
        for body in bodies {
            let (status, problem) =
                request(&daemon.url, "POST", path, &[], body).expect("an answer");
            assert!((400..500).contains(&status), "{path}: {status} {problem}");
            assert!(problem["code"].is_string(), "{path}: {problem}");
        }
        if path != "/v1/sync" {
            let (status, problem) =
                request(&daemon.url, "POST", path, &[], &oversized).expect("an answer");
            assert_eq!(
                (status, &problem["code"]),
                (413, &"too_large".into()),
                "{path}"
            );
        }
    }
    for path in [
        "/v1/nothing",
        "/v1/catalog/nothing/1",
        "/v1/queue?limit=x",
        "/v1/catalog/products/x",
    ] {
        let (status, problem) = request(&daemon.url, "GET", path, &[], b"").expect("an answer");
        assert!((400..500).contains(&status), "{path}: {status}");
        assert!(problem["code"].is_string(), "{path}: {problem}");
    }
    let (status, _) =
        request(&daemon.url, "PUT", "/v1/catalog/products/x", &[], b"{}").expect("an answer");
    assert_eq!(status, 400);
    check_problems(&daemon.url);
    node(dir.path(), &["sell", "--line", "TEA:1@1", "--json"]).json();
}

/// Calls that no handler gets: each answer is a problem document in full.
fn check_problems(url: &str) {
    for (asked, status, code) in [
        ("GET /v1/nothing", 404, "not_found"),
        ("PATCH /v1/sales", 404, "not_found"),
        ("DELETE /v1/status", 404, "not_found"),
        ("DELETE /v1/catalog/products/TEA", 404, "not_found"),
        ("GET /v1/catalog/products/%FF", 400, "bad_request"),
        ("GET /v1/catalog/%FF/TEA", 400, "bad_request"),
        ("PUT /v1/catalog/products/%FF", 400, "bad_request"),
        ("POST /v1/catalog/products/%FF/merge", 400, "bad_request"),
        ("POST /v1/catalog/products/%FF/unmerge", 400, "bad_request"),
        ("GET /v1/conflicts/%FF", 400, "bad_request"),
    ] {
        let head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2";
        let answer = raw(url, &format!("{asked} HTTP/1.1\r\n{head}\r\n\r\n{{}}"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{asked}: {answer}"
        );
        assert!(
            head.contains("content-type: application/problem+json"),
            "{asked}: {answer}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).expect("a document");
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&code.into(), &status.into()),
            "{asked}: {answer}"
        );
    }
}

#[test]
fn requests_of_web_pages_and_under_foreign_names_are_refused() {
    let dir = TempDir::new("origin");
    till(dir.path());
    let daemon = Daemon::node(dir.path());
    let sale =
        br#"{"tender": "cash", "lines": [{"sku": "A", "quantity": "1", "unit_price": "1"}]}"#;
    let ask = |headers: &[(&str, &str)]| {
        request(&daemon.url, "POST", "/v1/sales", headers, sale)
            .expect("an answer")
            .0
    };
    assert_eq!(ask(&[("Origin", "http://shop.example")]), 403);
    assert_eq!(ask(&[("Content-Type", "text/plain")]), 400);
    assert_eq!(daemon.get("/v1/status")["receipts"], 0);
    assert_eq!(ask(&[]), 200);
}

#[test]
fn pages_of_the_origins_that_the_shop_names_record_and_follow_and_steer_nothing() {
    let dir = TempDir::new("pages");
    till(dir.path());
    std::fs::write(
        dir.join("node.toml"),
        "allowed_origins = [\"https://till.example\"]\n",
    )
    .expect("written");
    let daemon = Daemon::node(dir.path());
    let ask = |method: &str, path: &str, origin: &str, body: &[u8]| {
        let headers = [("Origin", origin), ("Content-Type", "application/json")];
        request(&daemon.url, method, path, &headers, body).expect("an answer")
    };
    let page = "https://till.example";
    let batch = br#"{"operations": [{"id": "0198c0de-0000-7000-8000-000000000001", "kind": "sale",
        "content": {"tender": "cash", "lines": [{"sku": "TEA", "quantity": "1", "unit_price": "2.55"}]}}]}"#;
    let (status, answer) = ask("POST", "/v1/operations", page, batch);
    assert_eq!(
        (status, &answer["results"][0]["outcome"]),
        (200, &"recorded".into())
    );
    let (status, answer) = ask("GET", "/v1/changes?types=sale", page, b"");
    assert_eq!(
        (status, answer["changes"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    assert_eq!(ask("OPTIONS", "/v1/operations", page, b"").0, 204);
    assert_eq!(ask("GET", "/v1/conflicts", page, b"").0, 200);

    for (path, origin) in [
        ("/v1/operations", "https://other.example"),
        ("/v1/operations", "https://till.example.evil.example"),
        ("/v1/operations", "http://till.example"),
        ("/v1/operations", "null"),
        ("/v1/activate", page),
        ("/v1/hub", page),
        ("/v1/operationsx", page),
    ] {
        for method in ["POST", "OPTIONS"] {
            let (status, answer) = ask(method, path, origin, b"{}");
            assert_eq!(
                (status, &answer["code"]),
                (403, &"forbidden".into()),
                "{method} {path} {origin}: {answer}"
            );
        }
    }

    // What a browser asks before it lets the page send JSON, and what lets the page read the answer.
    let asked = "OPTIONS /v1/operations HTTP/1.1\r\nOrigin: https://till.example\r\nHost: localhost\r\n\
                 Access-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true";
    let answer = raw(&daemon.url, asked);
    for line in [
        "http/1.1 204 ",
        "access-control-allow-origin: https://till.example\r\n",
        "access-control-allow-methods: get, post\r\n",
        "access-control-allow-headers: content-type, x-counterfoil-session, x-counterfoil-approval\r\n",
        "access-control-allow-private-network: true\r\n",
    ] {
        assert!(answer.contains(line), "{line} is not in {answer}");
    }
    let asked = "GET /v1/status HTTP/1.1\r\nOrigin: https://other.example\r\nHost: localhost";
    assert!(!raw(&daemon.url, asked).contains("access-control"));
    let asked = "GET /v1/status HTTP/1.1\r\nOrigin: https://till.example\r\nHost: till.example";
    assert!(
        raw(&daemon.url, asked).starts_with("http/1.1 403 "),
        "a name that was rebound"
    );
}

/// The whole answer to a request line with headers, in lower case.
fn raw(url: &str, asked: &str) -> String {
    let address = url.strip_prefix("http://").expect("a plain address");
    let mut stream = TcpStream::connect(address).expect("connects");
    let (head, body) = asked.split_once("\r\n\r\n").unwrap_or((asked, ""));
    let request = format!("{head}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer.to_lowercase()
}
