//! The driver's own account, and the people who sell.

use crate::chain::{SHARED_PRODUCTS, shared_product};
use anyhow::bail;
use counterfoil_demo::account::{Account, Acknowledged};
use counterfoil_demo::client::CallError;
use counterfoil_demo::till::Till;
use counterfoil_demo::trade::{Dice, Order, Trade};
use counterfoil_domain::Topic;
use counterfoil_domain::env::document_id;
use counterfoil_protocol::wire::node::{Recorded, StockAnswer, StockRequest};
use counterfoil_testkit::SeededRandom;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a request is repeated while the till does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const REPEAT_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two customers of a till, in milliseconds; one in ten comes at once.
const CUSTOMER_PAUSE_MS_MAX: u64 = 20;
/// Pause between two customers when they are few.
const QUIET_PAUSE: Duration = Duration::from_millis(400);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Movements that are more pages than one batch of a push holds.
const MOVEMENTS: usize = 40_000;
const MOVEMENTS_AT_MS: i64 = 1_767_225_600_000;
/// Of this many customers one is followed by an edit of the catalog.
const EDIT_EVERY: u64 = 15;

/// What tills acknowledged, by all customers of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    account: Mutex<Account>,
    /// The document of each receipt number, by till and series.
    numbers: Mutex<BTreeMap<(String, String, i64), counterfoil_domain::DocumentId>>,
    closing: AtomicBool,
    quiet: AtomicBool,
    /// Requests that a till accepted and did not answer.
    pub(crate) unanswered: AtomicU64,
    /// Of those, requests that had been recorded all the same.
    pub(crate) recorded_unheard: AtomicU64,
    pub(crate) edits: AtomicU64,
}

/// The customers of one till, in an order that the seed decides.
#[derive(Debug)]
pub(crate) struct Customers {
    trade: Trade,
    dice: Dice,
}

impl Customers {
    /// Those of a till, which gets the products that they ask for.
    pub(crate) async fn of(till: &Till, seed: u64) -> anyhow::Result<Self> {
        let trade = Trade::new(seed, till.shop, till.lane);
        for product in trade.own_products() {
            let columns = [
                ("name", json!(product.name)),
                ("price_mills", json!(product.price_mills)),
            ];
            till.set_product(&product.code, columns).await?;
        }
        let dice = Dice::new(&[seed, till.shop as u64, till.lane as u64, 2]);
        Ok(Self { trade, dice })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain values: what a panicking holder left is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(shops: &[String]) -> Self {
        Self {
            account: Mutex::new(Account::new(shops)),
            numbers: Mutex::default(),
            closing: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            unanswered: AtomicU64::new(0),
            recorded_unheard: AtomicU64::new(0),
            edits: AtomicU64::new(0),
        }
    }

    pub(crate) fn account(&self) -> Account {
        lock(&self.account).clone()
    }

    /// The customers go home when their last request is answered.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// The shop is open again after [`Self::close`].
    pub(crate) fn open(&self) {
        self.closing.store(false, Ordering::SeqCst);
        self.quiet.store(false, Ordering::SeqCst);
    }

    /// From now on customers are few: the next one comes when the hub has everything.
    pub(crate) fn calm_down(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }

    /// Serves the customers of one till until [`Self::close`].
    pub(crate) async fn trade(&self, till: &Till, customers: &mut Customers) -> anyhow::Result<()> {
        while !self.closing.load(Ordering::SeqCst) {
            self.serve_one(till, customers).await?;
            let dice = &mut customers.dice;
            if self.quiet.load(Ordering::SeqCst) {
                self.delivery(till).await;
                tokio::time::sleep(QUIET_PAUSE).await;
            } else if dice.roll(1, 10) > 1 {
                let pause = Duration::from_millis(dice.roll(0, CUSTOMER_PAUSE_MS_MAX));
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Waits until the hub has everything that the till recorded. No longer than the till is there and
    /// reaches the hub.
    async fn delivery(&self, till: &Till) {
        while !self.closing.load(Ordering::SeqCst) {
            // The customers are served by the one that comes back.
            let Ok(status) = till.status().await else {
                return;
            };
            let is_idle = status.sync == "online" && status.hub_received_seq == status.journal_seq;
            if is_idle || !["online", "syncing"].contains(&status.sync.as_str()) {
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Serves the next customer of a till, and changes the catalog now and then.
    pub(crate) async fn serve_one(
        &self,
        till: &Till,
        customers: &mut Customers,
    ) -> anyhow::Result<()> {
        self.serve(till, &customers.trade.next_order()).await?;
        let dice = &mut customers.dice;
        if dice.roll(1, EDIT_EVERY) == 1 {
            let id = shared_product(dice.roll(0, SHARED_PRODUCTS - 1));
            let name = format!("tea no. {} of {}", dice.roll(1, 1_000_000), till.name);
            till.set_product(&id, [("name", json!(name))]).await?;
            self.edits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Repeats one request under its id until it is answered, and writes the answer down.
    async fn serve(&self, till: &Till, order: &Order) -> anyhow::Result<()> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut was_cut_off = false;
        let recorded: Recorded = loop {
            match till.post(order.path, &order.body).await {
                Ok(recorded) => break recorded,
                Err(CallError::NoAnswer { is_sent, .. }) if Instant::now() < deadline => {
                    was_cut_off |= is_sent;
                    tokio::time::sleep(REPEAT_PAUSE).await;
                }
                Err(error) => bail!("{}: {}: {error}", till.name, order.id),
            }
        };
        if was_cut_off {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            if recorded.repeated {
                self.recorded_unheard.fetch_add(1, Ordering::Relaxed);
            }
        } else if recorded.repeated {
            bail!("{}: {} was new and is called repeated", till.name, order.id);
        }
        self.write_down(till, order, &recorded);
        Ok(())
    }

    /// Records many stock movements in one transaction, as after a count of the whole shop.
    pub(crate) async fn restock(&self, till: &Till, random: &SeededRandom) -> anyhow::Result<()> {
        let movements: Vec<StockRequest> = (0..MOVEMENTS)
            .map(|_| StockRequest {
                id: Some(document_id(MOVEMENTS_AT_MS, random)),
                sku: "TEA".to_owned(),
                quantity: "12".to_owned(),
                count: false,
                reason: Some("the autumn delivery, all of it on one day".to_owned()),
            })
            .collect();
        let _answer: StockAnswer = till.insist(Method::POST, "/v1/stock", &movements).await?;
        let document = Acknowledged {
            topic: Topic::StockMovement,
            total_minor: 0,
            lines: 0,
        };
        let mut account = lock(&self.account);
        for id in movements.iter().filter_map(|movement| movement.id) {
            account.acknowledge(till.shop, id, document);
        }
        Ok(())
    }

    fn write_down(&self, till: &Till, order: &Order, recorded: &Recorded) {
        let mut account = lock(&self.account);
        let mut contradict = |text: String| account.contradictions.push(text);
        if order.expected.lines > 0 && recorded.total_minor != Some(order.expected.total_minor) {
            contradict(format!(
                "{}: {} should total {}, the till says {:?}",
                till.name, order.id, order.expected.total_minor, recorded.total_minor
            ));
        }
        if let (Some(series), Some(number)) = (&recorded.series, recorded.number) {
            let key = (till.name.clone(), series.clone(), number);
            if let Some(other) = lock(&self.numbers).insert(key, order.id) {
                contradict(format!(
                    "{}: {} and {other} both have number {number} of {series}",
                    till.name, order.id
                ));
            }
        }
        account.acknowledge(till.shop, order.id, order.expected);
    }
}
