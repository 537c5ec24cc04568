"""Makes model.pt from PyTorch weights, or from random ones.

    python export.py --weights FILE     torchvision r3d_18 state dict; a stem for 3 channels is summed to 1
    python export.py --untrained        random weights at full size
    python export.py --tiny --seed 0    the package in tiny/
"""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torchscript as ts  # noqa: E402
from model import SIZE, network  # noqa: E402

TINY_SIZE = (24, 48, 48)
TINY = {
    'name = "chest-ct-r3d18"': 'name = "chest-ct-r3d18-tiny"',
    'title = "Chest CT, 3D ResNet-18"': 'title = "Chest CT, 3D ResNet-18, tiny"',
    '"size=96x192x192"': '"size=24x48x48"',
    "size = [96, 192, 192]": "size = [24, 48, 48]",
    "memory_mb = 1500": "memory_mb = 100",
}


def build(small: bool) -> dict[str, torch.nn.Module]:
    """The modules with random weights, by file name without `.pt`. The small one has 2 to 16 channels in place of 64 to 512."""
    if not small:
        return {"model": network()}
    net = ts.thinned(network(), 32)
    with torch.no_grad():
        net.fc.weight.mul_(4)
    return {"model": ts.calibrated(net, torch.stack([ts.phantom(1, *TINY_SIZE), ts.phantom(1, *TINY_SIZE).flip(2) ** 2]))}


def main() -> None:
    given = ts.arguments(__doc__)
    net = build(given.tiny)["model"]
    voxels = ts.phantom(1, 1, *(TINY_SIZE if given.tiny else SIZE))
    if given.tiny:
        compiled = ts.traced(net, torch.zeros(1, 1, *TINY_SIZE))
        golden = {"voxels": voxels.numpy(), "logits": compiled(voxels).numpy()}
        ts.write_tiny(HERE, {"model.pt": ts.archive(compiled)}, TINY, golden)
        return
    if given.weights:
        tensors = ts.state_dict(given.weights)
        ts.one_channel(tensors, "stem.0.weight", 1)
        ts.load(net, tensors)
    compiled = ts.traced(net, torch.zeros(1, 1, *SIZE))
    golden = {"voxels": voxels.numpy(), "logits": compiled(voxels).numpy()} if given.weights else {}
    ts.write_full(HERE, {"model.pt": ts.archive(compiled)}, [] if given.weights else ["model"], golden)


if __name__ == "__main__":
    main()
