//! Who may do what at the hub: roles and the table of calls.

use counterfoil_domain::ShopId;
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

/// `POST`: a person signs in; the body is the credential.
pub const LOGIN_PATH: &str = "/v1/login";
/// `POST`: the caller's session ends.
pub const LOGOUT_PATH: &str = "/v1/logout";

/// A person asks to be let in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Who it is.
    pub name: String,
    /// The password; never stored, never logged.
    pub password: String,
}

/// A session has begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// What each call shows as its bearer token; told once.
    pub token: String,
    /// Who signed in.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When the session ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// Who a caller is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhoAnswer {
    /// As the audit trail names them.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The only shop they may see into.
    pub shop_id: Option<ShopId>,
}

/// The caller's own password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The one that holds until now.
    pub current: String,
    /// The one that holds from now on.
    pub new: String,
}

/// `POST /v1/admin/users`: a person who may sign in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserAddRequest {
    /// Unique: small letters, digits, and `.`, `_`, `-`, `@` behind the first.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Name or id of the shop of a shop manager; absent for the others.
    #[serde(default)]
    pub shop: Option<String>,
    /// The first password.
    pub password: String,
}

/// `POST /v1/admin/users/{user}/password`: an owner sets somebody's password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPasswordRequest {
    /// The one that holds from now on.
    pub password: String,
}

/// A person who may sign in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserRow {
    /// Unique.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The shop of a shop manager.
    pub shop_id: Option<ShopId>,
    /// Its name.
    pub shop: Option<String>,
    /// When they were added, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Whether they may not sign in any more.
    pub disabled: bool,
    /// The last call in a session that has not ended, milliseconds since the Unix epoch.
    pub seen_ms: Option<i64>,
}

/// A person who has signed in and not out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionRow {
    /// Names the session; the token is not kept.
    pub number: i64,
    /// Who.
    pub user: String,
    /// When it began, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Last call, milliseconds since the Unix epoch.
    pub seen_ms: i64,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// `POST /v1/admin/tokens`: a program that calls the admin API.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenAddRequest {
    /// Unique: as a person's.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Name or id of the shop, for the role of a shop manager; absent for the others.
    #[serde(default)]
    pub shop: Option<String>,
    /// How long it holds, in days; 90 unless given.
    #[serde(default)]
    pub days: Option<i64>,
}

/// A machine's token, told once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenAdded {
    /// The machine.
    pub name: String,
    /// What each call shows as its bearer token.
    pub token: String,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// A program that calls the admin API.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MachineRow {
    /// Unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The shop, for the role of a shop manager.
    pub shop_id: Option<ShopId>,
    /// Its name.
    pub shop: Option<String>,
    /// When the token was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Last call, milliseconds since the Unix epoch.
    pub seen_ms: Option<i64>,
    /// When the token ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// Who signed in, or was refused what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessLogRow {
    /// Number of the row.
    pub id: i64,
    /// The last time, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who, as far as they said.
    pub who: String,
    /// What they asked for: method and path, or `sign in`.
    pub what: String,
    /// `refused`, `let in`, `wrong password`, `locked`, `has expired` or `was revoked`.
    pub outcome: String,
    /// How often, within a minute of each other.
    pub times: i64,
}

/// `GET /v1/admin/access-log?after=&limit=`: the oldest kept first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessLogPage {
    /// Ascending by number.
    pub rows: Vec<AccessLogRow>,
    /// `after` of the next page; absent on the last.
    pub next: Option<i64>,
}
