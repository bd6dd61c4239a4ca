//! The command line. Each command is one request to the admin API and one way to print the answer.

mod access;
mod client;
mod commands;
mod conflicts;
mod database;
mod employees;
mod failure;
mod gate;
mod history;
mod monitor;
mod policies;
mod print;
mod proof;
mod quarantine;
mod relays;
mod run;
mod secure;
mod signed_in;
mod stock;
mod undo;

pub use failure::Failure;
pub(crate) use failure::chain;

use crate::config::{
    AHEAD_DAYS_DEFAULT, CLOCK_SECONDS_DEFAULT, DISK_MIB_DEFAULT, HISTORY_DAYS_DEFAULT,
    HISTORY_GIB_DEFAULT, LISTEN_DEFAULT, Registration, SILENT_MINUTES_DEFAULT,
    STUCK_SECONDS_DEFAULT, TOKEN_DAYS_DEFAULT, WATCH_SECONDS_DEFAULT,
};
use crate::store::Grouping;
use clap::{Args, Parser, Subcommand};
use client::{Target, Whereabouts};
use counterfoil_domain::closure::Day;
use counterfoil_protocol::hub_url::HubUrl;
use counterfoil_replica::env::Env;
use std::net::SocketAddr;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; stderr says why and what to do
  2  wrong usage
  3  checks found problems
  4  the hub cannot be reached now, try later
  5  refused: credential, join code or registration
  6  conflict of schemas or histories
  7  the data directory cannot be used

Data goes to stdout, everything else to stderr. COUNTERFOIL_LOG sets the log level (error, warn,
info, debug). Every command works whether or not the hub runs on the folder.";

/// The hub: takes the books of all tills, consolidates them, publishes the catalog.
#[derive(Debug, Parser)]
#[command(name = "counterfoil-hub", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The hub's data folder.
    #[arg(long, global = true, value_name = "DIR", env = "COUNTERFOIL_HUB_DATA")]
    data: Option<PathBuf>,
    /// The URL of a hub on another machine; sign in there with `login`, or hand in a machine's token by
    /// COUNTERFOIL_HUB_TOKEN or COUNTERFOIL_HUB_TOKEN_FILE.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "COUNTERFOIL_HUB",
        conflicts_with = "data"
    )]
    hub: Option<HubUrl>,
    /// Speak plain HTTP to a hub on another machine.
    #[arg(long, global = true, requires = "hub")]
    insecure: bool,
    /// Where sessions are kept; `counterfoil/session.json` in the folder for configuration unless given.
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERFOIL_SESSION")]
    session: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the hub until it is told to stop.
    Run(RunArgs),
    /// Shops and their join codes.
    #[command(subcommand)]
    Shop(ShopCommand),
    /// Tills.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Databases for any program that uses libSQL offline writes.
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Concurrent edits of the catalog, with both values.
    #[command(subcommand)]
    Conflicts(conflicts::ConflictsCommand),
    /// Tills of other schema versions than the hub's: what is taken from them, what waits and for whom.
    #[command(subcommand)]
    Gate(gate::GateCommand),
    /// How concurrent edits are settled, by table and column.
    #[command(subcommand)]
    Policy(policies::PolicyCommand),
    /// Takes back what one import, or one till in a time, wrote to the catalog; what others made of it since
    /// stays.
    Undo(undo::UndoArgs),
    /// Imports of other systems' data that have arrived.
    Imports,
    /// What people decided: who, when, what, before and after.
    Audit {
        /// Instead: who signed in, and who was refused what.
        #[arg(long)]
        access: bool,
        #[command(flatten)]
        page: conflicts::PageArgs,
    },
    /// People who may sign in.
    #[command(subcommand)]
    User(access::UserCommand),
    /// Who is signed in.
    #[command(subcommand)]
    Session(access::SessionCommand),
    /// Tokens of programs that call the hub.
    #[command(subcommand)]
    Token(access::TokenCommand),
    /// Signs in; further commands are made under that name. The password is asked for, or read from standard
    /// input.
    Login {
        /// Name of the person.
        name: String,
    },
    /// Signs out.
    Logout,
    /// Records that broke a rule and stepped aside.
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// The catalog that all tills share.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// The PINs of employees.
    #[command(subcommand)]
    Employees(employees::EmployeesCommand),
    /// Reports over everything consolidated.
    #[command(subcommand)]
    Report(ReportCommand),
    /// Whether a business day is proved: what each till says it took against what is here. Ends with 0
    /// only when all of it is, with 3 when it is not.
    Proof {
        /// The day, `YYYY-MM-DD`.
        #[arg(long, value_name = "DAY")]
        day: Day,
    },
    /// Entries that reached the hub by another lane than their own, newest first.
    Relays,
    /// Stock of a shop, of all its lanes, as far as their entries were consolidated.
    Stock(stock::StockArgs),
    /// Runs of sync, newest first: what tills sent and fetched, what was consolidated, how long it took, how it ended.
    Runs(monitor::RunsArgs),
    /// What asks for a person.
    #[command(subcommand)]
    Alerts(monitor::AlertsCommand),
    /// What databases were: which generations are kept, and since when.
    History {
        #[command(flatten)]
        which: WhichDatabase,
    },
    /// Writes a database as it was at a moment to a new file.
    Restore(RestoreArgs),
    /// The hub at a glance.
    Status,
    /// Prints the description of the API (OpenAPI 3.1).
    Openapi,
}

