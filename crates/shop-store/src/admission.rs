//! May whoever is at this till do that? Asked for each document and edit, once the shop asks for PINs.

use crate::employees::{Employee, PinHash, SESSION_IDLE_MS, is_of_staff, text_of};
use crate::error::StoreError;
use crate::open::ShopStore;
use crate::record::{Entry, Writer};
use counterfoil_domain::Document;
use counterfoil_domain::document::{Line, Receipt};
use counterfoil_domain::edit::{CatalogEdit, is_price};
use counterfoil_domain::employee::{
    EMPLOYEES, EmployeeEvent, EventKind, NOBODY, Outcome, PERMISSIONS, PIN, PIN_REQUIRED,
    Permission, asks_for_pins,
};
use counterfoil_domain::escrow::EscrowAct;
use counterfoil_domain::parked::{beyond, is_stale};
use counterfoil_domain::password::is_hash;
use counterfoil_migrate::params;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where it is kept that the journal tells that nobody was asked for a PIN.
const UNGUARDED_KEY: &str = "unguarded";

/// A session in use is noted again after so long, in milliseconds: far below what ends it, and not at each sale.
const SEEN_AGAIN_MS: i64 = 30_000;

/// How far the clock may have gone back under a session, in milliseconds: what a time server corrects. Beyond it nobody
/// knows how long the session was left alone, and it has ended.
const CLOCK_BACK_MS: i64 = 60_000;

/// What a request carries: digests of the tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presented {
    /// Of the session.
    pub session: Option<[u8; 32]>,
    /// Of somebody else's approval.
    pub approval: Option<[u8; 32]>,
}

/// Whether a till asks for PINs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pins {
    /// The shop does not want it.
    Off,
    /// It does, and somebody can sign in.
    Required,
    /// It does, and no active employee has a PIN: a shop sells rather than not.
    Missing,
}

/// What an edit of the catalog is about, as far as it matters who makes it.
#[derive(Clone, Copy, Debug)]
pub struct EditOf<'a> {
    /// The catalog table.
    pub table: &'a str,
    /// Id of the row.
    pub row: &'a str,
    /// The columns it sets.
    pub columns: &'a [&'a str],
    /// It sets a PIN, and does not take one away.
    pub sets_pin: bool,
}

