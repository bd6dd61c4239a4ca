//! What can be asked of the demo, on the command line and from a test.

use std::ffi::OsString;
use std::path::PathBuf;

/// Most shops and lanes: a process each, and a laptop should bear it.
const SHOPS_MAX: u64 = 64;
const LANES_MAX: u64 = 8;

/// A chain of shops trades through an outage, on real processes; the verdict is computed.
///
/// Exit codes: 0 everything agrees, 1 the demo could not be run, 2 usage, 3 something was lost or
/// doubled, or the totals or the catalogs differ.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo demo", version, verbatim_doc_comment)]
pub struct Options {
    /// Replay this file (CSV in the form of Online Retail, plain or gzip) instead of made-up trade
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Number of shops; with --data, the largest ones [default: 4, with --data all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SHOPS_MAX))]
    pub shops: Option<u64>,
    /// Number of tills in each shop [default: 2, with --data 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=LANES_MAX))]
    pub lanes: Option<u64>,
    /// Seed of the made-up trade and of what is killed when
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Documents that each till records without --data
    #[arg(long, value_name = "N", default_value_t = 300, hide = true,
          value_parser = clap::value_parser!(u64).range(20..=100_000))]
    pub documents: u64,
    /// Write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep all databases and logs in this directory
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Take the programs from here instead of building them
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file to replay; made-up trade when absent.
    pub data: Option<PathBuf>,
    /// Number of shops; all of the file when absent.
    pub shops: Option<usize>,
    /// Tills in each shop.
    pub lanes: usize,
    /// Seed of the made-up trade and of what is killed when.
    pub seed: u64,
    /// Documents that each till records without a file, 20 or more.
    pub documents: u64,
    /// Where databases and logs stay; a temporary directory when absent.
    pub keep: Option<PathBuf>,
    /// Where the programs are; built first when absent.
    pub bin_dir: Option<PathBuf>,
    /// The cargo that builds them.
    pub cargo: OsString,
}

impl Config {
    /// Fills in the defaults, and the cargo that runs the demo.
    pub fn of(options: Options) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let lanes = options
            .lanes
            .unwrap_or(if options.data.is_some() { 1 } else { 2 });
        Self {
            shops: options.shops.map(count),
            lanes: count(lanes),
            seed: options.seed,
            documents: options.documents,
            keep: options.keep,
            bin_dir: options.bin_dir,
            cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            data: options.data,
        }
    }
}

/// Whether the person at the terminal asked for no colours (see no-color.org).
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
