#!/usr/bin/env bash
# Holds overread against PyTorch with torchvision, timm, MONAI and transformers on the same DICOM files; models/parity.py says how.
# Before that what needs PyTorch and no overread: whether the exporters make what is shipped, train_head.py learns, and the method of
# lung-densitometry measures phantoms and a chest right.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/published_tools.sh)
"$python" -W ignore tests/python/exporters.py
"$python" tests/python/train_head.py
"$python" tests/python/check_lung_model.py --series demo/chest-ct
cargo build --release --locked
exec "$python" models/parity.py --overread target/release/overread "$@"
