"""check_packages.py PACKAGE KEY SOURCE OBJECTS: what highdicom reads in the objects below OBJECTS, which a package made of the DICOM
files in SOURCE, is what the published tools give for them: PACKAGE/golden/e2e.json, under KEY. The places of voxels are those of the
files in SOURCE alone. Ends with an AssertionError at the first difference."""

import json
import sys
import tomllib
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.sr.coding import CodedConcept

import result_findings
from result_findings import PRESENCE, PROBABILITY, SALIENCY, reference

package, key, source, objects = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
manifest = tomllib.loads((package / "model.toml").read_text())
golden = json.loads((package / "golden" / "e2e.json").read_text())
wanted, tolerance = golden["of"][key], golden["tolerance"]


def in_order(images):
    """Slices in ascending order of their position along the normal; one radiograph as it is."""
    if len(images) == 1:
        return images
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    return sorted(images, key=lambda image: float(np.dot(np.cross(row, column), np.array(image.ImagePositionPatient, float))))


files = [source] if source.is_file() else sorted(source.glob("*.dcm"))
sources = in_order([pydicom.dcmread(path, stop_before_pixels=True) for path in files])
uids = [image.SOPInstanceUID for image in sources]
shape = [len(sources), sources[0].Rows, sources[0].Columns]


def near(found, expected, what):
    assert abs(found - expected) <= tolerance * max(1, abs(expected)), (what, found, expected)


