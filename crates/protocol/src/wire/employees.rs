//! Employees at a till: signing in with a PIN, and approvals of one thing by somebody else's. A PIN stands in requests
//! only, and is never shown.

use counterfoil_domain::employee::Permission;
use counterfoil_domain::{DocumentId, NodeId, ShopId};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Header of a request in which the token of a session stands, see [`SignedInEmployee`].
pub const SESSION_HEADER: &str = "x-counterfoil-session";

/// Header of a request in which the token of an approval stands, see [`Approved`].
pub const APPROVAL_HEADER: &str = "x-counterfoil-approval";

/// `POST /v1/sign-in`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// A catalog id.
    pub employee: String,
    /// Their PIN.
    pub pin: String,
}

impl fmt::Debug for SignInRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SignInRequest");
        shown
            .field("employee", &self.employee)
            .finish_non_exhaustive()
    }
}

/// Who is signed in now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedInEmployee {
    /// What requests carry in the header `x-counterfoil-session`. Shown once.
    pub session: String,
    /// A catalog id.
    pub employee: String,
    /// Their name.
    pub name: String,
    /// What they may do beyond selling.
    pub permissions: Vec<Permission>,
    /// The session ends when nothing was recorded in it for so long, in milliseconds.
    pub idle_ms: i64,
    /// It ends then in any case, milliseconds since the Unix epoch by the till's clock.
    pub expires_ms: i64,
}

/// `POST /v1/approvals`: somebody allows one document, order or edit with their PIN that whoever is signed in may not
/// make.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// Who allows it: a catalog id.
    pub employee: String,
    /// Their PIN.
    pub pin: String,
    /// What for.
    pub permission: Permission,
}

impl fmt::Debug for ApprovalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ApprovalRequest");
        shown.field("employee", &self.employee);
        shown
            .field("permission", &self.permission)
            .finish_non_exhaustive()
    }
}

/// An approval.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approved {
    /// What the one request carries in the header `x-counterfoil-approval`. Shown once.
    pub approval: String,
    /// Who allowed it.
    pub employee: String,
    /// What for.
    pub permission: Permission,
    /// It ends then, milliseconds since the Unix epoch by the till's clock.
    pub expires_ms: i64,
}

/// `POST /v1/sign-out`: ends the session that the header names. The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignedOut {
    /// Whether there was one.
    pub ended: bool,
}

/// `POST /v1/no-sale`: the drawer is opened without a sale.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSaleRequest {
    /// Minted by the caller so that a retry is not a second time; minted by the node when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
}

/// `GET /v1/admin/employee-events?shop=&employee=&limit=`: what employees did or tried, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmployeeEventRow {
    /// The shop.
    pub shop_id: ShopId,
    /// Name of the shop.
    pub shop: String,
    /// The till.
    pub node_id: NodeId,
    /// Number of the lane in its shop.
    pub lane: i64,
    /// Position in the till's journal.
    pub seq: i64,
    /// When, milliseconds since the Unix epoch, as corrected.
    pub at_ms: i64,
    /// Who, as it was typed.
    pub employee: String,
    /// What: `sign_in`, `approval` or `no_sale`.
    pub event: String,
    /// What an approval was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// How it ended: `granted`, `wrong_pin`, `locked`, `no_pin`, `not_active` or `not_permitted`.
    pub outcome: String,
    /// Tries before it that came while the employee was locked, and have no row of their own.
    pub unlooked: i64,
}

/// `PUT /v1/employees/{id}/pin` at a till, `POST /v1/admin/employees/{employee}/pin` at the hub.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// 4 to 12 digits; absent takes the PIN away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Who sets it, for the audit trail of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl fmt::Debug for PinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PinRequest");
        shown.field("by", &self.by).finish_non_exhaustive()
    }
}

/// Whether an employee has a PIN now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PinSet {
    /// A catalog id.
    pub employee: String,
    /// Whether there is one.
    pub pin: bool,
}
