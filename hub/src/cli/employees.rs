//! `employees`.

use super::access::typed_twice;
use super::client::segment;
use super::commands::Session;
use super::print::{optional, table, time};
use super::{Failure, WhoArgs};
use clap::Subcommand;
use counterfoil_protocol::wire::employees::{EmployeeEventRow, PinRequest, PinSet};

#[derive(Debug, Subcommand)]
pub(super) enum EmployeesCommand {
    /// Lists who signed in or tried to, who approved what, and who opened a drawer without a sale, newest first.
    Events {
        /// Only of one employee.
        #[arg(long, value_name = "ID")]
        employee: Option<String>,
        /// At most so many, 1 to 1000.
        #[arg(long, default_value_t = 100)]
        limit: i64,
    },
    /// Sets the PIN of an employee, 4 to 12 digits, which is asked for, or read from standard input. Every till has it after
    /// its next sync.
    Pin {
        /// Id of the employee.
        employee: String,
        /// Takes the PIN away.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        who: WhoArgs,
    },
}

pub(super) async fn execute(command: EmployeesCommand, session: Session) -> Result<(), Failure> {
    let (employee, remove, who) = match command {
        EmployeesCommand::Pin {
            employee,
            remove,
            who,
        } => (employee, remove, who),
        EmployeesCommand::Events { employee, limit } => {
            let of = employee.map(|id| format!("&employee={}", segment(&id)));
            let path = format!("employee-events?limit={limit}{}", of.unwrap_or_default());
            let (rows, out) = session.get::<Vec<EmployeeEventRow>>(&path).await?;
            return out.print(&rows, |rows| events(rows));
        }
    };
    let pin = match remove {
        true => None,
        false => Some(typed_twice(&format!("New PIN for {employee}"))?),
    };
    let path = format!("employees/{}/pin", segment(&employee));
    let by = Some(who.by);
    let request = PinRequest { pin, by };
    let (answer, out) = session.post::<PinSet>(&path, &request, false).await?;
    out.print(&answer, |answer| match answer.pin {
        true => format!("employee {} has a PIN now", answer.employee),
        false => format!("employee {} has no PIN", answer.employee),
    })
}

fn events(rows: &[EmployeeEventRow]) -> String {
    let line = |row: &EmployeeEventRow| {
        vec![
            time(row.at_ms),
            format!("{}/{}", row.shop, row.lane),
            row.employee.clone(),
            row.event.clone(),
            optional(row.permission.as_ref()),
            row.outcome.clone(),
            row.unlooked.to_string(),
        ]
    };
    let header = [
        "when",
        "till",
        "employee",
        "event",
        "permission",
        "outcome",
        "not looked at before",
    ];
    table(&header, &[6], rows.iter().map(line).collect())
}
