"""Whether overread computes what PyTorch with torchvision, timm, MONAI and transformers computes on the same DICOM files.

    python models/parity.py --overread target/release/overread --radiographs FOLDER        full size, random seeded weights
    python models/parity.py --overread ... --tiny                                          the tiny packages
    python models/parity.py --overread ... --series FOLDER --package chest-ct-clip --device cuda --precision float16

Copies the packages to --work, exports their modules there, lets both sides read the same files in processes of their own, and prints
a table of differences, times and memory. Exit code 1 where a difference is too large or a side fails.
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

from reference.images import is_lossy

MODELS = Path(__file__).resolve().parent
PACKAGES = ("chest-ct-r3d18", "chest-ct-2p5d", "chest-ct-2p5d-mean", "chest-ct-2p5d-3d", "chest-ct-clip", "chest-ct-swin", "cxr-vit")
# Largest relative difference of logits and embeddings, least Dice.
TOLERANCE = {"float32": (1e-3, 0.999), "bfloat16": (5e-2, 0.95), "float16": (1e-2, 0.99)}
# The same where decoders may differ by a grey level.
LOSSY = (2e-2, 0.98)


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
    logits: float = math.nan
    embeddings: float = math.nan
    dice: float = math.nan
    text: str = ""
    ours: Run | None = None
    theirs: Run | None = None
    faults: list[str] = field(default_factory=list)


def run(command: list[str], folder: Path, log: Path) -> Run:
    """Runs to the end; its own peak of memory and no other process's."""
    started = time.perf_counter()
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=file, text=True)
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
        manifest = (folder / "tiny" if tiny else folder) / "model.toml"
        words = "{ cpu = \"float32\", cuda = \"float32\" }" if precision in (None, "float32") else f'{{ cpu = "{"float32" if precision == "float16" else precision}", cuda = "{precision}" }}'
        manifest.write_text(re.sub(r"(?m)^precision = .*", f"precision = {words}", manifest.read_text()))
    return copy


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


def segments(path: Path, shape: tuple[int, ...], positions: np.ndarray) -> dict[str, np.ndarray]:
    """Segment label to a mask on the grid of the source, from a BINARY Segmentation, by the frames' positions."""
    import pydicom

    image = pydicom.dcmread(path)
    frames = image.pixel_array.reshape(-1, image.Rows, image.Columns)
    labels = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in image.SegmentSequence}
    masks: dict[str, np.ndarray] = {}
    for frame, about in zip(frames, image.PerFrameFunctionalGroupsSequence):
        number = int(about.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        # Of a radiograph there is one frame for each segment, without a position.
        at = np.array(about.PlanePositionSequence[0].ImagePositionPatient, float) if "PlanePositionSequence" in about else positions[0]
        slice_at = int(np.argmin(np.linalg.norm(positions - at, axis=1)))
        masks.setdefault(labels[number], np.zeros(shape, bool))[slice_at] = frame > 0
    return masks


def slice_positions(series: Path) -> np.ndarray:
    """Image Position (Patient) of all slices, in the order of the reference."""
    import pydicom

    if series.is_file():
        return np.zeros((1, 3))
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(series.iterdir()) if path.suffix not in (".md", ".txt")]
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    at = np.array([image.ImagePositionPatient for image in images], float)
    return at[np.argsort(at @ np.cross(row, column))]


def compare_segmentation(objects: Path, expected: np.ndarray, series: Path, labels: list[str]) -> float:
    """The least Dice of a label that either side has; `labels` are those of 1, 2 and so on."""
    import pydicom

    found = [path for path in objects.rglob("*.dcm") if pydicom.dcmread(path, stop_before_pixels=True).Modality == "SEG"]
    if not found:
        return 1.0 if expected.max() == 0 else 0.0
    masks = segments(found[0], expected.shape, slice_positions(series))
    least = 1.0
    for number, label in enumerate(labels, 1):
        ours, theirs = masks.get(label, np.zeros(expected.shape, bool)), expected == number
        total = int(ours.sum()) + int(theirs.sum())
        least = min(least, 2 * int((ours & theirs).sum()) / total) if total else least
    return least


def report_text(objects: Path) -> str:
    """All text values of the Structured Report, one after another."""
    import pydicom

    words: list[str] = []

    def collect(item: pydicom.Dataset) -> None:
        if item.get("ValueType") == "TEXT":
            words.append(str(item.TextValue))
        for child in item.get("ContentSequence", []):
            collect(child)

    for path in objects.rglob("*.dcm"):
        image = pydicom.dcmread(path, stop_before_pixels=True)
        if image.Modality == "SR":
            collect(image)
    return "\n".join(words)


