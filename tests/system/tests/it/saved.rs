//! Databases as released programs left them (`tests/system/saved`), opened by today's: nothing is lost, nothing
//! is counted twice, and selling goes on.

use crate::process::{Daemon, HUB, NODE, eventually, hub, join_code, node};
use crate::store::{assert_whole, column, receipt_ids};
use crate::world::{at_hub, settle};
use counterfoil_domain::Topic;
use counterfoil_migrate::Kind;
use counterfoil_protocol::gate::Schemas;
use counterfoil_testkit::TempDir;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/saved");

/// What each till took, as it was written down when its files were made: sales and refunds in minor units.
const TAKINGS: [(&str, i64, i64); 9] = [
    ("1", 3_938, -675),
    ("1-as-shipped", 3_098, -255),
    ("1-other-till", 3_938, -675),
    ("2", 3_938, -675),
    ("2-other-till", 3_938, -675),
    ("3", 3_938, -675),
    ("3-other-till", 3_938, -675),
    ("4", 3_938, -675),
    ("4-other-till", 3_938, -675),
];

fn unpacked(folder: &Path, kind: Kind) -> Vec<u8> {
    let file = std::fs::File::open(folder.join(format!("{kind}.db.gz"))).expect("a saved file");
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).expect("whole");
    bytes
}

/// What the saved files of a till hold.
pub(crate) struct Saved {
    pub(crate) schemas: Schemas,
    pub(crate) book: Read,
    /// The business day that is closed in it.
    pub(crate) day: String,
}

impl Saved {
    /// Puts the saved files of a folder where a till is, and reads them; what was taken is what was written down.
    pub(crate) fn restore(name: &str, data: &Path) -> Self {
        std::fs::create_dir_all(data).expect("a folder");
        for kind in [Kind::Book, Kind::Catalog] {
            let bytes = unpacked(&Path::new(FOLDER).join(name), kind);
            std::fs::write(data.join(format!("{kind}.db")), bytes).expect("restored");
        }
        let book = data.join("book.db");
        let mut days: Vec<String> = column(&book, "SELECT day FROM closure ORDER BY seq");
        let saved = Self {
            schemas: Schemas {
                book: version(&book),
                catalog: version(&data.join("catalog.db")),
            },
            book: read(&book),
            day: days.remove(0),
        };
        let taken = TAKINGS.iter().find(|(known, ..)| *known == name);
        let (_, sales, refunds) = taken.expect("written down");
        assert_eq!(saved.total(), sales + refunds, "{name}");
        saved
    }

    pub(crate) fn total(&self) -> i64 {
        self.book.receipts.values().sum()
    }
}

/// What the office of the saved tills has in its catalog, and a new hub does not.
pub(crate) fn furnish(hub_data: &Path) {
    for row in [
        ["products", "MILK", "name=Milk"],
        ["customers", "C1", "name=Campbell"],
    ] {
        hub(hub_data, &[&["catalog", "set"][..], &row].concat()).succeeds();
    }
}

fn version(file: &Path) -> i32 {
    let sql = "SELECT max(version) FROM refinery_schema_history";
    column(file, sql)[0]
}

/// What a plain reader finds in a book: receipts with their totals, and how many documents of other kinds.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Read {
    pub(crate) receipts: BTreeMap<String, i64>,
    pub(crate) others: i64,
}

fn read(book: &Path) -> Read {
    let rows: Vec<String> = column(
        book,
        "SELECT lower(hex(id)) || ' ' || (SELECT sum(amount_minor) FROM payment p WHERE p.seq = j.seq)
         FROM journal j WHERE EXISTS (SELECT 1 FROM receipt r WHERE r.seq = j.seq)",
    );
    let receipts = rows.iter().map(|row| {
        let (id, total) = row.split_once(' ').expect("two parts");
        let id = uuid::Uuid::parse_str(id).expect("an id").to_string();
        (id, total.parse().expect("a number"))
    });
    let sql = format!(
        "SELECT count(*) FROM journal WHERE topic NOT IN ({}, {}, {})",
        Topic::Sale.code(),
        Topic::Refund.code(),
        Topic::CatalogEdit.code()
    );
    Read {
        receipts: receipts.collect(),
        others: column(book, &sql)[0],
    }
}

