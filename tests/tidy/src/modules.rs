//! No file is forgotten by the compiler, and each package has one test binary.

use crate::manifest::manifests;
use crate::repo::Repo;
use crate::rust::code_of;
use std::collections::BTreeSet;

/// Test binaries beside the one of their package, each with its reason.
const OWN_PROCESS: [(&str, &str); 1] = [(
    "crates/replica/tests/deterministic.rs",
    "the VFS it registers holds for the whole process",
)];

/// Where the compiler begins to read.
fn is_root(path: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = folder.rsplit('/').next().unwrap_or(folder);
    match file {
        "build.rs" => true,
        "main.rs" | "lib.rs" => {
            parent == "src"
                || folder
                    .rsplit('/')
                    .nth(1)
                    .is_some_and(|above| ["tests", "examples"].contains(&above))
        }
        _ => ["bin", "examples", "benches", "tests"].contains(&parent),
    }
}

/// Files that may declare the module of a file.
fn parents(path: &str) -> (String, Vec<String>) {
    let module = path
        .strip_suffix("/mod.rs")
        .or(path.strip_suffix(".rs"))
        .unwrap_or(path);
    let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
    let files = ["mod.rs", "main.rs", "lib.rs"].map(|file| format!("{folder}/{file}"));
    (
        name.to_owned(),
        [files.to_vec(), vec![format!("{folder}.rs")]].concat(),
    )
}

/// Every Rust file is a module of some crate: one that nobody declares is not compiled, and the
/// tests in it do not run.
pub fn no_file_is_forgotten(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, _) in repo.rust().filter(|(path, _)| !is_root(path)) {
        let (name, parents) = parents(path);
        let file = path.rsplit('/').next().unwrap_or(path);
        let declares = |parent: &String| {
            let Some(text) = repo.text(parent) else {
                return false;
            };
            let declared = code_of(text).contains(&format!("mod {name};"));
            declared || (text.contains("#[path") && text.contains(file))
        };
        if !parents.iter().any(declares) {
            findings.push(format!(
                "{path}: nobody declares it: add `mod {name};` to the module above it, or delete it"
            ));
        }
    }
    findings
}

/// Each package links its integration tests once.
pub fn one_test_binary(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for manifest in manifests(repo) {
        let tests = format!("{}tests/", manifest.folder);
        let roots: BTreeSet<&str> = repo
            .rust()
            .filter(|(path, _)| !OWN_PROCESS.iter().any(|(known, _)| known == path))
            .filter_map(|(path, _)| path.strip_prefix(&tests))
            .filter(|path| {
                !path.contains('/') || path.matches('/').count() == 1 && path.ends_with("/main.rs")
            })
            .collect();
        if roots.len() > 1 {
            let roots: Vec<&str> = roots.into_iter().collect();
            findings.push(format!(
                "{tests}: {} are {} test binaries: make them modules of one main.rs, or give \
                 the reason in OWN_PROCESS of tests/tidy/src/modules.rs",
                roots.join(" and "),
                roots.len()
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    #[test]
    fn a_forgotten_file_is_found() {
        let good = [
            (
                "hub/src/lib.rs",
                "pub(crate) mod store;\n#[cfg(test)]\nmod long;",
            ),
            ("hub/src/store/mod.rs", "mod nodes;"),
            ("hub/src/store/nodes.rs", ""),
            ("hub/src/long.rs", "mod tests;"),
            ("hub/src/long/tests.rs", ""),
            ("hub/tests/it/main.rs", "mod push;"),
            ("hub/examples/rate/main.rs", "mod rows;"),
            ("hub/examples/rate/rows.rs", ""),
            ("hub/tests/it/push.rs", ""),
        ];
        let root = ("hub/tests/it/main.rs", "// mod pull;");
        check(
            no_file_is_forgotten,
            good,
            [root, ("hub/tests/it/pull.rs", "")],
            "mod pull;",
        );
        let root = ("hub/src/lib.rs", "");
        check(
            no_file_is_forgotten,
            good,
            [root, ("hub/src/store/mod.rs", "")],
            "mod store;",
        );
    }

    #[test]
    fn a_second_test_binary_is_found() {
        let crate_file = ("hub/Cargo.toml", "");
        let good = [
            crate_file,
            ("hub/tests/it/main.rs", ""),
            ("hub/tests/it/push.rs", ""),
        ];
        let bad = [
            crate_file,
            ("hub/tests/it/main.rs", ""),
            ("hub/tests/push.rs", ""),
        ];
        check(one_test_binary, good, bad, "2 test binaries");
    }
}
