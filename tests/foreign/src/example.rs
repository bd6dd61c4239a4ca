//! The examples of `docs/databases.md`, run as they stand.

use crate::client::Kind;
use crate::hub::Access;
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../../docs/databases.md");

/// The first block of that language.
fn example(language: &str) -> anyhow::Result<&'static str> {
    let begin = format!("```{language}\n");
    let (_, rest) = PAGE
        .split_once(&begin)
        .with_context(|| format!("docs/databases.md has no {language} example"))?;
    let (example, _) = rest.split_once("```").context("the example has no end")?;
    Ok(example)
}

/// Runs a language's example in a folder of its own and gives what it printed.
///
/// # Errors
/// When there is no example, or it fails.
pub fn run(kind: &Kind, folder: &Path, access: &Access) -> anyhow::Result<String> {
    let (language, name) = match kind.name {
        "JavaScript" => ("js", "example.mjs"),
        _ => ("python", "example.py"),
    };
    // Beside the installed client: that is where its language looks for it.
    let client = kind.arguments.first().context("no program")?;
    let program = client.with_file_name(name);
    std::fs::write(&program, example(language)?)?;
    std::fs::create_dir_all(folder)?;
    let output = Command::new(&kind.program)
        .arg(&program)
        .current_dir(folder)
        .env("SYNC_URL", &access.sync_url)
        .env("AUTH_TOKEN", &access.auth_token)
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the {language} example: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
