//! Made-up trade: trial, activation, a day online, an outage with killed tills, and the way back.

use super::{
    KILL_ATTEMPTS_MAX, Measured, join, judge, kill_delay, title, told_settled, told_waiting,
};
use crate::account::Acknowledged;
use crate::binaries::Binaries;
use crate::config::Config;
use crate::directory::Directory;
use crate::fleet::Fleet;
use crate::format::{money, plural, seconds};
use crate::report::Report;
use crate::settle::in_parallel;
use crate::till::{InFlight, Till};
use crate::timeline::Timeline;
use crate::trade::{Dice, Order, Trade};
use counterfoil_domain::Topic;
use counterfoil_protocol::wire::node::Recorded;
use http::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SHOPS_DEFAULT: usize = 4;
const NAMES: [&str; 8] = [
    "Harbour",
    "Market",
    "Caf\u{e9} Nord",
    "Mill Lane",
    "Station",
    "Old Town",
    "Airport",
    "Abbey",
];
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Products that all shops share and edit.
const SHARED: [(&str, &str, i64); 4] = [
    ("TEA-01", "Tea, loose", 4_200),
    ("TEA-02", "Tea, bags", 3_100),
    ("MUG-01", "Mug, blue", 6_500),
    ("MUG-02", "Mug, white", 6_500),
];
/// How long a sale takes before one was measured.
const SALE_USUAL: Duration = Duration::from_millis(2);

/// A till with its customers.
struct Trader {
    till: Arc<Till>,
    trade: Trade,
    dice: Dice,
    /// How long the last document took.
    usual: Duration,
}

/// How many documents each till records in each chapter.
struct Plan {
    trial: u64,
    online: u64,
    outage: u64,
    recovery: u64,
}

impl Plan {
    fn of(documents: u64) -> Self {
        let percent = |part: u64| (documents * part).div_ceil(100);
        let (trial, online, outage) = (percent(15), percent(25), percent(35));
        Self {
            trial,
            online,
            outage,
            recovery: documents.saturating_sub(trial + online + outage),
        }
    }
}

/// Tells the story and judges it.
pub(crate) async fn run(
    config: &Config,
    binaries: &Binaries,
    directory: &Arc<Directory>,
    timeline: &Timeline,
) -> anyhow::Result<Report> {
    let names = shop_names(config.shops.unwrap_or(SHOPS_DEFAULT));
    let (shops, lanes) = (names.len(), config.lanes);
    title(
        timeline,
        &format!(
            "{} x {}, seed {}",
            plural(shops as u64, "shop"),
            plural(lanes as u64, "till"),
            config.seed
        ),
    );
    let plan = Plan::of(config.documents);

    timeline.chapter("Trial: every till sells on its own");
    let fleet = Fleet::create(binaries, directory, timeline.restarted(), names, lanes).await?;
    let mut traders = traders(&fleet, config.seed);
    traders = make_own_products(traders).await?;
    traders = sell(&fleet, traders, plan.trial, &[]).await?;
    fleet.check_trial().await?;

    let (trial_receipts, trial_consolidated_after) = join(&fleet).await?;

    fleet
        .timeline
        .chapter("Online: trade, and one catalog for all");
    make_shared_products(&fleet).await?;
    traders = sell(&fleet, traders, plan.online, &[]).await?;
    told_settled(&fleet, fleet.settle(SETTLE_LIMIT).await?);

    fleet.timeline.chapter("Outage: the network is cut");
    fleet.network.cut();
    fleet.say("network", "cut");
    edit_the_same_rows(&fleet).await?;
    let victims = [0, 1, 2].map(|number| (number * 2 + 1) % traders.len());
    traders = sell(&fleet, traders, plan.outage, &victims[..2]).await?;
    told_waiting(&fleet).await?;

    fleet
        .timeline
        .chapter("Way back: the network returns, the hub is killed");
    fleet.network.restore();
    fleet.say("network", "restored");
    let rest = sell(&fleet, traders, plan.recovery, &victims[2..]);
    let (sold, killed) = tokio::join!(rest, fleet.kill_hub_twice());
    drop(sold?);
    killed?;
    let settled_after = fleet.settle(SETTLE_LIMIT).await?;
    told_settled(&fleet, settled_after);
    let measured = Measured {
        trial_receipts,
        trial_consolidated_after,
        settled_after,
    };
    let mut report = judge(&fleet, config, directory, measured).await?;
    if shops > 1 && report.conflicts == 0 {
        report.add_difference("concurrent edits of one column left no conflict at the hub");
    }
    Ok(report)
}

