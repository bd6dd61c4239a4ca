//! The command line. Every command is one request to the node's API, through the daemon when one
//! runs on the directory, in this process when none does.

mod commands;
mod environment;
mod failure;
mod import;
mod lane_port;
mod output;
mod run;

pub use failure::Failure;

use crate::node::NodeOptions;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use commands::{
    catalog, closing, conflicts, control, documents, employees, escrow, pairing, parked, stock,
    undo,
};
use counterfoil_protocol::gate::Schemas;
use counterfoil_replica::env::Env;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; standard error says why
  2  wrong usage
  3  checks found problems
  4  the hub cannot be reached now, try later
  5  the hub refused the credentials
  6  divergent or outdated schema: update this program
  7  the configuration or data directory cannot be used";

/// The daemon of one lane: sells offline, syncs when it can.
#[derive(Parser)]
#[command(name = "counterfoil-node", version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Data directory of the node.
    #[arg(long, value_name = "DIR", env = "COUNTERFOIL_NODE_DATA")]
    pub(crate) data: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make a node in a directory; it is in trial and can sell at once.
    Init(control::InitArgs),
    /// Run the daemon in the foreground.
    Run(run::RunArgs),
    /// Bind this till to a shop: by a join code, or by registering a new shop.
    Activate(control::ActivateArgs),
    /// Tell an activated till that its hub has moved to another address.
    Hub {
        /// Base URL of the hub.
        url: String,
        #[command(flatten)]
        common: Common,
    },
    /// Say that this folder was restored from a backup, or is a copy: receipts get numbers of their own.
    Fence {
        /// Who says so, for the log.
        #[arg(long, value_name = "NAME")]
        by: String,
        #[command(flatten)]
        common: Common,
    },
    /// Pair lanes in trial: show a code here, or type the one that another lane shows. Needs no hub.
    Pair(pairing::PairArgs),
    /// Record a sale.
    Sell(documents::ReceiptArgs),
    /// Record a refund.
    Refund(documents::ReceiptArgs),
    /// Put a cart aside; any lane of the shop finishes it: `sell --parked ID`.
    Park(parked::ParkArgs),
    /// Show what is parked in the shop, or discard one.
    Parked(parked::ParkedArgs),
    /// Show who may sell how many of products under escrow; begin one, end it, move rights.
    Escrow(escrow::EscrowArgs),
    /// Record a stock movement, or a count.
    Stock(documents::StockArgs),
    /// Show stock: of all products, of one, of those that are oversold.
    Levels(stock::LevelArgs),
    /// Compare stock with the other lanes now, and count again what this one has counted wrong.
    Reconcile(Common),
    /// Record money spent out of the till.
    Expense(documents::ExpenseArgs),
    /// Record customer credit given (positive) or paid back (negative).
    Ledger(documents::LedgerArgs),
    /// Record an advance order.
    Order(documents::OrderArgs),
    /// Record that the drawer was opened or closed.
    Cash(documents::CashArgs),
    /// Close a business day: what was sold, for the hub to prove.
    CloseDay(closing::CloseDayArgs),
    /// Sign an employee in, whose PIN is asked for or read from standard input; later commands are theirs.
    SignIn(employees::SignInArgs),
    /// Sign out whoever is signed in.
    SignOut(Common),
    /// Record that the drawer is opened without a sale.
    NoSale(employees::NoSaleArgs),
    /// The PINs of employees.
    #[command(subcommand)]
    Employee(employees::EmployeeCommand),
    /// Read or edit the catalog.
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Show and settle conflicts in which this shop has a part.
    #[command(subcommand)]
    Conflicts(conflicts::ConflictsCommand),
    /// Take back what a till of this shop, or an import, wrote to the catalog; needs the hub.
    Undo(undo::UndoArgs),
    /// Show how conflicts are settled, by table and column.
    Policies(Common),
    /// Sync with the hub.
    #[command(subcommand)]
    Sync(SyncCommand),
    /// Show where this till stands.
    Status(Common),
    /// Show what the hub does not have, or has not consolidated.
    Queue(control::ListArgs),
    /// Show the sync log.
    Logs(control::ListArgs),
    /// Show sales and refunds, newest first.
    Receipts(control::ListArgs),
    /// Import the books of another system.
    Import(import::ImportArgs),
    /// Print the description of the local API (OpenAPI 3.1).
    Openapi,
}

