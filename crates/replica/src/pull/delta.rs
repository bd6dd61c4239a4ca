//! Frames that the hub gives as the difference from the pages that the catalog has.

use super::catalog::Catalog;
use crate::{
    copy::DeltaFrames,
    delta::{Delta, DeltaError},
    frame::Chain,
    local::LocalError,
    numbering::Mapping,
};

/// Rolling checksum of the catalog, when this hub frame is its last one; `None` for a download, whose
/// frames go elsewhere.
pub(super) fn before(
    catalog: &mut Catalog,
    mapping: &Mapping,
    frame: u64,
) -> Result<Option<Chain>, LocalError> {
    let local = &mut catalog.local;
    let frames = local.observe()?.frames;
    let is_last = u64::try_from(mapping.hub_frame(frames)) == Ok(frame);
    if local.record.mapping != Some(*mapping) || !is_last {
        return Ok(None);
    }
    local.chain_at(mapping, frames).map(Some)
}

/// The frames; `None` when they do not belong to the catalog's pages and have to come whole. That the
/// hub's main file was folded in part, while somebody read it, is a reason too.
pub(super) fn decode(
    catalog: &mut Catalog,
    before: Option<Chain>,
    pulled: &DeltaFrames,
) -> Result<Option<Vec<u8>>, LocalError> {
    let local = &mut catalog.local;
    let frames = local.observe()?.frames;
    let error = match Delta::parse(&pulled.bytes, pulled.frames) {
        Ok(delta) => {
            let known = local.on_pages(|index, reading| {
                index.known_pages(reading, frames, |_| delta.pages().to_vec())
            })?;
            match delta.decode(&known) {
                Ok(body) if before.map(|it| it.after_all(&body)) == Some(pulled.chain) => {
                    return Ok(Some(body));
                }
                Ok(_) => DeltaError::Mismatch,
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    tracing::warn!(%error, "the catalog's delta frames do not fit; they are pulled whole");
    Ok(None)
}
