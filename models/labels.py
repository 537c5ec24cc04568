"""The labels of a classification: as model.toml has them, out of a CSV, with what was known of a label under its name, and written again."""

import csv
import hashlib
import json
import re
import tomllib
import unicodedata
from pathlib import Path

HEADER = "[[output.classification.labels]]"
# What stays with a label when the head behind it is another one. Thresholds are the head's own.
STAYS = ("concept", "site", "pathology")


def of(manifest: str, tensor: str) -> list[dict]:
    """The labels of the output that reads `tensor`, in the order of its columns; none where there is no such output."""
    outputs = tomllib.loads(manifest).get("output", {}).get("classification", [])
    return next((output["labels"] for output in outputs if output["tensor"] == tensor), [])


def known(manifest: str, tensor: str) -> dict[str, dict]:
    """What stays with each label of a manifest, by its name. Whether it is the answer only for those of the output that reads `tensor`: there
    is one answer, and that of another output stays there."""
    found: dict[str, dict] = {}
    for output in tomllib.loads(manifest).get("output", {}).get("classification", []):
        for label in output["labels"]:
            keys = STAYS if output["tensor"] == tensor else STAYS[:2]
            if output["tensor"] == tensor or label["label"] not in found:
                found[label["label"]] = {key: label[key] for key in keys if key in label}
    return found


def completed(labels: list[dict], before: dict[str, dict]) -> list[dict]:
    """Labels with what was known under their names, and a private code where nothing is: no two have the same."""
    labels = [before.get(label["label"], {}) | label for label in labels]
    taken = {code(label["concept"]) for label in labels if "concept" in label}
    for label in labels:
        if "concept" not in label:
            value = private_code(label["label"], taken)
            taken.add(value)
            label["concept"] = f"{value}, 99OVERREAD, {label['label'][:64]}"
    return labels


def code(concept: str) -> str:
    """The value of `value, scheme, meaning`."""
    return concept.split(",")[0].strip()


def private_code(name: str, taken: set[str]) -> str:
    """A code value, at most 16 capitals and digits: the name itself where it can be told in them, else as much of it as there is room for
    beside a part of its SHA-256. The same name has the same code."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name).upper() if letter.isalnum() and letter.isascii())
    whole = all(letter.isascii() for letter in name) and letters
    if whole and len(letters) <= 16 and letters not in taken:
        return letters
    short, at = letters[:10] or "FINDING", 0
    while True:
        value = short + hashlib.sha256(f"{name}{at or ''}".encode()).hexdigest()[:6].upper()
        if value not in taken:
            return value
        at += 1


def fits(name: str) -> bool:
    """Whether a report can hold a label word for word: printable ASCII, no backslash, 64 characters."""
    return re.fullmatch(r"[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?", name) is not None and len(name) <= 64


def tables(labels: list[dict]) -> str:
    """The tables of some labels. One that a report cannot hold is marked, and refused by whoever reads the manifest."""
    blocks = []
    for label in labels:
        todo = "" if fits(label["label"]) else "    # TODO: in printable ASCII, at most 64 characters, here and in the meaning of the concept"
        lines = [HEADER, f"label = {text(label['label'])}{todo}"]
        remark = "    # a standard code where there is one" if ", 99OVERREAD," in label["concept"] else ""
        lines.append(f"concept = {text(label['concept'])}{remark}")
        lines += [f"site = {text(label['site'])}"] if "site" in label else []
        lines.append(f"threshold = {float(label.get('threshold', 0.5))!r}")
        lines += ["pathology = true"] if label.get("pathology") else []
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def text(value: str) -> str:
    """A TOML string."""
    return json.dumps(value, ensure_ascii=False)


def replaced(manifest: str, tensor: str, labels: list[dict]) -> str:
    """The manifest with other labels for the output that reads `tensor`."""
    lines = manifest.splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith("[")] + [len(lines)]
    owner = next((at for at, line in enumerate(lines) if re.match(rf'tensor = {re.escape(text(tensor))}(\s|$)', line)
                  and lines[max(head for head in heads if head < at)].startswith("[[output.classification]]")), None)
    if owner is None:
        raise SystemExit(f"model.toml has no [[output.classification]] with tensor = {text(tensor)}")
    after = [head for head in heads if head > owner]
    begin = after[0]
    end = next(head for head in after if head == len(lines) or not lines[head].startswith(HEADER))
    rest = "\n".join(lines[end:])
    return "\n".join(lines[:begin]) + "\n" + tables(labels) + (f"\n{rest}\n" if rest else "")


def from_csv(path: Path, before: dict[str, dict]) -> list[dict]:
    """A row each, in the order of the head's columns: label, and where they are wanted threshold, concept, site, pathology (1 for the answer)."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in csv.DictReader(file)]
    if not rows or "label" not in rows[0]:
        raise SystemExit(f"{path} needs a column «label»")
    labels = []
    for row in rows:
        label: dict = {key: row[key] for key in ("label", "concept", "site") if row.get(key)}
        try:
            label["threshold"] = float(row.get("threshold") or 0.5)
        except ValueError as error:
            raise SystemExit(f"{path}: «{row['label']}» has no number as threshold") from error
        if row.get("pathology"):
            label["pathology"] = row["pathology"] in ("1", "true")
        labels.append(label)
    names = [label.get("label", "") for label in labels]
    if len(set(names)) < len(names) or not all(fits(name) for name in names):
        raise SystemExit(f"{path}: each label once, in printable ASCII, at most 64 characters, without backslashes")
    return completed(labels, before)
