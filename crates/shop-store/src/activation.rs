//! From trial to a shop: the request is stored before it is first sent, the binding is stored with
//! its journal entry in one transaction, so that a kill at any point leaves one of both.

use crate::error::StoreError;
use crate::fence::follow_epoch;
use crate::open::ShopStore;
use crate::record::Entry;
use counterfoil_domain::document::{Activation, Document};
use counterfoil_domain::{HubId, ShopId};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::hub::{ActivateAnswer, Admission};
use counterfoil_protocol::wire::lineage::IdentityAnswer;
use serde::{Deserialize, Serialize};

/// The shop and hub that a node belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The shop.
    pub shop: ShopId,
    /// Its name when it was joined.
    pub shop_name: String,
    /// The hub.
    pub hub: HubId,
    /// Base URL of the hub.
    pub hub_url: String,
    /// Number of the lane in its shop.
    pub lane: i64,
}

/// An activation that was asked for and not answered yet. Its token is in the credential store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingActivation {
    /// Base URL of the hub.
    pub hub_url: String,
    /// By what right.
    pub admission: Admission,
}

impl Binding {
    pub(crate) fn read(store: &ShopStore) -> Result<Option<Self>, StoreError> {
        let corrupt = || StoreError::Corrupt {
            what: "the binding to a shop",
        };
        let Some(shop) = store.meta("shop_id")? else {
            return Ok(None);
        };
        let required = |key| store.meta(key)?.ok_or_else(corrupt);
        Ok(Some(Self {
            shop: shop.parse()?,
            shop_name: required("shop_name")?,
            hub: required("hub_id")?.parse()?,
            hub_url: required("hub_url")?,
            lane: required("lane")?.parse().map_err(|_| corrupt())?,
        }))
    }
}

const PENDING_KEY: &str = "pending_activation";
const USED_KEY: &str = "used_activation";

impl ShopStore {
    /// The activation in progress, if any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending_activation(&self) -> Result<Option<PendingActivation>, StoreError> {
        match self.local_state(PENDING_KEY)? {
            Some(text) => Ok(Some(serde_json::from_str(&text)?)),
            None => Ok(None),
        }
    }

    /// Remembers an activation before it is first sent.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn begin_activation(&mut self, pending: &PendingActivation) -> Result<(), StoreError> {
        self.set_local_state(PENDING_KEY, &serde_json::to_string(pending)?)
    }

    /// Gives up an activation that the hub refused; the node stays in trial.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn abandon_activation(&mut self) -> Result<(), StoreError> {
        self.remove_local_state(PENDING_KEY)
    }

    /// What this node was activated with last, for a hub that has forgotten it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn used_activation(&self) -> Result<Option<PendingActivation>, StoreError> {
        match self.local_state(USED_KEY)? {
            Some(text) => Ok(Some(serde_json::from_str(&text)?)),
            None => Ok(None),
        }
    }

    /// Binds the book to the shop: from the next sale on it is live.
    ///
    /// # Errors
    /// [`StoreError::AlreadyActivated`] when it belongs to another shop; the same shop again
    /// changes nothing but the hub's address and the number of the lane.
    pub fn finish_activation(
        &mut self,
        answer: &ActivateAnswer,
        used: &PendingActivation,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        // Also when it was forgotten that there was a trial shop.
        let ends = match &self.binding {
            Some(_) => Vec::new(),
            None => self.ends_of_escrows(now_ms)?,
        };
        self.bind(answer, (&used.hub_url, ends), now_ms)?;
        self.set_local_state(USED_KEY, &serde_json::to_string(used)?)?;
        self.remove_local_state(PENDING_KEY)
    }

    /// Notes that the hub knows this node again. Its address stays: a person may have moved the node since it was
    /// activated.
    ///
    /// # Errors
    /// [`StoreError::AlreadyActivated`] when the hub has it in another shop; [`StoreError::Sql`].
    pub fn renew_activation(
        &mut self,
        answer: &ActivateAnswer,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        match &self.binding {
            Some(binding) => {
                let hub_url = binding.hub_url.clone();
                self.bind(answer, (&hub_url, Vec::new()), now_ms)
            }
            None => Ok(()),
        }
    }

    /// `ends` is what of the trial is over with it.
    pub(crate) fn bind(
        &mut self,
        answer: &ActivateAnswer,
        (hub_url, ends): (&str, Vec<Document>),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let given = answer.epoch.unwrap_or(0);
        match &self.binding {
            Some(binding) if binding.shop == answer.shop => {
                self.set_hub_url(hub_url)?;
                return self.take_lane(&IdentityAnswer {
                    lane: answer.lane,
                    epoch: given,
                });
            }
            Some(binding) => return Err(StoreError::AlreadyActivated(binding.shop_name.clone())),
            None => {}
        }
        // Which of the lanes that it was paired with in trial join this shop is not known.
        if self.was_paired()?.is_some() {
            self.leave_lanes()?;
        }
        let tag = self.draw_tag();
        self.write(|writer| {
            writer.append_all(ends, now_ms)?;
            let document = Document::Activation(Activation {
                shop: answer.shop,
                shop_name: answer.shop_name.clone(),
                at_ms: now_ms,
            });
            writer.append(Entry {
                id: None,
                document,
                now_ms,
            })?;
            let rows = [
                ("shop_id", answer.shop.to_string()),
                ("shop_name", answer.shop_name.clone()),
                ("hub_id", answer.hub.to_string()),
                ("hub_url", hub_url.to_owned()),
                ("lane", answer.lane.to_string()),
            ];
            for (key, value) in rows {
                let sql = "INSERT OR REPLACE INTO main.meta (key, value) VALUES (?1, ?2)";
                writer.store.conn.execute(sql, params![key, value])?;
            }
            let present = writer.store.epoch;
            Ok(follow_epoch(&writer.store.conn, given, present, &tag)?)
        })?;
        self.reload_identity()?;
        self.keep_identity();
        // Rows pending from trial say from now on which shop they come from.
        self.catalog_changed()
    }

    /// Follows a hub that has moved to another address.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn set_hub_url(&mut self, hub_url: &str) -> Result<(), StoreError> {
        let Some(binding) = &mut self.binding else {
            return Ok(());
        };
        if binding.hub_url == hub_url {
            return Ok(());
        }
        let sql = "INSERT OR REPLACE INTO main.meta (key, value) VALUES ('hub_url', ?1)";
        self.conn.execute(sql, params![hub_url])?;
        hub_url.clone_into(&mut binding.hub_url);
        self.keep_identity();
        Ok(())
    }

    pub(crate) fn local_state(&self, key: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM local.state WHERE key = ?1";
        Ok(self.conn.query_optional(sql, [key], |row| row.get(0))?)
    }

    pub(crate) fn set_local_state(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO local.state (key, value) VALUES (?1, ?2)";
        self.conn.execute(sql, params![key, value])?;
        Ok(())
    }

    pub(crate) fn remove_local_state(&self, key: &str) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM local.state WHERE key = ?1", [key])?;
        Ok(())
    }
}
