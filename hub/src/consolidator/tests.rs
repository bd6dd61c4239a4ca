//! What goes before what, told by the order of the runs that are noted.

use crate::limits::{CONSOLIDATE_ENTRIES_MAX, PUBLISH_ROWS_MAX};
use crate::{Hub, HubConfig, router};
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::item::{line_key, payment_key};
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::{Hlc, NodeId, Priority, Topic};
use counterfoil_migrate::{Connection, Kind, SqlError, open_and_migrate, params};
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::hub::{ShopAdded, book_path};
use counterfoil_protocol::wire::monitor::RunKind;
use counterfoil_replica::env::Env;
use counterfoil_replica::{BookReplica, OpenGate, Remote, Supersede};
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;
use tower::ServiceExt as _;

const TIME_MS: i64 = 1_700_000_000_000;

struct Shop {
    hub: Arc<Hub>,
    url: String,
    /// For looking, at any time.
    looks: Connection,
    catalog: Connection,
    dir: TempDir,
}

async fn post(hub: &Arc<Hub>, path: &str, body: &Value) -> Value {
    let token = &hub.admin_token;
    let request = http::Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .body(axum::body::Body::from(body.to_string()));
    let answer = router(Arc::clone(hub)).oneshot(request.unwrap());
    let answer = answer.await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    serde_json::from_slice(&body.unwrap()).unwrap()
}

impl Shop {
    async fn open() -> Self {
        let dir = TempDir::new("priorities");
        let data = dir.join("hub");
        let hub = Hub::open(HubConfig::new(&data), Env::system())
            .await
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // Without the consolidator: a test decides when it looks.
        let calls = router(Arc::clone(&hub));
        tokio::spawn(async { axum::serve(listener, calls).await.unwrap() });
        Self {
            hub,
            url,
            looks: Connection::open_read_only(data.join("hub.db")).unwrap(),
            catalog: Connection::open_read_only(data.join("catalog.db")).unwrap(),
            dir,
        }
    }

    /// A node whose book is here, and nobody has said so.
    async fn node(&self, number: u8, write: impl FnOnce(&Connection)) -> NodeId {
        let shop = json!({"name": "Leith", "existing": true});
        let added = post(&self.hub, "/v1/admin/shops", &shop).await;
        let added: ShopAdded = serde_json::from_value(added).unwrap();
        let secret = added.join_code.parse::<JoinCode>().unwrap().secret;
        let node = node_id(number);
        let token = format!("token of {number}");
        let hash = to_hex(&crate::secrets::hash(&token));

        let activation = json!({
            "node": node, "token_hash": hash,
            "admission": {"join_secret": secret}, "schemas": HubConfig::new("").schemas,
        });
        post(&self.hub, "/v1/activate", &activation).await;
        let (env, path) = (Env::system(), self.dir.join(&format!("{node}.db")));
        let replica = BookReplica::open(&path, Arc::clone(&env.files), env.execution).unwrap();
        let book = open_and_migrate(path, Kind::Book, TIME_MS).unwrap();
        book.transaction(|tx| -> Result<(), SqlError> {
            write(tx);
            Ok(())
        })
        .unwrap();
        let base = format!("{}{}", self.url, book_path(node));
        let remote = Remote::new(&env.http(), &base, Some(token));
        let pushed = replica.push(&remote, &OpenGate, &|_| {}, Supersede::Never);
        pushed.await.unwrap();
        self.hub.inbox.take();
        node
    }

    /// Number of the node and priority of each batch that moved entries, in their order.
    fn runs(&self) -> Vec<(u128, String)> {
        let mut batches = Vec::new();
        for run in self.hub.monitor.noted() {
            let node = run.node.filter(|_| run.kind == RunKind::Consolidate);
            if let Some(node) = node.filter(|_| run.rows > 0) {
                // Those that followed each other and were alike are one run.
                for _ in 0..run.requests {
                    batches.push((node.uuid().as_u128(), run.detail.clone()));
                }
            }
        }
        batches
    }

    fn receipts(&self) -> i64 {
        self.looks
            .query_value("SELECT count(*) FROM receipt", ())
            .unwrap()
    }

