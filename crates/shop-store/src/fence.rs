//! The series that receipts are numbered in, and how a till leaves one without its hub (X8, G4).
//!
//! `L1` is live and epoch 1. Epochs come from the hub alone. A till that must not go on with its series before it hears
//! from the hub draws a tag, `L1.7QXK4`: so two copies of a folder come apart without a word between them. Each further
//! epoch begins with a tag of its own: a hub that was restored from a backup may give one that another folder has
//! numbered in, and gives the same one to two folders that hold the same claim.

use crate::error::StoreError;
use crate::escrow::FROZEN_KEY;
use crate::identity::set_meta;
use crate::open::ShopStore;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Point;
use counterfoil_migrate::{Connection, SqlError, params};
use counterfoil_protocol::wire::fence::Fenced;
use counterfoil_protocol::wire::node::LogRow;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

const TAG_KEY: &str = "series_tag";
const BRANCHES_KEY: &str = "fence_branches";
const MARKED_KEY: &str = "fence_mark";
const FENCED_KEY: &str = "fenced";

/// Letters that nobody takes for another one when a number is read out.
const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Letters of a tag: one of 33 million, and short enough for a receipt.
const TAG_LETTERS: usize = 5;

/// How long one fence is enough for everybody who has a reason, in milliseconds. A peer that lies costs a series in that
/// time at most.
const FENCE_PAUSE_MS: i64 = 60_000;

/// Peers whose branch is remembered. The oldest goes when there are more, and costs a series if it comes again: a lane has
/// fewer peers.
const BRANCHES_MAX: usize = 64;

/// What tells the branches of this very book that peers hold from the present series.
#[derive(Default, Serialize, Deserialize)]
struct Branches {
    /// Of which series, among those of all tills.
    series: String,
    /// The end of the journal when it began.
    begun: Option<Point>,
    /// Peers that held a branch before it began, and where that ended when it was last heard of. The newest last.
    ends: Vec<(NodeId, Point)>,
}

