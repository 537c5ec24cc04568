#!/usr/bin/env bash
# Measures overread against peers beside it on this machine; `make bench` calls this. See benches/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${BENCH_TOOLS:-../shared/bench}
if [ ! -e "$tools/blast/Cargo.toml" ] || [ ! -e "$tools/gen.py" ]; then
    echo "bench: the load generator is not in $tools: set BENCH_TOOLS to the folder that holds blast/ and gen.py" >&2
    exit 1
fi
cargo build --release --locked --quiet
cargo build --release --locked --quiet --manifest-path "$tools/blast/Cargo.toml" --target-dir target/bench-tools
for program in Orthanc storescp; do
    command -v $program > /dev/null || echo "bench: $program is not installed, passed over (apt-get install orthanc dcmtk)"
done
exec .tools/venv/bin/python benches/bench.py --tools "$tools" ${QUICK:+--quick} "$@"
