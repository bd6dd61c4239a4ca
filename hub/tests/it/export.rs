//! The file of a generation, as a stream and in parts.

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::Till;
use bytes::Bytes;
use counterfoil_hub::HubConfig;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::book_path;
use counterfoil_protocol::wire::replication::{
    FILE_BYTES_HEADER, FILE_DIGEST_HEADER, Info, PART_DIGEST_HEADER,
};
use counterfoil_replica::Chain;
use counterfoil_replica::env::{HttpRequest, HttpResponse, HttpStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::time::Duration;

/// A till whose book at the hub is a file of several parts.
async fn large_book(client: &Client) -> (Till, u64) {
    let mut till = Till::of(client, "A", 1).await;
    for _ in 0..600 {
        till.sell(100);
    }
    till.push(client).await.unwrap();
    let _done: serde_json::Value = client
        .admin_post("consolidate", &serde_json::Value::Null)
        .await;
    let info = info(client, &till).await;
    assert_eq!(info.max_frame_no, 0, "everything is in the file");
    let generation = info.current_generation;
    (till, generation)
}

async fn info(client: &Client, till: &Till) -> Info {
    let path = format!("{}/info", book_path(till.id));
    parse(&client.get(&path, Some(&till.token)).await)
}

async fn part(client: &Client, till: &Till, generation: u64, start: u64) -> HttpResponse {
    let end = start + 256;
    let path = format!("{}/export/{generation}/{start}/{end}", book_path(till.id));
    client.get(&path, Some(&till.token)).await
}

async fn stream(client: &Client, till: &Till, generation: u64) -> HttpStream {
    let mut headers = HeaderMap::new();
    let bearer = HeaderValue::try_from(format!("Bearer {}", till.token)).unwrap();
    headers.insert("authorization", bearer);
    let path = format!("{}/export/{generation}", book_path(till.id));
    let request = HttpRequest {
        method: Method::GET,
        url: format!("{}{path}", client.url),
        headers,
        body: Bytes::new(),
        timeout: Duration::from_secs(60),
        response_bytes_max: 0,
    };
    client.env.http().open(request).await.unwrap()
}

fn folding(config: &mut HubConfig) {
    config.wal_limit_bytes = 0;
}

fn said(headers: &HeaderMap, name: &str) -> String {
    headers[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_stream_and_the_parts_are_the_same_file() {
    let hub = TestHub::start_with(folding).await;
    let client = hub.client();
    let (till, generation) = large_book(&client).await;
    let mut stream = stream(&client, &till, generation).await;
    let headers = stream.headers.clone();
    let mut streamed = Vec::new();
    while let Some(bytes) = stream.next(Duration::from_secs(60)).await.unwrap() {
        streamed.extend_from_slice(&bytes);
    }
    assert!(streamed.len() > 2 << 20, "{} bytes", streamed.len());
    assert_eq!(said(&headers, "content-length"), streamed.len().to_string());
    let digest = Chain::of_base(&streamed).to_string();
    assert_eq!(said(&headers, FILE_DIGEST_HEADER), digest);
    let (mut joined, mut start) = (Vec::new(), 1);
    while joined.len() < streamed.len() {
        let part = part(&client, &till, generation, start).await;
        assert_eq!(part.status, StatusCode::OK);
        let bytes = streamed.len().to_string();
        assert_eq!(said(&part.headers, FILE_BYTES_HEADER), bytes);
        assert_eq!(said(&part.headers, FILE_DIGEST_HEADER), digest);
        let own = Chain::of_base(&part.body).to_string();
        assert_eq!(said(&part.headers, PART_DIGEST_HEADER), own);
        joined.extend_from_slice(&part.body);
        start += 256;
    }
    assert!(joined == streamed);
    let beyond = problem(&part(&client, &till, generation, start).await);
    assert_eq!(beyond.code, Code::Invalid);
    let gone = part(&client, &till, generation - 1, 1).await;
    assert_eq!(gone.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_nobody_and_breaks_when_its_file_is_gone() {
    let hub = TestHub::start_with(folding).await;
    let client = hub.client();
    let (mut till, generation) = large_book(&client).await;
    let mut slow = stream(&client, &till, generation).await;
    for _ in 0..600 {
        till.sell(100);
    }
    till.push(&client).await.unwrap();
    let _done: serde_json::Value = client
        .admin_post("consolidate", &serde_json::Value::Null)
        .await;
    assert!(info(&client, &till).await.current_generation > generation);
    let mut read = 0;
    let ended = loop {
        match slow.next(Duration::from_secs(60)).await {
            Ok(Some(bytes)) => read += bytes.len(),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let length: usize = said(&slow.headers, "content-length").parse().unwrap();
    // What was on its way may be all of it; half of one file and half of another is never whole.
    assert_eq!(
        ended.is_ok(),
        read == length,
        "{read} of {length}: {ended:?}"
    );
}
