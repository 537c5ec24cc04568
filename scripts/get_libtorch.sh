#!/usr/bin/env bash
# get_libtorch.sh DESTINATION [PYTHON]
#
# Makes the folder that LIBTORCH names out of three wheels from PyPI: 530 MB are downloaded, 500 MB stay. Of the PyTorch
# wheel only the CPU half and the headers are kept. Does nothing if the folder is already whole.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
destination=$(readlink -m "$1")
python=${2:-python3}
version=2.11.0+cpu

if [ -e "$destination/.complete" ] && [ "$(cat "$destination/build-version")" = "$version" ]; then
    exit 0
fi
echo "setup: libtorch $version from PyPI (530 MB)"
rm -rf "$destination"
mkdir -p "$destination/lib"
wheels=$(mktemp -d "$destination/wheels.XXXXXX")
trap 'rm -rf "$wheels"' EXIT

# The wheel is unpacked, never imported, so the Python version named here need not be the one that runs.
"$python" -m pip --disable-pip-version-check download -q --no-cache-dir --no-deps --only-binary :all: \
    --implementation cp --python-version 3.11 --abi cp311 --abi none \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --require-hashes --requirement "$here/libtorch.txt" --dest "$wheels"

"$python" - "$wheels" "$destination" <<'PYTHON'
import pathlib, shutil, sys, zipfile

wheels, destination = map(pathlib.Path, sys.argv[1:])
libraries = {
    "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1",
    "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13",
}
for wheel in wheels.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name in libraries:
                target = destination / "lib" / pathlib.PurePath(name).name
                libraries.discard(name)
            elif name.startswith("torch/include/") and not name.endswith("/"):
                target = destination / "include" / name.removeprefix("torch/include/")
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
if libraries:
    sys.exit(f"the wheels lack {', '.join(sorted(libraries))}")
PYTHON

# torch-sys links -ltorch. The wheel's libtorch.so draws in the CUDA half; this linker script does not.
printf '/* GNU ld script */\nINPUT(libtorch_cpu.so)\n' > "$destination/lib/libtorch.so"
echo "$version" > "$destination/build-version"
touch "$destination/.complete"
