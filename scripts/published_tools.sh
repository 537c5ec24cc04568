#!/usr/bin/env bash
# Prints the Python that has PyTorch with torchvision, timm, MONAI and transformers, for `make parity` and `make bench`. Installs them
# into .tools/parity where they are missing: with CUDA's libraries 5 GB. PARITY_PYTHON names an interpreter that has them already.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PARITY_PYTHON:-.tools/parity/bin/python}
if [ -z "${PARITY_PYTHON:-}" ] && ! cmp -s scripts/parity-requirements.txt .tools/parity/installed.txt; then
    .tools/venv/bin/python -m venv --clear .tools/parity >&2
    "$python" -m pip install --quiet --disable-pip-version-check -r scripts/parity-requirements.txt >&2
    cp scripts/parity-requirements.txt .tools/parity/installed.txt
fi
echo "$python"
