"""What the published tools give for DICOM files.

    python -m reference PACKAGE INPUT [--out FILE.npz]   one package, a folder with a series or a radiograph's file
    python -m reference --golden [--radiographs FOLDER]  golden/e2e.json of all tiny packages, from demo/chest-ct and, where given, radiographs

Run in models/ (or with it on PYTHONPATH). The first form prints JSON; --out keeps all arrays.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from .images import is_lossy
from .packages import MODELS, Package
from .pipelines import PIPELINES, Expected, expected

SERIES = MODELS.parent / "demo" / "chest-ct"


def plain(result: Expected, arrays: bool) -> dict:
    """What a result says as JSON. `arrays`: embeddings of up to 64 numbers whole; of others shape, length and the first numbers."""
    said: dict = {"uid": result.uid, "findings": {name: round(value, 7) for name, value in result.findings.items()}}
    if result.slice_scores is not None:
        said["slice_scores"] = [round(score, 7) for score in result.slice_scores]
        said["peak_slice"] = int(np.argmax(result.slice_scores)) * result.slice_stride
    if "slices" in result.tensors:
        said["slices"] = result.tensors["slices"].tolist()
    said["embeddings"] = {name: numbers(value, arrays) for name, value in result.embeddings.items()}
    if "attention" in result.tensors:
        said["attention"] = numbers(result.tensors["attention"], True)["values"]
    if result.attention_map is not None:
        said["attention_map"] = {"shape": list(result.attention_map.shape), "cells": in_a_line(cells(result.attention_map, np.mean), 6), "key_slices": result.key_slices}
    if result.label_map is not None:
        counts = np.bincount(result.label_map.ravel())
        places = {str(label): in_a_line(cells(result.label_map == label, np.sum), 0) for label, count in enumerate(counts) if label and count}
        said["segmentation"] = {"shape": list(result.label_map.shape), "voxels_by_label": {str(label): int(count) for label, count in enumerate(counts) if count}, "cells": places}
    if result.patch_labels is not None:
        said["patch_labels"] = result.patch_labels.tolist() if arrays else np.bincount(result.patch_labels.ravel()).tolist()
    if result.tokens is not None:
        said |= {"tokens": result.tokens, "text": result.text}
    return {key: value for key, value in said.items() if value != {}}


def cells(array: np.ndarray, reduce) -> np.ndarray:
    """What `reduce` makes of each cell of a coarse grid: up to 4 along each axis, voxel i of n in cell i * 4 // n. Of a mirrored or
    turned array it is another."""
    counts = [min(4, extent) for extent in array.shape]
    edges = [[-(-cell * extent // count) for cell in range(count + 1)] for extent, count in zip(array.shape, counts)]
    block = lambda at: tuple(slice(edge[i], edge[i + 1]) for edge, i in zip(edges, at))
    return np.array([reduce(array[block(at)].astype(np.float64)) for at in np.ndindex(*counts)])


def in_a_line(values: np.ndarray, decimals: int) -> str:
    """Numbers divided by blanks: a line, where JSON would have one a number."""
    return " ".join(f"{value:.{decimals}f}" for value in values)


def numbers(array: np.ndarray, whole: bool) -> dict:
    """An array in few words."""
    flat = array.astype(np.float64).ravel()
    values = flat if whole and flat.size <= 64 else flat[:8]
    return {"shape": list(array.shape), "norm": round(float(np.linalg.norm(flat)), 6), "values": [round(float(value), 6) for value in values]}


def golden(radiographs: Path | None) -> None:
    """Writes golden/e2e.json of every tiny package."""
    for name in PIPELINES:
        package = Package(MODELS / name / "tiny")
        is_image = package.manifest["input"]["kind"] == "image"
        if is_image and radiographs is None:
            print(f"{name}: left as it is, it needs --radiographs")
            continue
        sources = {path.name: path for path in sorted(radiographs.glob("*.dcm"))} if is_image else {"demo/chest-ct": SERIES}
        said = {
            "made_by": f"python -m reference --golden, PyTorch {torch.__version__.split('+')[0]}",
            "tolerance": 1e-3,
            "of": {key: plain(expected(package, source), True) | ({"lossy": True} if is_lossy(source) else {}) for key, source in sources.items()},
        }
        (package.folder / "golden" / "e2e.json").write_text(json.dumps(said, indent=1) + "\n")
        print(name, json.dumps({key: value["findings"] for key, value in said["of"].items()})[:300])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", nargs="?", type=Path)
    parser.add_argument("input", nargs="?", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cpu", help="of the networks: cpu or cuda")
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--radiographs", type=Path)
    given = parser.parse_args()
    if given.golden:
        golden(given.radiographs)
        return
    if given.package is None or given.input is None:
        parser.error("a package and an input are needed")
    result = expected(Package(given.package, given.device), given.input)
    print(json.dumps(plain(result, False), indent=1))
    if given.out:
        arrays = {"voxels": result.voxels} | result.tensors | result.embeddings
        if result.label_map is not None:
            arrays["label_map"] = result.label_map
        if result.attention_map is not None:
            arrays["attention_map"] = result.attention_map
        if result.slice_scores is not None:
            arrays["slice_scores"] = np.array(result.slice_scores)
        np.savez_compressed(given.out, **arrays)


if __name__ == "__main__":
    main()
