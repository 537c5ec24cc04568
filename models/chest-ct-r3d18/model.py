"""A 3D ResNet-18 that tells a chest CT with a finding from one without: torchvision's r3d_18, one input channel, one logit."""

import torch
from torch import nn
from torchvision.models.video import r3d_18

SIZE = (96, 192, 192)
HOUNSFIELD = (-600.0, 1500.0)


def network() -> nn.Module:
    """[B, 1, slices, rows, columns] in 0..1 to logits [B, 1]. Parameters are named as torchvision names them."""
    net = r3d_18(weights=None)
    net.stem[0] = nn.Conv3d(1, 64, kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
    nn.init.kaiming_normal_(net.stem[0].weight, mode="fan_out", nonlinearity="relu")
    net.fc = nn.Linear(net.fc.in_features, 1)
    return net


def preprocess(hounsfield: torch.Tensor, size: tuple[int, int, int] = SIZE) -> torch.Tensor:
    """[slices, rows, columns] in HU (slices to Superior, rows to Posterior, columns to Left) to [1, 1, *size]."""
    low, high = HOUNSFIELD
    values = (hounsfield.float().clamp(low, high) - low) / (high - low)
    return nn.functional.interpolate(values[None, None], size=size, mode="trilinear", align_corners=False)