fn shop_names(count: usize) -> Vec<String> {
    let name = |index: usize| match NAMES.get(index) {
        Some(name) => (*name).to_owned(),
        None => format!("Shop {}", index + 1),
    };
    (0..count).map(name).collect()
}

fn traders(fleet: &Fleet, seed: u64) -> Vec<Trader> {
    let trader = |till: &Arc<Till>| Trader {
        till: Arc::clone(till),
        trade: Trade::new(seed, till.shop, till.lane),
        dice: Dice::new(&[seed, till.shop as u64, till.lane as u64, 1]),
        usual: SALE_USUAL,
    };
    fleet.tills.iter().map(trader).collect()
}

async fn make_own_products(traders: Vec<Trader>) -> anyhow::Result<Vec<Trader>> {
    in_parallel(traders, |trader| async move {
        for product in trader.trade.own_products() {
            let columns = [
                ("name", json!(product.name)),
                ("price_mills", json!(product.price_mills)),
            ];
            trader.till.set_product(&product.code, columns).await?;
        }
        Ok(trader)
    })
    .await
}

/// One shop makes products; each shop then changes one of them.
async fn make_shared_products(fleet: &Fleet) -> anyhow::Result<()> {
    let first = &fleet.tills[0];
    for (id, name, price_mills) in SHARED {
        let columns = [("name", json!(name)), ("price_mills", json!(price_mills))];
        first.set_product(id, columns).await?;
    }
    fleet.say(
        &first.name,
        format!("makes {}", plural(SHARED.len() as u64, "new product")),
    );
    let took = fleet.settle(SETTLE_LIMIT).await?;
    fleet.say("tills", format!("all have them {} later", seconds(took)));
    let mut editors = 0;
    for (till, (id, ..)) in first_lanes(fleet).zip(SHARED) {
        till.set_product(id, [("barcode", json!(format!("40{:011}", till.shop)))])
            .await?;
        editors += 1;
    }
    fleet.say(
        "tills",
        format!(
            "{} each put a barcode on another product",
            plural(editors, "shop")
        ),
    );
    Ok(())
}

/// Every shop has its own idea of one name and one price, and none knows of the others'.
async fn edit_the_same_rows(fleet: &Fleet) -> anyhow::Result<()> {
    let (named, priced) = (SHARED[0].0, SHARED[1].0);
    for till in first_lanes(fleet) {
        let shop = &fleet.names[till.shop];
        let price = 2_900 + i64::try_from(till.shop)? * 50;
        till.set_product(named, [("name", json!(format!("Tea of {shop}")))])
            .await?;
        till.set_product(priced, [("price_mills", json!(price))])
            .await?;
    }
    let shops = plural(fleet.names.len() as u64, "shop");
    fleet.say(
        "tills",
        format!("{shops} rename {named} and reprice {priced}, each its own way"),
    );
    Ok(())
}

fn first_lanes(fleet: &Fleet) -> impl Iterator<Item = &Arc<Till>> {
    fleet.tills.iter().filter(|till| till.lane == 1)
}

