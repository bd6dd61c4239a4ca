//! The store against libSQL on temporary files.

mod aliases;
mod catalog;
mod changes;
mod closure;
mod delivery;
mod employees;
mod escrow;
mod fence;
mod identity;
mod journal;
mod layout;
mod mesh;
mod migrated;
mod operations;
mod parked;
mod peers;
mod pins;
mod reconcile;
mod refunds;
mod stock;
mod stock_kin;

use counterfoil_domain::{Document, DocumentId, HubId, ShopId};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_protocol::wire::hub::{ActivateAnswer, Admission};
use counterfoil_protocol::wire::node::{LineRequest, ReceiptRequest, Recorded};
use counterfoil_shop_store::record::Entry;
use counterfoil_shop_store::{Paths, PendingActivation, ShopStore, StoreError};
use counterfoil_testkit::{SeededRandom, TempDir};
use std::path::Path;
use std::sync::Arc;

pub(crate) const NOW_MS: i64 = 1_291_192_000_000;

pub(crate) struct Till {
    pub(crate) dir: TempDir,
    pub(crate) store: Option<ShopStore>,
    seed: u64,
}

impl Till {
    pub(crate) fn new(name: &str) -> Self {
        let mut till = Self {
            dir: TempDir::new(name),
            store: None,
            seed: 1,
        };
        till.open();
        till
    }

    /// A copy of the folder, that goes on by itself.
    pub(crate) fn copied(&mut self, name: &str) -> Self {
        self.store = None;
        let (dir, seed) = (TempDir::new(name), self.seed * 1000);
        for entry in std::fs::read_dir(self.dir.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), dir.join(&entry.file_name().to_string_lossy()))
                .expect("copied");
        }
        self.open();
        let store = None;
        let mut copy = Self { dir, store, seed };
        copy.open();
        copy
    }

    pub(crate) fn open(&mut self) {
        self.store = None;
        self.seed += 1;
        let random = Arc::new(SeededRandom::new(self.seed));
        let paths = Paths::of(self.dir.path());
        self.store = Some(ShopStore::open(&paths, NOW_MS, random).expect("the node opens"));
    }

    pub(crate) fn store(&mut self) -> &mut ShopStore {
        self.store.as_mut().expect("open")
    }

    pub(crate) fn sell(&mut self, id: Option<DocumentId>, now_ms: i64) -> Recorded {
        let document = sale(self.store(), "2", now_ms);
        self.store()
            .record(Entry {
                id,
                document,
                now_ms,
            })
            .expect("recorded")
    }

    pub(crate) fn activate(&mut self, shop: u128) -> Result<(), StoreError> {
        self.activate_in(shop, None)
    }

    /// By a hub that says which epoch this till has.
    pub(crate) fn activate_in(&mut self, shop: u128, epoch: Option<i64>) -> Result<(), StoreError> {
        let answer = ActivateAnswer {
            hub: HubId::from_uuid(uuid::Uuid::from_u128(9)),
            shop: ShopId::from_uuid(uuid::Uuid::from_u128(shop)),
            shop_name: "France".to_owned(),
            lane: 1,
            epoch,
        };
        let used = PendingActivation {
            hub_url: "http://hub".to_owned(),
            admission: Admission::JoinSecret("secret".to_owned()),
        };
        self.store().finish_activation(&answer, &used, NOW_MS)
    }

    /// Runs statements against a database of the till with a connection of its own.
    pub(crate) fn elsewhere(&self, file: &str, sql: &str) {
        run(&self.dir.join(file), sql);
    }

    /// The catalog is downloaded anew: while it is detached it becomes what the statements make of it.
    pub(crate) fn swap(&mut self, sql: &str) {
        let path = self.dir.join("catalog.db");
        let swapped = self.store().swap_catalog(|| run(&path, sql));
        swapped.expect("swapped");
    }
}

fn run(path: &Path, sql: &str) {
    let conn = Connection::open(path, Durability::Full).expect("opens");
    conn.execute_batch(sql).expect("runs");
    conn.abandon();
}

pub(crate) fn sale(store: &ShopStore, quantity: &str, now_ms: i64) -> Document {
    let request = ReceiptRequest {
        id: None,
        lines: vec![LineRequest {
            sku: "tea".to_owned(),
            quantity: quantity.to_owned(),
            unit_price: Some("2.55".to_owned()),
            description: None,
        }],
        tender: "cash".to_owned(),
        customer: None,
        employee: None,
        refund_of: None,
        parked: None,
    };
    store
        .draft_receipt(&request, false, now_ms)
        .expect("a sale")
}
