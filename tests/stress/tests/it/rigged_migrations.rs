//! Programs that are killed in the middle of a migration, behind every statement of it and right behind its commit.

use counterfoil_hub::service::{Tcp, serve};
use counterfoil_hub::{Hub, HubConfig};
use counterfoil_migrate::halt::{REACHED, VARIABLE};
use counterfoil_migrate::{Connection, Durability, FromSql, Kind};
use counterfoil_protocol::gate::Schemas;
use counterfoil_replica::env::Env;
use counterfoil_testkit::TempDir;
use flate2::read::GzDecoder;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

const NODE: &str = env!("CARGO_BIN_EXE_stress-node");
const HUB: &str = env!("CARGO_BIN_EXE_stress-hub");
const MIGRATE: &str = env!("CARGO_BIN_EXE_stress-migrate");
const SAVED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../system/saved");

/// Puts the saved databases of a release where a till is.
fn restore(release: &str, data: &Path) {
    for kind in [Kind::Book, Kind::Catalog] {
        let saved = Path::new(SAVED).join(release).join(format!("{kind}.db.gz"));
        let mut bytes = Vec::new();
        let mut packed = GzDecoder::new(std::fs::File::open(saved).expect("a saved file"));
        packed.read_to_end(&mut bytes).expect("whole");
        std::fs::write(data.join(format!("{kind}.db")), bytes).expect("restored");
    }
}

fn column<T: FromSql>(file: &Path, sql: &str) -> Vec<T> {
    let conn = Connection::open_existing(file, Durability::Full).expect("the database opens");
    let rows = conn.query_map(sql, (), |row| row.get(0)).expect("rows");
    // Not the last to close: a checkpoint here would be a foreign one.
    conn.abandon();
    rows
}

fn assert_sound(file: &Path) {
    let check: Vec<String> = column(file, "PRAGMA integrity_check");
    assert_eq!(check, ["ok"]);
}

fn version(file: &Path) -> i32 {
    let sql = "SELECT max(version) FROM refinery_schema_history";
    column(file, sql)[0]
}

/// All or nothing of what was pending.
fn assert_old_or_new(file: &Path, kind: Kind, old: i32) {
    let found = version(file);
    let is_one = found == old || found == kind.schema_version();
    assert!(is_one, "{kind} {found} is neither old nor new");
    assert_sound(file);
}

fn program(name: &str, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).arg("--data").arg(data);
    command.env("COUNTERFOIL_FENCE_DIR", data.with_extension("fence"));
    command
}

fn prepared(command: &mut Command) -> &mut Command {
    command
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("COUNTERFOIL_LOG", "error")
        .stdin(Stdio::null())
}

fn succeeds(command: &mut Command) -> String {
    let done = prepared(command).output().expect("the program starts");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("text")
}

