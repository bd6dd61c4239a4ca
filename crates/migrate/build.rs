//! Rebuilds the crate when a migration file is added; `embed_migrations!` itself sees only edits.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
