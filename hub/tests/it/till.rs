//! A till of a test: a real book with right chain values, pushed by the real replica.

use crate::hub::{Client, parse};
use counterfoil_domain::document::{Line, Payment, Receipt, StockMovement, Tender};
use counterfoil_domain::env::{document_id, uuid_v7};
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::journal::EntryHead;
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{
    CatalogEdit, Chain, Document, DocumentId, Hlc, HlcClock, ImportId, NodeId, Quantity, Scalar,
    UnitPrice,
};
use counterfoil_hub::HubConfig;
use counterfoil_migrate::{Connection, Kind, open_and_migrate_to};
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::hub::{ActivateAnswer, HelloAnswer, book_path};
use counterfoil_replica::env::{Env, HttpResponse};
use counterfoil_replica::{BookReplica, OpenGate, PushError, PushReport, Remote, Supersede};
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::json;
use std::sync::Arc;

/// What a till of today knows.
pub(crate) fn schemas() -> Schemas {
    HubConfig::new("").schemas
}

pub(crate) const TIME_MS: i64 = 1_700_000_000_000;

/// See the module.
pub(crate) struct Till {
    pub(crate) id: NodeId,
    pub(crate) token: String,
    pub(crate) book: Connection,
    pub(crate) replica: BookReplica,
    _dir: TempDir,
    pub(crate) seq: i64,
    pub(crate) chain: Chain,
    clock: HlcClock,
    random: SeededRandom,
    env: Env,
    /// What its clock says, for tests that care.
    pub(crate) at_ms: Option<i64>,
    /// The import that makes its entries.
    pub(crate) import: Option<ImportId>,
}

impl Till {
    pub(crate) fn new(seed: u64) -> Self {
        Self::at_version(seed, Kind::Book.schema_version())
    }

    /// A till whose program knows the schema up to a version.
    fn at_version(seed: u64, version: i32) -> Self {
        let (dir, env, random) = (TempDir::new("till"), Env::system(), SeededRandom::new(seed));
        let path = dir.join("book.db");
        let files = Arc::clone(&env.files);
        let replica = BookReplica::open(&path, files, env.execution).unwrap();
        let book = open_and_migrate_to(&path, Kind::Book, version, TIME_MS).unwrap();
        let id = NodeId::from_uuid(uuid_v7(TIME_MS, &random));
        let token = format!("token-of-{id}");
        let (seq, chain, clock) = (0, Chain::START, HlcClock::default());
        Self {
            id,
            token,
            book,
            replica,
            _dir: dir,
            seq,
            chain,
            clock,
            random,
            env,
            at_ms: None,
            import: None,
        }
    }

    /// A till that is bound to a shop.
    pub(crate) async fn of(client: &Client, shop: &str, seed: u64) -> Self {
        Self::of_version(client, shop, seed, Kind::Book.schema_version()).await
    }

    /// A till of an older program.
    pub(crate) async fn of_version(client: &Client, shop: &str, seed: u64, version: i32) -> Self {
        let till = Self::at_version(seed, version);
        let code = client.code(shop).await.join_code;
        parse::<ActivateAnswer>(&till.activate(client, &code).await);
        till
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.env.clock.now_ms()
    }

    pub(crate) fn token_hash(&self) -> String {
        use sha2::Digest as _;
        let bytes = sha2::Sha256::digest(self.token.as_bytes());
        to_hex(&bytes)
    }

    pub(crate) async fn activate(&self, client: &Client, code: &str) -> HttpResponse {
        let secret = code.parse::<JoinCode>().unwrap().secret;
        let body = json!({
            "node": self.id,
            "token_hash": self.token_hash(),
            "admission": { "join_secret": secret },
            "schemas": schemas(),
        });
        client.post("/v1/activate", None, &body).await
    }

    pub(crate) async fn hello(&self, client: &Client) -> HelloAnswer {
        self.hello_at(client, self.now_ms()).await
    }

    /// A hello whose clock says something of its own.
    pub(crate) async fn hello_at(&self, client: &Client, now_ms: i64) -> HelloAnswer {
        self.say_hello(client, schemas(), now_ms).await
    }

    /// A hello of a program that knows these schemas.
    pub(crate) async fn hello_as(&self, client: &Client, schemas: Schemas) -> HelloAnswer {
        self.say_hello(client, schemas, self.now_ms()).await
    }

    async fn say_hello(&self, client: &Client, schemas: Schemas, now_ms: i64) -> HelloAnswer {
        let body = json!({
            "schemas": schemas,
            "catalog_revision": 0,
            "now_ms": now_ms,
            "book_seq": self.seq,
        });
        parse(&client.post("/v1/hello", Some(&self.token), &body).await)
    }

