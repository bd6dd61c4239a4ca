//! A node's side: the bytes that a hub, or whoever answers in its place, sends back.

use counterfoil_replica::env::HttpClient;
use counterfoil_replica::env::{BoxFuture, Dial, Execution, Io, OsFiles, SystemClock};
use counterfoil_replica::{BookReplica, CatalogReplica, OpenGate, Remote, Supersede};
use counterfoil_testkit::TempDir;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Ends an answer.
const END: &[u8] = b"\n\0\n";

/// Sales in the book.
const SALES: i64 = 3;

/// Answers to a pull of the catalog and to a push of the book, each with its head, one a connection.
/// The book keeps its sales, the catalog opens, and what was pulled before stays readable.
pub(crate) fn run(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let dir = TempDir::new("garbage-node");
        let (book_path, catalog_path) = (dir.join("book.db"), dir.join("catalog.db"));
        let open = (Arc::new(OsFiles), Execution::Inline);
        let book = BookReplica::open(&book_path, open.0.clone(), open.1).expect("a book");
        let catalog = CatalogReplica::open(&catalog_path, open.0.clone(), open.1);
        let catalog = catalog.expect("a catalog");
        let store = sell(&book_path).await;
        let answers = Arc::new(Answers::of(bytes));
        let remote = Remote::new(
            &HttpClient::new(answers, Arc::new(SystemClock)),
            "http://hub:1",
            None,
        );
        catalog.pull(&remote, &OpenGate).await.ok();
        catalog.pull(&remote, &OpenGate).await.ok();
        for supersede in [Supersede::Never, Supersede::Allowed] {
            book.push(&remote, &OpenGate, &|_| {}, supersede).await.ok();
        }
        let mut rows = store
            .query(
                "SELECT count(*), (SELECT * FROM pragma_integrity_check) FROM sale",
                (),
            )
            .await
            .expect("a book");
        let row = rows.next().await.expect("a book").expect("a row");
        assert_eq!(row.get::<i64>(0).ok(), Some(SALES), "a sale is missing");
        assert_eq!(row.get::<String>(1).ok().as_deref(), Some("ok"));
        drop(catalog);
        CatalogReplica::open(&catalog_path, open.0, open.1).ok();
    });
}

async fn sell(path: &Path) -> libsql::Connection {
    let database = libsql::Builder::new_local(path)
        .build()
        .await
        .expect("a book");
    let store = database.connect().expect("a book");
    store
        .query("PRAGMA wal_autocheckpoint=0", ())
        .await
        .expect("a book");
    store
        .execute("CREATE TABLE sale(id INTEGER PRIMARY KEY, note TEXT)", ())
        .await
        .expect("a table");
    for number in 0..SALES {
        let sql = "INSERT INTO sale(note) VALUES (?1)";
        store
            .execute(sql, [format!("sale {number}")])
            .await
            .expect("a sale");
    }
    store
}

/// Each connection is answered once and closed.
struct Answers(Mutex<VecDeque<Vec<u8>>>);

impl Answers {
    fn of(bytes: &[u8]) -> Self {
        let mut answers = VecDeque::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(END.len()).position(|window| window == END) {
            answers.push_back(rest[..at].to_vec());
            rest = &rest[at + END.len()..];
        }
        answers.push_back(rest.to_vec());
        Self(Mutex::new(answers))
    }
}

impl Dial for Answers {
    fn dial(&self, _host: &str, _port: u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let answer = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        Box::pin(async move {
            let answer = answer.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (here, mut there) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                // The whole head is there at once, and nobody cares what it says.
                if there.read(&mut request).await.is_ok() {
                    there.write_all(&answer).await.ok();
                    there.shutdown().await.ok();
                }
            });
            let io: Box<dyn Io> = Box::new(here);
            Ok(io)
        })
    }
}
