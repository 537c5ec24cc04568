"""Whether models/train_head.py learns what can be learned, says what it does not know, and writes a head that gives the same numbers.

    python tests/python/train_head.py      exit code 0 where all is as it must be
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

TRAIN = Path(__file__).resolve().parents[2] / "models" / "train_head.py"
PATIENTS, SERIES_EACH, WIDTH = 160, 2, 24


def synthetic(folder: Path) -> tuple[Path, Path]:
    """Embeddings of which «Seen» can be read off, «Rare» too but for one patient in eight, «Noise» not at all."""
    random = np.random.default_rng(7)
    direction = random.normal(size=(2, WIDTH)).astype(np.float32)
    embeddings = folder / "embeddings"
    (embeddings / "some-vit").mkdir(parents=True)
    index, labels = [], []
    for patient in range(PATIENTS):
        seen, rare, noise = int(random.random() < 0.4), int(random.random() < 0.125), int(random.random() < 0.5)
        for series in range(SERIES_EACH):
            uid = f"2.25.{patient}.{series}"
            centre = random.normal(size=WIDTH).astype(np.float32) + 0.9 * seen * direction[0] + 1.2 * rare * direction[1]
            tensors = {"cls": centre[None], "patches": (centre + random.normal(size=(9, WIDTH)).astype(np.float32))[None]}
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, embeddings / "some-vit" / f"{uid}.safetensors")
            index.append([f"2.25.{patient}", uid, "some-vit", "1.0.0", f"some-vit/{uid}.safetensors"])
            labels.append([uid, f"P{patient}", seen, rare, "" if series else noise])
    write(embeddings / "index.csv", ["study_uid", "series_uid", "model", "version", "file"], index)
    write(folder / "labels.csv", ["series_uid", "patient_id", "Seen", "Rare", "Noise"], labels)
    return embeddings, folder / "labels.csv"


def write(path: Path, header: list[str], rows: list[list]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def run(embeddings: Path, labels: Path, out: Path, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TRAIN), str(embeddings), str(labels), "--out", str(out), "--bootstrap", "200", *more]
    return subprocess.run(command, capture_output=True, text=True)


def check_head(embeddings: Path, out: Path, tensors: tuple[str, ...]) -> None:
    """The compiled head gives what predictions.csv says, from the tensors as the backbone gives them."""
    from safetensors.torch import load_file

    head = torch.jit.load(out / "head.pt")
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:20]
    for row in rows:
        file = load_file(embeddings / "some-vit" / f"{row['series_uid']}.safetensors")
        found = torch.sigmoid(head(*[file[name] for name in tensors]))
        assert found.shape == (1, 3), found.shape
        assert abs(float(found[0, 0]) - float(row["Seen"])) < 1e-5, (found, row)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embeddings, labels = synthetic(folder)
        for kind in ("linear", "mlp"):
            out = folder / kind
            done = run(embeddings, labels, out, "--tensor", "cls", "--tensor", "patches", "--kind", kind, "--hidden", "32")
            assert done.returncode == 0, done.stderr
            metrics = json.loads((out / "metrics.json").read_text())
            found = metrics["labels"]
            assert found["Seen"]["roc_auc"] > 0.85 and found["Rare"]["roc_auc"] > 0.8, found
            assert found["Noise"]["roc_auc"] < 0.75, found
            low, high = found["Seen"]["interval_95"]["roc_auc"]
            assert low <= found["Seen"]["roc_auc"] <= high and high - low > 0.01, found["Seen"]
            assert np.sum(found["Noise"]["confusion"]) * 2 == np.sum(found["Seen"]["confusion"]), "labels that are not known were counted"
            assert sum(metrics["patients"].values()) == PATIENTS, metrics["patients"]
            assert 'arguments = ["cls", "patches"]' in done.stdout and 'label = "Rare"' in done.stdout
            for plot in ("roc", "precision_recall", "confusion", "losses"):
                assert (out / f"{plot}.png").stat().st_size > 5000, plot
            check_head(embeddings, out, ("cls", "patches"))
        again = folder / "again"
        run(embeddings, labels, again, "--tensor", "cls", "--tensor", "patches", "--kind", "linear", "--hidden", "32")
        assert (again / "head.pt").read_bytes() == (folder / "linear" / "head.pt").read_bytes(), "the same seed gave another head"
        rows = [line.split(",") for line in labels.read_text().split()]
        write(folder / "leaks.csv", [*rows[0], "split"], [[*row, ("train", "test", "validation")[at % 3]] for at, row in enumerate(rows[1:])])
        leaking = run(embeddings, folder / "leaks.csv", folder / "leaks", "--tensor", "cls")
        assert leaking.returncode != 0 and "a patient is in two parts" in leaking.stderr, leaking.stderr
    print("train_head.py: ok")


if __name__ == "__main__":
    main()