    pub(crate) async fn push(&self, client: &Client) -> Result<PushReport, PushError> {
        let base = format!("{}{}", client.url, book_path(self.id));
        let remote = Remote::new(&self.env.http(), &base, Some(self.token.clone()));
        self.replica
            .push(&remote, &OpenGate, &|_| {}, Supersede::Allowed)
            .await
    }

    pub(crate) fn next_id(&self) -> DocumentId {
        document_id(TIME_MS + self.seq, &self.random)
    }

    /// Writes an entry and its rows in one transaction.
    pub(crate) fn record(&mut self, document: &Document) -> (i64, DocumentId, Hlc) {
        let id = self.next_id();
        self.record_as(document, id)
    }

    pub(crate) fn record_as(
        &mut self,
        document: &Document,
        id: DocumentId,
    ) -> (i64, DocumentId, Hlc) {
        let (seq, topic) = (self.seq + 1, document.topic());
        let hlc = self.clock.tick(self.at_ms.unwrap_or(TIME_MS + seq));
        let head = EntryHead {
            seq,
            id,
            hlc,
            topic,
        };
        let chain = self.chain.next(&head, &document.canonical());
        let entered = (&chain, self.import);
        self.book
            .transaction(|tx| counterfoil_book::insert(tx, &head, document, entered))
            .unwrap();
        (self.seq, self.chain) = (seq, chain);
        (seq, id, hlc)
    }

    /// A sale of `lines` lines; its total in minor units.
    pub(crate) fn sell(&mut self, lines: usize) -> i64 {
        let receipt = self.receipt(lines);
        let total = receipt.total_minor;
        self.record(&Document::Sale(receipt));
        total
    }

    pub(crate) fn receipt(&self, lines: usize) -> Receipt {
        let lines: Vec<_> = (0..lines)
            .map(|index| {
                let mills = 1_250 + i64::try_from(index).unwrap() * 10;
                let (quantity, unit_price) = (Quantity { milli: 2_000 }, UnitPrice { mills });
                Line::new(&format!("sku{index}"), "tea, loose", quantity, unit_price).unwrap()
            })
            .collect();
        let total_minor = lines.iter().map(|line| line.amount_minor).sum();
        Receipt {
            trial: false,
            series: "L1".to_owned(),
            number: self.seq + 1,
            at_ms: self.at_ms.unwrap_or(TIME_MS + self.seq),
            currency: "GBP".parse().unwrap(),
            total_minor,
            customer: None,
            employee: None,
            refund_of: None,
            external_ref: None,
            parked: None,
            lines,
            payments: vec![Payment {
                tender: Tender::Cash,
                amount_minor: total_minor,
            }],
        }
    }

    /// A refund of one line; its place in the journal.
    pub(crate) fn take_back(&mut self, refund_of: Option<DocumentId>) -> (i64, DocumentId) {
        let mut receipt = self.receipt(1);
        for line in &mut receipt.lines {
            line.quantity.milli = -line.quantity.milli;
            line.amount_minor = -line.amount_minor;
        }
        receipt.total_minor = -receipt.total_minor;
        receipt.payments[0].amount_minor = receipt.total_minor;
        receipt.refund_of = refund_of;
        let (seq, id, _) = self.record(&Document::Refund(receipt));
        (seq, id)
    }

    pub(crate) fn move_stock(&mut self, milli: i64) {
        self.record(&Document::StockMovement(StockMovement {
            sku: "TEA".to_owned(),
            quantity: Quantity { milli },
            reason: "delivery".to_owned(),
            at_ms: TIME_MS,
            external_ref: None,
        }));
    }

    /// An edit of one column of a product; its stamp.
    pub(crate) fn edit(&mut self, row: &str, set: (&str, Scalar), base: &[Stamp]) -> Stamp {
        self.edit_in("products", row, set, base)
    }

    /// An edit of one column of any table; its stamp.
    pub(crate) fn edit_in(
        &mut self,
        table: &str,
        row: &str,
        set: (&str, Scalar),
        base: &[Stamp],
    ) -> Stamp {
        let (column, value) = set;
        let edit = CatalogEdit {
            table: table.to_owned(),
            row: row.to_owned(),
            columns: [(column.to_owned(), value)].into(),
            base: [(column.to_owned(), base.to_vec())].into(),
            base_revision: 0,
            decision: None,
            at_ms: self.at_ms,
        };
        let (_, _, hlc) = self.record(&Document::CatalogEdit(edit));
        Stamp::new(hlc, self.id)
    }

    /// Takes note of a logical time, as with a catalog that was pulled.
    pub(crate) fn observe(&mut self, seen: Hlc) {
        self.clock.observe(seen);
    }

    /// Changes a stored value, as no till ever does.
    pub(crate) fn tamper(&self, sql: &str) {
        self.book.execute(sql, ()).unwrap();
    }
}
