//! The node's local API: everything the command line does, on localhost only by default.

use super::fence::Fenced;
use super::mesh::MeshStatus;
use super::pairing::PairingStatus;
use super::queue::Stages;
use counterfoil_domain::lineage::Former;
use counterfoil_domain::{DocumentId, NodeId, ShopId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A line of a sale as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LineRequest {
    /// Product code or barcode.
    pub sku: String,
    /// Decimal quantity, at most three decimals; above zero also for a refund.
    pub quantity: String,
    /// Decimal price per unit; the catalog's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<String>,
    /// What the receipt prints; the catalog's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `POST /v1/sales` and `POST /v1/refunds`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReceiptRequest {
    /// Minted by the caller, so that a retry is not a second sale; minted by the node when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// What is sold or taken back; may be left out for a parked sale that is finished as it was parked.
    #[serde(default)]
    pub lines: Vec<LineRequest>,
    /// cash, card, voucher or account.
    pub tender: String,
    /// The customer: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Who sells: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
    /// For a refund, the sale it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_of: Option<DocumentId>,
    /// For a sale, the parked one that it finishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<DocumentId>,
}

/// What was recorded; the commit is durable when this arrives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Recorded {
    /// Id of the document.
    pub id: DocumentId,
    /// What kind of document it is.
    pub topic: String,
    /// Position in the node's journal.
    pub seq: i64,
    /// Number series of a receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Receipt number in its series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// Total of a receipt in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_minor: Option<i64>,
    /// Recorded before activation.
    pub trial: bool,
    /// The id was known already; nothing new was recorded.
    pub repeated: bool,
    /// A receipt of a lane with peers that none of them has yet: print it with a mark (X7).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_copy: bool,
}

/// `POST /v1/stock`: one movement or count, or a list that is recorded whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StockBody {
    /// One.
    One(StockRequest),
    /// A list.
    Many(Vec<StockRequest>),
}

/// What was recorded, in the shape of the request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StockAnswer {
    /// One.
    One(Recorded),
    /// A list.
    Many(Vec<Recorded>),
}

/// A stock movement, or a count when `count` is set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StockRequest {
    /// See [`ReceiptRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// Product code.
    pub sku: String,
    /// Decimal quantity; signed for a movement.
    pub quantity: String,
    /// Whether this is what was counted on the shelf.
    #[serde(default)]
    pub count: bool,
    /// Why it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/expenses`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExpenseRequest {
    /// See [`ReceiptRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// What for.
    pub category: String,
    /// Decimal amount in the node's currency, above zero.
    pub amount: String,
    /// Free text.
    #[serde(default)]
    pub note: String,
    /// Who took the money: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
}

/// `POST /v1/ledger`: customer credit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LedgerRequest {
    /// See [`ReceiptRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// The customer: a catalog id.
    pub customer: String,
    /// Decimal amount; positive when the customer owes more.
    pub amount: String,
    /// Free text.
    #[serde(default)]
    pub note: String,
}

/// `POST /v1/orders`: goods promised for a later day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrderRequest {
    /// See [`ReceiptRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// The customer: a catalog id.
    pub customer: String,
    /// When it is due, milliseconds since the Unix epoch.
    pub due_ms: i64,
    /// What is ordered.
    pub lines: Vec<LineRequest>,
    /// Decimal amount paid in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposit: Option<String>,
}

/// `POST /v1/cash`: a drawer is opened or closed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CashRequest {
    /// See [`ReceiptRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// `open` or `close`.
    pub event: String,
    /// Decimal amount counted.
    pub counted: String,
    /// Who did it: a catalog id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<String>,
}

/// `PUT /v1/catalog/{table}/{id}`: the columns to set; text is converted to the column's type.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogSetRequest {
    /// New values; `null` empties a column.
    pub columns: BTreeMap<String, serde_json::Value>,
}

/// A catalog row as the till sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogRow {
    /// Catalog table.
    pub table: String,
    /// Id of the row.
    pub id: String,
    /// The id that was asked for, when the row that it names was merged into this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<String>,
    /// Its columns.
    pub columns: BTreeMap<String, serde_json::Value>,
    /// An edit of a lane of this shop is not merged yet.
    pub pending: bool,
    /// Who created it; the hub when absent.
    pub origin_shop_id: Option<String>,
    /// Who changed it last; the hub when absent.
    pub last_modified_shop_id: Option<String>,
    /// When it was changed last, hybrid logical clock.
    pub last_modified_at: i64,
    /// The publication that wrote it; 0 for a row that only this node knows.
    pub revision: i64,
}

/// `POST /v1/activate`: a join code, or hub, name and phone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ActivateCommand {
    /// Text of a join code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    /// Base URL of the hub; overrides the one in the join code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Name of the shop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where to reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Optional address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// `GET /healthz`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Names this run of the node.
    pub instance: String,
    /// Lanes of the shop that are connected now.
    #[serde(default)]
    pub connections: usize,
    /// Entries that wait for the hub.
    #[serde(default)]
    pub pending: i64,
    /// End of the last complete sync with the hub, milliseconds since the Unix epoch; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_synced_ms: Option<i64>,
    /// When this lane's stock was compared with that of the others, the last time; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled_ms: Option<i64>,
    /// Products, at most 10, that stayed different then.
    #[serde(default)]
    pub reconciliation_open: usize,
}