/// How the hub runs.
#[derive(Debug, Args)]
struct RunArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// URL under which tills reach the hub; goes into join codes.
    #[arg(long, value_name = "URL")]
    public_url: Option<HubUrl>,
    #[command(flatten)]
    way: secure::WayArgs,
    /// How long a till's token holds, in days; a till that syncs changes it at half of that. 0 is for ever.
    #[arg(long, value_name = "DAYS", default_value_t = TOKEN_DAYS_DEFAULT)]
    token_days: u32,
    /// Who may register a shop without a join code.
    #[arg(long, value_enum, default_value_t = Registration::Loopback)]
    registration: Registration,
    /// Size at which a write-ahead log is folded into its database, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 48)]
    wal_limit_mib: u32,
    /// Time between two sweeps for work that no push announced, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..))]
    sweep_seconds: u32,
    /// Longest silence on the line of a till that listens, in seconds; shorter than what routers on the
    /// way forget a connection after.
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u32).range(1..=60))]
    heartbeat_seconds: u32,
    /// How wrong a till's clock may be, in seconds; beyond it there is an alert.
    #[arg(long, value_name = "SECONDS", default_value_t = CLOCK_SECONDS_DEFAULT)]
    clock_limit_seconds: u32,
    #[command(flatten)]
    monitor: MonitorArgs,
    /// How far back every database can be restored, in days; 0 keeps no history.
    #[arg(long, value_name = "DAYS", default_value_t = HISTORY_DAYS_DEFAULT)]
    history_days: u32,
    /// All history together, in GiB; beyond it the oldest goes first.
    #[arg(long, value_name = "GIB", default_value_t = HISTORY_GIB_DEFAULT)]
    history_limit_gib: u64,
    /// How far a record may be dated ahead of the hub's clock, in days; one beyond it goes to quarantine.
    #[arg(long, value_name = "DAYS", default_value_t = AHEAD_DAYS_DEFAULT)]
    ahead_days: u32,
}

/// What asks for a person, and who is told.
#[derive(Debug, Args)]
struct MonitorArgs {
    /// How long a till may keep silent, in minutes; beyond it there is an alert. 0: for ever.
    #[arg(long, value_name = "MINUTES", default_value_t = SILENT_MINUTES_DEFAULT)]
    silent_minutes: u32,
    /// Room that the hub's disk must have, in MiB; below it the hub is not ready and there is an alert.
    #[arg(long, value_name = "MIB", default_value_t = DISK_MIB_DEFAULT)]
    disk_limit_mib: u32,
    /// How long what arrived may wait to be consolidated, in seconds; beyond it there is an alert, and a hub that
    /// consolidates nothing at all is not ready.
    #[arg(long, value_name = "SECONDS", default_value_t = STUCK_SECONDS_DEFAULT)]
    stuck_seconds: u32,
    /// Time between two looks for what asks for a person, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = WATCH_SECONDS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..))]
    watch_seconds: u32,
    /// Where alerts are posted as JSON, `https://...` or `http://...`; see docs/alerts.md.
    #[arg(long, value_name = "URL")]
    alert_webhook: Option<String>,
    /// Program that is started for each alert, with the same JSON on its standard input.
    #[arg(long, value_name = "PROGRAM")]
    alert_command: Option<PathBuf>,
}

/// A database at the hub.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct WhichDatabase {
    /// The book of a till, by the till's id.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// The catalog.
    #[arg(long)]
    catalog: bool,
    /// A free-standing database, by its name.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    #[command(flatten)]
    which: WhichDatabase,
    #[command(flatten)]
    moment: MomentArgs,
    /// The file to write; nothing may be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// When.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct MomentArgs {
    /// The last commit that had arrived by then: `2026-11-21T14:00:00Z`, or `2026-11-21 14:00` in
    /// the time zone of this machine.
    #[arg(long, value_name = "TIME", value_parser = counterfoil_replica::env::parse_time)]
    at: Option<i64>,
    /// The last commit up to frame N of generation G.
    #[arg(long, value_name = "G/N", value_parser = history::parse_frame)]
    frame: Option<(u64, u64)>,
}

#[derive(Debug, Args)]
struct CodeArgs {
    /// Name of the shop.
    name: String,
    /// URL under which this till reaches the hub.
    #[arg(long, value_name = "URL")]
    hub_url: Option<String>,
    /// How long the join code holds, in minutes; a day unless given.
    #[arg(long, value_name = "MINUTES")]
    valid_minutes: Option<i64>,
}

