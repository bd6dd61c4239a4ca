//! What documents claim about the repository, and what no file may tell about a machine.

use crate::repo::{OWN_FOLDER, Repo};
use crate::rust::{code_of, functions};
use std::collections::BTreeSet;

/// History is not corrected when files move.
const HISTORY: [&str; 2] = ["CHANGELOG.md", "docs/adr/"];

/// A document's longest form, in lines.
const LINES_MAX: [(&str, usize); 2] = [("README.md", 150), ("ARCHITECTURE.md", 300)];

/// Endings that make a name a file of this repository. Databases and reports are made at run time.
const ENDINGS: [&str; 4] = [".rs", ".md", ".sql", ".toml"];

/// The two documents everybody starts with are there and short.
pub fn lengths(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, most) in LINES_MAX {
        match repo.text(path).map(|text| text.lines().count()) {
            None => findings.push(format!("{path}: it is missing")),
            Some(lines) if lines > most => findings.push(format!(
                "{path}: {lines} lines, {most} is the limit: move what is not for a first visit to docs/"
            )),
            Some(_) => {}
        }
    }
    findings
}

/// The parts of a text between single backticks; fenced blocks are left out.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Targets of links to files.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains(':'))
}

/// Whether a quoted text claims that there is a file or folder of that name.
fn is_path(repo: &Repo, text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
    if text.is_empty() || text.starts_with(['/', '*', '-', '.']) || !text.chars().all(plain) {
        return false;
    }
    let top = text.split('/').next().unwrap_or(text);
    (text.contains('/') && repo.has_folder(top)) || ENDINGS.iter().any(|end| text.ends_with(end))
}

/// Whether the path is there: from the root, beside the document, or as the end of a longer path.
fn exists(repo: &Repo, document: &str, path: &str) -> bool {
    let folder = document
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let beside = format!("{folder}{path}");
    if let Some((before, after)) = path.split_once('*') {
        return repo.files().any(|(file, _)| {
            [before, &format!("{folder}{before}")]
                .iter()
                .any(|start| file.starts_with(start))
                && file.contains(after.trim_matches('*'))
        });
    }
    let ending = format!("/{path}");
    [path, &beside]
        .iter()
        .any(|path| repo.has_file(path) || repo.has_folder(path))
        || repo.files().any(|(file, _)| file.ends_with(&ending))
}

/// Every path that a document names is there.
pub fn paths_exist(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    let documents = repo.files().filter(|(path, _)| path.ends_with(".md"));
    for (document, text) in
        documents.filter(|(path, _)| !HISTORY.iter().any(|h| path.starts_with(h)))
    {
        let quotes = quoted(text)
            .into_iter()
            .filter(|quote| is_path(repo, quote));
        for path in quotes.chain(linked(text)).collect::<BTreeSet<&str>>() {
            let from_root = path.trim_start_matches("../");
            if !exists(repo, document, from_root) {
                findings.push(format!("{document}: `{path}` is not there: mend the name"));
            }
        }
    }
    findings
}

/// A decision that is referred to is written down, and decisions are numbered without gaps.
pub fn decisions(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    let numbers: BTreeSet<&str> = repo
        .files()
        .filter_map(|(path, _)| path.strip_prefix("docs/adr/")?.get(..4))
        .collect();
    for (expected, number) in (1..).zip(&numbers) {
        if *number != format!("{expected:04}") {
            findings.push(format!(
                "docs/adr/{number}: the next number is {expected:04}"
            ));
        }
    }
    for (path, text) in repo
        .files()
        .filter(|(path, _)| !path.starts_with(OWN_FOLDER))
    {
        for number in text.split("ADR ").skip(1).filter_map(|rest| rest.get(..4)) {
            if number.chars().all(|c| c.is_ascii_digit()) && !numbers.contains(number) {
                findings.push(format!(
                    "{path}: ADR {number} does not exist: write it in docs/adr/"
                ));
            }
        }
    }
    findings
}

/// Every invariant in ARCHITECTURE.md names a test that exists, or says that there is none yet.
pub fn invariants_have_tests(repo: &Repo) -> Vec<String> {
    let Some(text) = repo.text("ARCHITECTURE.md") else {
        return Vec::new();
    };
    let section = text.split("\n## Invariants").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or(section);
    let code: Vec<String> = repo.rust().map(|(_, text)| code_of(text)).collect();
    let known: BTreeSet<&str> = code.iter().flat_map(|code| functions(code)).collect();
    let mut findings = Vec::new();
    let items: Vec<&str> = section.split("\n- ").skip(1).collect();
    if items.is_empty() {
        findings.push("ARCHITECTURE.md: list the invariants below `## Invariants`".to_owned());
    }
    for item in items {
        let title = item.lines().next().unwrap_or(item);
        let Some((_, tests)) = item.split_once("Tests:") else {
            if !item.contains("Not yet tested") {
                findings.push(format!(
                    "ARCHITECTURE.md: `{title}`: name its tests after `Tests:`, or say `Not yet \
                     tested`"
                ));
            }
            continue;
        };
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        let names = names
            .into_iter()
            .filter(|name| !name.contains(['/', '.', ' ', '-']));
        for name in names.filter(|name| !known.contains(name)) {
            findings.push(format!(
                "ARCHITECTURE.md: `{title}`: there is no test `{name}`: mend the name"
            ));
        }
    }
    findings
}

