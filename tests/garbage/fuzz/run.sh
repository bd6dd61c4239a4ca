#!/usr/bin/env bash
# Fuzzes one target, or each in turn, for some seconds; what is worth keeping stays in work/TARGET,
# a finding in artifacts/TARGET.
#
#   tests/garbage/fuzz/run.sh TARGET|all [SECONDS] [OPTION OF LIBFUZZER...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=${1:?a target, or all}
seconds=${2:-150}
shift $(($# < 2 ? $# : 2))

# What `cargo fuzz` passes, without the sanitizers of an unstable compiler: branches are counted and
# comparisons are told to the fuzzer. `--target` keeps build scripts out of it.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
# Databases of a run live in memory where there is a file system for that.
if [ -d /dev/shm ]; then
    TMPDIR=$(mktemp -d /dev/shm/counterfoil-fuzz.XXXXXX)
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
fi
if [ "$target" = all ]; then
    targets=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' Cargo.toml)
    cargo build --release --locked --target "$host"
else
    targets=$target
    cargo build --release --locked --target "$host" --bin "$target"
fi
for target in $targets; do
    mkdir -p "work/$target" "artifacts/$target"
    "target/$host/release/$target" "work/$target" "../corpus/$target" \
        -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" -max_len=16384 \
        -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 "$@"
done
