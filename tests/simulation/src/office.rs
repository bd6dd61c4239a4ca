//! The operator at the hub: makes shops and join codes, edits the catalog, asks for reports.

use crate::hosts::HUB_URL;
use crate::plan::{Plan, SHOP_OF};
use crate::record::{HubReport, SharedBoard};
use counterfoil_protocol::wire::hub::{
    CatalogSetAnswer, CatalogSetRequest, HubStatus, ShopAddRequest, ShopAdded,
};
use counterfoil_replica::env::{HttpClient, HttpRequest};
use counterfoil_testkit::SeededRandom;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The operator.
pub(crate) struct Office {
    pub(crate) plan: Plan,
    pub(crate) board: SharedBoard,
    pub(crate) http: HttpClient,
    /// The hub's folder: the operator reads the admin token there.
    pub(crate) hub_data: PathBuf,
    pub(crate) luck: SeededRandom,
}

impl Office {
    /// Works until the world ends.
    pub(crate) async fn work(self) -> turmoil::Result {
        self.open_shops().await;
        loop {
            tokio::time::sleep(Duration::from_millis(200 + self.luck.below(400))).await;
            if self.board.trading.get() && self.luck.below(4) == 0 {
                self.edit().await;
            }
            if self.board.trading.get() && self.luck.below(6) == 0 {
                self.read_reports().await;
            }
            let round = self.board.round.get();
            if let Some(status) = self.call::<(), HubStatus>("/v1/admin/status", None).await {
                let report = HubReport {
                    revision: status.catalog_revision,
                    digest: status.catalog_digest,
                    quarantined: status.quarantined,
                };
                if round == self.board.round.get() {
                    self.board.record.borrow_mut().hub = Some(report);
                }
            }
        }
    }

    async fn open_shops(&self) {
        for (index, name) in SHOP_OF.iter().enumerate() {
            if self.plan.registers && index == SHOP_OF.len() - 1 {
                continue;
            }
            // A lost answer leaves the shop behind: then a further code for it will do.
            let request = ShopAddRequest {
                name: (*name).to_owned(),
                hub_url: None,
                valid_minutes: None,
                existing: true,
            };
            let added: ShopAdded = loop {
                match self.call("/v1/admin/shops", Some(&request)).await {
                    Some(added) => break added,
                    None => tokio::time::sleep(Duration::from_millis(150)).await,
                }
            };
            self.board.join_codes.borrow_mut()[index] = Some(added.join_code);
        }
    }

    async fn edit(&self) {
        let row = format!("P{}", self.luck.below(self.plan.products));
        let (column, value) = match self.luck.below(3) {
            0 => ("tax", format!("T{}", self.luck.below(5))),
            1 => ("name", format!("Hub {}", self.luck.below(1_000))),
            _ => ("price_mills", self.luck.below(100_000).to_string()),
        };
        let columns = BTreeMap::from([(column.to_owned(), Some(value))]);
        let path = format!("/v1/admin/catalog/products/{row}");
        let answer: Option<CatalogSetAnswer> = self
            .call(&path, Some(&CatalogSetRequest { columns, by: None }))
            .await;
        if answer.is_some() {
            self.board.saw("edit at the hub");
        }
    }

    async fn read_reports(&self) {
        for path in [
            "/v1/admin/conflicts",
            "/v1/admin/reports/sales?by=day",
            "/v1/admin/nodes",
        ] {
            // What it says is checked at the end; here it must only not disturb.
            self.call::<(), serde_json::Value>(path, None).await;
        }
    }

    /// `None` when there is no good answer.
    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&B>,
    ) -> Option<A> {
        let token = std::fs::read_to_string(self.hub_data.join("admin.token")).ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok()?;
        headers.insert(header::AUTHORIZATION, bearer);
        let method = if body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let body = body
            .and_then(|body| serde_json::to_vec(body).ok())
            .unwrap_or_default();
        let request = HttpRequest {
            method,
            url: format!("{HUB_URL}{path}"),
            headers,
            body: body.into(),
            timeout: Duration::from_secs(2),
            response_bytes_max: 16 * 1024 * 1024,
        };
        let response = self.http.send(request).await.ok()?;
        match response.status {
            StatusCode::OK => serde_json::from_slice(&response.body).ok(),
            _ => {
                let text = String::from_utf8_lossy(&response.body).into_owned();
                self.board
                    .contradiction(format!("the hub answered {path} with {text}"));
                None
            }
        }
    }
}
