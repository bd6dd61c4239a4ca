//! `quarantine`.

use super::client::segment;
use super::commands::Session;
use super::print::{self, table};
use super::{DecideArgs, Failure, WhoArgs};
use clap::{Args, Subcommand};
use counterfoil_protocol::wire::quarantine::{
    QuarantineAnswer, QuarantineDetail, QuarantineRequest, QuarantineRow,
};
use serde_json::{Map, Value};

/// A record that stepped aside.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Id of the till, see `quarantine list`.
    node: String,
    /// Number of the entry in its journal.
    seq: i64,
}

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Lists them, those that were settled too.
    List {
        /// Only of this till, by its id.
        #[arg(long, value_name = "ID")]
        node: Option<String>,
        /// Only those that broke this rule, by its code.
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
        /// Only those that stand in quarantine now.
        #[arg(long)]
        open: bool,
    },
    /// Shows a record as the till wrote it, why it stepped aside, what waits for it, what was decided.
    Show {
        #[command(flatten)]
        record: RecordArgs,
    },
    /// Takes a record in as it is, though a rule says no.
    Waive {
        #[command(flatten)]
        record: RecordArgs,
        #[command(flatten)]
        decide: DecideArgs,
    },
    /// Takes a record in with other fields; what the till wrote stays in its book and is shown.
    Fix {
        #[command(flatten)]
        record: RecordArgs,
        /// A field and its new value, as `show` names it: `total_minor=2500`, `line.2.amount_minor=1250`,
        /// `payment.1.tender=cash`, `column.name=Tea`. Nothing after `=` empties it, or takes the line,
        /// payment or column out.
        #[arg(long, required = true, value_name = "FIELD=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        decide: DecideArgs,
    },
    /// Judges a record, or all, again.
    Retry {
        /// Id of the till, see `quarantine list`.
        #[arg(requires = "seq")]
        node: Option<String>,
        /// Number of the entry in its journal.
        seq: Option<i64>,
        /// Everything in quarantine.
        #[arg(long, conflicts_with = "node", required_unless_present = "node")]
        all: bool,
        #[command(flatten)]
        who: WhoArgs,
    },
}

pub(super) async fn execute(command: QuarantineCommand, session: Session) -> Result<(), Failure> {
    match command {
        QuarantineCommand::List { node, reason, open } => {
            let node = node.map(|node| format!("node={}", segment(&node)));
            let reason = reason.map(|reason| format!("reason={}", segment(&reason)));
            let open = open.then(|| "open=true".to_owned());
            let query: Vec<_> = [node, reason, open].into_iter().flatten().collect();
            let path = format!("quarantine?{}", query.join("&"));
            let (rows, out) = session.get::<Vec<QuarantineRow>>(&path).await?;
            out.print(&rows, |rows| list(rows))
        }
        QuarantineCommand::Show { record } => {
            let (found, out) = session.get::<QuarantineDetail>(&path(&record)).await?;
            out.print(&found, detail)
        }
        QuarantineCommand::Waive { record, decide } => {
            let path = format!("{}/waive", path(&record));
            let request = QuarantineRequest {
                who: decide.who.by,
                why: decide.why,
                ..QuarantineRequest::default()
            };
            send(&path, &request, session).await
        }
        QuarantineCommand::Fix {
            record,
            set,
            decide,
        } => fix(&record, &set, decide, session).await,
        QuarantineCommand::Retry {
            node,
            seq,
            all: _,
            who,
        } => {
            // Without a record it is `--all`: the parser requires one of both.
            let path = match node.zip(seq) {
                Some((node, seq)) => format!("{}/retry", path(&RecordArgs { node, seq })),
                None => "quarantine/retry".to_owned(),
            };
            let request = QuarantineRequest {
                who: who.by,
                ..QuarantineRequest::default()
            };
            send(&path, &request, session).await
        }
    }
}

fn path(record: &RecordArgs) -> String {
    format!("quarantine/{}/{}", segment(&record.node), record.seq)
}

