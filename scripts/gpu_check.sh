#!/bin/bash
# The same images on the CPU and on an NVIDIA card, by every package that is shipped: masks, numbers and texts compared, the time of
# each stage printed, and one table at the end.
#
# On this machine:
#   scripts/gpu_check.sh pack [BINARY]       makes out/gpu_check.tar.gz: the release binary, the packages, a chest CT, a radiograph, this script
# On the machine with the card (x86-64, glibc 2.34 or newer, PyTorch 2.11's libraries; no network, no toolchain):
#   tar xzf gpu_check.tar.gz && gpu_check/gpu_check.sh [PATH…]
# PyTorch's libraries are looked for in TORCH_LIB, else where python3 imports torch from, else in /opt/libtorch/lib.
#
# DEVICES (cpu,cuda:0) and REPEAT (5) go to `overread compare`. Packages whose cuda precision is half are held to their half_tolerance.
#
# Exit codes: 0 CPU and GPU agree, 1 they do not or one of them failed, 2 something that is needed is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

missing() { echo "gpu_check: $*" >&2; exit 2; }

pack() {
    local root binary folder
    root=$(cd "$here/.." && pwd)
    binary=${1:-$root/target/release/overread}
    [ -x "$binary" ] || missing "there is no $binary: make build"
    folder=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$folder'" EXIT
    mkdir -p "$folder/gpu_check/models" "$root/out"
    cp "$binary" "$folder/gpu_check/overread"
    cp -r "$root/models/lung-densitometry" "$folder/gpu_check/models/"
    local tiny
    for tiny in "$root"/models/*/tiny; do
        mkdir "$folder/gpu_check/models/$(basename "$(dirname "$tiny")")"
        cp -r "$tiny" "$folder/gpu_check/models/$(basename "$(dirname "$tiny")")/"
    done
    mkdir "$folder/gpu_check/images"
    cp -r "$root/demo/chest-ct" "$folder/gpu_check/images/"
    PYTHONPATH=$root/models "$root/.tools/venv/bin/python" - "$folder/gpu_check/images" <<'PYTHON'
import pathlib, sys
from reference.synthetic import radiograph
radiograph(pathlib.Path(sys.argv[1]), 700, 575)
PYTHON
    cp "${BASH_SOURCE[0]}" "$folder/gpu_check/gpu_check.sh"
    tar czf "$root/out/gpu_check.tar.gz" -C "$folder" gpu_check
    echo "$root/out/gpu_check.tar.gz"
}

# Where devices that are no cards are compared, the libraries that the binary finds by itself will do too.
torch_lib() {
    local found=${TORCH_LIB:-}
    if [ -z "$found" ] && command -v python3 > /dev/null; then
        found=$(python3 -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))' 2> /dev/null || true)
    fi
    found=${found:-/opt/libtorch/lib}
    case ${DEVICES:-cuda} in *cuda*) ;; *) echo "$found"; return ;; esac
    [ -e "$found/libtorch_cuda.so" ] || missing "no libtorch_cuda.so in $found: set TORCH_LIB to the lib folder of PyTorch 2.11 with CUDA"
    echo "$found"
}

check() {
    local lib binary=$here/overread
    [ -x "$binary" ] || missing "there is no $binary: this runs in the folder that «gpu_check.sh pack» makes"
    if command -v nvidia-smi > /dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
    fi
    lib=$(torch_lib)
    [ $# -gt 0 ] || set -- "$here/images"
    local folder chosen=(--model "$here/models/lung-densitometry")
    for folder in "$here"/models/*/tiny; do
        chosen+=(--model "$folder")
    done
    LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
        "$binary" compare "${chosen[@]}" --models "$here/models" --devices "${DEVICES:-cpu,cuda:0}" --repeat "${REPEAT:-5}" "$@"
}

if [ "${1:-}" = pack ]; then
    pack "${2:-}"
else
    check "$@"
fi
