//! `counterfoil-hub relays`.

use super::Failure;
use super::commands::Session;
use super::print::{table, time};
use counterfoil_protocol::wire::relay::RelayedRow;

pub(super) async fn relays(session: Session) -> Result<(), Failure> {
    let (rows, out) = session.get::<Vec<RelayedRow>>("relays").await?;
    out.print(&rows, |rows| text(rows))
}

fn text(rows: &[RelayedRow]) -> String {
    if rows.is_empty() {
        return "every lane has sent its entries itself\n".to_owned();
    }
    let header = [
        "till",
        "lane",
        "from entry",
        "to",
        "brought by lane",
        "at",
        "sent by itself since",
    ];
    let line = |row: &RelayedRow| {
        vec![
            row.node.to_string(),
            row.lane.to_string(),
            row.from_seq.to_string(),
            row.until_seq.to_string(),
            row.by_lane.to_string(),
            time(row.at_ms),
            if row.sent_since { "yes" } else { "no" }.to_owned(),
        ]
    };
    table(&header, &[1, 2, 3, 4], rows.iter().map(line).collect())
}
