//! The catalog's file is replaced by one that the hub sent whole. Nearly always it goes on where the old one
//! stood. That of a hub that was restored from a backup may not, whatever revision it has reached since:
//! then cursors that were given out over the old one are worth nothing.

use crate::error::StoreError;
use crate::open::ShopStore;
use std::collections::BTreeMap;

/// Stands in `local.db` from before the file is replaced until that is looked at: a process that is killed between leaves it.
const SWAPPING_KEY: &str = "catalog_swapping";

/// What a catalog has published.
struct Published {
    revision: i64,
    /// Of each row, by table and id, the revision and the versions it was merged from.
    rows: BTreeMap<(String, String), (i64, String)>,
}

impl ShopStore {
    /// Lets go of the catalog while its file is replaced, and looks at what has come.
    ///
    /// # Errors
    /// [`StoreError`]; when the catalog cannot be let go, nothing was replaced.
    pub fn swap_catalog(&mut self, replace: impl FnOnce()) -> Result<(), StoreError> {
        let before = match self.published() {
            Ok(before) => Some(before),
            // One that is damaged is replaced because of that.
            Err(error) => {
                tracing::warn!(%error, "the catalog that is replaced cannot be read");
                None
            }
        };
        self.set_local_state(SWAPPING_KEY, "")?;
        self.detach_catalog()?;
        replace();
        self.attach_catalog()?;
        let goes_on = match before {
            Some(before) => self.goes_on_from(before)?,
            None => false,
        };
        self.end_swap(goes_on)
    }

    /// Makes up for a swap whose process was killed, or had no room on the disk: nobody looked at what came.
    pub(crate) fn make_up_for_swap(&mut self) -> Result<(), StoreError> {
        match self.local_state(SWAPPING_KEY)? {
            Some(_) => self.end_swap(false),
            None => Ok(()),
        }
    }

    fn end_swap(&mut self, goes_on: bool) -> Result<(), StoreError> {
        self.conn.transaction(|_| {
            if !goes_on {
                tracing::warn!("the catalog is not the one of before: clients begin again");
                self.turn()?;
            }
            // The hub counts them in a file of its own, which was restored too where the catalog was.
            self.drop_conflicts()?;
            self.remove_local_state(SWAPPING_KEY)
        })
    }

    fn published(&self) -> Result<Published, StoreError> {
        self.conn.snapshot(|_| {
            let mut rows = BTreeMap::new();
            self.each_published(|key, row| {
                rows.insert(key, row);
            })?;
            Ok(Published {
                revision: self.catalog_revision()?,
                rows,
            })
        })
    }

    /// Whether the catalog holds everything that was published before, or what took its place since.
    fn goes_on_from(&self, before: Published) -> Result<bool, StoreError> {
        let Published { revision, mut rows } = before;
        let mut same = true;
        self.each_published(|key, row| {
            let was = rows.remove(&key);
            // What is newer than the old catalog may have come in between.
            same &= row.0 > revision || was.as_ref() == Some(&row);
        })?;
        Ok(same && rows.is_empty() && self.catalog_revision()? >= revision)
    }

    fn each_published(
        &self,
        mut each: impl FnMut((String, String), (i64, String)),
    ) -> Result<(), StoreError> {
        for table in self.tables.keys() {
            let sql = format!("SELECT id, revision, versions FROM catalog.{table}");
            self.conn
                .query_each(&sql, (), |row| -> Result<(), StoreError> {
                    each((table.clone(), row.get(0)?), (row.get(1)?, row.get(2)?));
                    Ok(())
                })?;
        }
        Ok(())
    }
}
