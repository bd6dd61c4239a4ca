//! Books of other schema versions than the hub's (X5).

use crate::hub::{Client, TestHub};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::{Chain, Document, Scalar, Topic};
use counterfoil_hub::HubConfig;
use counterfoil_migrate::{Connection, Durability, Kind, open_and_migrate_to, params};
use counterfoil_protocol::lens::{BOOK, Tables, VERSIONS_BEHIND_MAX, views};
use counterfoil_protocol::wire::hub::NodeRow;
use counterfoil_protocol::wire::monitor::AlertRow;
use counterfoil_protocol::wire::quarantine::QuarantineRow;
use counterfoil_testkit::TempDir;
use serde_json::{Value, json};

fn tables(book: &Connection) -> Tables {
    let sql = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_xinfo(t.name) AS c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.name";
    let mut tables = Tables::new();
    for (table, column) in book
        .query_map(sql, (), |row| {
            Ok((row.get::<String>(0)?, row.get::<String>(1)?))
        })
        .unwrap()
    {
        tables.entry(table).or_default().push(column);
    }
    tables
}

/// What the lenses say has to be what the migrations do: who adds a migration adds its lens.
#[test]
fn through_its_lenses_every_version_reads_as_the_newest() {
    let dir = TempDir::new("lenses");
    let newest = Kind::Book.schema_version();
    let book = |version: i32| {
        let path = dir.join(&format!("{version}.db"));
        open_and_migrate_to(path, Kind::Book, version, TIME_MS).unwrap()
    };
    let expected = tables(&book(newest));
    assert_eq!(BOOK.last().map(|lens| lens.to), Some(newest));
    for version in 1..newest {
        let read = views(&tables(&book(version)), version, BOOK);
        let read: Tables = read
            .into_iter()
            .map(|view| {
                let mut columns: Vec<_> = view.columns.into_iter().map(|(name, _)| name).collect();
                columns.sort();
                (view.name, columns)
            })
            .collect();
        assert_eq!(read, expected, "version {version}");
    }
}

/// An expense as tills of the first two versions recorded it.
fn spend(till: &mut Till) {
    let (seq, topic) = (till.seq + 1, Topic::Expense);
    let chain = Chain::from_slice(&[7; 32]).unwrap();
    till.book
        .execute(
            "INSERT INTO journal (seq, id, hlc, topic, priority, chain)
             VALUES (?1, randomblob(16), (?2 + ?1) << 16, ?3, ?4, ?5)",
            params![
                seq,
                TIME_MS,
                topic.code(),
                topic.priority().code(),
                chain.as_bytes().to_vec()
            ],
        )
        .unwrap();
    let sql = "INSERT INTO expense (seq, category, amount_minor, currency, note, at_ms)
               VALUES (?1, 'cleaning', 500, 'GBP', '', ?2)";
    till.book.execute(sql, params![seq, TIME_MS]).unwrap();
    (till.seq, till.chain) = (seq, chain);
}

async fn consolidated(hub: &TestHub) -> (i64, i64, i64) {
    let status = hub.client().settle().await;
    (status.receipts, status.documents, status.quarantined)
}

#[tokio::test]
async fn books_of_the_last_two_versions_are_consolidated_as_they_are() {
    let newest = Kind::Book.schema_version();
    for version in newest - VERSIONS_BEHIND_MAX..newest {
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut till = Till::of_version(&client, "Leith", 1, version).await;
        // Its clock is asked for each entry then, through the lens as well.
        till.hello(&client).await;
        till.sell(2);
        let total = till.sell(1);
        spend(&mut till);
        till.move_stock(1_000);
        till.edit("P1", ("name", Scalar::Text("tea".to_owned())), &[]);
        till.tamper("UPDATE journal SET total_minor = total_minor + 1 WHERE seq = 2");
        till.push(&client).await.unwrap();
        assert_eq!(consolidated(&hub).await, (1, 2, 1), "version {version}");

        // What stepped aside comes back through the lens too.
        let [aside]: [QuarantineRow; 1] = client
            .admin_get::<Vec<_>>("quarantine")
            .await
            .try_into()
            .unwrap();
        let path = format!("quarantine/{}/{}/fix", aside.node_id, aside.seq);
        let changes = json!({"total_minor": total.to_string()});
        let right = json!({"who": "Ann", "why": "a slip", "changes": changes});
        client.admin_post::<Value>(&path, &right).await;
        assert_eq!(consolidated(&hub).await, (2, 2, 0), "version {version}");

        // The program of the till is upgraded, and goes on in the same book.
        Kind::Book.schema().apply(&till.book, TIME_MS).unwrap();
        till.sell(1);
        till.push(&client).await.unwrap();
        assert_eq!(consolidated(&hub).await, (3, 2, 0), "version {version}");
        let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
        let copy = hub.dir.join("books").join(format!("{}.db", till.id));
        assert!(copy.exists());
        let rows: i64 = db
            .query_value("SELECT count(*) FROM receipt_line", ())
            .unwrap();
        assert_eq!(rows, 4);
    }
}

