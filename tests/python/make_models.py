"""Makes tests/fixtures/models: small TorchScript packages that behave, and misbehave, in one way each.

Run with a Python that has PyTorch 2.11 and NumPy: python tests/python/make_models.py
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "models"

TOP = """\
# Made by tests/python/make_models.py.
name = "{name}"
version = "1.0.0"
title = "{title}"
manufacturer = "overread tests"
intended_use = "Tests."
origin = "untrained"
licence = "MIT OR Apache-2.0"
family = "123105, DCM, Histogram Analysis"
sha256 = "{sha256}"

[accepts]
largest_missing_share = 0.1
modality = ["CT"]

[input]
kind = "volume"
axes = "SPL"
layout = "{layout}"
dtype = "{dtype}"
arguments = {arguments}

[inference]
time_limit_seconds = {limit}
memory_mb = 100
{window}
[output.segmentation]
tensor = "mask"
encoding = "{encoding}"

[[output.segmentation.segments]]
label = "Dense"
category = "123037004, SCT, Anatomical Structure"
type = "39607008, SCT, Lung"
colour = "#4CAF50"

[[output.segmentation.segments]]
label = "Very dense"
category = "123037004, SCT, Anatomical Structure"
type = "39607008, SCT, Lung"
colour = "#2196F3"
"""

NUMBERS = """
[output.measurement]
tensor = "metrics"

[[output.measurement.groups]]
label = "Dense"
segments = [1]
finding = "39607008, SCT, Lung"

[[output.measurement.groups]]
label = "Very dense"
segments = [2]
finding = "39607008, SCT, Lung"

[[output.measurement.columns]]
label = "Volume"
concept = "118565006, SCT, Volume"
unit = "mm3, UCUM, cubic millimeter"
nan = "refuse"

[[output.measurement.columns]]
label = "Mean"
concept = "112031, DCM, Attenuation Coefficient"
derivation = "373098007, SCT, Mean"
unit = "[hnsf'U], UCUM, Hounsfield unit"

[output.verdict]
tensor = "verdict"

[[output.verdict.reasons]]
code = "nothing-dense"
reason = "Nothing in the series is dense."
"""

GOLDEN = '\n[golden]\ncase = "golden/case.npz"\n'

# What `good` does; each of the others changes one thing.
GOOD = """
def forward(self, voxels, spacing):
    # type: (Tensor, Tensor) -> Dict[str, Tensor]
    mask = (voxels > 0).to(torch.uint8) + (voxels > 1000).to(torch.uint8)
    voxel = spacing.to(torch.float64).prod()
    rows = []
    for label in range(1, 3):
        part = voxels[mask == label].to(torch.float64)
        rows.append(torch.stack([part.numel() * voxel, part.mean()]))
    metrics = torch.stack(rows)
    verdict = torch.tensor(0 if bool((mask > 0).any()) else 1, device=voxels.device)
    {change}
    return {{"mask": mask, "metrics": metrics, "verdict": verdict}}
