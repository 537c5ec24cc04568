"""Makes backbone.pt, binary.pt and findings.pt from PyTorch weights, or from random ones.

    python export.py --weights CT-CLIP_v2.pt [HEAD.pt ...]   a CT-CLIP or ClassFine (CT_LiPro) checkpoint; binary head as `binary.*`
    python export.py --weights … --labels findings.csv       where the findings are others than the published 18: a row for each row of the classifier
    python export.py --untrained                             random weights at full size
    python export.py --tiny --seed 0                         the package in tiny/

Heads that are not among the weights are random, and the package is untrained until they are exchanged by what train_head.py writes.
"""

import re
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import labels  # noqa: E402
import torchscript as ts  # noqa: E402
from model import BinaryHead, FindingsHead, ImageBranch, Size  # noqa: E402

# What a checkpoint holds beside the image branch: the text branch, the decoder of the pre-training, statistics of the codebook.
NOT_USED = (r"text_transformer\.|to_text_latent|to_visual_latent_extra|temperature|dropout"
            r"|visual_transformer\.(to_patch_emb_first_frame|to_pixels|discr|vgg|vq\.(?!_codebook\.embed$))"
            r"|visual_transformer\.enc_.*\.(context_norm\.|null_kv$)|visual_transformer\.dec_")

# The tensor of the head whose labels may be others than the published ones.
FINDINGS = "finding_logits"

TINY_SIZE = Size(depth=24, side=48, slab=4, patch=8, width=32, heads=2, head_width=16, layers=2, codes=64, latent=32)
TINY = {
    'name = "chest-ct-clip"': 'name = "chest-ct-clip-tiny"',
    'title = "Chest CT, CT-CLIP"': 'title = "Chest CT, CT-CLIP, tiny"',
    "mm = [1.5, 0.75, 0.75]": "mm = [15, 7.5, 7.5]",
    "size = [240, 480, 480]": "size = [24, 48, 48]",
    '"spacing=1.5x0.75x0.75 mm", "size=240x480x480"': '"spacing=15x7.5x7.5 mm", "size=24x48x48"',
    "# [1, 512]": "# [1, 32]",
    "memory_mb = 1800": "memory_mb = 100",
}


def build(small: bool) -> dict[str, nn.Module]:
    """The modules with random weights, by file name without `.pt`."""
    size = TINY_SIZE if small else Size()
    parts = {"backbone": ImageBranch(size), "binary": BinaryHead(size.latent, 16 if small else 256), "findings": FindingsHead(size.latent)}
    if small:
        with torch.no_grad():
            parts["binary"].net[-1].weight.mul_(6)
            parts["findings"].classifier.weight.mul_(6)
    else:
        # Patches of nothing but air leave the first layer norm as rounding noise; without an offset that outweighs it, the second one
        # would make tokens of the noise, and no two machines would choose the same codes.
        parts["backbone"].visual_transformer.to_patch_emb[2].bias.data.normal_()
    return parts


def modules(size: Size, parts: dict[str, nn.Module]) -> dict[str, torch.jit.ScriptModule]:
    """The three compiled modules by their file names."""
    latent = torch.zeros(1, size.latent)
    return {
        "backbone.pt": ts.traced(parts["backbone"], torch.zeros(1, 1, size.depth, size.side, size.side)),
        "binary.pt": ts.traced(parts["binary"], latent),
        "findings.pt": ts.traced(parts["findings"], latent),
    }


def case(compiled: dict[str, torch.jit.ScriptModule], voxels: torch.Tensor) -> dict[str, np.ndarray]:
    """What the modules give for some voxels."""
    latent = compiled["backbone.pt"](voxels)
    golden = {"voxels": voxels, "latent": latent, "binary_logits": compiled["binary.pt"](latent), FINDINGS: compiled["findings.pt"](latent)}
    return {name: value.numpy() for name, value in golden.items()}


def tiny() -> None:
    """Writes tiny/."""
    size = TINY_SIZE
    compiled = modules(size, build(small=True))
    voxels = ts.phantom(1, 1, size.depth, size.side, size.side) * 2 - 1
    ts.write_tiny(HERE, {name: ts.archive(module) for name, module in compiled.items()}, TINY, case(compiled, voxels))


def filled(parts: dict[str, nn.Module], tensors: dict[str, torch.Tensor]) -> list[str]:
    """Puts a checkpoint into the modules; names those that it has nothing for, which stay random."""
    tensors = {re.sub(r"^(trained_model|clip)\.", "", name): value for name, value in tensors.items()}
    random = []
    for name, pattern in (("binary", r"^binary\.(.*)"), ("findings", r"^(?:findings\.)?(classifier\..*)")):
        found = {match[1]: tensors.pop(key) for key in list(tensors) if (match := re.match(pattern, key))}
        if name == "findings" and "classifier.weight" in found:
            # As many findings as the checkpoint knows.
            parts[name] = FindingsHead(parts[name].classifier.in_features, found["classifier.weight"].shape[0])
        if found:
            ts.load(parts[name], found)
        else:
            random.append(name)
    ts.load(parts["backbone"], tensors, unused=NOT_USED)
    return random


def named(manifest: str, findings: int, file: Path | None) -> str:
    """The manifest with a label for each finding of the head: those that it has, or those of a CSV."""
    if file:
        manifest = labels.replaced(manifest, FINDINGS, labels.from_csv(file, labels.known(manifest, FINDINGS)))
        manifest = re.sub(rf'(?m)^(results = \["{FINDINGS}"\]\s*# \[1, )\d+', rf"\g<1>{findings}", manifest)
    count = len(labels.of(manifest, FINDINGS))
    if f'"{FINDINGS}"' in manifest and count != findings:
        raise SystemExit(f"the weights give {findings} findings and {file or 'model.toml'} names {count}. Name them in the order of the classifier's rows:\n"
                         f"  --labels FILE, a CSV with the column «label» and, where they are wanted, threshold, concept, site; or in model.toml\n"
                         f"  [[output.classification.labels]] with label, concept and threshold, under tensor = \"{FINDINGS}\"")
    return manifest


def main() -> None:
    given = ts.arguments(__doc__, labels="names of the findings: a CSV with label and, where they are wanted, threshold, concept, site")
    if given.tiny:
        tiny()
        return
    parts = build(small=False)
    random = filled(parts, ts.state_dict(given.weights)) if given.weights else list(parts)
    manifest = named((HERE / "model.toml").read_text(), parts["findings"].classifier.out_features, given.labels)
    size = Size()
    compiled = modules(size, parts)
    golden = case(compiled, ts.phantom(1, 1, size.depth, size.side, size.side, block=5) * 2 - 1) if given.weights else {}
    ts.write_full(HERE, {name: ts.archive(module) for name, module in compiled.items()}, random, golden, manifest)


if __name__ == "__main__":
    main()
