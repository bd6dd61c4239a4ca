//! `conflicts` and `audit`.

use super::access::access_log;
use super::client::segment;
use super::commands::Session;
use super::print::{self, table, value};
use super::{Failure, WhoArgs};
use clap::{Args, Subcommand, ValueEnum};
use counterfoil_domain::merge::Stamp;
use counterfoil_protocol::wire::access::AccessLogPage;
use counterfoil_protocol::wire::decisions::{
    AuditPage, AuditRow, Choice, ConflictDecided, ConflictPage, ConflictRow, ConflictSide,
    ConflictState, Deciding, ResolveRequest,
};

#[derive(Debug, Subcommand)]
pub(super) enum ConflictsCommand {
    /// Lists them: both values, who wrote them and when, what is current, how it was settled.
    List {
        #[command(flatten)]
        which: WhichConflicts,
    },
    /// Shows one with everything that is known of it.
    Show {
        /// Number of the conflict.
        id: i64,
    },
    /// Settles one by a choice, which is an edit of the hub that reaches every till.
    Resolve {
        /// Number of the conflict.
        id: i64,
        #[command(flatten)]
        choice: ChoiceArgs,
        #[command(flatten)]
        deciding: DecidingArgs,
    },
    /// Makes the value that lost current again, whatever is there now.
    PutBack {
        /// Number of the conflict.
        id: i64,
        #[command(flatten)]
        deciding: DecidingArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct WhichConflicts {
    /// Only those that wait for a person; the same as `--state open`.
    #[arg(long, conflicts_with = "state")]
    open: bool,
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Only those of a catalog table.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only those in which a shop had a part, by name or id.
    #[arg(long, value_name = "SHOP")]
    shop: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum StateArg {
    Open,
    ByPolicy,
    ByChoice,
    ByEdit,
    ByAgreement,
}

impl From<StateArg> for ConflictState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Open => Self::Open,
            StateArg::ByPolicy => Self::ByPolicy,
            StateArg::ByChoice => Self::ByChoice,
            StateArg::ByEdit => Self::ByEdit,
            StateArg::ByAgreement => Self::ByAgreement,
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PageArgs {
    /// Only those with a greater number.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
    /// At most so many; all unless given.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct ChoiceArgs {
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

#[derive(Debug, Args)]
pub(super) struct DecidingArgs {
    /// The version that was current when you looked; another one there now is refused.
    #[arg(long, value_name = "VERSION")]
    seen: Option<Stamp>,
    #[command(flatten)]
    who: WhoArgs,
}

impl DecidingArgs {
    fn deciding(self) -> Deciding {
        Deciding {
            seen: self.seen,
            id: None,
            by: Some(self.who.by),
        }
    }
}

pub(super) async fn execute(command: ConflictsCommand, session: Session) -> Result<(), Failure> {
    match command {
        ConflictsCommand::List { which } => list(which, session).await,
        ConflictsCommand::Show { id } => {
            let (row, out) = session
                .get::<ConflictRow>(&format!("conflicts/{id}"))
                .await?;
            out.print(&row, shown)
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
            let deciding = deciding.deciding();
            let request = ResolveRequest { choice, deciding };
            let path = format!("conflicts/{id}/resolve");
            let (made, out) = session
                .post::<ConflictDecided>(&path, &request, false)
                .await?;
            out.print(&made, decided)
        }
        ConflictsCommand::PutBack { id, deciding } => {
            let path = format!("conflicts/{id}/put-back");
            let (made, out) = session
                .post::<ConflictDecided>(&path, &deciding.deciding(), false)
                .await?;
            out.print(&made, decided)
        }
    }
}

/// Fetches pages until there are as many rows as were asked for, or no more.
async fn pages<P: serde::de::DeserializeOwned, R>(
    session: &Session,
    (path, page): (&str, PageArgs),
    take: impl Fn(P) -> (Vec<R>, Option<i64>),
) -> Result<Vec<R>, Failure> {
    let wanted = page.limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let (mut rows, mut after) = (Vec::new(), page.after);
    loop {
        let (more, next) = take(session.fetch::<P>(&format!("{path}after={after}")).await?);
        rows.extend(more);
        match next {
            Some(next) if rows.len() < wanted => after = next,
            _ => break,
        }
    }
    rows.truncate(wanted);
    Ok(rows)
}

async fn list(which: WhichConflicts, session: Session) -> Result<(), Failure> {
    let mut path = "conflicts?".to_owned();
    let state = which.state.map(ConflictState::from);
    let state = which.open.then_some(ConflictState::Open).or(state);
    if let Some(state) = state {
        path.push_str(&format!("state={}&", state.name()));
    }
    for (name, text) in [("table", which.table), ("shop", which.shop)] {
        if let Some(text) = text {
            path.push_str(&format!("{name}={}&", segment(&text)));
        }
    }
    let take = |page: ConflictPage| (page.conflicts, page.next);
    let rows = pages(&session, (&path, which.page), take).await?;
    session.out().print(&rows, |rows| conflicts(rows))
}

pub(super) async fn audit(access: bool, page: PageArgs, session: Session) -> Result<(), Failure> {
    if access {
        let take = |page: AccessLogPage| (page.rows, page.next);
        let rows = pages(&session, ("access-log?", page), take).await?;
        return session.out().print(&rows, |rows| access_log(rows));
    }
    let take = |page: AuditPage| (page.decisions, page.next);
    let rows = pages(&session, ("audit?", page), take).await?;
    session.out().print(&rows, |rows| decisions(rows))
}

pub(super) fn writer(side: &ConflictSide) -> String {
    match (&side.shop, side.lane) {
        (Some(shop), Some(lane)) => format!("{shop}/{lane}"),
        (Some(shop), None) => shop.clone(),
        (None, _) => "hub".to_owned(),
    }
}

fn conflicts(rows: &[ConflictRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.id.to_string(),
            format!("{} {} {}", row.table, row.row, row.column),
            row.state.name().to_owned(),
            value(&row.current.value),
            writer(&row.current),
            value(&row.loser.value),
            writer(&row.loser),
            print::time(row.loser.at_ms),
            value(&row.winner.value),
            writer(&row.winner),
            print::time(row.winner.at_ms),
            row.policy.clone(),
        ]
    });
    let header = [
        "no", "field", "state", "current", "by", "lost", "by", "written", "won", "by", "written",
        "policy",
    ];
    table(&header, &[0], rows.collect())
}

fn side(name: &str, side: &ConflictSide) -> String {
    let base: Vec<_> = side.base.iter().map(ToString::to_string).collect();
    let replaced = if base.is_empty() {
        "nothing".to_owned()
    } else {
        base.join(" ")
    };
    format!(
        "{name:<10}{}\n          by {} ({}), {}, version {}, replacing {replaced}, at catalog revision {}\n",
        value(&side.value),
        writer(side),
        side.node_id,
        print::time(side.at_ms),
        side.stamp,
        side.base_revision
    )
}

fn shown(row: &ConflictRow) -> String {
    let mut text = format!(
        "conflict  {}\nfield     {} {} {}\npolicy    {}\nfound     {}\nstate     {}",
        row.id,
        row.table,
        row.row,
        row.column,
        row.policy,
        print::time(row.found_ms),
        row.state.name()
    );
    if let (Some(at_ms), Some(by)) = (row.settled_ms, row.settled_by) {
        text.push_str(&format!(" since {} by version {by}", print::time(at_ms)));
    }
    text.push('\n');
    for (name, held) in [
        ("current", &row.current),
        ("won", &row.winner),
        ("lost", &row.loser),
    ] {
        text.push_str(&side(name, held));
    }
    text
}

fn decided(made: &ConflictDecided) -> String {
    let said = if made.repeated {
        "had been decided so already".to_owned()
    } else {
        format!("decided, in catalog revision {}", made.revision)
    };
    format!("{said}\n{}", shown(&made.conflict))
}

fn decisions(rows: &[AuditRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.id.to_string(),
            print::time(row.at_ms),
            row.who.clone(),
            row.action.clone(),
            row.subject.clone(),
            row.detail.clone(),
            value(&row.before),
            value(&row.after),
        ]
    });
    let header = ["no", "at", "who", "what", "where", "how", "before", "after"];
    table(&header, &[0], rows.collect())
}
