"""What every export.py does with a finished module: compile it, leave out what names the machine, prove it, describe it.

TorchScript archives hold debug records with source paths of the machine that made them; they are dropped here. The same
seed gives the same bytes with the same versions of PyTorch, because everything runs on one thread.
"""

import argparse
import hashlib
import io
import json
import re
import tomllib
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

# TorchScript is what libtorch loads from Rust; that PyTorch moves on to other formats is known.
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)

DAY_ONE = (1980, 1, 1, 0, 0, 0)
# Bytes of all arrays of a golden case together: more is not read.
LARGEST_CASE = 256 << 20


def arguments(doc: str, **files: str) -> argparse.Namespace:
    """The command line that all exporters share. `files`: further options that name a file, and what they are for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--weights", type=Path, nargs="+", metavar="FILE", help="PyTorch weights (.pt, .pth, .bin, .safetensors)")
    what.add_argument("--untrained", action="store_true", help="random weights at full size")
    what.add_argument("--tiny", action="store_true", help="the package in tiny/: random weights, a few hundred kB, with golden case")
    parser.add_argument("--seed", type=int, default=0, help="of random weights")
    for name, purpose in files.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=purpose)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    if given.tiny:
        # One thread adds in one order: the same bytes wherever it is run.
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
    return given


def state_dict(paths: list[Path]) -> dict[str, torch.Tensor]:
    """The tensors of one or several weight files by their names; training wrappers (`state_dict`, `model`, `module.`) are taken off."""
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "model_state_dict", "model", "teacher"):
            if isinstance(found.get(wrapper), dict):
                found = found[wrapper]
        tensors |= {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in found.items() if torch.is_tensor(value)}
    return tensors


def load(module: nn.Module, tensors: dict[str, torch.Tensor], unused: str = "") -> None:
    """Copies tensors into a module. Every parameter must be there in its shape; what is left over must match the pattern `unused`."""
    own = module.state_dict()
    shapes = [f"{name} {list(tensors[name].shape)}, not {list(own[name].shape)}" for name in own if name in tensors and tensors[name].shape != own[name].shape]
    if shapes:
        raise SystemExit(f"these weights are of a network of another size\n  {'; '.join(shapes[:8])}")
    missing, left = module.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    left = [name for name in left if not (unused and re.match(unused, name))]
    if missing or left:
        raise SystemExit(f"these weights are of another network\n  missing: {missing[:8]}\n  not known: {left[:8]}")


def one_channel(tensors: dict[str, torch.Tensor], name: str, channels: int) -> None:
    """Turns the first convolution of a network for colour into one for `channels` grey planes: the sum over colour answers a grey
    image as before; spread over several planes it is divided among them."""
    weight = tensors.get(name)
    if weight is not None and weight.shape[1] == 3 and channels != 3:
        grey = weight.sum(dim=1, keepdim=True) / channels
        tensors[name] = grey.repeat(1, channels, *[1] * (weight.dim() - 2))


def thinned(module: nn.Module, factor: int) -> nn.Module:
    """The same network with every layer's channels divided by `factor`, for tests. Inputs of one to five channels stay."""

    def thin(channels: int) -> int:
        return channels if channels <= 5 else max(channels // factor, 2)

    for name, child in module.named_children():
        if isinstance(child, (nn.Conv2d, nn.Conv3d)):
            kind = nn.Conv3d if isinstance(child, nn.Conv3d) else nn.Conv2d
            new = kind(thin(child.in_channels), thin(child.out_channels), child.kernel_size, child.stride, child.padding, bias=child.bias is not None)
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(child, (nn.BatchNorm2d, nn.BatchNorm3d)):
            new = type(child)(thin(child.num_features))
        elif isinstance(child, nn.Linear):
            new = nn.Linear(thin(child.in_features), child.out_features)
        else:
            new = thinned(child, factor)
        setattr(module, name, new)
    return module


@torch.no_grad()
def calibrated(module: nn.Module, examples: torch.Tensor) -> nn.Module:
    """Gives batch normalisation the statistics of `examples`, so that a network of random weights tells inputs apart."""
    norms = [part for part in module.modules() if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm3d))]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    module.train()
    module(examples)
    for norm in norms:
        norm.momentum = 0.1
    return module.eval()


