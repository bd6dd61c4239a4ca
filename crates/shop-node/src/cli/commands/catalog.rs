//! Reading and editing the catalog.

use super::{ask, get};
use crate::cli::output::{self, table};
use crate::cli::{Common, Failure};
use clap::Subcommand;
use counterfoil_protocol::wire::aliases::{MergeAnswer, MergeRequest};
use counterfoil_protocol::wire::node::{CatalogRow, CatalogSetRequest};
use counterfoil_replica::env::Env;
use http::Method;
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub(crate) enum CatalogCommand {
    /// Propose new values for a row.
    Set {
        /// Catalog table, such as products.
        table: String,
        /// Id of the row; the code for products.
        id: String,
        /// Columns and values; an empty value empties the column.
        #[arg(value_name = "COLUMN=VALUE", required = true)]
        columns: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Say that a customer or product is the same as another one, which stands for it from now on.
    Merge {
        /// customers or products.
        table: String,
        /// Id of the duplicate; the code for products.
        id: String,
        /// Id of the row that stays.
        into: String,
        #[command(flatten)]
        common: Common,
    },
    /// Take a merge back.
    Unmerge {
        /// customers or products.
        table: String,
        /// Id of the row that was merged.
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Show a row as this till sees it.
    Get {
        /// Catalog table, such as products.
        table: String,
        /// Id of the row; the code for products.
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

pub(crate) async fn catalog(command: CatalogCommand, env: Env) -> Result<(), Failure> {
    let (common, row): (Common, CatalogRow) = match command {
        CatalogCommand::Get { table, id, common } => {
            let path = format!("/v1/catalog/{}/{}", encode(&table), encode(&id));
            let row = get(&common, env, &path).await?;
            (common, row)
        }
        CatalogCommand::Merge {
            table,
            id,
            into,
            common,
        } => {
            let path = format!("/v1/catalog/{}/{}/merge", encode(&table), encode(&id));
            let request = MergeRequest { into };
            let answer = ask(&common, env, Method::POST, &path, Some(&request)).await?;
            return output::show(common.json, &answer, MergeAnswer::to_string);
        }
        CatalogCommand::Unmerge { table, id, common } => {
            let path = format!("/v1/catalog/{}/{}/unmerge", encode(&table), encode(&id));
            let answer = ask::<(), _>(&common, env, Method::POST, &path, None).await?;
            return output::show(common.json, &answer, MergeAnswer::to_string);
        }
        CatalogCommand::Set {
            table,
            id,
            columns,
            common,
        } => {
            let mut values = BTreeMap::new();
            for column in &columns {
                let Some((name, value)) = column.split_once('=') else {
                    let text = format!("`{column}` is not a column and its value");
                    return Err(Failure::usage(text, "write name=\"Green tea\""));
                };
                let value = if value.is_empty() { None } else { Some(value) };
                values.insert(name.to_owned(), value.into());
            }
            let path = format!("/v1/catalog/{}/{}", encode(&table), encode(&id));
            let request = CatalogSetRequest { columns: values };
            let row = ask(&common, env, Method::PUT, &path, Some(&request)).await?;
            (common, row)
        }
    };
    output::show(common.json, &row, |row| {
        let pending = if row.pending { ", not merged yet" } else { "" };
        let columns = row.columns.iter().map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            vec![format!("  {name}"), value]
        });
        let merged = row.merged.as_ref();
        let merged = merged.map_or_else(String::new, |asked| format!(", stands for {asked}"));
        let heading = format!(
            "{} {} (revision {}{pending}{merged})",
            row.table, row.id, row.revision
        );
        format!("{heading}\n{}", table(&["  column", "value"], columns))
    })
}

/// A path segment, or a value behind `=`, percent-encoded.
pub(super) fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_is_encoded() {
        assert_eq!(encode("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
