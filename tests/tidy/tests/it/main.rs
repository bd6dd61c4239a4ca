//! The rules, over this repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tidy::repo::Repo;
use tidy::{continuous, documents, layers, licences, lockfile, migrations, modules, sources};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn repo() -> &'static Repo {
    static REPO: OnceLock<Repo> = OnceLock::new();
    let repo = REPO.get_or_init(|| Repo::read(&root()).expect("the repository can be read"));
    // An empty repository keeps every rule.
    assert!(
        repo.has_file("tests/tidy/tests/it/main.rs"),
        "this is not the repository"
    );
    repo
}

fn check(rule: fn(&Repo) -> Vec<String>) {
    let findings = rule(repo());
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn arrows_between_crates_point_the_right_way() {
    check(layers::arrows);
}

#[test]
fn domain_and_protocol_stay_pure() {
    check(layers::pure_crates);
}

#[test]
fn every_crate_inherits_the_lints() {
    check(layers::lints_are_inherited);
}

#[test]
fn names_of_crates_and_modules_say_something() {
    check(layers::names_say_something);
}

#[test]
fn the_lock_file_keeps_its_budget() {
    check(lockfile::budget);
}

#[test]
fn every_dependency_comes_from_crates_io() {
    check(lockfile::sources);
}

#[test]
fn there_is_one_sqlite_and_at_most_one_tls_stack() {
    check(lockfile::one_engine);
}

#[test]
fn every_licence_is_allowed() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(root());
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = String::from_utf8_lossy(&output.stdout);
    let allowed = licences::allowed(repo().text("deny.toml").unwrap_or_default());
    let findings = licences::refused(&metadata, &allowed);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn files_are_short_or_say_why_not() {
    check(sources::lengths);
}

#[test]
fn unsafe_code_stands_in_two_files_only() {
    check(sources::unsafe_code);
}

#[test]
fn nothing_unfinished_is_left() {
    check(sources::nothing_unfinished);
}

#[test]
fn tests_run_and_their_names_are_sentences() {
    check(sources::tests_are_sentences);
}

#[test]
fn every_module_says_its_purpose() {
    check(sources::modules_say_their_purpose);
}

#[test]
fn no_rust_file_is_forgotten() {
    check(modules::no_file_is_forgotten);
}

#[test]
fn each_package_has_one_test_binary() {
    check(modules::one_test_binary);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    check(migrations::numbers);
}

#[test]
fn migrations_say_what_they_do() {
    check(migrations::comments);
}

#[test]
fn migrations_have_the_same_bytes_everywhere() {
    check(migrations::line_ends);
}

#[test]
fn readme_and_architecture_are_short() {
    check(documents::lengths);
}

#[test]
fn every_path_in_a_document_exists() {
    check(documents::paths_exist);
}

#[test]
fn every_decision_is_written_down() {
    check(documents::decisions);
}

#[test]
fn every_invariant_names_its_test() {
    check(documents::invariants_have_tests);
}

#[test]
fn nothing_tells_how_it_was_made() {
    check(documents::nothing_about_its_making);
}

#[test]
fn ci_runs_what_the_justfile_has() {
    check(continuous::ci_is_the_justfile);
}

#[test]
fn recipes_have_help_and_are_short() {
    check(continuous::recipes);
}
