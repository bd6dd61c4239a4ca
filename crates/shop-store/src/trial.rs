//! The trial shop that a lane is paired into before it belongs to a real one (ADR 0026).
//!
//! It stands in `local.db`: whoever loses it is paired again. No document names it.

use crate::error::StoreError;
use crate::open::ShopStore;
use counterfoil_domain::mesh::Holding;
use counterfoil_domain::{NodeId, ShopId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const TRIAL_SHOP_KEY: &str = "trial_shop";
/// Whose journals came from lanes that this one has left.
const LEFT_KEY: &str = "left_lanes";

/// The number of the lane that shows codes.
pub const FIRST_LANE: i64 = 1;

/// A lane as the first one of its trial shop knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrialLane {
    /// Who.
    pub node: NodeId,
    /// Its number.
    pub lane: i64,
    /// Public half of its key: 64 hexadecimal digits.
    pub public_key: String,
    /// When it was revoked, milliseconds since the Unix epoch; its certificates of before are refused for ever.
    #[serde(default)]
    pub revoked_ms: Option<i64>,
    /// It was paired again after that, with another key.
    #[serde(default)]
    pub is_back: bool,
}

impl TrialLane {
    /// Whether it may not take part.
    pub const fn is_out(&self) -> bool {
        self.revoked_ms.is_some() && !self.is_back
    }
}

/// A trial shop as one of its lanes knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrialShop {
    /// As whom this lane was paired.
    pub node: NodeId,
    /// The shop.
    pub shop: ShopId,
    /// This lane's number in it.
    pub lane: i64,
    /// Where the first lane is reached; nothing at the first lane itself.
    #[serde(default)]
    pub with: Option<String>,
    /// The others, at the first lane.
    #[serde(default)]
    pub lanes: Vec<TrialLane>,
    /// Number of the newest list of revoked lanes, at the first lane.
    #[serde(default)]
    pub revocations: i64,
}

impl TrialShop {
    /// Whether this lane shows codes and signs certificates.
    pub const fn is_first(&self) -> bool {
        self.lane == FIRST_LANE
    }
}

impl ShopStore {
    /// The trial shop that this lane takes part in; `None` when it was not paired, and when it belongs to a shop.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn trial_shop(&self) -> Result<Option<TrialShop>, StoreError> {
        let paired = self.was_paired()?;
        Ok(paired.filter(|it| self.binding.is_none() && it.node == self.node))
    }

    /// The shop as a lane of which this one meets others, also in trial.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn shop_of_lanes(&self) -> Result<Option<ShopId>, StoreError> {
        match &self.binding {
            Some(binding) => Ok(Some(binding.shop)),
            None => Ok(self.trial_shop()?.map(|trial| trial.shop)),
        }
    }

    /// What is kept of the trial shop, also after this lane was activated.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn was_paired(&self) -> Result<Option<TrialShop>, StoreError> {
        let kept = self.local_state(TRIAL_SHOP_KEY)?;
        Ok(kept.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Keeps it. Who comes from another trial shop leaves that one.
    ///
    /// # Errors
    /// [`StoreError`], [`StoreError::AlreadyActivated`]; nothing was kept.
    pub fn keep_trial_shop(&mut self, trial: &TrialShop, now_ms: i64) -> Result<(), StoreError> {
        if let Some(binding) = &self.binding {
            return Err(StoreError::AlreadyActivated(binding.shop_name.clone()));
        }
        let before = self.was_paired()?;
        if before.is_some_and(|before| before.shop != trial.shop) {
            self.part(now_ms)?;
        }
        self.set_local_state(TRIAL_SHOP_KEY, &serde_json::to_string(trial)?)
    }

    /// Leaves the trial shop; what is held of others stays, and is handed on to nobody. The shop that was left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leave_trial_shop(&mut self, now_ms: i64) -> Result<Option<TrialShop>, StoreError> {
        let left = self.was_paired()?;
        if self.binding.is_none() {
            self.part(now_ms)?;
            self.forget_lane_certificate()?;
        }
        self.remove_local_state(TRIAL_SHOP_KEY)?;
        Ok(left)
    }

    /// Leaves the lanes that were met so far. They may be of another shop from now on, or never belong to one: their
    /// journals are held and counted here, but handed on only when a lane of the shop has brought them. Rights that were shared
    /// with them are over.
    fn part(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let ends = self.ends_of_escrows(now_ms)?;
        if !ends.is_empty() {
            self.write(|writer| writer.append_all(ends, now_ms))?;
        }
        self.leave_lanes()
    }

    /// As [`Self::part`], where what was shared ends otherwise.
    pub(crate) fn leave_lanes(&mut self) -> Result<(), StoreError> {
        let mut left = self.left_lanes()?;
        left.extend(self.peer_holdings()?.keys());
        self.keep_left_lanes(&left)?;
        // What they edited holds here no longer.
        self.catch_up().map(drop)
    }

    /// A lane of the shop has brought something of that journal, or the hub has said that it is of the shop.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn meet_again(&mut self, origin: NodeId) -> Result<(), StoreError> {
        let mut left = self.left_lanes()?;
        if left.remove(&origin) {
            self.keep_left_lanes(&left)?;
            self.catch_up()?;
        }
        Ok(())
    }

    /// What is held of journals, without those of lanes that were left.
    pub(crate) fn without_left(
        &self,
        mut holdings: BTreeMap<NodeId, Holding>,
    ) -> Result<BTreeMap<NodeId, Holding>, StoreError> {
        let left = self.left_lanes()?;
        holdings.retain(|origin, _| !left.contains(origin));
        Ok(holdings)
    }

    pub(crate) fn left_lanes(&self) -> Result<BTreeSet<NodeId>, StoreError> {
        let kept = self.local_state(LEFT_KEY)?;
        let left = kept.map(|text| serde_json::from_str(&text)).transpose()?;
        Ok(left.unwrap_or_default())
    }

    fn keep_left_lanes(&self, left: &BTreeSet<NodeId>) -> Result<(), StoreError> {
        self.set_local_state(LEFT_KEY, &serde_json::to_string(left)?)
    }
}
