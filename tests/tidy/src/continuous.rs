//! The checks that run by themselves are the checks a person can run.

use crate::repo::Repo;

const CI: &str = ".ci/run";
const RECIPES: &str = "justfile";

/// Lines of commands longer than this belong into Rust.
const RECIPE_LINES_MAX: usize = 3;

/// The commands of `.ci/run`, one a line; setting and telling is none.
fn ci_commands(repo: &Repo) -> Vec<&str> {
    let lines = repo.text(CI).unwrap_or_default().lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix("run ")).collect()
}

/// A recipe's line as it runs when nothing is asked for.
fn without_parameters(line: &str) -> String {
    let parts = line.split("{{").enumerate();
    let kept = parts.map(|(at, part)| match part.split_once("}}") {
        Some((_, rest)) if at > 0 => rest,
        _ => part,
    });
    kept.collect::<String>().trim().to_owned()
}

/// Everything that CI runs is a recipe's line, and the README's test command is among it.
pub fn ci_is_the_justfile(repo: &Repo) -> Vec<String> {
    let recipes = repo.text(RECIPES).unwrap_or_default();
    let commands = ci_commands(repo);
    let mut findings = Vec::new();
    for command in &commands {
        if !recipes
            .lines()
            .any(|line| without_parameters(line) == *command)
        {
            findings.push(format!(
                "{CI}: `{command}` is no recipe's line: add it to {RECIPES}"
            ));
        }
    }
    for expected in ["cargo test", "cargo demo"] {
        if !commands.contains(&expected) {
            findings.push(format!(
                "{CI}: it does not run `{expected}`, which README.md promises"
            ));
        }
        if !repo
            .text("README.md")
            .unwrap_or_default()
            .contains(expected)
        {
            findings.push(format!("README.md: it does not name `{expected}`"));
        }
    }
    findings
}

/// Each recipe has a line of help and is short.
pub fn recipes(repo: &Repo) -> Vec<String> {
    let text = repo.text(RECIPES).unwrap_or_default();
    let mut findings = Vec::new();
    let mut above = "";
    let mut recipe = "";
    let mut length = 0;
    for line in text.lines() {
        let heads = !line.starts_with([' ', '\t', '#', '[']) && line.contains(':');
        if heads && !line.contains(":=") && !line.starts_with("set ") {
            recipe = line.split([' ', ':']).next().unwrap_or(line);
            length = 0;
            if !above.starts_with("# ") {
                findings.push(format!(
                    "{RECIPES}: give `{recipe}` a comment line: it is its help"
                ));
            }
        } else if line.starts_with([' ', '\t']) {
            length += 1;
            if length == RECIPE_LINES_MAX + 1 {
                findings.push(format!(
                    "{RECIPES}: `{recipe}` has more than {RECIPE_LINES_MAX} lines: move its logic \
                     into Rust"
                ));
            }
        }
        above = line;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::check;

    #[test]
    fn a_step_that_only_ci_has_is_found() {
        let readme = ("README.md", "`cargo demo`, `cargo test`");
        let just = (
            RECIPES,
            "# All.\ntest x=\"\":\n    cargo test {{ x }}\n    cargo demo\n",
        );
        let good = [readme, just, (CI, "run cargo test\nrun cargo demo\n")];
        let bad = [
            readme,
            just,
            (CI, "run cargo test\nrun cargo demo\nrun make\n"),
        ];
        check(ci_is_the_justfile, good, bad, "`make` is no recipe's line");
        check(
            ci_is_the_justfile,
            good,
            [readme, just, (CI, "run cargo demo\n")],
            "`cargo test`",
        );
        let silent = [("README.md", "`cargo demo`"), just, good[2]];
        check(ci_is_the_justfile, good, silent, "README.md");
    }

    #[test]
    fn a_recipe_without_help_or_with_a_program_in_it_is_found() {
        let good = [(
            RECIPES,
            "set shell := [\"bash\"]\n\n# Tests; `just test x`.\ntest filter=\"\":\n    a\n    b\n",
        )];
        check(
            recipes,
            good,
            [(RECIPES, "\ntest:\n    a\n")],
            "comment line",
        );
        check(
            recipes,
            good,
            [(RECIPES, "# T.\nt:\n    a\n    b\n    c\n    d\n")],
            "into Rust",
        );
    }
}
