//! The identities of a book: the present one, those it gave up, and the one it asks for.
//!
//! A till that was restored from a backup, or cloned, goes on under a new identity (ADR 0008). The
//! claim is kept in the book before it is first sent, because nothing but the book is never made
//! anew; from then on receipts are numbered in a series of their own.

use crate::activation::Binding;
use crate::error::StoreError;
use crate::escrow::FROZEN_KEY;
use crate::fence::{follow_epoch, set_tag};
use crate::open::ShopStore;
use counterfoil_domain::env::uuid_v7;
use counterfoil_domain::lineage::{Former, Point};
use counterfoil_domain::{Chain, NodeId};
use counterfoil_migrate::{Connection, SqlError, params};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use serde::{Deserialize, Serialize};

const CLAIM_KEY: &str = "identity_claim";
/// Why a till leaves its series that finds another under its name.
const TWO_OF_A_NAME: &str = "the hub knows another till of this name: one of the two is a copy";

const FORMERS_KEY: &str = "former_nodes";

/// A new identity that was asked for and not given yet. Its token is in the credential store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentityClaim {
    /// The new identity.
    pub node: NodeId,
    /// The last entry that both sides hold.
    pub common: Point,
}

impl ShopStore {
    /// The identities that this book gave up, oldest first.
    pub fn formers(&self) -> &[Former] {
        &self.formers
    }

    /// The newest entry.
    pub fn end(&self) -> Point {
        let (seq, chain) = (self.head.seq, self.head.chain);
        Point { seq, chain }
    }

    /// The chain value of an entry; `None` when the journal does not reach so far.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Corrupt`].
    pub fn chain_at(&self, seq: i64) -> Result<Option<Chain>, StoreError> {
        if seq == 0 {
            return Ok(Some(Chain::START));
        }
        let sql = "SELECT chain FROM main.journal WHERE seq = ?1";
        let found = self
            .conn
            .query_optional(sql, [seq], |row| row.get::<Vec<u8>>(0))?;
        let corrupt = || StoreError::Corrupt {
            what: "the journal's chain",
        };
        found
            .map(|bytes| Chain::from_slice(&bytes).ok_or_else(corrupt))
            .transpose()
    }

    /// Whether the journal holds all of the points.
    ///
    /// # Errors
    /// As [`Self::chain_at`].
    pub fn holds(&self, points: &[Point]) -> Result<bool, StoreError> {
        for point in points {
            if self.chain_at(point.seq)? != Some(point.chain) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Claims a new identity before it is first asked for; one that was claimed before is claimed
    /// again. From here on receipts are numbered in a series with a tag: the old one goes on elsewhere.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub fn claim_identity(
        &mut self,
        common: Point,
        now_ms: i64,
    ) -> Result<IdentityClaim, StoreError> {
        let held = self.identity_claim()?;
        let node = held.as_ref().map(|claim| claim.node);
        let minted = || NodeId::from_uuid(uuid_v7(now_ms, self.random.as_ref()));
        let node = node.unwrap_or_else(minted);
        let claim = IdentityClaim { node, common };
        let text = serde_json::to_string(&claim)?;
        let leave = match held {
            Some(_) => None,
            None => Some(self.leave_series(self.series(), TWO_OF_A_NAME, now_ms)?),
        };
        self.change_identity(|conn| {
            set_meta(conn, CLAIM_KEY, &text)?;
            leave.as_ref().map_or(Ok(()), |leave| leave.write(conn))
        })?;
        Ok(claim)
    }

    /// Drops a claim whose identity another till has taken: this folder was copied after the claim, and the copy has its
    /// series too.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub fn drop_identity_claim(&mut self) -> Result<(), StoreError> {
        let tag = self.draw_tag();
        self.change_identity(|conn| {
            set_tag(conn, &tag)?;
            remove_meta(conn, CLAIM_KEY)
        })
    }

