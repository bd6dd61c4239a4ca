//! Taking back what this shop wrote to the catalog.

use super::ask_long;
use super::conflicts::text;
use crate::cli::output::{self, table};
use crate::cli::{Common, Failure};
use clap::Args;
use counterfoil_domain::{ImportId, NodeId};
use counterfoil_protocol::wire::decisions::{UNDO_PATH, UndoRequest, Undone};
use counterfoil_replica::env::{Env, parse_time};

#[derive(Args)]
pub(crate) struct UndoArgs {
    /// Id of an import, as `import` printed it.
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = ["node", "from", "to"],
        required_unless_present = "from"
    )]
    import: Option<ImportId>,
    /// Id of another till of this shop; this till when left out.
    #[arg(long, value_name = "ID", requires = "from")]
    node: Option<NodeId>,
    /// From when, by the hub's clock: `2026-11-21T14:00:00Z`, or `2026-11-21 14:00` in local time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "to")]
    from: Option<i64>,
    /// Up to and without.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "from")]
    to: Option<i64>,
    /// Change nothing: only show what would be taken back.
    #[arg(long)]
    dry_run: bool,
    /// Who decides, for the audit trail.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn undo(args: UndoArgs, env: Env) -> Result<(), Failure> {
    let request = UndoRequest {
        import_id: args.import,
        node_id: args.node,
        from_ms: args.from,
        to_ms: args.to,
        dry_run: args.dry_run,
        by: args.by,
    };
    let undone: Undone = ask_long(&args.common, env, UNDO_PATH, Some(&request)).await?;
    output::show(args.common.json, &undone, |undone| {
        let fields = undone.fields.iter().map(|field| {
            let name = format!("{} {} {}", field.table, field.row, field.column);
            vec![name, text(&field.now), text(&field.then)]
        });
        match undone.fields.is_empty() {
            true => undone.told(),
            false => format!(
                "{}{}",
                undone.told(),
                table(&["field", "from", "to"], fields)
            ),
        }
    })
}
