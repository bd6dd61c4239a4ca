//! A hub that thinks for long.

use std::{io, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{Remote, RemoteError};
use crate::{
    env::{BoxFuture, Dial, HttpClient, Io},
    limits::{DIGESTS_STALL_TIMEOUT, STALL_TIMEOUT},
};

/// Answers every request with 32 bytes after a while.
struct SlowHub(Duration);

impl Dial for SlowHub {
    fn dial(&self, _host: &str, _port: u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(answer(far, self.0));
        Box::pin(async move {
            let near: Box<dyn Io> = Box::new(near);
            Ok(near)
        })
    }
}

async fn answer(mut stream: DuplexStream, after: Duration) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    tokio::time::sleep(after).await;
    let answer = [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 32\r\n\r\n"[..],
        &[7; 32],
    ]
    .concat();
    // A client that has given up is gone.
    stream.write_all(&answer).await.ok();
    stream.read_to_end(&mut request).await.ok();
}

#[tokio::test(start_paused = true)]
async fn the_digests_of_a_large_database_may_take_their_time() {
    let remote = |after| {
        let http = HttpClient::new(Arc::new(SlowHub(after)), Arc::new(crate::env::SystemClock));
        Remote::new(&http, "http://hub/v1/db/book", None)
    };
    let slow = remote(STALL_TIMEOUT * 4);
    assert_eq!(slow.pages(1, 1).await.unwrap().unwrap(), [7; 32]);
    let dead = remote(DIGESTS_STALL_TIMEOUT * 2);
    let error = dead.pages(1, 1).await.unwrap_err();
    assert!(matches!(error, RemoteError::Offline(_)), "{error:?}");
    let error = slow.info().await.unwrap_err();
    assert!(matches!(error, RemoteError::Offline(_)), "{error:?}");
}
