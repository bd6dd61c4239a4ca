//! A till and a hub, the real ones, on disks in memory and in one thread.

use crate::disk::{Image, MemoryDisk, Mounted};
use crate::tape::{Fact, Side, Tape};
use crate::vault::vault;
use crate::wire::{MemoryDial, wire};
use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use counterfoil_domain::env::document_id;
use counterfoil_hub::{HubConfig, Registration};
use counterfoil_protocol::wire::hub::{
    CatalogSetAnswer, CatalogSetRequest, HubStatus, ShopAddRequest, ShopAdded,
};
use counterfoil_protocol::wire::node::{
    ActivateCommand, CatalogDigest, LineRequest, NodeStatus, ReceiptRequest, ReceiptRow, Recorded,
};
use counterfoil_replica::env::{Env, Execution, Files, HttpRequest};
use counterfoil_replica::vfs::{Disk, mount};
use counterfoil_shop_node::config::Config;
use counterfoil_shop_node::credentials::Keyring;
use counterfoil_shop_node::node::{Node, NodeOptions};
use counterfoil_shop_node::{activation, api, sync};
use counterfoil_testkit::{ManualClock, SeededRandom};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

/// When every world begins: 2026-01-05T08:00:00Z.
const NOW_MS: i64 = 1_767_600_000_000;
/// Where the hub is said to be.
const HUB_URL: &str = "http://hub:8700";
/// Largest answer of the hub.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the two disks hold.
#[derive(Clone, Default, Debug)]
pub struct Images {
    /// The till's.
    pub node: Image,
    /// The hub's.
    pub hub: Image,
}

/// Settings that a scenario needs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// WAL limit of the node in MiB; 0 folds at every sync.
    pub node_wal_limit_mib: u64,
    /// WAL limit of the hub in bytes; 0 begins a generation after every push.
    pub hub_wal_limit_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_wal_limit_mib: 64,
            hub_wal_limit_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Where disks are mounted. The folder is real: locks of migrations and the hub's own token stand there, which a
/// power cut in this test does not touch.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

impl Place {
    /// A place in a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub(crate) fn of(&self, side: Side) -> PathBuf {
        self.0.join(match side {
            Side::Node => "node",
            Side::Hub => "hub",
        })
    }

    /// The real path of a file.
    #[must_use]
    pub fn path(&self, side: Side, name: &str) -> PathBuf {
        self.of(side).join(name)
    }

    /// Mounts a disk with an image.
    #[must_use]
    pub fn insert(&self, side: Side, image: Image, tape: Option<Tape>) -> Arc<MemoryDisk> {
        let root = self.of(side);
        let disk = Arc::new(MemoryDisk::new(root.clone(), side, image, tape));
        let mounted: Arc<dyn Disk> = Arc::new(Mounted(Arc::clone(&disk)));
        mount(&root, mounted);
        disk
    }
}

/// See the module. Dropped, it ends as a process does that is killed.
pub struct World {
    place: Place,
    settings: Settings,
    tape: Tape,
    luck: Arc<SeededRandom>,
    clock: Arc<ManualClock>,
    dial: Option<MemoryDial>,
    /// The till's disk.
    pub node_disk: Arc<MemoryDisk>,
    /// The hub's disk.
    pub hub_disk: Arc<MemoryDisk>,
    node: Option<Node>,
    hub: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// Inserts the disks; nothing runs yet.
    #[must_use]
    pub fn new(
        place: &Place,
        settings: Settings,
        images: Images,
        tape: Option<Tape>,
        seed: u64,
    ) -> Self {
        counterfoil_replica::vfs::register_deterministic(seed);
        counterfoil_replica::vfs::set_time_ms(NOW_MS);
        Self {
            place: place.clone(),
            settings,
            tape: tape.clone().unwrap_or_default(),
            luck: Arc::new(SeededRandom::new(seed)),
            clock: Arc::new(ManualClock::at(NOW_MS)),
            dial: None,
            node_disk: place.insert(Side::Node, images.node, tape.clone()),
            hub_disk: place.insert(Side::Hub, images.hub, tape),
            node: None,
            hub: None,
        }
    }

    /// Both disks as they are now, synced or not.
    #[must_use]
    pub fn images(&self) -> Images {
        Images {
            node: self.node_disk.image(),
            hub: self.hub_disk.image(),
        }
    }

