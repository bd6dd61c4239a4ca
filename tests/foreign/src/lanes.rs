//! A lane that somebody else wrote, among lanes of ours: `python/lane.py` and the till around it, from the words of `docs/lanes.md` alone.

mod actors;

use crate::client::Kind;
use actors::{Shop, Start, Till, until};
use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use uuid::Uuid;

const SALES: usize = 30;

/// The programs of a scene.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `counterfoil-hub`.
    pub hub: PathBuf,
    /// `counterfoil-node`.
    pub node: PathBuf,
    /// The till in Python.
    pub till: Kind,
    /// What activates it at the hub.
    pub activate: Kind,
    /// The same till, which writes also what no till writes.
    pub writer: Kind,
}

/// A lane of ours sells, and the receipt says that there are two copies: the other one is with the lane in Python. It is
/// killed, and its folder is gone. A second lane in Python takes its journal from the first, and from that one a second
/// lane of ours, which brings it to the hub.
///
/// # Errors
/// What went wrong.
pub async fn keeps_and_hands_on_the_journal_of_a_dead_lane(
    programs: Programs,
) -> anyhow::Result<()> {
    let mut shop = Shop::new(&programs)?;
    let dead = shop.till("dead", &["shop", "add", "France"])?;
    let heir = shop.till("heir", &["shop", "join", "France"])?;
    shop.hub.kill();
    let dead = shop.start(&dead, &[]).await?;
    let secret = shop.secret.clone();
    let first = shop.python("first", &dead.shop, Some(&secret), &[&dead.url])?;
    dead.is_heard_by(&first).await?;
    let mut ids = Vec::new();
    for _ in 0..SALES {
        let sale = dead.sell().await;
        ensure!(sale.get("single_copy").is_none(), "a single copy: {sale}");
        let id = sale["id"].as_str().context("no id")?.replace('-', "");
        let held = first.entries(&dead.id)?;
        ensure!(
            held.last().is_some_and(|last| last.1 == id),
            "it was printed, and {id} is not there"
        );
        ids.push(id);
    }
    let journal = dead.own().await?;
    ensure!(
        first.entries(&dead.id)? == journal,
        "the Python lane has another journal"
    );
    let Till {
        daemon,
        data,
        id,
        shop: name,
        ..
    } = dead;
    drop(daemon);
    std::fs::remove_dir_all(&data)?;

    let second = shop.python("second", &name, Some(&secret), &[&first.url])?;
    let heir = shop.start(&heir, &[&second.url]).await?;
    until("the heir has the journal", async || {
        Ok((heir.held(&id).await? == journal).then_some(()))
    })
    .await?;
    shop.hub.run()?;
    let count = i64::try_from(SALES)?;
    until("the hub has every receipt", async || {
        let rows: Value = shop.hub.command(&["report", "sales", "--by", "product"])?;
        let row = &rows[0];
        ensure!(
            row["count"].as_i64().unwrap_or(0) <= count,
            "counted twice: {rows}"
        );
        Ok((row["count"] == count && row["total_minor"] == count * 510).then_some(()))
    })
    .await
}

