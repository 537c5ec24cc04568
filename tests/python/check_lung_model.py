"""Checks the model package lung-densitometry where PyTorch is: phantoms with known truth, the SciPy peer, eager against compiled, odd input.

    check_lung_model.py [--series FOLDER]… [--not-read FOLDER]… [--phantoms NAME…] [--no-scipy]

Needs torch 2.11, NumPy, SciPy, and pydicom for series. `--series` must be measured and agree with SciPy, whole and with every second slice;
`--not-read` must end with a verdict. Exits with 1 at the end if anything was wrong.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "models" / "lung-densitometry"
sys.path[:0] = [str(HERE), str(PACKAGE)]

import lung_phantoms  # noqa: E402
import scipy_densitometry as peer  # noqa: E402
from golden_case import golden_volume  # noqa: E402
from model import LungDensitometry  # noqa: E402

COMPILED = torch.jit.load(str(PACKAGE / "model.pt"))
wrong = []


def run(module, voxels, spacing):
    with torch.no_grad():
        result = module(torch.from_numpy(np.ascontiguousarray(voxels)), torch.tensor(np.asarray(spacing, np.float32)))
    return {name: tensor.numpy() for name, tensor in result.items()}


def expect(name, condition, what):
    if not condition:
        wrong.append(f"{name}: {what}")
    return "ok" if condition else "WRONG"


def against_scipy(name, voxels, spacing, result):
    metrics = {row: [None if np.isnan(v) else float(v) for v in values] for row, values in zip(peer.NAMES, result["metrics"])}
    ours = peer.densitometry(voxels, spacing)
    report, outside = peer.compare(ours, result["mask"], metrics)
    dice = [report[side]["dice"] for side in ("right", "left")]
    print(f"  {name}: against SciPy Dice {dice}", expect(name, not outside, outside), flush=True)
    return ours


def phantom(name, with_scipy):
    voxels, spacing, truth, never, verdict = lung_phantoms.case(name)
    result = run(COMPILED, voxels, spacing)
    expect(name, not (result["mask"].astype(bool) & never.astype(bool)).any(), "lung where there can be none")
    expect(name, int(result["verdict"]) == verdict, f"verdict {int(result['verdict'])}, not {verdict}")
    print(f"{name}: verdict {int(result['verdict'])}", flush=True)
    if verdict != 0:
        expect(name, not result["mask"].any() and np.isnan(result["metrics"]).all(), "numbers in spite of the verdict")
        return
    results = {"model": result["mask"]}
    if with_scipy:
        results["SciPy"] = against_scipy(name, voxels, spacing, result)["mask"]
    for who, mask in results.items():
        for row, side in enumerate(("right", "left")):
            a, b = mask == row + 1, truth == row + 1
            dice = 2 * (a & b).sum() / (a.sum() + b.sum()) if b.any() or a.any() else 1.0
            volume = abs(int(a.sum()) - int(b.sum())) <= 0.02 * b.sum()
            perc15 = not b.any() or abs(np.percentile(voxels[a], 15) - np.percentile(voxels[b], 15)) <= 2
            print(f"  {who}, {side}: Dice to truth {dice:.4f}", expect(name, dice >= 0.98 and volume and perc15, f"{who}, {side}: Dice {dice:.4f}"))


def series(folder, with_scipy):
    voxels, spacing, _, _ = peer.read_series(folder)
    for step in (1, 2):
        name = f"{folder.name}, every {step}"
        taken, distances = voxels[::step], [spacing[0] * step, *spacing[1:]]
        result = run(COMPILED, taken, distances)
        print(f"{name}: verdict {int(result['verdict'])}", expect(name, int(result["verdict"]) == 0, "not measured"))
        if with_scipy:
            against_scipy(name, taken, distances, result)
    mirrored = run(COMPILED, voxels[:, :, ::-1], spacing)
    straight = run(COMPILED, voxels, spacing)["metrics"]
    print("  mirrored:", expect(folder.name, np.allclose(mirrored["metrics"][:2, 0], straight[1::-1, 0], rtol=0.01), "sides do not follow the mirror"))


def same_everywhere():
    voxels, spacing = golden_volume()
    eager, once, again = (run(module, voxels, spacing) for module in (LungDensitometry(), COMPILED, COMPILED))
    for name in once:
        for other in (eager, again):
            expect("golden", np.array_equal(once[name], other[name], equal_nan=True), f"{name} differs between eager, compiled and repeated runs")
    print("eager, compiled and repeated: compared")


def odd_input():
    random = np.random.default_rng(0)
    for shape in ((1, 1, 1), (1, 512, 512), (2, 3, 5), (3, 1, 700), (40, 17, 33)):
        result = run(COMPILED, random.integers(-1024, 500, shape).astype(np.int16), [2.5, 0.7, 0.7])
        expect(f"noise {shape}", int(result["verdict"]) == 1 and result["mask"].shape == shape, "was read")
    for value in (-32768, -1024, -850, 0, 32767):
        result = run(COMPILED, np.full((30, 64, 64), value, np.int16), [2.5, 5.0, 5.0])
        expect(f"constant {value}", int(result["verdict"]) == 1, "was read")
    print("odd input: done")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, action="append", default=[])
    parser.add_argument("--not-read", type=Path, action="append", default=[])
    parser.add_argument("--phantoms", nargs="*", default=lung_phantoms.READ + lung_phantoms.NOT_READ)
    parser.add_argument("--no-scipy", action="store_true")
    arguments = parser.parse_args()
    same_everywhere()
    odd_input()
    for folder in arguments.not_read:
        voxels, spacing, _, _ = peer.read_series(folder)
        verdict = int(run(COMPILED, voxels, spacing)["verdict"])
        print(f"{folder.name}: verdict {verdict}", expect(folder.name, verdict != 0, "was measured"))
    for folder in arguments.series:
        series(folder, not arguments.no_scipy)
    for name in arguments.phantoms:
        phantom(name, not arguments.no_scipy)
    print("\n".join(wrong) or "all as expected")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
