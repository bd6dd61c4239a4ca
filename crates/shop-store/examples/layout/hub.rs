//! What a layout costs the hub: rows of receipts, lines and payments moved out of a book by
//! `INSERT ... SELECT`, and receipts judged, beside what moving the same rows from plain tables takes.

use crate::sale::{Sale, trade};
use crate::wal::median;
use counterfoil_migrate::{
    Connection, Durability, Kind, SqlError, open_and_migrate, params_from_iter,
};
use counterfoil_testkit::TempDir;
use std::path::Path;
use std::time::{Duration, Instant};

const RECEIPTS: i64 = 15_000;
const LINES: u64 = 20;
const ROUNDS: usize = 5;
const NOW_MS: i64 = 1_291_192_000_000;

/// A way to keep lines and payments, and the SELECTs that read them.
struct Shape {
    name: &'static str,
    lines: &'static str,
    payments: &'static str,
    sums: &'static str,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "tables of their own",
        lines:
            "SELECT 1, seq, line, sku, description, quantity_milli, unit_price_mills, amount_minor
                FROM book.flat_line",
        payments: "SELECT 1, seq, 1, tender, amount_minor FROM book.flat_payment",
        sums: "SELECT sum((SELECT sum(amount_minor) FROM book.flat_line l WHERE l.seq = f.seq))
               FROM book.folded f",
    },
    Shape {
        name: "one table, packed rowid",
        lines: "SELECT 1, f.seq, key & 32767, sku, description, quantity_milli, unit_price_mills,
                    amount_minor
                FROM book.folded f CROSS JOIN book.item i
                    ON i.key > f.seq << 16 AND i.key < f.seq << 16 | 32768",
        payments: "SELECT 1, f.seq, key & 32767, tender, amount_minor
                FROM book.folded f CROSS JOIN book.item i
                    ON i.key > f.seq << 16 | 32768 AND i.key < f.seq + 1 << 16",
        sums: "SELECT sum((SELECT sum(amount_minor) FROM book.item i
                   WHERE i.key > f.seq << 16 AND i.key < f.seq << 16 | 32768)) FROM book.folded f",
    },
    Shape {
        name: "JSON text",
        lines:
            "SELECT 1, seq, l.key + 1, l.value ->> 0, l.value ->> 1, l.value ->> 2, l.value ->> 3,
                    l.value ->> 4
                FROM book.folded CROSS JOIN json_each(lines) AS l",
        payments: "SELECT 1, seq, p.key + 1, p.value ->> 0, p.value ->> 1
                FROM book.folded CROSS JOIN json_each(payments) AS p",
        sums: "SELECT sum((SELECT sum(l.value ->> 4) FROM json_each(f.lines) l)) FROM book.folded f",
    },
    Shape {
        name: "JSONB",
        lines:
            "SELECT 1, seq, l.key + 1, l.value ->> 0, l.value ->> 1, l.value ->> 2, l.value ->> 3,
                    l.value ->> 4
                FROM book.folded_binary CROSS JOIN json_each(lines) AS l",
        payments: "SELECT 1, seq, p.key + 1, p.value ->> 0, p.value ->> 1
                FROM book.folded_binary CROSS JOIN json_each(payments) AS p",
        sums: "SELECT sum((SELECT sum(l.value ->> 4) FROM json_each(f.lines) l))
               FROM book.folded_binary f",
    },
];