def cells(array):
    """Sums over the cells of a grid of up to 4 along each axis; voxel i of n lies in cell i * 4 // n."""
    for axis, extent in enumerate(array.shape):
        count = min(4, extent)
        array = np.add.reduceat(array, [-(-cell * extent // count) for cell in range(count)], axis=axis, dtype=np.float64)
    return array.ravel()


def check_frames(result):
    """Every frame lies where the image does that it is derived from; gives the index of that image for each frame."""
    images = []
    for groups in result.PerFrameFunctionalGroupsSequence:
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        images.append(uids.index(image.ReferencedSOPInstanceUID))
        if "ImagePositionPatient" in sources[0]:
            place = groups.PlanePositionSequence[0].ImagePositionPatient
            assert list(place) == list(sources[images[-1]].ImagePositionPatient), (images[-1], place)
    if "ImageOrientationPatient" in sources[0]:
        shared = result.SharedFunctionalGroupsSequence[0]
        assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == list(sources[0].ImageOrientationPatient)
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == list(sources[0].PixelSpacing)
    return images


def check_segmentation(path):
    seg = highdicom.seg.segread(path)
    check_frames(seg)
    read = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, ignore_spatial_locations=False)
    assert list(read.shape[:3]) == shape == wanted["segmentation"]["shape"], read.shape
    names = [segment["label"] for segment in manifest["output"]["segmentation"]["segments"]]
    labels = np.zeros(shape, np.uint8)
    for channel, number in enumerate(seg.segment_numbers):
        label = names.index(seg.get_segment_description(number).segment_label) + 1
        assert not labels[read[..., channel] > 0].any(), "two segments at one place"
        labels[read[..., channel] > 0] = label
    # Where two scores are all but equal either may win.
    may_differ = (labels > 0).sum() / 1000
    for label in range(1, len(names) + 1):
        expected = wanted["segmentation"]["cells"].get(str(label))
        expected = np.array(expected.split(), float) if expected else 0
        apart = np.abs(cells(labels == label) - expected).sum()
        assert apart <= may_differ, (names[label - 1], apart, may_differ)
    if "patch_labels" in wanted:
        check_patches(labels[0])


def check_patches(labels):
    """At the centre of each patch stands its own label: the image's shorter side is resized, and its middle is what was looked at."""
    patches = np.array(wanted["patch_labels"])
    side = next(step for step in manifest["input"]["steps"] if step["do"] == "shorter-side")["length"]
    resized = [extent * side // min(labels.shape) for extent in labels.shape]
    axes = []
    for extent, new, count in zip(labels.shape, resized, patches.shape):
        centres = (new - side) // 2 + (np.arange(count) + 0.5) * side / count
        axes.append((centres * extent / new).astype(int))
    assert np.array_equal(labels[np.ix_(*axes)], patches), labels[np.ix_(*axes)]


def check_map(path):
    pm = highdicom.pm.ParametricMap.from_dataset(pydicom.dcmread(path))
    values = np.zeros(shape, np.float32)
    for at, image in enumerate(check_frames(pm), 1):
        values[image] = pm.get_frame(at, apply_real_world_transform=True)
    assert shape == wanted["attention_map"]["shape"] and values.max() == 1
    expected = np.array(wanted["attention_map"]["cells"].split(), float)
    found = cells(values) / cells(np.ones(shape, np.uint8))
    assert np.abs(found - expected).max() <= tolerance, (found, expected)


def check_report(path):
    report = highdicom.sr.srread(path)
    assert report.StudyInstanceUID == sources[0].StudyInstanceUID
    content = report.content
    groups = (content.get_volumetric_roi_measurement_groups() + content.get_image_measurement_groups()
              + content.get_planar_roi_measurement_groups())
    groups = {group.tracking_identifier: group for group in groups}
    labels = [label for output in manifest["output"]["classification"] for label in output["labels"] if not label.get("skip")]
    assert sorted(label["label"] for label in labels) == sorted(wanted["findings"])
    for label in labels:
        check_finding(groups[label["label"]], label, wanted["findings"][label["label"]])
    if "slice_scores" in wanted:
        check_slices(groups, labels[0])
    if "attention_map" in wanted:
        rows = groups[manifest["output"]["attention"]["label"]].get_measurements(SALIENCY)
        keys = [uids.index(reference(evidence(row)[0])["instance"]) for row in rows]
        assert keys == wanted["attention_map"]["key_slices"], keys
    result_findings.check_text(report, wanted.get("text"))


def check_finding(group, label, expected):
    (probability,) = group.get_measurements(PROBABILITY)
    near(probability.value / 100, expected, label["label"])
    least, most = label.get("uncertain", (2, 2))
    present = "Present" if expected >= label["threshold"] else "Absent"
    decision = "Uncertain" if least <= expected <= most else present
    code, scheme, _ = label["concept"].split(", ", 2)
    (answer,) = group.get_qualitative_evaluations(CodedConcept(code, scheme, "?"))
    assert answer.value.value == PRESENCE[decision], (label["label"], answer.value)


def check_slices(groups, label):
    scores = wanted["slice_scores"]
    peak = groups[label["label"] + ", peak slice"]
    near(peak.get_measurements(PROBABILITY)[0].value / 100, scores[wanted["peak_slice"]], "peak")
    assert [reference(image)["instance"] for image in peak.source_images] == [uids[wanted["peak_slice"]]]
    least = min([label["threshold"], *label.get("uncertain", [])])
    notable = [(uids[index], score) for index, score in enumerate(scores) if score >= least]
    rows = groups[label["label"] + ", by slice"].get_measurements(PROBABILITY)
    assert [reference(evidence(row)[0])["instance"] for row in rows] == [uid for uid, _ in notable]
    for row, (uid, score) in zip(rows, notable):
        near(row.value / 100, score, uid)


def evidence(row):
    return [item for item in row[0].ContentSequence if item.RelationshipType == "INFERRED FROM"]


CHECKS = (
    ("report", "findings", check_report),
    ("segmentation", "segmentation", check_segmentation),
    ("parametric map", "attention_map", check_map),
)
for kind, given, check in CHECKS:
    found = list(objects.rglob(f"* {kind}.dcm"))
    assert len(found) == (1 if given in wanted else 0), (kind, found)
    for path in found:
        check(path)
