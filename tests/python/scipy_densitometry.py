"""Lung densitometry in NumPy and SciPy: the independent peer that the model package `lung-densitometry` is compared with.

It shares the definitions (air below -500 HU, airways out, vessels closed within 5 mm, histogram of whole HU) and no code and no route with the model:
everything happens on the full grid, with connected components, Euclidean distances, a trachea followed slice by slice, airways grown by rising
thresholds until they burst, and lungs told apart by a watershed on the distance to their edge.

    scipy_densitometry.py SERIES                     a folder of one CT series: prints the measurements as JSON
    scipy_densitometry.py SERIES --seg SEG.dcm       also compares with a Segmentation (segment 1 right lung, 2 left lung)
    scipy_densitometry.py SERIES --seg SEG.dcm --report SR.dcm    and with the numbers of a report
    scipy_densitometry.py CASE.npz                   arrays voxels, spacing in the model's orientation; compares with mask and metrics where there
    scipy_densitometry.py CASE.npz --mask MASK --metrics JSON     the mask from a file of bytes, one a voxel

Exits with 1 where a comparison is outside the limits: Dice 0.98 and volume 2 % for each lung, Perc15 2 HU.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

NAMES = ("right", "left", "both")


def edge_touching(labels):
    """Labels of components that touch the lateral edge of the image in any slice."""
    edges = (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1])
    return np.unique(np.concatenate([np.unique(edge) for edge in edges]))


def air_in_body(hu, spacing):
    """Air below -500 HU that the body encloses in its slice."""
    air = hu < -500
    inside = np.zeros_like(air)
    radius = 4.0
    for tissue, out in zip(~air, inside):
        # The table is thin or lies apart: what is left of it after an opening is never the largest piece.
        deep = ndi.distance_transform_edt(tissue, sampling=spacing[1:]) > radius
        labels, count = ndi.label(deep)
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            core = np.isin(labels, 1 + np.flatnonzero(sizes > 0.2 * sizes.max()))
            body = (ndi.distance_transform_edt(~core, sampling=spacing[1:]) <= radius) & tissue
            # Within a shell of 2 mm around the body gaps in its wall are shut.
            shut = ndi.distance_transform_edt(~body, sampling=spacing[1:]) <= 2.0
            filled = ndi.binary_fill_holes(shut)
            out[:] = filled
    return air & inside


def trachea(air, hu, spacing):
    """Where the trachea is: round dark profiles followed from slice to slice, the chain of most air in the middle of the body. Boolean."""
    pixel = spacing[1] * spacing[2]
    chains = []
    open_chains = []
    columns = np.flatnonzero(air.any((0, 1)))
    middle = 0.5 * (columns[0] + columns[-1]) if len(columns) else 0
    for z in range(air.shape[0] - 1, -1, -1):
        labels, count = ndi.label(air[z] & (hu[z] < -700))
        profiles = []
        for index, box in enumerate(ndi.find_objects(labels), 1):
            region = labels[box] == index
            area = region.sum() * pixel
            height, width = region.shape[0] * spacing[1], region.shape[1] * spacing[2]
            far = abs(box[1].start + region.shape[1] / 2 - middle) * spacing[2]
            round_enough = area > 0.4 * height * width and max(height, width) < 2.5 * min(height, width)
            if 30 < area < 700 and round_enough and far < 70 and hu[z][box][region].mean() < -880:
                profiles.append((box, region))
        following = []
        for box, region in profiles:
            here = np.zeros(air.shape[1:], bool)
            here[box] = region
            previous = max(open_chains, key=lambda chain: (chain[-1][1] & here).sum(), default=None)
            if previous is not None and (previous[-1][1] & here).any():
                previous.append((z, here))
                following.append(previous)
            else:
                chain = [(z, here)]
                chains.append(chain)
                following.append(chain)
        open_chains = following
    out = np.zeros_like(air)
    upright = [chain for chain in chains if len({z for z, _ in chain}) * spacing[0] >= 20]
    chain = max(upright, key=lambda chain: sum(here.sum() for _, here in chain), default=[])
    if chain:
        for z, here in chain:
            out[z] |= here
    return out


def airways(air, hu, spacing):
    """Trachea and bronchi as far as a rising threshold reaches before it bursts into the lung, with 2 mm of their edge."""
    seed = trachea(air, hu, spacing)
    if not seed.any():
        return seed
    voxel = np.prod(spacing) / 1000
    z = np.flatnonzero(seed.any((1, 2)))
    y = np.flatnonzero(seed.any((0, 2)))
    x = np.flatnonzero(seed.any((0, 1)))
    reach = [int(80 / s) for s in spacing]
    box = (
        slice(max(z[0] - reach[0], 0), z[-1] + 1),
        slice(max(y[0] - reach[1], 0), y[-1] + reach[1]),
        slice(max(x[0] - reach[2], 0), x[-1] + reach[2]),
    )
    smooth = ndi.gaussian_filter(np.clip(hu[box], -1024, 200).astype(np.float32), [0.8 / s for s in spacing])
    inner, start = air[box], seed[box]
    found, before = start, start.sum() * voxel
    for threshold in range(-980, -800, 20):
        labels, _ = ndi.label(inner & (smooth < threshold) | start)
        touched = np.unique(labels[start])
        grown = np.isin(labels, touched[touched > 0])
        volume = grown.sum() * voxel
        if volume > 1.25 * before + 5:
            break
        found, before = grown, volume
    edge = ndi.distance_transform_edt(~found, sampling=spacing) <= 2.0
    out = np.zeros_like(air)
    out[box] = edge & inner | found
    return out


def lung_air(air, hu, spacing):
    """Components of lung: larger than 3 cm3, and not mostly as dark as pure gas away from their edge. Components that hang together by less than
    a voxel's face are apart."""
    labels, count = ndi.label(air)
    if not count:
        return air
    voxel = np.prod(spacing) / 1000
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    smooth = ndi.uniform_filter(np.clip(hu, -1024, 400).astype(np.float32), [max(1, int(round(3 / s))) for s in spacing])
    deep = ndi.distance_transform_edt(air, sampling=spacing) > 3.0
    deep_count = np.bincount(labels[deep], minlength=count + 1)
    dark_count = np.bincount(labels[deep & (smooth < -960)], minlength=count + 1)
    good = (sizes * voxel > 3) & (deep_count > 0.05 * sizes) & (dark_count <= 0.8 * deep_count)
    good[0] = False
    if not good.any():
        return np.zeros_like(air)
    # What lies behind or before all of the largest two pieces (a mattress) is not lung.
    main = [i for i in np.argsort(sizes * good)[::-1][:2] if good[i] and sizes[i] * voxel > 50]
    chest = ndi.find_objects(np.isin(labels, main).astype(np.uint8))
    if not chest:
        return np.zeros_like(air)
    keep = np.isin(labels, np.flatnonzero(good))
    outside = np.ones_like(keep)
    outside[chest[0]] = False
    keep[outside] = False
    return keep


