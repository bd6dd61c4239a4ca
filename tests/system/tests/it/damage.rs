//! G9: files that somebody else folded, cut, changed, deleted or replaced, at either side. Nobody has to
//! do anything, and what one side has is not lost.

use crate::process::{Daemon, FOREIGN, hub, node, till};
use crate::store::column;
use crate::world::{Account, World, at_hub, copy, is_first_in, settle};
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Frames of a WAL begin behind its header.
const WAL_HEADER_BYTES: u64 = 32;
/// A page with the header of its frame.
const FRAME_BYTES: u64 = 4_096 + 24;

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) {
    // From another process: an open file of ours would cost SQLite its locks.
    let done = Command::new("rm").arg("-rf").arg(path).status();
    assert!(done.expect("rm runs").success());
}

/// The book of the till's present identity, as the hub has it.
fn copy_at_the_hub(world: &World) -> PathBuf {
    let status = node(&world.till, &["status", "--json"]).json();
    let name = status["node_id"].as_str().expect("an id");
    world.hub_data.join("books").join(format!("{name}.db"))
}

/// Turns over two bytes far apart in the page of the middle frame, which nobody can put right.
fn flip_the_middle(wal: &Path) {
    flip_in_the_middle(wal, 524);
    flip_in_the_middle(wal, 3_000);
}

/// Turns over one byte of the middle frame; where it stands in the file, and what it was.
fn flip_in_the_middle(wal: &Path, byte_at: u64) -> (u64, u8) {
    let file = OpenOptions::new().read(true).write(true).open(wal);
    let file = file.expect("a WAL");
    let frames =
        (file.metadata().expect("a length").len() - WAL_HEADER_BYTES).div_euclid(FRAME_BYTES);
    assert!(frames > 2, "a WAL of {frames} frames");
    let at = WAL_HEADER_BYTES + (frames >> 1) * FRAME_BYTES + byte_at;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[!byte[0]], at).expect("written");
    (at, byte[0])
}

fn byte_of(wal: &Path, at: u64) -> u8 {
    let mut byte = [0];
    let file = std::fs::File::open(wal).expect("a WAL");
    file.read_exact_at(&mut byte, at).expect("read");
    byte[0]
}

/// Cuts it off in the middle of a frame.
fn cut_in_half(wal: &Path) {
    let file = OpenOptions::new().write(true).open(wal).expect("a WAL");
    let length = file.metadata().expect("a length").len();
    file.set_len(length >> 1).expect("cut");
}

/// Till and hub hold one journal, and the hub counts what the test counted.
fn assert_agreed(world: &mut World) {
    settle(&world.till);
    let copy = copy_at_the_hub(world);
    world.stop_hub();
    let journal = "SELECT seq || ' ' || hex(chain) FROM journal ORDER BY seq";
    let book: Vec<String> = column(&world.till.join("book.db"), journal);
    assert_eq!(column::<String>(&copy, journal), book);
    world.finish();
}

fn last_healed(status: &Value) -> &str {
    status["last_healed"]["what"].as_str().unwrap_or_default()
}

/// What was healed last, with its time.
fn healed(world: &World) -> Value {
    node(&world.till, &["status", "--json"]).json()["last_healed"].clone()
}

fn logs(world: &World, event: &str) -> usize {
    let rows = node(&world.till, &["logs", "--json"]).json();
    let rows = rows.as_array().expect("a list");
    rows.iter().filter(|row| row["event"] == event).count()
}

/// Kinds of the hub's alerts.
fn alerts(world: &World) -> Vec<String> {
    let status = hub(&world.hub_data, &["status", "--json"]).json();
    let alerts = status["alerts"].as_array().expect("a list");
    let kind = |alert: &Value| alert["kind"].as_str().expect("a kind").to_owned();
    alerts.iter().map(kind).collect()
}

#[test]
fn a_book_that_another_program_folded_is_healed_and_the_status_says_so() {
    let mut world = World::new("foreign");
    let fold = |data: &Path| {
        let done = Command::new(FOREIGN).arg(data.join("book.db")).status();
        assert!(done.expect("it runs").success());
    };
    // Once delivered, once with a sale that only the till has, each with the till down and up.
    for is_delivered in [true, false] {
        world.account.sell(&world.till, 1);
        if is_delivered {
            settle(&world.till);
        }
        fold(&world.till);
        world.account.sell(&world.till, 1);
        let status = settle(&world.till);
        assert!(last_healed(&status).contains("another program"), "{status}");
    }
    let daemon = Daemon::node(&world.till);
    for _ in 0..2 {
        world.account.sell(&world.till, 1);
        fold(&world.till);
        world.account.sell(&world.till, 1);
        settle(&world.till);
    }
    drop(daemon);
    assert_eq!(world.nodes().len(), 1, "it is the same till");
    assert_agreed(&mut world);
}