def traced(module: nn.Module, *examples: torch.Tensor) -> torch.jit.ScriptModule:
    """The compiled module: no gradients, as it computes in evaluation."""
    module = module.eval().requires_grad_(False)
    with torch.no_grad():
        return torch.jit.trace(module, examples, check_trace=False)


def archive(module: torch.jit.ScriptModule) -> bytes:
    """The bytes of a .pt file: fixed dates, no debug records, tensors stored and aligned to 64 bytes."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    out = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            # The serialization id is a hash over the debug records too: it would change with the folder.
            if name.endswith((".debug_pkl", ".data/serialization_id")):
                continue
            entry = zipfile.ZipInfo(name, DAY_ONE)
            entry.compress_type = source.getinfo(name).compress_type
            padding = -(target.fp.tell() + 30 + len(name) + 4) % 64
            entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            target.writestr(entry, source.read(name), compresslevel=9)
    return out.getvalue()


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """Floats as multiples of 2**-bits: they pack well, and lie within a golden case's tolerance."""
    return (np.rint(array.astype(np.float64) * 2**bits) / 2**bits).astype(array.dtype)


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """A .npz with fixed dates."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, np.ascontiguousarray(array))
            target.writestr(zipfile.ZipInfo(f"{name}.npy", DAY_ONE), data.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def phantom(*shape: int, block: int = 1) -> torch.Tensor:
    """Smooth values between 0 and 1 on a grid, multiples of 1/256, drawn from formulas: what golden cases are computed on. With blocks of equal
    values along every axis a large one packs well."""
    if block > 1:
        values = phantom(*[-(-n // block) for n in shape])
        for axis, n in enumerate(shape):
            values = values.repeat_interleave(block, dim=axis).narrow(axis, 0, n)
        return values.contiguous()
    grids = torch.meshgrid(*[torch.linspace(0, 1, n, dtype=torch.float64) for n in shape], indexing="ij")
    wave = sum(torch.cos((3 + 2 * axis) * grid * (1 + grids[0])) for axis, grid in enumerate(grids)) / len(grids)
    return (torch.round((wave + 1) * 128) / 256).clamp(0, 1).float()


def with_hashes(manifest: str, files: dict[str, bytes]) -> str:
    """The manifest with the SHA-256 of each file in the line after the one that names it."""
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        pattern = rf'(?m)^((?:weights|tokenizer) = "{re.escape(name)}".*\n(?:tokenizer_)?sha256 = )"[0-9a-f]{{64}}"'
        manifest, count = re.subn(pattern, rf'\g<1>"{digest}"', manifest)
        if count != 1:
            raise SystemExit(f"model.toml does not name {name} once, with sha256 in the next line")
    return manifest


def changed(manifest: str, changes: dict[str, str]) -> str:
    """The manifest with each text replaced; a text that does not occur exactly once has been changed in the manifest and not here."""
    for old, new in changes.items():
        if manifest.count(old) != 1:
            raise SystemExit(f"model.toml holds {manifest.count(old)} times: {old}")
        manifest = manifest.replace(old, new)
    return manifest


def with_case(manifest: str, case: str | None) -> str:
    """The manifest with this golden case, or none. Tolerances that it names already stay."""
    golden = tomllib.loads(manifest).get("golden", {})
    manifest = re.sub(r"(?m)\n?^\[golden\].*\n(?:(?!\[).*\n?)*", "", manifest)
    if case is None:
        return manifest
    tolerances = {"float_tolerance": 1e-3} | {key: value for key, value in golden.items() if key != "case"}
    return manifest.rstrip("\n") + f'\n\n[golden]\ncase = "{case}"\n' + "".join(f"{key} = {toml_float(value)}\n" for key, value in tolerances.items())


def toml_float(value: float) -> str:
    """A share as people write it: 1e-3."""
    return re.sub(r"e-0*", "e-", f"{value:.0e}") if 0 < value < 0.01 and float(f"{value:.0e}") == value else repr(float(value))


def outputs(manifest: str) -> set[str]:
    """The tensors that the manifest's outputs read."""
    kinds = tomllib.loads(manifest)["output"].values()
    return {output["tensor"] for kind in kinds for output in (kind if isinstance(kind, list) else [kind])}


