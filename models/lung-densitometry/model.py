"""Lung densitometry without learned weights: lungs by density and connectivity, then volume, mean density, LAA-950 and Perc15.

Everything is tensor operators that TorchScript compiles and that run on CPU and CUDA alike. Three ideas keep it quick: decisions (what is body,
airway, lung, right, left) are made on a coarse grid of block means; the full grid is only thresholded, closed and counted; and every morphological
step is a shifted in-place maximum of uint8 views.

Arrays are indexed (slice, row, column) = (towards Superior, towards Posterior, towards Left). Masks are uint8 with 0 and 1. Lengths are mm.
"""

from typing import Dict, List, Tuple

import torch
from torch import Tensor, nn

# ---------------------------------------------------------------------------------------------------------------- morphology


def shifted_maximum(mask: Tensor, axis: int, k: int) -> Tensor:
    """Each cell becomes the largest of itself and its neighbours k before and k after it along the axis."""
    n = mask.size(axis)
    out = mask.clone()
    if k < n:
        target = out.narrow(axis, k, n - k)
        torch.maximum(target, mask.narrow(axis, 0, n - k), out=target)
        target = out.narrow(axis, 0, n - k)
        torch.maximum(target, mask.narrow(axis, k, n - k), out=target)
    return out


def shifted_diagonal_maximum(mask: Tensor, k: int, sign: int) -> Tensor:
    """As `shifted_maximum`, along a diagonal of the slice plane: rows by k, columns by sign * k."""
    rows, columns = mask.size(1) - k, mask.size(2) - k
    out = mask.clone()
    if rows > 0 and columns > 0:
        near, far = (0, k) if sign > 0 else (k, 0)
        target = out.narrow(1, k, rows).narrow(2, far, columns)
        torch.maximum(target, mask.narrow(1, 0, rows).narrow(2, near, columns), out=target)
        target = out.narrow(1, 0, rows).narrow(2, near, columns)
        torch.maximum(target, mask.narrow(1, k, rows).narrow(2, far, columns), out=target)
    return out


def dilate_line(mask: Tensor, radius: int, axis: int) -> Tensor:
    """Dilation by a line of 2 * radius + 1 cells; axis 3 and 4 are the diagonals of the slice plane. Shifts double, so it takes few passes."""
    covered = 0
    while covered < radius:
        k = min(radius - covered, 2 * covered + 1)
        if axis == 3:
            mask = shifted_diagonal_maximum(mask, k, 1)
        elif axis == 4:
            mask = shifted_diagonal_maximum(mask, k, -1)
        else:
            mask = shifted_maximum(mask, axis, k)
        covered += k
    return mask


def dilate_square(mask: Tensor, radius: int) -> Tensor:
    """In-plane dilation by a square of 2 * radius + 1 cells."""
    return dilate_line(dilate_line(mask, radius, 2), radius, 1)


def dilate_barrel(mask: Tensor, radius_mm: float, spacing: List[float]) -> Tensor:
    """Dilation by about a ball: an octagon in the slice plane, and somewhat flatter across slices because its corners reach further."""
    straight, diagonal = 0.414 * radius_mm, 0.293 * radius_mm
    mask = dilate_line(mask, int(round(straight / spacing[2])), 2)
    mask = dilate_line(mask, int(round(straight / spacing[1])), 1)
    step = int(round(diagonal / max(spacing[1], spacing[2])))
    mask = dilate_line(dilate_line(mask, step, 3), step, 4)
    return dilate_line(mask, int(0.9 * radius_mm / spacing[0]), 0)


def close_barrel(mask: Tensor, radius_mm: float, spacing: List[float]) -> Tensor:
    """Closing by `dilate_barrel`'s shape. The array's edge neither adds nor takes."""
    return 1 - dilate_barrel(1 - dilate_barrel(mask, radius_mm, spacing), radius_mm, spacing)


def neighbours(values: Tensor, axes: int) -> Tensor:
    """The largest of each cell and its face neighbours, in the last `axes` (2 or 3) axes."""
    out = values.clone()
    for axis in range(3 - axes, 3):
        n = values.size(axis)
        if n > 1:
            target = out.narrow(axis, 1, n - 1)
            torch.maximum(target, values.narrow(axis, 0, n - 1), out=target)
            target = out.narrow(axis, 0, n - 1)
            torch.maximum(target, values.narrow(axis, 1, n - 1), out=target)
    return out


