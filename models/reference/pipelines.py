"""For each package: DICOM files to everything that it gives, by the published tools."""

from dataclasses import dataclass, field
from typing import Callable

import numpy as np
import torch
from torch.nn import functional as F

from .images import Source, Stack, read_radiograph, read_stack
from .packages import MODELS, Package


@dataclass
class Expected:
    """What a package gives for one series or image."""

    uid: str
    voxels: np.ndarray
    findings: dict[str, float] = field(default_factory=dict)
    embeddings: dict[str, np.ndarray] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    # Labels on the grid of the files, slices ascending; for images [1, rows, columns].
    label_map: np.ndarray | None = None
    # Images: the labels of the patches.
    patch_labels: np.ndarray | None = None
    slice_scores: list[float] | None = None
    # Every how many slices one was scored.
    slice_stride: int = 1
    # Where the model looked, on the grid of the files: 0 to 1, the largest 1; and the slices that it points at.
    attention_map: np.ndarray | None = None
    key_slices: list[int] | None = None
    tokens: list[int] | None = None
    text: str | None = None


def labels_of(package: Package, tensor: str) -> list[dict]:
    """The labels of the classification that reads `tensor`."""
    return next(output["labels"] for output in package.manifest["output"]["classification"] if output["tensor"] == tensor)


def sigmoid_findings(package: Package, tensor: str, logits: torch.Tensor) -> dict[str, float]:
    """Probability by label."""
    names = [label["label"] for label in labels_of(package, tensor)]
    return dict(zip(names, torch.sigmoid(logits.double()).flatten().tolist(), strict=True))


def scaled(values: torch.Tensor, low: float, high: float, to: tuple[float, float]) -> torch.Tensor:
    """A window of values to a range."""
    return (values.clamp(low, high) - low) / (high - low) * (to[1] - to[0]) + to[0]


def lungs(stack: Stack) -> tuple[int, int]:
    """First and last slice (axes SPL) that lung-densitometry's mask touches."""
    voxels, spacing = stack.towards("SPL")
    method = torch.jit.load(MODELS / "lung-densitometry" / "model.pt")
    result = method(torch.from_numpy(np.rint(voxels).astype(np.int16)), torch.tensor(spacing, dtype=torch.float32))
    touched = torch.nonzero(result["mask"].flatten(1).amax(dim=1)).flatten()
    return int(touched[0]), int(touched[-1])


