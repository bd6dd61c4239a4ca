# Every check that CI runs is a line of a recipe here; tests/tidy holds .ci/run to that.
set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes.
default:
    @just --list --unsorted

# All that needs no network, in CI's order.
verify: tidy lint test simulate demo

# Formatting and layout rules; compiles nothing but the checker.
tidy:
    cargo fmt --all -- --check
    cargo test --package tidy --locked

# Clippy and rustdoc, warnings as errors.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo clippy --package stress --features rigged --all-targets --locked -- -D warnings
    env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items --locked

# All tests; `just test outbox` runs those with that name.
test filter="":
    cargo test {{ filter }}
    cargo test --package stress --features rigged --locked rigged

# Hub, tills and faults in one process, seed by seed; `just simulate 1 42` replays seed 42.
simulate runs="20" seed="1":
    cargo run --release --package simulation --locked -- --runs {{ runs }} --seed {{ seed }}

# The stock libSQL clients of Rust, JavaScript and Python against the hub, and a lane in Python among ours; needs node, npm and python3.
foreign-clients:
    cargo test --package foreign-clients --locked
    cargo run --package foreign-clients --locked

# A chain of shops trades through an outage, on real processes; `just demo --seed 7`.
demo *options:
    cargo demo {{ if options == "" { "" } else { "-- " + options } }}

# Real processes under SIGKILL at random instants; `just stress-kills 10000 7` is seed 7.
stress-kills kills="2000" seed="1":
    cargo build --release --package stress --locked
    target/release/stress kills --kills {{ kills }} --seed {{ seed }}

# Real processes behind networks that break in every way.
stress-network minutes="5" seed="1":
    cargo build --release --package stress --locked
    target/release/stress network --minutes {{ minutes }} --seed {{ seed }}

# Lanes of one shop in network namespaces, whose packets are cut off, lost, late and doubled; needs root and python3.
stress-lanes minutes="5" seed="1":
    cargo build --release --package stress --locked
    target/release/stress lanes --minutes {{ minutes }} --seed {{ seed }}

# SIGKILL at every named point of replication, on its side.
kill-matrix rounds="3":
    cargo build --package stress --features rigged --locked
    target/debug/stress matrix --rounds {{ rounds }}

# Lets a coverage-guided fuzzer choose bytes from the network; `just fuzz delta 600` is one target.
fuzz target="all" seconds="150":
    tests/garbage/fuzz/run.sh {{ target }} {{ seconds }}

# Known mistakes, made on purpose: each must be found by the test that is there for it.
planted-bugs:
    cargo run --package stress --features rigged --locked -- planted-bugs

# A power cut at every write boundary, over a million disks; `just power-cuts 2000` looks at fewer.
power-cuts states="300000":
    cargo run --release --package power --locked -- --states {{ states }}

# The measurements behind docs/performance.md.
bench:
    cargo bench --package counterfoil-shop-store --locked
    cargo bench --package system-tests --locked
    cargo bench --package foreign-clients --locked

# Licences, bans and sources once more, with cargo-deny.
deny:
    cargo deny --all-features check bans licenses sources

# Known vulnerabilities; the list changes without us, so CI does not wait for it.
advisories:
    cargo deny --all-features check advisories

# Apply formatting and what clippy can mend by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty
