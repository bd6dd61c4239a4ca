//! Damage to a file that can be had again must not keep a till from selling: the file is put aside
//! and made anew. The catalog is pulled again, `local.db` is rebuilt; the book is never touched.

use crate::node::OpenNodeError;
use counterfoil_migrate::Connection;
use counterfoil_replica::env::Env;
use counterfoil_shop_store::Paths;
use std::path::{Path, PathBuf};

/// Puts damaged files aside, under a name with the time; whether there were any.
///
/// # Errors
/// [`OpenNodeError::Directory`] when a file cannot be moved.
pub(crate) fn put_damaged_aside(paths: &Paths, env: &Env) -> Result<bool, OpenNodeError> {
    let mut any = false;
    for path in [&paths.catalog, &paths.local] {
        if !is_damaged(path) {
            continue;
        }
        tracing::error!(path = %path.display(), "a damaged database is put aside and made anew");
        let suffix = format!(".damaged-{}", env.clock.now_ms());
        for part in ["", "-wal", "-sync"] {
            let file = with_suffix(path, part);
            if env.files.exists(&file).map_err(OpenNodeError::Directory)? {
                let aside = with_suffix(&file, &suffix);
                env.files
                    .rename_durable(&file, &aside)
                    .map_err(OpenNodeError::Directory)?;
            }
        }
        let index = with_suffix(path, "-shm");
        env.files
            .remove_if_exists(&index)
            .map_err(OpenNodeError::Directory)?;
        any = true;
    }
    Ok(any)
}

fn is_damaged(path: &Path) -> bool {
    if !path.exists() {
        return false;
    }
    let check = |conn: &Connection| conn.query_value::<String>("PRAGMA quick_check(1)", ());
    match Connection::open_read_only(path) {
        Ok(conn) => !matches!(check(&conn).as_deref(), Ok("ok")),
        Err(_) => true,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