/// Folders of somebody's machine, below the root.
const MACHINE_FOLDERS: [&str; 6] = ["root", "home", "work", "workspace", "Users", "mnt"];

/// How the work was done is nobody's business here; each is two words that are not to stand
/// together. (A cash session is.)
const MAKING: [(&str, &str); 6] = [
    ("helper", "agent"),
    ("sub", "agent"),
    ("ai", "assistant"),
    ("coding", "session"),
    ("language", "model"),
    ("this", "session"),
];

/// No file tells about the machine or the circumstances it was written in.
pub fn nothing_about_its_making(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in repo
        .files()
        .filter(|(path, _)| !path.starts_with(OWN_FOLDER))
    {
        for (number, line) in (1..).zip(text.lines()) {
            for folder in MACHINE_FOLDERS
                .iter()
                .filter(|folder| names_folder(line, folder))
            {
                findings.push(format!(
                    "{path}:{number}: a path below /{folder} holds on one machine only: take a path \
                     from the repository's root, or a temporary directory"
                ));
            }
            let lower = line.to_lowercase();
            let told = |(first, second): &&(&str, &str)| {
                ["", " ", "-", "_"]
                    .iter()
                    .any(|gap| lower.contains(&format!("{first}{gap}{second}")))
            };
            if MAKING.iter().any(|words| told(&words)) {
                findings.push(format!(
                    "{path}:{number}: say what the program does, not how the text came about"
                ));
            }
        }
    }
    findings
}

/// Whether `/folder/` stands in the line at the beginning of a path.
fn names_folder(line: &str, folder: &str) -> bool {
    let path = format!("/{folder}/");
    line.match_indices(&path).any(|(at, _)| {
        !line[..at]
            .ends_with(|before: char| before.is_ascii_alphanumeric() || "._-*}>".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    #[test]
    fn a_document_that_is_missing_or_too_long_is_found() {
        let good = [("README.md", "# Counterfoil"), ("ARCHITECTURE.md", "# Map")];
        let long = "\n".repeat(151);
        check(
            lengths,
            good,
            [("README.md", &long), ("ARCHITECTURE.md", "")],
            "150 is the limit",
        );
        check(lengths, good, [("README.md", "")], "missing");
    }

    #[test]
    fn a_path_that_is_not_there_is_found() {
        let files = ("hub/src/store/nodes.rs", "");
        let good = [
            files,
            (
                "README.md",
                "`hub/src`, `store/nodes.rs`, `hub/*.rs`, `book.db`, `/v1/sales`, `a/b`\n[it](hub/src)",
            ),
            ("CHANGELOG.md", "`hub/src/gone.rs`"),
        ];
        for bad in [
            "`hub/src/gone.rs`",
            "`nodess.rs`",
            "`hub/srcs`",
            "`hub/x*.sql`",
            "[x](hub/gone)",
        ] {
            check(
                paths_exist,
                good,
                [files, ("README.md", bad)],
                "is not there",
            );
        }
        let beside = [("hub/DESIGN.md", "`src/store/`"), files];
        check(
            paths_exist,
            beside,
            [("hub/DESIGN.md", "`hub/stores/`"), files],
            "is not there",
        );
    }

    #[test]
    fn a_decision_that_is_not_written_down_is_found() {
        let first = ("docs/adr/0001-one.md", "");
        let good = [first, ("hub/src/a.rs", "// see ADR 0001")];
        check(
            decisions,
            good,
            [first, ("hub/src/a.rs", "// see ADR 0002")],
            "does not exist",
        );
        check(
            decisions,
            good,
            [("docs/adr/0002-two.md", "")],
            "the next number is 0001",
        );
    }

    #[test]
    fn an_invariant_without_a_test_is_found() {
        let code = ("hub/src/a.rs", "#[test]\nfn a_sale_is_kept() {}");
        let page =
            |item: &str| format!("# Map\n\n## Invariants\n\n- **G1** {item}\n\n## More\n- x\n");
        let good =
            page("Kept. Tests: `a_sale_is_kept` in `hub/src/a.rs`.\n- **G2** Not yet tested.");
        let check = |bad: &str, wanted| {
            let bad = page(bad);
            let (good, bad) = (("ARCHITECTURE.md", &*good), ("ARCHITECTURE.md", &*bad));
            check(invariants_have_tests, [code, good], [code, bad], wanted);
        };
        check("Kept. Tests: `a_sale_is_lost`.", "there is no test");
        check("Kept.", "name its tests");
    }

    #[test]
    fn a_machine_and_a_making_are_found() {
        let good = [(
            "README.md",
            "a cash session, https://example.com/home/a, $HOME/home/x, network/work/",
        )];
        for bad in ["cd /home/ann/x", "(/root/.cache)", "By a helper agent."] {
            check(
                nothing_about_its_making,
                good,
                [("README.md", bad)],
                "README.md:1",
            );
        }
    }
}
