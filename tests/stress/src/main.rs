//! `stress`: real processes under kills and a breaking network.

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use stress::{LaneOptions, Options, Programs, Storm, lanes, run};

/// Hub and tills as real processes, broken on purpose; the verdict is computed.
///
/// Exit codes: 0 everything agrees, 1 the run could not be completed, 2 usage, 3 something was lost
/// or doubled or differs, or a fault was asked for and never met anything.
#[derive(Debug, Parser)]
#[command(name = "stress", version, verbatim_doc_comment)]
struct Cli {
    /// Seed of trade, kills and faults
    #[arg(long, value_name = "N", default_value_t = 1, global = true)]
    seed: u64,
    /// Keep databases and logs in this directory
    #[arg(long, value_name = "DIR", global = true)]
    keep: Option<PathBuf>,
    /// Number of tills
    #[arg(long, value_name = "N", default_value_t = 4, global = true,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    tills: u16,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Break the network in every way, and kill now and then.
    Network {
        /// Minutes of trade
        #[arg(long, value_name = "N", default_value_t = 5)]
        minutes: u64,
    },
    /// Kill hub and tills at random instants.
    Kills {
        /// How often
        #[arg(long, value_name = "N", default_value_t = 2_000)]
        kills: u64,
    },
    /// Kill at every named point of replication, on its side.
    #[cfg(feature = "rigged")]
    Matrix {
        /// Kills at each point
        #[arg(long, value_name = "N", default_value_t = 3)]
        rounds: u64,
        /// Only points whose name begins so
        #[arg(long, value_name = "NAME", default_value = "")]
        only: String,
    },
    /// The lanes of one shop in a network of their own, whose packets are cut off, lost, late and doubled.
    Lanes {
        /// Minutes of trade
        #[arg(long, value_name = "N", default_value_t = 5)]
        minutes: u64,
        /// Relays between the lanes instead of network namespaces, which only root can make
        #[arg(long)]
        relays: bool,
        /// The lanes are not told of each other: they find each other by multicast
        #[arg(long, conflicts_with = "relays")]
        discovery: bool,
        /// One lane is of schemas two versions behind, and is upgraded at the end
        #[arg(long)]
        old: bool,
        /// Each packet takes two seconds, and nothing else is wrong
        #[arg(long)]
        slow: bool,
    },
    /// Run tests in programs that make a known mistake: each must be found.
    PlantedBugs,
}

const EXIT_FAILED: u8 = 1;
const EXIT_DIFFERENCE: u8 = 3;
/// A run that was asked for a number of kills ends anyway, at the latest after a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::main]
async fn main() -> ExitCode {
    match carry_out(Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_DIFFERENCE),
        Err(error) => {
            // Nothing is left to do when stderr is gone too.
            drop(writeln!(std::io::stderr(), "stress: {error:#}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn carry_out(cli: Cli) -> anyhow::Result<bool> {
    let (kills, time, network) = match cli.command {
        Command::Network { minutes } => (u64::MAX, Duration::from_secs(minutes * 60), true),
        Command::Kills { kills } => (kills, DAY, false),
        #[cfg(feature = "rigged")]
        Command::Matrix { rounds, only } => {
            let options = stress::MatrixOptions {
                seed: cli.seed,
                rounds,
                only,
                keep: cli.keep,
            };
            let matrix = Box::pin(stress::matrix(&Programs::beside()?, &options)).await?;
            write!(std::io::stdout(), "{matrix}")?;
            return Ok(matrix.failures().is_empty());
        }
        Command::Lanes {
            minutes,
            relays,
            discovery,
            old,
            slow,
        } => {
            let options = LaneOptions {
                seed: cli.seed,
                lanes: cli.tills.into(),
                time: Duration::from_secs(minutes * 60),
                storm: match slow {
                    true => Storm::Slow,
                    false => Storm::Breaks,
                },
                spaces: !relays,
                configured: !discovery,
                old,
                keep: cli.keep,
            };
            let outcome = Box::pin(lanes(&Programs::beside()?, &options)).await?;
            write!(std::io::stdout(), "{outcome}")?;
            return Ok(outcome.failures().is_empty());
        }
        Command::PlantedBugs => {
            let proofs = stress::prove()?;
            write!(std::io::stdout(), "{proofs}")?;
            return Ok(proofs.failures().is_empty());
        }
    };
    let options = Options {
        seed: cli.seed,
        tills: cli.tills.into(),
        kills,
        time,
        network,
        keep: cli.keep,
    };
    let outcome = Box::pin(run(&Programs::beside()?, &options)).await?;
    write!(std::io::stdout(), "{outcome}")?;
    Ok(outcome.failures().is_empty())
}