def sides(lung, spacing):
    """1 right lung, 2 left lung. Markers are what two far enough apart pieces are left as the edge recedes; a watershed shares out the rest."""
    distance = ndi.distance_transform_edt(lung, sampling=spacing)
    x = np.arange(lung.shape[2]) * spacing[2]
    columns = lung.sum((0, 1))
    centre = (columns * x).sum() / columns.sum()
    markers = None
    for depth in np.arange(0.0, 25.0, 1.0):
        labels, count = ndi.label(distance > depth)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        # What an erosion leaves of one lung may fall apart too, but not into two large pieces so far beside each other.
        share, apart = (0.04, 40.0) if depth == 0 else (0.2, 60.0)
        large = [i for i in np.argsort(sizes)[::-1][:6] if sizes[i] > share * sizes.sum()]
        centroids = {i: np.array(ndi.center_of_mass(labels == i)) * spacing for i in large}
        beside = []
        for i in large[1:]:
            away = abs(centroids[large[0]] - centroids[i])
            if away[2] == away.max() > apart:
                beside.append(i)
        if beside:
            a, b = sorted((large[0], beside[0]), key=lambda i: centroids[i][2])
            markers = np.where(labels == a, 1, np.where(labels == b, 2, 0))
            break
    if markers is None:
        body_middle = 0.5 * x[-1]
        return lung * np.uint8(1 if centre < body_middle else 2)
    relief = np.clip(255 - distance * 8, 0, 254).astype(np.uint8)
    relief[~lung] = 255
    markers = markers.astype(np.int16)
    markers[~lung] = -1
    out = ndi.watershed_ift(relief, markers)
    out[out < 0] = 0
    rest = lung & (out == 0)
    between = np.mean([ndi.center_of_mass(out == s)[2] for s in (1, 2)])
    out[rest & (np.arange(lung.shape[2]) < between)] = 1
    out[rest & (out == 0)] = 2
    return out.astype(np.uint8) * lung


