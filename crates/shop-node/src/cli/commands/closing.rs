//! Closing a business day.

use super::ask;
use crate::cli::output::{self, money};
use crate::cli::{Common, Failure};
use clap::Args;
use counterfoil_domain::Closure;
use counterfoil_domain::closure::Day;
use counterfoil_protocol::wire::closure::{CloseDayRequest, ClosedDay};
use counterfoil_replica::env::Env;
use http::Method;

#[derive(Args)]
pub(crate) struct CloseDayArgs {
    #[command(flatten)]
    common: Common,
    /// The business day, `YYYY-MM-DD`; the present one unless given. Earlier days that were not closed are
    /// closed with it.
    #[arg(long, value_name = "DAY")]
    day: Option<Day>,
}

pub(crate) async fn close_day(args: &CloseDayArgs, env: Env) -> Result<(), Failure> {
    let request = CloseDayRequest { day: args.day };
    let answer: ClosedDay = ask(
        &args.common,
        env,
        Method::POST,
        "/v1/close-day",
        Some(&request),
    )
    .await?;
    output::show(args.common.json, &answer, closed)
}

fn closed(answer: &ClosedDay) -> String {
    let mut lines: Vec<String> = answer.also_closed.iter().map(one).collect();
    let repeated = if answer.repeated {
        ", was closed before"
    } else {
        ""
    };
    lines.push(format!("{}{repeated}", one(&answer.closure)));
    lines.join("\n")
}

fn one(closure: &Closure) -> String {
    let takings = &closure.takings;
    let mut text = format!(
        "{} closed: {} sales, {} refunds, {} {}",
        closure.day,
        takings.sales,
        takings.refunds,
        money(takings.total_minor),
        closure.currency
    );
    for (tender, amount_minor) in &takings.tenders {
        text.push_str(&format!(", {tender} {}", money(*amount_minor)));
    }
    for (series, range) in &takings.series {
        text.push_str(&format!(", {series}-{} to {}", range.first, range.last));
    }
    if closure.late > 0 {
        text.push_str(&format!(", {} of earlier days", closure.late));
    }
    if closure.ahead > 0 {
        text.push_str(&format!(", {} dated later are left out", closure.ahead));
    }
    if closure.trial {
        text.push_str(", trial: not sealed");
    }
    text
}
