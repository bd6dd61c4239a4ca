//! What each layout of the book costs a sale: frames, bytes in the WAL, on the line and on disk, time.
//!
//! `cargo run --release -p counterfoil-shop-store --example layout [SALES]` prints the table of ADR 0004.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    reason = "a measurement for people, by the real clock"
)]

mod hub;
mod sale;
mod variants;
mod wal;

use counterfoil_migrate::{Connection, Durability, SqlError, params_from_iter};
use counterfoil_testkit::TempDir;
use sale::Sale;
use std::time::{Duration, Instant};
use variants::{Each, Variant};

const WARM_UP: i64 = 200;
const LINES: u64 = 4;
const SALES: i64 = 3_000;
/// A frame in the WAL: its header and a page.
const FRAME: f64 = 4_120.0;

/// A layout in its database.
struct Book {
    variant: &'static Variant,
    statements: Vec<String>,
    conn: Connection,
    times: Vec<Duration>,
}

impl Book {
    fn open(dir: &TempDir, number: usize, variant: &'static Variant) -> Self {
        let path = dir.join(&format!("book-{number}.db"));
        let conn = Connection::open(path, Durability::Full).expect("opens");
        conn.execute_batch(&variant.tables.concat())
            .expect("tables");
        let statement = |insert: &variants::Insert| {
            let marks = vec!["?"; insert.values.len()].join(", ");
            format!("INSERT INTO {} VALUES ({marks})", insert.table)
        };
        let statements = variant.inserts.iter().map(statement).collect();
        Self {
            variant,
            statements,
            conn,
            times: Vec::new(),
        }
    }

    fn sell(&mut self, sale: &Sale) {
        let begun = Instant::now();
        let written = self.conn.transaction(|tx| -> Result<(), SqlError> {
            for (insert, sql) in self.variant.inserts.iter().zip(&self.statements) {
                match insert.each {
                    Each::Sale => {
                        let values = insert.values.iter().map(|name| sale.value(name));
                        tx.execute(sql, params_from_iter(values))?;
                    }
                    Each::Line => {
                        for line in &sale.lines {
                            let values = insert.values.iter().map(|name| line.value(sale, name));
                            tx.execute(sql, params_from_iter(values))?;
                        }
                    }
                }
            }
            Ok(())
        });
        written.expect("written");
        self.times.push(begun.elapsed());
    }

    /// Prints the row of the table; `first` is the median time of the first layout.
    fn report(mut self, first: Duration) {
        let path = self.conn.path().to_owned();
        let commits = wal::commits(&path);
        let count = self.times.len();
        let skip = commits.len() - count + usize::try_from(WARM_UP).expect("small");
        let sizes = wal::sizes(&commits, skip);
        self.conn.checkpoint_truncate().expect("checkpointed");
        self.conn.close();
        let disk = std::fs::metadata(&path).expect("the file").len();
        let disk = wal::mean(usize::try_from(disk).expect("small"), count);
        let ratio = wal::median(&mut self.times).as_secs_f64() / first.as_secs_f64();
        println!(
            "{:<38} {:>6.2} {:>7.0} {:>6.0} {:>7} {:>7} {:>8.0} {:>8.0} {:>6.2}",
            self.variant.name,
            sizes.frames,
            sizes.frames * FRAME,
            disk,
            sizes.whole,
            sizes.delta,
            sizes.backlog_whole,
            sizes.backlog_delta,
            ratio,
        );
    }
}

fn main() {
    let given = std::env::args()
        .nth(1)
        .map(|text| text.parse().expect("a number of sales"));
    let count: i64 = given.unwrap_or(SALES);
    let trade = sale::trade(WARM_UP + count, LINES);
    let dir = TempDir::new("layout");
    let variants = variants::ALL.iter().enumerate();
    let mut books: Vec<Book> = variants
        .map(|(number, variant)| Book::open(&dir, number, variant))
        .collect();
    for sale in &trade {
        // In turns, so that whatever else the machine does falls on all of them.
        for book in &mut books {
            book.sell(sale);
        }
    }
    let first = wal::median(&mut books[0].times.clone());
    println!("{count} sales of 4 lines and a payment, after {WARM_UP}; everything is per sale\n");
    println!(
        "{:<38} {:>6} {:>7} {:>6} {:>7} {:>7} {:>8} {:>8} {:>6}",
        "", "", "WAL", "disk", "alone", "alone", "backlog", "backlog", "commit"
    );
    println!(
        "{:<38} {:>6} {:>7} {:>6} {:>7} {:>7} {:>8} {:>8} {:>6}",
        "layout", "frames", "bytes", "bytes", "whole", "delta", "whole", "delta", "ratio"
    );
    for book in books {
        book.report(first);
    }
    println!(
        "\nmedian commit of the first layout: {:.3} ms",
        first.as_secs_f64() * 1e3
    );
    hub::report(&dir);
}