    fn versions(&self) -> i64 {
        let sql = "SELECT count(*) FROM field_version";
        self.looks.query_value(sql, ()).unwrap()
    }

    fn conflicts(&self) -> i64 {
        let sql = "SELECT count(*) FROM conflict";
        self.looks.query_value(sql, ()).unwrap()
    }

    fn revision(&self) -> i64 {
        let sql = "SELECT revision FROM catalog_state";
        self.catalog.query_value(sql, ()).unwrap()
    }
}

fn node_id(number: u8) -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(number.into()))
}

fn newest(book: &Connection) -> i64 {
    let sql = "SELECT coalesce(max(seq), 0) FROM journal";
    book.query_value(sql, ()).unwrap()
}

/// Movements of stock, as many, of one priority.
fn move_stock(book: &Connection, count: i64, priority: Priority) {
    let after = newest(book);
    let sql = "WITH RECURSIVE n (seq) AS (SELECT ?1 + 1 UNION ALL SELECT seq + 1 FROM n
                   WHERE seq < ?1 + ?2)
               INSERT INTO journal (seq, id, hlc, topic, priority, chain)
               SELECT seq, randomblob(16), (?3 + seq) << 16, ?4, ?5, randomblob(32) FROM n";
    let (topic, priority) = (Topic::StockMovement.code(), priority.code());
    book.execute(sql, params![after, count, TIME_MS, topic, priority])
        .unwrap();
    let sql = "INSERT INTO stock_movement (seq, sku, quantity_milli, reason, at_ms)
               SELECT seq, 'TEA', 1000, 'delivery', ?2 FROM journal WHERE seq > ?1";
    book.execute(sql, params![after, TIME_MS]).unwrap();
}

/// One product after the other.
fn edit_products(book: &Connection, count: i64) {
    let sql = "WITH RECURSIVE n (seq) AS (SELECT ?1 + 1 UNION ALL SELECT seq + 1 FROM n
                   WHERE seq < ?1 + ?2)
               INSERT INTO journal (seq, id, hlc, topic, priority, chain, payload)
               SELECT seq, randomblob(16), (?3 + seq) << 16, ?4, ?5, randomblob(32),
                   json_object('table', 'products', 'row', 'P' || seq, 'columns',
                       json_object('name', 'tea ' || seq), 'base', json_object(),
                       'base_revision', 0) FROM n";
    let (topic, priority) = (Topic::CatalogEdit.code(), Priority::Normal.code());
    let params = params![newest(book), count, TIME_MS, topic, priority];
    book.execute(sql, params).unwrap();
}

/// The first entry of a book: a new name of one product, on top of others.
fn rename(book: &Connection, hlc: Hlc, on: &[Stamp]) {
    let edit = json!({"table": "products", "row": "TEA", "columns": {"name": hlc.to_string()},
        "base": {"name": on}, "base_revision": 0});
    edit_at(book, hlc, &edit);
}

/// The first entry of a book: an edit.
fn edit_at(book: &Connection, hlc: Hlc, edit: &Value) {
    let sql = "INSERT INTO journal (seq, id, hlc, topic, priority, chain, payload)
               VALUES (1, randomblob(16), ?1, ?2, ?3, randomblob(32), ?4)";
    let (topic, priority) = (Topic::CatalogEdit.code(), Priority::Normal.code());
    book.execute(sql, params![hlc.raw(), topic, priority, edit.to_string()])
        .unwrap();
}

fn sell(book: &Connection) {
    let seq = newest(book) + 1;
    let sql = "INSERT INTO journal (seq, id, hlc, topic, priority, chain, trial, series, number,
                   at_ms, currency, total_minor)
               VALUES (?1, randomblob(16), (?2 + ?1) << 16, 1, 1, randomblob(32), 0, 'L1', 1,
                   ?2, 'GBP', 255)";
    book.execute(sql, params![seq, TIME_MS]).unwrap();
    let sql = "INSERT INTO receipt_item (key, sku, description, quantity_milli, unit_price_mills,
                   amount_minor, tender)
               VALUES (?1, 'TEA', 'tea', 1000, 2550, 255, NULL),
                      (?2, NULL, NULL, NULL, NULL, 255, 'cash')";
    book.execute(sql, params![line_key(seq, 1), payment_key(seq, 1)])
        .unwrap();
}

