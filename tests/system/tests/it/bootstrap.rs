//! The catalog on its way to a new till, whose process dies again and again meanwhile.

use crate::process::{Daemon, HUB, NODE, command, eventually, hub, join_code, node, till};
use crate::relay::Relay;
use crate::store::column;
use counterfoil_migrate::{Kind, open_and_migrate, params};
use counterfoil_testkit::{SeededRandom, TempDir};
use std::path::Path;
use std::process::{Command, Stdio};

/// Products that stand in the file which the generation began with, and in frames after it.
const IN_THE_FILE: i64 = 12_000;
const IN_FRAMES: i64 = 6_000;
/// A process dies when up to so many bytes have come: two parts, or two batches of frames.
const LIFE_BYTES_MAX: [u64; 2] = [1_000_000, 3_000_000];
const ROWS_AT_ONCE: usize = 1_000;
/// Pages that so many rows change.
const LARGEST_TRANSACTION_FRAMES: u64 = 400;
/// Nobody is that unlucky: it does not go on.
const KILLS_MAX: usize = 200;
/// One part or one batch of frames as it travels, and what every start asks besides.
const CHUNK_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Adds products that cannot be compressed below half of their 600 bytes.
fn add_products(catalog: &Path, first: i64, last: i64, revision: i64) {
    let conn = open_and_migrate(catalog, Kind::Catalog, 0).expect("a catalog");
    for first in (first..last).step_by(ROWS_AT_ONCE) {
        let last = first + i64::try_from(ROWS_AT_ONCE).expect("few") - 1;
        conn.execute(
            "WITH RECURSIVE number (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM number WHERE n < ?2)
             INSERT INTO products (id, name, barcode, price_mills, last_modified_at, revision)
             SELECT 'P' || n, hex(randomblob(300)), printf('%013d', n), 1000 + n, 1, ?3 FROM number",
            params![first, last, revision],
        )
        .expect("products");
    }
    conn.execute("UPDATE catalog_state SET revision = ?1", params![revision])
        .expect("a revision");
    if revision == 1 {
        conn.query_map("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| {
            row.get::<i64>(0)
        })
        .expect("one file");
    }
    conn.abandon();
}

/// A hub whose catalog is a file of several parts, and frames for several pulls.
fn hub_with_a_catalog(hub_data: &Path) -> Daemon {
    std::fs::create_dir_all(hub_data).expect("a folder");
    let catalog = hub_data.join("catalog.db");
    add_products(&catalog, 1, IN_THE_FILE, 1);
    // Opened by the hub, the file is a generation's first.
    Daemon::hub(hub_data).kill();
    add_products(&catalog, IN_THE_FILE + 1, IN_THE_FILE + IN_FRAMES, 2);
    Daemon::start(HUB, hub_data, "127.0.0.1:0")
}

/// Whether a till has what the hub has published, its policies among it.
fn is_caught_up(till: &Daemon, hub_data: &Path) -> bool {
    let published = hub(hub_data, &["status", "--json"]).json();
    till.get("/v1/status")["catalog_revision"] == published["catalog_revision"]
}

/// The command that activates a new till and fetches its first catalog.
fn activation(hub_data: &Path, data: &Path, line: &Relay) -> Command {
    till(data);
    std::fs::write(data.join("node.toml"), "sync_interval_ms = 600_000\n").expect("written");
    let code = join_code(hub_data, "France");
    let arguments = ["activate", "--join", &code, "--hub", &line.url];
    let mut command = command(NODE, data, &arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// First pages of the parts, and first frames of the batches, that were asked for.
fn asked(line: &Relay) -> [Vec<u64>; 2] {
    ["export", "sync"].map(|call| {
        let asked = line.asked(&format!("/v1/db/catalog/{call}/"));
        let first = |path: &String| path.split('/').nth(1)?.parse().ok();
        asked.iter().filter_map(first).collect()
    })
}

fn chunks(line: &Relay) -> usize {
    asked(line).iter().map(Vec::len).sum()
}

/// How many bytes may come before the process dies.
fn life(line: &Relay, random: &SeededRandom) -> u64 {
    let [_, batches] = asked(line);
    random.below(LIFE_BYTES_MAX[usize::from(!batches.is_empty())])
}

fn products(data: &Path) -> i64 {
    let catalog = data.join("catalog.db");
    let sound: Vec<String> = column(&catalog, "PRAGMA integrity_check");
    assert_eq!(sound, ["ok"]);
    column(&catalog, "SELECT count(*) FROM products")[0]
}

#[test]
fn a_bootstrap_killed_at_random_moments_fetches_nothing_twice_and_tears_nothing() {
    let dir = TempDir::new("kill-bootstrap");
    let hub_data = dir.join("hub");
    let hub_daemon = hub_with_a_catalog(&hub_data);
    let all = IN_THE_FILE + IN_FRAMES;

    let undisturbed = Relay::to(&hub_daemon.url);
    let data = dir.join("undisturbed");
    let activated = activation(&hub_data, &data, &undisturbed).status();
    assert!(activated.expect("it runs").success());
    assert_eq!(products(&data), all);
    let [parts, batches] = asked(&undisturbed);
    assert!(
        parts.len() > 5 && batches.len() > 1,
        "{parts:?} {batches:?}"
    );

    let line = Relay::to(&hub_daemon.url);
    let data = dir.join("killed");
    let random = SeededRandom::new(29);
    line.stop_after(life(&line, &random));
    let mut activating = activation(&hub_data, &data, &line)
        .spawn()
        .expect("it starts");
    eventually("it asks for something", || {
        line.has_stopped() && chunks(&line) > 0
    });
    activating.kill().expect("it can be killed");
    activating.wait().expect("it is gone");
    let mut kills = 1;
    while products(&data) == 0 {
        line.stop_after(life(&line, &random));
        let daemon = Daemon::node(&data);
        eventually("it goes on", || {
            line.has_stopped() || is_caught_up(&daemon, &hub_data)
        });
        daemon.kill();
        let found = products(&data);
        assert!(
            found == 0 || found == all,
            "{found} products after {kills} kills"
        );
        kills += 1;
        assert!(kills < KILLS_MAX, "it does not go on: {:?}", asked(&line));
    }
    let [parts_asked, batches_asked] = asked(&line);
    let mut different = parts_asked.clone();
    different.dedup();
    assert_eq!(different, parts, "in order, and nothing left out");
    // A batch ends anywhere; a process begins after the last transaction that was whole.
    let goes_on = |pair: &[u64]| pair[1] + LARGEST_TRANSACTION_FRAMES > pair[0];
    assert!(batches_asked.windows(2).all(goes_on), "{batches_asked:?}");
    let twice = parts_asked.len() - parts.len();
    let (down, least) = (line.down_bytes(), undisturbed.down_bytes());
    println!("{kills} kills, {twice} parts asked for again, {down} bytes down instead of {least}");
    assert!(kills > 3, "{kills} kills");
    assert!(twice <= kills, "{parts_asked:?}");
    let kills = u64::try_from(kills).expect("few");
    assert!(down <= least + kills * CHUNK_BYTES_MAX, "{down} of {least}");

    // The till goes on as if nothing had been.
    line.go_on();
    let daemon = Daemon::node(&data);
    hub(
        &hub_data,
        &["catalog", "set", "products", "TEA", "name=tea"],
    )
    .succeeds();
    eventually("a change comes", || {
        let found = node(&data, &["catalog", "get", "products", "TEA", "--json"]);
        found.code == Some(0) && is_caught_up(&daemon, &hub_data)
    });
    daemon.kill();
    assert_eq!(products(&data), all + 1);
}
