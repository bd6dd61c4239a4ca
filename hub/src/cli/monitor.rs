//! `runs` and `alerts`.

use super::commands::Session;
use super::print::{optional, table, time};
use super::{Failure, WhoArgs};
use clap::{Args, Subcommand};
use counterfoil_domain::NodeId;
use counterfoil_protocol::wire::monitor::{
    AcknowledgeRequest, Acknowledged, AlertRow, RunPage, RunRow,
};

#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// Only of this till, by its id.
    #[arg(long, value_name = "ID")]
    node: Option<NodeId>,
    /// Only those with a smaller number.
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum AlertsCommand {
    /// Lists the newest: what happened, when, whether it is over, who has seen it.
    List {
        /// Only those that ask for somebody: states that last, and events that nobody has seen.
        #[arg(long)]
        open: bool,
    },
    /// Says that somebody has seen an alert.
    Acknowledge {
        /// Number of the alert.
        #[arg(required_unless_present = "all")]
        id: Option<i64>,
        /// All that are there.
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        who: WhoArgs,
    },
}

pub(super) async fn runs(args: RunsArgs, session: Session) -> Result<(), Failure> {
    let RunsArgs {
        node,
        before,
        limit,
    } = args;
    let node = node.map_or_else(String::new, |node| format!("&node={node}"));
    let before = before.map_or_else(String::new, |before| format!("&before={before}"));
    let path = format!("runs?limit={limit}{node}{before}");
    let (page, out) = session.get::<RunPage>(&path).await?;
    out.print(&page.runs, |rows| runs_text(rows))
}

fn runs_text(rows: &[RunRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.id.to_string(),
            time(row.started_ms),
            optional(row.till.as_ref()),
            row.kind.name().to_owned(),
            format!("{} ms", row.duration_ms),
            row.requests.to_string(),
            row.rows.to_string(),
            row.bytes.to_string(),
            row.result.name().to_owned(),
            row.detail.clone(),
        ]
    });
    let header = [
        "number", "began", "till", "what", "took", "requests", "rows", "bytes", "result", "",
    ];
    table(&header, &[0, 4, 5, 6, 7], rows.collect())
}

pub(super) async fn alerts(command: AlertsCommand, session: Session) -> Result<(), Failure> {
    match command {
        AlertsCommand::List { open } => {
            let path = format!("alerts?open={open}");
            let (rows, out) = session.get::<Vec<AlertRow>>(&path).await?;
            out.print(&rows, |rows| alerts_text(rows))
        }
        AlertsCommand::Acknowledge { id, all: _, who } => {
            let path = id.map_or_else(
                || "alerts/acknowledge".to_owned(),
                |id| format!("alerts/{id}/acknowledge"),
            );
            let request = AcknowledgeRequest { by: Some(who.by) };
            let (made, out) = session.post::<Acknowledged>(&path, &request, false).await?;
            out.print(&made, |made| format!("acknowledged {}", made.acknowledged))
        }
    }
}

fn alerts_text(rows: &[AlertRow]) -> String {
    let rows = rows.iter().map(|row| {
        let state = match (row.lasting, row.cleared_ms) {
            (true, None) => "lasts".to_owned(),
            (true, Some(cleared_ms)) => format!("over since {}", time(cleared_ms)),
            (false, _) => "happened".to_owned(),
        };
        let seen = row.acknowledged_ms.map_or_else(
            || "-".to_owned(),
            |at_ms| {
                format!(
                    "{}, {}",
                    optional(row.acknowledged_by.as_ref()),
                    time(at_ms)
                )
            },
        );
        vec![
            row.id.to_string(),
            time(row.at_ms),
            row.kind.clone(),
            state,
            seen,
            optional(row.node_id.as_ref()),
            row.detail.clone(),
        ]
    });
    let header = ["number", "raised", "kind", "state", "seen by", "till", ""];
    table(&header, &[0], rows.collect())
}
