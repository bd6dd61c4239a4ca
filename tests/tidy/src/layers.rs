//! Who may use whom.
//!
//! The arrows of ARCHITECTURE.md stand here once more, as the list that is checked.

use crate::manifest::{Manifest, manifests};
use crate::repo::Repo;

const OWN_PREFIX: &str = "counterfoil-";

/// What each crate may use of this workspace. Crates below `tests/` may use anything.
const ARROWS: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("protocol", &["domain"]),
    ("replica", &["protocol", "domain"]),
    ("migrate", &[]),
    ("book", &["domain", "migrate"]),
    ("shop-store", &["book", "protocol", "domain", "migrate"]),
    (
        "shop-node",
        &["shop-store", "replica", "protocol", "domain", "migrate"],
    ),
    ("hub", &["book", "replica", "protocol", "domain", "migrate"]),
    ("testkit", &["protocol", "domain", "migrate"]),
];

/// What the crates without clock, disk and network may use of others. `utoipa`: types describe themselves (ADR 0011).
const PURE: [(&str, &[&str]); 2] = [
    (
        "domain",
        &[
            // Without its own randomness: the salt is a value that comes in.
            "argon2",
            "blake3",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "utoipa",
            "uuid",
        ],
    ),
    (
        "protocol",
        &["base64", "serde", "serde_json", "thiserror", "utoipa"],
    ),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["common", "utils", "util", "helpers", "types", "core"];

fn is_test_crate(manifest: &Manifest) -> bool {
    manifest.folder.starts_with("tests/")
}

fn listed<'a>(list: &'a [(&str, &'a [&str])], name: &str) -> Option<&'a [&'a str]> {
    list.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, may_use)| *may_use)
}

/// Arrows between crates point the way ARCHITECTURE.md says.
pub fn arrows(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for manifest in manifests(repo)
        .iter()
        .filter(|manifest| !is_test_crate(manifest))
    {
        let name = manifest
            .name
            .strip_prefix(OWN_PREFIX)
            .unwrap_or(&manifest.name);
        let Some(may_use) = listed(&ARROWS, name) else {
            findings.push(format!(
                "{}Cargo.toml: the crate `{name}` is not on the map: add its arrows to \
                 tests/tidy/src/layers.rs and a paragraph to ARCHITECTURE.md, or put it below tests/",
                manifest.folder
            ));
            continue;
        };
        let own = |used: &String| used.strip_prefix(OWN_PREFIX).map(str::to_owned);
        for used in manifest.uses.iter().filter_map(own) {
            if !may_use.contains(&used.as_str()) {
                findings.push(format!(
                    "{}Cargo.toml: `{name}` may not use `{used}`: move the code to where the \
                     arrow is allowed, or change the arrows in an ADR",
                    manifest.folder
                ));
            }
        }
        for used in manifest.tests_use.iter().filter_map(own) {
            if used != "testkit" && used != name && !may_use.contains(&used.as_str()) {
                findings.push(format!(
                    "{}Cargo.toml: the tests of `{name}` may not use `{used}`: a test of both \
                     belongs below tests/",
                    manifest.folder
                ));
            }
        }
    }
    findings
}

/// `domain` and `protocol` cannot reach a clock, a disk or a network.
pub fn pure_crates(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for manifest in manifests(repo) {
        let name = manifest
            .name
            .strip_prefix(OWN_PREFIX)
            .unwrap_or(&manifest.name);
        let Some(may_use) = listed(&PURE, name) else {
            continue;
        };
        for used in manifest
            .uses
            .iter()
            .filter(|used| !used.starts_with(OWN_PREFIX))
        {
            if !may_use.contains(&used.as_str()) {
                findings.push(format!(
                    "{}Cargo.toml: `{name}` takes values and returns values, so it may not use \
                     `{used}`: do it in the caller, or list it in tests/tidy/src/layers.rs with a \
                     reason if it has no I/O, clock or randomness",
                    manifest.folder
                ));
            }
        }
    }
    findings
}

/// Every crate takes the workspace's lints.
pub fn lints_are_inherited(repo: &Repo) -> Vec<String> {
    let missing = manifests(repo)
        .into_iter()
        .filter(|manifest| !manifest.inherits_lints);
    missing
        .map(|manifest| {
            format!(
                "{}Cargo.toml: add `[lints]` with `workspace = true`",
                manifest.folder
            )
        })
        .collect()
}

/// No crate or module has a name that says nothing.
pub fn names_say_something(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for manifest in manifests(repo) {
        let name = manifest
            .name
            .strip_prefix(OWN_PREFIX)
            .unwrap_or(&manifest.name);
        if EMPTY_NAMES.contains(&name) {
            findings.push(format!(
                "{}Cargo.toml: `{name}` says nothing: name the crate after what is in it",
                manifest.folder
            ));
        }
    }
    for (path, _) in repo.rust() {
        let module = path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let module = module.rsplit('/').next().unwrap_or(module);
        if EMPTY_NAMES.contains(&module) {
            findings.push(format!(
                "{path}: `{module}` says nothing: name it after what is in it"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"counterfoil-{name}\"\n{rest}")
    }

    #[test]
    fn an_arrow_the_wrong_way_is_found() {
        let good = manifest(
            "hub",
            "[dependencies]\ncounterfoil-replica.workspace = true\n",
        );
        let bad = manifest(
            "domain",
            "[dependencies]\ncounterfoil-protocol.workspace = true\n",
        );
        let path = "crates/domain/Cargo.toml";
        check(
            arrows,
            [("hub/Cargo.toml", &good)],
            [(path, &bad)],
            "may not use `protocol`",
        );
        let new = manifest("cloud", "");
        check(
            arrows,
            [],
            [("crates/cloud/Cargo.toml", &new)],
            "not on the map",
        );
    }

    #[test]
    fn tests_of_a_crate_reach_no_further_than_testkit() {
        let good = manifest(
            "hub",
            "[dev-dependencies]\ncounterfoil-testkit.workspace = true\n",
        );
        let bad = manifest(
            "hub",
            "[dev-dependencies]\ncounterfoil-shop-node.workspace = true\n",
        );
        check(
            arrows,
            [("hub/Cargo.toml", &good)],
            [("hub/Cargo.toml", &bad)],
            "below tests/",
        );
    }

    #[test]
    fn a_pure_crate_with_a_runtime_is_found() {
        let good = manifest("domain", "[dependencies]\nserde.workspace = true\n");
        let bad = manifest("domain", "[dependencies]\ntokio.workspace = true\n");
        let path = "crates/domain/Cargo.toml";
        check(
            pure_crates,
            [(path, &good)],
            [(path, &bad)],
            "may not use `tokio`",
        );
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let good = manifest("hub", "[lints]\nworkspace = true\n");
        let bad = manifest("hub", "");
        let path = "hub/Cargo.toml";
        check(
            lints_are_inherited,
            [(path, &good)],
            [(path, &bad)],
            "workspace = true",
        );
    }

    #[test]
    fn an_empty_name_is_found() {
        let bad = manifest("utils", "");
        check(
            names_say_something,
            [],
            [("crates/utils/Cargo.toml", &bad)],
            "says nothing",
        );
        let good = [("hub/src/limits.rs", "")];
        check(
            names_say_something,
            good,
            [("hub/src/helpers/mod.rs", "")],
            "says nothing",
        );
    }
}
