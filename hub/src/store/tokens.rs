//! Which token does a node have, and which one comes next?
//!
//! A node names its next token while the present one is good. Both are good until the next one is used: whoever
//! uses it has it on disk, so the one before is not needed any more.

use super::alerts::{self, NewAlert};
use super::users::note;
use super::watch::TRADES;
use super::{AuthedNode, Reader, Store, StoreError, closures, node_id};
use counterfoil_domain::NodeId;
use counterfoil_domain::closure::SealKey;
use counterfoil_migrate::{Connection, params};
use serde_json::Value;

/// The alert about an expired token.
pub(super) const EXPIRED: &str = "token_expired";

/// What is on record of a node's token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TokenState {
    pub(crate) expires_ms: Option<i64>,
    /// The node should name its next one, or use the one that it named.
    pub(crate) wanted: bool,
    /// When any node was given a token the last time: a clock that shows less is behind.
    pub(crate) known_ms: i64,
}

/// A token that a node will use next.
#[derive(Clone, Debug)]
pub(crate) struct NextToken {
    pub(crate) node: AuthedNode,
    pub(crate) hash: Vec<u8>,
    pub(crate) expires_ms: Option<i64>,
    pub(crate) now_ms: i64,
}

impl Store {
    /// Notes a node's next token; false when that one is somebody's, or was this node's before. The same again
    /// changes nothing but its end.
    pub(crate) fn note_next_token(&self, next: &NextToken) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE token_hash = ?1
                           OR (next_token_hash = ?1 AND number <> ?2))";
            let taken: bool = tx.query_value(sql, params![next.hash.clone(), next.node.number])?;
            if taken || has_ended(tx, &next.hash)? {
                return Ok(false);
            }
            let sql =
                "UPDATE node SET next_token_hash = ?2, next_token_expires_ms = ?3, token_rotate = 0
                       WHERE number = ?1";
            let row = params![next.node.number, next.hash.clone(), next.expires_ms];
            tx.execute(sql, row)?;
            // A day that is closed before the next contact is sealed with it.
            closures::keep_key(tx, next.node.id, &next.hash, next.now_ms)?;
            Ok(true)
        })
    }

    /// Ends the token before, because the next one is used; false when it is nobody's next one any more.
    pub(crate) fn begin_token(&self, hash: &[u8], now_ms: i64) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE node SET token_hash = next_token_hash, next_token_hash = NULL,
                           token_expires_ms = next_token_expires_ms, next_token_expires_ms = NULL
                       WHERE next_token_hash = ?1 RETURNING id";
            let begun = tx.query_optional(sql, params![hash], |row| node_id(row, 0))?;
            if let Some(node) = begun {
                renewed(tx, node, now_ms)?;
            }
            Ok(begun.is_some())
        })
    }

    /// Puts on record that a node asks with a token that has expired; that lasts until it has another one.
    pub(crate) fn note_expired(
        &self,
        node: NodeId,
        detail: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let alert = NewAlert {
            at_ms: now_ms,
            kind: EXPIRED,
            node: Some(node),
            subject: String::new(),
            detail: detail.to_owned(),
        };
        self.hub.transaction(|tx| {
            // Whoever asks for a till that another one goes on for: nobody there gets a new token.
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM node JOIN shop ON shop.id = node.shop
                 WHERE node.id = ?1 AND {TRADES})"
            );
            match tx.query_value(&sql, params![node.to_bytes()])? {
                true => alerts::raise(tx, &alert),
                false => Ok(()),
            }
        })
    }

    /// Has a node asked for another token at its next hello; false when there is no such node.
    pub(crate) fn ask_for_token(&self, node: NodeId, by: (&str, i64)) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let sql = "UPDATE node SET token_rotate = 1 WHERE id = ?1";
            if tx.execute(sql, params![node.to_bytes()])? == 0 {
                return Ok(false);
            }
            let what = ("token_rotation_asked", format!("node {node}"));
            note(tx, by, what, Value::Null)?;
            Ok(true)
        })
    }
}

impl Reader {
    /// What is on record of a node's token.
    pub(crate) fn token_state(&self, node: i64) -> Result<TokenState, StoreError> {
        let known_ms = self.known_ms()?;
        let sql = "SELECT token_expires_ms, token_rotate <> 0 OR next_token_hash IS NOT NULL
                   FROM node WHERE number = ?1";
        Ok(self.hub.query_row(sql, params![node], |row| {
            Ok(TokenState {
                expires_ms: row.get(0)?,
                wanted: row.get(1)?,
                known_ms,
            })
        })?)
    }

    /// A time that is past for sure: when any node was given a token the last time.
    pub(crate) fn known_ms(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(from_ms), 0) FROM node_key";
        Ok(self.hub.query_value(sql, ())?)
    }

    /// The node that had a token before the one that it has.
    pub(super) fn former_owner(&self, token_hash: &[u8]) -> Result<Option<NodeId>, StoreError> {
        let Some(key) = seal_key(token_hash) else {
            return Ok(None);
        };
        let sql = "SELECT node.id FROM node_key JOIN node ON node.number = node_key.node
                   WHERE node_key.seal_key = ?1 LIMIT 1";
        let found = self
            .hub
            .query_optional(sql, params![key], |row| node_id(row, 0))?;
        Ok(found)
    }
}

/// A node was given another token.
pub(super) fn renewed(tx: &Connection, node: NodeId, now_ms: i64) -> Result<(), StoreError> {
    alerts::clear(tx, EXPIRED, Some(node), now_ms)
}

/// What is kept of a token that a node had.
fn seal_key(token_hash: &[u8]) -> Option<Vec<u8>> {
    let hash = <[u8; 32]>::try_from(token_hash).ok()?;
    Some(SealKey::of_token_hash(&hash).as_bytes().to_vec())
}

/// Whether some node had this token and has another one since. Such a one never comes back, for that node or for another
/// one: it may be in a backup, or in somebody's hands.
pub(super) fn has_ended(tx: &Connection, hash: &[u8]) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (
                   SELECT 1 FROM node_key JOIN node ON node.number = node_key.node
                   WHERE node_key.seal_key = ?1 AND node.token_hash <> ?2
                     AND node.next_token_hash IS NOT ?2)";
    Ok(tx.query_value(sql, params![seal_key(hash), hash])?)
}
