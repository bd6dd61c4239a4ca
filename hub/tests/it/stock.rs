//! Stock of a shop at the hub.

use crate::hub::TestHub;
use crate::relayed::entries;
use crate::till::Till;
use counterfoil_domain::document::{StockCount, StockMovement};
use counterfoil_domain::stock::{Effect, Seen, SeenLane, Sight, effects, level};
use counterfoil_domain::{Document, Quantity, Scalar};
use counterfoil_protocol::wire::stock::{StockLevel, StockLevels};
use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TIME_MS: i64 = 1_700_000_000_000;

fn number(random: &SeededRandom, bound: u64) -> i64 {
    i64::try_from(random.below(bound)).unwrap()
}

/// Somebody does something with stock at a till.
fn trade(tills: &mut [Till; 3], random: &SeededRandom) {
    let who = usize::try_from(random.below(3)).unwrap();
    let lanes = tills.each_ref().map(|till| (till.id, till.seq));
    let at_ms = TIME_MS + number(random, 100);
    let till = &mut tills[who];
    match random.below(6) {
        0 => {
            let others = lanes.into_iter().filter(|(node, _)| *node != till.id);
            let lanes = others.map(|(node, seq)| SeenLane {
                node,
                seq: seq - number(random, 3).min(seq),
                connected: random.below(2) == 0,
            });
            let seen = Seen {
                place: None,
                lanes: lanes.collect(),
            };
            let sku = ["SKU0", "SKU1", "TEA"][usize::try_from(random.below(3)).unwrap()];
            till.record(&Document::StockCount(StockCount {
                sku: sku.to_owned(),
                quantity: Quantity { milli: 50_000 },
                at_ms,
                seen: (random.below(3) > 0).then_some(seen),
            }));
        }
        1 => {
            till.record(&Document::StockMovement(StockMovement {
                sku: "TEA".to_owned(),
                quantity: Quantity { milli: 3_000 },
                reason: "delivery".to_owned(),
                at_ms,
                external_ref: (random.below(2) == 0).then(|| format!("m{}", till.seq)),
            }));
        }
        2 => {
            till.take_back(None);
        }
        3 => {
            let mut receipt = till.receipt(2);
            receipt.external_ref = Some(format!("r{}-{who}", till.seq));
            receipt.at_ms = at_ms;
            till.record(&Document::Sale(receipt));
        }
        _ => {
            till.sell(1 + usize::try_from(random.below(2)).unwrap());
        }
    }
}

/// What the rules make of the journals.
fn by_the_rules(tills: &[Till]) -> BTreeMap<String, (i64, Option<i64>)> {
    let (mut of_sku, mut sight) = (BTreeMap::<String, Vec<Effect>>::new(), Sight::default());
    for entry in tills.iter().flat_map(|till| entries(till, 0, till.seq)) {
        let (said, seen) = effects(&entry);
        for effect in said {
            of_sku.entry(effect.sku.clone()).or_default().push(effect);
        }
        if let Some(seen) = seen {
            sight.note(entry.origin, entry.seq, &seen);
        }
    }
    let levels = of_sku.into_iter().map(|(sku, said)| {
        let level = level(said.iter(), &sight);
        (sku, (level.milli, level.count.map(|count| count.seq)))
    });
    levels.collect()
}

fn said(levels: &[StockLevel]) -> BTreeMap<String, i64> {
    let said = levels
        .iter()
        .map(|level| (level.sku.clone(), level.level_milli));
    said.collect()
}

#[tokio::test]
async fn the_hub_says_of_stock_what_the_lanes_say() {
    for seed in 1..=4 {
        let random = SeededRandom::new(seed);
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut tills = [
            Till::of(&client, "Leith", 1).await,
            Till::of(&client, "Leith", 2).await,
            Till::of(&client, "Leith", 3).await,
        ];
        let mut stranger = Till::of(&client, "Tartu", 4).await;
        stranger.sell(1);
        stranger.push(&client).await.unwrap();
        for _ in 0..60 {
            trade(&mut tills, &random);
        }
        for till in &tills {
            till.push(&client).await.unwrap();
        }
        client.settle().await;
        let found: StockLevels = client.admin_get("stock?shop=Leith").await;
        assert_eq!(found.behind, 0);
        let wanted = by_the_rules(&tills);
        assert!(
            wanted.values().any(|(_, count)| count.is_some()),
            "somebody counted"
        );
        let levels = wanted.iter().map(|(sku, (milli, _))| (sku.clone(), *milli));
        assert_eq!(said(&found.levels), levels.collect(), "seed {seed}");
    }
}

#[tokio::test]
async fn stock_is_paged_named_and_of_one_shop() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    for (sku, name) in [("SKU0", "Tea, loose"), ("SKU1", "Jam")] {
        till.edit(sku, ("name", Scalar::Text(name.to_owned())), &[]);
    }
    till.sell(2);
    till.record(&Document::StockCount(StockCount {
        sku: "SKU1".to_owned(),
        quantity: Quantity { milli: 1_000 },
        at_ms: TIME_MS,
        seen: None,
    }));
    till.sell(2);
    // A record that waits in quarantine is not counted, and said to be missing.
    let mut wrong = till.receipt(1);
    wrong.total_minor += 1;
    till.record(&Document::Sale(wrong));
    till.push(&client).await.unwrap();
    client.settle().await;
    let first: StockLevels = client.admin_get("stock?shop=Leith&limit=1").await;
    assert_eq!(
        (first.levels.len(), first.next.as_deref(), first.behind),
        (1, Some("SKU0"), 1)
    );
    let level = &first.levels[0];
    assert_eq!(
        (level.level_milli, level.name.as_deref()),
        (-4_000, Some("Tea, loose"))
    );
    assert!(!level.oversold, "nobody has counted it");
    let oversold: StockLevels = client.admin_get("stock?shop=Leith&oversold=true").await;
    assert_eq!(
        said(&oversold.levels),
        BTreeMap::from([("SKU1".to_owned(), -1_000)])
    );
    let rest: StockLevels = client.admin_get("stock?shop=Leith&after=SKU0").await;
    assert_eq!((rest.levels.len(), rest.next), (1, None));
    let aliased = json!({"into": "SKU1", "by": "olga"});
    client
        .admin_post::<Value>("catalog/products/SKU0/merge", &aliased)
        .await;
    client.settle().await;
    let joint: StockLevels = client.admin_get("stock?shop=Leith").await;
    assert_eq!(
        said(&joint.levels),
        BTreeMap::from([("SKU1".to_owned(), -3_000)])
    );
    let nobody = client.get("/v1/admin/stock", Some(&client.admin)).await;
    assert_eq!(nobody.status, 400);
}