#[tokio::test]
async fn a_book_that_is_newer_than_the_hub_waits_and_is_consolidated_after_the_upgrade() {
    let newest = Kind::Book.schema_version();
    let older = |config: &mut HubConfig| config.schemas.book = newest - 1;
    let hub = TestHub::start_with(older).await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.sell(1);
    till.push(&client).await.unwrap();
    assert_eq!(consolidated(&hub).await, (0, 0, 0));
    let [row]: [NodeRow; 1] = client
        .admin_get::<Vec<_>>("nodes")
        .await
        .try_into()
        .unwrap();
    assert_eq!(row.state, "waits");
    let why = row.waits.unwrap();
    assert!(why.contains("upgrade the hub"), "{why}");
    assert_eq!(row.waits_entries, Some(2));
    let alerts = client.settle().await.alerts;
    assert_eq!(alerts.len(), 1, "once: {alerts:?}");
    assert_eq!(alerts[0].kind, "book_waits");

    // Nobody asks for it: the hub looks when it starts.
    let mut hub = hub;
    hub.stop().await;
    let hub = hub
        .restart_with(|config| config.schemas.book = newest)
        .await;
    let client = hub.client();
    while till.hello(&client).await.consolidated_seq < till.seq {
        tokio::task::yield_now().await;
    }
    assert_eq!(consolidated(&hub).await, (2, 0, 0));
    let rows = client.admin_get::<Vec<NodeRow>>("nodes").await;
    assert_eq!((rows[0].state.as_str(), &rows[0].waits), ("active", &None));
    let alerts: Vec<AlertRow> = client.admin_get("alerts").await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(!alerts[0].is_open(), "the state has ended: {alerts:?}");
}

