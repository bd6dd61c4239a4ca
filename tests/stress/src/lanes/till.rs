//! A till of a run and what its customers want: everything that lanes tell each other happens at each of them.

use super::account::{Account, Edit, JAM, LAMP, Receipt, TEA, text};
use super::shop::LOOK_PAUSE;
use super::weather::pick;
use anyhow::{Context as _, bail};
use counterfoil_demo::client::{Api, CallError};
use counterfoil_domain::DocumentId;
use counterfoil_domain::env::document_id;
use counterfoil_testkit::SeededRandom;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ids of the driver's documents: any time will do.
const SOLD_AT_MS: i64 = 1_767_225_600_000;
/// Rows that all lanes change.
const SHARED_ROWS: u64 = 3;
/// Among the newest sales one is taken back, so that two lanes take back the same.
const RECENT_SALES: usize = 8;
/// What a lane may refuse, and how it says so.
const REFUSALS: [(&str, &str); 4] = [
    ("refund", "conflict"),
    ("finish", "conflict"),
    ("finish", "not_found"),
    ("lamp", "no_rights"),
];
/// What customers do in every run that is long enough.
pub(super) const DEEDS: [&str; 10] = [
    "sell",
    "lamp",
    "move",
    "count",
    "refund",
    "refund of another lane",
    "park",
    "finish",
    "edit",
    "customer",
];

#[derive(Debug)]
pub(super) struct Till {
    pub(super) number: usize,
    pub(super) id: String,
    pub(super) data: PathBuf,
    pub(super) url: String,
    /// How its daemon was started.
    pub(super) run: Vec<String>,
    pub(super) api: Api,
    pub(super) random: SeededRandom,
    /// Whoever sells has it.
    pub(super) counter: tokio::sync::Mutex<()>,
    pub(super) closed: AtomicBool,
    /// Today's program on a book of former schemas cannot read its own counts.
    pub(super) is_old: bool,
    pub(super) account: Arc<Mutex<Account>>,
}

