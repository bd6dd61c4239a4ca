//! `counterfoil-hub proof`.

use super::Failure;
use super::commands::Session;
use super::print::{money, plain, table};
use counterfoil_domain::closure::{Day, Takings};
use counterfoil_protocol::wire::closure::{Proof, ProofRow, ProofState};

pub(super) async fn proof(day: Day, session: Session) -> Result<(), Failure> {
    let (proof, out) = session.get::<Proof>(&format!("proof?day={day}")).await?;
    out.print(&proof, text)?;
    if proof.proved {
        return Ok(());
    }
    let count = |state| proof.rows.iter().filter(|row| row.state == state).count();
    let states = [ProofState::Failed, ProofState::Open, ProofState::Waiting];
    let parts = states.map(|state| (count(state), state.name()));
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    Err(Failure::found_wrong(format!(
        "{day} is not proved: {}",
        parts.join(", ")
    )))
}

fn tenders(takings: &Takings) -> String {
    let sums = takings.tenders.iter();
    let sums: Vec<_> = sums
        .map(|(tender, minor)| format!("{tender} {}", money(*minor)))
        .collect();
    sums.join(", ")
}

fn numbers(takings: &Takings) -> String {
    let ranges = takings.series.iter();
    let ranges: Vec<_> = ranges
        .map(|(series, range)| format!("{series}-{} to {}", range.first, range.last))
        .collect();
    ranges.join(", ")
}

fn line(row: &ProofRow) -> Vec<String> {
    let found = &row.found;
    vec![
        format!("{}/{}", row.shop, row.lane),
        row.state.name().to_owned(),
        found.sales.to_string(),
        found.refunds.to_string(),
        money(found.total_minor),
        tenders(found),
        numbers(found),
        row.notice.clone().unwrap_or_default(),
    ]
}

fn text(proof: &Proof) -> String {
    let header = [
        "till", "state", "sales", "refunds", "total", "tenders", "numbers", "",
    ];
    let mut text = table(&header, &[2, 3, 4], proof.rows.iter().map(line).collect());
    text.push('\n');
    for row in &proof.rows {
        let till = format!("{}/{}", row.shop, row.lane);
        for finding in &row.findings {
            let entry = finding
                .seq
                .map_or_else(String::new, |seq| format!(" (entry {seq})"));
            let receipt = finding
                .receipt
                .as_ref()
                .map_or_else(String::new, |it| format!(" {}", plain(it)));
            text.push_str(&format!(
                "{till} {}{receipt}{entry}: {}\n",
                finding.kind,
                plain(&finding.detail)
            ));
        }
        for late in &row.late {
            let with = late.closed_with.map_or_else(
                || "waits for the next closure".to_owned(),
                |day| format!("closed with {day}"),
            );
            let (receipt, sum) = (plain(&late.receipt), money(late.total_minor));
            text.push_str(&format!(
                "{till} late {receipt} of {}, {sum}: {with}\n",
                late.day
            ));
        }
        let (receipts, sum) = (
            row.elsewhere.sales + row.elsewhere.refunds,
            money(row.elsewhere.total_minor),
        );
        if receipts > 0 {
            text.push_str(&format!(
                "{till} shares {receipts} receipts, {sum}, with the till it was before; they count there\n"
            ));
        }
    }
    if proof.rows.is_empty() {
        return format!("{}: no till sold, and none had to close\n", proof.day);
    }
    let proved = if proof.proved { "proved" } else { "not proved" };
    text.push_str(&format!(
        "{}: {proved}, {} receipts, {}\n",
        proof.day,
        proof.receipts,
        money(proof.total_minor)
    ));
    text
}
