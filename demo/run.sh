#!/usr/bin/env bash
# Builds the node and shows it at work; `make demo` calls this after the setup.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "building overread (a few minutes the first time)"
quiet=--quiet
if [ -t 2 ]; then quiet=; fi
cargo build --release --locked $quiet
exec .tools/venv/bin/python demo/run.py "$@"
