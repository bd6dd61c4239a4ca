//! May this node be bound to a shop, and to which?
//!
//! The same request may arrive any number of times; the answer stays the same.

use super::shops::{ShopDetails, insert_shop, shop_by_name};
use super::{Store, StoreError, closures, lineage, node_id_optional, revocations, shop_id, tokens};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::gate::Schemas;

/// A request to be bound, checked for form.
#[derive(Clone, Debug)]
pub(crate) struct Activation {
    pub(crate) node: NodeId,
    pub(crate) token_hash: Vec<u8>,
    /// When the token ends by itself.
    pub(crate) token_expires_ms: Option<i64>,
    pub(crate) right: Right,
    pub(crate) schemas: Schemas,
    /// Whether the node says that it never belonged to a shop.
    pub(crate) first: bool,
    /// The name under which it was refused, because its folder is a copy.
    pub(crate) formerly: Option<NodeId>,
    pub(crate) now_ms: i64,
}

/// By what right.
#[derive(Clone, Debug)]
pub(crate) enum Right {
    /// SHA-256 of a join code's secret.
    Code(Vec<u8>),
    /// Self-registration.
    Registration {
        name: String,
        phone: String,
        email: Option<String>,
        /// The id the shop gets when it is new.
        new_id: ShopId,
        /// Whether the hub takes registrations from there.
        allowed: bool,
    },
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Admitted {
    /// The node belongs to the shop.
    Bound {
        shop: ShopId,
        shop_name: String,
        lane: i64,
        epoch: i64,
    },
    /// It does not.
    Refused(Refusal),
}

/// Why a node was not bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// No such join code.
    CodeUnknown,
    /// The join code was not used in time.
    CodeExpired,
    /// The join code was used by another node, or by this one for another token.
    CodeUsed,
    /// The hub takes no registrations from there.
    RegistrationClosed,
    /// Another node registered a shop of that name.
    NameTaken,
    /// The node belongs to another shop.
    OtherShop { shop_name: String },
    /// The node belongs to a shop under another token, and says that it never did.
    NodeTaken,
    /// Two nodes with one token.
    TokenTaken,
    /// The token was revoked: the node needs a new one before its code is used up.
    TokenRevoked,
    /// The same of a token that has ended, or was followed by another one.
    TokenEnded,
}

struct Binding {
    shop: ShopId,
    token_hash: Vec<u8>,
    revoked: bool,
    expires_ms: Option<i64>,
}

impl Binding {
    /// Whether the request comes from the till that is bound, or from its twin to the last byte.
    fn is_of(&self, request: &Activation) -> bool {
        self.has_token_of(request) && !self.revoked && !self.has_expired(request)
    }

    fn has_token_of(&self, request: &Activation) -> bool {
        self.token_hash == request.token_hash
    }

    fn has_expired(&self, request: &Activation) -> bool {
        self.expires_ms
            .is_some_and(|end_ms| end_ms <= request.now_ms)
    }
}

struct Code {
    shop: ShopId,
    created_ms: i64,
    expires_ms: i64,
    used_by: Option<NodeId>,
}

impl Store {
    /// Binds a node, or says why not.
    pub(crate) fn activate(&self, request: &Activation) -> Result<Admitted, StoreError> {
        self.hub.transaction(|tx| {
            let binding = binding_of(tx, request.node)?;
            let shop = match &request.right {
                Right::Code(secret_hash) => by_code(tx, request, secret_hash, binding.as_ref())?,
                Right::Registration {
                    name,
                    phone,
                    email,
                    new_id,
                    allowed,
                } => {
                    let details = ShopDetails {
                        phone: Some(phone),
                        email: email.as_deref(),
                    };
                    let wish = Wish {
                        name,
                        details,
                        new_id: *new_id,
                        allowed: *allowed,
                    };
                    by_registration(tx, request, &wish, binding.as_ref())?
                }
            };
            let shop = match shop {
                Ok(shop) => shop,
                Err(refusal) => return Ok(Admitted::Refused(refusal)),
            };
            if token_is_anothers(tx, request)? {
                return Ok(Admitted::Refused(Refusal::TokenTaken));
            }
            bind(tx, request, shop)?;
            if let Some(former) = request.formerly.filter(|_| binding.is_none()) {
                lineage::note_copy(tx, request.node, former, request.now_ms)?;
            }
            let sql = "SELECT shop.name, node.lane, node.epoch FROM node
                       JOIN shop ON shop.id = node.shop WHERE node.id = ?1";
            Ok(tx.query_row(sql, params![request.node.to_bytes()], |row| {
                Ok(Admitted::Bound {
                    shop,
                    shop_name: row.get(0)?,
                    lane: row.get(1)?,
                    epoch: row.get(2)?,
                })
            })?)
        })
    }
}

fn binding_of(tx: &Connection, node: NodeId) -> Result<Option<Binding>, StoreError> {
    let sql =
        "SELECT shop, token_hash, revoked_ms IS NOT NULL, token_expires_ms FROM node WHERE id = ?1";
    Ok(tx.query_optional(sql, params![node.to_bytes()], |row| {
        Ok(Binding {
            shop: shop_id(row, 0)?,
            token_hash: row.get(1)?,
            revoked: row.get(2)?,
            expires_ms: row.get(3)?,
        })
    })?)
}