async fn fix(
    record: &RecordArgs,
    set: &[String],
    decide: DecideArgs,
    session: Session,
) -> Result<(), Failure> {
    let mut request = QuarantineRequest {
        who: decide.who.by,
        why: decide.why,
        ..QuarantineRequest::default()
    };
    for assignment in set {
        let Some((field, value)) = assignment.split_once('=') else {
            let text = format!("`{assignment}` is not of the form FIELD=VALUE");
            return Err(Failure::usage(text));
        };
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        request.changes.insert(field.trim().to_owned(), value);
    }
    send(&format!("{}/fix", path(record)), &request, session).await
}

async fn send(path: &str, request: &QuarantineRequest, session: Session) -> Result<(), Failure> {
    let (answer, out) = session
        .post::<QuarantineAnswer>(path, request, false)
        .await?;
    out.print(&answer, decided)
}

fn list(rows: &[QuarantineRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            format!("{}/{}", row.shop, row.lane),
            row.seq.to_string(),
            row.topic.clone(),
            row.settled_as.clone().unwrap_or_else(|| "open".to_owned()),
            row.code.clone(),
            row.reason.clone(),
            row.node_id.to_string(),
        ]
    });
    let header = ["till", "entry", "kind", "state", "code", "reason", "node"];
    table(&header, &[1], rows.collect())
}

fn decided(answer: &QuarantineAnswer) -> String {
    let mut text = String::new();
    if let Some(row) = &answer.row {
        let (till, seq) = (format!("{}/{}", row.shop, row.lane), row.seq);
        text = match &row.settled_as {
            Some(how) => format!("entry {seq} of {till} is consolidated ({how})\n"),
            None => format!(
                "entry {seq} of {till} stays in quarantine: {}\n",
                print::plain(&row.reason)
            ),
        };
    }
    let (taken_in, open) = (answer.taken_in, answer.open);
    text.push_str(&format!("taken in now  {taken_in}\nstill open    {open}\n"));
    text
}

fn fields(record: Option<&Map<String, Value>>) -> String {
    let Some(record) = record else {
        return "  (none)\n".to_owned();
    };
    let mut text = String::new();
    for (name, value) in record {
        match value {
            Value::Array(items) => {
                for item in items {
                    text.push_str(&format!("  {name:<18}{}\n", print::value(item)));
                }
            }
            value => text.push_str(&format!("  {name:<18}{}\n", print::value(value))),
        }
    }
    text
}

fn detail(found: &QuarantineDetail) -> String {
    let row = &found.row;
    let state = match (&row.settled_as, row.settled_ms) {
        (Some(how), Some(at_ms)) => format!("consolidated: {how} {}", print::time(at_ms)),
        _ if found.may_be_waived => "in quarantine; may be waived".to_owned(),
        _ => "in quarantine; cannot be waived".to_owned(),
    };
    let mut text = format!(
        "till          {}/{} ({})\nentry         {} ({})\nfound         {}\nreason        {}: {}\n\
         state         {state}\n\nas the till wrote it\n{}",
        row.shop,
        row.lane,
        row.node_id,
        row.seq,
        row.topic,
        print::time(row.found_ms),
        row.code,
        print::plain(&row.reason),
        fields(found.record.as_ref()),
    );
    if let Some(consolidated) = &found.consolidated {
        text.push_str(&format!(
            "\nas it is consolidated\n{}",
            fields(Some(consolidated))
        ));
    }
    if !found.dependants.is_empty() {
        text.push_str(&format!("\nwaiting for it\n{}\n", list(&found.dependants)));
    }
    for decision in &found.decisions {
        text.push_str(&format!(
            "\ndecided       {} by {} {}: {}\n",
            decision.decision,
            print::plain(&decision.who),
            print::time(decision.at_ms),
            print::plain(&decision.why)
        ));
        for (field, value) in &decision.changes {
            let value = print::plain(value.as_deref().unwrap_or("(empty)"));
            text.push_str(&format!("  {field:<18}{value}\n"));
        }
    }
    text
}
