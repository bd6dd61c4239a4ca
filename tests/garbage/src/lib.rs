//! Everything that reads bytes from the network, as functions of bytes.
//!
//! Each target takes arbitrary bytes and panics when the code under it does, or when what it gives
//! is wrong. `fuzz` has a program per target that lets a coverage-guided fuzzer choose the bytes;
//! `tests/it` replays the corpus, which is what the fuzzer found worth keeping.
#![expect(clippy::panic, reason = "a finding is a panic")]
#![expect(clippy::expect_used, reason = "a finding is a panic")]

mod copy;
mod delta;
mod hub;
mod json;
mod node;
mod packed;
mod script;
mod text;

/// One way for bytes to come in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of its corpus and of its program.
    pub name: &'static str,
    /// Takes the bytes.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "json",
        run: json::run,
    },
    Target {
        name: "text",
        run: text::run,
    },
    Target {
        name: "delta",
        run: delta::decode,
    },
    Target {
        name: "frames",
        run: delta::round_trip,
    },
    Target {
        name: "copy",
        run: copy::push_and_pull,
    },
    Target {
        name: "tail",
        run: copy::open_beside,
    },
    Target {
        name: "hub",
        run: hub::run,
    },
    Target {
        name: "node",
        run: node::run,
    },
    Target {
        name: "packed",
        run: packed::unpack,
    },
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or when it finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of that name").run)(bytes);
}