def write_case(folder: Path, manifest: str, golden: dict[str, np.ndarray]) -> str:
    """Writes golden/export.npz with `voxels` and what the manifest's outputs read, and gives the manifest that names it. Without arrays, or where
    they are too many, there is none."""
    path = folder / "golden" / "export.npz"
    path.unlink(missing_ok=True)
    wanted = outputs(manifest) | {"voxels"}
    golden = {name: array for name, array in golden.items() if name in wanted}
    size = sum(array.nbytes for array in golden.values())
    if size > LARGEST_CASE:
        print(f"no golden case: its arrays have {size >> 20} MiB, {LARGEST_CASE >> 20} are read")
    if not golden or size > LARGEST_CASE:
        return with_case(manifest, None)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(npz(golden))
    print(f"golden/export.npz: {path.stat().st_size / 1e6:.1f} MB, for overread models check")
    return with_case(manifest, "golden/export.npz")


def write_full(folder: Path, files: dict[str, bytes], random: list[str], golden: dict[str, np.ndarray], manifest: str | None = None) -> None:
    """Writes the modules of the full-size package and puts origin and hashes into its model.toml. `random`: the modules that were given no
    weights. One of them is enough to make the package untrained: its answers mean nothing, and must not leave as if they did. A module that the
    manifest does not name, because its owner has taken it out, is left out. `golden`: voxels and what PyTorch gives for them, which is to come
    out of overread too. `manifest`: in the place of that in the folder."""
    manifest = manifest or (folder / "model.toml").read_text()
    files = {name: content for name, content in files.items() if re.search(rf'(?m)^(?:weights|tokenizer) = "{re.escape(name)}"', manifest)}
    random = [name for name in random if f"{name}.pt" in files]
    manifest, count = re.subn(r'(?m)^origin = "(?:trained|untrained)"', f'origin = "{"untrained" if random else "trained"}"', manifest)
    if count != 1:
        raise SystemExit(f"model.toml says its origin {count} times")
    manifest = with_hashes(manifest, files)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        print(f"{name}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")
    (folder / "model.toml").write_text(write_case(folder, manifest, golden))
    print(f"the package stays untrained, random weights in: {', '.join(random)}" if random else "the package is trained: every module has weights")


def write_tiny(folder: Path, files: dict[str, bytes], changes: dict[str, str], golden: dict[str, np.ndarray]) -> None:
    """Writes the package tiny/: modules, golden case and the full-size manifest with what differs. Existing golden/e2e.json stays: reference.py makes it."""
    tiny = folder / "tiny"
    (tiny / "golden").mkdir(parents=True, exist_ok=True)
    manifest = changed((folder / "model.toml").read_text(), changes)
    manifest = re.sub(r'(?m)^origin = "(trained|untrained)"', 'origin = "untrained"', manifest, count=1)
    manifest = re.sub(r"(?s)\A(#[^\n]*\n)+", "# Made by export.py --tiny from ../model.toml: the same package at a size for tests. Random weights: its answers mean nothing.\n", manifest)
    manifest = with_hashes(manifest, files)
    case = npz(golden)
    manifest = with_case(manifest, "golden/phantom.npz")
    for name, content in (files | {"golden/phantom.npz": case, "model.toml": manifest.encode()}).items():
        (tiny / name).write_bytes(content)
    print(json.dumps({name: len(content) for name, content in files.items()} | {"golden/phantom.npz": len(case)}))
