//! The people at a till: a cashier who sells and a manager who keeps the catalog and activates.
//!
//! They stand on a machine of their own and talk to the node over the network, so a crash between
//! commit and answer leaves them in doubt. They do what every client must: repeat the same request
//! under the same id until it is answered.

use crate::hosts::NODE_PORT;
use crate::plan::{Plan, SHOP_OF};
use crate::record::{Acknowledged, Edit, Invoice, Report, SharedBoard};
use bytes::Bytes;
use counterfoil_domain::DocumentId;
use counterfoil_domain::env::{Clock, document_id};
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::import::{ImportBatch, ImportInvoice, ImportLine, ImportResult};
use counterfoil_protocol::wire::node::{
    ActivateCommand, CatalogSetRequest, ExpenseRequest, LineRequest, NodeStatus, ReceiptRequest,
    Recorded, StockRequest,
};
use counterfoil_replica::env::{HttpClient, HttpRequest};
use counterfoil_testkit::SeededRandom;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a person waits before asking again.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Pause before a request is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(120);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One till with everything its people carry.
pub(crate) struct Till {
    pub(crate) index: usize,
    pub(crate) plan: Plan,
    pub(crate) board: SharedBoard,
    pub(crate) http: HttpClient,
    pub(crate) address: IpAddr,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) luck: SeededRandom,
}

/// What a node answered: a document or a problem.
enum Answer<T> {
    Done(T),
    Refused(Problem),
}

/// A document that a till sends.
enum Draft {
    Sale(ReceiptRequest),
    Refund(ReceiptRequest),
    Stock(StockRequest),
    Expense(ExpenseRequest),
}

impl Till {
    /// Works until the world ends.
    pub(crate) async fn work(self) -> turmoil::Result {
        tokio::join!(self.cashier(), self.manager(), self.watch());
        Ok(())
    }

    async fn cashier(&self) {
        let mut sold: Vec<DocumentId> = Vec::new();
        loop {
            self.pause(self.plan.customer_every_ms).await;
            if !self.board.trading.get() {
                continue;
            }
            // Now and then a queue forms and customers are served without a pause.
            let customers = if self.luck.below(12) == 0 { 6 } else { 1 };
            for _ in 0..customers {
                match self.luck.below(20) {
                    0 => self.import().await,
                    _ => self.document(&mut sold).await,
                }
            }
        }
    }

    async fn manager(&self) {
        tokio::time::sleep(Duration::from_millis(400 + self.luck.below(4_000))).await;
        let mut activated = false;
        loop {
            if !activated {
                activated = self.activate().await;
            }
            self.pause(600).await;
            if !self.board.trading.get() {
                continue;
            }
            match self.luck.below(10) {
                0 => self.nudge().await,
                _ => self.edit().await,
            }
        }
    }

