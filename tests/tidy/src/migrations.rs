//! Migration files: numbered without gaps, and each says what it does.

use crate::repo::Repo;
use std::collections::BTreeMap;

/// The kinds of database, which are the folders of `migrations/`.
const KINDS: [&str; 4] = ["book", "catalog", "hub", "local"];

/// One file: its number if its name has one, its path, its text.
type File<'r> = (Option<u32>, &'r str, &'r str);

/// Files by folder.
fn files(repo: &Repo) -> BTreeMap<&str, Vec<File<'_>>> {
    let mut folders: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (path, text) in repo.files() {
        let Some((kind, file)) = path
            .strip_prefix("migrations/")
            .and_then(|p| p.split_once('/'))
        else {
            continue;
        };
        let number = file
            .strip_prefix('V')
            .and_then(|rest| rest.split_once("__"));
        let number = number.and_then(|(number, _)| number.parse().ok());
        folders.entry(kind).or_default().push((number, path, text));
    }
    folders
}

/// `V1__init.sql`, `V2__...` and so on, without gaps.
pub fn numbers(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (kind, mut files) in files(repo) {
        if !KINDS.contains(&kind) {
            findings.push(format!(
                "migrations/{kind}: there is no such kind of database"
            ));
        }
        files.sort_unstable();
        for (expected, (number, path, _)) in (1..).zip(files) {
            if number != Some(expected) || !path.ends_with(".sql") {
                findings.push(format!(
                    "{path}: the next file is V{expected}__what_changes.sql; a released file is \
                     never renamed or edited"
                ));
            }
        }
    }
    findings
}

/// The first two lines say what changes for a shop, and why it is safe to run twice.
pub fn comments(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (_, path, text) in files(repo).into_values().flatten() {
        let mut lines = text.lines();
        let commented = [lines.next(), lines.next()]
            .iter()
            .all(|line| line.is_some_and(|l| l.starts_with("-- ")));
        if !commented {
            findings.push(format!(
                "{path}: begin with two comment lines: what changes for a shop, and why it is \
                 safe to run twice"
            ));
        }
    }
    findings
}

/// A checkout with other line ends would change the checksums of released migrations.
pub fn line_ends(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    let pinned = repo.text(".gitattributes").unwrap_or_default();
    if !pinned
        .lines()
        .any(|line| line.trim() == "*.sql text eol=lf")
    {
        findings.push(
            ".gitattributes: keep the line `*.sql text eol=lf`: a migration's checksum is taken \
             over its bytes"
                .to_owned(),
        );
    }
    for (_, path, text) in files(repo).into_values().flatten() {
        if text.contains('\r') {
            findings.push(format!("{path}: end its lines with LF only"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    const SQL: &str = "-- Adds tips.\n-- Safe to run twice: it runs once.\nCREATE TABLE tip (a);\n";

    #[test]
    fn a_gap_a_strange_name_and_a_strange_folder_are_found() {
        let first = ("migrations/book/V1__init.sql", SQL);
        let good = [first, ("migrations/book/V2__tips.sql", SQL)];
        check(
            numbers,
            good,
            [first, ("migrations/book/V3__tips.sql", SQL)],
            "V2__what_changes",
        );
        check(
            numbers,
            good,
            [first, ("migrations/book/tips.sql", SQL)],
            "V1__what_changes",
        );
        check(
            numbers,
            good,
            [("migrations/till/V1__init.sql", SQL)],
            "no such kind",
        );
    }

    #[test]
    fn a_file_without_its_two_comments_is_found() {
        let path = "migrations/hub/V1__init.sql";
        check(
            comments,
            [(path, SQL)],
            [(path, "-- Adds tips.\nCREATE TABLE t (a);")],
            "two comment",
        );
    }

    #[test]
    fn a_checkout_that_may_change_checksums_is_found() {
        let pinned = (".gitattributes", "*.sql text eol=lf\n");
        let path = "migrations/hub/V1__init.sql";
        check(line_ends, [pinned, (path, SQL)], [(path, SQL)], "eol=lf");
        check(line_ends, [pinned], [pinned, (path, "-- a\r\n")], "LF only");
    }
}