#[tokio::test]
async fn a_book_too_far_behind_waits_for_its_till() {
    let hub = TestHub::start_with(|config| config.schemas.book = 4).await;
    let client = hub.client();
    let mut till = Till::of_version(&client, "Leith", 1, 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    assert_eq!(consolidated(&hub).await, (0, 0, 0));
    let rows = client.admin_get::<Vec<NodeRow>>("nodes").await;
    let why = rows[0].waits.clone().unwrap();
    assert!(why.contains("upgrade the till"), "{why}");
    Kind::Book.schema().apply(&till.book, TIME_MS).unwrap();
    till.push(&client).await.unwrap();
    assert_eq!(consolidated(&hub).await, (1, 0, 0));
}

/// Whatever else a book of an older version holds is nothing to the hub.
#[tokio::test]
async fn tables_and_columns_of_somebody_else_keep_no_book_from_being_read() {
    let newest = Kind::Book.schema_version();
    for version in newest - VERSIONS_BEHIND_MAX..=newest {
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut till = Till::of_version(&client, "Leith", 1, version).await;
        till.hello(&client).await;
        till.book
            .execute_batch(
                "CREATE TABLE \"order\" (\"group by\" TEXT, \"a \"\"b\" TEXT, [c] TEXT);
                 CREATE TABLE \"two words\" (\"select\" TEXT);
                 ALTER TABLE journal ADD COLUMN \"of which\" TEXT",
            )
            .unwrap();
        till.sell(2);
        till.push(&client).await.unwrap();
        assert_eq!(consolidated(&hub).await, (1, 0, 0), "version {version}");
    }
}

#[tokio::test]
async fn a_book_without_a_table_that_must_be_there_stops_and_a_person_is_told() {
    let newest = Kind::Book.schema_version();
    // As the hub, older, and newer.
    for (knows, version, table) in [
        (newest, newest, "closure"),
        (newest, newest - VERSIONS_BEHIND_MAX, "expense"),
        (newest - 1, newest, "journal"),
    ] {
        let hub = TestHub::start_with(|config| config.schemas.book = knows).await;
        let client = hub.client();
        let till = Till::of_version(&client, "Leith", 1, version).await;
        till.book
            .execute_batch(&format!("DROP TABLE {table}"))
            .unwrap();
        till.push(&client).await.unwrap();
        assert_eq!(consolidated(&hub).await, (0, 0, 0));
        let rows = client.admin_get::<Vec<NodeRow>>("nodes").await;
        assert_eq!(rows[0].state, "diverged", "{table}: {:?}", rows[0]);
        let alerts = client.settle().await.alerts;
        assert!(
            alerts.iter().any(|alert| alert.kind == "diverged"),
            "{alerts:?}"
        );
    }
}

#[tokio::test]
async fn edits_of_what_the_catalog_did_not_have_count_by_themselves_after_the_upgrade() {
    let hub = TestHub::start_with(|config| config.schemas.catalog = 1).await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let text = |text: &str| Scalar::Text(text.to_owned());
    till.edit_in("customers", "c1", ("address", text("1 Quay")), &[]);
    till.edit_in("suppliers", "s1", ("name", text("Mill")), &[]);
    till.edit("TEA", ("colour", text("green")), &[]);
    till.push(&client).await.unwrap();
    client.settle().await;
    let codes = async |client: &Client| {
        let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
        let settled = |row: QuarantineRow| (row.code, row.settled_as);
        rows.into_iter().map(settled).collect::<Vec<_>>()
    };
    let [column, table] = ["column_unknown", "table_unknown"].map(str::to_owned);
    let before = [&column, &table, &column].map(|code| (code.clone(), None));
    assert_eq!(codes(&client).await, before);

    let mut hub = hub;
    hub.stop().await;
    let hub = hub.restart_with(|_| {}).await;
    let client = hub.client();
    assert_eq!(client.settle().await.quarantined, 1);
    let followed = Some("followed".to_owned());
    let after = [
        (column.clone(), followed.clone()),
        (table, followed),
        (column, None),
    ];
    assert_eq!(codes(&client).await, after);
    let catalog = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT (SELECT address FROM customers) || ' ' || (SELECT name FROM suppliers)";
    let held: String = catalog.query_value(sql, ()).unwrap();
    assert_eq!(held, "1 Quay Mill");
    // What is unknown still was looked at, and is not again.
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    let sql = "SELECT count(*) FROM quarantine WHERE again = 1";
    assert_eq!(db.query_value::<i64>(sql, ()).unwrap(), 0);
}

#[tokio::test]
async fn a_word_that_the_hub_did_not_know_counts_by_itself_after_the_upgrade() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let (seq, sale, _) = till.record(&Document::Sale(till.receipt(1)));
    till.take_back(Some(sale));
    till.sell(1);
    let pay_with = |till: &Till, tender: &str| {
        let sql = "UPDATE receipt_item SET tender = ?2 WHERE key >> 16 = ?1 AND tender IS NOT NULL";
        till.book.execute(sql, params![seq, tender]).unwrap();
    };
    pay_with(&till, "shells");
    till.push(&client).await.unwrap();
    assert_eq!(consolidated(&hub).await, (1, 0, 2));
    // The word becomes one that this program knows. Nobody looks before the next program starts.
    pay_with(&till, "voucher");
    till.push(&client).await.unwrap();
    assert_eq!(consolidated(&hub).await, (1, 0, 2));

    let mut hub = hub;
    let judged = async |hub: TestHub, left: &str| {
        let mut hub = hub;
        hub.stop().await;
        let db = Connection::open_existing(hub.dir.join("hub.db"), Durability::Full).unwrap();
        db.execute_batch(left).unwrap();
        db.close();
        hub.restart().await
    };
    hub = judged(hub, "").await;
    assert_eq!(
        consolidated(&hub).await,
        (1, 0, 2),
        "it knows no more words"
    );
    // As a program left it that had no vouchers.
    let less = "UPDATE meta SET value = replace(value, ' voucher', '') WHERE key = 'judged_with'";
    hub = judged(hub, less).await;
    assert_eq!(consolidated(&hub).await, (3, 0, 0));
    let rows: Vec<QuarantineRow> = hub.client().admin_get("quarantine").await;
    let followed = |row: &QuarantineRow| row.settled_as.as_deref() == Some("followed");
    assert!(rows.len() == 2 && rows.iter().all(followed), "{rows:?}");
    let sales = "SELECT count(*) FROM receipt WHERE seq = 1";
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    assert_eq!(db.query_value::<i64>(sales, ()).unwrap(), 1);
}