impl ShopStore {
    /// Whether documents need an employee who signed in: the shop asks for PINs, and somebody has one.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn pins_required(&self) -> Result<bool, StoreError> {
        Ok(self.pins()? == Pins::Required)
    }

    /// Whether the shop asks for PINs, by the row `pin_required` of `shop_settings`, or by that of this shop alone,
    /// `pin_required/SHOP`; and whether any active employee has one.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn pins(&self) -> Result<Pins, StoreError> {
        if !self.asks_for_pins()? {
            return Ok(Pins::Off);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM temp.{EMPLOYEES}
                 WHERE {PIN} IS NOT NULL AND deleted = 0 AND coalesce(active, 1) = 1)"
        );
        Ok(match self.conn.query_value(&sql, ())? {
            true => Pins::Required,
            false => Pins::Missing,
        })
    }

    fn asks_for_pins(&self) -> Result<bool, StoreError> {
        if !self.knows_pins() {
            return Ok(false);
        }
        let shop = self.binding.as_ref().map(|it| it.shop.to_string());
        let own = format!("{PIN_REQUIRED}/{}", shop.as_deref().unwrap_or_default());
        let sql = "SELECT value FROM temp.shop_settings WHERE id IN (?1, ?2) AND deleted = 0
                   AND value IS NOT NULL AND (shop IS NULL OR shop = ?3)
                   ORDER BY id DESC LIMIT 1";
        let key = params![own, PIN_REQUIRED, shop];
        let value: Option<String> = self.conn.query_optional(sql, key, |row| row.get(0))?;
        Ok(value.is_some_and(|value| asks_for_pins(&value)))
    }

    /// Lets a request through, or not.
    ///
    /// # Errors
    /// [`StoreError::SignInRequired`], [`StoreError::NotPermitted`], [`StoreError::ApprovalEnded`].
    pub fn admit(
        &self,
        presented: Presented,
        needed: Option<Permission>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        match self.pins()? {
            Pins::Off => return Ok(()),
            Pins::Missing => return self.admit_unguarded(needed),
            Pins::Required => {}
        }
        let employee = self.signed_in(presented, now_ms)?;
        let employee = employee.ok_or(StoreError::SignInRequired)?;
        self.permit(&employee, presented, needed, now_ms)
    }

    /// Where nobody can sign in everything goes on but what would let somebody give himself what he lacks: that is done at
    /// the hub. A till in trial has none.
    fn admit_unguarded(&self, needed: Option<Permission>) -> Result<(), StoreError> {
        match needed {
            Some(Permission::Manage) if self.binding.is_some() => Err(StoreError::NobodyHasPin),
            _ => Ok(()),
        }
    }

    /// Lets a document through, or not. Whoever signed in stands in it.
    ///
    /// # Errors
    /// As [`Self::admit`]; [`StoreError::AnotherEmployee`] for one that names somebody else.
    pub fn admit_document(
        &self,
        presented: Presented,
        mut document: Document,
        now_ms: i64,
    ) -> Result<Document, StoreError> {
        let required = self.pins_required()?;
        let Some(employee) = self.signed_in(presented, now_ms)? else {
            if required {
                return Err(StoreError::SignInRequired);
            }
            if self.pins()? == Pins::Missing {
                self.admit_unguarded(self.needed_for(&document, now_ms)?)?;
            }
            return Ok(document);
        };
        if let Some(named) = named_in(&mut document) {
            if let Some(other) = named.as_ref().filter(|other| **other != employee.id)
                && required
            {
                return Err(StoreError::AnotherEmployee {
                    signed_in: employee.id,
                    named: other.clone(),
                });
            }
            named.get_or_insert_with(|| employee.id.clone());
        }
        if required {
            let needed = self.needed_for(&document, now_ms)?;
            self.permit(&employee, presented, needed, now_ms)?;
        }
        Ok(document)
    }

    /// Who opens the drawer without a sale.
    pub(crate) fn opens_drawer(
        &self,
        presented: Presented,
        now_ms: i64,
    ) -> Result<String, StoreError> {
        let employee = self.signed_in(presented, now_ms)?;
        let employee = employee.ok_or(StoreError::SignInRequired)?;
        if self.pins_required()? {
            self.permit(&employee, presented, Some(Permission::NoSale), now_ms)?;
        }
        Ok(employee.id)
    }

    /// Lets an edit of the catalog through, or not: who may do what, and whether PINs are asked for, is for those who may
    /// manage; prices are for those who may override them; everybody may change the own PIN, but not take it away: the last one who has a PIN would open the till
    /// for all.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_edit(
        &self,
        presented: Presented,
        edit: EditOf<'_>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let is_own_pin = edit.sets_pin && edit.table == EMPLOYEES && edit.columns == [PIN] && {
            let employee = self.signed_in(presented, now_ms)?;
            employee.is_some_and(|employee| employee.id == edit.row.trim())
        };
        let of_price = edit.table == "prices" || edit.columns.iter().any(|it| is_price(it));
        let needed = match () {
            () if is_own_pin => None,
            () if is_of_staff(edit.table) => Some(Permission::Manage),
            () if of_price => Some(Permission::PriceOverride),
            () => None,
        };
        self.admit(presented, needed, now_ms)
    }

    /// A till that belongs to no shop yet has nobody to ask for help: before it asks for PINs somebody must be able to
    /// switch that off again.
    pub(crate) fn check_lock_out(&self, edit: &CatalogEdit) -> Result<(), StoreError> {
        let value = edit.columns.get("value").map_or("", text_of);
        let asks = edit.table == "shop_settings"
            && edit.row.starts_with(PIN_REQUIRED)
            && asks_for_pins(value);
        if !asks || self.binding.is_some() {
            return Ok(());
        }
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM temp.{EMPLOYEES} WHERE {PIN} IS NOT NULL AND deleted = 0
                 AND coalesce(active, 1) = 1
                 AND ',' || {PERMISSIONS} || ',' LIKE '%,{},%')",
            Permission::Manage
        );
        if self.knows_pins() && self.conn.query_value(&sql, ())? {
            return Ok(());
        }
        Err(StoreError::NobodyManages)
    }

    /// Who is signed in. The session ends with the PIN under which it began.
    fn signed_in(&self, presented: Presented, now_ms: i64) -> Result<Option<Employee>, StoreError> {
        let Some(token) = presented.session else {
            return Ok(None);
        };
        let sql = "SELECT employee, pin, seen_ms, expires_ms FROM local.employee_session
                   WHERE token = ?1 AND permission IS NULL";
        let found = self.conn.query_optional(sql, [token.to_vec()], |row| {
            let times = (row.get::<i64>(2)?, row.get::<i64>(3)?);
            Ok((row.get::<String>(0)?, row.get::<Option<String>>(1)?, times))
        })?;
        let Some((id, pin, (seen_ms, expires_ms))) = found else {
            return Ok(None);
        };
        let idle_ms = now_ms.saturating_sub(seen_ms);
        if !(-CLOCK_BACK_MS..SESSION_IDLE_MS).contains(&idle_ms) || now_ms >= expires_ms {
            return Ok(None);
        }
        let employee = self.under_pin(&id, pin.as_deref())?;
        if employee.is_some() && !(0..SEEN_AGAIN_MS).contains(&idle_ms) {
            let sql = "UPDATE local.employee_session SET seen_ms = ?2 WHERE token = ?1";
            self.conn.execute(sql, params![token.to_vec(), now_ms])?;
        }
        Ok(employee)
    }

    fn permit(
        &self,
        employee: &Employee,
        presented: Presented,
        needed: Option<Permission>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let Some(needed) = needed else {
            return Ok(());
        };
        // Whoever may set any price may set a lower one, and approve it.
        let or = match needed {
            Permission::Discount => Permission::PriceOverride,
            other => other,
        };
        if [needed, or]
            .iter()
            .any(|it| employee.permissions.allow(*it))
        {
            return Ok(());
        }
        let Some(approval) = presented.approval else {
            return Err(StoreError::NotPermitted {
                employee: employee.id.clone(),
                permission: needed,
            });
        };
        let sql = "SELECT employee, pin FROM local.employee_session
                   WHERE token = ?1 AND permission IN (?2, ?5) AND expires_ms > ?3
                     AND begun_ms <= ?4";
        let key = params![
            approval.to_vec(),
            needed.name(),
            now_ms,
            now_ms.saturating_add(CLOCK_BACK_MS),
            or.name()
        ];
        let given = self.conn.query_optional(sql, key, |row| {
            Ok((row.get::<String>(0)?, row.get::<Option<String>>(1)?))
        })?;
        // It is good for one thing, also when that is refused after all.
        let sql = "DELETE FROM local.employee_session WHERE token = ?1 AND permission IS NOT NULL";
        if given.is_some() {
            self.conn.execute(sql, [approval.to_vec()])?;
        }
        let (by, pin) = given.ok_or(StoreError::ApprovalEnded(needed))?;
        let approver = self.under_pin(&by, pin.as_deref())?;
        let may = |it: &Employee| [needed, or].iter().any(|of| it.permissions.allow(*of));
        match approver.is_some_and(|it| may(&it)) {
            true => Ok(()),
            false => Err(StoreError::ApprovalEnded(needed)),
        }
    }

    /// An active employee who has the same PIN still.
    fn under_pin(&self, id: &str, pin: Option<&str>) -> Result<Option<Employee>, StoreError> {
        let employee = self.employee(id)?;
        Ok(employee.filter(|known| known.active && known.pin.as_ref().map(PinHash::as_str) == pin))
    }

    fn needed_for(
        &self,
        document: &Document,
        now_ms: i64,
    ) -> Result<Option<Permission>, StoreError> {
        match document {
            Document::Refund(_) => Ok(Some(Permission::Refund)),
            Document::Sale(receipt) => {
                let lines = self.not_agreed_to(receipt, now_ms)?;
                self.needed_for_prices(lines, now_ms)
            }
            Document::AdvanceOrder(order) => self.needed_for_prices(&order.lines, now_ms),
            Document::ParkedSale(parked) => self.needed_for_prices(&parked.lines, now_ms),
            Document::Activation(_)
            | Document::LedgerEntry(_)
            | Document::CashSession(_)
            | Document::Expense(_)
            | Document::CatalogEdit(_)
            | Document::StockMovement(_)
            | Document::StockCount(_)
            | Document::Closure(_)
            | Document::EmployeeEvent(_)
            | Document::ParkedDiscard(_) => Ok(None),
            Document::Escrow(escrow) => Ok(match escrow.act {
                // What makes rights that no lane gave, or ends them for all, is for who answers for it.
                EscrowAct::Take { .. } | EscrowAct::Release { .. } | EscrowAct::End { .. } => {
                    Some(Permission::Manage)
                }
                EscrowAct::Begin { .. } | EscrowAct::Join { .. } | EscrowAct::Give { .. } => None,
            }),
        }
    }

    /// Lines of a sale whose prices nobody has agreed to: those of a parked sale were when it was parked, as long as it is
    /// not stale.
    fn not_agreed_to<'r>(
        &self,
        receipt: &'r Receipt,
        now_ms: i64,
    ) -> Result<Vec<&'r Line>, StoreError> {
        let cart = match receipt.parked {
            Some(finishes) => self.about_parked(finishes.id)?.cart,
            None => None,
        };
        let cart = cart.map(|cart| self.as_merged(cart)).transpose()?;
        Ok(match cart {
            Some(cart) if !is_stale(cart.at_ms, now_ms) => beyond(&receipt.lines, &cart.lines),
            _ => receipt.lines.iter().collect(),
        })
    }

    /// A price below the catalog's is a discount: a receipt has no other. Above it, or without one, it is another price.
    fn needed_for_prices<'l>(
        &self,
        lines: impl IntoIterator<Item = &'l Line>,
        now_ms: i64,
    ) -> Result<Option<Permission>, StoreError> {
        let mut needed = None;
        for line in lines {
            let listed = match self.product(&line.sku, now_ms) {
                Ok(product) => product.price,
                Err(StoreError::UnknownProduct(_)) => None,
                Err(error) => return Err(error),
            };
            match listed {
                Some(price) if price == line.unit_price => {}
                Some(price) if line.unit_price.mills < price.mills => {
                    needed = needed.or(Some(Permission::Discount));
                }
                Some(_) | None => return Ok(Some(Permission::PriceOverride)),
            }
        }
        Ok(needed)
    }
}

