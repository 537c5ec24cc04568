"""Trains a head on embeddings that overread keeps, and writes it so that it drops into the package.

    overread embeddings export --config overread.toml --model cxr-vit --out embeddings/
    python train_head.py embeddings/ labels.csv --tensor cls_last --tensor patches_last --out head/

Embeddings: a folder with index.csv (columns study_uid, series_uid, model, version, file) and a .safetensors file for each series.
Labels: a CSV with series_uid (or study_uid), patient_id, optionally split (train, validation, test), and a column of 0, 1 or nothing
(not known) for each label. Without split, patients are dealt out 70 : 15 : 15; a patient is never in two parts.

Writes head.pt, model.toml lines, metrics.json, predictions.csv and the plots. The head takes the tensors as the backbone gives them
([1, D], or [1, n, D], of which it takes the mean) and gives logits [1, labels].
"""

import argparse
import csv
import hashlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

import head_report  # noqa: E402
import labels  # noqa: E402
import torchscript as ts  # noqa: E402

PARTS = ("train", "validation", "test")
# What the head gives, as the manifest calls it.
RESULT = "finding_logits"
NOT_LABELS = ("study_uid", "series_uid", "patient_id", "split")


class Head(nn.Module):
    """Tensors of the backbone to logits: means over tokens side by side, standardised by the training data, one or two layers."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor, labels: int, hidden: int):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        width = mean.shape[0]
        layers = [nn.Linear(width, labels)] if hidden == 0 else [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.2), nn.Linear(hidden, labels)]
        self.net = nn.Sequential(*layers)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        flat = torch.cat([tensor.flatten(1, -2).mean(dim=1) if tensor.dim() > 2 else tensor for tensor in tensors], dim=1)
        return self.net((flat - self.mean) / self.deviation)


@dataclass
class Table:
    """One row a series. `known` is 0 where a label is not known; `examples` are one series' tensors as the backbone gave them."""

    features: torch.Tensor
    labels: torch.Tensor
    known: torch.Tensor
    patients: list[str]
    series: list[str]
    names: list[str]
    parts: np.ndarray
    examples: list[torch.Tensor]
    model: str
    version: str

    def of(self, part: str) -> np.ndarray:
        """The rows of a part."""
        return np.flatnonzero(self.parts == PARTS.index(part))


def deal_out(patients: list[str], seed: int) -> dict[str, str]:
    """Each patient to one part, 70 : 15 : 15, the same for the same seed."""
    known = sorted(set(patients))
    random.Random(seed).shuffle(known)
    first, second = round(0.7 * len(known)), round(0.85 * len(known))
    return {patient: PARTS[0 if at < first else 1 if at < second else 2] for at, patient in enumerate(known)}


def pooled(tensor: np.ndarray) -> np.ndarray:
    """[1, D] or [1, n, D] to [D]."""
    return tensor.reshape(-1, tensor.shape[-1]).mean(axis=0)


def space_of(file: Path) -> str:
    """What the vectors of a file depend on, as a hash; earlier files name all weights of the package. Empty where it does not say."""
    with safe_open(file, framework="numpy") as opened:
        said = opened.metadata() or {}
    return said.get("space_sha256") or said.get("weights_sha256") or ""


def of_one_space(folder: Path, rows: list[tuple[dict, dict]], wanted: str | None) -> list[tuple[dict, dict]]:
    """The rows of the wanted space. Vectors of several mean different things by the same numbers, whatever version they have."""
    spaces = [space_of(folder / entry["file"]) for entry, _ in rows]
    kept = [row for row, space in zip(rows, spaces) if wanted is None or space.startswith(wanted)]
    counts = Counter(space for space in spaces if wanted is None or space.startswith(wanted))
    if not kept:
        raise SystemExit(f"no embeddings are of the space {wanted}")
    if len(counts) > 1:
        said = ", ".join(f"{space or 'not said'}: {count} series" for space, count in sorted(counts.items()))
        raise SystemExit("these embeddings were made by several inputs, steps or backbones under one version: train on one of them, --space HASH "
                         f"(its beginning suffices), or read the studies again. {said}")
    return kept


