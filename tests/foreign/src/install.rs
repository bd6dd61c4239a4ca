//! Puts the clients of other languages where this package is built: exact versions, checked digests.

use crate::client::Kind;
use crate::content::Reader;
use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {shown}: is it installed?"))?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}

fn copy(folder: &str, names: &[&str], to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for name in names {
        std::fs::copy(from.join(name), to.join(name)).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

/// Installs `@libsql/client`; needs `node` and `npm`.
///
/// # Errors
/// When one of them is missing or fails.
pub fn javascript(folder: &Path) -> anyhow::Result<Kind> {
    let folder = folder.join("javascript");
    let files = ["package.json", "package-lock.json", "client.js"];
    copy("javascript", &files, &folder)?;
    run(Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder))?;
    Ok(Kind {
        name: "JavaScript",
        program: "node".into(),
        arguments: vec![folder.join("client.js")],
    })
}

/// Installs `libsql`, and what the lane needs, from PyPI; needs `python3` with its `venv`.
///
/// # Errors
/// When it is missing or fails.
pub fn python(folder: &Path) -> anyhow::Result<Kind> {
    let folder = folder.join("python");
    copy(
        "python",
        &[
            "requirements.txt",
            "client.py",
            "reader.py",
            "journals.py",
            "lane.py",
            "till.py",
            "activate.py",
            "lane_scenes.py",
        ],
        &folder,
    )?;
    let environment = folder.join("venv");
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment))?;
    let program = environment.join("bin/python");
    run(Command::new(&program)
        .args(["-m", "pip", "install", "--quiet", "--require-hashes", "-r"])
        .arg(folder.join("requirements.txt")))?;
    Ok(Kind {
        name: "Python",
        program,
        arguments: vec![folder.join("client.py")],
    })
}

/// The reader that [`python`] installed in that folder.
#[must_use]
pub fn reader(folder: &Path) -> Reader {
    let folder = folder.join("python");
    Reader::Python {
        interpreter: folder.join("venv/bin/python"),
        script: folder.join("reader.py"),
    }
}

/// A program of the lane that [`python`] installed in that folder.
#[must_use]
pub fn lane(folder: &Path, program: &str) -> Kind {
    let folder = folder.join("python");
    Kind {
        name: "Python lane",
        program: folder.join("venv/bin/python"),
        arguments: vec![folder.join(program)],
    }
}

/// Builds this package's own programs and says in which folder they are.
///
/// # Errors
/// When the build fails.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own folder")?;
    let folder = own.parent().context("this program stands in no folder")?;
    let target = folder.parent().context("the build folder has no parent")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    run(Command::new("cargo")
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "foreign-clients",
        ])
        .args(["--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(folder.to_owned())
}
