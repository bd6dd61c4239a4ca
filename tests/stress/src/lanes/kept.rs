//! What a person did at a lane, by the driver's account, is there at the end: every value that was entered (G6), refunds, parked
//! sales, and no more lamps sold than there were.

use super::account::{Account, Edit, LAMP, LAMPS, text};
use super::same::texts;
use super::shop::{Shop, printed};
use crate::chain::Programs;
use anyhow::Context as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Table, row and column.
type Field = (String, String, String);
type Listed = BTreeMap<Field, BTreeSet<String>>;

/// What may become of no value.
const LOST: &str = "lost";

/// What each receipt at the hub says of others.
const RECEIPTS: &str = "SELECT json_array(hex(id), hex(refund_of), parked ->> 'id') FROM receipt";
const LAMPS_SOLD: &str =
    "SELECT coalesce(sum(quantity_milli), 0) || '' FROM receipt_line WHERE sku = 'LAMP'";

fn plain(id: &str) -> String {
    id.replace('-', "").to_lowercase()
}

impl Shop {
    pub(super) async fn not_kept(&self, programs: &Programs) -> anyhow::Result<Vec<String>> {
        let account = self.account();
        let mut found = self.lost_values(programs, &account)?;
        found.extend(self.shown_otherwise(&account).await?);
        found.extend(self.lost_receipts(&account)?);
        found.extend(self.not_parked(programs, &account).await?);
        found.extend(self.untold(&account)?);
        Ok(found)
    }

    /// What the hub publishes of a field.
    fn published(&self, (table, row, column): (&str, &str, &str)) -> anyhow::Result<String> {
        let sql = format!("SELECT coalesce({column}, '') || '' FROM {table} WHERE id = '{row}'");
        let found = texts(&self.hub_data.join("catalog.db"), &sql)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// The values of conflicts that the hub lists.
    fn in_conflict(&self, programs: &Programs) -> anyhow::Result<Listed> {
        let listed: Value =
            serde_json::from_slice(&printed(self.at_hub(programs, &["conflicts", "list"]))?)?;
        let listed = listed.get("conflicts").unwrap_or(&listed);
        let mut in_conflict = Listed::new();
        for row in listed.as_array().context("no conflicts")? {
            let [table, of, column] = ["table", "row", "column"].map(|key| text(&row[key]));
            let sides = ["winner", "loser", "current"].map(|side| text(&row[side]["value"]));
            let values = in_conflict.entry((table, of, column)).or_default();
            values.extend(sides);
        }
        Ok(in_conflict)
    }

    /// What became of a value: it is current, or in a conflict that the hub lists, or somebody saw it and entered another one.
    fn fate(
        &self,
        edit: &Edit,
        account: &Account,
        in_conflict: &Listed,
    ) -> anyhow::Result<&'static str> {
        let (table, row, column) = (edit.field.0, edit.field.1.as_str(), edit.field.2);
        let key = (table.to_owned(), row.to_owned(), column.to_owned());
        if in_conflict
            .get(&key)
            .is_some_and(|it| it.contains(&edit.value))
        {
            return Ok("in conflicts");
        }
        let mut others = account.edits.iter().filter(|it| it.field == edit.field);
        if others.any(|it| it.shown.contains(&edit.value)) {
            return Ok("replaced");
        }
        let is_current = self.published((table, row, column))? == edit.value;
        Ok(if is_current { "current" } else { LOST })
    }

    fn lost_values(&self, programs: &Programs, account: &Account) -> anyhow::Result<Vec<String>> {
        let in_conflict = self.in_conflict(programs)?;
        let mut found = Vec::new();
        for edit in &account.edits {
            if self.fate(edit, account, &in_conflict)? == LOST {
                found.push(format!(
                    "what lane {} entered is not current, nobody who saw it replaced it, and the hub lists no conflict with it: {edit:?}",
                    edit.lane
                ));
            }
        }
        Ok(found)
    }