"""

CHANGES = {
    "good": "",
    "raises": 'raise RuntimeError("the model does not want to")',
    "wrong-shape": "mask = mask[:, :, 1:]",
    "wrong-dtype": "mask = mask.to(torch.int32)",
    "nan": 'metrics[0, 0] = float("nan")',
    "label-too-large": "mask = mask + 5",
    "verdict-unknown": "verdict = verdict + 7",
    "missing-key": 'return {"mask": mask, "verdict": verdict}',
    "extra-key": 'return {"mask": mask, "metrics": metrics, "verdict": verdict, "surprise": mask}',
    # As many rounds as the largest value says, some microseconds each.
    "hangs": "rounds = int(voxels.max()) * 10000\n    while rounds > 0:\n        verdict = verdict * 1\n        rounds -= 1",
    # Until the file `may-end`, of two bytes in the working directory, holds anything but zeros. What it reads depends on the
    # round, or the loop would be folded into one look.
    "waits": "rounds = 1\n"
    '    while int(torch.from_file("may-end", False, rounds % 2 + 1, dtype=torch.uint8).sum()) == 0:\n'
    "        rounds += 1",
    "never-ends": "while bool((voxels < 32767).all()):\n        verdict = verdict + 1",
    # An index far outside: the process gets SIGSEGV.
    "dies": "outside = torch.full([1, 1], 1 << 44, dtype=torch.int64)\n"
    "    spoiled = torch.ops.aten._sparse_coo_tensor_unsafe(outside, torch.ones([1]), [4]).to_dense()\n"
    "    mask = mask + spoiled.sum().to(torch.uint8)",
    # 64 MB for each unit of the largest value above 1500, kept until the last one is there.
    "grows": "kept = torch.jit.annotate(List[Tensor], [])\n"
    "    for step in range(int(voxels.max()) - 1500):\n"
    "        kept.append(torch.full([1 << 24], float(step), device=voxels.device))\n"
    "    for part in kept:\n"
    "        mask = mask + part[0].to(torch.uint8) * 0",
    "huge": "mask = mask + torch.zeros([1 << 52], device=voxels.device).sum().to(torch.uint8)",
}

LIMITS = {"hangs": "0.5", "never-ends": "0.5", "waits": "300"}


def write(name: str, module: torch.nn.Module, toml: str, golden: dict | None = None) -> None:
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.jit.save(module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module.eval()), buffer)
    (folder / "model.pt").write_bytes(buffer.getvalue())
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / "model.toml").write_text(toml.replace("{sha256}", sha256))
    if golden is not None:
        (folder / "golden").mkdir(exist_ok=True)
        np.savez_compressed(folder / "golden" / "case.npz", **golden)


def top(name: str, **changes: str) -> str:
    values = dict(
        name=name,
        title=name.replace("-", " "),
        sha256="{sha256}",
        layout="ZYX",
        dtype="int16",
        arguments='["voxels", "spacing"]',
        limit="60",
        window="",
        encoding="labels",
    )
    return TOP.format(**(values | changes))


def module_of(name: str, source: str) -> torch.nn.Module:
    # A class of its own for each: a class takes one forward.
    module = type(name.title().replace("-", ""), (torch.jit.ScriptModule,), {})()
    module.define(source)
    return module


class Scores(torch.nn.Module):
    """Scores of three channels from a window: its values against two thresholds, with a slope over the window so that blending matters."""

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        slope = torch.linspace(0.0, 1.0, window.shape[4], device=window.device)
        return torch.cat([window * 0 + 1, window - 0.5 + slope, 2 * window - 4 - slope], dim=1)


def main() -> None:
    rng = np.random.default_rng(7)
    voxels = rng.integers(-1000, 2000, (3, 4, 5)).astype(np.int16)
    spacing = np.array([2.0, 0.5, 0.25], np.float32)
    for name, change in CHANGES.items():
        source = GOOD.replace("{change}", change).replace("{{", "{").replace("}}", "}")
        module = module_of(name, source)
        golden = None
        toml = top(name, limit=LIMITS.get(name, "60")) + NUMBERS
        if name == "good":
            found = module(torch.from_numpy(voxels), torch.from_numpy(spacing))
            golden = {"voxels": voxels, "spacing": spacing} | {key: value.numpy() for key, value in found.items()}
            toml += GOLDEN
        write(name, module, toml, golden)
        if name == "good":
            other = golden | {"metrics": golden["metrics"] + [[0, 0], [0, 1.5]]}
            write("golden-differs", module, top("golden-differs") + NUMBERS + GOLDEN, other)
    window = "window = [4, 4, 4]\noverlap = 0.5\nbatch = 3\n"
    write(
        "windows",
        Scores(),
        top("windows", layout="NCZYX", dtype="float32", arguments='["voxels"]', window=window, encoding="scores"),
    )
    truncated = HERE / "truncated"
    truncated.mkdir(exist_ok=True)
    data = (HERE / "good" / "model.pt").read_bytes()
    data = data[: len(data) // 2]
    (truncated / "model.pt").write_bytes(data)
    toml = top("truncated") + NUMBERS
    (truncated / "model.toml").write_text(toml.replace("{sha256}", hashlib.sha256(data).hexdigest()))


if __name__ == "__main__":
    main()