    /// Looks at the status, as people do, and pins it to the board.
    async fn watch(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let round = self.board.round.get();
            let status = self
                .once::<(), NodeStatus>(Method::GET, "/v1/status", None)
                .await;
            let digest = self
                .once::<(), _>(Method::GET, "/v1/catalog-digest", None)
                .await;
            let (Some(Answer::Done(status)), Some(Answer::Done(digest))) = (status, digest) else {
                continue;
            };
            let mut active = self.board.active.borrow_mut();
            if active[self.index] && status.tier != "active" {
                let text = format!("node {} fell back to {}", self.index + 1, status.tier);
                self.board.contradiction(text);
            }
            active[self.index] |= status.tier == "active";
            if round == self.board.round.get() {
                let mut record = self.board.record.borrow_mut();
                record.reports[self.index] = Some(Report { status, digest });
            }
        }
    }

    async fn pause(&self, mean_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.luck.below(2 * mean_ms) + 1)).await;
    }

    fn mint(&self) -> DocumentId {
        let id = document_id(self.clock.now_ms(), &self.luck);
        self.board.record.borrow_mut().attempted.insert(id);
        id
    }

    async fn document(&self, sold: &mut Vec<DocumentId>) {
        let id = self.mint();
        let draft = self.draft(id, sold);
        let recorded: Option<(Recorded, u32)> = match &draft {
            Draft::Sale(sale) => self.until_answered("/v1/sales", sale).await,
            Draft::Refund(refund) => self.until_answered("/v1/refunds", refund).await,
            Draft::Stock(stock) => self.until_answered("/v1/stock", stock).await,
            Draft::Expense(expense) => self.until_answered("/v1/expenses", expense).await,
        };
        let Some((recorded, attempts)) = recorded else {
            return;
        };
        if matches!(draft, Draft::Sale(_)) {
            sold.push(id);
        }
        self.note_recorded(id, &recorded, attempts);
    }

    fn note_recorded(&self, id: DocumentId, recorded: &Recorded, attempts: u32) {
        if attempts > 1 {
            self.board.saw("request repeated");
        }
        if recorded.repeated {
            self.board.saw("in-doubt document was recorded");
        }
        if recorded.repeated && attempts == 1 {
            self.board
                .contradiction(format!("{id} is called repeated and was sent once"));
        }
        if recorded.id != id {
            self.board
                .contradiction(format!("{id} was answered with {}", recorded.id));
        }
        let receipt = match (&recorded.series, recorded.number, recorded.total_minor) {
            (Some(series), Some(number), Some(total)) => Some((series.clone(), number, total)),
            _ => None,
        };
        let acknowledged = Acknowledged {
            node: self.index,
            topic: recorded.topic.clone(),
            seq: recorded.seq,
            receipt,
            trial: recorded.trial,
            true_ms: (!self.plan.clock_jumps && attempts == 1).then(|| self.clock.now_ms()),
        };
        self.board
            .record
            .borrow_mut()
            .acknowledged
            .insert(id, acknowledged);
    }

    fn draft(&self, id: DocumentId, sold: &[DocumentId]) -> Draft {
        match self.luck.below(16) {
            0 => Draft::Stock(StockRequest {
                id: Some(id),
                sku: self.sku(),
                quantity: format!("{}", self.luck.below(20)),
                count: self.luck.below(2) == 0,
                reason: Some("delivery".to_owned()),
            }),
            1 => Draft::Expense(ExpenseRequest {
                id: Some(id),
                category: "cleaning".to_owned(),
                amount: format!("{}.{:02}", self.luck.below(30), 1 + self.luck.below(99)),
                note: String::new(),
                employee: None,
            }),
            2 if !sold.is_empty() => Draft::Refund(ReceiptRequest {
                // With a receipt it may be more than is left of it, and is refused.
                refund_of: self.one_of(sold).filter(|_| self.luck.below(2) == 0),
                parked: None,
                ..self.receipt(id, 1)
            }),
            3 => Draft::Sale(self.receipt(id, 12 + self.luck.below(20))),
            _ => Draft::Sale(self.receipt(id, 1 + self.luck.below(5))),
        }
    }

    fn one_of(&self, ids: &[DocumentId]) -> Option<DocumentId> {
        let index = self.luck.below(ids.len() as u64);
        usize::try_from(index)
            .ok()
            .and_then(|index| ids.get(index))
            .copied()
    }

    fn receipt(&self, id: DocumentId, lines: u64) -> ReceiptRequest {
        let line = |_| LineRequest {
            sku: self.sku(),
            quantity: ["1", "2", "3", "0.375"][self.pick(4)].to_owned(),
            // Without a price the catalog must know one; an unknown product is then refused.
            unit_price: (self.luck.below(20) > 0)
                .then(|| format!("{}.{:02}", self.luck.below(40), self.luck.below(100))),
            description: Some("Thé \"Lapsang\" ☕".to_owned()),
        };
        ReceiptRequest {
            id: Some(id),
            lines: (0..lines).map(line).collect(),
            tender: ["cash", "card"][self.pick(2)].to_owned(),
            customer: None,
            employee: None,
            refund_of: None,
            parked: None,
        }
    }

    fn pick(&self, bound: u64) -> usize {
        usize::try_from(self.luck.below(bound)).unwrap_or_default()
    }

    fn sku(&self) -> String {
        format!("P{}", self.luck.below(self.plan.products))
    }

    async fn import(&self) {
        let invoices: Vec<ImportInvoice> = (0..1 + self.luck.below(3))
            .map(|_| self.invoice())
            .collect();
        {
            let mut record = self.board.record.borrow_mut();
            record
                .invoices_attempted
                .extend(invoices.iter().map(|one| one.number.clone()));
        }
        let batch = ImportBatch {
            invoices,
            import_id: None,
        };
        let answered: Option<(ImportResult, u32)> = self.until_answered("/v1/import", &batch).await;
        let Some((result, attempts)) = answered else {
            return;
        };
        if attempts > 1 && result.repeated > 0 {
            self.board.saw("in-doubt import was recorded");
        }
        let mut record = self.board.record.borrow_mut();
        record
            .invoices
            .extend(batch.invoices.into_iter().map(|invoice| {
                Invoice {
                    node: self.index,
                    total_minor: invoice
                        .lines
                        .iter()
                        .map(|line| line.unit_price_mills.div_euclid(10))
                        .sum(),
                    number: invoice.number,
                }
            }));
    }

    fn invoice(&self) -> ImportInvoice {
        let line = |file_line: u64| ImportLine {
            file_line,
            sku: self.sku(),
            description: format!("IMPORTED {}", self.luck.below(3)),
            quantity_milli: 1_000,
            unit_price_mills: i64::try_from(self.luck.below(5_000)).unwrap_or_default() * 10,
        };
        ImportInvoice {
            number: format!("{}-{:016x}", self.index, self.luck.next()),
            // The node takes in nothing that is far ahead of its own clock.
            at_ms: self.clock.now_ms() + self.plan.skew_ms[self.index].min(0) - 86_400_000,
            refund: false,
            customer: None,
            lines: (1..=1 + self.luck.below(3)).map(line).collect(),
            adjustments: Vec::new(),
        }
    }

    async fn edit(&self) {
        let (table, row, column, value) = self.proposal();
        let columns = BTreeMap::from([(column.to_owned(), value.clone())]);
        let path = format!("/v1/catalog/{table}/{row}");
        let answered: Option<(serde_json::Value, u32)> = self
            .put_until_answered(&path, &CatalogSetRequest { columns })
            .await;
        if answered.is_some() {
            let edit = Edit {
                table,
                row,
                column,
                value: value.to_string(),
            };
            self.board.record.borrow_mut().edits.insert(edit);
        }
    }

    fn proposal(&self) -> (&'static str, String, &'static str, serde_json::Value) {
        let number = self.luck.next() % 100_000;
        let (table, column, value) = match self.luck.below(7) {
            0 => (
                "products",
                "name",
                serde_json::json!(format!("Tea {number}")),
            ),
            1 => (
                "products",
                "tax",
                serde_json::json!(format!("T{}", number % 3)),
            ),
            2 => ("customers", "credit_limit_minor", serde_json::json!(number)),
            3 => (
                "customers",
                "phone",
                serde_json::json!(format!("+{number}")),
            ),
            4 => ("products", "deleted", serde_json::json!(number % 2)),
            _ => ("products", "price_mills", serde_json::json!(number)),
        };
        let row = match table {
            "products" => self.sku(),
            _ => format!("c{}", self.luck.below(3)),
        };
        (table, row, column, value)
    }

    async fn nudge(&self) {
        // A sync that fails is no concern of the person who asked for it.
        self.once::<_, serde_json::Value>(Method::POST, "/v1/sync", Some(&()))
            .await;
    }

    /// Tries once to activate; true when the node belongs to its shop.
    async fn activate(&self) -> bool {
        if self.board.active.borrow()[self.index] {
            return true;
        }
        let code = self.board.join_codes.borrow()[self.index].clone();
        let command = if self.plan.registers && self.index == SHOP_OF.len() - 1 {
            ActivateCommand {
                hub: Some(crate::hosts::HUB_URL.to_owned()),
                name: Some(SHOP_OF[self.index].to_owned()),
                phone: Some("+44 20 7946 0000".to_owned()),
                ..ActivateCommand::default()
            }
        } else if let Some(code) = code {
            ActivateCommand {
                join: Some(code),
                ..ActivateCommand::default()
            }
        } else {
            return false;
        };
        self.board.activating.borrow_mut()[self.index] = true;
        let answer = self
            .once::<_, serde_json::Value>(Method::POST, "/v1/activate", Some(&command))
            .await;
        match answer {
            Some(Answer::Done(_)) => true,
            Some(Answer::Refused(problem)) if problem.status < 500 => {
                let text = format!(
                    "the activation of node {} was refused: {problem}",
                    self.index + 1
                );
                self.board.contradiction(text);
                false
            }
            _ => false,
        }
    }

    async fn until_answered<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Option<(A, u32)> {
        self.insist(Method::POST, path, body).await
    }

    async fn put_until_answered<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Option<(A, u32)> {
        self.insist(Method::PUT, path, body).await
    }

    /// Repeats the request until it is answered; `None` when the answer is a refusal.
    async fn insist<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Option<(A, u32)> {
        let who = format!("{} {method} {path}", self.index + 1);
        self.board.waiting.borrow_mut().insert(who.clone());
        let mut attempts = 0;
        let answer = loop {
            attempts += 1;
            match self.once(method.clone(), path, Some(body)).await {
                Some(Answer::Done(answer)) => break Some((answer, attempts)),
                Some(Answer::Refused(problem)) if problem.status < 500 => {
                    self.board.saw("request refused");
                    break None;
                }
                Some(Answer::Refused(problem)) => {
                    self.board
                        .contradiction(format!("{path} failed inside: {problem}"));
                }
                None => {}
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        };
        self.board.waiting.borrow_mut().remove(&who);
        answer
    }

    /// Sends a request once; `None` when there is no answer.
    async fn once<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Option<Answer<A>> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let body = body
            .and_then(|body| serde_json::to_vec(body).ok())
            .unwrap_or_default();
        let request = HttpRequest {
            method,
            url: format!("http://{}:{NODE_PORT}{path}", self.address),
            headers,
            body: Bytes::from(body),
            timeout: if path == "/v1/activate" {
                PATIENCE * 4
            } else {
                PATIENCE
            },
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        let response = self.http.send(request).await.ok()?;
        if response.status == StatusCode::OK {
            return serde_json::from_slice(&response.body)
                .ok()
                .map(Answer::Done);
        }
        let problem = serde_json::from_slice(&response.body).ok()?;
        Some(Answer::Refused(problem))
    }
}