/// What the lane in Python writes itself is on the disk of a lane of ours, as it was written, also behind a restart of
/// both, and the lane of ours gives it to the next one.
///
/// # Errors
/// What went wrong.
pub async fn writes_a_journal_of_its_own(programs: Programs) -> anyhow::Result<()> {
    let shop = Shop::new(&programs)?;
    let one = shop.till("one", &["shop", "add", "France"])?;
    let other = shop.till("other", &["shop", "join", "France"])?;
    let one = shop.start(&one, &[]).await?;
    let mut lane = shop.writer("writer", &one.shop, &[&one.url])?;
    // Kinds that ours know, and one of a lane of the time to come.
    for (number, kind) in [6, 6, 900].into_iter().enumerate() {
        let content = json!({"text": format!("no. {number}, an é in it")});
        let document = json!({"topic": "note", "content": content});
        lane.write(&json!({"topic": "transaction", "kind": kind, "document": document}))?;
    }
    let held = async || Ok((one.held(&lane.id).await?.len() == 3).then_some(()));
    until("ours has what Python wrote", held).await?;
    ensure!(
        one.held(&lane.id).await? == lane.entries(&lane.id)?,
        "not what was written"
    );
    let (id, url) = (lane.id.clone(), one.url.clone());
    drop(lane);
    let mut lane = shop.writer("writer", &one.shop, &[&url])?;
    ensure!(lane.id == id, "the same lane");
    lane.write(&json!({"topic": "inventory", "kind": 900, "document": {}}))?;
    let held = async || Ok((one.held(&id).await?.len() == 4).then_some(()));
    until("ours has what Python wrote when it came back", held).await?;
    let written = lane.entries(&id)?;
    drop(lane);
    let other = shop.start(&other, &[&one.url]).await?;
    let has = async || Ok((other.held(&id).await? == written).then_some(()));
    until("ours handed it on", has).await
}

/// A till in Python that the hub has activated sells: a lane of ours, where somebody has counted, has that much less, takes
/// the receipt back once and not twice, and brings it to the hub, which counts it once. Stock is compared with nobody who has
/// not counted.
///
/// # Errors
/// What went wrong.
pub async fn sells_and_is_counted(programs: Programs) -> anyhow::Result<()> {
    let shop = Shop::new(&programs)?;
    let ours = shop.till("ours", &["shop", "add", "France"])?;
    let other = shop.activated("foreign", &["shop", "join", "France"])?;
    let ours = shop.start(&ours, &[]).await?;
    ensure!(other.shop == ours.shop, "another shop: {}", other.shop);
    let start = Start {
        name: "foreign",
        activated: Some(&other),
        shop: &other.shop,
        secret: Some(&shop.secret),
        certificate: None,
    };
    let mut lane = shop.python_as(start, &[&ours.url])?;
    ours.is_heard_by(&lane).await?;
    let count = json!({"sku": "TEA", "quantity": "10", "count": true});
    ours.post("/v1/stock", &count).await;
    ours.has_level("TEA", 10_000).await?;
    lane.sell(&[("TEA", 1_000, 2_550)]).await?;
    let receipt = lane
        .sell(&[("TEA", 2_000, 2_550), ("JAM", 350, 12_990)])
        .await?;
    ours.has_level("TEA", 7_000).await?;
    ours.has_level("JAM", -350).await?;
    let compared = ours.post("/v1/stock/reconciliation", &Value::Null).await;
    ensure!(
        compared["behind"] == 1 && compared["silent"] == 0,
        "it counts no stock, and says so: {compared}"
    );
    is_counted_by_the_hub(&shop, [2, 0, 255 + 510], 7_000).await?;
    let relays: Value = shop.hub.command(&["relays"])?;
    let brought = &relays[0];
    ensure!(
        brought["node"] == other.id && brought["lane"] == other.lane && brought["by"] == ours.id,
        "not brought by ours: {relays}"
    );
    let back = json!({"sku": "TEA", "quantity": "2", "unit_price": "2.55"});
    let refund = json!({"refund_of": receipt, "lines": [back], "tender": "cash"});
    ours.post("/v1/refunds", &refund).await;
    ours.has_level("TEA", 9_000).await?;
    let again = ours
        .daemon
        .send(Method::POST, "/v1/refunds", None, &refund)
        .await;
    ensure!(!again.status.is_success(), "taken back twice: {again:?}");
    is_counted_by_the_hub(&shop, [2, 1, 255], 9_000).await
}

