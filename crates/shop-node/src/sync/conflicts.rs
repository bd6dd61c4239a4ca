//! Hears from the hub what became of the conflicts of this shop.

use super::SyncError;
use super::link::HubLink;
use crate::node::Node;
use counterfoil_protocol::wire::decisions::{ConflictChanges, ConflictCursor};
use counterfoil_protocol::wire::hub::{CONFLICTS_PATH, HelloAnswer};
use counterfoil_shop_store::StoreError;

/// Largest answer: some hundred conflicts with two values each. A larger one is a failed run, and what
/// was heard before stays.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks for what is new, when the hub says that there is something.
pub(super) async fn hear(
    node: &Node,
    hub: &HubLink<'_>,
    hello: &HelloAnswer,
) -> Result<(), SyncError> {
    let Some(newest) = hello.conflicts else {
        return Ok(());
    };
    let mut heard = node
        .store(move |store| -> Result<_, StoreError> {
            let heard = store.conflicts_heard()?;
            if newest < heard.cursor.change {
                // A hub that was restored from a backup counts again.
                store.forget_conflicts()?;
            }
            store.conflicts_heard()
        })
        .await?;
    while heard.more || heard.cursor.change < newest {
        let ConflictCursor { change, id } = heard.cursor;
        let path = format!("{CONFLICTS_PATH}?change={change}&id={id}");
        let told: ConflictChanges = hub.get(&path, ANSWER_BYTES_MAX).await?;
        let empty = told.conflicts.is_empty();
        heard = node
            .store(move |store| -> Result<_, StoreError> {
                store.hear_conflicts(&told)?;
                store.conflicts_heard()
            })
            .await?;
        if empty {
            break;
        }
    }
    Ok(())
}