/// The file beside the databases that says where the node's API is, while somebody serves it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Base URL.
    pub url: String,
    /// As in [`Health::instance`]; another one on that URL is another node.
    pub instance: String,
    /// Whether it is the daemon, or a command that takes its time.
    pub daemon: bool,
}

/// `PUT /v1/hub`: the hub has moved to another address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HubMoved {
    /// Its new base URL.
    pub url: String,
}

/// The node at a glance (E5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// The node.
    pub node_id: NodeId,
    /// `local_trial`, `activating` or `active`.
    pub tier: String,
    /// Whether anything is sent at all.
    pub sync_enabled: bool,
    /// `trial`, `online`, `offline`, `syncing`, `failed`, `update_required` or `auth_refused`.
    pub sync: String,
    /// Whether the hub can tell this node at once that the catalog has news; the poll is the fallback.
    #[serde(default)]
    pub listening: bool,
    /// In words, when there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The shop, once bound.
    pub shop_id: Option<ShopId>,
    /// Its name.
    pub shop_name: Option<String>,
    /// Number of the lane in its shop.
    pub lane: Option<i64>,
    /// What this till was before its data folder was restored or cloned: the identities it gave up, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formers: Vec<Former>,
    /// The series in which the next receipt is numbered.
    #[serde(default)]
    pub series: String,
    /// Why that is a series with a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<Fenced>,
    /// Whether the shop asks for PINs and no active employee has one: this till asks for none then.
    #[serde(default)]
    pub pins_missing: bool,
    /// Base URL of the hub.
    pub hub_url: Option<String>,
    /// Newest journal entry.
    pub journal_seq: i64,
    /// The hub has the journal up to here, durably.
    pub hub_received_seq: i64,
    /// The hub has consolidated the journal up to here.
    pub hub_consolidated_seq: i64,
    /// Entries the hub does not have yet.
    pub pending: i64,
    /// How far what waits is.
    #[serde(default)]
    pub stages: Stages,
    /// The same by priority; those without any are left out (E5).
    #[serde(default)]
    pub pending_by_priority: BTreeMap<String, i64>,
    /// Those that are sent again only when a person asks (T5).
    #[serde(default)]
    pub failed: i64,
    /// Entries that wait in the hub's quarantine.
    pub quarantined: i64,
    /// Catalog edits of this node that are not merged yet.
    pub pending_edits: i64,
    /// Catalog revision held.
    pub catalog_revision: i64,
    /// Sync runs that failed in a row.
    pub retry_count: i64,
    /// What the last failed run said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What was found not to fit between this node and the hub the last time, and was healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_healed: Option<Healed>,
    /// End of the last complete sync, milliseconds since the Unix epoch.
    pub last_synced_ms: Option<i64>,
    /// This clock minus the hub's, milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// When this node's token ends by itself, milliseconds since the Unix epoch; the node changes it long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_ms: Option<i64>,
    /// The other lanes of the shop; absent when this one is by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshStatus>,
    /// The trial shop that this lane is in; absent when it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<PairingStatus>,
    /// Products of which more was sold than somebody had counted, as far as is known here.
    #[serde(default)]
    pub oversold: i64,
    /// Sales and refunds in the book.
    pub receipts: i64,
    /// Their sum in minor units.
    pub total_minor: i64,
    /// Frames sent so far by this process, bytes on the wire.
    pub bytes_up: u64,
    /// Frames received so far by this process, bytes on the wire.
    pub bytes_down: u64,
    /// Version of the program.
    pub version: String,
}

/// A line of the sync log (T8).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogRow {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// info, warn or error.
    pub level: String,
    /// Stable name of what happened.
    pub event: String,
    /// Ids and numbers that belong to it.
    pub detail: serde_json::Value,
}

/// Something that did not fit between a node and its hub, and was healed without a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Healed {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What was found.
    pub what: String,
}

/// `POST /v1/sync`: what one sync run did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SyncReport {
    /// Frames of the book sent.
    pub frames_up: u64,
    /// Their bytes on the wire.
    pub bytes_up: u64,
    /// Frames of the catalog received.
    pub frames_down: u64,
    /// Their bytes on the wire.
    pub bytes_down: u64,
    /// The hub has the journal up to here, durably.
    pub hub_received_seq: i64,
    /// The hub has consolidated the journal up to here.
    pub hub_consolidated_seq: i64,
    /// Catalog revision held now.
    pub catalog_revision: i64,
    /// Rows changed by other shops or the hub in this run; own edits do not count (L2).
    pub changes_from_others: i64,
    /// The catalog waits for an update of this node.
    pub update_required: bool,
    /// What did not fit between this node and the hub in this run, and does now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healed: Option<String>,
}

/// A sale or refund in a list (L11).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReceiptRow {
    /// Id of the document.
    pub id: DocumentId,
    /// `sale` or `refund`.
    pub topic: String,
    /// Position in the journal.
    pub seq: i64,
    /// Number series.
    pub series: String,
    /// Number in its series.
    pub number: i64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Minor units.
    pub total_minor: i64,
    /// Recorded before activation.
    pub trial: bool,
}

/// `GET /v1/catalog-digest`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogDigest {
    /// Revision it was computed for.
    pub revision: i64,
    /// BLAKE3 over the sorted content, hexadecimal.
    pub digest: String,
    /// Rows of each table, without deleted ones.
    pub rows: BTreeMap<String, i64>,
}