/// All tills record documents at once; the victims are killed in the middle of a sale.
async fn sell(
    fleet: &Arc<Fleet>,
    traders: Vec<Trader>,
    documents: u64,
    victims: &[usize],
) -> anyhow::Result<Vec<Trader>> {
    let documents_before = fleet.account().documents();
    let money_before = money_in(fleet);
    let work: Vec<_> = traders
        .into_iter()
        .enumerate()
        .map(|(index, trader)| {
            let kills = victims.iter().filter(|victim| **victim == index).count();
            (trader, kills, Arc::clone(fleet))
        })
        .collect();
    let traders = in_parallel(work, move |(mut trader, kills, fleet)| async move {
        for number in 0..documents {
            if number == documents.div_ceil(2) {
                for _ in 0..kills {
                    trader.record_while_killed(&fleet).await?;
                }
            }
            trader.record(&fleet).await?;
        }
        Ok(trader)
    })
    .await?;
    let recorded = plural(fleet.account().documents() - documents_before, "document");
    let money = money(money_in(fleet) - money_before);
    fleet.say("tills", format!("{recorded} recorded, {money} GBP"));
    Ok(traders)
}

fn money_in(fleet: &Fleet) -> i64 {
    fleet
        .account()
        .shops
        .iter()
        .map(|shop| shop.input.total_minor)
        .sum()
}

impl Trader {
    async fn record(&mut self, fleet: &Fleet) -> anyhow::Result<()> {
        let order = self.trade.next_order();
        let start = Instant::now();
        let recorded: Recorded = self
            .till
            .insist(Method::POST, order.path, &order.body)
            .await?;
        self.usual = start.elapsed();
        self.acknowledge(fleet, &order, &recorded);
        Ok(())
    }

    /// Kills the till until one kill has come before the answer.
    async fn record_while_killed(&mut self, fleet: &Fleet) -> anyhow::Result<()> {
        for attempt in 0..KILL_ATTEMPTS_MAX {
            let order = self.trade.sale();
            let delay = kill_delay(&mut self.dice, self.usual, attempt);
            let flight = self
                .till
                .kill_in_flight::<Recorded>(order.path, &order.body, delay)
                .await?;
            fleet.count_node_kill();
            self.tell_kill(fleet, &flight);
            if let Some(before) = &flight.before {
                let same =
                    (&before.series, before.number) == (&flight.after.series, flight.after.number);
                if !same || !flight.after.repeated {
                    let (till, id) = (&self.till.name, order.id);
                    let text = format!("{till}: acknowledged sale {id} is gone after SIGKILL");
                    fleet.account().contradictions.push(text);
                }
            }
            self.acknowledge(fleet, &order, &flight.after);
            if flight.before.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn tell_kill(&self, fleet: &Fleet, flight: &InFlight<Recorded>) {
        let InFlight {
            before,
            after,
            back_after,
        } = flight;
        let (when, fate) = match (before, after.repeated) {
            (Some(_), _) => ("right after a sale was answered", "the sale is there"),
            (None, true) => (
                "in the middle of a sale",
                "the sale was recorded, its answer lost",
            ),
            (None, false) => ("in the middle of a sale", "the sale had not happened"),
        };
        let series = after.series.as_deref().unwrap_or("?");
        let number = after.number.unwrap_or_default();
        let back = seconds(*back_after);
        fleet.say(&self.till.name, format!("killed (SIGKILL) {when}"));
        let what =
            format!("back after {back}; {fate}; asked again it is receipt {series}-{number}");
        fleet.say(&self.till.name, what);
    }

    fn acknowledge(&self, fleet: &Fleet, order: &Order, recorded: &Recorded) {
        let mut account = fleet.account();
        let Acknowledged {
            topic, total_minor, ..
        } = order.expected;
        let is_receipt = matches!(topic, Topic::Sale | Topic::Refund);
        if recorded.id != order.id || (is_receipt && recorded.total_minor != Some(total_minor)) {
            let (name, id) = (&self.till.name, order.id);
            account.contradictions.push(format!(
                "{name}: {} {id} comes to {total_minor}, the till says {:?}",
                topic.name(),
                recorded.total_minor
            ));
        }
        account.acknowledge(self.till.shop, order.id, order.expected);
    }
}
