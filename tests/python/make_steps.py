"""Makes tests/fixtures/steps: what PyTorch, MONAI, torchvision and NumPy give for the steps between grid and module.

Run with a Python that has PyTorch, torchvision, NumPy and MONAI 1.6: python tests/python/make_steps.py
The steps of each case stand beside its name in src/inference/steps/tests.rs.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import (
    CropForeground,
    NormalizeIntensity,
    Resize,
    ResizeWithPadOrCrop,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
    Spacing,
)
from monai.data import MetaTensor
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode, center_crop

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "steps"


def random(generator, *shape, low=-3.0, high=3.0):
    """Values with few bits, so that the files are small."""
    values = torch.randint(-512, 513, shape, generator=generator).float() / 512
    return (values + 1) / 2 * (high - low) + low


def interpolated(x, size, mode, **how):
    return F.interpolate(x[None, None], size=size, mode=mode, **how)[0]


def volumes(volume, out):
    sizes = {"down": (4, 6, 5), "mixed": (3, 10, 17), "one": (1, 4, 1), "up": (9, 25, 11)}
    for name, size in sizes.items():
        out[f"nearest-{name}"] = interpolated(volume, size, "nearest")
        out[f"nearest-exact-{name}"] = interpolated(volume, size, "nearest-exact")
        out[f"area-{name}"] = interpolated(volume, size, "area")
        out[f"linear-{name}"] = interpolated(volume, size, "trilinear", align_corners=False)
        out[f"corners-{name}"] = interpolated(volume, size, "trilinear", align_corners=True)
        for corners in (False, True):
            smooth = Resize(size, mode="trilinear", align_corners=corners, anti_aliasing=True)
            out[f"gaussian-{'corners-' if corners else ''}{name}"] = smooth(volume[None])
    for name, size in {"even": (4, 6, 4), "odd": (3, 7, 5), "larger": (12, 15, 14), "mixed": (5, 12, 4)}.items():
        out[f"fit-{name}"] = ResizeWithPadOrCrop(size, mode="constant", value=-1.0)(volume[None])
    above = CropForeground(select_fn=lambda x: x > 2.9, margin=1, allow_smaller=True)
    body = torch.full_like(volume, -3.0)
    body[2, 3:6, 4] = 2.95
    body[4, 5, 2:5] = 3.0
    out["input-body"] = body
    out["crop-body"] = above(body[None])


def images(image, out):
    sizes = {"down": (7, 9), "mixed": (20, 10), "up": (31, 40), "one": (1, 5)}
    for name, size in sizes.items():
        out[f"image-nearest-{name}"] = interpolated(image, size, "nearest")
        out[f"image-nearest-exact-{name}"] = interpolated(image, size, "nearest-exact")
        out[f"image-area-{name}"] = interpolated(image, size, "area")
        for corners in (False, True):
            word = "corners-" if corners else ""
            for method, mode in (("linear", "bilinear"), ("cubic", "bicubic")):
                how = {"mode": mode, "align_corners": corners}
                out[f"image-{method}-{word}{name}"] = interpolated(image, size, **how)
                out[f"image-{method}-kernel-{word}{name}"] = interpolated(image, size, antialias=True, **how)
                out[f"image-{method}-gaussian-{word}{name}"] = Resize(size, anti_aliasing=True, **how)(image[None])
    for name, x, length in (("wide", image, 8), ("tall", image.T, 8), ("wide-up", image, 33), ("same", image, 15)):
        resize = v2.Resize(length, interpolation=InterpolationMode.BICUBIC, antialias=True)
        out[f"shorter-side-{name}"] = resize(x[None])
    for name, size in {"cut": (12, 18), "cut-odd": (10, 14), "fill": (20, 30), "mixed": (10, 28)}.items():
        out[f"image-fit-{name}"] = center_crop(image[None], list(size))


def intensities(volume, image, out):
    out["clip"] = volume[None].clamp(-1.5, 1.25)
    out["replace-below"] = torch.where(volume < -2.0, torch.tensor(-1.0), volume)[None]
    out["scale"] = ScaleIntensityRange(-2.0, 2.5, -1.0, 1.0, clip=False)(volume[None])
    for clip in (False, True):
        scale = ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=clip)
        out[f"percentile-{'clip' if clip else 'open'}"] = scale(volume[None])
    out["percentile-same"] = ScaleIntensityRangePercentiles(0.5, 99.5, 0.25, 1.0)(torch.full((1, 3, 4, 5), 7.0))
    out["input-quantiles"] = image
    out["expected-quantiles"] = torch.tensor(np.percentile(image.numpy().astype(np.float64), [0, 0.5, 25, 50, 73.1, 99.5, 100]))
    out["z-score"] = NormalizeIntensity()(volume[None].clone())
    holes = volume * (volume.abs() > 1.0)
    out["input-holes"] = holes
    out["z-score-nonzero"] = NormalizeIntensity(nonzero=True)(holes[None].clone())
    out["z-score-same"] = NormalizeIntensity()(torch.full((1, 3, 4, 5), 7.0))
    normalise = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    out["standardise"] = normalise(image[None].repeat(3, 1, 1))


def ct_clip(volume, out):
    """Resampling, values and placement as CT-CLIP publishes them, at a small size."""
    spacing, target = (3.0, 0.9, 0.9), (1.5, 0.75, 0.75)
    size = [int(extent * (mm / wanted)) for extent, mm, wanted in zip(volume.shape, spacing, target)]
    hounsfield = volume * 600
    x = F.interpolate(hounsfield[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    x = x.clamp(-1000, 1000) / 1000
    wanted = (10, 16, 6)
    for axis, extent in enumerate(wanted):
        start = max((x.shape[axis] - extent) // 2, 0)
        x = x.narrow(axis, start, min(extent, x.shape[axis]))
        before = (extent - x.shape[axis]) // 2
        amounts = [0] * 6
        amounts[2 * (2 - axis)], amounts[2 * (2 - axis) + 1] = before, extent - x.shape[axis] - before
        x = F.pad(x, amounts, value=-1)
    out["ct-clip"] = x[None]


def roundings(volume, out):
    for name, rounded in (("floor", np.floor), ("nearest", np.round), ("ceiling", np.ceil)):
        size = [max(1, int(rounded(extent * (mm / 1.3)))) for extent, mm in zip(volume.shape, (2.5, 0.7, 1.1))]
        out[f"spacing-{name}"] = interpolated(volume, size, "nearest-exact")
    # 40 * (1.2 / 1.5) is a little less than 32, 40 * 1.2 / 1.5 is 32.
    ramp = torch.arange(40.0)[:, None, None].repeat(1, 2, 1)
    out["input-exact"] = ramp
    out["spacing-exact"] = interpolated(ramp, [int(40 * (1.2 / 1.5)), 2, 1], "trilinear", align_corners=False)
    affine = torch.diag(torch.tensor([2.5, 0.7, 1.1, 1.0], dtype=torch.float64))
    for name, pixdim in (("fine", (1.3, 0.45, 0.9)), ("coarse", (4.0, 1.5, 2.75))):
        out[f"resample-{name}"] = Spacing(pixdim)(MetaTensor(volume[None], affine=affine))


def backs(generator, out):
    """Scores of three classes back to a grid of 7 × 10 × 9 and of 15 × 23."""
    scores = random(generator, 3, 5, 6, 12)
    out["scores"] = scores
    out["back-linear"] = F.interpolate(scores[None], size=(7, 10, 9), mode="trilinear", align_corners=False)[0]
    out["back-corners"] = F.interpolate(scores[None], size=(7, 10, 9), mode="trilinear", align_corners=True)[0]
    out["back-nearest"] = F.interpolate(scores[None], size=(7, 10, 9), mode="nearest-exact")[0]
    # The scores of a grid of 7 × 10 × 9, made 4 × 5 × 10, then filled to 5 × 6 × 12.
    inner = scores[:, 0:4, 0:5, 1:11]
    out["back-filled"] = F.interpolate(inner[None], size=(7, 10, 9), mode="trilinear", align_corners=False)[0]
    patches = random(generator, 2, 4, 5)
    out["patches"] = patches
    out["back-patches"] = F.interpolate(patches[None], size=(15, 23), mode="bilinear", align_corners=False)[0]


def main() -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    volume, image = random(generator, 7, 10, 9), random(generator, 15, 23, low=0.0, high=1.0)
    out = {"input-volume": volume, "input-image": image}
    volumes(volume, out)
    images(image, out)
    intensities(volume, image, out)
    ct_clip(volume, out)
    roundings(volume, out)
    backs(generator, out)
    groups = {"volumes": {}, "images": {}}
    for name, values in out.items():
        group = "images" if torch.as_tensor(values).dim() - (0 if name.startswith("input") else 1) == 2 else "volumes"
        if name in ("expected-quantiles", "patches", "back-patches"):
            group = "images"
        groups[group][name] = torch.as_tensor(values).numpy()
    for group, arrays in groups.items():
        np.savez_compressed(HERE / f"{group}.npz", **arrays)


if __name__ == "__main__":
    main()
