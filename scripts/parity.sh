#!/usr/bin/env bash
# Holds overread against PyTorch with torchvision, timm, MONAI and transformers on the same DICOM files; models/parity.py says how.
# PyTorch with CUDA takes 5 GB in .tools/parity; PARITY_PYTHON names an interpreter that has it already.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PARITY_PYTHON:-.tools/parity/bin/python}
if [ -z "${PARITY_PYTHON:-}" ] && ! cmp -s scripts/parity-requirements.txt .tools/parity/installed.txt; then
    .tools/venv/bin/python -m venv --clear .tools/parity
    "$python" -m pip install --quiet --disable-pip-version-check -r scripts/parity-requirements.txt
    cp scripts/parity-requirements.txt .tools/parity/installed.txt
fi
cargo build --release --locked
exec "$python" models/parity.py --overread target/release/overread "$@"
