//! The stock client against the hub itself: its credentials, its addresses, its consolidator running
//! beside, and the catalog that it publishes.

use crate::stock_at;
use crate::support::{assert_same_content, create_sales, folder, sell, sell_at_once};
use counterfoil_domain::NodeId;
use counterfoil_hub::service::{Tcp, serve};
use counterfoil_hub::{DataDir, Hub, HubConfig};
use counterfoil_protocol::wire::hub::{
    ACTIVATE_PATH, ActivateRequest, Admission, CATALOG_PATH, CatalogSetRequest, book_path,
};
use counterfoil_replica::env::{Env, HttpRequest};
use http::{HeaderMap, Method, header};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: &str = "cf_stock";

struct RealHub {
    folder: TempDir,
    url: String,
    node: NodeId,
}

impl RealHub {
    /// A hub with one node, whose book a stock client is going to be.
    async fn start() -> Self {
        let folder = folder();
        let hub = Hub::open(HubConfig::new(folder.path()), Env::system())
            .await
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(hub, Tcp(listener), std::future::pending()));
        let hub = Self {
            folder,
            url,
            node: NodeId::from_uuid(Uuid::from_u128(7)),
        };
        let token_hash = Sha256::digest(TOKEN)
            .iter()
            .fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            });
        let request = ActivateRequest {
            node: hub.node,
            token_hash,
            admission: Admission::Registration {
                name: "Stock".to_owned(),
                phone: "1".to_owned(),
                email: None,
            },
            schemas: HubConfig::new("").schemas,
            first: true,
            formerly: None,
        };
        hub.post(ACTIVATE_PATH, None, &request).await;
        hub
    }

    async fn post<B: Serialize>(&self, path: &str, token: Option<&str>, body: &B) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        if let Some(token) = token {
            headers.insert(
                header::AUTHORIZATION,
                format!("Bearer {token}").parse().unwrap(),
            );
        }
        let request = HttpRequest {
            method: Method::POST,
            url: format!("{}{path}", self.url),
            headers,
            body: serde_json::to_vec(body).unwrap().into(),
            timeout: Duration::from_secs(120),
            response_bytes_max: 1_000_000,
        };
        let response = Env::system().http().send(request).await.unwrap();
        assert!(response.status.is_success(), "{path}: {response:?}");
    }

    fn book(&self) -> String {
        format!("{}{}", self.url, book_path(self.node))
    }

    fn book_file(&self) -> std::path::PathBuf {
        self.folder
            .path()
            .join("books")
            .join(format!("{}.db", self.node))
    }

    /// Renames a product at the hub, which publishes it.
    async fn rename(&self, name: &str) {
        let admin = DataDir::new(self.folder.path())
            .existing_token()
            .unwrap()
            .unwrap();
        let columns = [("name".to_owned(), Some(name.to_owned()))].into();
        let path = "/v1/admin/catalog/products/TEA";
        self.post(path, Some(&admin), &CatalogSetRequest { columns, by: None })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_pushes_to_the_hub_and_a_second_one_bootstraps_from_it() {
    let hub = RealHub::start().await;
    let (mine, other) = (folder(), folder());
    let one = mine.path().join("one.db");
    let (database, connection) = stock_at(&one, &hub.book(), TOKEN).await;
    create_sales(&connection).await;
    sell(&connection, 3000).await;
    sell_at_once(&connection, 8000).await;
    database.sync().await.unwrap();
    assert_same_content(&one, &hub.book_file(), 11_000).await;
    let two = other.path().join("two.db");
    let (replica, _connection) = stock_at(&two, &hub.book(), TOKEN).await;
    replica.sync().await.unwrap();
    assert_same_content(&one, &two, 11_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_without_the_right_token_is_refused() {
    let hub = RealHub::start().await;
    let mine = folder();
    let build = libsql::Builder::new_synced_database(
        mine.path().join("one.db"),
        hub.book(),
        "cf_wrong".to_owned(),
    );
    let database = build
        .connector(hyper_014::client::HttpConnector::new())
        .build()
        .await;
    // The stock client may first speak to the hub when it is built or when it syncs.
    let error = match database {
        Ok(database) => database.sync().await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(
        error.contains("401") || error.contains("unauthorized"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_follows_the_catalog_that_the_hub_publishes() {
    let hub = RealHub::start().await;
    hub.rename("Tea").await;
    let mine = folder();
    let catalog = format!("{}{CATALOG_PATH}", hub.url);
    let (replica, connection) = stock_at(&mine.path().join("catalog.db"), &catalog, TOKEN).await;
    for name in ["Tea", "Chai", "Masala"] {
        hub.rename(name).await;
        replica.sync().await.unwrap();
        let sql = "SELECT name FROM products WHERE id = 'TEA'";
        let mut rows = connection.query(sql, ()).await.unwrap();
        let row = rows.next().await.unwrap().unwrap();
        assert_eq!(row.get::<String>(0).unwrap(), name);
    }
}