#[test]
fn a_wal_index_that_is_deleted_costs_nothing_at_either_side() {
    let mut world = World::new("shm");
    let daemon = Daemon::node(&world.till);
    for is_running in [true, false] {
        let mut url = None;
        if !is_running {
            url = Some(world.stop_hub());
        }
        remove(&beside(&world.till.join("book.db"), "-shm"));
        remove(&beside(&copy_at_the_hub(&world), "-shm"));
        remove(&beside(&world.hub_data.join("hub.db"), "-shm"));
        if let Some(url) = url {
            world.start_hub(&url);
        }
        world.account.sell(&world.till, 2);
        settle(&world.till);
    }
    drop(daemon);
    remove(&beside(&world.till.join("book.db"), "-shm"));
    world.account.sell(&world.till, 1);
    // SQLite makes it again from the log: there is nothing to heal.
    assert_eq!(healed(&world), Value::Null);
    assert_eq!(alerts(&world), [] as [String; 0]);
    assert_agreed(&mut world);
    assert_eq!(world.account.0.len(), 8);
}

#[test]
fn a_copy_whose_wal_is_cut_or_changed_gets_again_what_it_lost() {
    let mut world = World::new("hub-wal");
    for damage in [flip_the_middle, cut_in_half, |wal: &Path| remove(wal)] {
        world.account.sell(&world.till, 2);
        settle(&world.till);
        let copy = copy_at_the_hub(&world);
        let url = world.stop_hub();
        damage(&beside(&copy, "-wal"));
        world.start_hub(&url);
        world.account.sell(&world.till, 1);
        let before = (healed(&world), logs(&world, "healed"));
        settle(&world.till);
        let after = (healed(&world), logs(&world, "healed"));
        assert_ne!(after.0, before.0, "the status says so");
        assert!(after.1 > before.1, "{after:?}, {before:?} before");
    }
    assert_eq!(world.nodes().len(), 1, "it is the same till");
    assert_agreed(&mut world);
}

#[test]
fn a_byte_that_the_disk_changed_in_a_book_costs_nothing() {
    let mut world = World::new("one-byte");
    // In the page, its number, the salt, the checksum.
    for byte_at in [2_000, 2, 9, 17, 24] {
        world.account.sell(&world.till, 1);
        settle(&world.till);
        // What only the till has.
        world.account.sell(&world.till, 2);
        let wal = beside(&world.till.join("book.db"), "-wal");
        let (at, byte) = flip_in_the_middle(&wal, byte_at);
        assert_ne!(byte_of(&wal, at), byte);
        world.account.sell(&world.till, 1);
        assert_eq!(byte_of(&wal, at), byte, "put right: {byte_at}");
    }
    settle(&world.till);
    assert_eq!(world.nodes().len(), 1, "it is the same till");
    assert_agreed(&mut world);
}

#[test]
fn a_till_that_lost_its_wal_or_part_of_it_goes_on_and_repeats_no_number() {
    for damage in [flip_the_middle, cut_in_half, |wal: &Path| remove(wal)] {
        let mut world = World::new("till-wal");
        let mut numbers = world.account.sell(&world.till, 2);
        settle(&world.till);
        damage(&beside(&world.till.join("book.db"), "-wal"));
        numbers.extend(world.account.sell(&world.till, 1));
        let status = settle(&world.till);
        assert_eq!(
            (&status["shop_name"], &status["lane"]),
            (&"France".into(), &2.into()),
            "{status}"
        );
        numbers.extend(world.account.sell(&world.till, 1));
        let distinct: BTreeSet<&String> = numbers.iter().collect();
        assert_eq!(distinct.len(), numbers.len(), "{numbers:?}");
        let log = node(&world.till, &["logs", "--json"]);
        assert!(log.stdout.contains("entries_lost"), "{log:?}");
        assert!(log.stdout.contains("identity_changed"), "{log:?}");
        assert_ne!(last_healed(&status), "", "{status}");
        assert_eq!(status["formers"][0]["lane"], 1, "{status}");
        assert_eq!(alerts(&world), ["till_forked"]);
        assert_agreed(&mut world);
    }
}

/// What may stand where the hub's copy of a book stood.
#[derive(Clone, Copy, Debug)]
enum Replacement {
    OlderFile,
    AnothersBook,
    NoBook,
    Garbage,
    Nothing,
}