    /// Becomes another node before it ever belonged to a shop: the hub knows another folder under this
    /// name, so one of them is a copy of the other. Receipts are numbered anew from here on.
    ///
    /// # Errors
    /// [`StoreError`]; the book is as it was.
    pub fn rename_in_trial(&mut self, now_ms: i64) -> Result<NodeId, StoreError> {
        let node = NodeId::from_uuid(uuid_v7(now_ms, self.random.as_ref()));
        let mut formers = self.formers.clone();
        formers.push(Former {
            node: self.node,
            lane: Former::NO_LANE,
            until_seq: self.head.seq,
            common: Point::START,
        });
        let text = serde_json::to_string(&formers)?;
        let leave = self.leave_series(self.series(), TWO_OF_A_NAME, now_ms)?;
        self.change_identity(|conn| {
            set_meta(conn, FORMERS_KEY, &text)?;
            set_meta(conn, "node_id", &node.to_string())?;
            leave.write(conn)?;
            // It has no lanes to share rights with.
            remove_meta(conn, FROZEN_KEY)
        })?;
        Ok(node)
    }

    /// Becomes what was claimed and given: from the next entry on the book is that node's.
    ///
    /// # Errors
    /// [`StoreError`]; the book is as it was.
    pub fn take_identity(
        &mut self,
        claim: &IdentityClaim,
        answer: &IdentityAnswer,
    ) -> Result<(), StoreError> {
        let mut formers = self.formers.clone();
        formers.push(Former {
            node: self.node,
            lane: self
                .binding
                .as_ref()
                .map_or(Former::NO_LANE, |binding| binding.lane),
            until_seq: self.head.seq,
            common: claim.common,
        });
        let text = serde_json::to_string(&formers)?;
        let (epoch, tag) = (self.epoch, self.draw_tag());
        // Peers have nothing under the new name yet; whoever dies in between has said too little.
        self.forget_peer_marks()?;
        self.change_identity(|conn| {
            set_meta(conn, FORMERS_KEY, &text)?;
            set_meta(conn, "node_id", &claim.node.to_string())?;
            set_meta(conn, "lane", &answer.lane.to_string())?;
            follow_epoch(conn, answer.epoch, epoch, &tag)?;
            // Its rights stay the former one's.
            remove_meta(conn, FROZEN_KEY)?;
            remove_meta(conn, CLAIM_KEY)
        })
    }

    /// Takes over lane and epoch from the hub: it may number this lane otherwise since it was restored
    /// from a backup.
    ///
    /// # Errors
    /// [`StoreError`]; the book is as it was.
    pub fn take_lane(&mut self, answer: &IdentityAnswer) -> Result<(), StoreError> {
        let (epoch, tag) = (self.epoch, self.draw_tag());
        let lane = self.binding.as_ref().map(|binding| binding.lane);
        if lane == Some(answer.lane) && answer.epoch <= epoch {
            return Ok(());
        }
        self.change_identity(|conn| {
            set_meta(conn, "lane", &answer.lane.to_string())?;
            follow_epoch(conn, answer.epoch, epoch, &tag)
        })
    }

    /// The claim that is not answered yet, if any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn identity_claim(&self) -> Result<Option<IdentityClaim>, StoreError> {
        match self.meta(CLAIM_KEY)? {
            Some(text) => Ok(Some(serde_json::from_str(&text)?)),
            None => Ok(None),
        }
    }

    /// Reads who this book is.
    pub(crate) fn reload_identity(&mut self) -> Result<(), StoreError> {
        if let Some(node) = self.meta("node_id")? {
            self.node = node.parse()?;
        }
        self.formers = match self.meta(FORMERS_KEY)? {
            Some(text) => serde_json::from_str(&text)?,
            None => Vec::new(),
        };
        if let Some(epoch) = self.meta("epoch")? {
            self.epoch = epoch
                .parse()
                .map_err(|_| StoreError::Corrupt { what: "the epoch" })?;
        }
        self.reload_tag()?;
        self.binding = Binding::read(self)?;
        // Another journal begins with nothing said.
        self.head.said = None;
        Ok(())
    }

    /// One transaction; afterwards, whatever became of it, memory holds what the file says.
    pub(crate) fn change_identity(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<(), SqlError>,
    ) -> Result<(), StoreError> {
        let changed = self
            .conn
            .transaction(|tx| change(tx).map_err(StoreError::from));
        self.reload()?;
        self.keep_identity();
        changed
    }
}

pub(crate) fn set_meta(conn: &Connection, key: &str, value: &str) -> Result<(), SqlError> {
    let sql = "INSERT OR REPLACE INTO main.meta (key, value) VALUES (?1, ?2)";
    conn.execute(sql, params![key, value])?;
    Ok(())
}

fn remove_meta(conn: &Connection, key: &str) -> Result<(), SqlError> {
    conn.execute("DELETE FROM main.meta WHERE key = ?1", params![key])?;
    Ok(())
}
