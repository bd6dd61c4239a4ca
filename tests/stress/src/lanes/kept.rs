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

/// Edits by what became of their values.
pub(super) type Fates = BTreeMap<&'static str, Vec<Edit>>;

/// What may become of no value.
const LOST: &str = "lost";
/// It came to a lane between the moment when that showed the row to the driver and the edit that replaced it.
const UNSEEN: &str = "replaced in the moment it came";
/// That is seldom: at most one in so many edits. More would be values that are replaced and nobody had seen them.
const EDITS_FOR_ONE_UNSEEN: usize = 20;

/// What each receipt at the hub says of others.
const RECEIPTS: &str = "SELECT json_array(hex(id), hex(refund_of), parked ->> 'id') FROM receipt";
/// Values that were replaced knowingly, by what the lane said that replaced them.
const NAMED: &str = "SELECT json_array(old.table_name, old.row_id, old.column_name, json(old.value)) FROM field_version AS old
                     JOIN field_version AS new USING (table_name, row_id, column_name)
                     WHERE instr(new.base, printf('%x.%08x', old.hlc, old.node_tag)) > 0";
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

    /// The values that a later edit names as what it replaced.
    fn named(&self) -> anyhow::Result<Listed> {
        let mut named = Listed::new();
        for row in texts(&self.hub_data.join("hub.db"), NAMED)? {
            let [table, of, column, value]: [Value; 4] = serde_json::from_str(&row)?;
            let field = (text(&table), text(&of), text(&column));
            named.entry(field).or_default().insert(text(&value));
        }
        Ok(named)
    }

    /// What became of each value: it is current, or in a conflict that the hub lists, or somebody saw it and entered another one.
    pub(super) fn fates(&self, programs: &Programs, account: &Account) -> anyhow::Result<Fates> {
        let (in_conflict, named) = (self.in_conflict(programs)?, self.named()?);
        let mut fates = Fates::new();
        for edit in &account.edits {
            let (table, row, column) = (edit.field.0, edit.field.1.as_str(), edit.field.2);
            let key = (table.to_owned(), row.to_owned(), column.to_owned());
            let has = |listed: &Listed| listed.get(&key).is_some_and(|it| it.contains(&edit.value));
            let mut others = account.edits.iter().filter(|it| it.field == edit.field);
            let fate = match () {
                () if has(&in_conflict) => "in conflicts",
                () if others.any(|it| it.shown.contains(&edit.value)) => "replaced",
                () if self.published((table, row, column))? == edit.value => "current",
                () if has(&named) => UNSEEN,
                () => LOST,
            };
            fates.entry(fate).or_default().push(edit.clone());
        }
        Ok(fates)
    }

    fn lost_values(&self, programs: &Programs, account: &Account) -> anyhow::Result<Vec<String>> {
        let fates = self.fates(programs, account)?;
        let found = fates.get(LOST).into_iter().flatten().map(|edit| {
            format!(
                "what lane {} entered is not current, nobody who saw it replaced it, and the hub lists no conflict with it: {edit:?}",
                edit.lane
            )
        });
        let mut found: Vec<_> = found.collect();
        let unseen = fates.get(UNSEEN).map_or(0, Vec::len);
        if unseen > 1 + account.edits.len().div_euclid(EDITS_FOR_ONE_UNSEEN) {
            found.push(format!(
                "{unseen} values were replaced that nobody was shown"
            ));
        }
        Ok(found)
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
            let twice = by.iter().filter(|(_, receipts)| receipts.len() > 1);
            let is_told = |id: &str| {
                told.iter()
                    .any(|line| line.starts_with(event) && line.contains(id))
            };
            for (id, receipts) in twice.filter(|(id, _)| !is_told(id)) {
                found.push(format!("no lane has logged {event} of {id}: {receipts:?}"));
            }
        }
        Ok(found)
    }
}