def flood(seed: Tensor, mask: Tensor, axes: int) -> Tensor:
    """What of the mask is reached from the seed through faces, in each slice (axes = 2) or in space (axes = 3)."""
    reached = torch.minimum(seed, mask)
    before = -1
    now = int(reached.sum())
    while now != before:
        for _ in range(8):
            reached = torch.minimum(neighbours(reached, axes), mask)
        before = now
        now = int(reached.sum())
    return reached


def grow_labels(labels: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Labels spread by `steps` faces into the unlabelled cells of the mask; where two meet, the larger wins."""
    for _ in range(steps):
        labels = labels + neighbours(labels, 3) * mask * (labels == 0).to(torch.uint8)
    return labels


def flood_labels(labels: Tensor, mask: Tensor) -> Tensor:
    """Labels spread as by `grow_labels` until nothing moves."""
    before = -1
    now = int((labels > 0).sum())
    while now != before:
        labels = grow_labels(labels, mask, 4)
        before = now
        now = int((labels > 0).sum())
    return labels


def erode(mask: Tensor) -> Tensor:
    """Erosion by the face neighbours."""
    return 1 - neighbours(1 - mask, 3)


# ------------------------------------------------------------------------------------------------------- connected components


def components(mask: Tensor, axes: int) -> Tuple[Tensor, int]:
    """Connected components through faces, in each slice (axes = 2) or in space (axes = 3): int64 labels 1 to n by first cell in memory order (0 outside the mask), and n.

    Each cell starts as its own root; roots that touch are joined to the larger one and paths are halved, so rounds are few.
    """
    shape = mask.shape
    inside = mask.to(torch.int64)
    cells = mask.numel()
    root = torch.arange(cells + 1, device=mask.device)
    labels = (root[1:].reshape(shape) * inside).to(torch.int32)
    seen = neighbours(labels, axes) * mask
    moved = torch.nonzero((seen != labels).flatten()).flatten()
    while moved.numel() > 0:
        old = labels.flatten()[moved].to(torch.int64)
        root = root.scatter_reduce(0, old, seen.flatten()[moved].to(torch.int64), "amax")
        for _ in range(3):
            root = root[root]
        labels = root[labels.flatten().to(torch.int64)].to(torch.int32).reshape(shape)
        seen = neighbours(labels, axes) * mask
        moved = torch.nonzero((seen != labels).flatten()).flatten()
    flat = labels.flatten().to(torch.int64)
    own = (flat == torch.arange(1, cells + 1, device=mask.device)).to(torch.int64)
    number = torch.cat([torch.zeros(1, dtype=torch.int64, device=mask.device), torch.cumsum(own, 0) * own])
    return number[flat].reshape(shape), int(own.sum())


def component_sums(labels: Tensor, count: int, weights: Tensor) -> Tensor:
    """The sum of whole-number weights in each component, float64 [count + 1]; index 0 is the background. Exact, so the order cannot matter."""
    return torch.bincount(labels.flatten(), weights=weights.flatten().to(torch.float64), minlength=count + 1)


# ---------------------------------------------------------------------------------------------------------------- coarse grid


def block_factor(cell_mm: float, spacing_mm: float) -> int:
    """How many voxels make a coarse cell along an axis. At most 5, so that sums of a block stay in 16 bits."""
    return max(1, min(5, int(round(cell_mm / spacing_mm))))


def every(values: Tensor, axis: int, factor: int, offset: int) -> Tensor:
    """The value with this offset in each block along an axis; the last block repeats the edge."""
    n = values.size(axis)
    blocks = (n + factor - 1) // factor
    if axis == 0:
        taken = values[offset::factor]
    elif axis == 1:
        taken = values[:, offset::factor]
    else:
        taken = values[:, :, offset::factor]
    if taken.size(axis) < blocks:
        taken = torch.cat([taken, values.narrow(axis, n - 1, 1)], axis)
    return taken


def block_means(hu: Tensor, factors: List[int]) -> Tensor:
    """Mean Hounsfield value of each block, int16. Padding below air counts as air, and metal as soft tissue, so that neither bends a mean."""
    rows = torch.clamp(every(hu, 1, factors[1], 0), -1024, 400)
    for k in range(1, factors[1]):
        rows += torch.clamp(every(hu, 1, factors[1], k), -1024, 400)
    planes = every(rows, 0, factors[0], 0).clone()
    for k in range(1, factors[0]):
        planes += every(rows, 0, factors[0], k)
    columns = every(planes, 2, factors[2], 0).to(torch.int32)
    for k in range(1, factors[2]):
        columns += every(planes, 2, factors[2], k)
    return torch.div(columns, factors[0] * factors[1] * factors[2], rounding_mode="floor").to(torch.int16)


def expand_block(coarse: Tensor, first: List[int], last: List[int], factors: List[int]) -> Tensor:
    """Coarse cells on the voxels first <= index < last of the full grid. Slices come last, so that most of the copying is of whole planes."""
    for axis in [2, 1, 0]:
        index = torch.div(torch.arange(first[axis], last[axis], device=coarse.device), factors[axis], rounding_mode="floor")
        coarse = coarse.index_select(axis, index)
    return coarse


def bounding_box(mask: Tensor, margin: List[int]) -> Tuple[List[int], List[int]]:
    """First and one-past-last index on each axis of what is set (there must be some), widened by the margin within the array."""
    first: List[int] = []
    last: List[int] = []
    for axis in range(3):
        at = torch.nonzero(mask.amax((axis + 1) % 3, keepdim=True).amax((axis + 2) % 3, keepdim=True).flatten()).flatten()
        first.append(max(0, int(at[0]) - margin[axis]))
        last.append(min(mask.size(axis), int(at[-1]) + 1 + margin[axis]))
    return first, last


# ---------------------------------------------------------------------------------------------------------------------- parts


def air_around_body(mean: Tensor) -> Tensor:
    """Air and padding outside the body, slice by slice, so that an open mouth does not let it into the lungs.

    Solid is what survives an opening by 2 x 2 cells, which drops the shell of the table. Only a probe of 3 x 3 cells may pass, so a gap in a thin
    chest wall does not leak.
    """
    solid = (mean > -500).to(torch.uint8)
    for axis in range(1, 3):
        n = solid.size(axis)
        if n > 1:
            pair = torch.minimum(solid.narrow(axis, 0, n - 1), solid.narrow(axis, 1, n - 1))
            solid = torch.zeros_like(solid)
            solid.narrow(axis, 0, n - 1).copy_(pair)
            target = solid.narrow(axis, 1, n - 1)
            torch.maximum(target, pair, out=target)
    probe = 1 - dilate_square(solid, 1)
    wall = (1 - probe).to(torch.int16)
    sight = torch.zeros_like(probe)
    for axis in range(1, 3):
        ahead = torch.cumsum(wall, axis, dtype=torch.int16)
        total = ahead.narrow(axis, ahead.size(axis) - 1, 1)
        sight = torch.maximum(sight, ((ahead == 0) | (ahead - wall == total)).to(torch.uint8))
    return torch.minimum(dilate_square(flood(sight, probe, 2), 1), 1 - solid)


def middle_column(inside: Tensor) -> float:
    """The column of the body's middle: the median over slices of the centre of mass of what is not outside air."""
    weight = inside.sum(1, dtype=torch.int64)
    count = weight.sum(1)
    column = torch.arange(inside.size(2), device=inside.device)
    slices = torch.nonzero(count).flatten()
    if slices.numel() == 0:
        return inside.size(2) / 2.0
    centre = (weight * column).sum(1)[slices].to(torch.float64) / count[slices]
    return float(centre.median())


def crop(values: Tensor, first: List[int], last: List[int]) -> Tensor:
    """A view of the box first <= index < last."""
    return values[first[0]:last[0], first[1]:last[1], first[2]:last[2]]


def windpipe(mean: Tensor, inner: Tensor, middle: float, cell: List[float]) -> Tensor:
    """Trachea and whatever of the bronchi is round and alone in its slices: the largest upright tube of dark air near the body's middle.

    In each slice, pieces of 25 to 900 mm2 may be airway. Of the pieces that these make in space, the airway is the largest that is long, dark,
    slim, central and reaches into the upper half of the air in the body. (A column of air in the oesophagus may be longer.)
    """
    left_most = max(0, int(middle - 90.0 / cell[2]))
    right_most = min(inner.size(2), int(middle + 90.0 / cell[2]) + 1)
    tube = torch.zeros_like(inner)
    if right_most <= left_most:
        return tube
    mean = mean[:, :, left_most:right_most]
    middle -= left_most
    dark = inner[:, :, left_most:right_most] * (mean < -700).to(torch.uint8)
    profiles, count = components(dark, 2)
    areas = component_sums(profiles, count, dark) * (cell[1] * cell[2])
    slim = ((areas >= 25.0) & (areas <= 900.0))[profiles].to(torch.uint8) * dark
    labels, count = components(slim, 3)
    if count == 0:
        return tube
    sizes = component_sums(labels, count, slim)
    size = torch.clamp(sizes, min=1.0)
    levels = torch.arange(mean.size(0), device=mean.device).reshape(-1, 1, 1).expand_as(slim)
    columns = torch.arange(mean.size(2), device=mean.device).reshape(1, 1, -1).expand_as(slim)
    highest = torch.zeros(count + 1, dtype=torch.int64, device=mean.device).scatter_reduce(0, labels.flatten(), levels.flatten(), "amax")
    lowest = torch.full([count + 1], mean.size(0), dtype=torch.int64, device=mean.device).scatter_reduce(0, labels.flatten(), levels.flatten(), "amin")
    length = (highest - lowest + 1).to(torch.float64) * cell[0]
    area = sizes * (cell[0] * cell[1] * cell[2]) / length
    density = component_sums(labels, count, mean) / size
    offset = torch.abs(component_sums(labels, count, columns) / size - middle) * cell[2]
    upper = torch.cumsum(inner.sum([1, 2], dtype=torch.int64), 0)
    half_way = int((upper * 2 < upper[-1]).sum())
    fits = (length >= 25.0) & (area >= 25.0) & (area <= 900.0) & (density < -860.0) & (offset < 60.0) & (highest >= half_way)
    fits[0] = False
    if bool(fits.any()):
        best = int(torch.argmax(torch.where(fits, sizes, torch.zeros_like(sizes))))
        tube[:, :, left_most:right_most] = (labels == best).to(torch.uint8)
    return tube


def walled(mean: Tensor, cell: List[float], reach_mm: float) -> Tensor:
    """Cells from which at least four of the six directions along the axes meet tissue (above -600 HU) within the reach: the inside of tubes."""
    wall = (mean > -600).to(torch.uint8)
    count = torch.zeros_like(wall)
    for axis in range(3):
        n = wall.size(axis)
        before, after = wall, wall
        for _ in range(int(round(reach_mm / cell[axis]))):
            if n > 1:
                seen = before.clone()
                target = seen.narrow(axis, 1, n - 1)
                torch.maximum(target, before.narrow(axis, 0, n - 1), out=target)
                before = seen
                seen = after.clone()
                target = seen.narrow(axis, 0, n - 1)
                torch.maximum(target, after.narrow(axis, 1, n - 1), out=target)
                after = seen
        count += before + after
    return (count >= 4).to(torch.uint8)


def airways(mean: Tensor, inner: Tensor, middle: float, cell: List[float]) -> Tensor:
    """Trachea and main bronchi with their inner rim. From the windpipe air of lessening density is followed face by face for at most 70 mm.

    Only cells with walls about them are followed. Each side stops where the front becomes wider than bronchi are (2.5 cm2: it has leaked into
    emphysema), and its last three steps are taken back.
    """
    tube = windpipe(mean, inner, middle, cell)
    if not bool(tube.any()):
        return tube
    first, last = bounding_box(tube, [int(80 / cell[0]), int(60 / cell[1]), int(100 / cell[2])])
    box_tube = crop(tube, first, last)
    box_mean = crop(mean, first, last)
    box_inner = crop(inner, first, last)
    lower = torch.nonzero(box_tube.amax([1, 2])).flatten()[0]
    bottom = torch.nonzero(box_tube[int(lower):int(lower) + max(1, int(30 / cell[0]))].sum([0, 1])).flatten()
    carina = float(bottom.to(torch.float64).mean())
    right = (torch.arange(box_tube.size(2), device=mean.device) < carina).to(torch.uint8)
    found = box_tube
    tubular = box_inner * walled(box_mean, cell, 10.0)
    limit = 250.0 / (cell[1] * cell[2])
    for threshold in [-860, -900, -940]:
        passable = tubular * (box_mean < threshold).to(torch.uint8)
        for side in [right, 1 - right]:
            trail = [box_tube]
            for _ in range(int(70.0 / cell[2])):
                front = torch.minimum(neighbours(trail[-1], 3), passable * side) * (1 - trail[-1])
                width = int(front.sum())
                if width == 0:
                    break
                if width > limit:
                    trail = trail[:max(1, len(trail) - 3)]
                    break
                trail.append(trail[-1] + front)
            found = torch.maximum(found, trail[-1])
    rim = torch.minimum(neighbours(found, 3), box_inner)
    out = torch.zeros_like(tube)
    crop(out, first, last).copy_(rim)
    return out


def lung_pieces(mean: Tensor, air: Tensor, outside: Tensor, cell: List[float]) -> Tuple[Tensor, Tensor]:
    """Which pieces of air in the body are lung, and which are other gas (bowel, stomach, oesophagus, folds of the skin).

    Lung has vessels and tissue in it, so that a good part of its inner cells is denser than -960; gas has not. Lung lies under a chest wall; air that
    clings to the outside does not. A piece under 3 cm3 is neither (its edge decides nothing), unless it is as dark as gas.
    """
    labels, count = components(air, 3)
    sizes = component_sums(labels, count, air)
    inner = erode(air)
    inner_sizes = component_sums(labels, count, inner)
    dark = component_sums(labels, count, inner * (mean < -960).to(torch.uint8))
    near = dilate_square(outside, 2)
    clinging = component_sums(labels, count, air * near)
    volume = sizes * (cell[0] * cell[1] * cell[2] / 1000.0)
    any_dark = component_sums(labels, count, air * (mean < -940).to(torch.uint8))
    gas = (dark > 0.8 * inner_sizes) & (inner_sizes > 0) | (clinging > 0.2 * sizes)
    small = volume < 3.0
    lung = ~gas & ~small & (inner_sizes > 0.05 * sizes)
    other = torch.where(small, any_dark > 0, ~lung)
    lung[0] = False
    other[0] = False
    return lung[labels].to(torch.uint8), other[labels].to(torch.uint8)


def piece_positions(labels: Tensor, count: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells and mean slice, row and column of each component (index 0 is the background)."""
    ones = (labels > 0).to(torch.uint8)
    sizes = component_sums(labels, count, ones)
    size = torch.clamp(sizes, min=1.0)
    s = torch.arange(labels.size(0), device=labels.device).reshape(-1, 1, 1) * ones
    r = torch.arange(labels.size(1), device=labels.device).reshape(1, -1, 1) * ones
    c = torch.arange(labels.size(2), device=labels.device).reshape(1, 1, -1) * ones
    sizes[0] = 0.0
    return sizes, component_sums(labels, count, s) / size, component_sums(labels, count, r) / size, component_sums(labels, count, c) / size


def find_pair(seed: Tensor, middle: float, cell: List[float], share: float) -> Tensor:
    """The two pieces of the seed that are a right and a left lung, as labels 1 and 2; all 0 where no such pair is there.

    A pair: the largest piece, and the next that lies beside it (further across than up, down, before or behind, by 50 mm or more, or less in a small body). A largest
    piece that straddles the middle is both lungs in one and pairs with nothing.
    """
    none = torch.zeros_like(seed)
    labels, count = components(seed, 3)
    if count < 2:
        return none
    sizes, level, row, column = piece_positions(labels, count)
    total = float(sizes.sum())
    top = torch.topk(sizes, min(count, 8)).indices
    a = int(top[0])
    columns = torch.arange(seed.size(2), device=seed.device)
    profile = (labels == a).to(torch.uint8).sum([0, 1], dtype=torch.int64)
    left_share = float(profile[columns > middle].sum()) / max(1.0, float(profile.sum()))
    if min(left_share, 1.0 - left_share) > 0.3:
        return none
    least = min(50.0, 0.25 * seed.size(2) * cell[2])
    for i in range(1, top.size(0)):
        b = int(top[i])
        if float(sizes[b]) < share * total:
            return none
        across = abs(float(column[a]) - float(column[b])) * cell[2]
        along = max(abs(float(level[a]) - float(level[b])) * cell[0], abs(float(row[a]) - float(row[b])) * cell[1])
        if across > least and across > along:
            right, left = (a, b) if float(column[a]) < float(column[b]) else (b, a)
            return (labels == right).to(torch.uint8) + 2 * (labels == left).to(torch.uint8)
    return none


def chest_box(lung: Tensor) -> Tensor:
    """The bounding box of the lungs, filled. Pieces that lie in it are lung too; others (a mattress) are not."""
    first, last = bounding_box(lung, [0, 0, 0])
    chest = torch.zeros_like(lung, dtype=torch.uint8)
    crop(chest, first, last).fill_(1)
    return chest


def tell_sides(mean: Tensor, lung: Tensor, middle: float, cell: List[float]) -> Tensor:
    """Labels 1 (right lung) and 2 (left lung) on all lung cells.

    Where the lungs touch, they are seen apart at a lower density threshold or after erosions, and grown back level by level, so that they meet on the
    densest and narrowest place. A single lung has the side of the body it lies in.
    """
    levels = [lung]
    pair = find_pair(lung, middle, cell, 0.04)
    if not bool(pair.any()):
        dense = lung
        for threshold in [-600, -700, -780]:
            thinner = lung * (mean < threshold).to(torch.uint8)
            if int(thinner.sum()) * 2 > int(lung.sum()):
                dense = thinner
                if not bool(pair.any()):
                    levels.append(dense)
                    pair = find_pair(dense, middle, cell, 0.12)
        for _ in range(int(15.0 / cell[2])):
            if not bool(pair.any()):
                dense = erode(dense)
                levels.append(dense)
                pair = find_pair(dense, middle, cell, 0.12)
    columns = torch.arange(lung.size(2), device=lung.device)
    if not bool(pair.any()):
        labels, count = components(lung, 3)
        sizes, _, _, column = piece_positions(labels, count)
        largest = int(torch.argmax(sizes))
        return lung * chest_box((labels == largest).to(torch.uint8)) * (1 if float(column[largest]) < middle else 2)
    for i in range(len(levels)):
        pair = flood_labels(pair, levels[len(levels) - 1 - i])
    right = (pair == 1).sum([0, 1], dtype=torch.int64)
    left = (pair == 2).sum([0, 1], dtype=torch.int64)
    between = 0.5 * (float((right * columns).sum()) / max(1.0, float(right.sum())) + float((left * columns).sum()) / max(1.0, float(left.sum())))
    # Pieces that touch neither lung but lie among them: a lobe behind a tumour or a thick fissure.
    side = torch.where(columns < between, 1, 2).to(torch.uint8)
    return pair + lung * chest_box(pair) * (pair == 0).to(torch.uint8) * side


# ----------------------------------------------------------------------------------------------------------------- the module


def measure(histogram: Tensor, voxel_cm3: float) -> Tensor:
    """Volume (cm3), mean (HU), share below -950 HU (%), 15th percentile (HU) of a histogram of whole HU from -1024 on; NaN where empty."""
    count = histogram.sum()
    hu = torch.arange(histogram.size(0), device=histogram.device, dtype=torch.float64) - 1024.0
    if float(count) == 0.0:
        nothing = torch.full([4], float("nan"), dtype=torch.float64, device=histogram.device)
        nothing[0] = 0.0
        return nothing
    perc15 = hu[int((torch.cumsum(histogram, 0) < 0.15 * count).sum())]
    return torch.stack([count * voxel_cm3, (histogram * hu).sum() / count, 100.0 * histogram[: 1024 - 950].sum() / count, perc15])


def share_of_body(lung: Tensor, body: Tensor) -> Tuple[float, float, float]:
    """The lungs' share of the body's cross-section in the slice where it is largest, and their area in the first and in the last slice as a share of
    their largest area."""
    area = lung.sum([1, 2], dtype=torch.int64).to(torch.float64)
    around = torch.clamp(body.sum([1, 2], dtype=torch.int64).to(torch.float64), min=1.0)
    largest = max(1.0, float(area.max()))
    return float((area / around).max()), float(area[0]) / largest, float(area[-1]) / largest


class LungDensitometry(nn.Module):
    """forward(hu int16 [slice, row, column], spacing float32 [3] mm) -> mask, metrics, verdict; see `forward`."""

    def coarse_labels(self, mean: Tensor, cell: List[float]) -> Tuple[Tensor, int]:
        """On the coarse grid: 1 right lung, 2 left lung, 3 other air or airway, 0 undecided; and the verdict."""
        outside = air_around_body(mean)
        air = (mean < -500).to(torch.uint8)
        inner = air * (1 - outside)
        labels = 3 * outside
        if not bool(inner.any()):
            return labels, 1
        middle = middle_column(1 - outside)
        first, last = bounding_box(inner, [0, 4, 4])
        box_mean, box_inner, box_outside = crop(mean, first, last), crop(inner, first, last), crop(outside, first, last)
        middle -= first[2]
        airway = airways(box_mean, box_inner, middle, cell)
        lung, other = lung_pieces(box_mean, box_inner * (1 - airway), box_outside, cell)
        if not bool(lung.any()):
            return labels, 1
        sided = tell_sides(box_mean, lung, middle, cell)
        taken = torch.maximum(torch.maximum(other, airway), box_outside) * (sided == 0).to(torch.uint8)
        crop(labels, first, last).copy_(sided + 3 * taken)

        lungs = ((labels == 1) | (labels == 2)).to(torch.uint8)
        share, at_first, at_last = share_of_body(lungs, 1 - outside)
        if float(lungs.sum()) * cell[0] * cell[1] * cell[2] < 100.0e3 or share < 0.08:
            return labels, 1
        # A chest wall lies between lung and outside air, unless the image's edge or round field cuts into the lung and outside air got in.
        contact = float((lungs * neighbours(outside, 3)).sum()) * (cell[0] * cell[1] * cell[2]) ** (2.0 / 3.0)
        return labels, 2 if max(at_first, at_last) > 0.3 or contact > 500.0 else 0

    def side(self, hu: Tensor, labels: Tensor, mask: Tensor, number: int, factors: List[int], spacing: List[float]) -> Tensor:
        """One lung on the full grid, written into the mask: voxels below -500 HU in its cells, closed by 5 mm. Returns its histogram."""
        own = (labels == number).to(torch.uint8)
        if not bool(own.any()):
            return torch.zeros(4096, dtype=torch.float64, device=hu.device)
        low, high = bounding_box(own, [3, 3, 3])
        first = [low[a] * factors[a] for a in range(3)]
        last = [min(hu.size(a), high[a] * factors[a]) for a in range(3)]
        box_hu, box_mask = crop(hu, first, last), crop(mask, first, last)
        lung = expand_block(own, first, last, factors)
        lung *= box_hu < -500
        lung = close_barrel(lung, 5.0, spacing)
        lung *= expand_block(((labels == number) | (labels == 0)).to(torch.uint8), first, last, factors)
        lung *= box_mask == 0
        box_mask += lung * number
        # Counting a key that is 0 off the lung is several times quicker than gathering the lung's values.
        key = torch.clamp(box_hu, -1024, 3071).add_(1025).mul_(lung)
        return torch.bincount(key.flatten(), minlength=4097)[1:].to(torch.float64)

    def forward(self, hu: Tensor, spacing: Tensor) -> Dict[str, Tensor]:
        """mask uint8 (1 right, 2 left lung), metrics float64 [3, 4] (right, left, both; volume cm3, mean HU, LAA-950 %, Perc15 HU), verdict int64
        (0 read, 1 no lungs, 2 the lungs are cut off by the first or last slice or by the field of view). With a verdict other than 0 the mask is empty, the metrics NaN."""
        mm = [float(spacing[0]), float(spacing[1]), float(spacing[2])]
        field = max(hu.size(1) * mm[1], hu.size(2) * mm[2])
        edge = max(1.5, min(3.0, field / 128.0))
        factors = [block_factor(edge, mm[0]), block_factor(edge, mm[1]), block_factor(edge, mm[2])]
        cell = [mm[0] * factors[0], mm[1] * factors[1], mm[2] * factors[2]]
        mask = torch.zeros_like(hu, dtype=torch.uint8)
        metrics = torch.full([3, 4], float("nan"), dtype=torch.float64, device=hu.device)

        labels, verdict = self.coarse_labels(block_means(hu, factors), cell)
        if verdict == 0:
            labels = grow_labels(labels, torch.ones_like(labels), 2)
            right = self.side(hu, labels, mask, 1, factors, mm)
            left = self.side(hu, labels, mask, 2, factors, mm)
            voxel_cm3 = mm[0] * mm[1] * mm[2] / 1000.0
            metrics = torch.stack([measure(right, voxel_cm3), measure(left, voxel_cm3), measure(right + left, voxel_cm3)])
        return {"mask": mask, "metrics": metrics, "verdict": torch.full([], verdict, dtype=torch.int64, device=hu.device)}
