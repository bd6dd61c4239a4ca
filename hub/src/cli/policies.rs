//! `policy`.

use super::client::segment;
use super::commands::Session;
use super::conflicts::writer;
use super::print::{self, table, value};
use super::{Failure, WhoArgs};
use clap::Subcommand;
use counterfoil_domain::merge::Policy;
use counterfoil_protocol::wire::policies::{
    PolicyRow, PolicySet, PolicySetRequest, Rehearsal, RehearseRequest, grouped,
};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Lists the policies in force.
    List,
    /// Changes those of some columns for what is written from now on; with `--rehearse` only shows what it would have changed.
    Set {
        /// Name of the catalog table, such as products.
        table: String,
        /// Names of the columns, joined by commas, that change in one decision; `*` for those that have no policy of
        /// their own.
        columns: String,
        /// `last_writer_wins`, `hub_wins`, `shop_wins` or `manual`.
        #[arg(value_parser = parse_policy)]
        policy: Policy,
        /// Change nothing: decide the edits of the last days again, and show what would differ.
        #[arg(long)]
        rehearse: bool,
        /// How many days a rehearsal goes back.
        #[arg(long, value_name = "DAYS", default_value_t = 30, requires = "rehearse")]
        days: u32,
        #[command(flatten)]
        who: WhoArgs,
    },
}

fn parse_policy(text: &str) -> Result<Policy, String> {
    Policy::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Policy::ALL.iter().map(|policy| policy.name()).collect();
        format!("a policy is one of {}", names.join(", "))
    })
}

pub(super) async fn execute(command: PolicyCommand, session: Session) -> Result<(), Failure> {
    let PolicyCommand::Set {
        table,
        columns,
        policy,
        rehearse,
        days,
        who,
    } = command
    else {
        let (rows, out) = session.get::<Vec<PolicyRow>>("policies").await?;
        return out.print(&rows, |rows| policies(rows));
    };
    let path = format!("policies/{}/{}", segment(&table), segment(&columns));
    if rehearse {
        let path = format!("{path}/rehearse");
        let request = RehearseRequest { policy, days };
        let (found, out) = session.post::<Rehearsal>(&path, &request, false).await?;
        return out.print(&found, rehearsal);
    }
    let request = PolicySetRequest {
        policy,
        by: Some(who.by),
    };
    let (set, out) = session.post::<PolicySet>(&path, &request, false).await?;
    out.print(&set, was_set)
}

fn policies(rows: &[PolicyRow]) -> String {
    let rows = grouped(rows.to_vec()).into_iter().map(|row| {
        vec![
            row.table,
            row.column,
            row.policy.name().to_owned(),
            row.since_ms.map_or_else(|| "-".to_owned(), print::time),
        ]
    });
    let header = ["table", "columns", "policy", "since"];
    table(&header, &[], rows.collect())
}

fn was_set(set: &PolicySet) -> String {
    let PolicySet {
        table,
        column,
        policy,
        ..
    } = set;
    let said = if set.changed {
        "from now on"
    } else {
        "as before"
    };
    let (name, revision) = (policy.name(), set.revision);
    format!("{table} {column}: {name} {said}, in catalog revision {revision}")
}

fn rehearsal(found: &Rehearsal) -> String {
    let mut text = format!(
        "{} {}: {} since {}: {} of {} edited fields would hold another value. Nothing was changed.\n",
        found.table,
        found.column,
        found.policy.name(),
        print::time(found.since_ms),
        found.different,
        found.fields
    );
    if found.rows.is_empty() {
        return text;
    }
    let rows = found.rows.iter().map(|row| {
        vec![
            row.row.clone(),
            row.column.clone(),
            value(&row.now.value),
            writer(&row.now),
            row.policy_now.name().to_owned(),
            value(&row.then.value),
            writer(&row.then),
        ]
    });
    let header = ["row", "column", "now", "by", "under", "then", "by"];
    text.push_str(&table(&header, &[], rows.collect()));
    text
}
