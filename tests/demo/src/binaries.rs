//! The programs under test: built first, or taken from a directory.

use crate::config::Config;
use crate::timeline::Timeline;
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub hub: PathBuf,
    pub node: PathBuf,
}

/// Builds the programs in the profile and target directory of this one, unless a directory is
/// given.
pub async fn find(config: &Config, timeline: &Timeline) -> anyhow::Result<Binaries> {
    let folder = match &config.bin_dir {
        Some(folder) => folder.clone(),
        None => {
            let folder = own_folder()?;
            build(config, timeline, &folder).await?;
            folder
        }
    };
    let program = |name: &str| {
        let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let path = std::path::absolute(&path)?;
        if !path.is_file() {
            bail!("there is no program {}", path.display());
        }
        Ok(path)
    };
    Ok(Binaries {
        hub: program("counterfoil-hub")?,
        node: program("counterfoil-node")?,
    })
}

/// `target/release` for the demo, `target/debug` for a test (which runs in `deps` below it).
fn own_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own directory")?;
    let folder = own
        .parent()
        .context("this program stands in no directory")?;
    let folder = match folder.parent() {
        Some(parent) if folder.ends_with("deps") => parent,
        _ => folder,
    };
    Ok(folder.to_path_buf())
}

async fn build(config: &Config, timeline: &Timeline, folder: &Path) -> anyhow::Result<()> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("cannot tell the build profile from {}", folder.display()),
    };
    let target = folder
        .parent()
        .context("the build directory has no parent")?;
    timeline.text("building counterfoil-hub and counterfoil-node ...\n");
    let status = Command::new(&config.cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["build", "--quiet", "--bins", "--package", "counterfoil-hub"])
        .args([
            "--package",
            "counterfoil-shop-node",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target)
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("cannot start {}", config.cargo.display()))?;
    if !status.success() {
        bail!("the build of counterfoil-hub and counterfoil-node failed");
    }
    Ok(())
}
