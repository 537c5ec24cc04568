"""Makes model.pt from PyTorch weights, or from random ones. The folders chest-ct-2p5d-mean and chest-ct-2p5d-3d have their own.

    python export.py --weights FILE     torchvision state dict; a first convolution for 3 channels is spread over the slices
    python export.py --untrained        random weights at full size
    python export.py --tiny --seed 0    the package in tiny/
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torchscript as ts  # noqa: E402
from model import SIDE, planar, spatial  # noqa: E402


@dataclass
class Variant:
    """What differs between the folders."""

    network: Callable[[], torch.nn.Module]
    stem: str
    slices: int
    title: str
    # From [K, rows, columns] to what the module takes.
    layout: Callable[[torch.Tensor], torch.Tensor]
    thinned_by: int
    tiny_slices: int
    tiny_side: int
    # Puts the CT in demo/ where a test wants it: the first into the uncertain band, the others to either side.
    tiny_bias: float


VARIANTS = {
    "chest-ct-2p5d": Variant(lambda: planar(5), "conv1.weight", 5, "Chest CT, 2.5D ResNet-18", lambda x: x[None], 16, 5, 64, -1.76),
    "chest-ct-2p5d-mean": Variant(lambda: planar(1), "conv1.weight", 5, "Chest CT, ResNet-18, mean of slices", lambda x: x[:, None], 16, 5, 64, -3.0),
    "chest-ct-2p5d-3d": Variant(spatial, "stem.0.weight", 32, "Chest CT, 3D ResNet-18 over slices", lambda x: x[None, None], 32, 12, 48, 0.0),
}


def build(small: bool, name: str = HERE.name) -> dict[str, torch.nn.Module]:
    """The modules of a folder with random weights, by file name without `.pt`."""
    variant = VARIANTS[name]
    if not small:
        return {"model": variant.network()}
    net = ts.thinned(variant.network(), variant.thinned_by)
    with torch.no_grad():
        net.fc.bias.fill_(variant.tiny_bias)
    values = ts.phantom(variant.tiny_slices, variant.tiny_side, variant.tiny_side)
    return {"model": ts.calibrated(net, torch.cat([variant.layout(values), variant.layout(values.flip(2) ** 2)]))}


def tiny(folder: Path, variant: Variant) -> None:
    """Writes tiny/."""
    slices, side = variant.tiny_slices, variant.tiny_side
    voxels = variant.layout(ts.phantom(slices, side, side))
    compiled = ts.traced(build(True, folder.name)["model"], voxels)
    changes = {
        f'name = "{folder.name}"': f'name = "{folder.name}-tiny"',
        f'title = "{variant.title}"': f'title = "{variant.title}, tiny"',
        f"size = [{variant.slices}, {SIDE}, {SIDE}]": f"size = [{slices}, {side}, {side}]",
        f'"size={SIDE}x{SIDE}"': f'"size={side}x{side}"',
    }
    if slices != variant.slices:
        changes |= {f"count = {variant.slices}": f"count = {slices}", f'"slices={variant.slices}': f'"slices={slices}'}
    ts.write_tiny(folder, {"model.pt": ts.archive(compiled)}, changes, {"voxels": voxels.numpy(), "logits": compiled(voxels).numpy()})


def export(folder: Path, doc: str) -> None:
    """The exporter of one folder."""
    variant = VARIANTS[folder.name]
    given = ts.arguments(doc)
    if given.tiny:
        tiny(folder, variant)
        return
    net = build(False, folder.name)["model"]
    if given.weights:
        tensors = ts.state_dict(given.weights)
        own = net.state_dict()[variant.stem]
        ts.one_channel(tensors, variant.stem, own.shape[1])
        ts.load(net, tensors)
    voxels = variant.layout(ts.phantom(variant.slices, SIDE, SIDE))
    compiled = ts.traced(net, torch.zeros_like(voxels))
    golden = {"voxels": voxels.numpy(), "logits": compiled(voxels).numpy()} if given.weights else {}
    ts.write_full(folder, {"model.pt": ts.archive(compiled)}, [] if given.weights else ["model"], golden)


if __name__ == "__main__":
    export(HERE, __doc__)