def read(folder: Path, truth: Path, tensors: list[str], wanted: list[str] | None, seed: int, space: str | None) -> Table:
    """Embeddings and labels side by side. Series without labels, and labels without series, are counted and left out."""
    with open(folder / "index.csv", newline="") as file:
        index = list(csv.DictReader(file))
    with open(truth, newline="", encoding="utf-8-sig") as file:
        given = list(csv.DictReader(file))
    if not given or "patient_id" not in given[0]:
        raise SystemExit(f"{truth} needs the column patient_id: parts are made by patients")
    key = "series_uid" if "series_uid" in given[0] else "study_uid"
    names = wanted or [name for name in given[0] if name not in NOT_LABELS]
    by_uid = {row[key]: row for row in given}
    rows = [(entry, by_uid[entry[key]]) for entry in index if entry[key] in by_uid]
    versions = {(entry["model"], entry["version"]) for entry, _ in rows}
    if len(versions) != 1:
        raise SystemExit(f"a head is trained on one version of one model, these are {sorted(versions)}")
    rows = of_one_space(folder, rows, space)
    print(f"{len(rows)} series with embeddings and labels, {len(index) - len(rows)} without labels, {len(given) - len({row[key] for _, row in rows})} labels without series")
    patients = [row["patient_id"] for _, row in rows]
    dealt = deal_out(patients, seed)
    parts = [row.get("split") or dealt[row["patient_id"]] for _, row in rows]
    check_parts(patients, parts)
    loaded = [load_file(folder / entry["file"]) for entry, _ in rows]
    features = np.stack([np.concatenate([pooled(file[name]) for name in tensors]) for file in loaded]).astype(np.float32)
    text = [[row[name].strip() for name in names] for _, row in rows]
    known = np.array([[value != "" for value in line] for line in text], np.float32)
    values = np.array([[float(value or 0) for value in line] for line in text], np.float32)
    (model, version), = versions
    return Table(torch.from_numpy(features), torch.from_numpy(values), torch.from_numpy(known), patients, [entry["series_uid"] for entry, _ in rows], names,
                 np.array([PARTS.index(part) for part in parts]), [torch.from_numpy(loaded[0][name]) for name in tensors], model, version)


def check_parts(patients: list[str], parts: list[str]) -> None:
    """A patient in two parts would be learned by heart."""
    seen: dict[str, str] = {}
    for patient, part in zip(patients, parts):
        if part not in PARTS:
            raise SystemExit(f"split is train, validation or test, not «{part}»")
        if seen.setdefault(patient, part) != part:
            raise SystemExit("a patient is in two parts of the split")
    missing = [part for part in PARTS if part not in parts]
    if missing:
        raise SystemExit(f"no patient in {', '.join(missing)}: more patients are needed")


