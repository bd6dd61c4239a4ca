//! A book that lost its end, or all of it: its log was damaged, or its file alone was restored or deleted.
//!
//! `local.db` still knows who the till is and how far the hub had its book. What the hub has is safe
//! there; the till must go on selling for the same shop, and must not give a receipt number twice. The
//! next sync finds that the hub has more, and the till goes on under a new identity (ADR 0008).

use crate::activation::Binding;
use crate::delivery::Reader;
use crate::error::StoreError;
use crate::identity::set_meta;
use crate::open::ShopStore;
use counterfoil_domain::{HubId, NodeId, ShopId};
use counterfoil_protocol::wire::hub::ActivateAnswer;
use counterfoil_protocol::wire::node::LogRow;
use serde::{Deserialize, Serialize};
use serde_json::json;

const KEPT_KEY: &str = "identity";
/// Whose book lost its end, and behind which entry.
const LOST_KEY: &str = "lost_behind";

/// Who the till is, kept outside the book.
#[derive(Serialize, Deserialize)]
struct Kept {
    node: NodeId,
    shop: ShopId,
    shop_name: String,
    hub: HubId,
    hub_url: String,
    lane: i64,
    epoch: i64,
    /// The series of its receipts.
    #[serde(default)]
    series: Option<String>,
}

impl ShopStore {
    /// Keeps who the till is outside the book too. Without that only the rescue of a lost book fails, and
    /// the next start keeps it, so a failure here is told and nothing else.
    pub(crate) fn keep_identity(&self) {
        let Some(binding) = self.binding.clone() else {
            return;
        };
        let Binding {
            shop,
            shop_name,
            hub,
            hub_url,
            lane,
        } = binding;
        let kept = Kept {
            node: self.node,
            shop,
            shop_name,
            hub,
            hub_url,
            lane,
            epoch: self.epoch,
            series: Some(self.series()),
        };
        let done = serde_json::to_string(&kept)
            .map_err(StoreError::from)
            .and_then(|text| match self.local_state(KEPT_KEY)? {
                Some(known) if known == text => Ok(()),
                _ => self.set_local_state(KEPT_KEY, &text),
            });
        if let Err(error) = done {
            tracing::warn!(%error, "the till's identity cannot be kept outside its book");
        }
    }

    /// Goes on with a book that holds less than it did: binds it again when it lost that too, and numbers
    /// receipts in a series with a tag. May be cut off anywhere.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn make_up_for_losses(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.lower_peer_marks()?;
        let received = self.watermark(Reader::HubReceived)?;
        let kept = self.kept_identity()?.filter(|_| self.binding.is_none());
        if kept.is_none() && received <= self.head.seq {
            return Ok(());
        }
        let found = self.head.seq;
        let epoch = kept.as_ref().map_or(self.epoch, |kept| kept.epoch);
        let node = kept.as_ref().map_or(self.node, |kept| kept.node);
        let left = match &kept {
            Some(kept) => kept.series.clone().unwrap_or_else(|| format!("L{epoch}")),
            None => self.series(),
        };
        if received > found {
            let behind = self
                .lost_behind()?
                .map_or(found, |before| before.min(found));
            self.set_local_state(LOST_KEY, &format!("{node} {behind}"))?;
        }
        let leave = self.leave_series(left, "the book has lost entries", now_ms)?;
        self.change_identity(|conn| {
            set_meta(conn, "node_id", &node.to_string())?;
            set_meta(conn, "epoch", &epoch.to_string())?;
            leave.write(conn)
        })?;
        if let Some(kept) = kept {
            let answer = ActivateAnswer {
                hub: kept.hub,
                shop: kept.shop,
                shop_name: kept.shop_name,
                lane: kept.lane,
                epoch: Some(epoch),
            };
            self.bind(&answer, (&kept.hub_url, Vec::new()), now_ms)?;
        }
        let series = self.series();
        tracing::error!(
            found,
            received,
            %series,
            "the book has lost entries; receipts are numbered in a new series"
        );
        let row = LogRow {
            at_ms: now_ms,
            level: "error".to_owned(),
            event: "entries_lost".to_owned(),
            detail: json!({"journal_seq": found, "hub_received_seq": received, "series": series}),
        };
        self.log(&row, i64::MAX)?;
        for reader in [Reader::HubReceived, Reader::HubConsolidated] {
            let seq = self.watermark(reader)?.min(found);
            self.note(reader, seq, now_ms)?;
        }
        // What is edited from now on is not what the hub has merged.
        self.settlement = self.settlement()?;
        Ok(())
    }

    /// The entry behind which this identity's book has lost what the hub has: what stands there by now is something else.
    pub(crate) fn lost_behind(&self) -> Result<Option<i64>, StoreError> {
        let text = self.local_state(LOST_KEY)?;
        let found = text.as_deref().and_then(|text| text.split_once(' '));
        let own = found.filter(|(node, _)| *node == self.node.to_string());
        Ok(own.and_then(|(_, seq)| seq.parse().ok()))
    }

    fn kept_identity(&self) -> Result<Option<Kept>, StoreError> {
        let Some(text) = self.local_state(KEPT_KEY)? else {
            return Ok(None);
        };
        // One that cannot be read is as good as none: the till is in trial then, as without `local.db`.
        Ok(serde_json::from_str(&text)
            .inspect_err(|error| tracing::warn!(%error, "the kept identity cannot be read"))
            .ok())
    }
}