/// Starts a program on a fresh folder for every boundary that the migrations of `file` have, kills it there with
/// SIGKILL, and has what is left judged; how many boundaries there were.
fn kill_at_every_boundary(
    file: &str,
    prepare: impl Fn(&Path),
    command: impl Fn(&Path) -> Command,
    judge: impl Fn(&Path),
) -> u64 {
    let mut boundary = 1;
    loop {
        let dir = TempDir::new("migration");
        prepare(dir.path());
        let mut command = command(dir.path());
        prepared(&mut command).env(VARIABLE, format!("{file}:{boundary}"));
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let stands = lines.any(|line| line.expect("text").contains(REACHED));
        if !stands {
            assert!(
                child.wait().expect("it ends").success(),
                "{file}:{boundary}"
            );
            return boundary - 1;
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("it is gone");
        judge(dir.path());
        boundary += 1;
    }
}

const RECEIPTS: &str = "SELECT lower(hex(j.id)) || ' ' || r.total_minor FROM receipt r
                        JOIN journal j USING (seq) ORDER BY 1";

#[test]
fn the_program_that_migrates_loses_nothing_wherever_it_is_killed() {
    for (release, old) in [("1", 1), ("1-as-shipped", 1), ("2", 2)] {
        for (kind, content) in [
            (Kind::Book, RECEIPTS),
            (Kind::Catalog, "SELECT id || name FROM products ORDER BY id"),
        ] {
            let name = format!("{kind}.db");
            let before = {
                let dir = TempDir::new("migration-before");
                restore(release, dir.path());
                column::<String>(&dir.join(&name), content)
            };
            assert!(!before.is_empty());
            let apply = |data: &Path| {
                let mut command = Command::new(MIGRATE);
                command.args(["apply", "--kind", kind.as_str(), "--db"]);
                command.arg(data.join(&name));
                command
            };
            let judge = |data: &Path| {
                let file = data.join(&name);
                assert_old_or_new(&file, kind, old);
                assert_eq!(column::<String>(&file, content), before);
                succeeds(&mut apply(data));
                assert_eq!(version(&file), kind.schema_version());
                assert_sound(&file);
                assert_eq!(column::<String>(&file, content), before);
            };
            let boundaries =
                kill_at_every_boundary(&name, |data| restore(release, data), apply, judge);
            // A statement and a line of the history for each version, and the commit.
            let least = u64::try_from(2 * (kind.schema_version() - old) + 1).expect("few");
            assert!(boundaries >= least, "{release} {kind}: {boundaries}");
        }
    }
}

#[test]
fn a_till_that_is_killed_while_it_migrates_keeps_its_sales_and_sells_on() {
    let before = {
        let dir = TempDir::new("migration-before");
        restore("1-as-shipped", dir.path());
        column::<String>(&dir.join("book.db"), RECEIPTS)
    };
    let sell = |data: &Path| program(NODE, data, &["sell", "--line", "TEA:1@2.55"]);
    for file in ["book.db", "local.db"] {
        let judge = |data: &Path| {
            let book = data.join("book.db");
            assert_old_or_new(&book, Kind::Book, 1);
            assert_eq!(column::<String>(&book, RECEIPTS), before, "not sold yet");
            succeeds(&mut sell(data));
            assert_eq!(version(&book), Kind::Book.schema_version());
            let mut found = column::<String>(&book, RECEIPTS);
            assert_eq!(found.len(), before.len() + 1);
            found.retain(|row| before.contains(row));
            assert_eq!(found, before);
            assert_sound(&book);
        };
        let prepare = |data: &Path| restore("1-as-shipped", data);
        let boundaries = kill_at_every_boundary(file, prepare, sell, judge);
        assert!(boundaries >= 3, "{file}: {boundaries}");
    }
}

/// Makes a hub of the first schemas, with a product and a shop.
async fn old_hub(data: &Path) {
    let mut config = HubConfig::new(data);
    config.schemas = Schemas {
        book: 1,
        catalog: 1,
    };
    let hub = Hub::open(config, Env::system()).await.expect("it opens");
    let address = "127.0.0.1:0";
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = Tcp(listener.expect("a port"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(hub, listener, async {
        stopped.await.ok();
    }));
    let folder = data.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        // The command goes to the hub that runs; one before that gets the folder's lock would migrate it.
        while !folder.join("hub.json").exists() {
            std::thread::yield_now();
        }
        for arguments in [
            &["catalog", "set", "products", "TEA", "name=Tea"][..],
            &["shop", "add", "Leith"],
        ] {
            succeeds(&mut program(HUB, &folder, arguments));
        }
    });
    asked.await.expect("no panic");
    drop(stop);
    served.await.expect("no panic").expect("it stops");
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(done.expect("cp runs").success());
}

const PRODUCTS: &str = "SELECT id || ' ' || name FROM products ORDER BY id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_killed_while_it_migrates_its_catalog_keeps_it_and_goes_on() {
    let template = TempDir::new("migration-hub");
    old_hub(template.path()).await;
    let from = template.path().to_owned();
    assert_eq!(version(&from.join("catalog.db")), 1);
    let work = move || {
        let set = |data: &Path| {
            let arguments = ["catalog", "set", "products", "MILK", "name=Milk"];
            program(HUB, data, &arguments)
        };
        let judge = |data: &Path| {
            let catalog = data.join("catalog.db");
            assert_old_or_new(&catalog, Kind::Catalog, 1);
            assert_eq!(column::<String>(&catalog, PRODUCTS), ["TEA Tea"]);
            succeeds(&mut set(data));
            assert_eq!(version(&catalog), Kind::Catalog.schema_version());
            let found = column::<String>(&catalog, PRODUCTS);
            assert_eq!(found, ["MILK Milk", "TEA Tea"]);
            assert_sound(&catalog);
            let shops = succeeds(&mut program(HUB, data, &["shop", "list"]));
            assert!(shops.contains("Leith"), "{shops}");
        };
        kill_at_every_boundary("catalog.db", |data| copy(&from, data), set, judge)
    };
    let boundaries = tokio::task::spawn_blocking(work).await.expect("no panic");
    assert!(boundaries >= 5, "{boundaries}");
}

#[test]
fn a_new_hub_that_is_killed_while_it_makes_its_database_is_set_up_by_the_next_start() {
    let add = |data: &Path| program(HUB, data, &["shop", "add", "Leith"]);
    let judge = |data: &Path| {
        succeeds(&mut add(data));
        let file = data.join("hub.db");
        assert_eq!(version(&file), Kind::Hub.schema_version());
        assert_sound(&file);
        let shops: Vec<String> = column(&file, "SELECT name FROM shop");
        assert_eq!(shops, ["Leith"]);
    };
    let boundaries = kill_at_every_boundary("hub.db", |_| {}, add, judge);
    assert!(boundaries > 30, "{boundaries}");
}
