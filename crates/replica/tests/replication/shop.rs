//! A book that sells, and a hub it pushes to.

use std::{path::PathBuf, sync::Arc};

use counterfoil_replica::{
    BookReplica, CopyKind, LocalCheckpoint, OpenGate, PushError, PushReport, Remote, Supersede,
    WalLimits, env::Execution,
};
use tempfile::TempDir;

use crate::{
    server::Hub,
    support::{assert_same_content, connect, create_sales, files, folder, sell, sell_at_once},
};

pub(crate) struct Shop {
    pub(crate) folder: TempDir,
    pub(crate) hub: Arc<Hub>,
    pub(crate) remote: Remote,
    pub(crate) book: BookReplica,
    pub(crate) store: libsql::Connection,
    pub(crate) sold: usize,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_with(Execution::Threads).await
    }

    pub(crate) async fn open_with(execution: Execution) -> Self {
        let folder = folder();
        let hub = Hub::start(&folder.path().join("copy.db"), CopyKind::Pushed).await;
        let path = folder.path().join("book.db");
        let book = BookReplica::open(&path, files(), execution).unwrap();
        let store = connect(&path).await;
        create_sales(&store).await;
        let remote = hub.remote();
        Self {
            folder,
            hub,
            remote,
            book,
            store,
            sold: 0,
        }
    }

    pub(crate) fn book_path(&self) -> PathBuf {
        self.folder.path().join("book.db")
    }

    pub(crate) fn copy_path(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    pub(crate) async fn sell(&mut self, count: usize) {
        sell(&self.store, count).await;
        self.sold += count;
    }

    pub(crate) async fn sell_at_once(&mut self, count: usize) {
        sell_at_once(&self.store, count).await;
        self.sold += count;
    }

    pub(crate) async fn try_push(&self) -> Result<PushReport, PushError> {
        self.push_with(Supersede::Allowed).await
    }

    pub(crate) async fn push_with(&self, supersede: Supersede) -> Result<PushReport, PushError> {
        self.book
            .push(&self.remote, &OpenGate, &|_| {}, supersede)
            .await
    }

    pub(crate) async fn push(&self) -> PushReport {
        let report = self.try_push().await.unwrap();
        assert_same_content(&self.book_path(), &self.copy_path(), self.sold).await;
        let info = self.hub.on_copy(counterfoil_replica::Copy::info).unwrap();
        if info.generation == report.generation {
            assert_eq!(info.max_frame_no, report.max_frame_no);
        }
        report
    }

    pub(crate) async fn checkpoint(&self) -> LocalCheckpoint {
        self.book
            .checkpoint_if_over(&OpenGate, WalLimits::acknowledged_bytes(0))
            .await
            .unwrap()
    }

    /// Closes everything that is open on the book, and opens it again.
    pub(crate) async fn restart(self, meanwhile: impl AsyncFnOnce(PathBuf)) -> Self {
        let path = self.book_path();
        let Self {
            folder,
            hub,
            remote,
            book,
            store,
            sold,
        } = self;
        drop(store);
        drop(book);
        meanwhile(path.clone()).await;
        let book = BookReplica::open(&path, files(), Execution::Threads).unwrap();
        let store = connect(&path).await;
        Self {
            folder,
            hub,
            remote,
            book,
            store,
            sold,
        }
    }
}