impl Writer<'_> {
    /// Tells in the journal, once until somebody has a PIN again, that documents are recorded of which nobody was asked
    /// for one.
    pub(crate) fn tell_unguarded(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let store = self.store;
        let is_told =
            || -> Result<bool, StoreError> { Ok(store.local_state(UNGUARDED_KEY)?.is_some()) };
        match store.pins()? {
            Pins::Missing if !is_told()? => {
                store.set_local_state(UNGUARDED_KEY, "told")?;
                let event = EmployeeEvent {
                    employee: NOBODY.to_owned(),
                    event: EventKind::Unguarded,
                    permission: None,
                    outcome: Outcome::Granted,
                    unlooked: 0,
                    at_ms: now_ms,
                };
                self.append(Entry {
                    id: None,
                    document: Document::EmployeeEvent(event),
                    now_ms,
                })?;
            }
            Pins::Required if is_told()? => store.remove_local_state(UNGUARDED_KEY)?,
            Pins::Missing | Pins::Required | Pins::Off => {}
        }
        Ok(())
    }
}

/// Where a document names its employee.
fn named_in(document: &mut Document) -> Option<&mut Option<String>> {
    match document {
        Document::Sale(receipt) | Document::Refund(receipt) => Some(&mut receipt.employee),
        Document::CashSession(session) => Some(&mut session.employee),
        Document::Expense(expense) => Some(&mut expense.employee),
        Document::ParkedSale(parked) => Some(&mut parked.employee),
        Document::ParkedDiscard(discard) => Some(&mut discard.employee),
        Document::Escrow(escrow) => Some(&mut escrow.employee),
        Document::Activation(_)
        | Document::LedgerEntry(_)
        | Document::AdvanceOrder(_)
        | Document::CatalogEdit(_)
        | Document::StockMovement(_)
        | Document::StockCount(_)
        | Document::Closure(_)
        | Document::EmployeeEvent(_) => None,
    }
}

/// Whether an edit sets a PIN: what is no hash of one opens nothing, and takes it away.
pub fn sets_pin(columns: &BTreeMap<String, Value>) -> bool {
    let hash = columns.get(PIN).and_then(Value::as_str);
    hash.is_some_and(is_hash)
}

/// The names of the columns of an edit.
pub fn column_names<V>(columns: &BTreeMap<String, V>) -> Vec<&str> {
    columns.keys().map(String::as_str).collect()
}