/// Waits until the hub has counted so many sales and refunds of TEA, which come to so much, and has so much of it; never more,
/// and nothing of it is put aside.
async fn is_counted_by_the_hub(
    shop: &Shop,
    [sales, refunds, total_minor]: [i64; 3],
    level_milli: i64,
) -> anyhow::Result<()> {
    until("the hub has counted it", async || {
        let rows: Value = shop.hub.command(&["report", "sales", "--by", "product"])?;
        let stock: Value = shop.hub.command(&["stock", "--shop", "France"])?;
        let aside: Value = shop.hub.command(&["quarantine", "list"])?;
        let nothing = Vec::new();
        let rows = rows.as_array().unwrap_or(&nothing);
        let tea = rows.iter().find(|row| row["key"] == "TEA");
        ensure!(aside == json!([]), "put aside: {aside}");
        let levels = stock["levels"].as_array().unwrap_or(&nothing);
        let level = levels.iter().find(|level| level["sku"] == "TEA");
        Ok(tea
            .zip(level)
            .filter(|(tea, level)| {
                tea["count"] == sales
                    && tea["refunds"] == refunds
                    && tea["total_minor"] == total_minor
                    && level["level_milli"] == level_milli
            })
            .map(|_| ()))
    })
    .await
}

/// A till in Python shows the certificate that the hub gave it, and needs no secret: it dials a lane of ours and is dialed by one, both over TLS.
/// Under another name than that of its certificate it is not let in.
///
/// # Errors
/// What went wrong.
pub async fn speaks_tls_with_its_certificate(programs: Programs) -> anyhow::Result<()> {
    let shop = Shop::new(&programs)?;
    let ours = shop.till("ours", &["shop", "add", "France"])?;
    let next = shop.till("next", &["shop", "join", "France"])?;
    let other = shop.activated("foreign", &["shop", "join", "France"])?;
    let ours = shop.start(&ours, &[]).await?;
    ours.has_a_certificate().await?;
    let url = ours.url.replace("ws://", "wss://");
    let start = Start {
        name: "foreign",
        activated: Some(&other),
        shop: &other.shop,
        secret: None,
        certificate: Some(&other.folder),
    };
    let mut lane = shop.python_as(start, &[&url])?;
    ours.is_heard_by(&lane).await?;
    lane.sell(&[("TEA", 2_000, 2_550)]).await?;
    ours.has_level("TEA", -2_000).await?;
    let journal = lane.entries(&lane.id)?;
    ensure!(
        ours.held(&lane.id).await? == journal,
        "not what was written"
    );

    let another = Start {
        name: "impostor",
        activated: None,
        ..start
    };
    let impostor = shop.python_as(another, &[&url])?;
    impostor.tells("was_refused", "certificate").await?;
    ensure!(impostor.entries(&ours.id)?.is_empty(), "it got the journal");
    drop((impostor, ours));

    let next = shop.start(&next, &[&lane.url]).await?;
    let has = async || Ok((next.held(&lane.id).await? == journal).then_some(()));
    until("the lane that dialed it has the journal", has).await
}

/// Without the secret, with another one, and of another shop, a lane in Python is told why it is not let in, and nothing
/// that it holds is applied. Nor does it let in a lane of ours.
///
/// # Errors
/// What went wrong.
pub async fn stays_out_as_a_stranger(programs: Programs) -> anyhow::Result<()> {
    let shop = Shop::new(&programs)?;
    let till = shop.till("till", &["shop", "add", "France"])?;
    let till = shop.start(&till, &[]).await?;
    till.sell().await;
    let guess = shop.folder.path().join("guess");
    std::fs::write(&guess, "of another shop ".repeat(3))?;
    let another = Uuid::from_u128(7).to_string();
    let secret = Some(shop.secret.clone());
    for (name, its_shop, secret, code, logged) in [
        ("bare", &till.shop, None, "unpaired", "the other has none"),
        (
            "guesser",
            &till.shop,
            Some(guess),
            "unpaired",
            "it does not know the secret",
        ),
        (
            "stranger",
            &another,
            secret.clone(),
            "other_shop",
            "it is a lane of another shop",
        ),
    ] {
        let mut lane = shop.python(name, its_shop, secret.as_deref(), &[&till.url])?;
        lane.sell(&[("TEA", 2_000, 2_550)]).await?;
        // Who sees it first says so: both look at both.
        let refused = until("it is refused", async || {
            let is_refusal = |it: &&Value| it["event"] == "was_refused" || it["event"] == "refused";
            Ok(lane.told().iter().find(is_refusal).map(Value::to_string))
        });
        let refused = refused.await?;
        ensure!(refused.contains(code), "{refused}, not {code}");
        till.has_logged("lane_refused", logged).await?;
        till.has_applied_nothing().await?;
        ensure!(
            lane.entries(&till.id)?.is_empty(),
            "a stranger got the journal"
        );
    }
    Ok(())
}

