#!/usr/bin/env python3
"""The job of the default model as a Python user would write it: pydicom, SciPy, highdicom.

    python_pipeline.py SERIES_FOLDER OUT_FOLDER

Reads a CT series, segments the lungs by density and connectivity, measures volume, mean density, LAA-950 and the 15th
percentile of left, right and both, and writes a Segmentation and a Comprehensive 3D SR (TID 1500). Prints one JSON
object with the seconds of each phase; `total_s` leaves out starting Python and importing the libraries.
"""
import argparse
import json
import resource
import time
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage

AIR_BELOW = -500  # HU
AIRWAY_BELOW = -930
CLOSING_MM = 5.0
LEAST_LUNG_CM3 = 100.0
PADDING = 8
LUNG = Code("39607008", "SCT", "Lung")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
CUBIC_CM = Code("cm3", "UCUM", "cubic centimeter")
PERCENT = Code("%", "UCUM", "percent")
SIDES = ((1, "Right lung", codes.SCT.Right), (2, "Left lung", codes.SCT.Left))


def read(folder):
    """Data sets by position along the normal, HU as int16 (z, y, x), spacing (z, y, x) in mm."""
    images = [pydicom.dcmread(p) for p in sorted(Path(folder).rglob("*.dcm"))]
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    at = {id(d): float(np.dot(normal, np.array(d.ImagePositionPatient, float))) for d in images}
    images.sort(key=lambda d: at[id(d)])
    hu = np.empty((len(images), images[0].Rows, images[0].Columns), np.int16)
    for z, d in enumerate(images):
        slope, intercept = float(d.RescaleSlope), float(d.RescaleIntercept)
        hu[z] = d.pixel_array if slope == 1 else np.rint(d.pixel_array * slope)
        hu[z] += int(intercept)
    thickness = at[id(images[1])] - at[id(images[0])]
    return images, hu, (thickness, float(images[0].PixelSpacing[0]), float(images[0].PixelSpacing[1]))


def lungs(hu, spacing):
    """Label map (1 right, 2 left): air inside the body, without airways, vessels closed."""
    cm3 = float(np.prod(spacing)) / 1000
    labels, n = ndimage.label(hu < AIR_BELOW)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sizes[0] = 0
    for face in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        sizes[np.unique(face)] = 0
    big = [i for i in np.argsort(sizes)[::-1][:2] if sizes[i] * cm3 > LEAST_LUNG_CM3]
    out = np.zeros(hu.shape, np.uint8)
    if not big:
        return out
    lung = np.isin(labels, big)
    airway, m = ndimage.label(lung & (hu < AIRWAY_BELOW))
    top = np.unique(airway[-1])
    lung &= ~np.isin(airway, top[top > 0])
    box = tuple(slice(max(int(i.min()) - PADDING, 0), int(i.max()) + 1 + PADDING) for i in np.nonzero(lung))
    part = lung[box].copy()
    near = ndimage.distance_transform_edt(~part, sampling=spacing) <= CLOSING_MM
    part |= ndimage.distance_transform_edt(near, sampling=spacing) > CLOSING_MM
    for plane in part:
        plane |= ndimage.binary_fill_holes(plane)
    # An axial image shows the patient's right at low columns; the body's middle divides.
    middle = int(np.nonzero(hu[hu.shape[0] // 2] > AIR_BELOW)[1].mean()) - box[2].start
    side = np.where(np.arange(part.shape[2]) < middle, 1, 2).astype(np.uint8)
    out[box] = part * side[None, None, :]
    return out


def measure(hu, mask, cm3):
    """Volume in cm3, mean HU, LAA-950 in percent, 15th percentile in HU."""
    counts = np.bincount(np.clip(hu[mask], -1024, 3071).astype(np.int32) + 1024, minlength=4096)
    n, values = int(counts.sum()), np.arange(4096) - 1024
    percentile = int(values[np.searchsorted(counts.cumsum(), 0.15 * n)])
    return n * cm3, float((counts * values).sum() / n), 100 * float(counts[values < -950].sum()) / n, percentile


def segmentation(images, label_map):
    """A BINARY Segmentation with a segment per lung."""
    algorithm = hd.AlgorithmIdentificationSequence("lungs", codes.cid7162.ArtificialIntelligence, "1")
    segments = [hd.seg.SegmentDescription(n, label, ANATOMY, LUNG, "AUTOMATIC", algorithm) for n, label, _ in SIDES]
    return hd.seg.Segmentation(images, label_map, "BINARY", segments, hd.UID(), 100, hd.UID(), 1, "peer", "peer", "1",
                               "1")


def report(images, seg, values):
    """A TID 1500 report with a measurement group for each lung and one for both."""
    observer = sr.ObserverContext(codes.DCM.Device, sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name="peer"))
    algorithm = sr.AlgorithmIdentification("lungs", "1")
    groups = []
    for number, label, side in (*SIDES, (0, "Lungs", None)):
        volume, mean, laa, percentile = values[number]
        measurements = [
            sr.Measurement(codes.SCT.Volume, volume, CUBIC_CM),
            sr.Measurement(codes.DCM.AttenuationCoefficient, mean, HOUNSFIELD, derivation=codes.SCT.Mean),
            sr.Measurement(Code("LAA950", "99PEER", "Low attenuation area"), laa, PERCENT),
            sr.Measurement(Code("PERC15", "99PEER", "15th percentile density"), percentile, HOUNSFIELD),
        ]
        common = {"tracking_identifier": sr.TrackingIdentifier(hd.UID(), label), "finding_type": LUNG,
                  "measurements": measurements, "algorithm_id": algorithm,
                  "finding_sites": [sr.FindingSite(LUNG, laterality=side)]}
        if number:
            segment = sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number,
                                           source_series=sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID))
            groups.append(sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common))
        else:
            groups.append(sr.MeasurementsAndQualitativeEvaluations(**common))
    content = sr.MeasurementReport(sr.ObservationContext(observer_device_context=observer),
                                   Code("363680008", "SCT", "Radiographic imaging procedure"), groups)
    return sr.Comprehensive3DSR([*images, seg], content, hd.UID(), 200, hd.UID(), 1, "peer", is_complete=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("series", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    seconds, last = {}, time.perf_counter()

    def phase(name):
        nonlocal last
        now = time.perf_counter()
        seconds[f"{name}_s"], last = round(now - last, 3), now

    images, hu, spacing = read(a.series)
    phase("read")
    label_map = lungs(hu, spacing)
    phase("segment")
    cm3 = float(np.prod(spacing)) / 1000
    values = {n: measure(hu, label_map == n if n else label_map > 0, cm3) for n in (1, 2, 0)}
    phase("measure")
    seg = segmentation(images, label_map)
    seg.save_as(a.out / "seg.dcm")
    phase("seg")
    report(images, seg, values).save_as(a.out / "sr.dcm")
    phase("sr")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"slices": len(images), **seconds, "total_s": round(sum(seconds.values()), 3),
                      "rss_peak_mb": round(peak, 1), "both_lungs": [round(v, 2) for v in values[0]]}))


if __name__ == "__main__":
    main()
