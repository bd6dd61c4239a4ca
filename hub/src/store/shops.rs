//! Which shops are there, and which join codes let a lane in?

use super::users::note;
use super::{Reader, Store, StoreError, shop_id};
use counterfoil_domain::ShopId;
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::wire::hub::ShopRow;
use serde_json::json;

/// A join code about to be stored; the secret itself is not.
#[derive(Clone, Debug)]
pub(crate) struct NewCode {
    /// SHA-256 of the secret.
    pub(crate) secret_hash: Vec<u8>,
    /// When it is made, milliseconds since the Unix epoch.
    pub(crate) created_ms: i64,
    /// When it ends, milliseconds since the Unix epoch.
    pub(crate) expires_ms: i64,
}

/// What to do about a shop.
#[derive(Clone, Debug)]
pub(crate) struct ShopAdd {
    /// Its unique name.
    pub(crate) name: String,
    /// The id it gets when it is new; `None` when it must exist.
    pub(crate) new_id: Option<ShopId>,
    /// Whether it may exist.
    pub(crate) existing: bool,
    /// The join code.
    pub(crate) code: NewCode,
    /// Who wants it.
    pub(crate) by: String,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ShopAddOutcome {
    /// The shop and the code are stored.
    Added(ShopId),
    /// The name is taken.
    Exists,
    /// There is no such shop.
    Missing,
}

/// Details of a new shop.
#[derive(Clone, Debug, Default)]
pub(super) struct ShopDetails<'a> {
    pub(super) phone: Option<&'a str>,
    pub(super) email: Option<&'a str>,
}

pub(super) fn shop_by_name(hub: &Connection, name: &str) -> Result<Option<ShopId>, StoreError> {
    let sql = "SELECT id FROM shop WHERE name = ?1";
    Ok(hub.query_optional(sql, params![name], |row| shop_id(row, 0))?)
}

pub(super) fn insert_shop(
    hub: &Connection,
    id: ShopId,
    name: &str,
    details: &ShopDetails<'_>,
    now_ms: i64,
) -> Result<(), StoreError> {
    hub.execute(
        "INSERT INTO shop (id, name, phone, email, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id.to_bytes(), name, details.phone, details.email, now_ms],
    )?;
    Ok(())
}

impl Store {
    /// Makes a shop or finds it, and stores a join code for it.
    pub(crate) fn add_shop(&self, add: &ShopAdd) -> Result<ShopAddOutcome, StoreError> {
        self.hub.transaction(|tx| {
            let subject = || format!("shop {}", add.name);
            let by = (add.by.as_str(), add.code.created_ms);
            let shop = match (shop_by_name(tx, &add.name)?, add.new_id) {
                (Some(_), _) if !add.existing => return Ok(ShopAddOutcome::Exists),
                (Some(shop), _) => shop,
                (None, None) => return Ok(ShopAddOutcome::Missing),
                (None, Some(id)) => {
                    let details = ShopDetails::default();
                    insert_shop(tx, id, &add.name, &details, add.code.created_ms)?;
                    let after = json!({ "shop_id": id });
                    note(tx, by, ("shop_added", subject()), after)?;
                    id
                }
            };
            let code = &add.code;
            tx.execute(
                "INSERT INTO join_code (secret_hash, shop, created_ms, expires_ms)
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    code.secret_hash.clone(),
                    shop.to_bytes(),
                    code.created_ms,
                    code.expires_ms
                ],
            )?;
            let after = json!({ "expires_ms": code.expires_ms });
            note(tx, by, ("join_code_added", subject()), after)?;
            Ok(ShopAddOutcome::Added(shop))
        })
    }
}

impl Reader {
    /// All shops by name.
    pub(crate) fn shops(&self) -> Result<Vec<ShopRow>, StoreError> {
        let sql = "SELECT id, name, phone, active,
                          (SELECT count(*) FROM node WHERE node.shop = shop.id)
                   FROM shop ORDER BY name";
        Ok(self.hub.query_map(sql, (), |row| {
            Ok(ShopRow {
                shop_id: shop_id(row, 0)?,
                name: row.get(1)?,
                phone: row.get(2)?,
                active: row.get(3)?,
                nodes: row.get(4)?,
            })
        })?)
    }
}
