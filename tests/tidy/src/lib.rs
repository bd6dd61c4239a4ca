//! House style as tests: who may use whom, sizes, names, paths in documents.
//!
//! A rule is a function from the repository's files to findings; a finding says what to do. The
//! rules run over this repository in `tests/it`, and each is shown to fail on a sample next to its
//! code. No dependencies, no build of anything else. Start with [`repo`].

pub mod continuous;
pub mod documents;
pub mod layers;
pub mod licences;
pub mod lockfile;
pub mod manifest;
pub mod migrations;
pub mod modules;
pub mod repo;
pub mod rust;
pub mod sources;

#[cfg(test)]
mod sample;
