"""Prints every tensor of a folder of embeddings as JSON, read with numpy alone, as models/train_head.py finds its files.

    python read_embeddings.py FOLDER
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np


def load_file(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file: eight bytes with the length of a JSON header, the header, the tensors."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:8 + length])
    assert (8 + length) % 8 == 0, "tensors begin at a multiple of eight"
    metadata = header.pop("__metadata__")
    assert all(isinstance(value, str) for value in metadata.values())
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        assert start == end and entry["dtype"] == "F32", name
        end = stop
        tensors[name] = np.frombuffer(whole[8 + length + start:8 + length + stop], "<f4").reshape(entry["shape"])
    assert 8 + length + end == len(whole), "nothing behind the tensors"
    return tensors


def main() -> None:
    folder = Path(sys.argv[1])
    with open(folder / "index.csv", newline="") as file:
        index = list(csv.DictReader(file))
    read = {entry["series_uid"]: load_file(folder / entry["file"]) for entry in index}
    print(json.dumps({series: {name: {"shape": tensor.shape, "values": tensor.flatten().tolist()} for name, tensor in tensors.items()}
                      for series, tensors in read.items()}))


if __name__ == "__main__":
    main()