fn by_code(
    tx: &Connection,
    request: &Activation,
    secret_hash: &[u8],
    binding: Option<&Binding>,
) -> Result<Result<ShopId, Refusal>, StoreError> {
    let sql = "SELECT shop, expires_ms, used_by, created_ms FROM join_code WHERE secret_hash = ?1";
    let code = tx.query_optional(sql, params![secret_hash], |row| {
        let used_by = node_id_optional(row, 2)?;
        Ok(Code {
            shop: shop_id(row, 0)?,
            expires_ms: row.get(1)?,
            used_by,
            created_ms: row.get(3)?,
        })
    })?;
    let Some(code) = code else {
        return Ok(Err(Refusal::CodeUnknown));
    };
    if let Some(user) = code.used_by {
        let repeated = user == request.node && binding.is_some_and(|held| held.is_of(request));
        return Ok(if repeated {
            Ok(code.shop)
        } else {
            Err(Refusal::CodeUsed)
        });
    }
    if code.expires_ms <= request.now_ms {
        return Ok(Err(Refusal::CodeExpired));
    }
    let of = (code.shop, request.node);
    if binding.is_none() && revocations::is_out_for(tx, of, code.created_ms)? {
        return Ok(Err(Refusal::TokenRevoked));
    }
    if request.first && binding.is_some_and(|held| !held.is_of(request)) {
        return Ok(Err(Refusal::NodeTaken));
    }
    if let Some(held) = binding
        && held.shop != code.shop
    {
        return Ok(Err(Refusal::OtherShop {
            shop_name: name_of(tx, held.shop)?,
        }));
    }
    if token_is_anothers(tx, request)? {
        return Ok(Err(Refusal::TokenTaken));
    }
    if let Some(held) = binding.filter(|held| held.has_token_of(request)) {
        if held.revoked {
            return Ok(Err(Refusal::TokenRevoked));
        }
        if held.has_expired(request) {
            return Ok(Err(Refusal::TokenEnded));
        }
    }
    if tokens::has_ended(tx, &request.token_hash)? {
        return Ok(Err(Refusal::TokenEnded));
    }
    tx.execute(
        "UPDATE join_code SET used_by = ?2, used_ms = ?3 WHERE secret_hash = ?1",
        params![secret_hash, request.node.to_bytes(), request.now_ms],
    )?;
    Ok(Ok(code.shop))
}

struct Wish<'a> {
    name: &'a str,
    details: ShopDetails<'a>,
    new_id: ShopId,
    allowed: bool,
}

fn by_registration(
    tx: &Connection,
    request: &Activation,
    wish: &Wish<'_>,
    binding: Option<&Binding>,
) -> Result<Result<ShopId, Refusal>, StoreError> {
    let named = shop_by_name(tx, wish.name)?;
    if let Some(held) = binding {
        // A retry of a registration that went through gets the answer it missed.
        let repeated = held.is_of(request);
        if named == Some(held.shop) {
            return Ok(if repeated {
                Ok(held.shop)
            } else {
                Err(Refusal::NameTaken)
            });
        }
        return Ok(Err(Refusal::OtherShop {
            shop_name: name_of(tx, held.shop)?,
        }));
    }
    if !wish.allowed {
        return Ok(Err(Refusal::RegistrationClosed));
    }
    if named.is_some() {
        return Ok(Err(Refusal::NameTaken));
    }
    if token_is_anothers(tx, request)? {
        return Ok(Err(Refusal::TokenTaken));
    }
    if tokens::has_ended(tx, &request.token_hash)? {
        return Ok(Err(Refusal::TokenEnded));
    }
    insert_shop(tx, wish.new_id, wish.name, &wish.details, request.now_ms)?;
    Ok(Ok(wish.new_id))
}

fn bind(tx: &Connection, request: &Activation, shop: ShopId) -> Result<(), StoreError> {
    revocations::take_in_again(tx, (shop, request.node), request.now_ms)?;
    tx.execute(
        "INSERT INTO node (id, shop, lane, token_hash, created_ms, seen_ms,
                           book_schema, catalog_schema, schema_ms, token_expires_ms)
         VALUES (?1, ?2, (SELECT coalesce(max(lane), 0) + 1 FROM node WHERE shop = ?2),
                 ?3, ?4, ?4, ?5, ?6, ?4, ?7)
         ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, revoked_ms = NULL,
             -- A repetition makes no token last longer.
             token_expires_ms = CASE WHEN token_hash = excluded.token_hash THEN token_expires_ms
                                ELSE excluded.token_expires_ms END,
             next_token_hash = CASE WHEN token_hash = excluded.token_hash THEN next_token_hash END,
             seen_ms = excluded.seen_ms, book_schema = excluded.book_schema,
             catalog_schema = excluded.catalog_schema, schema_ms = excluded.schema_ms",
        params![
            request.node.to_bytes(),
            shop.to_bytes(),
            request.token_hash.clone(),
            request.now_ms,
            i64::from(request.schemas.book),
            i64::from(request.schemas.catalog),
            request.token_expires_ms,
        ],
    )?;
    tokens::renewed(tx, request.node, request.now_ms)?;
    closures::keep_key(tx, request.node, &request.token_hash, request.now_ms)
}

fn token_is_anothers(tx: &Connection, request: &Activation) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM node
                   WHERE (token_hash = ?1 OR next_token_hash = ?1) AND id <> ?2)";
    let params = params![request.token_hash.clone(), request.node.to_bytes()];
    Ok(tx.query_value(sql, params)?)
}

fn name_of(tx: &Connection, shop: ShopId) -> Result<String, StoreError> {
    Ok(tx.query_value(
        "SELECT name FROM shop WHERE id = ?1",
        params![shop.to_bytes()],
    )?)
}
