//! `history` and `restore`.

use super::client::segment;
use super::commands::Session;
use super::print::{self, table};
use super::{Failure, MomentArgs, RestoreArgs, WhichDatabase};
use counterfoil_protocol::wire::history::{
    GenerationRow, HistoryRow, RestoreMoment, RestoreRequest, Restored,
};

/// `G/N` as numbers.
pub(super) fn parse_frame(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/');
    let numbers = parts.and_then(|(g, n)| Some((g.parse().ok()?, n.parse().ok()?)));
    numbers.ok_or_else(|| "a frame is GENERATION/FRAME, such as 3/1200".to_owned())
}

fn path(which: &WhichDatabase) -> Option<String> {
    match which {
        WhichDatabase {
            node: Some(node), ..
        } => Some(format!("history/nodes/{}", segment(node))),
        WhichDatabase {
            database: Some(name),
            ..
        } => Some(format!("history/databases/{}", segment(name))),
        WhichDatabase { catalog: true, .. } => Some("history/catalog".to_owned()),
        WhichDatabase { .. } => None,
    }
}

pub(super) async fn list(which: WhichDatabase, session: Session) -> Result<(), Failure> {
    let Some(path) = path(&which) else {
        let (rows, out) = session.get::<Vec<HistoryRow>>("history").await?;
        return out.print(&rows, |rows| histories(rows));
    };
    let (rows, out) = session.get::<Vec<GenerationRow>>(&path).await?;
    out.print(&rows, |rows| generations(rows))
}

pub(super) async fn restore(args: RestoreArgs, session: Session) -> Result<(), Failure> {
    let RestoreArgs { which, moment, to } = args;
    let path = path(&which)
        .ok_or_else(|| Failure::usage("which database: --node ID, --catalog or --database NAME"))?;
    let moment = match moment {
        MomentArgs {
            at: Some(at_ms), ..
        } => RestoreMoment::AtMs(at_ms),
        MomentArgs {
            frame: Some((generation, frame)),
            ..
        } => RestoreMoment::Frame { generation, frame },
        MomentArgs { .. } => return Err(Failure::usage("when: --at TIME or --frame G/N")),
    };
    let to = std::path::absolute(&to).map_err(|error| Failure::from_chain(&error))?;
    let not_text = || Failure::usage("the name of the file is not valid text");
    let to = to.to_str().ok_or_else(not_text)?.to_owned();
    let request = RestoreRequest { moment, to };
    let (restored, out) = session.post::<Restored>(&path, &request, false).await?;
    out.print(&restored, restored_text)
}

fn histories(rows: &[HistoryRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.database.clone(),
            row.generations.to_string(),
            row.bytes.to_string(),
        ]
    });
    table(
        &["database", "ended generations", "bytes"],
        &[1, 2],
        rows.collect(),
    )
}

fn generations(rows: &[GenerationRow]) -> String {
    let time = |at_ms: Option<i64>| at_ms.map_or_else(|| "-".to_owned(), print::time);
    let rows = rows.iter().map(|row| {
        vec![
            row.generation.to_string(),
            row.end_frame.to_string(),
            time(row.first_ms),
            if row.open {
                "(goes on)".to_owned()
            } else {
                time(row.last_ms)
            },
            row.bytes.to_string(),
        ]
    });
    let header = ["generation", "last frame", "from", "to", "bytes"];
    table(&header, &[0, 1, 4], rows.collect())
}

fn restored_text(restored: &Restored) -> String {
    let arrived = restored.at_ms.map_or_else(String::new, |at_ms| {
        format!(", arrived {}", print::time(at_ms))
    });
    let journal = restored
        .journal_seq
        .map_or_else(String::new, |seq| format!(", journal up to entry {seq}"));
    format!(
        "{} holds the database as of frame {}/{}{arrived}{journal} ({} bytes)",
        restored.to, restored.generation, restored.frame, restored.size_bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_as_people_write_them() {
        assert_eq!(parse_frame("3/1200"), Ok((3, 1200)));
        for wrong in ["3", "3/", "a/b", "-1/2"] {
            assert!(parse_frame(wrong).is_err(), "{wrong}");
        }
    }
}
