//! The series that receipts are numbered in, and how a till leaves one without its hub (X8, G4).
//!
//! `L1` is live and epoch 1. Epochs come from the hub alone. A till that must not go on with its series before it hears
//! from the hub draws a tag, `L1.7QXK4`: so two copies of a folder come apart without a word between them. Each further
//! epoch begins with a tag of its own: a hub that was restored from a backup may give one that another folder has
//! numbered in, and gives the same one to two folders that hold the same claim.

use crate::error::StoreError;
use crate::identity::set_meta;
use crate::open::ShopStore;
use counterfoil_domain::lineage::Point;
use counterfoil_migrate::{Connection, SqlError, params};
use counterfoil_protocol::wire::fence::Fenced;
use counterfoil_protocol::wire::node::LogRow;
use serde_json::json;

const TAG_KEY: &str = "series_tag";
const EVIDENCE_KEY: &str = "fence_evidence";
const MARKED_KEY: &str = "fence_mark";
const FENCED_KEY: &str = "fenced";

/// Letters that nobody takes for another one when a number is read out.
const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Letters of a tag: one of 33 million, and short enough for a receipt.
const TAG_LETTERS: usize = 5;

/// How long one fence is enough for everybody who has a reason, in milliseconds. A peer that lies costs a series in that
/// time at most.
const FENCE_PAUSE_MS: i64 = 60_000;

/// Reasons that are remembered. The oldest goes when there are more: a lane has fewer peers.
const EVIDENCE_MAX: usize = 64;

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

    /// Names this till's present series among those of all tills.
    pub fn series_key(&self) -> String {
        match &self.series_tag {
            Some(tag) => format!("{}-{tag}", self.node),
            None => self.node.to_string(),
        }
    }

    /// What the node remembers of the mark that lies outside of its folder, as it was kept.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn marked(&self) -> Result<Option<String>, StoreError> {
        self.local_state(MARKED_KEY)
    }

    /// Keeps what the node remembers of its mark.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn keep_marked(&self, marked: &str) -> Result<(), StoreError> {
        self.set_local_state(MARKED_KEY, marked)
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

    /// Leaves the present series: from here on receipts are numbered in one that no copy made before has. Costs nothing
    /// else; a till that did not need it goes on as it was.
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

    /// Leaves the present series because somebody holds another history of this very book, which ends there. Once: they
    /// hold it for as long as the hub has not named the till anew. Whether the series was left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fence_for(
        &mut self,
        evidence: Point,
        why: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let mut known: Vec<Point> = match self.local_state(EVIDENCE_KEY)? {
            Some(text) => serde_json::from_str(&text)?,
            None => Vec::new(),
        };
        if known.contains(&evidence) {
            return Ok(false);
        }
        let last = self
            .fenced()?
            .map(|fenced| now_ms.saturating_sub(fenced.at_ms));
        let is_due = !last.is_some_and(|ago_ms| (0..FENCE_PAUSE_MS).contains(&ago_ms));
        if is_due {
            self.fence(why, now_ms)?;
        }
        known.push(evidence);
        let surplus = known.len().saturating_sub(EVIDENCE_MAX);
        known.drain(..surplus);
        // Whoever is cut off before this draws one series more.
        self.set_local_state(EVIDENCE_KEY, &serde_json::to_string(&known)?)?;
        Ok(is_due)
    }

    /// A tag to be written with whatever is the reason for it.
    pub(crate) fn leave_series(
        &self,
        left: String,
        why: &str,
        at_ms: i64,
    ) -> Result<Leave, StoreError> {
        let stem = left.split('.').next().unwrap_or_default();
        let tag = self.draw_tag();
        let series = format!("{stem}.{tag}");
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

    /// A tag that this book has not used.
    pub(crate) fn draw_tag(&self) -> String {
        loop {
            let mut bytes = [0_u8; TAG_LETTERS];
            self.random.fill(&mut bytes);
            let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
            let tag: String = bytes.into_iter().map(letter).collect();
            let is_used = |series: &String| series.split('.').nth(1) == Some(tag.as_str());
            if !self.head.numbers.keys().any(is_used) {
                return tag;
            }
        }
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

/// Takes over an epoch that the hub gave, with a tag for it. A hub that was restored from a backup may give one that is
/// none: then everything stays as it is.
pub(crate) fn follow_epoch(
    conn: &Connection,
    given: i64,
    present: i64,
    tag: &str,
) -> Result<(), SqlError> {
    if given <= present {
        return Ok(());
    }
    set_meta(conn, "epoch", &given.to_string())?;
    set_meta(conn, TAG_KEY, tag)
}

/// Leaves a series whose tag a copy has, for the reason that is known already.
pub(crate) fn set_tag(conn: &Connection, tag: &str) -> Result<(), SqlError> {
    set_meta(conn, TAG_KEY, tag)
}