fn sell(till: &Daemon) -> (String, i64) {
    let sale = json!({"tender": "cash", "lines": [{"sku": "TEA", "quantity": "2"}]});
    let (status, sold) = till.post("/v1/sales", &sale).expect("an answer");
    assert_eq!(status, 200, "{sold}");
    let id = sold["id"].as_str().expect("an id").to_owned();
    (id, sold["total_minor"].as_i64().expect("a total"))
}

#[test]
fn every_released_schema_has_its_saved_files() {
    let saved: BTreeSet<(i32, i32)> = std::fs::read_dir(FOLDER)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|folder| {
            let dir = TempDir::new("saved-versions");
            let name = folder.file_name().expect("a name").to_string_lossy();
            let schemas = Saved::restore(&name, dir.path()).schemas;
            (schemas.book, schemas.catalog)
        })
        .collect();
    for wanted in 1..=Kind::Book.schema_version() {
        assert!(
            saved.iter().any(|(book, _)| *book == wanted),
            "book {wanted}"
        );
    }
    for wanted in 1..=Kind::Catalog.schema_version() {
        let has = saved.iter().any(|(_, catalog)| *catalog == wanted);
        assert!(has, "catalog {wanted}");
    }
    for kind in [Kind::Hub, Kind::Local] {
        assert_eq!(kind.schema_version(), 1, "{kind}: save its first version");
    }
}

#[test]
fn a_saved_till_of_each_released_schema_goes_on_with_todays_programs() {
    for (name, ..) in TAKINGS {
        let dir = TempDir::new("saved");
        let (hub_data, data) = (dir.join("hub"), dir.join("till"));
        let restored = Saved::restore(name, &data);
        let (book, saved) = (data.join("book.db"), restored.book);
        let products: Vec<String> = column(
            &data.join("catalog.db"),
            "SELECT id || ' ' || price_mills FROM products ORDER BY id",
        );
        assert_eq!(products, ["MILK 990", "TEA 2550"], "{name}");

        // In trial, without a hub: migrated, whole, and it sells at the prices of the saved catalog.
        let mut till = Daemon::node(&data);
        let mut expected = saved.receipts.clone();
        let (id, total) = sell(&till);
        assert_eq!(total, 510, "{name}");
        expected.insert(id, total);
        let tea = till.get("/v1/catalog/products/TEA");
        assert_eq!(tea["columns"]["name"], "Green tea", "{name}: {tea}");
        let milk = till.get("/v1/catalog/products/MILK");
        assert_eq!(milk["columns"]["unit"], "litre", "{name}: {milk}");
        till.stop();
        assert_eq!(version(&book), Kind::Book.schema_version());
        assert_eq!(read(&book).receipts, expected, "{name}");
        assert_eq!(read(&book).others, saved.others, "{name}");
        assert_whole(&book);

        // With a hub: everything is counted once.
        let _hub = Daemon::hub(&hub_data);
        furnish(&hub_data);
        let till = Daemon::node(&data);
        let code = join_code(&hub_data, "Leith");
        node(&data, &["activate", "--join", &code]).succeeds();
        settle(&data);
        let (id, total) = sell_named(&till);
        expected.insert(id, total);
        settle(&data);
        judge(name, &hub_data, &expected, saved.others);
        let proof = hub(&hub_data, &["proof", "--day", &restored.day, "--json"]).json();
        assert_eq!(proof["proved"], true, "{name}: {proof}");
    }
}

/// The catalog is the new hub's by now, which has no price.
fn sell_named(till: &Daemon) -> (String, i64) {
    let sale = json!({"tender": "card",
        "lines": [{"sku": "TEA", "quantity": "1", "unit_price": "2.60"}]});
    let (status, sold) = till.post("/v1/sales", &sale).expect("an answer");
    assert_eq!(status, 200, "{sold}");
    (sold["id"].as_str().expect("an id").to_owned(), 260)
}

