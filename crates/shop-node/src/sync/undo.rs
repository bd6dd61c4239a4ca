//! Has the hub take back what this shop wrote to the catalog. It takes every version of a field, and those are at the hub
//! alone, so this is done with the hub or not at all.

use super::link::HubLink;
use super::{SyncError, sync_once};
use crate::limits::{UNDO_MERGED_PAUSE, UNDO_SYNCS_MAX};
use crate::node::Node;
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::decisions::{UndoRequest, Undone};
use counterfoil_shop_store::StoreError;

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    /// The hub cannot be asked, or what was written here has not got there.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The hub has not merged what was written here: it would come on top of what goes back.
    #[error("the hub has not merged yet what this till wrote: nothing was taken back")]
    NotMerged,
}

impl From<StoreError> for UndoError {
    fn from(error: StoreError) -> Self {
        Self::Sync(error.into())
    }
}

impl UndoError {
    /// As the local API answers it.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            // What the hub says of the request itself, and not of this till.
            Self::Sync(SyncError::Refused(problem))
                if matches!(
                    problem.code,
                    Code::Forbidden | Code::NotFound | Code::Invalid | Code::BadRequest
                ) =>
            {
                problem.clone()
            }
            Self::Sync(error) => error.problem(),
            Self::NotMerged => {
                Problem::new(Code::Busy, self.to_string()).hint("repeat it in a moment")
            }
        }
    }
}

/// Delivers what was written here, has the hub undo, and fetches the catalog as it is then.
pub(crate) async fn undo(node: &Node, request: &UndoRequest) -> Result<Undone, UndoError> {
    deliver(node).await?;
    let undone = HubLink::open(node).await?.undo(request).await?;
    if !undone.dry_run && sync_once(node).await.is_err() {
        // It is done at the hub. The run has said why it failed, and the next one fetches the catalog.
        node.nudge();
    }
    Ok(undone)
}

/// Syncs until the hub has merged every edit of this till.
async fn deliver(node: &Node) -> Result<(), UndoError> {
    for attempt in 0..UNDO_SYNCS_MAX {
        if attempt > 0 {
            tokio::time::sleep(UNDO_MERGED_PAUSE).await;
        }
        sync_once(node).await?;
        if node.store(|store| store.pending_edits()).await? == 0 {
            return Ok(());
        }
    }
    Err(UndoError::NotMerged)
}
