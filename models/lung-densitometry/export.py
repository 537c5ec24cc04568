"""Makes model.pt and golden/phantom.npz from model.py and writes the SHA-256 of model.pt into model.toml.

    python export.py            needs torch 2.11 and numpy; the same versions give the same bytes
    python export.py --check    makes nothing, fails if what lies here is not what model.py gives
"""

import argparse
import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from golden_case import golden_volume  # noqa: E402
from model import LungDensitometry  # noqa: E402


def scripted() -> bytes:
    """The compiled module as a TorchScript archive. Debug records (source lines and paths of the machine that exported) are left out."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(LungDensitometry().eval()), buffer)
    return without_debug_records(buffer.getvalue())


def without_debug_records(archive: bytes) -> bytes:
    """The archive with the same entries in the same order, fixed dates, and no `.debug_pkl`; its entries stay stored and aligned to 64 bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                padding = -(target.fp.tell() + 30 + len(name) + 4) % 64
                entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
                target.writestr(entry, source.read(name))
    return out.getvalue()


def golden(archive: bytes) -> bytes:
    """The golden case as .npz: the arguments and the output tensors by their names."""
    module = torch.jit.load(io.BytesIO(archive))
    voxels, spacing = golden_volume()
    with torch.no_grad():
        result = module(torch.from_numpy(voxels), torch.from_numpy(spacing))
    if int(result["verdict"]) != 0:
        raise SystemExit("the golden case was not read")
    arrays = {"voxels": voxels, "spacing": spacing} | {name: tensor.numpy() for name, tensor in result.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            target.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), data.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what lies here instead of writing")
    check = parser.parse_args().check
    archive = scripted()
    text = (HERE / "model.toml").read_text()
    files = {
        HERE / "model.pt": archive,
        HERE / "golden" / "phantom.npz": golden(archive),
        HERE / "model.toml": re.sub(r'(?m)^sha256 = "[0-9a-f]{64}"', f'sha256 = "{hashlib.sha256(archive).hexdigest()}"', text).encode(),
    }
    for path, content in files.items():
        if check and (not path.exists() or path.read_bytes() != content):
            raise SystemExit(f"{path.name} is not what model.py gives: run export.py")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            print(f"{path.relative_to(HERE)}: {len(content)} bytes")


if __name__ == "__main__":
    main()
