"""check_results.py FOLDER: highdicom reads the Segmentation, the Parametric Map and the report in FOLDER; mask, map, places
and numbers must be those of FOLDER/labels.bin, FOLDER/attention.bin and FOLDER/expected.json. Ends with an AssertionError
at the first difference."""

import json
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom

import result_checklist
import result_findings
import result_maps

folder = Path(sys.argv[1])
expected = json.loads((folder / "expected.json").read_text())
sources = [pydicom.dcmread(path) for path in sorted((folder / "source").iterdir())]


def check_identity(result):
    source = sources[0]
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDate", "PatientSex"):
        ours, theirs = result.get(keyword), source.get(keyword)
        assert ours == theirs, (keyword, ours, theirs)
    if "PatientName" in source:
        assert str(result.PatientName) == str(source.PatientName)


def check_segmentation(path):
    seg = highdicom.seg.segread(path)
    check_identity(seg)
    labels = np.frombuffer((folder / "labels.bin").read_bytes(), np.uint8).reshape(expected["shape"])
    present = [label for label in range(1, 256) if any(
        (labels[i] == label).any() for i, s in enumerate(expected["slices"]) if s)]
    assert list(seg.segment_numbers) == list(range(1, len(present) + 1)), seg.segment_numbers
    for i, source in enumerate(expected["slices"]):
        if source is None:
            continue
        if source["frame"] is None:
            read = seg.get_pixels_by_source_instance(
                [source["instance"]], assert_missing_frames_are_empty=True, ignore_spatial_locations=False)
        else:
            read = seg.get_pixels_by_source_frame(
                source["instance"], [source["frame"]], assert_missing_frames_are_empty=True)
        for channel, label in enumerate(present):
            assert np.array_equal(read[0, ..., channel], labels[i] == label), (i, label)
    if expected["geometry"]:
        check_places(seg, labels, present)
    else:
        assert "PlanePositionSequence" not in seg.PerFrameFunctionalGroupsSequence[0]
    return {label: number for number, label in enumerate(present, 1)}


def check_places(seg, labels, present):
    """Each voxel of the label map lies where the Segmentation says, within half a voxel."""
    groups = seg.PerFrameFunctionalGroupsSequence
    frames = {result_maps.slice_of(item, expected): at for at, item in enumerate(groups, 1)}
    result_maps.check_frames(seg, expected, frames)
    if not expected["geometry"]["even"]:
        return
    volume = seg.get_volume(allow_missing_positions=True)
    geometry = expected["geometry"]
    spacing = np.array(geometry["spacing"])
    directions = np.array(geometry["directions"])
    keep = [i for i, source in enumerate(expected["slices"]) if source]
    count = 0
    for channel, label in enumerate(present):
        where = np.argwhere(labels == label)
        where = where[np.isin(where[:, 0], keep)]
        positions = np.array(geometry["origin"]) + (where * spacing) @ directions
        indices = np.rint(volume.map_reference_to_indices(positions)).astype(int)
        error = volume.map_indices_to_reference(indices) - positions
        assert np.abs(error).max() < spacing.min() / 2, error
        array = volume.array[..., channel]
        assert (array[tuple(indices.T)] == 1).all(), label
        assert array.sum() == len(where), (label, array.sum(), len(where))
        count += len(where)
    assert count > 0


def check_report(path, numbers):
    report = highdicom.sr.srread(path)
    check_identity(report)
    assert report.VerificationFlag == "UNVERIFIED"
    by_label = {group.tracking_identifier: group for group in result_findings.groups_of(report)}
    labels = result_findings.check(report, expected, by_label)
    labels += check_regions(by_label)
    assert sorted(by_label) == sorted(labels + [group["label"] for group in expected["groups"]]), by_label
    for wanted in expected["groups"]:
        check_group(by_label[wanted["label"]], wanted, numbers)
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert {source.SOPInstanceUID for source in sources} <= evidence
    return report


def check_regions(by_label):
    """Every rectangle is a closed line in the source image around pixels of one label, and touches them on all sides."""
    regions = {label: group for label, group in by_label.items() if ", region " in label}
    if regions:
        labels = np.frombuffer((folder / "labels.bin").read_bytes(), np.uint8).reshape(expected["shape"])[0]
    for group in regions.values():
        roi = group.roi
        points = roi.value
        assert roi.graphic_type.value == "POLYLINE" and np.array_equal(points[0], points[-1])
        (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
        inside = labels[top:bottom, left:right]
        assert any((inside[0] == n).any() and (inside[-1] == n).any() and (inside[:, 0] == n).any()
                   and (inside[:, -1] == n).any() for n in range(1, labels.max() + 1)), points
        source = roi.ContentSequence[-1]
        assert result_findings.reference(source) == expected["slices"][0]
    return list(regions)


def check_group(group, wanted, numbers):
    segments = [numbers[n] for n in wanted["segments"] if n in numbers]
    if len(wanted["segments"]) == 1 and segments and not expected["geometry"]:
        referenced = group.referenced_segmentation_frame[0].ReferencedSOPSequence[0]
        assert referenced.ReferencedFrameNumber == segments[0], "one frame for each segment of a radiograph"
    elif len(wanted["segments"]) == 1 and segments:
        referenced = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert referenced.ReferencedSegmentNumber == segments[0], wanted
    elif segments:
        referenced = group.source_images[0].ReferencedSOPSequence[0]
        assert list(np.atleast_1d(referenced.ReferencedSegmentNumber)) == segments, wanted
    values = [value for value in wanted["values"] if value["value"] is not None]
    measurements = group.get_measurements()
    assert len(measurements) == len(values)
    for measurement, value in zip(measurements, values):
        assert measurement.name.value == value["code"]
        assert measurement.value == value["value"], (measurement.value, value)
        assert measurement.unit.value == value["unit"]
        shown = float(measurement[0].MeasuredValueSequence[0].NumericValue)
        assert abs(shown - value["value"]) <= 1e-5 * abs(value["value"])
    undefined = [value["label"] for value in wanted["values"] if value["value"] is None]
    said = [f"Not defined here: {', '.join(undefined)}."] if undefined else []
    assert result_findings.texts(group, "121106") == said, wanted
    site = group.finding_sites[0]
    side = {"Right lung": "24028007", "Left lung": "7771000"}.get(wanted["label"])
    assert (site.laterality.value if site.laterality else None) == side, (wanted["label"], site.laterality)


segmentation, parametric_map = folder / "seg.dcm", folder / "pm.dcm"
if parametric_map.exists():
    check_identity(result_maps.check(parametric_map, expected, folder / "attention.bin"))
report = check_report(folder / "sr.dcm", check_segmentation(segmentation) if segmentation.exists() else {})
if segmentation.exists():
    result_checklist.check(highdicom.seg.segread(segmentation), report, sources)
