//! What is compiled in: how much, from where, and that there is one SQLite.

use crate::repo::Repo;

/// Packages in `Cargo.lock`, with our own. A dependency is code we answer for: 423 stood here when the
/// number was set; TLS brought 30, so that nothing is sent in the clear. Raise it in the commit that needs it,
/// and say there what the dependency buys.
pub const PACKAGES_MAX: usize = 485;

/// A second engine in one process breaks the POSIX locks of the first, and TLS stacks come with C
/// of their own; one of the latter is enough.
const FORBIDDEN: [(&str, &str); 7] = [
    (
        "libsqlite3-sys",
        "it is a second SQLite in the process; use libsql",
    ),
    (
        "rusqlite",
        "it is a second SQLite in the process; use libsql",
    ),
    (
        "sqlx-sqlite",
        "it is a second SQLite in the process; use libsql",
    ),
    (
        "openssl-sys",
        "it needs a system library; use rustls with ring",
    ),
    (
        "native-tls",
        "it differs on every system; use rustls with ring",
    ),
    (
        "aws-lc-sys",
        "it needs cmake and is a second C crypto library; use rustls with ring",
    ),
    (
        "boring-sys",
        "it is a second TLS stack; use rustls with ring",
    ),
];

/// Packages of which there may be one version only.
const SINGLE: [&str; 3] = ["libsql-ffi", "rustls", "ring"];

const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

struct Package<'a> {
    name: &'a str,
    source: Option<&'a str>,
}

fn packages(repo: &Repo) -> Vec<Package<'_>> {
    let text = repo.text("Cargo.lock").unwrap_or_default();
    let value = |block: &'_ str, key: &str| -> Option<(usize, usize)> {
        let at = block.find(&format!("\n{key} = \""))? + key.len() + 5;
        Some((at, at + block[at..].find('"')?))
    };
    let found = text.split("[[package]]").skip(1).filter_map(|block| {
        let name = value(block, "name").map(|(from, to)| &block[from..to])?;
        let source = value(block, "source").map(|(from, to)| &block[from..to]);
        Some(Package { name, source })
    });
    found.collect()
}

/// The lock file is there and within its budget.
pub fn budget(repo: &Repo) -> Vec<String> {
    match packages(repo).len() {
        0 => vec!["Cargo.lock: it is missing or empty; commit it".to_owned()],
        count if count > PACKAGES_MAX => vec![format!(
            "Cargo.lock: {count} packages, the budget is {PACKAGES_MAX}: drop a dependency or a \
             feature (`cargo tree -e features`), or raise the budget in tests/tidy/src/lockfile.rs \
             in the same commit and say what it buys"
        )],
        _ => Vec::new(),
    }
}

/// Everything comes from crates.io.
pub fn sources(repo: &Repo) -> Vec<String> {
    let strange = packages(repo).into_iter().filter_map(|package| {
        let source = package.source.filter(|source| *source != SOURCE)?;
        Some(format!(
            "Cargo.lock: `{}` comes from {source}: take a release from crates.io, and keep a \
             mirror's address in your own cargo configuration",
            package.name
        ))
    });
    strange.collect()
}

/// One SQLite, at most one TLS stack.
pub fn one_engine(repo: &Repo) -> Vec<String> {
    let packages = packages(repo);
    let mut findings = Vec::new();
    for package in &packages {
        if let Some((name, reason)) = FORBIDDEN.iter().find(|(name, _)| *name == package.name) {
            findings.push(format!(
                "Cargo.lock: `{name}` is in the tree: {reason} (`cargo tree -i {name}` says who \
                 brings it)"
            ));
        }
    }
    for name in SINGLE {
        if packages
            .iter()
            .filter(|package| package.name == name)
            .count()
            > 1
        {
            findings.push(format!(
                "Cargo.lock: `{name}` is there more than once: bring its users to one version \
                 (`cargo tree -d`)"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    fn lock(packages: &[(&str, &str)]) -> String {
        let block = |(name, source): &(&str, &str)| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n\n"
            )
        };
        packages.iter().map(block).collect()
    }

    #[test]
    fn a_lock_file_over_budget_or_missing_is_found() {
        let good = lock(&[("serde", SOURCE)]);
        let bad = lock(&vec![("serde", SOURCE); PACKAGES_MAX + 1]);
        check(
            budget,
            [("Cargo.lock", &good)],
            [("Cargo.lock", &bad)],
            "the budget is",
        );
        check(budget, [("Cargo.lock", &good)], [], "missing");
    }

    #[test]
    fn a_source_that_is_not_crates_io_is_found() {
        let good = lock(&[("serde", SOURCE)]);
        let bad = lock(&[("serde", "git+https://example.com/serde#0")]);
        check(
            sources,
            [("Cargo.lock", &good)],
            [("Cargo.lock", &bad)],
            "comes from git+",
        );
    }

    #[test]
    fn a_second_engine_or_tls_stack_is_found() {
        let good = lock(&[
            ("libsql-ffi", SOURCE),
            ("libsql-rusqlite", SOURCE),
            ("rustls", SOURCE),
        ]);
        let path = "Cargo.lock";
        for (name, wanted) in [("rusqlite", "second SQLite"), ("aws-lc-sys", "ring")] {
            let bad = lock(&[(name, SOURCE)]);
            check(one_engine, [(path, &good)], [(path, &bad)], wanted);
        }
        let twice = lock(&[("rustls", SOURCE), ("rustls", SOURCE)]);
        check(
            one_engine,
            [(path, &good)],
            [(path, &twice)],
            "more than once",
        );
    }
}
