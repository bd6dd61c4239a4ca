//! `undo` and `imports`.

use super::commands::Session;
use super::print::{self, table, value};
use super::{Failure, WhoArgs};
use clap::Args;
use counterfoil_domain::{ImportId, NodeId};
use counterfoil_protocol::wire::decisions::{ImportRow, UndoRequest, Undone};
use counterfoil_replica::env::parse_time;

#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    /// Id of an import, as `counterfoil-node import` printed it; see `imports`.
    #[arg(
        long,
        value_name = "ID",
        conflicts_with = "node",
        required_unless_present = "node"
    )]
    import: Option<ImportId>,
    /// Id of the till, see `node list`.
    #[arg(long, value_name = "ID", requires = "from", requires = "to")]
    node: Option<NodeId>,
    /// From when, by the hub's clock, as corrected: `2026-11-21T14:00:00Z`, or `2026-11-21 14:00` in local time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "node")]
    from: Option<i64>,
    /// Up to and without.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "node")]
    to: Option<i64>,
    /// Change nothing: only show what would be taken back.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoArgs,
}

pub(super) async fn undo(args: UndoArgs, session: Session) -> Result<(), Failure> {
    let request = UndoRequest {
        import_id: args.import,
        node_id: args.node,
        from_ms: args.from,
        to_ms: args.to,
        dry_run: args.dry_run,
        by: Some(args.who.by),
    };
    let (undone, out) = session.post::<Undone>("undo", &request, false).await?;
    out.print(&undone, taken_back)
}

fn taken_back(undone: &Undone) -> String {
    let mut text = undone.told();
    if undone.fields.is_empty() {
        return text;
    }
    let rows = undone.fields.iter().map(|field| {
        let (now, then) = (value(&field.now), value(&field.then));
        let name = format!("{} {} {}", field.table, field.row, field.column);
        vec![name, now, then]
    });
    text.push_str(&table(&["field", "from", "to"], &[], rows.collect()));
    text
}

pub(super) async fn imports(session: Session) -> Result<(), Failure> {
    let (rows, out) = session.get::<Vec<ImportRow>>("imports").await?;
    out.print(&rows, |rows| imported(rows))
}

fn imported(rows: &[ImportRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.import_id.to_string(),
            format!("{}/{}", row.shop, row.lane),
            row.begun_ms.map_or_else(|| "-".to_owned(), print::time),
            row.documents.to_string(),
            row.edits.to_string(),
        ]
    });
    let header = ["import", "till", "begun", "documents", "edits"];
    table(&header, &[3, 4], rows.collect())
}
