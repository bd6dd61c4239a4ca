//! Who may do what at the hub: roles and the table of calls.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person or machine may do at the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Owner,
    /// Sees and decides what belongs to one shop.
    ShopManager,
    /// Reads everything but secrets, decides nothing.
    Support,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owner, Self::ShopManager, Self::Support];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::ShopManager => "shop_manager",
            Self::Support => "support",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// How much of what an endpoint is about a role may reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The call is refused.
    Nothing,
    /// What belongs to the caller's shop.
    OwnShop,
    /// All of it.
    Everything,
}

/// A row of `GET /v1/admin/endpoints`: an endpoint of the hub, with who may call it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EndpointRow {
    /// `GET` or `POST`.
    pub method: String,
    /// Below the hub's base URL, with names in braces.
    pub path: String,
    /// Nobody is asked who they are.
    pub anyone: bool,
    /// Tills, or clients of a free-standing database, by their own token, about what is their own.
    pub till: bool,
    /// The owner, who has everything of the admin API.
    pub owner: Reach,
    /// Managers of a shop.
    pub shop_manager: Reach,
    /// Support.
    pub support: Reach,
}