/// A pass that others look at: after each of its steps they have their turn.
struct Watched<'s> {
    shop: &'s Shop,
    is_over: Cell<bool>,
}

impl<'s> Watched<'s> {
    fn new(shop: &'s Shop) -> Self {
        let is_over = Cell::new(false);
        Self { shop, is_over }
    }

    async fn run(&self, node: NodeId) {
        self.shop.hub.consolidate([node].into()).await.unwrap();
        self.is_over.set(true);
    }

    async fn until(&self, happened: impl Fn() -> bool) {
        while !happened() {
            assert!(!self.is_over.get(), "it did not happen in this pass");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_sale_waits_for_one_batch_of_a_backlog_and_its_own_tills_stock_waits_for_the_next_pass() {
    let shop = Shop::open().await;
    let busy = shop
        .node(1, |book| {
            move_stock(book, 3 * CONSOLIDATE_ENTRIES_MAX, Priority::Normal);
            move_stock(book, 2 * CONSOLIDATE_ENTRIES_MAX, Priority::Low);
        })
        .await;
    let selling = shop
        .node(2, |book| {
            move_stock(book, CONSOLIDATE_ENTRIES_MAX + 1, Priority::Normal);
            sell(book);
        })
        .await;
    let pass = Watched::new(&shop);
    let sale = async {
        pass.until(|| !shop.runs().is_empty()).await;
        shop.hub.inbox.wake(selling);
    };
    tokio::join!(pass.run(busy), sale);
    let runs = shop.runs();
    let sold = runs
        .iter()
        .position(|run| *run == (2, "high".into()))
        .unwrap();
    assert!((1..=2).contains(&sold), "{runs:?}");
    assert_eq!(runs.len(), 6, "{runs:?}");
    assert!(runs[3..].iter().all(|(lane, _)| *lane == 1), "{runs:?}");
    assert_eq!(shop.receipts(), 1);

    shop.hub
        .consolidate(shop.hub.inbox.take_all())
        .await
        .unwrap();
    let runs = shop.runs();
    assert_eq!(runs[6..], [(2, "normal".into()), (2, "normal".into())]);
    let documents: i64 = shop
        .looks
        .query_value("SELECT count(*) FROM document", ())
        .unwrap();
    assert_eq!(documents, 6 * CONSOLIDATE_ENTRIES_MAX + 1);
}

#[tokio::test]
async fn a_sale_waits_for_one_publication_of_a_backlog() {
    let shop = Shop::open().await;
    let rows = i64::try_from(PUBLISH_ROWS_MAX).unwrap();
    let renaming = shop.node(1, |book| edit_products(book, 3 * rows)).await;
    let selling = shop.node(2, sell).await;
    a_sale_goes_between(&shop, renaming, selling, || shop.revision() > 0).await;
}

/// A till pushes a sale at some time of a pass over another; it waits for one publication of several.
async fn a_sale_goes_between(
    shop: &Shop,
    renaming: NodeId,
    selling: NodeId,
    is_time: impl Fn() -> bool,
) {
    let pass = Watched::new(shop);
    let sale = async {
        pass.until(is_time).await;
        shop.hub.inbox.wake(selling);
        pass.until(|| shop.receipts() == 1).await;
        shop.revision()
    };
    let ((), at_the_sale) = tokio::join!(pass.run(renaming), sale);
    assert!(at_the_sale < shop.revision(), "{at_the_sale}");
    assert!(at_the_sale <= 2, "{at_the_sale}");
}

#[tokio::test]
async fn nodes_of_one_priority_take_turns() {
    let shop = Shop::open().await;
    let mut nodes = Vec::new();
    for number in 1..=2 {
        let write = |book: &Connection| {
            move_stock(book, 2 * CONSOLIDATE_ENTRIES_MAX, Priority::Normal);
        };
        nodes.push(shop.node(number, write).await);
    }
    let nodes = nodes.into_iter().collect();
    shop.hub.consolidate(nodes).await.unwrap();
    let lanes: Vec<_> = shop.runs().into_iter().map(|(node, _)| node).collect();
    assert_eq!(lanes, [1, 2, 1, 2]);
}

/// It pushes when the only batch of the pass is through, before anything of it is published.
#[tokio::test]
async fn a_sale_that_comes_with_the_last_batch_waits_for_one_publication() {
    let shop = Shop::open().await;
    let renaming = shop
        .node(1, |book| edit_products(book, CONSOLIDATE_ENTRIES_MAX))
        .await;
    let selling = shop.node(2, sell).await;
    a_sale_goes_between(&shop, renaming, selling, || shop.versions() > 0).await;
}

#[tokio::test]
async fn a_backlog_that_fills_its_last_batch_is_told_through_when_sales_behind_it_went_first() {
    let shop = Shop::open().await;
    let node = shop
        .node(1, |book| {
            move_stock(book, CONSOLIDATE_ENTRIES_MAX, Priority::Normal);
            sell(book);
        })
        .await;
    for priority in [Priority::High, Priority::Normal] {
        shop.hub.step(node, priority).await.unwrap();
    }
    shop.hub.consolidate_everything().await.unwrap();
    let sql = "SELECT count(*), min(seq) FROM watermark";
    let marks = shop
        .looks
        .query_row(sql, (), |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)));
    assert_eq!(marks.unwrap(), (4, CONSOLIDATE_ENTRIES_MAX + 1));
}

#[tokio::test]
async fn names_that_follow_each_other_are_no_conflict_in_whatever_order_they_come() {
    let shop = Shop::open().await;
    let [first, second, third] = [1, 2, 3].map(|n| Hlc::at_millis(TIME_MS + n));
    // The one between the two others is looked at last.
    let earliest = shop.node(1, |book| rename(book, first, &[])).await;
    let on = [Stamp::new(second, node_id(3))];
    let latest = shop.node(2, |book| rename(book, third, &on)).await;
    let on = [Stamp::new(first, earliest)];
    let between = shop.node(3, |book| rename(book, second, &on)).await;
    let pass = [earliest, latest, between].into();
    shop.hub.consolidate(pass).await.unwrap();
    assert_eq!((shop.versions(), shop.conflicts()), (3, 0));

    // Another one that knows of none of them is one conflict, with what they have come to.
    let alone = Hlc::at_millis(TIME_MS + 4);
    let lonely = shop.node(4, |book| rename(book, alone, &[])).await;
    shop.hub.consolidate([lonely].into()).await.unwrap();
    assert_eq!((shop.versions(), shop.conflicts()), (4, 1));
    let name: String = shop
        .catalog
        .query_value("SELECT name FROM products WHERE id = 'TEA'", ())
        .unwrap();
    assert_eq!(name, alone.to_string());
}

#[tokio::test]
async fn an_edit_of_another_shops_row_is_told_with_the_pass_that_puts_it_aside() {
    let shop = Shop::open().await;
    let owner = post(&shop.hub, "/v1/admin/shops", &json!({"name": "Crail"})).await;
    let owner = serde_json::from_value::<ShopAdded>(owner).unwrap().shop_id;
    let claim = json!({"columns": {"shop": owner}});
    post(&shop.hub, "/v1/admin/catalog/prices/P1", &claim).await;
    let edit = json!({"table": "prices", "row": "P1", "columns": {"price_mills": 5},
        "base": {"price_mills": []}, "base_revision": 0});
    // Whose it is counts from the claim on.
    let at = Hlc::at_millis(shop.hub.now_ms() + 1);
    let other = shop.node(1, |book| edit_at(book, at, &edit)).await;
    shop.hub.consolidate([other].into()).await.unwrap();
    let told: i64 = shop
        .looks
        .query_value(
            "SELECT count(*) FROM alert WHERE kind = 'quarantine_not_empty'",
            (),
        )
        .unwrap();
    assert_eq!(told, 1);
}