impl Till {
    /// Serves the next customer, unless the lane is closed.
    pub(super) async fn serve(&self) -> anyhow::Result<()> {
        let _counter = self.counter.lock().await;
        if self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        match self.random.below(20) {
            0 => self.lamp().await,
            1 => self.stock(TEA, 10, false).await,
            2 => self.stock(TEA, -1, false).await,
            3 => self.stock(JAM, -1, false).await,
            4 if !self.is_old => {
                let found = i64::try_from(self.random.below(50)).unwrap_or(0);
                self.stock(JAM, found, true).await
            }
            5 | 6 => self.refund().await,
            7 => self.park().await,
            8 | 9 => self.finish().await,
            10 => self.edit_shared("products", "name").await,
            11 => self.edit_shared("products", "price_mills").await,
            12 => self.edit_shared("customers", "phone").await,
            13 => self.customer().await,
            _ => self.sell().await.map(drop),
        }
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_id(&self) -> DocumentId {
        document_id(SOLD_AT_MS, &self.random)
    }

    /// Sells once, whatever becomes of the answers in between; whether the receipt says that it is a single copy.
    pub(super) async fn sell(&self) -> anyhow::Result<bool> {
        let id = self.new_id();
        let line = json!({"sku": TEA, "quantity": "2", "unit_price": "2.55"});
        let request = json!({"id": id, "lines": [line], "tender": "cash"});
        let sold = self.asked("sell", Method::POST, "/v1/sales", &request);
        let sold = sold.await?.context("a sale of TEA was refused")?;
        let receipt = self.receipt(&sold);
        let single_copy = receipt.single_copy;
        let mut account = self.account();
        account.moved(TEA, -2);
        account.sales.push(id.to_string());
        account.receipts.insert(id.to_string(), receipt);
        account.did("sell");
        Ok(single_copy)
    }

    /// Sells one of which there are few, if this lane has or gets the right.
    async fn lamp(&self) -> anyhow::Result<()> {
        let id = self.new_id();
        let line = json!({"sku": LAMP, "quantity": "1", "unit_price": "40"});
        let request = json!({"id": id, "lines": [line], "tender": "card"});
        let sold = self.asked("lamp", Method::POST, "/v1/sales", &request);
        if let Some(sold) = sold.await? {
            let receipt = self.receipt(&sold);
            let mut account = self.account();
            account.moved(LAMP, -1);
            account.receipts.insert(id.to_string(), receipt);
            account.did("lamp");
        }
        Ok(())
    }

    async fn stock(&self, sku: &'static str, pieces: i64, count: bool) -> anyhow::Result<()> {
        let content = json!({"sku": sku, "quantity": pieces.to_string(), "count": count});
        let done = self.operation("stock", "stock", self.new_id(), content);
        done.await?.context("stock was refused")?;
        let mut account = self.account();
        match count {
            true => account.did("count"),
            false => {
                account.moved(sku, pieces);
                account.did("move");
            }
        }
        Ok(())
    }

    /// Takes back what some lane sold not long ago.
    async fn refund(&self) -> anyhow::Result<()> {
        let found = {
            let account = self.account();
            let back = 1 + pick(RECENT_SALES.min(account.sales.len()).max(1), &self.random);
            let place = account.sales.len().checked_sub(back);
            place.map(|place| account.sales[place].clone())
        };
        let Some(sale) = found else { return Ok(()) };
        let id = self.new_id();
        let line = json!({"sku": TEA, "quantity": "2", "unit_price": "2.55"});
        let content = json!({"lines": [line], "tender": "cash", "refund_of": sale});
        if let Some(recorded) = self.operation("refund", "refund", id, content).await? {
            let mut receipt = self.receipt(&recorded);
            receipt.refund_of = Some(sale.clone());
            let mut account = self.account();
            account.moved(TEA, 2);
            account.receipts.insert(id.to_string(), receipt);
            account.did("refund");
            if account.receipts[&sale].lane != self.number {
                account.did("refund of another lane");
            }
        }
        Ok(())
    }

    async fn park(&self) -> anyhow::Result<()> {
        let id = self.new_id();
        let line = json!({"sku": TEA, "quantity": "1", "unit_price": "2.55"});
        let done = self.operation("park", "park", id, json!({"lines": [line]}));
        done.await?.context("parking was refused")?;
        let mut account = self.account();
        account.parked.insert(id.to_string());
        account.did("park");
        Ok(())
    }

    /// Finishes what has waited longest, of any lane; so two lanes that are apart finish the same.
    async fn finish(&self) -> anyhow::Result<()> {
        let listed = self.asked("finish", Method::GET, "/v1/parked", &Value::Null);
        let listed = listed.await?.context("no list of parked sales")?;
        let Some(parked) = listed["parked"][0]["id"].as_str() else {
            return Ok(());
        };
        let id = self.new_id();
        let content = json!({"tender": "cash", "parked": parked});
        if let Some(recorded) = self.operation("finish", "sale", id, content).await? {
            let mut receipt = self.receipt(&recorded);
            receipt.finishes = Some(parked.to_owned());
            let mut account = self.account();
            account.moved(TEA, -1);
            account.receipts.insert(id.to_string(), receipt);
            account.did("finish");
        }
        Ok(())
    }

    async fn edit_shared(&self, table: &'static str, column: &'static str) -> anyhow::Result<()> {
        let row = format!("SHARED-{}", self.random.below(SHARED_ROWS));
        let value = self.account().new_value();
        let value = match column {
            "price_mills" => json!(value),
            _ => json!(format!("{column} {value}")),
        };
        self.edit(table, row, vec![(column, value)]).await?;
        self.account().did("edit");
        Ok(())
    }

    async fn customer(&self) -> anyhow::Result<()> {
        let value = self.account().new_value();
        let [name, phone] = ["name", "phone"].map(|of| (of, json!(format!("{of} {value}"))));
        let row = format!("CUSTOMER-{value}");
        self.edit("customers", row, vec![name, phone]).await?;
        self.account().did("customer");
        Ok(())
    }

    async fn edit(
        &self,
        table: &'static str,
        row: String,
        values: Vec<(&'static str, Value)>,
    ) -> anyhow::Result<()> {
        let id = self.new_id();
        let columns: serde_json::Map<String, Value> = values
            .iter()
            .map(|(column, value)| ((*column).to_owned(), value.clone()))
            .collect();
        let operation = json!({"id": id, "kind": "catalog", "content": {"table": table, "row": row, "columns": columns}});
        let request = json!({"operations": [operation]});
        let mut shown = BTreeSet::new();
        let url = format!("{}/v1/operations", self.url);
        let answer: Value = loop {
            // Whoever asks once more may be shown something else.
            let before: Result<Value, _> = self.api.get(self.row_url(table, &row)).await;
            if let Ok(before) = before {
                let values = values.iter().map(|(column, _)| &before["columns"][*column]);
                shown.extend(values.map(text));
            }
            match self.api.send(Method::POST, url.clone(), &request).await {
                Ok(answer) => break answer,
                Err(error) => self.bear("edit", error).await?,
            }
        };
        let result = &answer["results"][0];
        if !matches!(result["outcome"].as_str(), Some("recorded" | "repeated")) {
            bail!("lane {}: {operation}: {result}", self.number);
        }
        let edit = |(column, value): &(&'static str, Value)| Edit {
            lane: self.number,
            field: (table, row.clone(), *column),
            value: text(value),
            shown: shown.clone(),
        };
        self.account().edits.extend(values.iter().map(edit));
        Ok(())
    }

    pub(super) fn row_url(&self, table: &str, row: &str) -> String {
        format!("{}/v1/catalog/{table}/{row}", self.url)
    }

    fn receipt(&self, recorded: &Value) -> Receipt {
        Receipt {
            lane: self.number,
            single_copy: recorded["single_copy"] == true,
            ..Receipt::default()
        }
    }

    /// Whoever gets no answer asks again, while the lane is open: it may be starting.
    async fn bear(&self, deed: &str, error: CallError) -> anyhow::Result<()> {
        let is_open = !self.closed.load(Ordering::SeqCst);
        match error {
            CallError::NoAnswer { .. } if is_open => tokio::time::sleep(LOOK_PAUSE).await,
            error => bail!("lane {}: {deed}: {error}", self.number),
        }
        Ok(())
    }

    /// Asks until there is an answer; nothing when it is refused in a way that may be.
    async fn asked(
        &self,
        deed: &'static str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Option<Value>> {
        loop {
            let url = format!("{}{path}", self.url);
            let answer = match method {
                Method::GET => self.api.get(url).await,
                _ => self.api.send(method.clone(), url, body).await,
            };
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(CallError::Refused { problem, .. })
                    if self.may_be(deed, &serde_json::to_value(problem.code)?) =>
                {
                    return Ok(None);
                }
                Err(error) => self.bear(deed, error).await?,
            }
        }
    }

    fn may_be(&self, deed: &'static str, code: &Value) -> bool {
        let may_be = REFUSALS
            .iter()
            .any(|(of, known)| *of == deed && code == known);
        if may_be {
            self.account().was_refused(deed);
        }
        may_be
    }

    /// The same for an operation of a batch; what was recorded.
    async fn operation(
        &self,
        deed: &'static str,
        kind: &str,
        id: DocumentId,
        content: Value,
    ) -> anyhow::Result<Option<Value>> {
        let operation = json!({"id": id, "kind": kind, "content": content});
        let request = json!({"operations": [operation]});
        let answer = self.asked(deed, Method::POST, "/v1/operations", &request);
        let answer = answer.await?.context("a batch was refused")?;
        let result = &answer["results"][0];
        match result["outcome"].as_str() {
            Some("recorded" | "repeated") => Ok(Some(result["recorded"].clone())),
            Some("refused") if self.may_be(deed, &result["problem"]["code"]) => Ok(None),
            _ => bail!("lane {}: {operation}: {result}", self.number),
        }
    }

    pub(super) async fn status(&self) -> anyhow::Result<Value> {
        let status = self.api.get(format!("{}/v1/status", self.url)).await;
        status.with_context(|| format!("lane {}", self.number))
    }
}
