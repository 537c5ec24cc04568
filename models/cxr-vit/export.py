"""Makes backbone.pt, findings.pt and regions.pt from PyTorch weights, or from random ones.

    python export.py --weights BACKBONE [HEADS]   timm's or DINOv2's names for the ViT; heads as `findings.*` and `regions.*`
    python export.py --untrained                  random weights at full size
    python export.py --tiny --seed 0              the package in tiny/

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

import torchscript as ts  # noqa: E402
from model import FINDINGS, REGIONS, RESULTS, SIDE, Backbone, FindingsHead, PatchHead, small_vision_transformer, vision_transformer  # noqa: E402

TINY_SIDE = 98
TINY = {
    'name = "cxr-vit"': 'name = "cxr-vit-tiny"',
    'title = "Chest radiograph, ViT-L/14 with registers"': 'title = "Chest radiograph, ViT with registers, tiny"',
    '"size=518x518"': '"size=98x98"',
    "length = 518": "length = 98",
    "size = [518, 518]": "size = [98, 98]",
    "# [1, 6, 37, 37]": "# [1, 6, 7, 7]",
    "# 37 x 37 over": "# 7 x 7 over",
    "memory_mb = 2000": "memory_mb = 100",
}


def timm_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2's published names to timm's: registers, layer scale and position embedding are called otherwise; no mask token."""
    renamed = {}
    for name, value in tensors.items():
        name = re.sub(r"^backbone\.", "", name)
        if name == "register_tokens":
            name = "reg_token"
        if name == "pos_embed" and "register_tokens" in tensors:
            # DINOv2 adds the first row to the class token; timm keeps that sum in the class token.
            renamed["cls_token"] = tensors["cls_token"] + value[:, :1]
            value = value[:, 1:]
        if name == "cls_token" and "register_tokens" in tensors:
            continue
        if name != "mask_token":
            renamed[name] = value
    return renamed


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@torch.no_grad()
def awakened(backbone: Backbone) -> Backbone:
    """Random weights whose every block counts: layer scale starts at 1e-5 for training, at which a test would see nothing of a block."""
    for name, value in backbone.named_parameters():
        if name.endswith(".gamma"):
            value.fill_(0.5)
        if name.endswith(("reg_token", "cls_token", "pos_embed")):
            value.normal_(std=0.3)
    return backbone


def build(small: bool) -> dict[str, nn.Module]:
    """The modules with random weights, by file name without `.pt`."""
    if not small:
        return {"backbone": awakened(Backbone(vision_transformer()))} | new_heads(1024, 512, SIDE)
    heads = new_heads(32, 32, TINY_SIDE)
    with torch.no_grad():
        heads["findings"].net[-1].weight.mul_(4)
        heads["regions"].linear.weight.mul_(2)
    return {"backbone": awakened(Backbone(small_vision_transformer(TINY_SIDE)))} | heads


def modules(parts: dict[str, nn.Module], side: int) -> dict[str, torch.jit.ScriptModule]:
    """The three compiled modules by their file names."""
    pixels = torch.zeros(1, 3, side, side)
    with torch.no_grad():
        tokens = dict(zip(RESULTS, parts["backbone"].eval()(pixels)))
    return {
        "backbone.pt": ts.traced(parts["backbone"], pixels),
        "findings.pt": ts.traced(parts["findings"], tokens["cls_last"], tokens["patches_last"]),
        "regions.pt": ts.traced(parts["regions"], tokens["patches_last"]),
    }


def new_heads(width: int, hidden: int, side: int) -> dict[str, nn.Module]:
    """Heads with random weights."""
    return {"findings": FindingsHead(width, hidden, len(FINDINGS)), "regions": PatchHead(width, len(REGIONS), side // 14, side // 14)}


def case(compiled: dict[str, torch.jit.ScriptModule], side: int) -> dict[str, np.ndarray]:
    """What the modules give for an image."""
    grey = ts.phantom(1, 1, side, side)
    pixels = grey.repeat(1, 3, 1, 1) * 4 - 2
    tokens = dict(zip(RESULTS, compiled["backbone.pt"](pixels)))
    results = tokens | {
        "finding_logits": compiled["findings.pt"](tokens["cls_last"], tokens["patches_last"]),
        "region_probabilities": compiled["regions.pt"](tokens["patches_last"]),
    }
    return {"voxels": pixels.numpy()} | {name: ts.rounded(tensor.numpy(), 16) for name, tensor in results.items()}


def tiny() -> None:
    """Writes tiny/."""
    compiled = modules(build(small=True), TINY_SIDE)
    ts.write_tiny(HERE, {name: ts.archive(module) for name, module in compiled.items()}, TINY, case(compiled, TINY_SIDE))


def filled(parts: dict[str, nn.Module], tensors: dict[str, torch.Tensor]) -> list[str]:
    """Puts weights into the modules; names those that they have nothing for, which stay random."""
    of_backbone = {name: value for name, value in tensors.items() if not name.startswith(("findings.", "regions."))}
    ts.load(parts["backbone"].vit, timm_names(of_backbone), unused=r"head\.|fc_norm\.")
    random = []
    for name in ("findings", "regions"):
        if found := part(tensors, f"{name}."):
            ts.load(parts[name], found)
        else:
            random.append(name)
    return random


def main() -> None:
    given = ts.arguments(__doc__)
    if given.tiny:
        tiny()
        return
    parts = build(small=False)
    random = filled(parts, ts.state_dict(given.weights)) if given.weights else list(parts)
    compiled = modules(parts, SIDE)
    golden = case(compiled, SIDE) if given.weights else {}
    ts.write_full(HERE, {name: ts.archive(module) for name, module in compiled.items()}, random, golden)


if __name__ == "__main__":
    main()
