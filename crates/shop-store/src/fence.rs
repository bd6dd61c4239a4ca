//! The series that receipts are numbered in, and how a till leaves one without its hub (X8, G4).
//!
//! `L1` is live and epoch 1. Epochs come from the hub alone, which gives no two tills of a lineage the same one. A till
//! that must not go on with its series before it hears from the hub draws a tag, `L1.7QXK4`: so two copies of a folder
//! that both have to come apart without a word between them. The next epoch of the hub ends the tag.

use crate::error::StoreError;
use crate::identity::{remove_meta, set_meta};
use crate::open::ShopStore;
use counterfoil_migrate::{Connection, SqlError, params};
use counterfoil_protocol::wire::fence::Fenced;
use counterfoil_protocol::wire::node::LogRow;
use serde_json::json;

const TAG_KEY: &str = "series_tag";
const FENCED_KEY: &str = "fenced";

/// Letters that nobody takes for another one when a number is read out.
const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Letters of a tag: one of 33 million, and short enough for a receipt.
const TAG_LETTERS: usize = 5;

impl ShopStore {
    /// The series in which the next receipt is numbered.
    pub fn series(&self) -> String {
        let mode = if self.binding.is_none() { 'T' } else { 'L' };
        let (epoch, tag) = (self.epoch, self.series_tag.as_deref());
        match tag {
            Some(tag) => format!("{mode}{epoch}.{tag}"),
            None => format!("{mode}{epoch}"),
        }
    }

    /// Why receipts are numbered in a series with a tag; `None` when they are not, or when it is not known any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fenced(&self) -> Result<Option<Fenced>, StoreError> {
        if self.series_tag.is_none() {
            return Ok(None);
        }
        let Some(text) = self.local_state(FENCED_KEY)? else {
            return Ok(None);
        };
        // What was in trial then may be live now.
        let series = self.series();
        Ok(Some(Fenced {
            series,
            ..serde_json::from_str(&text)?
        }))
    }

    /// Leaves the present series: from here on receipts are numbered in one that no copy of this folder has. Costs
    /// nothing else; a till that did not need it goes on as it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fence(&mut self, why: &str, now_ms: i64) -> Result<Fenced, StoreError> {
        let leave = self.leave_series(self.series(), why, now_ms)?;
        self.change_identity(|conn| leave.write(conn))?;
        let Leave { fenced, .. } = leave;
        tracing::warn!(why, left = %fenced.left, series = %fenced.series, "receipts are numbered in a new series");
        let row = LogRow {
            at_ms: now_ms,
            level: "warn".to_owned(),
            event: "fenced".to_owned(),
            detail: json!({"why": why, "left": fenced.left, "series": fenced.series, "journal_seq": self.head.seq}),
        };
        self.log(&row, i64::MAX)?;
        Ok(fenced)
    }

    /// Draws a tag that this book has not used, to be written with whatever is the reason for it.
    pub(crate) fn leave_series(
        &self,
        left: String,
        why: &str,
        at_ms: i64,
    ) -> Result<Leave, StoreError> {
        let stem = left.split('.').next().unwrap_or_default();
        let (tag, series) = loop {
            let tag = self.draw_tag();
            let series = format!("{stem}.{tag}");
            if !self.head.numbers.contains_key(&series) {
                break (tag, series);
            }
        };
        let why = why.to_owned();
        let fenced = Fenced {
            at_ms,
            why,
            left,
            series,
        };
        let told = serde_json::to_string(&fenced)?;
        Ok(Leave { tag, told, fenced })
    }

    fn draw_tag(&self) -> String {
        let mut bytes = [0_u8; TAG_LETTERS];
        self.random.fill(&mut bytes);
        let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
        bytes.into_iter().map(letter).collect()
    }

    pub(crate) fn reload_tag(&mut self) -> Result<(), StoreError> {
        self.series_tag = self.meta(TAG_KEY)?;
        Ok(())
    }
}

/// A series that is about to be left.
pub(crate) struct Leave {
    tag: String,
    told: String,
    pub(crate) fenced: Fenced,
}

impl Leave {
    /// Leaves it, with the transaction.
    pub(crate) fn write(&self, conn: &Connection) -> Result<(), SqlError> {
        set_meta(conn, TAG_KEY, &self.tag)?;
        let sql = "INSERT OR REPLACE INTO local.state (key, value) VALUES (?1, ?2)";
        conn.execute(sql, params![FENCED_KEY, self.told.as_str()])?;
        Ok(())
    }
}

/// Takes over an epoch that the hub gave. A higher one begins a series that nobody has numbered in: no tag is needed
/// any more. A hub that was restored from a backup may give one that is none: then everything stays as it is.
pub(crate) fn follow_epoch(conn: &Connection, given: i64, present: i64) -> Result<(), SqlError> {
    if given <= present {
        return Ok(());
    }
    set_meta(conn, "epoch", &given.to_string())?;
    remove_meta(conn, TAG_KEY)?;
    conn.execute("DELETE FROM local.state WHERE key = ?1", [FENCED_KEY])?;
    Ok(())
}