#[test]
fn whatever_stands_in_the_place_of_a_copy_is_put_right() {
    use Replacement::{AnothersBook, Garbage, NoBook, Nothing, OlderFile};
    let mut world = World::new("replaced");
    let other = world.dir.join("other");
    till(&other);
    let code = crate::process::join_code(&world.hub_data, "Spain");
    node(&other, &["activate", "--join", &code]).succeeds();
    world.account.sell(&other, 9);
    let others = settle(&other)["node_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let copy_path = copy_at_the_hub(&world);
    let older = world.dir.join("older.db");
    let url = world.stop_hub();
    fold_into(&copy_path, &older);
    world.start_hub(&url);
    for replacement in [OlderFile, AnothersBook, NoBook, Garbage, Nothing] {
        for keeps_wal in [false, true] {
            world.account.sell(&world.till, 1);
            settle(&world.till);
            let url = world.stop_hub();
            if !keeps_wal {
                remove(&beside(&copy_path, "-wal"));
                remove(&beside(&copy_path, "-shm"));
            }
            remove(&copy_path);
            match replacement {
                OlderFile => copy(&older, &copy_path),
                AnothersBook => {
                    let book = world.hub_data.join("books").join(format!("{others}.db"));
                    fold_into(&book, &copy_path);
                }
                NoBook => no_book(&copy_path),
                Garbage => std::fs::write(&copy_path, vec![7; 20_000]).expect("written"),
                Nothing => {}
            }
            world.start_hub(&url);
            let before = healed(&world);
            world.account.sell(&world.till, 1);
            settle(&world.till);
            let is_healed = healed(&world) != before;
            // It was put there once already: with the log beside it it is the copy.
            let is_the_copy = matches!(replacement, OlderFile) && keeps_wal;
            assert_eq!(
                is_healed, !is_the_copy,
                "{replacement:?}, WAL kept: {keeps_wal}"
            );
            let alert = match replacement {
                OlderFile | AnothersBook | NoBook => "diverged",
                Garbage | Nothing => "copy_damaged",
            };
            let alerts = alerts(&world);
            assert!(
                alerts.iter().any(|kind| kind == alert),
                "{replacement:?}: {alerts:?}"
            );
            let nodes = world.nodes().len();
            assert_eq!(nodes, 2, "{replacement:?}, WAL kept: {keeps_wal}");
        }
    }
    settle(&other);
    assert_agreed(&mut world);
}

/// A backup of the database in one file, as a backup program makes it.
fn fold_into(database: &Path, file: &Path) {
    let sql = format!("VACUUM INTO '{}'", file.display());
    let conn = crate::store::open(database);
    conn.execute_batch(&sql).expect("a backup");
    conn.abandon();
}

fn no_book(file: &Path) {
    use counterfoil_migrate::{Connection, Durability};
    let conn = Connection::open(file, Durability::Full).expect("made");
    conn.execute_batch("CREATE TABLE shopping (item TEXT); INSERT INTO shopping VALUES ('tea');")
        .expect("written");
    conn.close();
}

#[test]
fn a_book_whose_file_alone_was_restored_from_a_backup_goes_on_as_another_lane() {
    let mut world = World::new("one-file");
    let (book, backup) = (world.till.join("book.db"), world.dir.join("backup.db"));
    fold_into(&book, &backup);
    world.account.sell(&world.till, 3);
    settle(&world.till);
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(&book, suffix));
    }
    copy(&backup, &book);
    // `local.db` knows that the hub had more.
    let sold = world.account.sell(&world.till, 1);
    assert!(sold[0].starts_with("L1."), "{sold:?}");
    let status = settle(&world.till);
    assert_eq!(status["lane"], 2);
    let sold = world.account.sell(&world.till, 1);
    assert!(is_first_in(&sold[0], "L2"), "{sold:?}");
    assert_agreed(&mut world);
}

#[test]
fn a_catalog_that_is_damaged_or_gone_at_either_side_comes_again() {
    type Damage = fn(&Path);
    let damages: [Damage; 3] = [
        |file| std::fs::write(file, vec![7; 20_000]).expect("written"),
        |file| std::fs::write(file, "").expect("written"),
        |file| remove(file),
    ];
    let dir = TempDir::new("catalogs");
    let (hub_data, data) = (dir.join("hub"), dir.join("till"));
    let mut daemon = Some(Daemon::hub(&hub_data));
    let url = daemon.as_ref().expect("it runs").url.clone();
    let address = url.strip_prefix("http://").expect("an address");
    till(&data);
    let code = crate::process::join_code(&hub_data, "France");
    node(&data, &["activate", "--join", &code]).succeeds();
    let mut account = Account::default();
    for (round, damage) in damages.into_iter().enumerate() {
        for folder in [&data, &hub_data] {
            let name = format!("name=Tea {round}");
            let set = ["catalog", "set", "products", "TEA", &name];
            crate::process::hub(&hub_data, &set).succeeds();
            settle(&data);
            drop(daemon.take());
            for suffix in ["-wal", "-shm"] {
                remove(&beside(&folder.join("catalog.db"), suffix));
            }
            damage(&folder.join("catalog.db"));
            daemon = Some(Daemon::start(crate::process::HUB, &hub_data, address));
            account.sell(&data, 1);
            let name = format!("name=Green {round}");
            let set = ["catalog", "set", "products", "TEA", &name];
            crate::process::hub(&hub_data, &set).succeeds();
            settle(&data);
            let products = "SELECT name FROM products WHERE id = 'TEA'";
            let names: Vec<String> = column(&data.join("catalog.db"), products);
            assert_eq!(names, [format!("Green {round}")]);
        }
    }
    assert_eq!(at_hub(&hub_data), account.0);
}
