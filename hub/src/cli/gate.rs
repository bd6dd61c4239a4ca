//! `gate`.

use super::commands::Session;
use super::print::{self, table};
use super::{Failure, WhoArgs};
use clap::Subcommand;
use counterfoil_protocol::gate::GatePolicy;
use counterfoil_protocol::wire::gate::{
    BookGate, GateRehearsal, GateRehearseRequest, GateReport, GateSet, GateSetRequest, GateTill,
    HeldBackBy, HeldChange,
};

#[derive(Debug, Subcommand)]
pub(super) enum GateCommand {
    /// Shows which tills are of other schema versions than the hub, what waits because of that, and who holds
    /// back which change.
    Show,
    /// Sets what is taken from tills that are older than the hub; with `--rehearse` only shows for which tills
    /// that would make a difference.
    Set {
        /// `uplink_open`: their sales are taken and the catalog waits; `strict`: nothing is taken until they are
        /// updated.
        #[arg(value_parser = parse_policy)]
        policy: GatePolicy,
        /// Change nothing: show what would be different.
        #[arg(long)]
        rehearse: bool,
        #[command(flatten)]
        who: WhoArgs,
    },
}

fn parse_policy(text: &str) -> Result<GatePolicy, String> {
    GatePolicy::from_name(text).ok_or_else(|| {
        let names = GatePolicy::ALL.map(GatePolicy::name);
        format!("a policy of the gate is one of {}", names.join(", "))
    })
}

pub(super) async fn execute(command: GateCommand, session: Session) -> Result<(), Failure> {
    let (policy, is_rehearsal, who) = match command {
        GateCommand::Show => {
            let (found, out) = session.get::<GateReport>("gate").await?;
            return out.print(&found, report);
        }
        GateCommand::Set {
            policy,
            rehearse,
            who,
        } => (policy, rehearse, who),
    };
    if is_rehearsal {
        let request = GateRehearseRequest { policy };
        let path = "gate/rehearse";
        let (found, out) = session.post::<GateRehearsal>(path, &request, false).await?;
        return out.print(&found, rehearsal);
    }
    let by = Some(who.by);
    let request = GateSetRequest { policy, by };
    let (set, out) = session.post::<GateSet>("gate", &request, false).await?;
    out.print(&set, |set| {
        let said = if set.changed {
            "from now on"
        } else {
            "as before"
        };
        format!("{} {said}", set.policy.name())
    })
}

fn report(found: &GateReport) -> String {
    let mut text = format!(
        "{}; this hub has book {} and catalog {}\n",
        found.policy.name(),
        found.schemas.book,
        found.schemas.catalog
    );
    if found.tills.is_empty() {
        text.push_str("every till has the same\n");
        return text;
    }
    text.push_str(&tills(&found.tills));
    let changes = found.changes.iter().map(change).collect();
    let changes = table(&["change", "held back by", "tills"], &[], changes);
    format!("{text}\n{changes}")
}

fn rehearsal(found: &GateRehearsal) -> String {
    let (policy, now) = (found.policy.name(), found.policy_now.name());
    let mut text = format!(
        "{policy} instead of {now}: {} tills would be treated otherwise. Nothing was changed.\n",
        found.tills.len()
    );
    if !found.tills.is_empty() {
        text.push_str(&tills(&found.tills));
    }
    text
}

fn tills(tills: &[GateTill]) -> String {
    let rows = tills.iter().map(|till| {
        let rows = till
            .rows
            .iter()
            .map(|(table, rows)| format!("{rows} {table}"));
        let book = match till.book {
            BookGate::Counted => "counted",
            BookGate::Kept => "kept",
            BookGate::Refused => "refused",
        };
        vec![
            till.till.clone(),
            format!("{}/{}", till.schemas.book, till.schemas.catalog),
            till.seen_ms.map_or_else(|| "-".to_owned(), print::time),
            book.to_owned(),
            till.entries.to_string(),
            till.since_ms.map_or_else(|| "-".to_owned(), print::time),
            till.publications.to_string(),
            rows.collect::<Vec<_>>().join(", "),
            till.why.clone(),
        ]
    });
    let header = [
        "till",
        "has book/catalog",
        "seen",
        "book",
        "entries that wait",
        "since",
        "publications that wait",
        "rows",
        "why",
    ];
    table(&header, &[4, 6], rows.collect())
}

fn change(change: &HeldChange) -> Vec<String> {
    let name = change.name.as_deref().unwrap_or("unknown here");
    let by = match change.held_back_by {
        HeldBackBy::Tills => "tills that are too old",
        HeldBackBy::Hub => "this hub, which is too old",
    };
    vec![
        format!("{} {}: {name}", change.database, change.version),
        by.to_owned(),
        change.tills.join(", "),
    ]
}