def closed(lung, spacing, radius=5.0):
    """Closing by a ball, in the box of the lung with a margin."""
    box = ndi.find_objects(lung.astype(np.uint8))
    out = lung.copy()
    if box:
        margin = [int(radius / s) + 2 for s in spacing]
        box = tuple(slice(max(b.start - m, 0), b.stop + m) for b, m in zip(box[0], margin))
        wide = ndi.distance_transform_edt(~lung[box], sampling=spacing) <= radius
        if not wide.all():
            out[box] |= ndi.distance_transform_edt(wide, sampling=spacing) > radius
    return out


def measure(values, voxel_cm3):
    """Volume cm3, mean HU, LAA-950 %, Perc15 HU of int HU values."""
    if not len(values):
        return [0.0, None, None, None]
    values = np.sort(np.clip(values, -1024, 3071))
    perc15 = values[int(np.ceil(0.15 * len(values))) - 1]
    return [len(values) * voxel_cm3, float(values.mean()), 100.0 * float((values < -950).mean()), float(perc15)]


def densitometry(hu, spacing):
    """hu int16 [slice, row, column] towards Superior, Posterior, Left; spacing mm. Returns mask, metrics {right, left, both} and verdict as the model's."""
    spacing = [float(s) for s in spacing]
    inside = air_in_body(hu, spacing)
    airway = airways(inside, hu, spacing)
    lung = lung_air(inside & ~airway, hu, spacing)
    mask = np.zeros(hu.shape, np.uint8)
    if lung.any():
        sided = sides(lung, spacing)
        for side in (1, 2):
            grown = closed(sided == side, spacing) & ~airway & ((sided == 0) | (sided == side)) & (mask == 0)
            mask[grown] = side
    voxel = float(np.prod(spacing)) / 1000
    area = (mask > 0).sum((1, 2))
    if (mask > 0).sum() * voxel < 100:
        verdict = 1
    elif max(area[0], area[-1]) > 0.3 * area.max():
        verdict = 2
    else:
        verdict = 0
    rows = (hu[mask == 1], hu[mask == 2], hu[mask > 0])
    return {"mask": mask, "metrics": {name: measure(row, voxel) for name, row in zip(NAMES, rows)}, "verdict": verdict}


def compare(ours, mask, metrics=None):
    """Dice and differences between our result and another's, and what is outside the limits. Numbers of the other come from `metrics` where given."""
    report, wrong = {}, []
    for side, name in ((1, "right"), (2, "left")):
        a, b = ours["mask"] == side, mask == side
        total = int(a.sum()) + int(b.sum())
        dice = 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total
        report[name] = {"dice": round(dice, 5)}
        if dice < 0.98:
            wrong.append(f"{name}: Dice {dice:.4f}")
    for name, theirs in (metrics or {}).items():
        own = ours["metrics"][name]
        report.setdefault(name, {})["theirs"] = theirs
        report[name]["ours"] = own
        if abs(theirs[0] - own[0]) > 0.02 * max(own[0], 1.0):
            wrong.append(f"{name}: volume {theirs[0]:.1f} against {own[0]:.1f} cm3")
        if own[3] is not None and (theirs[3] is None or abs(theirs[3] - own[3]) > 2):
            wrong.append(f"{name}: Perc15 {theirs[3]} against {own[3]} HU")
    return report, wrong


