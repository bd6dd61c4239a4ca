//! What the fuzzer found worth keeping goes through every target again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stderr, reason = "it says which input was the last")]

use garbage::TARGETS;
use std::path::Path;

/// The inputs of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

fn replay(target: &str) {
    let inputs = corpus(target);
    assert!(inputs.len() >= 3, "the corpus of {target} is gone");
    for (name, bytes) in inputs {
        // The last line before a finding says which input it is.
        eprintln!("{target}/{name}");
        garbage::run(target, &bytes);
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)));
        assert!(!corpus(target.name).is_empty());
    }
}

#[test]
fn the_corpus_of_json_finds_nothing() {
    replay("json");
}

#[test]
fn the_corpus_of_text_finds_nothing() {
    replay("text");
}

#[test]
fn the_corpus_of_delta_finds_nothing() {
    replay("delta");
}

#[test]
fn the_corpus_of_frames_finds_nothing() {
    replay("frames");
}

#[test]
fn the_corpus_of_copy_finds_nothing() {
    replay("copy");
}

#[test]
fn the_corpus_of_tail_finds_nothing() {
    replay("tail");
}

#[test]
fn the_corpus_of_hub_finds_nothing() {
    replay("hub");
}

#[test]
fn the_corpus_of_packed_finds_nothing() {
    replay("packed");
}

#[test]
fn the_corpus_of_node_finds_nothing() {
    replay("node");
}