    /// How many values came to what.
    pub(super) fn fates(
        &self,
        programs: &Programs,
    ) -> anyhow::Result<BTreeMap<&'static str, usize>> {
        let (account, in_conflict) = (self.account(), self.in_conflict(programs)?);
        let mut fates = BTreeMap::new();
        for edit in &account.edits {
            let fate = self.fate(edit, &account, &in_conflict)?;
            *fates.entry(fate).or_default() += 1;
        }
        Ok(fates)
    }

    /// Every lane shows what the hub publishes, and waits for nothing.
    async fn shown_otherwise(&self, account: &Account) -> anyhow::Result<Vec<String>> {
        let fields: BTreeSet<_> = account.edits.iter().map(|edit| &edit.field).collect();
        let mut found = Vec::new();
        for (table, row, column) in fields {
            let published = self.published((table, row, column))?;
            for (till, _) in &self.lanes {
                let shown: Value = till.api.get(till.row_url(table, row)).await?;
                let value = text(&shown["columns"][*column]);
                if value != published || shown["pending"] != false {
                    found.push(format!(
                        "lane {} shows {shown} of {table} {row}, the hub has {column} {published:?}",
                        till.number
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Refunds and finished parked sales say at the hub what they said at their lane, and no lamp was sold twice.
    fn lost_receipts(&self, account: &Account) -> anyhow::Result<Vec<String>> {
        let hub = self.hub_data.join("hub.db");
        let mut counted = BTreeMap::new();
        for row in texts(&hub, RECEIPTS)? {
            let row: [Option<String>; 3] = serde_json::from_str(&row)?;
            let [id, of, parked] = row.map(|id| id.map(|id| plain(&id)).unwrap_or_default());
            counted.insert(id, (of, parked));
        }
        let mut found = Vec::new();
        for (id, receipt) in &account.receipts {
            let said = [&receipt.refund_of, &receipt.finishes];
            let [of, parked] = said.map(|id| id.as_deref().map(plain).unwrap_or_default());
            let at_hub = counted.get(&plain(id));
            if at_hub != Some(&(of, parked)) {
                found.push(format!(
                    "receipt {id} is {receipt:?}, the hub has {at_hub:?}"
                ));
            }
        }
        for sold in texts(&hub, LAMPS_SOLD)? {
            let sold: i64 = sold.parse()?;
            let by_account = account.deeds.get("lamp").copied().unwrap_or(0);
            if sold > LAMPS * 1_000 || sold != i64::try_from(by_account)? * 1_000 {
                found.push(format!(
                    "there were {LAMPS} of {LAMP}, lanes sold {by_account}, and the hub counts {sold} thousandths"
                ));
            }
        }
        Ok(found)
    }

    /// All lanes list the same parked sales, those that nobody finished.
    async fn not_parked(
        &self,
        programs: &Programs,
        account: &Account,
    ) -> anyhow::Result<Vec<String>> {
        let (open, mut found) = (account.open(), Vec::new());
        for (till, _) in &self.lanes {
            let listed: Value = till.api.get(format!("{}/v1/parked", till.url)).await?;
            let rows = listed["parked"].as_array().context("no list")?;
            let listed: BTreeSet<String> = rows.iter().map(|row| text(&row["id"])).collect();
            if listed != open {
                let more: Vec<_> = listed.difference(&open).collect();
                let lacks: Vec<_> = open.difference(&listed).collect();
                found.push(format!(
                    "lane {} lists {more:?} as parked, and not {lacks:?}",
                    till.number
                ));
            }
        }
        let finished = account.by(|it| it.finishes.as_ref());
        if finished.values().any(|sales| sales.len() > 1) {
            let listed = printed(self.at_hub(programs, &["alerts", "list"]))?;
            if !String::from_utf8_lossy(&listed).contains("parked_sold_twice") {
                found.push("the hub has told nobody of parked sales finished twice".to_owned());
            }
        }
        Ok(found)
    }

    /// Of what lanes that were apart did twice a person is told.
    fn untold(&self, account: &Account) -> anyhow::Result<Vec<String>> {
        let sql = "SELECT event || detail FROM sync_log WHERE event IN ('refunded_twice', 'parked_sold_twice')";
        let mut told = Vec::new();
        for (till, _) in &self.lanes {
            told.extend(texts(&till.data.join("local.db"), sql)?);
        }
        let mut found = Vec::new();
        let refunded = account.by(|it| it.refund_of.as_ref());
        let finished = account.by(|it| it.finishes.as_ref());
        for (event, by) in [
            ("refunded_twice", refunded),
            ("parked_sold_twice", finished),
        ] {
            for (id, receipts) in by {
                let is_told = |line: &String| line.starts_with(event) && line.contains(id);
                if receipts.len() > 1 && !told.iter().any(is_told) {
                    found.push(format!("no lane has logged {event} of {id}: {receipts:?}"));
                }
            }
        }
        Ok(found)
    }
}
