"""check_received.py SERIES SEG SR: a receiver holds the Segmentation and the report of lung-densitometry against the CT that
they were made of. Ends with an AssertionError at the first difference."""

import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom

import result_checklist
import result_findings

VOLUME, ATTENUATION, LAA_950 = "118565006", "112031", "LAA-950"
MEAN, PERC15 = "373098007", "PERC15"


def read_sources(folder):
    sources = [pydicom.dcmread(path) for path in sorted(Path(folder).glob("*.dcm"))]
    return sorted(sources, key=lambda source: float(source.ImagePositionPatient[2]))


def check_frames(seg, by_uid):
    """Every frame lies where its source does, to the letter."""
    (shared,) = seg.SharedFunctionalGroupsSequence
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = by_uid[groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        measures = shared.PixelMeasuresSequence[0]
        for ours, theirs in (
            (groups.PlanePositionSequence[0].ImagePositionPatient, source.ImagePositionPatient),
            (shared.PlaneOrientationSequence[0].ImageOrientationPatient, source.ImageOrientationPatient),
            (measures.PixelSpacing, source.PixelSpacing),
            ([measures.SliceThickness], [source.SliceThickness]),
        ):
            assert [str(value) for value in ours] == [str(value) for value in theirs], (ours, theirs)
    assert (seg.Rows, seg.Columns) == (source.Rows, source.Columns)


def numbers_on(hu, voxel_cm3):
    """What the package's README defines, of the voxels of a lung."""
    values = np.sort(np.clip(hu, -1024, None))
    return {
        (VOLUME, None): len(values) * voxel_cm3,
        (ATTENUATION, MEAN): values.mean(),
        (LAA_950, None): 100 * (values < -950).mean(),
        (ATTENUATION, PERC15): values[int(np.ceil(0.15 * len(values))) - 1],
    }


def check_numbers(seg, report, sources):
    """The report's numbers are those of the Segmentation's voxels in the CT."""
    uids = [source.SOPInstanceUID for source in sources]
    masks = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, ignore_spatial_locations=True)
    hu = np.stack([source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept) for source in sources])
    places = [float(source.ImagePositionPatient[2]) for source in sources]
    spacing = [np.diff(places).mean(), *(float(value) for value in sources[0].PixelSpacing)]
    of_label = {"Both lungs": masks.any(axis=-1)}
    for number in seg.segment_numbers:
        of_label[seg.get_segment_description(number).segment_label] = masks[..., number - 1] > 0
    assert sorted(of_label) == ["Both lungs", "Left lung", "Right lung"]
    groups = {str(group.tracking_identifier): group for group in result_findings.groups_of(report)}
    for label, mask in of_label.items():
        expected = numbers_on(hu[mask], np.prod(spacing) / 1000)
        for measurement in groups[label].get_measurements():
            derivation = None if measurement.derivation is None else measurement.derivation.value
            value = expected.pop((measurement.name.value, derivation))
            assert abs(measurement.value - value) <= 1e-5 * abs(value), (label, measurement.name.meaning, measurement.value, value)
        assert not expected, (label, expected)


def check_words(report, sources):
    """What the numbers depend on, and what was odd about the series, stands in the report."""
    said = "\n".join(item.TextValue for item in result_findings.walk(report) if item.ValueType == "TEXT")
    source = sources[0]
    assert f"convolution kernel {source.ConvolutionKernel}," in said, said
    assert f"slice thickness {float(source.SliceThickness):g} mm," in said, said
    frames_of_reference = {source.FrameOfReferenceUID for source in sources}
    assert len(frames_of_reference) == len(sources) > 1
    assert f"{len(sources)} different frames of reference" in said, said
    thickness = [item.MeasuredValueSequence[0].NumericValue for item in result_findings.walk(report)
                 if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "112225"]
    assert thickness == [source.SliceThickness], thickness


def main():
    sources = read_sources(sys.argv[1])
    seg, report = highdicom.seg.segread(sys.argv[2]), highdicom.sr.srread(sys.argv[3])
    assert sources and all(result.StudyInstanceUID == sources[0].StudyInstanceUID for result in (seg, report))
    result_checklist.check(seg, report, sources)
    tracked = {str(group.tracking_identifier) for group in result_findings.groups_of(report)}
    for segment in seg.SegmentSequence:
        assert str(segment.TrackingID) in tracked, segment.TrackingID
        (region,) = segment.AnatomicRegionSequence
        assert (region.CodingSchemeDesignator, region.CodeValue) == ("SCT", "39607008"), region
        side = {"Right lung": "24028007", "Left lung": "7771000"}[segment.SegmentLabel]
        assert region.AnatomicRegionModifierSequence[0].CodeValue == side, segment.SegmentLabel
    check_frames(seg, {source.SOPInstanceUID: source for source in sources})
    check_numbers(seg, report, sources)
    check_words(report, sources)


if __name__ == "__main__":
    main()
