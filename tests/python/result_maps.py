"""What highdicom finds in a Parametric Map: values in real-world units, and where each frame lies."""

import highdicom
import numpy as np
import pydicom


def check(path, expected, values):
    """Asserts that the map is the one in `values`; adds to `expected` what the report says of it. Gives the object."""
    pm = highdicom.pm.ParametricMap.from_dataset(pydicom.dcmread(path))
    attention = np.frombuffer(values.read_bytes(), np.float32).reshape(expected["shape"])
    assert pm.ContentQualification == "RESEARCH"
    frames = {}
    for at, groups in enumerate(pm.PerFrameFunctionalGroupsSequence, 1):
        slice_ = slice_of(groups, expected)
        assert slice_ not in frames, slice_
        frames[slice_] = at
        read = pm.get_frame(at, apply_real_world_transform=True)
        assert np.abs(read - attention[slice_]).max() <= 0.5001 / 65535, slice_
        stored = pm.get_frame(at, apply_real_world_transform=False, apply_modality_transform=False)
        assert stored.max() > 0 or (stored == 0).all()
    for slice_, source in enumerate(expected["slices"]):
        if source and slice_ not in frames:
            assert attention[slice_].max() <= 0.5001 / 65535, slice_
    assert list(frames) == sorted(frames)
    check_places(pm, expected, attention, frames)
    check_peer(pm)
    expected["map_instance"] = pm.SOPInstanceUID
    expected["map_frames"] = frames
    expected["key_values"] = {s: float(attention[s].max()) for s in expected["attention"]["key_slices"]}
    return pm


def slice_of(groups, expected):
    image = groups.DerivationImageSequence[0].SourceImageSequence[0]
    frame = image.get("ReferencedFrameNumber")
    source = {"instance": image.ReferencedSOPInstanceUID, "frame": None if frame is None else int(frame)}
    return expected["slices"].index(source)


def check_places(pm, expected, attention, frames):
    """Each value of the map lies where the object says, within half a voxel."""
    geometry = expected["geometry"]
    check_frames(pm, expected, frames)
    if not geometry["even"]:
        return
    spacing, directions = np.array(geometry["spacing"]), np.array(geometry["directions"])
    volume = pm.get_volume(allow_missing_positions=True, apply_real_world_transform=True)
    where = np.argwhere(attention > 1 / 65535)
    where = where[np.isin(where[:, 0], list(frames))]
    positions = np.array(geometry["origin"]) + (where * spacing) @ directions
    indices = np.rint(volume.map_reference_to_indices(positions)).astype(int)
    error = volume.map_indices_to_reference(indices) - positions
    assert np.abs(error).max() < spacing.min() / 2, error
    assert np.abs(volume.array[tuple(indices.T)] - attention[tuple(where.T)]).max() <= 0.5001 / 65535


def check_frames(result, expected, frames):
    """The first pixel of each frame lies where its slice does, within half the distance of two slices."""
    geometry = expected["geometry"]
    for slice_, at in frames.items():
        groups = result.PerFrameFunctionalGroupsSequence[at - 1]
        read = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        wanted = np.array(geometry["origin"]) + slice_ * geometry["spacing"][0] * np.array(geometry["directions"][0])
        assert np.abs(read - wanted).max() < geometry["spacing"][0] / 2, (slice_, read, wanted)


def check_peer(pm):
    """The mapping is one that highdicom writes for such a map."""
    (mapping,) = pm.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    peer = highdicom.pm.RealWorldValueMapping(
        lut_label="ATTENTION", lut_explanation=mapping.LUTExplanation, value_range=(0, 65535), slope=1 / 65535,
        intercept=0, unit=highdicom.sr.CodedConcept("1", "UCUM", "no units"),
        quantity_definition=highdicom.sr.CodedConcept("130404", "DCM", "Saliency"))
    assert sorted(peer.dir()) == sorted(mapping.dir()), (peer, mapping)
    for keyword in ("RealWorldValueSlope", "RealWorldValueIntercept", "RealWorldValueFirstValueMapped",
                    "RealWorldValueLastValueMapped", "LUTLabel"):
        assert peer[keyword].value == mapping[keyword].value, keyword
