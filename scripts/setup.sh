#!/usr/bin/env bash
# Puts what the build needs into .tools: a Python environment (with cmake) and libtorch. Run by every make target.
# A second run finds everything in place, downloads nothing and says nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "setup: $*" >&2
    exit 1
}

# The first python3 whose version has wheels of everything pinned.
find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13; do
        if command -v "$name" > /dev/null &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null; then
            echo "$name"
            return
        fi
    done
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "libtorch's wheel is for x86-64 Linux, this is $(uname -s)-$(uname -m)"

missing=()
command -v cargo > /dev/null || missing+=("a Rust toolchain (https://rustup.rs)")
command -v c++ > /dev/null || missing+=("build-essential")
python=$(find_python)
if [ -z "$python" ]; then
    missing+=("Python 3.11 to 3.13")
elif ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    missing+=("python3-venv")
fi
if [ ${#missing[@]} -gt 0 ]; then
    printf -v list '%s, ' "${missing[@]}"
    fail "please install: ${list%, }"
fi

# The toolchain's version is the one cargo would refuse later, after the download.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
have=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] ||
    fail "Rust $wanted or later is needed, this is $have (rustup update)"

mkdir -p .tools
# One setup at a time: two that write the same folder spoil it.
exec 9> .tools/.lock
flock 9

venv=.tools/venv
pins=$(sha256sum < scripts/requirements.txt | cut -d' ' -f1)
# In a tree that was moved the environment's programs name an interpreter that is gone: cmake tells.
works() { $venv/bin/cmake --version > /dev/null 2>&1; }
if [ "$(cat $venv/.pins 2> /dev/null)" != "$pins" ] || ! works; then
    echo "setup: Python environment in $venv (95 MB from PyPI)"
    works || "$python" -m venv --clear $venv
    $venv/bin/python -m pip --disable-pip-version-check install -q --no-compile --only-binary :all: \
        --require-hashes --requirement scripts/requirements.txt
    echo "$pins" > $venv/.pins
fi
scripts/get_libtorch.sh .tools/libtorch $venv/bin/python