/// Whose journal a lane in Python holds, of which shop, and the lines of its file; both lanes are gone.
async fn an_honest_copy(shop: &Shop) -> anyhow::Result<(String, String, Vec<String>)> {
    let seller = shop.till("seller", &["shop", "add", "France"])?;
    let seller = shop.start(&seller, &[]).await?;
    let secret = shop.secret.clone();
    let honest = shop.python("honest", &seller.shop, Some(&secret), &[&seller.url])?;
    seller.is_heard_by(&honest).await?;
    for _ in 0..3 {
        seller.sell().await;
    }
    seller.is_heard_by(&honest).await?;
    let lines = std::fs::read_to_string(&honest.state)?;
    let lines = lines.lines().map(str::to_owned).collect();
    Ok((seller.id, seller.shop, lines))
}

/// A lane in Python whose file was changed, or has a hole, knows the secret and is let in, and nothing of that journal is
/// applied, by a lane of ours or by another one in Python.
///
/// # Errors
/// What went wrong.
pub async fn is_not_believed_with_a_broken_chain(programs: Programs) -> anyhow::Result<()> {
    let shop = Shop::new(&programs)?;
    let (id, name, lines) = an_honest_copy(&shop).await?;
    let secret = shop.secret.clone();
    // Amounts alone: a time that happens to have the same digits would break another rule.
    let forged: Vec<String> = lines
        .iter()
        .map(|line| line.replace(r#"\":510"#, r#"\":110"#))
        .collect();
    ensure!(forged != lines, "no amount to change");
    // The first entry that is changed, or that follows the hole, ends it.
    let changed = lines
        .iter()
        .zip(&forged)
        .take_while(|(line, forged)| line == forged)
        .count();
    let holed = [&lines[..2], &lines[3..]].concat();
    let cases = [
        (
            "forger",
            forged.join("\n"),
            changed,
            "does not fit its chain value",
        ),
        ("forgetful", holed.join("\n"), 2, "does not follow"),
    ];
    for (case, file, whole, words) in cases {
        std::fs::write(
            shop.folder.path().join(format!("{case}.jsonl")),
            file + "\n",
        )?;
        let liar = shop.python(case, &name, Some(&secret), &[])?;
        let reader = shop.python(
            &format!("{case}-reader"),
            &name,
            Some(&secret),
            &[&liar.url],
        )?;
        reader.tells("refused", words).await?;
        let whole_part = liar.entries(&id)?[..whole].to_vec();
        ensure!(
            reader.entries(&id)? == whole_part,
            "more than what is whole"
        );
        let data = shop.till(&format!("{case}-till"), &["shop", "join", "France"])?;
        let till = shop.start(&data, &[&liar.url]).await?;
        if case == "forger" {
            till.has_logged("lane_lost", "it does not fit its chain value")
                .await?;
        } else {
            till.has_logged("lane_forked", &id).await?;
            let is_want = |it: &&Value| it["event"] == "wanted" && it["origin"] == *id;
            let asked = liar.told().iter().filter(is_want).count();
            ensure!(
                asked <= 24,
                "a journal with a gap was asked for {asked} times"
            );
        }
        // It goes on selling, and nothing more comes.
        till.sell().await;
        let held = till.held(&id).await?;
        ensure!(whole_part.starts_with(&held), "more than what is whole");
    }
    Ok(())
}