/// Whether a branch that ends there, and is not in the journal, has no receipt of the present series. `begun` is the end
/// of the journal when the series began, `seen` where the same peer's branch ended before.
///
/// A branch that is other than the journal up to where the series began was written by a folder that never had the
/// series. So was one that was known before: whoever holds it can only add to it, however far it grows.
fn is_explained(theirs: Point, begun: Option<Point>, seen: Option<Point>) -> bool {
    begun.is_some_and(|begun| theirs.seq <= begun.seq)
        || seen.is_some_and(|seen| seen.seq <= theirs.seq)
}

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
        key_of(self.node, self.series_tag.as_deref())
    }

    /// What the node remembers of the mark that lies outside of its folder. A note that cannot be read is told, and as good
    /// as none.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn marked<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        self.note_of(MARKED_KEY)
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
        let fenced: Option<Fenced> = self.note_of(FENCED_KEY)?;
        // What was in trial then may be live now.
        let series = self.series();
        Ok(fenced.map(|fenced| Fenced { series, ..fenced }))
    }

    /// A note in `local.db`. One that cannot be read is told once, and goes: a series more costs less than a till that
    /// cannot say how it is.
    fn note_of<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let Some(text) = self.local_state(key)? else {
            return Ok(None);
        };
        match serde_json::from_str(&text) {
            Ok(note) => Ok(Some(note)),
            Err(error) => {
                tracing::warn!(%error, key, text, "a note of the book cannot be read: it counts as none");
                if let Err(error) = self.remove_local_state(key) {
                    tracing::warn!(%error, key, "it cannot be removed");
                }
                Ok(None)
            }
        }
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

    /// Leaves the present series because a peer holds another history of this very book, which ends there, or more of
    /// it. Not when a fence made before is the answer to it already. Whether the series was left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fence_for(
        &mut self,
        (peer, theirs): (NodeId, Point),
        why: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let branches = self.branches()?;
        let seen = branches.ends.iter().find(|(of, _)| *of == peer);
        let is_explained = is_explained(theirs, branches.begun, seen.map(|(_, end)| *end));
        let last = self.fenced()?.map(|it| now_ms.saturating_sub(it.at_ms));
        let is_recent = last.is_some_and(|ago_ms| (0..FENCE_PAUSE_MS).contains(&ago_ms));
        let is_due = !is_explained && !is_recent;
        if is_due {
            self.fence(why, now_ms)?;
        }
        let mut branches = self.branches()?;
        branches.ends.retain(|(of, _)| *of != peer);
        branches.ends.push((peer, theirs));
        let surplus = branches.ends.len().saturating_sub(BRANCHES_MAX);
        branches.ends.drain(..surplus);
        // Whoever is cut off before this draws one series more.
        self.set_local_state(BRANCHES_KEY, &serde_json::to_string(&branches)?)?;
        Ok(is_due)
    }

    /// A peer holds what stands in the journal: if it held a branch before, it has lost that, and may get another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_branch(&mut self, peer: NodeId) -> Result<(), StoreError> {
        let mut branches = self.branches()?;
        let known = branches.ends.len();
        branches.ends.retain(|(of, _)| *of != peer);
        if branches.ends.len() == known {
            return Ok(());
        }
        self.set_local_state(BRANCHES_KEY, &serde_json::to_string(&branches)?)
    }

    /// What is known of branches for the present series: nothing when the book was put back alone, to one of before.
    fn branches(&self) -> Result<Branches, StoreError> {
        let series = self.series_key();
        let known: Option<Branches> = self.note_of(BRANCHES_KEY)?;
        let mut known = known
            .filter(|known| known.series == series)
            .unwrap_or_default();
        known.series = series;
        if let Some(begun) = known.begun
            && !self.holds(&[begun])?
        {
            known.begun = None;
        }
        Ok(known)
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
        // Whoever holds a branch by now never gets a receipt of a series that begins behind it.
        let known: Option<Branches> = self.note_of(BRANCHES_KEY)?;
        let branches = Branches {
            series: key_of(self.node, Some(&tag)),
            begun: Some(self.end()),
            ends: known.unwrap_or_default().ends,
        };
        Ok(Leave {
            tag,
            told: serde_json::to_string(&fenced)?,
            branches: serde_json::to_string(&branches)?,
            end_seq: self.head.seq,
            fenced,
        })
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

fn key_of(node: NodeId, tag: Option<&str>) -> String {
    match tag {
        Some(tag) => format!("{node}-{tag}"),
        None => node.to_string(),
    }
}

/// A series that is about to be left.
pub(crate) struct Leave {
    tag: String,
    told: String,
    branches: String,
    /// The last entry before it.
    end_seq: i64,
    pub(crate) fenced: Fenced,
}

impl Leave {
    /// Leaves it, with the transaction.
    pub(crate) fn write(&self, conn: &Connection) -> Result<(), SqlError> {
        set_meta(conn, TAG_KEY, &self.tag)?;
        // A copy, or the till itself before it was restored, may have sold by the same rights.
        set_meta(conn, FROZEN_KEY, &self.end_seq.to_string())?;
        let sql = "INSERT OR REPLACE INTO local.state (key, value) VALUES (?1, ?2)";
        conn.execute(sql, params![FENCED_KEY, self.told.as_str()])?;
        conn.execute(sql, params![BRANCHES_KEY, self.branches.as_str()])?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_domain::Chain;

    fn end(seq: i64) -> Point {
        let chain = Chain::START;
        Point { seq, chain }
    }

    #[test]
    fn a_branch_is_explained_when_it_parts_before_the_series_or_was_known_before() {
        let cases = [
            ("nothing is known", 7, None, None, false),
            ("it ends before the series began", 6, Some(7), None, true),
            ("it ends where the series began", 7, Some(7), None, true),
            ("it may part in the series", 8, Some(7), None, false),
            ("it was known, and stands still", 8, Some(7), Some(8), true),
            ("it was known, and has grown", 900, Some(7), Some(8), true),
            (
                "it was known longer: it is another",
                8,
                Some(7),
                Some(9),
                false,
            ),
        ];
        for (what, theirs, begun, seen, expected) in cases {
            let found = is_explained(end(theirs), begun.map(end), seen.map(end));
            assert_eq!(found, expected, "{what}");
        }
    }
}