#[derive(Subcommand)]
enum SyncCommand {
    /// Sync now; retries what failed.
    Now(Common),
    /// As `status`.
    Status(Common),
    /// As `queue`.
    Queue(control::ListArgs),
    /// As `logs`.
    Logs(control::ListArgs),
}

/// Parses the command line, carries it out, and says how it went.
pub fn main() -> ExitCode {
    main_in(Env::system())
}

/// The same in an environment of the caller's.
pub fn main_in(env: Env) -> ExitCode {
    main_as(env, NodeOptions::default().schemas)
}

/// The same as a program whose daemon knows these schemas only.
pub fn main_as(env: Env, schemas: Schemas) -> ExitCode {
    let matches = environment::with_aliases(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    output::init_log(matches!(cli.command, Command::Run(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::configuration(&error).report(),
    };
    match runtime.block_on(carry_out(cli.command, env, schemas)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn carry_out(command: Command, env: Env, schemas: Schemas) -> Result<(), Failure> {
    match command {
        Command::Init(args) => control::init(&args, env).await,
        Command::Run(args) => run::run(args, env, schemas).await,
        Command::Activate(args) => control::activate(args, env).await,
        Command::Hub { url, common } => control::hub(&common, url, env).await,
        Command::Fence { by, common } => control::fence(&common, by, env).await,
        Command::Pair(args) => pairing::pair(args, env).await,
        Command::Sell(args) => documents::receipt(args, "/v1/sales", env).await,
        Command::Refund(args) => documents::receipt(args, "/v1/refunds", env).await,
        Command::Park(args) => parked::park(args, env).await,
        Command::Parked(args) => parked::parked(args, env).await,
        Command::Escrow(args) => escrow::escrow(args, env).await,
        Command::Stock(args) => documents::stock(args, env).await,
        Command::Levels(args) => stock::levels(args, env).await,
        Command::Reconcile(common) => stock::reconcile(&common, env).await,
        Command::Expense(args) => documents::expense(args, env).await,
        Command::Ledger(args) => documents::ledger(args, env).await,
        Command::Order(args) => documents::order(args, env).await,
        Command::Cash(args) => documents::cash(args, env).await,
        Command::CloseDay(args) => closing::close_day(&args, env).await,
        Command::SignIn(args) => employees::sign_in(args, env).await,
        Command::SignOut(common) => employees::sign_out(&common, env).await,
        Command::NoSale(args) => employees::no_sale(args, env).await,
        Command::Employee(command) => employees::employee(command, env).await,
        Command::Catalog(command) => catalog::catalog(command, env).await,
        Command::Conflicts(command) => conflicts::conflicts(command, env).await,
        Command::Undo(args) => undo::undo(args, env).await,
        Command::Policies(common) => conflicts::policies(&common, env).await,
        Command::Sync(SyncCommand::Now(common)) => control::sync(&common, env).await,
        Command::Status(common) | Command::Sync(SyncCommand::Status(common)) => {
            control::status(&common, env).await
        }
        Command::Queue(args) | Command::Sync(SyncCommand::Queue(args)) => {
            control::queue(&args, env).await
        }
        Command::Logs(args) | Command::Sync(SyncCommand::Logs(args)) => {
            control::logs(&args, env).await
        }
        Command::Receipts(args) => control::receipts(&args, env).await,
        Command::Import(args) => import::import(args, env).await,
        Command::Openapi => output::print(crate::api::description().trim_end()),
    }
}
