//! The command line. Every command is one request to the node's API, through the daemon when one
//! runs on the directory, in this process when none does.

mod commands;
mod failure;
mod import;
mod output;
mod run;

pub use failure::Failure;

use clap::{Args, Parser, Subcommand};
use counterfoil_replica::env::Env;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; nothing was recorded
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
    Init(Common),
    /// Run the daemon in the foreground.
    Run {
        #[command(flatten)]
        common: Common,
        /// Where the local API listens; port 0 takes a free port.
        #[arg(long, value_name = "ADDR", env = "COUNTERFOIL_NODE_LISTEN")]
        listen: Option<String>,
    },
    /// Bind this till to a shop: by a join code, or by registering a new shop.
    Activate(commands::ActivateArgs),
    /// Tell an activated till that its hub has moved to another address.
    Hub {
        /// Base URL of the hub.
        url: String,
        #[command(flatten)]
        common: Common,
    },
    /// Record a sale.
    Sell(commands::ReceiptArgs),
    /// Record a refund.
    Refund(commands::ReceiptArgs),
    /// Record a stock movement, or a count.
    Stock(commands::StockArgs),
    /// Record money spent out of the till.
    Expense(commands::ExpenseArgs),
    /// Record customer credit given (positive) or paid back (negative).
    Ledger(commands::LedgerArgs),
    /// Record an advance order.
    Order(commands::OrderArgs),
    /// Record that the drawer was opened or closed.
    Cash(commands::CashArgs),
    /// Read or edit the catalog.
    #[command(subcommand)]
    Catalog(commands::CatalogCommand),
    /// Sync with the hub.
    #[command(subcommand)]
    Sync(SyncCommand),
    /// Show where this till stands.
    Status(Common),
    /// Show what the hub does not have, or has not consolidated.
    Queue(commands::ListArgs),
    /// Show the sync log.
    Logs(commands::ListArgs),
    /// Show sales and refunds, newest first.
    Receipts(commands::ListArgs),
    /// Import the books of another system.
    Import(import::ImportArgs),
}

#[derive(Subcommand)]
enum SyncCommand {
    /// Sync now; retries what failed.
    Now(Common),
    /// As `status`.
    Status(Common),
    /// As `queue`.
    Queue(commands::ListArgs),
    /// As `logs`.
    Logs(commands::ListArgs),
}

/// Parses the command line, carries it out, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    output::init_log(matches!(cli.command, Command::Run { .. }));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::configuration(&error).report(),
    };
    match runtime.block_on(carry_out(cli.command, Env::system())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn carry_out(command: Command, env: Env) -> Result<(), Failure> {
    match command {
        Command::Init(common) => commands::init(&common, env).await,
        Command::Run { common, listen } => run::run(&common, listen, env).await,
        Command::Activate(args) => commands::activate(args, env).await,
        Command::Hub { url, common } => commands::hub(&common, url, env).await,
        Command::Sell(args) => commands::receipt(args, "/v1/sales", env).await,
        Command::Refund(args) => commands::receipt(args, "/v1/refunds", env).await,
        Command::Stock(args) => commands::stock(args, env).await,
        Command::Expense(args) => commands::expense(args, env).await,
        Command::Ledger(args) => commands::ledger(args, env).await,
        Command::Order(args) => commands::order(args, env).await,
        Command::Cash(args) => commands::cash(args, env).await,
        Command::Catalog(command) => commands::catalog(command, env).await,
        Command::Sync(SyncCommand::Now(common)) => commands::sync(&common, env).await,
        Command::Status(common) | Command::Sync(SyncCommand::Status(common)) => {
            commands::status(&common, env).await
        }
        Command::Queue(args) | Command::Sync(SyncCommand::Queue(args)) => {
            commands::queue(&args, env).await
        }
        Command::Logs(args) | Command::Sync(SyncCommand::Logs(args)) => {
            commands::logs(&args, env).await
        }
        Command::Receipts(args) => commands::receipts(&args, env).await,
        Command::Import(args) => import::import(args, env).await,
    }
}
