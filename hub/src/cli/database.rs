//! `counterfoil-hub database ...`.

use super::client::segment;
use super::commands::Session;
use super::print::{optional, table, time};
use super::{AccessArgs, DatabaseCommand, Failure};
use counterfoil_protocol::wire::database::{
    DatabaseAccess, DatabaseAddRequest, DatabaseFoldRequest, DatabaseFolded, DatabaseRemoved,
    DatabaseRow, DatabaseTokenRequest,
};
use serde_json::Value;

pub(super) async fn execute(command: DatabaseCommand, session: Session) -> Result<(), Failure> {
    match command {
        DatabaseCommand::Add { access } => {
            let AccessArgs { name, hub_url } = access;
            let request = DatabaseAddRequest { name, hub_url };
            let (made, out) = session
                .post::<DatabaseAccess>("databases", &request, true)
                .await?;
            out.print(&made, made_text)
        }
        DatabaseCommand::Token { access } => {
            let AccessArgs { name, hub_url } = access;
            let path = format!("databases/{}/token", segment(&name));
            let request = DatabaseTokenRequest { hub_url };
            let (made, out) = session
                .post::<DatabaseAccess>(&path, &request, false)
                .await?;
            out.print(&made, made_text)
        }
        DatabaseCommand::List => {
            let (rows, out) = session.get::<Vec<DatabaseRow>>("databases").await?;
            out.print(&rows, |rows| list_text(rows))
        }
        DatabaseCommand::Remove { name } => {
            let path = format!("databases/{}/remove", segment(&name));
            let (removed, out) = session
                .post::<DatabaseRemoved>(&path, &Value::Null, false)
                .await?;
            out.print(&removed, |removed| {
                format!(
                    "removed {}; its files stay in {}",
                    removed.name, removed.kept
                )
            })
        }
        DatabaseCommand::Fold { name, in_sync } => {
            let path = format!("databases/{}/fold", segment(&name));
            let request = DatabaseFoldRequest { in_sync };
            let (folded, out) = session
                .post::<DatabaseFolded>(&path, &request, false)
                .await?;
            out.print(&folded, |folded| {
                let DatabaseFolded { generation, frames } = folded;
                format!("folded {frames} frames; generation {generation} is current")
            })
        }
    }
}

fn made_text(made: &DatabaseAccess) -> String {
    let DatabaseAccess {
        sync_url,
        auth_token,
    } = made;
    format!("sync_url    {sync_url}\nauth_token  {auth_token}\n\nThe token is not shown again.")
}

fn list_text(rows: &[DatabaseRow]) -> String {
    let rows = rows.iter().map(|row| {
        let state = row.failure.clone().unwrap_or_default();
        vec![
            row.name.to_string(),
            row.size_bytes.to_string(),
            row.wal_bytes.to_string(),
            row.generation.to_string(),
            row.frames.to_string(),
            time(row.created_ms),
            optional(row.seen_ms.map(time).as_ref()),
            state,
        ]
    });
    let header = [
        "name",
        "bytes",
        "of it WAL",
        "generation",
        "frames",
        "made",
        "last contact",
        "",
    ];
    table(&header, &[1, 2, 3, 4], rows.collect())
}