def chest_ct_r3d18(package: Package, source: Source) -> Expected:
    """Whole series, and each slice with the slices around it."""
    stack, net = read_stack(source), package.networks()["model"]
    voxels, _ = stack.towards("SPL")
    size = tuple(package.step("resize")["size"])
    prepare = package.code("model").preprocess
    whole = prepare(torch.from_numpy(voxels), size)
    expected = Expected(stack.series_uid, whole.numpy())
    logits = net(whole)
    expected.tensors["logits"] = logits.numpy()
    expected.findings = sigmoid_findings(package, "logits", logits)
    window, stride = (package.manifest["input"]["per_slice"][key] for key in ("window", "stride"))
    # At full size every slice is as much work as the series.
    if package.small or stride > 1:
        expected.slice_scores, expected.slice_stride = [], stride
        for middle in range(0, len(voxels), stride):
            around = np.clip(np.arange(middle - window // 2, middle - window // 2 + window), 0, len(voxels) - 1)
            expected.slice_scores.append(float(torch.sigmoid(net(prepare(torch.from_numpy(voxels[around]), size)))))
    return expected


def chest_ct_2p5d(package: Package, source: Source) -> Expected:
    """Some slices, evenly spaced over the lungs."""
    stack, net = read_stack(source), package.networks()["model"]
    voxels, _ = stack.towards("SPL")
    settings = package.manifest["input"]["slices"]
    first, last = lungs(stack) if settings["over"] == "gate" else (0, len(voxels) - 1)
    chosen = np.rint(np.linspace(first, last, settings["count"])).astype(int)
    planes = package.code("model").preprocess(torch.from_numpy(voxels[chosen]), package.step("resize")["size"][1])
    shaped = {"NKYX": planes[None], "BCYX": planes[:, None], "NCZYX": planes[None, None]}[package.manifest["input"]["layout"]]
    logits = net(shaped)
    expected = Expected(stack.series_uid, shaped.numpy(), tensors={"logits": logits.numpy(), "slices": chosen})
    expected.findings = sigmoid_findings(package, "logits", logits.mean(dim=0, keepdim=True))
    return expected


def chest_ct_clip(package: Package, source: Source) -> Expected:
    """The published loader of CT-CLIP: clip, resample, divide, cut or fill; array (z, x, y) as NIfTI has them."""
    stack, nets = read_stack(source), package.networks()
    voxels, spacing = stack.towards("SLP")
    target, size = package.step("spacing")["mm"], package.step("fit")["size"]
    volume = torch.from_numpy(voxels).clamp(-1000, 1000)
    shape = [int(extent * (now / then)) for extent, now, then in zip(volume.shape, spacing, target)]
    volume = F.interpolate(volume[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]
    volume = volume / 1000
    for axis, (extent, wanted) in enumerate(zip(shape, size)):
        start = max((extent - wanted) // 2, 0)
        volume = volume.narrow(axis, start, min(extent, wanted))
        before = (wanted - volume.shape[axis]) // 2
        ends = [0, 0, 0, 0, 0, 0]
        ends[4 - 2 * axis], ends[5 - 2 * axis] = before, wanted - volume.shape[axis] - before
        volume = F.pad(volume, ends, value=-1)
    expected = Expected(stack.series_uid, volume[None, None].numpy())
    latent = nets["backbone"](volume[None, None])
    binary, findings = nets["binary"](latent), nets["findings"](latent)
    expected.embeddings["latent"] = latent.numpy()
    expected.tensors = {"binary_logits": binary.numpy(), "finding_logits": findings.numpy()}
    expected.findings = {"Pathology": float(binary.softmax(dim=1)[0, 1])} | sigmoid_findings(package, "finding_logits", findings)
    return expected


def over_the_volume(weights: torch.Tensor, grid: list[int], inference: dict, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight for each window at every voxel of the series: MONAI's blend of windows that hold nothing but their weight, between
    voxels linear, the largest 1."""
    from monai.inferers import sliding_window_inference

    each = iter(weights.flatten().tolist())

    def flat(windows: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full(window.shape, next(each)) for window in windows])

    blended = sliding_window_inference(torch.zeros(1, 1, *grid), inference["window"], 1, flat, overlap=inference["overlap"], mode="gaussian", sigma_scale=inference["sigma_scale"])
    values = F.interpolate(blended.clamp(min=0), size=shape, mode="trilinear", align_corners=False)[0, 0]
    return values / values.max()


def most_looked_at(values: np.ndarray, count: int) -> list[int]:
    """The slices whose values add up to most, two of them at least an eighth of the stack over their number apart."""
    sums, chosen = values.astype(np.float64).sum(axis=(1, 2)), []
    for index in np.argsort(-sums, kind="stable").tolist():
        if len(chosen) < count and sums[index] > 0 and all(abs(index - other) >= max(len(sums) // (8 * count), 1) for other in chosen):
            chosen.append(index)
    return chosen


def chest_ct_swin(package: Package, source: Source) -> Expected:
    """MONAI's sliding window, the bridge, transformers' generate; the label map back on the grid of the files."""
    from tokenizers import Tokenizer

    stack, nets = read_stack(source), package.networks()
    published = package.code("published")
    voxels, spacing = stack.towards("SPL")
    target, inference = package.step("spacing")["mm"], package.manifest["inference"]
    volume = torch.from_numpy(voxels).clamp(-1000, 1000)[None, None]
    shape = [round(extent * (now / then)) for extent, now, then in zip(voxels.shape, spacing, target)]
    volume = scaled(F.interpolate(volume, size=shape, mode="trilinear", align_corners=False), -1000, 1000, (-1, 1))
    scores, patches, places = published.windows(volume, nets["backbone"], tuple(inference["window"]), inference["overlap"], inference["sigma_scale"], inference["padding_value"])
    logits, study, memory, attention = nets["bridge"](patches, places)
    settings = next(part["generate"] for part in package.manifest["modules"] if "generate" in part)
    search = published.Search(**{name: value for name, value in settings.items() if name != "cache"})
    ids = published.generated(nets["decoder"], memory, search)
    on_source = F.interpolate(scores, size=voxels.shape, mode="trilinear", align_corners=False).argmax(dim=1)[0]
    words = Tokenizer.from_file(str(package.folder / "tokenizer.json"))
    looked = stack.back(over_the_volume(attention, shape, inference, voxels.shape).numpy(), "SPL")
    return Expected(stack.series_uid, volume.numpy(), findings=sigmoid_findings(package, "finding_logits", logits), embeddings={"study": study.numpy()},
                    tensors={"finding_logits": logits.numpy(), "attention": attention.numpy(), "window_positions": places.numpy()},
                    label_map=stack.back(on_source.to(torch.uint8).numpy(), "SPL"), tokens=ids[0].tolist(),
                    text=words.decode(ids[0].tolist(), skip_special_tokens=True),
                    attention_map=looked, key_slices=most_looked_at(looked, package.manifest["output"]["attention"]["key_slices"]))


def labelled(probabilities: torch.Tensor) -> torch.Tensor:
    """[regions, rows, columns] to labels: the most probable region, where it reaches one half."""
    best, label = probabilities.max(dim=0)
    return torch.where(best >= 0.5, label + 1, 0).to(torch.uint8)


def over_the_image(patches: torch.Tensor, shape: tuple[int, int], resized: tuple[int, int], corner: tuple[int, int], side: int) -> torch.Tensor:
    """Patch values [1, C, p, p] at the centre of every pixel of an image that was resized and cut: linear between the centres of
    patches, the outermost as they are up to the edge of what the network saw, 0 beyond it."""
    axes, seen = [], []
    for extent, new, start in zip(shape, resized, corner):
        place = (torch.arange(extent, dtype=torch.float64) + 0.5) * new / extent - start
        seen.append((place >= 0) & (place <= side))
        axes.append(place / side * 2 - 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    sampled = F.grid_sample(patches.double(), torch.stack([columns, rows], dim=-1)[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
    return sampled * (seen[0][:, None] & seen[1][None])


def cxr_vit(package: Package, source: Source) -> Expected:
    """torchvision's resize with antialias, the middle, ImageNet's normalisation, timm's network, the heads."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import normalize, resize

    shown, uid = read_radiograph(source)
    nets, model = package.networks(), package.code("model")
    side = package.step("shorter-side")["length"]
    image = resize(torch.from_numpy(shown)[None], [side], interpolation=InterpolationMode.BICUBIC, antialias=True)
    image_size = image.shape[1:]
    top, left = (image_size[0] - side) // 2, (image_size[1] - side) // 2
    image = image[:, top:top + side, left:left + side]
    pixels = normalize(image.repeat(3, 1, 1), model.MEAN, model.DEVIATION)[None]
    tokens = dict(zip(model.RESULTS, nets["backbone"](pixels)))
    logits = nets["findings"](tokens["cls_last"], tokens["patches_last"])
    regions = nets["regions"](tokens["patches_last"])
    on_image = over_the_image(regions, shown.shape, image_size, (top, left), side)
    return Expected(uid, pixels.numpy(), findings=sigmoid_findings(package, "finding_logits", logits), embeddings={name: value.numpy() for name, value in tokens.items()},
                    tensors={"finding_logits": logits.numpy(), "region_probabilities": regions.numpy()},
                    label_map=labelled(on_image).numpy()[None], patch_labels=labelled(regions[0]).numpy())


PIPELINES: dict[str, Callable[[Package, Source], Expected]] = {
    "chest-ct-r3d18": chest_ct_r3d18,
    "chest-ct-2p5d": chest_ct_2p5d,
    "chest-ct-2p5d-mean": chest_ct_2p5d,
    "chest-ct-2p5d-3d": chest_ct_2p5d,
    "chest-ct-clip": chest_ct_clip,
    "chest-ct-swin": chest_ct_swin,
    "cxr-vit": cxr_vit,
}


def expected(package: Package, source: Source) -> Expected:
    """Everything that a package gives for a series or a radiograph."""
    with torch.no_grad():
        return PIPELINES[package.name](package, source)
