//! The workspace's `Cargo.toml` files, read as far as the rules need them.

use crate::repo::Repo;

/// One crate of the workspace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// Its folder, with `/` at the end.
    pub folder: String,
    /// Name of the package.
    pub name: String,
    /// Packages it uses, those of its build script included.
    pub uses: Vec<String>,
    /// Packages only its tests use.
    pub tests_use: Vec<String>,
    /// Whether it takes the workspace's lints.
    pub inherits_lints: bool,
}

/// Every crate of the repository, ascending by folder.
pub fn manifests(repo: &Repo) -> Vec<Manifest> {
    let found = repo.files().filter_map(|(path, text)| {
        let folder = path.strip_suffix("Cargo.toml")?;
        (folder.ends_with('/')).then(|| parse(folder, text))
    });
    found.collect()
}

fn parse(folder: &str, text: &str) -> Manifest {
    let mut manifest = Manifest {
        folder: folder.to_owned(),
        ..Manifest::default()
    };
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = header.trim_matches(['[', ']']);
            // `[dependencies.name]` is a section of its own.
            if let Some((kind, name)) = section.rsplit_once('.')
                && let Some(list) = dependency_list(&mut manifest, kind)
            {
                list.push(name.trim_matches('"').to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key.starts_with('#') {
            continue;
        }
        if section == "package" && key == "name" {
            manifest.name = value.trim_matches('"').to_owned();
        }
        if section == "lints" && key == "workspace" && value == "true" {
            manifest.inherits_lints = true;
        }
        if let Some(list) = dependency_list(&mut manifest, section) {
            list.push(package_of(key, value));
        }
    }
    manifest
}

fn dependency_list<'a>(manifest: &'a mut Manifest, section: &str) -> Option<&'a mut Vec<String>> {
    match section.rsplit('.').next()? {
        "dependencies" | "build-dependencies" => Some(&mut manifest.uses),
        "dev-dependencies" => Some(&mut manifest.tests_use),
        _ => None,
    }
}

/// The package behind a dependency, which may be renamed.
fn package_of(key: &str, value: &str) -> String {
    let renamed = value
        .split_once("package = \"")
        .and_then(|(_, rest)| rest.split('"').next());
    let name = renamed.unwrap_or_else(|| key.split('.').next().unwrap_or(key));
    name.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_in_every_way_it_can_be_written() {
        let text = "[package]\nname = \"counterfoil-hub\"\n[lints]\nworkspace = true\n\
                    [dependencies]\naxum.workspace = true\nold = { package = \"hyper\", version = \"0\" }\n\
                    # ghost = \"1\"\n[target.'cfg(unix)'.dependencies]\nrustix = \"1\"\n\
                    [dependencies.tokio]\nversion = \"1\"\n[dev-dependencies]\ntempfile = \"3\"\n";
        let manifest = parse("hub/", text);
        assert_eq!(manifest.name, "counterfoil-hub");
        assert_eq!(manifest.uses, ["axum", "hyper", "rustix", "tokio"]);
        assert_eq!(manifest.tests_use, ["tempfile"]);
        assert!(manifest.inherits_lints);
    }
}
