"""Makes tests/fixtures/head: a head that models/train_head.py trained on made-up embeddings of the size of cxr-vit/tiny, and what that package gives
with it for a radiograph, by models/reference.

    python tests/python/make_head.py      needs PyTorch, torchvision, timm
"""

import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

PROJECT = Path(__file__).resolve().parents[2]
MODELS = PROJECT / "models"
HERE = PROJECT / "tests" / "fixtures" / "head"
RADIOGRAPH = PROJECT / "tests" / "fixtures" / "radiographs" / "dx-14-bit-narrow.dcm"
sys.path.insert(0, str(MODELS))

TENSORS = ("cls_last", "patches_last")


def write(path: Path, rows: list[list]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def trained(folder: Path) -> Path:
    """A head of 2 labels, of one layer."""
    random = np.random.default_rng(3)
    index, labels = [["study_uid", "series_uid", "model", "version", "file"]], [["series_uid", "patient_id", "Nodule", "Pneumothorax"]]
    for patient in range(60):
        truth = random.integers(0, 2, 2)
        shift = (truth @ np.array([[1.0, 0.0], [0.0, 1.0]])).repeat(16)
        save_file({"cls_last": (random.normal(size=(1, 32)) + shift).astype(np.float32), "patches_last": (random.normal(size=(1, 49, 32)) + shift).astype(np.float32)},
                  folder / f"{patient}.safetensors")
        index.append([f"2.25.{patient}", f"2.25.{patient}.1", "cxr-vit-tiny", "1.0.0", f"{patient}.safetensors"])
        labels.append([f"2.25.{patient}.1", f"P{patient}", *truth])
    write(folder / "index.csv", index)
    write(folder / "labels.csv", labels)
    named = [word for tensor in TENSORS for word in ("--tensor", tensor)]
    subprocess.run([sys.executable, str(MODELS / "train_head.py"), str(folder), str(folder / "labels.csv"), *named, "--bootstrap", "20", "--out", str(folder / "head")], check=True)
    return folder / "head"


def dropped_in(head: Path, work: Path) -> Path:
    """cxr-vit/tiny with the head in the place of its own, as the README says."""
    shutil.copytree(MODELS / "cxr-vit", work / "cxr-vit")
    folder = work / "cxr-vit" / "tiny"
    shutil.copy(head / "head.pt", folder / "findings.pt")
    text = (folder / "model.toml").read_text()
    text = re.sub(r'\[\[modules\]\]\nname = "findings"\n.*?\n\n', "", text, flags=re.S)
    text = re.sub(r"\[\[output\.classification\]\]\n.*?(?=\n\[(?!\[output\.classification))", "", text, flags=re.S)
    (folder / "model.toml").write_text(text.replace("\n[accepts]", f"\n{(head / 'head.toml').read_text()}\n[accepts]", 1))
    return folder


def main() -> None:
    from reference.packages import Package
    from reference.pipelines import expected

    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        head = trained(work)
        found = expected(Package(dropped_in(head, work)), RADIOGRAPH)
        for file in ("head.pt", "head.toml"):
            shutil.copy(head / file, HERE / file)
    (HERE / "expected.json").write_text(json.dumps({"radiograph": RADIOGRAPH.name, "findings": found.findings}, indent=1) + "\n")


if __name__ == "__main__":
    main()