def loss_of(logits: torch.Tensor, table: Table, rows: np.ndarray, weight: torch.Tensor | None) -> torch.Tensor:
    """Binary cross-entropy over what is known."""
    known = table.known[rows]
    each = nn.functional.binary_cross_entropy_with_logits(logits, table.labels[rows], pos_weight=weight, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def train(table: Table, given: argparse.Namespace) -> tuple[Head, list[tuple[float, float]]]:
    """The head of the epoch with the least loss on the validation part, and the losses of every epoch."""
    rows, check = table.of("train"), table.of("validation")
    features = table.features[rows]
    head = Head(features.mean(dim=0), features.std(dim=0).clamp(min=1e-6), len(table.names), given.hidden if given.kind == "mlp" else 0)
    positive = (table.labels[rows] * table.known[rows]).sum(dim=0)
    # A rare finding weighs as much as its absence, up to a hundred times.
    weight = None if given.no_class_weights else ((table.known[rows].sum(dim=0) - positive) / positive.clamp(min=1)).clamp(0.01, 100)
    optimiser = torch.optim.AdamW(head.parameters(), lr=given.learning_rate, weight_decay=given.weight_decay)
    shuffled = np.random.default_rng(given.seed)
    best, best_state, losses = float("inf"), head.state_dict(), []
    waited = 0
    for _ in range(given.epochs):
        head.train()
        total = 0.0
        order = shuffled.permutation(rows)
        for start in range(0, len(order), given.batch):
            some = order[start:start + given.batch]
            loss = loss_of(head(table.features[some]), table, some, weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(some)
        head.eval()
        with torch.no_grad():
            now = loss_of(head(table.features[check]), table, check, weight).item()
        losses.append((total / len(order), now))
        if now < best - 1e-5:
            best, waited = now, 0
            best_state = {name: value.clone() for name, value in head.state_dict().items()}
        else:
            waited += 1
            if waited >= given.patience:
                break
    head.load_state_dict(best_state)
    return head.eval(), losses


def manifest_lines(names: list[str], tensors: list[str], sha256: str, thresholds: list[float], manifest: str) -> str:
    """What goes into model.toml in place of the old head's tables. `manifest`: that of the package, of which a label that it knows keeps
    concept, site and whether it is the answer."""
    listed = ", ".join(labels.text(name) for name in tensors)
    found = [{"label": name, "threshold": round(threshold, 4)} for name, threshold in zip(names, thresholds)]
    lines = ["[[modules]]", 'name = "findings"', 'weights = "findings.pt"', f'sha256 = "{sha256}"', f"arguments = [{listed}]", f'results = ["{RESULT}"]', "",
             "[[output.classification]]", f'tensor = "{RESULT}"', 'activation = "sigmoid"', ""]
    return "\n".join(lines) + "\n" + labels.tables(labels.completed(found, labels.known(manifest, RESULT)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--tensor", action="append", required=True, help="an embedding of the package; several are put side by side")
    parser.add_argument("--label", action="append", help="a column of the labels; all of them where none is named")
    parser.add_argument("--space", metavar="HASH", help="only embeddings of this space (space_sha256 in their metadata), where a version has several")
    parser.add_argument("--kind", choices=("linear", "mlp"), default="linear")
    parser.add_argument("--hidden", type=int, default=256, help="width of the MLP")
    parser.add_argument("--no-class-weights", action="store_true")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--patience", type=int, default=20, help="epochs without a better validation loss until the end")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--bootstrap", type=int, default=1000, help="samples of patients for the 95 %% intervals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--manifest", type=Path, help="model.toml of the package, for what it knows of the labels; without it that in the model's folder beside this file")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def manifest_of(given: argparse.Namespace, model: str) -> str:
    """The manifest of the package that gave the embeddings; nothing where there is none."""
    path = given.manifest or Path(__file__).resolve().parent / model / "model.toml"
    return path.read_text() if given.manifest or path.exists() else ""


def main() -> None:
    given = arguments()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    table = read(given.embeddings, given.labels, given.tensor, given.label, given.seed, given.space)
    head, losses = train(table, given)
    with torch.no_grad():
        probabilities = torch.sigmoid(head(table.features)).numpy()
    given.out.mkdir(parents=True, exist_ok=True)
    thresholds, metrics = head_report.write(given.out, table, probabilities, losses, given.bootstrap, given.seed)
    archive = ts.archive(ts.traced(head, *table.examples))
    (given.out / "head.pt").write_bytes(archive)
    lines = manifest_lines(table.names, given.tensor, hashlib.sha256(archive).hexdigest(), thresholds, manifest_of(given, table.model))
    (given.out / "head.toml").write_text(lines)
    print(json.dumps(metrics["macro"], indent=1))
    print(f"copy {given.out / 'head.pt'} to the package as findings.pt and put this into its model.toml:\n\n{lines}")
    if unfit := [name for name in table.names if not labels.fits(name)]:
        print(f"reports hold labels word for word and in ASCII; in the lines above write otherwise: {', '.join(unfit)}")


if __name__ == "__main__":
    main()
