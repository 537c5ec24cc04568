"""What the checklist of IHE AI Results asks of a Segmentation and its report beside masks and numbers: names, sides, colours,
tracking, equipment, references."""

import result_findings


def check(seg, report, sources):
    """Asserts that each holds for itself and that both say the same."""
    groups = {str(group.tracking_identifier): group for group in result_findings.groups_of(report)}
    device = check_equipment(seg, report)
    for segment in seg.SegmentSequence:
        check_segment(segment, groups.get(str(segment.TrackingID)), device)
    colours = [tuple(segment.RecommendedDisplayCIELabValue) for segment in seg.SegmentSequence]
    assert all(len(colour) == 3 for colour in colours), colours
    tracked = [str(segment.TrackingUID) for segment in seg.SegmentSequence]
    assert len(set(tracked)) == len(tracked), tracked
    check_series(seg, report, sources)


def check_segment(segment, group, device):
    """`group`: the measurements on it, where there are any."""
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentAlgorithmName == algorithm.AlgorithmName
    said = (algorithm.AlgorithmName, algorithm.AlgorithmVersion, algorithm.AlgorithmSource)
    assert said == (device.ManufacturerModelName, device.SoftwareVersions, device.Manufacturer), said
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    side = code(kind.get("SegmentedPropertyTypeModifierCodeSequence"))
    region = segment.get("AnatomicRegionSequence")
    assert region is None or code(region[0].get("AnatomicRegionModifierSequence")) == side, segment.SegmentLabel
    if group is None:
        return
    assert str(segment.TrackingUID) == str(group.tracking_uid), segment.TrackingID
    assert tuple(text for concept in ("111001", "111003", "122405") for text in result_findings.texts(group, concept)) == said
    for site in group.finding_sites or []:
        assert region is None or site.value.value == region[0].CodeValue
        assert (site.laterality.value if site.laterality else None) == side


def check_equipment(seg, report):
    """The algorithm as a device, the same in both; gives its item."""
    items = []
    for result in (seg, report):
        (item,) = result.ContributingEquipmentSequence
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue
        items.append(item)
        for keyword in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"):
            assert result[keyword].value, keyword
    for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID"):
        assert items[0][keyword].value == items[1][keyword].value != "", keyword
    observers = [item.UID for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121012"]
    assert observers == [items[0].DeviceUID], observers
    return items[0]


def check_series(seg, report, sources):
    for result in (seg, report):
        assert result.SeriesDescription and result.SeriesDescriptionCodeSequence[0].CodeValue
    assert seg.SeriesInstanceUID != report.SeriesInstanceUID and seg.SeriesDescription != report.SeriesDescription
    (series,) = seg.ReferencedSeriesSequence
    assert {series.SeriesInstanceUID} == {source.SeriesInstanceUID for source in sources}
    referenced = {instance.ReferencedSOPInstanceUID for instance in series.ReferencedInstanceSequence}
    assert referenced == {source.SOPInstanceUID for source in sources}
    assert "FrameOfReferenceUID" not in seg or seg.FrameOfReferenceUID in {source.FrameOfReferenceUID for source in sources}


def code(sequence):
    """The value of a code sequence of one item; None where there is no sequence."""
    return sequence[0].CodeValue if sequence else None
