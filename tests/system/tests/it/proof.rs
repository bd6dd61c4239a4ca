//! The proof of a business day (X9), from real tills to the hub's exit code.

use crate::process::{hub, join_code, node, till};
use crate::store::column;
use crate::world::{World, copy, settle};
use counterfoil_migrate::{Connection, Durability};
use counterfoil_replica::env::Env;
use serde_json::Value;

fn proof(world: &World, day: &str) -> (Option<i32>, Value) {
    let output = hub(&world.hub_data, &["proof", "--day", day, "--json"]);
    let found = serde_json::from_str(&output.stdout);
    (
        output.code,
        found.expect("one JSON document, proved or not"),
    )
}

/// Puts the shop where it is midday, so that no midnight comes between two steps of a test.
pub(crate) fn at_midday(data: &std::path::Path) {
    let minutes = Env::system()
        .clock
        .now_ms()
        .div_euclid(60_000)
        .rem_euclid(1_440);
    let config = format!("day_utc_offset_minutes = {}\n", 720 - minutes);
    std::fs::write(data.join("node.toml"), config).expect("written");
}

/// Closes the present business day; what was closed.
fn close(data: &std::path::Path) -> Value {
    node(data, &["close-day", "--json"]).json()
}

#[test]
fn a_day_is_closed_offline_proved_at_the_hub_and_an_alteration_there_is_named() {
    let mut world = World::new("proof");
    at_midday(&world.till);
    let url = world.stop_hub();
    world.account.sell(&world.till, 3);
    let closed = close(&world.till);
    let day = closed["closure"]["day"].as_str().expect("a day").to_owned();
    let sum: i64 = world.account.0.values().sum();
    assert_eq!(closed["closure"]["takings"]["total_minor"], sum);
    assert_eq!(closed["closure"]["takings"]["sales"], 6);
    assert_eq!(closed["closure"]["trial"], false);
    let again = close(&world.till);
    assert_eq!(
        (&again["repeated"], &again["seq"]),
        (&Value::Bool(true), &closed["seq"])
    );
    let (code, found) = proof(&world, &day);
    assert_eq!(
        (code, &found["proved"]),
        (Some(3), &Value::Bool(false)),
        "{found}"
    );

    world.start_hub(&url);
    settle(&world.till);
    let (code, found) = proof(&world, &day);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(
        (&found["receipts"], &found["total_minor"]),
        (&6.into(), &sum.into())
    );
    // A sale after the closing is late, and the day stays as it is.
    let late = world.account.sell(&world.till, 1);
    settle(&world.till);
    let (code, found) = proof(&world, &day);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["rows"][0]["late"][0]["receipt"], late[0]);
    world.finish();

    world.stop_hub();
    let file = world.hub_data.join("hub.db");
    let last: Vec<i64> = column(
        &file,
        "SELECT max(seq) FROM receipt WHERE seq < (SELECT max(seq) FROM receipt)",
    );
    let db = Connection::open_existing(&file, Durability::Full).expect("opens");
    let sql = format!("UPDATE payment SET tender = 'card' WHERE seq = {}", last[0]);
    db.execute_batch(&sql).expect("altered");
    db.close();
    let (code, found) = proof(&world, &day);
    assert_eq!(code, Some(3));
    let findings = found["rows"][0]["findings"].as_array().expect("a list");
    let named = findings
        .iter()
        .any(|it| it["kind"] == "differs" && it["seq"] == last[0]);
    assert!(named, "{found}");
}

#[test]
fn a_restored_till_closes_the_day_of_the_one_it_was() {
    let mut world = World::new("proof-restored");
    at_midday(&world.till);
    let backup = world.dir.join("backup");
    copy(&world.till, &backup);
    // The till breaks after one more sale; the backup goes on, and sells.
    world.account.sell(&world.till, 1);
    settle(&world.till);
    crate::world::replace(&world.till, &backup);
    world.account.sell(&world.till, 2);
    settle(&world.till);
    let closed = close(&world.till);
    let day = closed["closure"]["day"].as_str().expect("a day").to_owned();
    settle(&world.till);
    let (_, found) = proof(&world, &day);
    let sum: i64 = world.account.0.values().sum();
    assert_eq!(
        (&found["receipts"], &found["total_minor"]),
        (&6.into(), &sum.into()),
        "{found}"
    );
    let rows = found["rows"].as_array().expect("rows");
    assert_eq!(rows[1]["state"], "proved", "{found}");
    // One sale is in nobody's book any more: the till that made it will never close the day.
    assert_eq!(rows[0]["state"], "open", "{found}");
    world.finish();
}

#[test]
fn a_day_closed_in_trial_is_proved_after_the_activation_without_a_seal() {
    let world = World::new("proof-trial");
    let data = world.dir.join("second");
    till(&data);
    at_midday(&data);
    node(&data, &["sell", "--line", "TEA:2@2.55"]).succeeds();
    let closed = close(&data);
    let day = closed["closure"]["day"].as_str().expect("a day").to_owned();
    assert_eq!(
        (&closed["closure"]["trial"], &closed["closure"]["seal"]),
        (&Value::Bool(true), &Value::Null)
    );
    let code = join_code(&world.hub_data, "Estonia");
    node(&data, &["activate", "--join", &code]).succeeds();
    settle(&data);
    let (_, found) = proof(&world, &day);
    let row = found["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["shop"] == "Estonia");
    let row = row.expect("the second till");
    assert_eq!(row["state"], "proved", "{found}");
    assert!(
        row["notice"].as_str().expect("a notice").contains("trial"),
        "{row}"
    );
}
