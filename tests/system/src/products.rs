//! A hub's catalog with as many rows as a benchmark wants.
#![expect(clippy::expect_used, reason = "a benchmark may stop")]

use counterfoil_migrate::{Kind, open_and_migrate, params};
use std::path::Path;

/// Rows of one statement.
const ROWS_AT_ONCE: usize = 2_000;

/// Makes a folder for a hub whose catalog holds so many products, in its file or in frames that follow it.
///
/// # Panics
/// When it cannot be made.
pub fn with_products(data: &Path, products: u32, name_bytes: u32, folded: bool) {
    std::fs::create_dir_all(data).expect("a folder");
    let conn = open_and_migrate(data.join("catalog.db"), Kind::Catalog, 0).expect("a catalog");
    for first in (1..=products).step_by(ROWS_AT_ONCE) {
        let last = products.min(first + 1_999);
        conn.execute(
            "WITH RECURSIVE number (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM number WHERE n < ?2)
             INSERT INTO products (id, name, barcode, price_mills, last_modified_at, revision)
             SELECT 'P' || n, hex(randomblob(?3)), printf('%013d', n), 1000 + n, 1, 1 FROM number",
            params![first, last, name_bytes.div_euclid(2)],
        )
        .expect("products");
    }
    conn.execute("UPDATE catalog_state SET revision = 1", ())
        .expect("a revision");
    if folded {
        let fold = "PRAGMA wal_checkpoint(TRUNCATE)";
        conn.query_map(fold, (), |row| row.get::<i64>(0))
            .expect("one file");
    }
    conn.abandon();
}

/// Gives each product a new price, in the way of a hub that publishes: rows of one more revision in the frames
/// of the catalog. The hub must not run. Gives back the revision.
///
/// # Panics
/// When the catalog cannot be written.
#[must_use]
pub fn with_new_prices(data: &Path, products: u32) -> i64 {
    let conn = open_and_migrate(data.join("catalog.db"), Kind::Catalog, 0).expect("a catalog");
    for first in (1..=products).step_by(ROWS_AT_ONCE) {
        let last = products.min(first + 1_999);
        conn.execute(
            "WITH RECURSIVE number (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM number WHERE n < ?2)
             INSERT INTO prices (id, product, price_mills, valid_from_ms, last_modified_at, revision)
             SELECT 'N' || n, 'P' || n, 2000 + n, 0, 1,
                 (SELECT revision + 1 FROM catalog_state) FROM number",
            params![first, last],
        )
        .expect("prices");
    }
    conn.execute("UPDATE catalog_state SET revision = revision + 1", ())
        .expect("a revision");
    let revision = conn.query_value("SELECT revision FROM catalog_state", ());
    let revision = revision.expect("a revision");
    conn.abandon();
    revision
}
