//! `counterfoil-node import`.

use crate::cli::commands::employees::signed_in;
use crate::cli::output::{self, money};
use crate::cli::{Common, Failure};
use crate::import::Filter;
use crate::import::command::{ImportError, ImportReport, progress_bar, run};
use crate::local_client::LocalClient;
use clap::Args;
use counterfoil_domain::ImportId;
use counterfoil_domain::env::import_id;
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::import::ImportBatch;
use counterfoil_replica::env::Env;
use http::{HeaderMap, Method};
use std::fs::File;
use std::path::PathBuf;

/// Lines named in the printed report; the JSON document has them all.
const REJECTED_SHOWN: usize = 20;

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// A CSV file in the form of the Online Retail data set, plain or gzip.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Only rows whose column has this value, such as Country=France.
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    filter: Option<String>,
    /// Go on with this import, which was cut off: what is recorded now belongs to it too, and one
    /// `counterfoil-hub undo --import` takes back both.
    #[arg(long = "import", value_name = "ID")]
    go_on: Option<ImportId>,
    /// Read and check everything, record nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn import(args: ImportArgs, env: Env) -> Result<(), Failure> {
    let filter: Option<Filter> = match &args.filter {
        Some(text) => Some(text.parse().map_err(|error| {
            Failure::usage(format!("--where: {error}"), "write --where Country=France")
        })?),
        None => None,
    };
    let file = File::open(&args.file).map_err(|error| {
        let text = format!("cannot open {}: {error}", args.file.display());
        Failure::failed(&std::io::Error::new(error.kind(), text))
    })?;
    let new = || import_id(env.clock.now_ms(), &*env.random);
    let import = args.go_on.unwrap_or_else(new);
    let client = LocalClient::reach(&args.common.data, env).await?;
    let shared = client
        .share(&args.common.data)
        .await
        .map_err(|error| Failure::failed(&error))?;
    let headers = signed_in(HeaderMap::new(), &args.common.data)?;
    let post = async |batch: ImportBatch| {
        let (headers, path) = (headers.clone(), "/v1/import");
        let answer = client
            .call_with(headers, Method::POST, path, Some(&batch))
            .await;
        answer.map_err(Problem::from)
    };
    let progress = progress_bar();
    let of = (import, args.dry_run);
    let outcome = run(file, filter.as_ref(), of, post, &progress).await;
    progress.finish_and_clear();
    if let Some(shared) = shared {
        shared.end().await;
    }
    let report = outcome.map_err(|error| {
        let hint = format!(
            "run the same import again with --import {import}: what is recorded already is not recorded twice"
        );
        match &error {
            ImportError::Read(_) => Failure::failed(&error),
            ImportError::Post { .. } => Failure::failed(&error).hint(&hint),
        }
    })?;
    output::show(args.common.json, &report, text)?;
    match report.different.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            let count = report.different.len();
            let detail = format!(
                "{count} invoices are in the book with other lines and were left alone, first {first}"
            );
            Err(Failure::checks(detail)
                .hint("they were imported in part before, or changed since: correct them by hand"))
        }
    }
}

fn text(report: &ImportReport) -> String {
    let mut text = format!(
        "{}: {} sales, {} refunds, {} lines, {} stock adjustments, {} lines rejected; total {}",
        if report.dry_run {
            "would import"
        } else {
            "read"
        },
        report.sales,
        report.refunds,
        report.lines,
        report.adjustments,
        report.rejected.len(),
        money(report.total_minor_input)
    );
    if !report.dry_run {
        text += &format!(
            "\nrecorded: {} sales, {} refunds, {} lines, {} stock adjustments; total {}; {} invoices \
             were there already\ncatalog: {} new products, {} new descriptions",
            report.sales_recorded,
            report.refunds_recorded,
            report.lines_recorded,
            report.adjustments_recorded,
            money(report.total_minor_recorded),
            report.repeated,
            report.products,
            report.renames
        );
        text += &match report.import_id {
            Some(import) => format!(
                "\nimport {import}: `counterfoil-hub undo --import {import}` takes its catalog edits back"
            ),
            None => "\nnothing was new: there is no import to undo".to_owned(),
        };
    }
    for line in report.rejected.iter().take(REJECTED_SHOWN) {
        text += &format!(
            "\nrejected line {} (invoice {}): {}",
            line.line, line.invoice, line.reason
        );
    }
    if report.rejected.len() > REJECTED_SHOWN {
        text += &format!(
            "\n... and {} more, see --json",
            report.rejected.len() - REJECTED_SHOWN
        );
    }
    text
}
