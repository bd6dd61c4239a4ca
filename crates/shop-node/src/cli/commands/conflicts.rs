//! Conflicts of this shop, and how conflicts are settled.

use super::{ask_long, get};
use crate::cli::output::{self, table, time};
use crate::cli::{Common, Failure};
use clap::{Args, Subcommand};
use counterfoil_domain::merge::Stamp;
use counterfoil_protocol::wire::decisions::{
    Choice, ConflictSide, Deciding, ResolveRequest, ShopConflict, ShopConflictDecided,
    ShopConflictPage,
};
use counterfoil_protocol::wire::policies::{PolicyRow, grouped};
use counterfoil_replica::env::Env;
use serde::Serialize;
use serde_json::Value;

#[derive(Subcommand)]
pub(crate) enum ConflictsCommand {
    /// List them: both values, who wrote them and when, what is current, how it was settled.
    List {
        /// Only those that wait for a person.
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Show one with everything that is known of it.
    Show {
        /// Number of the conflict.
        id: i64,
        #[command(flatten)]
        common: Common,
    },
    /// Settle one by a choice; it reaches the hub and every till with the next sync.
    Resolve {
        /// Number of the conflict.
        id: i64,
        #[command(flatten)]
        choice: ChoiceArgs,
        #[command(flatten)]
        deciding: DecidingArgs,
    },
    /// Make the value that lost current again, whatever is there now.
    PutBack {
        /// Number of the conflict.
        id: i64,
        #[command(flatten)]
        deciding: DecidingArgs,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ChoiceArgs {
    /// The value that is current stays.
    #[arg(long)]
    winner: bool,
    /// The value that lost becomes current.
    #[arg(long)]
    loser: bool,
    /// A third value.
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// No value.
    #[arg(long)]
    empty: bool,
}

#[derive(Args)]
pub(crate) struct DecidingArgs {
    /// The version that was current when you looked; another one there now is refused.
    #[arg(long, value_name = "VERSION")]
    seen: Option<Stamp>,
    /// Who decides, for the audit trail.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn conflicts(command: ConflictsCommand, env: Env) -> Result<(), Failure> {
    match command {
        ConflictsCommand::List { open, common } => list(open, &common, env).await,
        ConflictsCommand::Show { id, common } => {
            let row: ShopConflict = get(&common, env, &format!("/v1/conflicts/{id}")).await?;
            output::show(common.json, &row, shown)
        }
        ConflictsCommand::Resolve {
            id,
            choice,
            deciding,
        } => {
            let choice = match choice {
                ChoiceArgs { winner: true, .. } => Choice::Winner,
                ChoiceArgs { loser: true, .. } => Choice::Loser,
                ChoiceArgs { value, .. } => Choice::Value(value),
            };
            let (deciding, common) = deciding.split(&env);
            let request = ResolveRequest { choice, deciding };
            decide(
                &format!("/v1/conflicts/{id}/resolve"),
                &request,
                &common,
                env,
            )
            .await
        }
        ConflictsCommand::PutBack { id, deciding } => {
            let (deciding, common) = deciding.split(&env);
            decide(
                &format!("/v1/conflicts/{id}/put-back"),
                &deciding,
                &common,
                env,
            )
            .await
        }
    }
}

impl DecidingArgs {
    /// With the id under which a repetition is recognized.
    fn split(self, env: &Env) -> (Deciding, Common) {
        let deciding = Deciding {
            seen: self.seen,
            id: Some(super::mint(env)),
            by: self.by,
        };
        (deciding, self.common)
    }
}

async fn decide<B: Serialize>(
    path: &str,
    request: &B,
    common: &Common,
    env: Env,
) -> Result<(), Failure> {
    let made: ShopConflictDecided = ask_long(common, env, path, Some(request)).await?;
    output::show(common.json, &made, |made| {
        let said = match (made.repeated, made.merged) {
            (true, _) => "had been decided so already",
            (false, true) => "decided, and merged at the hub",
            (false, false) => "decided and recorded; it goes to the hub with the next sync",
        };
        format!("{said}\n{}", shown(&made.conflict))
    })
}

async fn list(open: bool, common: &Common, env: Env) -> Result<(), Failure> {
    let state = if open { "state=open&" } else { "" };
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/conflicts?{state}after={after}");
        let page: ShopConflictPage = get(common, env.clone(), &path).await?;
        rows.extend(page.conflicts);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    output::show(common.json, &rows, |rows| {
        let cells = rows.iter().map(|found| {
            let row = &found.conflict;
            let state = match found.pending {
                Some(_) => "decided here",
                None => row.state.name(),
            };
            vec![
                row.id.to_string(),
                format!("{} {} {}", row.table, row.row, row.column),
                state.to_owned(),
                text(&row.current.value),
                text(&row.loser.value),
                writer(&row.loser),
                time(row.loser.at_ms),
                text(&row.winner.value),
                writer(&row.winner),
                time(row.winner.at_ms),
                row.policy.clone(),
            ]
        });
        let header = [
            "no", "field", "state", "current", "lost", "by", "written", "won", "by", "written",
            "policy",
        ];
        table(&header, cells)
    })
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "(empty)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn writer(side: &ConflictSide) -> String {
    match (&side.shop, side.lane) {
        (Some(shop), Some(lane)) => format!("{shop}/{lane}"),
        (Some(shop), None) => shop.clone(),
        (None, _) => "hub".to_owned(),
    }
}

fn shown(found: &ShopConflict) -> String {
    let row = &found.conflict;
    let mut lines = vec![
        vec![
            "field".to_owned(),
            format!("{} {} {}", row.table, row.row, row.column),
        ],
        vec!["policy".to_owned(), row.policy.clone()],
        vec!["state".to_owned(), row.state.name().to_owned()],
    ];
    for (name, side) in [
        ("current", &row.current),
        ("won", &row.winner),
        ("lost", &row.loser),
    ] {
        let said = format!(
            "{}, by {}, {}, version {}, at catalog revision {}",
            text(&side.value),
            writer(side),
            time(side.at_ms),
            side.stamp,
            side.base_revision
        );
        lines.push(vec![name.to_owned(), said]);
    }
    if let Some(pending) = &found.pending {
        let said = format!(
            "{} by {}, {}, not merged yet",
            text(&pending.value),
            pending.by,
            time(pending.at_ms)
        );
        lines.push(vec!["decided".to_owned(), said]);
    }
    table(&["conflict", &row.id.to_string()], lines)
}

pub(crate) async fn policies(common: &Common, env: Env) -> Result<(), Failure> {
    let rows: Vec<PolicyRow> = get(common, env, "/v1/policies").await?;
    output::show(common.json, &rows, |rows| {
        let cells = grouped(rows.clone()).into_iter().map(|row| {
            let since = row.since_ms.map_or_else(|| "as shipped".to_owned(), time);
            vec![row.table, row.column, row.policy.name().to_owned(), since]
        });
        table(&["table", "columns", "policy", "since"], cells)
    })
}
