//! The last hour of the story: every till closes its days, and the hub says what of it is proved.

use crate::account::Account;
use crate::fleet::Fleet;
use crate::format::{money, plural};
use crate::report::DaysReport;
use crate::settle::in_parallel;
use counterfoil_domain::closure::Day;
use counterfoil_protocol::wire::closure::{CloseDayRequest, ClosedDay, Proof, ProofState};
use http::Method;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Days that are not proved and are named one by one.
const NAMED_MAX: usize = 5;

/// Has every till close the day of this moment, and with it all that were not closed. The days that were closed.
pub(crate) async fn close(fleet: &Fleet) -> anyhow::Result<BTreeSet<Day>> {
    fleet.timeline.chapter("Evening: every till closes its day");
    let tills = fleet.tills.iter().map(Arc::clone).collect();
    let closed = in_parallel(tills, |till| async move {
        let request = CloseDayRequest::default();
        let closed: ClosedDay = till.insist(Method::POST, "/v1/close-day", &request).await?;
        Ok(closed)
    })
    .await?;
    let of = |closed: &ClosedDay| {
        let earlier = closed.also_closed.iter().map(|closure| closure.day);
        earlier.chain([closed.closure.day]).collect::<Vec<_>>()
    };
    let closures: Vec<Day> = closed.iter().flat_map(of).collect();
    let days: BTreeSet<Day> = closures.iter().copied().collect();
    let (closures, on) = (closures.len() as u64, plural(days.len() as u64, "day"));
    fleet.say("tills", format!("{} for {on}", plural(closures, "closure")));
    Ok(days)
}

/// Asks the hub for the proof of each day.
pub(crate) async fn prove(fleet: &Fleet, days: &BTreeSet<Day>) -> anyhow::Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    for day in days {
        proofs.push(fleet.hub.proof(*day).await?);
    }
    let proved = proofs.iter().filter(|proof| proof.proved).count() as u64;
    let all = plural(days.len() as u64, "day");
    fleet.say("hub", format!("{proved} of {all} proved"));
    Ok(proofs)
}

/// What the proofs come to; what keeps a day from being proved, and where the proofs and the driver's account disagree.
pub(crate) fn judge(proofs: &[Proof], account: &Account) -> (DaysReport, Vec<String>) {
    let rows = || proofs.iter().flat_map(|proof| &proof.rows);
    let report = DaysReport {
        days: proofs.len() as u64,
        proved: proofs.iter().filter(|proof| proof.proved).count() as u64,
        closures: rows().filter(|row| row.closure.is_some()).count() as u64,
        receipts: proofs.iter().map(|proof| proof.receipts).sum(),
        total_minor: proofs.iter().map(|proof| proof.total_minor).sum(),
    };
    let mut differences = Vec::new();
    for proof in proofs.iter().filter(|proof| !proof.proved) {
        let bad = proof
            .rows
            .iter()
            .filter(|row| row.state != ProofState::Proved);
        for row in bad {
            let why = row.findings.first().map(|finding| &finding.detail);
            let why = why.or(row.notice.as_ref());
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            let (day, till) = (proof.day, format!("{}/{}", row.shop, row.lane));
            differences.push(format!("{day} of {till} is {}{why}", row.state.name()));
        }
    }
    let more = differences.len().saturating_sub(NAMED_MAX);
    differences.truncate(NAMED_MAX);
    if more > 0 {
        differences.push(format!("{more} more days of tills are not proved"));
    }
    let receipts = i64::try_from(account.receipts()).unwrap_or(i64::MAX);
    let total_minor: i64 = account
        .shops
        .iter()
        .map(|shop| shop.input.total_minor)
        .sum();
    if (report.receipts, report.total_minor) != (receipts, total_minor) {
        differences.push(format!(
            "the proofs are about {} receipts and {}, the account about {receipts} and {}",
            report.receipts,
            money(report.total_minor),
            money(total_minor)
        ));
    }
    (report, differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Acknowledged;
    use counterfoil_domain::{DocumentId, NodeId, ShopId, Topic};
    use counterfoil_protocol::wire::closure::ProofRow;

    fn proof(day: &str, state: ProofState) -> Proof {
        let row = ProofRow {
            node_id: NodeId::from_uuid(uuid::Uuid::from_u128(1)),
            shop_id: ShopId::from_uuid(uuid::Uuid::from_u128(2)),
            shop: "Harbour".to_owned(),
            lane: 1,
            state,
            notice: Some("the till was not heard of".to_owned()),
            found: Default::default(),
            elsewhere: Default::default(),
            closure: None,
            findings: Vec::new(),
            late: Vec::new(),
        };
        Proof {
            day: day.parse().unwrap(),
            proved: state == ProofState::Proved,
            receipts: 1,
            total_minor: 500,
            rows: vec![row],
        }
    }

    fn account(total_minor: i64) -> Account {
        let mut account = Account::new(&["Harbour".to_owned()]);
        for (number, total_minor) in [(1, 500), (2, total_minor - 500)] {
            let id = DocumentId::from_uuid(uuid::Uuid::from_u128(number));
            let sale = Acknowledged {
                topic: Topic::Sale,
                total_minor,
                lines: 1,
            };
            account.acknowledge(0, id, sale);
        }
        account
    }

    #[test]
    fn a_day_that_is_not_proved_and_a_sum_that_is_another_one_are_differences() {
        let good = [
            proof("2026-11-20", ProofState::Proved),
            proof("2026-11-21", ProofState::Proved),
        ];
        let (report, differences) = judge(&good, &account(1_000));
        assert_eq!(differences, [] as [String; 0]);
        assert_eq!((report.days, report.proved, report.receipts), (2, 2, 2));
        let (_, differences) = judge(&good, &account(999));
        assert_eq!(differences.len(), 1, "{differences:?}");
        for state in [ProofState::Failed, ProofState::Open, ProofState::Waiting] {
            let bad = [good[0].clone(), proof("2026-11-21", state)];
            let (report, differences) = judge(&bad, &account(1_000));
            assert_eq!((report.days, report.proved), (2, 1));
            let name = state.name();
            let named = format!("2026-11-21 of Harbour/1 is {name}: the till was not heard of");
            assert_eq!(differences, [named]);
        }
    }
}