/// Prints a row a shape.
pub(crate) fn report(dir: &TempDir) {
    let book = dir.join("source.db");
    write_book(&book, &trade(RECEIPTS, LINES)).expect("written");
    println!(
        "\n{RECEIPTS} receipts of {LINES} lines at the hub, median of {ROUNDS} runs in turns\n"
    );
    println!(
        "{:<38} {:>9} {:>9} {:>7}",
        "lines and payments", "moved", "judged", "ratio"
    );
    let mut times: [(Vec<Duration>, Vec<Duration>); SHAPES.len()] = Default::default();
    for round in 0..ROUNDS {
        for (number, (shape, (moved, judged))) in SHAPES.iter().zip(&mut times).enumerate() {
            let hub = dir.join(&format!("hub-{round}-{number}.db"));
            let hub = open_and_migrate(hub, Kind::Hub, NOW_MS).expect("opens");
            hub.attach(&book, "book").expect("attached");
            moved.push(timed(|| move_rows(&hub, shape)));
            judged.push(timed(|| hub.query_value::<i64>(shape.sums, ()).map(|_| ())));
        }
    }
    let mut first = None;
    for (shape, (mut moved, mut judged)) in SHAPES.iter().zip(times) {
        let (moved, judged) = (median(&mut moved), median(&mut judged));
        let both = (moved + judged).as_secs_f64();
        println!(
            "{:<38} {:>7.3} s {:>7.3} s {:>7.2}",
            shape.name,
            moved.as_secs_f64(),
            judged.as_secs_f64(),
            both / *first.get_or_insert(both),
        );
    }
}

fn timed(work: impl FnOnce() -> Result<(), SqlError>) -> Duration {
    let begun = Instant::now();
    work().expect("runs");
    begun.elapsed()
}

fn move_rows(hub: &Connection, shape: &Shape) -> Result<(), SqlError> {
    hub.transaction(|tx| -> Result<(), SqlError> {
        tx.execute(
            &format!("INSERT INTO main.receipt_line {}", shape.lines),
            (),
        )?;
        tx.execute(&format!("INSERT INTO main.payment {}", shape.payments), ())?;
        Ok(())
    })
}

/// The same sales in every shape.
fn write_book(path: &Path, sales: &[Sale]) -> Result<(), SqlError> {
    let book = Connection::open(path, Durability::Full).expect("opens");
    book.execute_batch(
        "CREATE TABLE folded (seq INTEGER PRIMARY KEY, lines TEXT, payments TEXT);
         CREATE TABLE folded_binary (seq INTEGER PRIMARY KEY, lines BLOB, payments BLOB);
         CREATE TABLE flat_line (seq INTEGER, line INTEGER, sku TEXT, description TEXT,
             quantity_milli INTEGER, unit_price_mills INTEGER, amount_minor INTEGER,
             PRIMARY KEY (seq, line)) WITHOUT ROWID;
         CREATE TABLE flat_payment (seq INTEGER PRIMARY KEY, tender TEXT, amount_minor INTEGER);
         CREATE TABLE item (key INTEGER PRIMARY KEY, sku TEXT, description TEXT,
             quantity_milli INTEGER, unit_price_mills INTEGER, tender TEXT,
             amount_minor INTEGER);",
    )?;
    book.transaction(|tx| -> Result<(), SqlError> {
        for sale in sales {
            let values = ["seq", "lines", "payments"].map(|name| sale.value(name));
            tx.execute(
                "INSERT INTO folded VALUES (?, ?, ?)",
                params_from_iter(values),
            )?;
        }
        for sql in [
            "INSERT INTO folded_binary SELECT seq, jsonb(lines), jsonb(payments) FROM folded",
            "INSERT INTO flat_line SELECT seq, l.key + 1, l.value ->> 0, l.value ->> 1,
                 l.value ->> 2, l.value ->> 3, l.value ->> 4 FROM folded, json_each(lines) AS l",
            "INSERT INTO flat_payment SELECT seq, p.value ->> 0, p.value ->> 1
                 FROM folded, json_each(payments) AS p",
            "INSERT INTO item SELECT seq << 16 | line, sku, description, quantity_milli,
                 unit_price_mills, NULL, amount_minor FROM flat_line
             UNION ALL SELECT seq << 16 | 32769, NULL, NULL, NULL, NULL, tender, amount_minor
                 FROM flat_payment ORDER BY 1",
        ] {
            tx.execute(sql, ())?;
        }
        Ok(())
    })
}
