//! What may stand in a source file, and how long it may be.

use crate::repo::{OWN_FOLDER, Repo};
use crate::rust::{code_of, functions, has_word};

/// Longest Rust file that needs no reason, in lines.
pub const LINES_MAX: usize = 500;
/// Longest Rust file at all, in lines.
pub const LINES_REFUSED: usize = 800;

/// Files longer than [`LINES_MAX`], each with its reason. The list may only shrink.
pub const LONG_FILES: [(&str, &str); 1] = [(
    "crates/domain/src/document.rs",
    "one document a topic, each beside its rules; apart, a rule would be looked for in two places",
)];

/// The only places with unsafe code.
const UNSAFE_FILES: [&str; 2] = ["crates/replica/src/wal/raw.rs", "crates/replica/src/vfs.rs"];

/// Every Rust source but this crate's own, which quotes what is forbidden.
fn judged(repo: &Repo) -> impl Iterator<Item = (&str, &str)> {
    repo.rust()
        .filter(|(path, _)| !path.starts_with(OWN_FOLDER))
}

/// Files are short, or say why not.
pub fn lengths(repo: &Repo) -> Vec<String> {
    lengths_with(repo, &LONG_FILES)
}

fn lengths_with(repo: &Repo, long_files: &[(&str, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in repo.rust() {
        let lines = text.lines().count();
        let explained = long_files.iter().any(|(known, _)| *known == path);
        if lines > LINES_REFUSED {
            findings.push(format!(
                "{path}: {lines} lines; more than {LINES_REFUSED} is refused: split it by what it \
                 answers, or move its tests to a sibling tests.rs"
            ));
        } else if lines > LINES_MAX && !explained {
            findings.push(format!(
                "{path}: {lines} lines, {LINES_MAX} is the limit: split it, or give the reason in \
                 LONG_FILES of tests/tidy/src/sources.rs"
            ));
        }
    }
    for (path, _) in long_files {
        if repo
            .text(path)
            .is_none_or(|text| text.lines().count() <= LINES_MAX)
        {
            findings.push(format!(
                "{path}: it is short now or gone: take it out of LONG_FILES in \
                 tests/tidy/src/sources.rs"
            ));
        }
    }
    findings
}

/// Unsafe code stands in two files of `replica`, each block with its reason.
pub fn unsafe_code(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in repo.rust() {
        let code = code_of(text);
        if !has_word(&code, "unsafe") {
            continue;
        }
        if !UNSAFE_FILES.contains(&path) {
            findings.push(format!(
                "{path}: unsafe code may stand in {} only: find the safe call, or add a safe \
                 function there",
                UNSAFE_FILES.join(" and ")
            ));
        } else if !text.contains("// SAFETY: ") {
            findings.push(format!(
                "{path}: give each unsafe block its `// SAFETY: ` comment"
            ));
        }
    }
    findings
}

/// Nothing unfinished reaches the main branch.
pub fn nothing_unfinished(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in judged(repo) {
        for (number, line) in (1..).zip(text.lines()) {
            if has_word(line, "FIXME") || has_word(line, "XXX") {
                findings.push(format!(
                    "{path}:{number}: mend it now, or write `TODO(#issue)`"
                ));
            }
            let bare = line.replace("TODO(#", "");
            if has_word(&bare, "TODO") {
                findings.push(format!("{path}:{number}: name the issue: `TODO(#issue)`"));
            }
        }
        let code = code_of(text);
        for macro_call in ["dbg!", "todo!", "unimplemented!"] {
            let name = macro_call.trim_end_matches('!');
            if has_word(&code, name) && code.contains(macro_call) {
                findings.push(format!("{path}: take `{macro_call}` out"));
            }
        }
    }
    findings
}

/// Tests run, and their names are sentences.
pub fn tests_are_sentences(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in judged(repo) {
        let code = code_of(text);
        if code.contains("#[ignore") {
            findings.push(format!(
                "{path}: a test that is not run proves nothing: make it run, or delete it"
            ));
        }
        if code.contains("#[should_panic") {
            findings.push(format!(
                "{path}: assert on the error instead of `should_panic`"
            ));
        }
        for name in functions(&code).filter(|name| name.starts_with("test_")) {
            findings.push(format!(
                "{path}: `{name}`: name the test after the behaviour, without `test_`"
            ));
        }
    }
    findings
}

/// Every module says what it is for. Tests need not: their names do.
pub fn modules_say_their_purpose(repo: &Repo) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in repo.rust() {
        let judged = path.contains("/src/") && !path.ends_with("/tests.rs");
        if judged && !text.starts_with("//!") {
            findings.push(format!("{path}: begin with `//!` and what it is for"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    #[test]
    fn a_long_file_is_found_and_so_is_a_stale_reason() {
        let (short, long) = ("//\n".repeat(LINES_MAX), "//\n".repeat(LINES_MAX + 1));
        let refused = "//\n".repeat(LINES_REFUSED + 1);
        let findings = |text: &str, reasons: &[(&str, &str)]| {
            lengths_with(&Repo::of([("hub/src/a.rs", text)]), reasons).join("\n")
        };
        let reason = [("hub/src/a.rs", "because")];
        assert_eq!(findings(&short, &[]), "");
        assert!(findings(&long, &[]).contains("is the limit"));
        assert_eq!(findings(&long, &reason), "");
        assert!(findings(&refused, &reason).contains("is refused"));
        assert!(findings(&short, &reason).contains("short now"));
    }

    #[test]
    fn unsafe_code_in_the_wrong_place_or_without_a_reason_is_found() {
        let code = "// SAFETY: it is ours.\nunsafe { f() }";
        let good = [
            (UNSAFE_FILES[0], code),
            ("hub/src/a.rs", "#![deny(unsafe_code)] // unsafe"),
        ];
        check(unsafe_code, good, [("hub/src/a.rs", code)], "may stand in");
        check(
            unsafe_code,
            good,
            [(UNSAFE_FILES[1], "unsafe { f() }")],
            "SAFETY",
        );
    }

    #[test]
    fn what_is_unfinished_is_found() {
        let good = [("hub/src/a.rs", "// TODO(#12): faster\nlet todo = \"dbg!\";")];
        for bad in [
            "// TODO faster",
            "// FIXME",
            "dbg!(x);",
            "todo!()",
            "unimplemented!(\"\")",
        ] {
            check(
                nothing_unfinished,
                good,
                [("hub/src/a.rs", bad)],
                "hub/src/a.rs",
            );
        }
    }

    #[test]
    fn a_test_that_is_no_sentence_or_does_not_run_is_found() {
        let good = [("hub/src/a.rs", "#[test]\nfn a_sale_is_kept() {}")];
        for bad in [
            "#[test]\n#[ignore]\nfn f() {}",
            "fn test_sale() {}",
            "#[should_panic]\nfn f() {}",
        ] {
            check(
                tests_are_sentences,
                good,
                [("hub/src/a.rs", bad)],
                "hub/src/a.rs",
            );
        }
    }

    #[test]
    fn a_module_without_a_purpose_is_found() {
        let good = [
            ("hub/src/a.rs", "//! Sums."),
            ("hub/src/a/tests.rs", "use super::*;"),
        ];
        check(
            modules_say_their_purpose,
            good,
            [("hub/src/a.rs", "fn f() {}")],
            "begin with",
        );
    }
}
