use crate::hub::{Ask, TestHub, problem};
use crate::till::Till;
use bytes::Bytes;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::book_path;
use counterfoil_replica::compress;
use http::Method;
use std::io::{Read as _, Write as _};
use std::time::Duration;

const DIGEST: (&str, &str) = (
    "x-counterfoil-digest",
    "0000000000000000000000000000000000000000000000000000000000000000",
);

/// Every call that takes a body, with the token it wants.
fn calls(till: &Till, admin: &str) -> Vec<(String, Option<String>)> {
    let (node, admin) = (Some(till.token.clone()), Some(admin.to_owned()));
    let book = book_path(till.id);
    vec![
        ("/v1/activate".to_owned(), None),
        ("/v1/hello".to_owned(), node.clone()),
        (format!("{book}/sync/1/1/2"), node.clone()),
        (format!("{book}/sync/1/1/2/baton"), node),
        ("/v1/admin/shops".to_owned(), admin.clone()),
        ("/v1/admin/join-codes".to_owned(), admin.clone()),
        ("/v1/admin/catalog/products/TEA".to_owned(), admin),
    ]
}

#[tokio::test]
async fn garbage_gets_a_problem_from_every_call() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let random: Vec<u8> = (0..5_000_u32)
        .map(|index| (index * 7 % 251) as u8)
        .collect();
    let bodies = [
        b"".to_vec(),
        b"{".to_vec(),
        b"[1,2]".to_vec(),
        vec![0xFF; 4120],
        random,
    ];
    for (path, token) in calls(&till, &client.admin) {
        for body in &bodies {
            for headers in [&[DIGEST][..], &[DIGEST, ("content-encoding", "zstd")]] {
                let (method, token) = (Method::POST, token.as_deref());
                let body = Bytes::from(body.clone());
                let size = body.len();
                let ask = Ask {
                    method,
                    path: &path,
                    token,
                    headers,
                    body,
                };
                let answer = client.send(ask).await;
                // One page of 0xFF is a frame like any other to the sync protocol.
                let is_frame = path.contains("/sync/") && size == 4120 && headers.len() == 1;
                if is_frame && answer.status.is_success() {
                    continue;
                }
                let code = problem(&answer).code;
                let expected = [Code::BadRequest, Code::Invalid];
                assert!(expected.contains(&code), "{path} {size} {code:?}");
            }
        }
    }
}

#[tokio::test]
async fn malformed_addresses_get_a_problem() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let book = book_path(till.id);
    for path in [
        format!("{book}/sync/x/1/2"),
        format!("{book}/sync/1/-1/2"),
        format!("{book}/sync/1/2/1"),
        format!("{book}/sync/1/99999999999999999999/2"),
        format!("{book}/export/x"),
        format!("{book}/nothing"),
        "/v1/db/book/not-an-id/info".to_owned(),
        "/v1/db/book/%FF/info".to_owned(),
        "/v1/db/catalog/sync/1/0/0".to_owned(),
        "/nothing".to_owned(),
        "/v1/hello".to_owned(),
    ] {
        let refused = problem(&client.get(&path, Some(&till.token)).await);
        let expected = [Code::BadRequest, Code::Invalid, Code::NotFound];
        assert!(
            expected.contains(&refused.code),
            "{path} {:?}",
            refused.code
        );
    }
    for path in [
        "/v1/admin/reports/sales?by=moon",
        "/v1/admin/catalog/secrets",
    ] {
        let refused = problem(&client.get(path, Some(&client.admin)).await);
        assert!(
            [Code::BadRequest, Code::NotFound].contains(&refused.code),
            "{path}"
        );
    }
}

/// Sends a head that announces a body, and reads the answer without sending any of it.
fn announce(url: &str, path: &str, token: Option<&str>, length: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let (digest, value) = DIGEST;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\n{}{digest}: {value}\r\n{length}\r\n\r\n",
        bearer.unwrap_or_default()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 256];
    let size = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..size]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_body_that_is_too_large_is_refused_before_it_is_sent() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    for (path, token) in calls(&till, &client.admin) {
        let url = client.url.clone();
        let length = format!("content-length: {}", 600 * 1024 * 1024);
        let task = move || announce(&url, &path, token.as_deref(), &length);
        let answer = tokio::task::spawn_blocking(task).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_swells_on_unpacking_is_refused() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    let bomb = compress::encode(&vec![0; 200_000_000]).unwrap();
    assert!(bomb.len() < 100_000);
    let path = format!("{}/sync/1/1/2", book_path(till.id));
    let (method, token) = (Method::POST, Some(till.token.as_str()));
    let headers = &[("content-encoding", "zstd")][..];
    let ask = Ask {
        method,
        path: &path,
        token,
        headers,
        body: bomb.into(),
    };
    assert_eq!(problem(&client.send(ask).await).code, Code::TooLarge);
}
