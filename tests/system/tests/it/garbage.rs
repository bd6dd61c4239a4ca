//! Whatever arrives at a till's API, it answers with a problem and goes on selling.

use crate::process::{Daemon, node, request, till};
use counterfoil_testkit::TempDir;

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
    node(dir.path(), &["sell", "--line", "TEA:1@1", "--json"]).json();
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