def read_series(folder):
    """Volume towards S, P, L, spacing, and for each SOP Instance UID its slice; flips are [row, column]."""
    import pydicom

    slices = [pydicom.dcmread(path, force=True) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    slices = [d for d in slices if "PixelData" in d and "ImagePositionPatient" in d]
    orientation = np.array(slices[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    normal *= np.sign(normal[2])
    slices.sort(key=lambda d: float(normal @ np.array(d.ImagePositionPatient, float)))
    places = [float(normal @ np.array(d.ImagePositionPatient, float)) for d in slices]
    hu = np.stack([np.rint(d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)).astype(np.int16) for d in slices])
    flips = [axis for axis, against in ((1, orientation[4] < 0), (2, orientation[0] < 0)) if against]
    step = float(np.median(np.diff(places))) if len(places) > 1 else 1.0
    spacing = [step, float(slices[0].PixelSpacing[0]), float(slices[0].PixelSpacing[1])]
    index = {d.SOPInstanceUID: i for i, d in enumerate(slices)}
    return np.ascontiguousarray(np.flip(hu, flips)), spacing, index, flips


def read_segmentation(path, shape, index, flips):
    """The label map of a BINARY Segmentation on the slices of `read_series`."""
    import pydicom

    seg = pydicom.dcmread(path)
    frames = np.atleast_3d(seg.pixel_array) if seg.pixel_array.ndim == 3 else seg.pixel_array[None]
    mask = np.zeros(shape, np.uint8)
    for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence):
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        mask[index[source]][frame > 0] = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return np.flip(mask, flips)


def read_report(path):
    """The numbers of a TID 1500 report in the order of `measure`, by side. A number that the report lacks is an error."""
    import highdicom

    # Volume; attenuation coefficient as its mean; LAA-950; attenuation coefficient as its 15th percentile.
    wanted = (("118565006", None), ("112031", "373098007"), ("LAA-950", None), ("112031", "PERC15"))
    content = highdicom.sr.srread(path).content
    groups = content.get_volumetric_roi_measurement_groups() + content.get_image_measurement_groups()
    found = {}
    for group in groups:
        derived = [(m, None if m.derivation is None else m.derivation.value) for m in group.get_measurements()]
        numbers = {(m.name.value, derivation): m.value for m, derivation in derived}
        found[str(group.tracking_identifier).split()[0].lower()] = [float(numbers[key]) for key in wanted]
    return {name: found[name] for name in NAMES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, help="folder of a series, or an .npz")
    parser.add_argument("--seg", type=Path, help="Segmentation to compare with")
    parser.add_argument("--metrics", type=json.loads, help='JSON {"right": [cm3, HU, %%, HU], "left": …, "both": …} to compare with')
    parser.add_argument("--report", type=Path, help="report whose numbers to compare with")
    parser.add_argument("--mask", type=Path, help="label map to compare with: a byte for each voxel of CASE.npz")
    arguments = parser.parse_args()
    mask, metrics = None, arguments.metrics
    if arguments.case.suffix == ".npz":
        case = np.load(arguments.case)
        hu, spacing = case["voxels"], case["spacing"]
        mask = case["mask"] if "mask" in case else None
        if "metrics" in case:
            metrics = {name: [None if np.isnan(v) else float(v) for v in row] for name, row in zip(NAMES, case["metrics"])}
        if arguments.mask:
            mask = np.fromfile(arguments.mask, np.uint8).reshape(hu.shape)
    else:
        hu, spacing, index, flips = read_series(arguments.case)
        if arguments.seg:
            mask = read_segmentation(arguments.seg, hu.shape, index, flips)
        if arguments.report:
            metrics = read_report(arguments.report)
    ours = densitometry(hu, spacing)
    out = {"verdict": ours["verdict"], "metrics": ours["metrics"]}
    wrong = []
    if mask is not None:
        out["comparison"], wrong = compare(ours, mask, metrics)
        out["outside_limits"] = wrong
    print(json.dumps(out, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
