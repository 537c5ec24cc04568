"""Three ways to look at a few slices that are spread evenly over the lungs: normal or not.

`channels`: a 2D ResNet-18 whose channels are the slices. `mean`: a 2D ResNet-18 for one slice, its logits averaged over the
slices. `volume`: a 3D ResNet-18 over more slices.
"""

import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.video import r3d_18

HOUNSFIELD = (-1000.0, 400.0)
SIDE = 320


def planar(channels: int) -> nn.Module:
    """[B, channels, rows, columns] to logits [B, 1]: torchvision's resnet18 and its parameter names."""
    net = resnet18(weights=None)
    net.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.fc = nn.Linear(net.fc.in_features, 1)
    return net


def spatial() -> nn.Module:
    """[B, 1, slices, rows, columns] to logits [B, 1]: torchvision's r3d_18 and its parameter names."""
    net = r3d_18(weights=None)
    net.stem[0] = nn.Conv3d(1, 64, kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
    nn.init.kaiming_normal_(net.stem[0].weight, mode="fan_out", nonlinearity="relu")
    net.fc = nn.Linear(net.fc.in_features, 1)
    return net


def preprocess(hounsfield: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    """The chosen slices [K, rows, columns] in HU to [K, side, side] in 0..1."""
    low, high = HOUNSFIELD
    values = (hounsfield.float().clamp(low, high) - low) / (high - low)
    return nn.functional.interpolate(values[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