#[derive(Debug, Subcommand)]
enum ShopCommand {
    /// Makes a shop, unless there is one of that name, and a join code for one till of it.
    Add {
        #[command(flatten)]
        code: CodeArgs,
    },
    /// Makes a join code for a further till of a shop; an unknown name is an error.
    Join {
        #[command(flatten)]
        code: CodeArgs,
    },
    /// Lists the shops.
    List,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Lists the tills.
    List,
    /// Has a till change its token at its next contact; the old one ends when the new one is used.
    RotateToken {
        /// Id of the till, see `node list`.
        id: String,
    },
    /// Takes a till's access back; its sales stay.
    Revoke {
        /// Id of the till, see `node list`.
        id: String,
    },
}

#[derive(Debug, Args)]
struct AccessArgs {
    /// Name: small letters, digits, `-` and `_`, a letter first.
    name: String,
    /// URL under which the clients reach the hub.
    #[arg(long, value_name = "URL")]
    hub_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum DatabaseCommand {
    /// Makes a database and prints what a libSQL client needs to sync with it.
    Add {
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Lists the databases: size, generation, frames, last contact.
    List,
    /// Makes a new token; the old one is refused from now on.
    Token {
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Takes a database away from its clients; its files stay where the answer says.
    Remove {
        /// Name of the database.
        name: String,
    },
    /// Folds the write-ahead log into the file, which begins a generation.
    Fold {
        /// Name of the database.
        name: String,
        /// Every client is in sync: others could not sync any more.
        #[arg(long)]
        in_sync: bool,
    },
}

/// Who decides, and why.
#[derive(Debug, Args)]
struct DecideArgs {
    /// Why; goes on record.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
}

#[derive(Debug, Args)]
struct WhoArgs {
    /// Who decides, for the record; without it the user who is logged in.
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "operator",
        hide_env = true
    )]
    by: String,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Prints a table, deleted rows included: CSV, or a JSON list.
    Export {
        /// Name of the table, such as products.
        table: String,
    },
    /// Says that a customer or product is the same as another one, which stands for it from now on, in reports
    /// too.
    Merge {
        /// customers or products.
        table: String,
        /// Id of the duplicate.
        id: String,
        /// Id of the row that stays.
        into: String,
        #[command(flatten)]
        who: WhoArgs,
    },
    /// Takes a merge back.
    Unmerge {
        /// customers or products.
        table: String,
        /// Id of the row that was merged.
        id: String,
        #[command(flatten)]
        who: WhoArgs,
    },
    /// Changes a row at the hub; settles open conflicts of the columns.
    Set {
        /// Name of the table, such as products.
        table: String,
        /// Id of the row.
        id: String,
        /// New values; nothing after `=` empties the column, `deleted=1` deletes the row.
        #[arg(required = true, value_name = "COLUMN=VALUE")]
        columns: Vec<String>,
        #[command(flatten)]
        who: WhoArgs,
    },
}

#[derive(Debug, Subcommand)]
enum ReportCommand {
    /// Count and sum of sales and refunds.
    Sales {
        /// What to group by.
        #[arg(long, value_enum)]
        by: Grouping,
    },
}

/// Carries out a command; what it prints is data.
///
/// # Errors
/// [`Failure`] with the exit code and what to do.
pub async fn execute(cli: Cli, env: Env) -> Result<(), Failure> {
    if matches!(cli.command, Command::Openapi) {
        return print::write_out(crate::http::description().as_bytes());
    }
    let missing = || Failure::usage("--data DIR is missing: the hub's data folder");
    if let Command::Run(args) = cli.command {
        return run::run(cli.data.ok_or_else(missing)?, args, env).await;
    }
    let hub = match (cli.hub, cli.data) {
        (Some(url), _) if url.is_open_to_others() && !cli.insecure => {
            let text =
                format!("{url} is plain HTTP to another machine, which can be read on the way");
            return Err(Failure::usage(text).hint(
                "give the https:// address, or --insecure when the way is secured otherwise",
            ));
        }
        (Some(url), _) => Whereabouts::Url(url),
        (None, Some(data)) => Whereabouts::Folder(data),
        (None, None) => return Err(missing()),
    };
    let target = Target {
        place: signed_in::place(cli.session, &hub),
        token: crate::config::token_from_environment().map_err(|it| Failure::from_chain(&it))?,
        hub,
    };
    commands::execute(cli.command, target, cli.json, env).await
}

impl Cli {
    /// The log level unless `COUNTERFOIL_LOG` says otherwise: a short command is quiet.
    #[must_use]
    pub fn log_level(&self) -> tracing::Level {
        match self.command {
            Command::Run(_) => tracing::Level::INFO,
            _ => tracing::Level::ERROR,
        }
    }
}