    fn env(&self, disk: &Arc<MemoryDisk>, dial: MemoryDial) -> Env {
        let files: Arc<dyn Files> = Arc::clone(disk) as Arc<dyn Files>;
        Env {
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.luck) as _,
            files,
            dial: Arc::new(dial),
            execution: Execution::Inline,
        }
    }

    /// Starts the hub's daemon.
    pub fn start_hub(&mut self) {
        let (dial, listener) = wire();
        let env = self.env(&self.hub_disk, dial.clone());
        self.dial = Some(dial);
        let config = HubConfig {
            public_url: HUB_URL.parse().ok(),
            registration: Registration::Open,
            wal_limit_bytes: self.settings.hub_wal_limit_bytes,
            ..HubConfig::new(self.place.of(Side::Hub))
        };
        self.hub = Some(tokio::spawn(async move {
            let run = counterfoil_hub::service::run(config, listener, std::future::pending(), env);
            // A hub that cannot run answers nobody, which is found out soon enough.
            if let Err(error) = run.await {
                crate::report::note(&format!("the hub ended: {:#}", anyhow::Error::from(error)));
            }
        }));
    }

    /// Opens the node.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn start_node(&mut self) -> anyhow::Result<()> {
        let dial = match &self.dial {
            Some(dial) => dial.clone(),
            None => wire().0,
        };
        let env = self.env(&self.node_disk, dial);
        let data = self.place.of(Side::Node);
        let options = NodeOptions {
            keyring: Keyring::Given(vault(&self.node_disk, &data)),
            ..NodeOptions::default()
        };
        let config = Config {
            // The wire is in memory.
            insecure_http: true,
            wal_limit_mib: self.settings.node_wal_limit_mib,
            ..Config::default()
        };
        self.node = Some(Node::open(&data, config, env, &options).context("the node opens")?);
        Ok(())
    }

    fn node(&self) -> anyhow::Result<&Node> {
        self.node.as_ref().context("the node is open")
    }

    /// Says something onto the tape.
    pub fn say(&self, fact: Fact) {
        self.tape.say(fact);
    }

    fn tick(&self) {
        self.clock.advance(1_000);
    }

    /// Sells over the till's API.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn sell(&self) -> anyhow::Result<Recorded> {
        self.tick();
        let id = document_id(
            counterfoil_domain::env::Clock::now_ms(&*self.clock),
            &*self.luck,
        );
        self.say(Fact::Attempted(id));
        let line = |number: u64| LineRequest {
            sku: format!("P{number}"),
            quantity: format!("{}", 1 + self.luck.below(5)),
            unit_price: Some(format!(
                "{}.{:02}",
                self.luck.below(40),
                self.luck.below(99)
            )),
            description: Some("TEA".to_owned()),
        };
        let sale = ReceiptRequest {
            id: Some(id),
            lines: (0..=self.luck.below(3)).map(line).collect(),
            tender: "cash".to_owned(),
            customer: None,
            employee: None,
            refund_of: None,
            parked: None,
        };
        let recorded: Recorded = self.local(Method::POST, "/v1/sales", Some(&sale)).await?;
        self.say(Fact::Acknowledged(recorded.clone()));
        Ok(recorded)
    }

    /// One run of sync.
    ///
    /// # Errors
    /// When it does not complete.
    pub async fn sync(&self) -> anyhow::Result<()> {
        self.tick();
        let report = sync::sync_once(self.node()?).await?;
        self.say(Fact::Received {
            received: report.hub_received_seq,
            consolidated: report.hub_consolidated_seq,
        });
        self.say(Fact::Holds(report.catalog_revision));
        Ok(())
    }

    /// Lets the hub finish what it is at.
    pub async fn rest(&self) {
        self.tick();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Binds the till with a join code.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn activate(&self, join: &str) -> anyhow::Result<()> {
        self.tick();
        let command: ActivateCommand = serde_json::from_value(serde_json::json!({ "join": join }))?;
        let pending = activation::plan(&command).map_err(|problem| anyhow::anyhow!("{problem}"))?;
        let activated = activation::activate(self.node()?, pending).await;
        activated.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        self.say(Fact::Activated);
        Ok(())
    }

    /// Goes on with an activation that was cut off.
    ///
    /// # Errors
    /// When it is refused; `Ok(false)` when there is none.
    pub async fn resume_activation(&self) -> anyhow::Result<bool> {
        match activation::resume(self.node()?).await {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(problem)) => bail!("{problem}"),
        }
    }

    /// The till's status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<NodeStatus> {
        self.local::<(), _>(Method::GET, "/v1/status", None).await
    }

    /// The till's receipts.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn receipts(&self) -> anyhow::Result<Vec<ReceiptRow>> {
        self.local::<(), _>(Method::GET, "/v1/receipts?limit=1000", None)
            .await
    }

    /// What the till's catalog holds.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn catalog_digest(&self) -> anyhow::Result<CatalogDigest> {
        self.local::<(), _>(Method::GET, "/v1/catalog-digest", None)
            .await
    }

    async fn local<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> anyhow::Result<A> {
        let router: Router = api::router(self.node()?.clone());
        let content = match body {
            Some(body) => serde_json::to_vec(body)?,
            None => Vec::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(content))?;
        let response = router.oneshot(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&bytes));
        }
        serde_json::from_slice(&bytes).with_context(|| format!("the answer to {path}"))
    }

    /// Makes a shop if there is none of that name; the join code for its next till.
    ///
    /// # Errors
    /// When the hub does not.
    pub async fn add_shop(&self, name: &str) -> anyhow::Result<String> {
        let request = ShopAddRequest {
            name: name.to_owned(),
            hub_url: None,
            valid_minutes: None,
            existing: true,
        };
        let added: ShopAdded = self.office("/v1/admin/shops", Some(&request)).await?;
        self.say(Fact::ShopAdded(name.to_owned()));
        Ok(added.join_code)
    }

    /// Sets a price at the hub.
    ///
    /// # Errors
    /// When the hub does not.
    pub async fn set_price(&self, product: u64, mills: u64) -> anyhow::Result<()> {
        self.tick();
        let columns = BTreeMap::from([
            ("name".to_owned(), Some(format!("Tea {product}"))),
            ("price_mills".to_owned(), Some(mills.to_string())),
        ]);
        let path = format!("/v1/admin/catalog/products/P{product}");
        let request = CatalogSetRequest { columns, by: None };
        let _answer: CatalogSetAnswer = self.office(&path, Some(&request)).await?;
        let status = self.hub_status().await?;
        self.say(Fact::Published(status.catalog_revision));
        Ok(())
    }

    /// Has the till change its token at its next contact.
    ///
    /// # Errors
    /// When the hub does not.
    pub async fn rotate_token(&self) -> anyhow::Result<()> {
        let node = self.status().await?.node_id;
        let path = format!("/v1/admin/nodes/{node}/rotate-token");
        let nothing = serde_json::json!({});
        let _answer: serde_json::Value = self.office(&path, Some(&nothing)).await?;
        Ok(())
    }

    /// The hub's status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn hub_status(&self) -> anyhow::Result<HubStatus> {
        self.office::<(), _>("/v1/admin/status", None).await
    }

    async fn office<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&B>,
    ) -> anyhow::Result<A> {
        // The hub writes its token before it answers anybody.
        self.rest().await;
        let token = std::fs::read_to_string(self.place.of(Side::Hub).join("admin.token"))?;
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
        headers.insert(header::AUTHORIZATION, bearer);
        let content = match body {
            Some(body) => serde_json::to_vec(body)?,
            None => Vec::new(),
        };
        let request = HttpRequest {
            method: if body.is_some() {
                Method::POST
            } else {
                Method::GET
            },
            url: format!("{HUB_URL}{path}"),
            headers,
            body: content.into(),
            timeout: Duration::from_secs(10),
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        let dial = self.dial.clone().context("the hub runs")?;
        let http = self.env(&self.hub_disk, dial).http();
        let response = http.send(request).await?;
        if !response.status.is_success() {
            let text = String::from_utf8_lossy(&response.body).into_owned();
            bail!("{path}: {}: {text}", response.status);
        }
        serde_json::from_slice(&response.body).with_context(|| format!("the answer to {path}"))
    }

    /// Paths of the databases of a side.
    #[must_use]
    pub fn database(&self, side: Side, name: &str) -> PathBuf {
        self.place.of(side).join(name)
    }
}
