//! Any program that opens a database and folds its write-ahead log, as programs do that are not ours.

use counterfoil_migrate::{Connection, Durability};
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let file = file.ok_or_else(|| anyhow::anyhow!("the path of a database is missing"))?;
    let conn = Connection::open_existing(&file, Durability::Full)?;
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    conn.close();
    Ok(())
}
