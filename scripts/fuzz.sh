#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]
#
# Runs each fuzz target for so many seconds on the stable toolchain: coverage by LLVM's own pass, libFuzzer from the
# libfuzzer-sys crate. (With a nightly toolchain and cargo-fuzz, `cargo +nightly fuzz run TARGET` works as well and adds
# the address sanitizer.) Seeds are made anew, what is found grows in fuzz/corpus, a failing input lies in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(basename -s .rs -a fuzz/fuzz_targets/*.rs)

coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares)
# An explicit --target keeps the flags away from build scripts and procedural macros.
RUSTFLAGS="--cfg fuzzing ${coverage[*]}" cargo build --release --locked --quiet \
    --manifest-path fuzz/Cargo.toml --target "$host" --target-dir fuzz/target
.tools/venv/bin/python fuzz/seeds.py fuzz/corpus

failed=0
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=$(mktemp)
    if "fuzz/target/$host/release/$target" "fuzz/corpus/$target" -artifact_prefix="fuzz/artifacts/$target/" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 > "$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "fuzz $target: ok, $runs runs in $seconds s, peak $(sed -n 's/^stat::peak_rss_mb: *//p' "$log") MB"
    else
        failed=1
        tail -n 40 "$log"
        echo "fuzz $target: FAILED"
    fi
    rm -f "$log"
done
exit $failed