def compare(name: str, source: Path, given: argparse.Namespace, models: Path) -> Compared:
    """Both sides on one input."""
    out = (given.work / "out" / name / source.stem).resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    folder = models / name / ("tiny" if given.tiny else "")
    manifest = tomllib.loads((folder / "model.toml").read_text())
    gate = ["--model", manifest["accepts"]["gate"]] if "gate" in manifest["accepts"] else []
    result = Compared(name, source.name)
    per_slice = ["--per-slice"] if name == "chest-ct-r3d18" and given.tiny else []
    result.ours = run([str(given.overread.resolve()), "read", "--allow-untrained", "--models", str(models.resolve()), "--model", f"{folder.resolve()}/", *gate, "--device", given.device, "--out", str(out),
                       "--table", "table.jsonl", "--embeddings", str(out / "embeddings"), "--objects", *per_slice, str(source.resolve())], out, out / "overread.log")
    result.theirs = run([given.python, "-W", "ignore", "-m", "reference", str(folder.resolve()), str(source.resolve()), "--out", str(out / "reference.npz"), "--device", given.device], models, out / "reference.log")
    for side, done, log in (("overread", result.ours, "overread.log"), ("reference", result.theirs, "reference.log")):
        if done.code:
            result.faults.append(f"{side} ended with {done.code}: {(out / log).read_text().strip().splitlines()[-1:]}")
    if not result.faults:
        judge(result, out, source, manifest, TOLERANCE[given.precision or "float32"])
    return result


def judge(result: Compared, out: Path, source: Path, manifest: dict, tolerance: tuple[float, float]) -> None:
    """Fills in the differences and the faults."""
    expected, arrays = json.loads(result.theirs.said), np.load(out / "reference.npz")
    rows = [json.loads(line) for line in (out / "table.jsonl").read_text().splitlines()]
    if len(rows) != 1 or rows[0].get("error"):
        result.faults.append(f"overread's table: {rows}")
        return
    result.logits = compare_findings(rows[0], expected["findings"])
    slices = out / "table.slices.jsonl"
    if "slice_scores" in expected and slices.exists():
        result.logits = max(result.logits, compare_slices([json.loads(line) for line in slices.read_text().splitlines()], expected["slice_scores"]))
    if expected.get("embeddings"):
        result.embeddings = compare_embeddings(out / "embeddings", {name: arrays[name] for name in expected["embeddings"]})
    if "label_map" in arrays:
        result.dice = compare_segmentation(out / "objects", arrays["label_map"], source, [segment["label"] for segment in manifest["output"]["segmentation"]["segments"]])
    if "text" in expected:
        result.text = "same" if expected["text"].strip() in report_text(out / "objects") else "differs"
    largest, least = tolerance
    if is_lossy(source):
        largest, least = max(largest, LOSSY[0]), min(least, LOSSY[1])
        result.source += " (lossy)"
    for what, value in (("logits", result.logits), ("embeddings", result.embeddings)):
        if value > largest:
            result.faults.append(f"{what} differ by {value:.2e}, {largest:.0e} may")
    if result.dice < least:
        result.faults.append(f"Dice {result.dice:.5f}, at least {least}")
    if result.text == "differs":
        result.faults.append("the text differs")


def lines(results: list[Compared]) -> list[str]:
    """The table."""
    number = lambda value, style: "" if math.isnan(value) else format(value, style)  # noqa: E731
    head = ["package", "input", "logits", "embeddings", "Dice", "text", "overread s", "Python s", "overread MB", "Python MB", "", ""]
    body = [[result.package, result.source, number(result.logits, ".1e"), number(result.embeddings, ".1e"), number(result.dice, ".5f"), result.text,
             f"{result.ours.seconds:.1f}", f"{result.theirs.seconds:.1f}", f"{result.ours.peak_mb:.0f}", f"{result.theirs.peak_mb:.0f}",
             "FAILED" if result.faults else "ok", "; ".join(result.faults)] for result in results]
    widths = [max(len(row[at]) for row in [head, *body]) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *body]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overread", type=Path, required=True)
    parser.add_argument("--package", action="append", choices=PACKAGES)
    parser.add_argument("--series", type=Path, default=MODELS.parent / "demo" / "chest-ct")
    parser.add_argument("--radiographs", type=Path, help="folder of .dcm files; without it cxr-vit is left out")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=TOLERANCE, help="of overread; the reference computes in float32")
    parser.add_argument("--work", type=Path, default=Path("out/parity"))
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    packages = given.package or [name for name in PACKAGES if name != "cxr-vit" or given.radiographs]
    models = prepare(given.work, packages, given.tiny, given.precision, given.python)
    results = []
    for name in packages:
        for source in sorted(given.radiographs.glob("*.dcm")) if name == "cxr-vit" else [given.series]:
            results.append(compare(name, source, given, models))
            print(lines(results[-1:])[1], file=sys.stderr, flush=True)
    print("\n".join(lines(results)))
    raise SystemExit(any(result.faults for result in results))


if __name__ == "__main__":
    main()
