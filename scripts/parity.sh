#!/usr/bin/env bash
# Holds overread against PyTorch with torchvision, timm, MONAI and transformers on the same DICOM files; models/parity.py says how.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/published_tools.sh)
cargo build --release --locked
exec "$python" models/parity.py --overread target/release/overread "$@"
