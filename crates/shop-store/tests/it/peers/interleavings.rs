//! Lanes, a hub and clients in random order.

use super::judge::{Client, Hub, ROWS, all_shown, edit_somewhere, exchange, holdings, shop};
use crate::NOW_MS;
use crate::stock::bring;
use counterfoil_domain::Scalar;
use counterfoil_testkit::SeededRandom;

#[test]
fn lanes_that_hold_the_same_show_what_the_hub_will_publish_whatever_came_first() {
    for seed in 0..40 {
        let random = SeededRandom::new(seed);
        let mut lanes = shop(&format!("peers-judged-{seed}"), 3);
        let mut hub = Hub::new();
        for (number, row) in (1..).zip(ROWS) {
            let name = Scalar::Text(format!("H{number}"));
            hub.edit(row, ("name", name), NOW_MS - 10_000 + number);
        }
        let sql = hub.publish();
        for lane in &mut lanes {
            lane.elsewhere("catalog.db", &sql);
            lane.store().catch_up().expect("caught up");
        }
        for step in 1..30 {
            let now_ms = NOW_MS + step * 2_000;
            let [one, other] =
                [random.below(3), random.below(3)].map(|it| usize::try_from(it).expect("small"));
            match random.below(5) {
                0..=2 => edit_somewhere(&random, &mut lanes[one], now_ms),
                _ if one == other => lanes[one].open(),
                _ => {
                    let [from, to] = lanes.get_disjoint_mut([one, other]).expect("two");
                    bring(from, to);
                }
            }
        }
        exchange(&mut lanes);
        hub.hear_all(&mut lanes);
        for lane in &mut lanes {
            hub.agrees_with(lane, &format!("seed {seed}"));
        }
    }
}

#[test]
fn lanes_and_their_clients_follow_a_hub_that_merges_in_any_order() {
    for seed in 100..140 {
        let random = SeededRandom::new(seed);
        let mut lanes = shop(&format!("peers-any-{seed}"), 3);
        let (mut hub, mut catalogs) = (Hub::new(), [0, 0, 0]);
        let mut clients: Vec<Client> = (0..3).map(|_| Client::default()).collect();
        for step in 1..60 {
            let now_ms = NOW_MS + step * 2_000;
            let [one, other] =
                [random.below(3), random.below(3)].map(|it| usize::try_from(it).expect("small"));
            match random.below(9) {
                0..=2 => edit_somewhere(&random, &mut lanes[one], now_ms),
                3 if one == other => lanes[one].open(),
                3 | 4 if one != other => {
                    let [from, to] = lanes.get_disjoint_mut([one, other]).expect("two");
                    bring(from, to);
                }
                5 => hub.hear(&random, &mut lanes[one], other),
                6 => hub.edit(
                    ROWS[one],
                    ("name", Scalar::Text(format!("H{step}"))),
                    now_ms,
                ),
                7 => {
                    let sql = hub.publish();
                    catalogs[one] = hub.revision;
                    lanes[one].elsewhere("catalog.db", &sql);
                    lanes[one].store().catch_up().expect("caught up");
                }
                _ => {
                    let limit = usize::try_from(1 + random.below(4)).expect("small");
                    clients[one].follow(&mut lanes[one], limit);
                    clients[one].agrees_with(&mut lanes[one], &format!("seed {seed}, step {step}"));
                }
            }
            if one != other
                && catalogs[one] == catalogs[other]
                && holdings(&mut lanes[one]) == holdings(&mut lanes[other])
            {
                let [left, right] = [one, other].map(|lane| all_shown(&mut lanes[lane]));
                assert_eq!(left, right, "seed {seed}, step {step}");
            }
        }
        exchange(&mut lanes);
        hub.hear_all(&mut lanes);
        let sql = hub.publish();
        for (lane, client) in lanes.iter_mut().zip(&mut clients) {
            let when = format!("seed {seed}, at the end");
            lane.elsewhere("catalog.db", &sql);
            lane.store().catch_up().expect("caught up");
            client.follow(lane, 5);
            client.agrees_with(lane, &when);
            hub.agrees_with(lane, &when);
            for (table, row) in ROWS {
                let waits = lane
                    .store()
                    .catalog_row(table, row)
                    .is_ok_and(|row| row.pending);
                assert!(!waits, "{when}: {row}");
            }
        }
    }
}
