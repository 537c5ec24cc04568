"""Whether overread computes what PyTorch with torchvision, timm, MONAI and transformers computes on the same DICOM files.

    python models/parity.py --overread target/release/overread        full size, random seeded weights
    python models/parity.py --overread ... --tiny                     the tiny packages
    python models/parity.py --overread ... --series FOLDER --package chest-ct-clip --device cuda --precision float16

Copies the packages to --work, exports their modules there, lets both sides read the same files in processes of their own, and prints
a table of differences, times and memory. On the CPU in float32; where PyTorch sees CUDA, there too, in float32, float16 and bfloat16.
Exit code 1 where a difference is too large or a side fails.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parity_objects import as_written, generated_text, least_dice, map_difference, slice_positions
from reference.images import is_lossy
from reference.synthetic import radiograph

MODELS = Path(__file__).resolve().parent
PACKAGES = ("chest-ct-r3d18", "chest-ct-2p5d", "chest-ct-2p5d-mean", "chest-ct-2p5d-3d", "chest-ct-clip", "chest-ct-swin", "cxr-vit")
PRECISIONS = ("float32", "float16", "bfloat16")
# Largest relative difference of logits, embeddings and maps, and least Dice, in single precision.
SINGLE = (1e-3, 0.999)
# The same where decoders may differ by a grey level.
LOSSY = (2e-2, 0.98)
# Every how many slices one is scored by itself at full size, where each is as much work as the series.
STRIDE = 16
# Where radiographs lie beside the project.
RADIOGRAPHS = MODELS.parent.parent / "shared" / "data" / "cxr"
TEXT = "report (generated, unverified)"


@dataclass(frozen=True)
class Setting:
    """Where both sides compute, and in what overread does; the reference computes in float32."""

    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"


def plan(has_cuda: bool, device: str | None, precision: str | None) -> list[Setting]:
    """What is compared: all that this machine can, or of that what was asked for. What is asked for and is not there is tried, and fails."""
    everything = [Setting("cpu", "float32"), *(Setting("cuda", precision) for precision in PRECISIONS if has_cuda)]
    chosen = [setting for setting in everything if device in (None, setting.device) and precision in (None, setting.precision)]
    return chosen or [Setting(device or "cpu", precision or "float32")]


def tolerance(setting: Setting, manifest: dict, lossy: bool) -> tuple[float, float]:
    """Largest relative difference, least Dice: in half precision what the manifest gives its golden case."""
    largest, least = SINGLE
    if setting.precision != "float32":
        largest = float(manifest.get("golden", {}).get("half_tolerance", 0.05))
        least = 1 - largest
    return (max(largest, LOSSY[0]), min(least, LOSSY[1])) if lossy else (largest, least)


@dataclass
class Run:
    """A process that has ended."""

    code: int
    seconds: float
    peak_mb: float
    said: str


@dataclass
class Compared:
    """One package on one input."""

    package: str
    source: str
    setting: Setting
    logits: float = math.nan
    embeddings: float = math.nan
    dice: float = math.nan
    heat: float = math.nan
    text: str = ""
    ours: Run | None = None
    theirs: Run | None = None
    faults: list[str] = field(default_factory=list)


def run(command: list[str], folder: Path, log: Path, environment: dict[str, str] | None = None) -> Run:
    """Runs to the end, with more in its environment; its own peak of memory and no other process's."""
    started = time.perf_counter()
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=file, text=True, env=os.environ | (environment or {}))
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(process.returncode, time.perf_counter() - started, usage.ru_maxrss / 1024, said)