/// The hub has these receipts and so many other documents, and the activation.
fn judge(name: &str, hub_data: &Path, expected: &BTreeMap<String, i64>, others: i64) {
    let aside = hub(hub_data, &["quarantine", "list", "--json"]).json();
    assert_eq!(aside, json!([]), "{name}");
    assert_eq!(&at_hub(hub_data), expected, "{name}");
    let status = hub(hub_data, &["status", "--json"]).json();
    assert_eq!(status["documents"], others + 1, "{name}");
    assert_eq!(status["receipts"], expected.len(), "{name}");
    let tea = hub(hub_data, &["catalog", "export", "products", "--json"]).json();
    assert!(tea.to_string().contains("Green tea"), "{name}: {tea}");
}

/// Rows of a catalog table as an older schema has them.
fn rows(file: &Path, table: &str, columns: &[String]) -> Vec<String> {
    let sql = format!(
        "SELECT json_array({}) FROM {table} ORDER BY id",
        columns.join(", ")
    );
    column(file, &sql)
}

fn columns(file: &Path, table: &str) -> Vec<String> {
    column(
        file,
        &format!("SELECT name FROM pragma_table_info('{table}')"),
    )
}

/// `hub.db` of a hub whose catalog and tills have older schemas, and its upgrade.
#[test]
fn a_hub_of_each_released_schema_keeps_what_it_has_when_it_is_upgraded() {
    for version in 1..Kind::Catalog.schema_version() {
        let dir = TempDir::new("saved-hub");
        let (hub_data, data) = (dir.join("hub"), dir.join("till"));
        let schemas = format!("book={version};catalog={version}");
        let mut office = Daemon::old("hub", &schemas, &hub_data, "127.0.0.1:0");
        hub(
            &hub_data,
            &[
                "catalog",
                "set",
                "products",
                "TEA",
                "name=Tea",
                "price_mills=2550",
            ],
        )
        .succeeds();
        hub(
            &hub_data,
            &["catalog", "set", "customers", "C1", "name=Campbell"],
        )
        .succeeds();
        let mut till = Daemon::old("node", &schemas, &data, "127.0.0.1:0");
        let code = json!({"join": join_code(&hub_data, "Leith")});
        let (status, answer) = till.post("/v1/activate", &code).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        eventually("the catalog is here", || {
            till.get("/v1/status")["catalog_revision"] == 2
        });
        let mut expected = BTreeMap::from([sell(&till), sell(&till)]);
        eventually("both are counted", || at_hub(&hub_data) == expected);
        office.stop();
        let catalog: PathBuf = hub_data.join("catalog.db");
        let before: Vec<_> = ["products", "customers"]
            .map(|table| (table, columns(&catalog, table)))
            .map(|(table, columns)| (table, rows(&catalog, table, &columns), columns))
            .into();

        let _office = Daemon::start(HUB, &hub_data, office.url.trim_start_matches("http://"));
        assert_eq!(self::version(&catalog), Kind::Catalog.schema_version());
        for (table, before, columns) in before {
            assert_eq!(rows(&catalog, table, &columns), before, "{version} {table}");
        }
        assert_eq!(at_hub(&hub_data), expected, "{version}");
        till.stop();
        let till = Daemon::start(NODE, &data, till.url.trim_start_matches("http://"));
        expected.extend([sell(&till)]);
        settle(&data);
        assert_eq!(at_hub(&hub_data), expected, "{version}");
        let digest: Value = hub(&hub_data, &["status", "--json"]).json()["catalog_digest"].clone();
        eventually("the catalog is the hub's", || {
            till.get("/v1/catalog-digest")["digest"] == digest
        });
        drop(till);
        let sold: BTreeSet<String> = expected.into_keys().collect();
        assert_eq!(receipt_ids(&data.join("book.db")), sold, "{version}");
    }
}
