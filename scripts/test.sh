#!/usr/bin/env bash
# test.sh [lint]
#
# All checks and tests, each under its own heading; goes on after a failure, so that one run shows everything. The last
# line counts tests and checks together: "N passed, N failed". `lint` leaves out what has to run the program.
#
# FUZZ_SECONDS (5): how long each fuzz target runs.
# SHARED_DATA=required: a test that has no data in ../shared/data fails, instead of being named at the end.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0
failed=0
broken=()
unchecked=

# section NAME COMMAND...: one check, which passes or fails as a whole.
section() {
    local name=$1 began=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
        echo "-- $name: ok ($((SECONDS - began)) s)"
    else
        failed=$((failed + 1))
        broken+=("$name")
        echo "-- $name: FAILED ($((SECONDS - began)) s)"
    fi
}

# Runs cargo test and adds what its own lines count. A build that breaks counts as one failure.
tests() {
    local log without status began=$SECONDS
    log=$(mktemp)
    without=$(mktemp)
    echo "== cargo test"
    WITHOUT_SHARED_DATA=$without cargo test --locked --no-fail-fast 2>&1 | tee "$log"
    status=$?
    local ok wrong
    ok=$(awk '/^test result: /{n += $4} END {print n + 0}' "$log")
    wrong=$(awk '/^test result: /{n += $6} END {print n + 0}' "$log")
    unchecked=$(sort -u "$without" | paste -sd, | sed 's/,/, /g')
    rm -f "$log" "$without"
    [ "$status" -ne 0 ] && [ "$wrong" -eq 0 ] && wrong=1
    passed=$((passed + ok))
    failed=$((failed + wrong))
    [ "$wrong" -gt 0 ] && broken+=("cargo test")
    echo "-- cargo test: $ok passed, $wrong failed ($((SECONDS - began)) s)"
}

# rustup's minimal profile lacks them.
components() {
    cargo fmt --version > /dev/null 2>&1 && cargo clippy --version > /dev/null 2>&1 && return
    if command -v rustup > /dev/null; then
        rustup component add rustfmt clippy
    else
        echo "rustfmt and clippy are missing: install them with the Rust toolchain"
        return 1
    fi
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --lib
}

# Shell and Python that no test runs should at least be readable.
scripts_parse() {
    local file
    for file in scripts/*.sh demo/*.sh benches/*.sh docker/*.sh .ci/run; do
        [ -e "$file" ] || continue
        bash -n "$file" || return 1
    done
    .tools/venv/bin/python - <<'PYTHON'
import ast, json, pathlib, tomllib

for path in (path for folder in ("benches", "demo", "fuzz", "models", "scripts", "tests")
             for path in pathlib.Path(folder).rglob("*.py") if "target" not in path.parts):
    ast.parse(path.read_text(), str(path))
for path in [*pathlib.Path("config").glob("*.toml"), *pathlib.Path("docker").glob("*.toml"),
             *pathlib.Path("models").glob("*/*.toml")]:
    tomllib.loads(path.read_text())
for path in pathlib.Path("docker").glob("*.json"):
    json.loads(path.read_text())
PYTHON
}

section "rust components" components
section "rustfmt" cargo fmt --check
section "rustfmt of the fuzz targets" cargo fmt --check --manifest-path fuzz/Cargo.toml
section "clippy" cargo clippy --locked --quiet --all-targets -- -D warnings
section "documentation" documentation
section "scripts and configurations" scripts_parse
if [ "${1:-}" != lint ]; then
    section "Debian packages" scripts/debian_packages.sh
    section "fuzz targets" scripts/fuzz.sh "${FUZZ_SECONDS:-5}"
    tests
fi

if [ ${#broken[@]} -gt 0 ]; then
    printf -v list '%s, ' "${broken[@]}"
    echo "failed: ${list%, }"
fi
if [ -n "$unchecked" ]; then
    echo "checked nothing, without data of ../shared: $unchecked"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