def prepare(work: Path, packages: list[str], tiny: bool, precision: str | None, python: str) -> Path:
    """A copy of models/ with exported weights. Weights that are there already are used again where the package has not changed."""
    copy = work / "models"
    kept = {}
    for name in PACKAGES:
        digest, folder = source_digest(name), copy / name
        if (folder / "exported").exists() and (folder / "exported").read_text() == digest:
            kept[name] = (folder / "model.toml").read_text()
    shutil.copytree(MODELS, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, manifest in kept.items():
        (copy / name / "model.toml").write_text(manifest)
    for name in packages:
        folder = copy / name
        if not tiny and name not in kept:
            print(f"{name}: exporting random weights", file=sys.stderr)
            done = subprocess.run([python, "-W", "ignore", "export.py", "--untrained", "--seed", "0"], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: export.py failed\n{done.stderr[-2000:]}")
            (folder / "exported").write_text(source_digest(name))
        write(folder / "tiny" if tiny else folder, precision or "float32")
    return copy


def write(folder: Path, precision: str, stride: int = 1) -> None:
    """Has a package compute in `precision` (its CPU knows no float16), and every `stride`-th slice be scored."""
    manifest = folder / "model.toml"
    words = f'{{ cpu = "{"float32" if precision == "float16" else precision}", cuda = "{precision}" }}'
    text = re.sub(r"(?m)^precision = .*", f"precision = {words}", manifest.read_text())
    manifest.write_text(re.sub(r"(?m)^stride = \d+", f"stride = {stride}", text))


def source_digest(name: str) -> str:
    """Of everything that weights and manifest are made from."""
    files = [MODELS / "torchscript.py", MODELS / name / "model.toml", *(MODELS / name).glob("*.py"), *(MODELS / "chest-ct-2p5d").glob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Length of the difference by length of the expected; a value of another shape is as far as can be."""
    if ours.shape != theirs.shape:
        return math.inf
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / max(float(np.linalg.norm(theirs.astype(np.float64))), 1e-12))


def logit(probability: float) -> float:
    """Back from a probability; what a probability cannot tell apart is cut off."""
    probability = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(probability / (1 - probability))


def compare_findings(row: dict, expected: dict[str, float]) -> float:
    """The largest difference of a logit, relative to it where it is larger than 1."""
    worst = 0.0
    for label, probability in expected.items():
        found = row.get(label, row.get("probability_of_pathology") if label == "Pathology" else None)
        if found is None:
            return math.inf
        theirs = logit(probability)
        worst = max(worst, abs(logit(float(found)) - theirs) / max(1.0, abs(theirs)))
    return worst


def compare_slices(rows: list[dict], expected: list[float]) -> float:
    """As `compare_findings`, for one finding slice by slice."""
    if len(rows) != len(expected):
        return math.inf
    ordered = sorted(rows, key=lambda row: row["slice"])
    return max(abs(logit(float(row["probability"])) - logit(score)) / max(1.0, abs(logit(score))) for row, score in zip(ordered, expected))


def compare_embeddings(folder: Path, expected: dict[str, np.ndarray]) -> float:
    """The largest relative difference of a kept vector."""
    from safetensors.numpy import load_file

    files = list(folder.rglob("*.safetensors"))
    if len(files) != 1:
        return math.inf
    kept = load_file(files[0])
    return max(relative(kept[name], value) if name in kept else math.inf for name, value in expected.items())


def compare(name: str, source: Path, setting: Setting, given: argparse.Namespace, models: Path) -> Compared:
    """Both sides on one input."""
    out = (given.work / "out" / name / source.stem / str(setting).replace(" ", "-")).resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    folder = models / name / ("tiny" if given.tiny else "")
    write(folder, setting.precision, 1 if given.tiny else STRIDE)
    manifest = tomllib.loads((folder / "model.toml").read_text())
    gate = ["--model", manifest["accepts"]["gate"]] if "gate" in manifest["accepts"] else []
    result = Compared(name, source.name, setting)
    per_slice = ["--per-slice"] if "per_slice" in manifest["input"] else []
    # The binary of the project has the CPU's half of libtorch; that of the interpreter has both.
    libraries = {"LD_LIBRARY_PATH": given.libtorch} if setting.device != "cpu" else None
    result.ours = run([str(given.overread.resolve()), "read", "--allow-untrained", "--models", str(models.resolve()), "--model", f"{folder.resolve()}/", *gate, "--device", setting.device, "--out", str(out),
                       "--table", "table.jsonl", "--embeddings", str(out / "embeddings"), "--objects", *per_slice, str(source.resolve())], out, out / "overread.log", libraries)
    result.theirs = run([given.python, "-W", "ignore", "-m", "reference", str(folder.resolve()), str(source.resolve()), "--out", str(out / "reference.npz"), "--device", setting.device], models, out / "reference.log")
    for side, done, log in (("overread", result.ours, "overread.log"), ("reference", result.theirs, "reference.log")):
        if done.code:
            result.faults.append(f"{side} ended with {done.code}: {(out / log).read_text().strip().splitlines()[-1:]}")
    if not result.faults:
        judge(result, out, source, manifest)
    return result


def judge(result: Compared, out: Path, source: Path, manifest: dict) -> None:
    """Fills in the differences and the faults."""
    expected, arrays = json.loads(result.theirs.said), np.load(out / "reference.npz")
    rows = [json.loads(line) for line in (out / "table.jsonl").read_text().splitlines()]
    if len(rows) != 1 or rows[0].get("error"):
        result.faults.append(f"overread's table: {rows}")
        return
    result.logits = compare_findings(rows[0], expected["findings"])
    if "slice_scores" in expected:
        slices = [json.loads(line) for line in (out / "table.slices.jsonl").read_text().splitlines()]
        result.logits = max(result.logits, compare_slices(slices, expected["slice_scores"]))
    if expected.get("embeddings"):
        result.embeddings = compare_embeddings(out / "embeddings", {name: arrays[name] for name in expected["embeddings"]})
    objects, positions = out / "objects", slice_positions(source)
    if "label_map" in arrays:
        result.dice = least_dice(objects, arrays["label_map"], positions, [segment["label"] for segment in manifest["output"]["segmentation"]["segments"]])
    if "attention_map" in arrays:
        result.heat = map_difference(objects, arrays["attention_map"], positions)
    if "text" in expected:
        same = rows[0].get(TEXT) == expected["text"] and generated_text(objects) == as_written(expected["text"])
        result.text = "same" if same else "differs"
    lossy = is_lossy(source)
    result.source += " (lossy)" if lossy else ""
    result.faults += faults(result, *tolerance(result.setting, manifest, lossy))


def faults(result: Compared, largest: float, least: float) -> list[str]:
    """What is too far off, in words."""
    found = []
    for what, value in (("logits", result.logits), ("embeddings", result.embeddings), ("the map's values", result.heat)):
        if value > largest:
            found.append(f"{what} differ by {value:.2e}, {largest:.0e} may")
    if result.dice < least:
        found.append(f"Dice {result.dice:.5f}, at least {least}")
    # In half precision another token may be the likeliest where two are nearly as likely: shown, not judged.
    if result.text == "differs" and result.setting.precision == "float32":
        found.append("the text differs")
    return found


def lines(results: list[Compared]) -> list[str]:
    """The table."""
    number = lambda value, style: "" if math.isnan(value) else format(value, style)  # noqa: E731
    head = ["package", "input", "on", "logits", "embeddings", "Dice", "map", "text", "overread s", "Python s", "overread MB", "Python MB", "", ""]
    body = [[result.package, result.source, str(result.setting), number(result.logits, ".1e"), number(result.embeddings, ".1e"), number(result.dice, ".5f"), number(result.heat, ".1e"), result.text,
             f"{result.ours.seconds:.1f}", f"{result.theirs.seconds:.1f}", f"{result.ours.peak_mb:.0f}", f"{result.theirs.peak_mb:.0f}",
             "FAILED" if result.faults else "ok", "; ".join(result.faults)] for result in results]
    widths = [max(len(row[at]) for row in [head, *body]) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *body]]


def libtorch_of(python: str) -> tuple[bool, str]:
    """Whether the PyTorch of an interpreter sees CUDA, and the folder of its libraries."""
    asked = "import os, torch; print(torch.cuda.is_available()); print(os.path.join(os.path.dirname(torch.__file__), 'lib'))"
    sees, folder = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.split()
    return sees == "True", folder


def sources_of(name: str, given: argparse.Namespace) -> list[Path]:
    """What a package is given: the series, or all radiographs."""
    if name != "cxr-vit":
        return [given.series]
    folder = given.radiographs or RADIOGRAPHS
    return sorted(folder.glob("*.dcm")) or [radiograph(given.work / "radiograph")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overread", type=Path, required=True)
    parser.add_argument("--package", action="append", choices=PACKAGES)
    parser.add_argument("--series", type=Path, default=MODELS.parent / "demo" / "chest-ct")
    parser.add_argument("--radiographs", type=Path, help="folder of .dcm files, for cxr-vit; else ../shared/data/cxr where it is there, else a synthetic one")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--device", help="cpu, or cuda where PyTorch sees it; without it both")
    parser.add_argument("--precision", choices=PRECISIONS, help="of overread; without it all that are compared on the device")
    parser.add_argument("--work", type=Path, default=Path("out/parity"))
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    has_cuda, given.libtorch = libtorch_of(given.python)
    packages = given.package or list(PACKAGES)
    models = prepare(given.work, packages, given.tiny, None, given.python)
    results = []
    for setting in plan(has_cuda, given.device, given.precision):
        for name in packages:
            for source in sources_of(name, given):
                results.append(compare(name, source, setting, given, models))
                print(lines(results[-1:])[1], file=sys.stderr, flush=True)
    print("\n".join(lines(results)))
    raise SystemExit(any(result.faults for result in results))


if __name__ == "__main__":
    main()
