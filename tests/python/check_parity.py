"""Whether models/parity.py compares what it says, and finds what differs. Needs no PyTorch.

    python tests/python/check_parity.py      exit code 0 where all is as it must be
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

MODELS = Path(__file__).resolve().parents[2] / "models"
sys.path.insert(0, str(MODELS))

import parity  # noqa: E402
import parity_objects as objects  # noqa: E402


def everything_that_the_machine_can_is_compared() -> None:
    said = lambda *asked: [str(setting) for setting in parity.plan(*asked)]  # noqa: E731
    assert said(False, None, None) == ["cpu float32"]
    assert said(True, None, None) == ["cpu float32", "cuda float32", "cuda float16", "cuda bfloat16"]
    assert said(True, "cuda", None) == ["cuda float32", "cuda float16", "cuda bfloat16"]
    assert said(True, None, "bfloat16") == ["cuda bfloat16"]
    assert said(True, "cpu", None) == ["cpu float32"]
    # What was asked for is tried, whatever the machine has.
    assert said(False, "cuda", "float16") == ["cuda float16"] and said(False, "cuda", None) == ["cuda float32"]
    assert said(False, None, "bfloat16") == ["cpu bfloat16"]


def tolerances_are_the_manifests() -> None:
    single, half = parity.Setting("cuda", "float32"), parity.Setting("cuda", "float16")
    assert parity.tolerance(single, {"golden": {"half_tolerance": 0.5}}, False) == (1e-3, 0.999)
    assert parity.tolerance(half, {"golden": {"half_tolerance": 0.03}}, False) == (0.03, 0.97)
    assert parity.tolerance(half, {}, False) == (0.05, 0.95)
    assert parity.tolerance(single, {}, True) == (2e-2, 0.98)


def what_differs_is_a_fault() -> None:
    def judged(precision: str, **found) -> list[str]:
        return parity.faults(parity.Compared("p", "s", parity.Setting("cuda", precision), **found), 1e-3, 0.999)

    assert judged("float32", logits=1e-4, embeddings=1e-4, dice=1.0, heat=1e-4, text="same") == []
    assert judged("float32") == []
    for found in ({"logits": 2e-3}, {"embeddings": float("inf")}, {"dice": 0.99}, {"heat": 0.1}, {"text": "differs"}):
        assert len(judged("float32", **found)) == 1, found
    assert judged("float16", text="differs") == []


def settings_reach_the_manifest() -> None:
    with tempfile.TemporaryDirectory() as name:
        manifest = Path(name) / "model.toml"
        manifest.write_text((MODELS / "chest-ct-r3d18" / "model.toml").read_text())
        parity.write(Path(name), "float16", 16)
        text = manifest.read_text()
        assert 'precision = { cpu = "float32", cuda = "float16" }' in text and "\nstride = 16\n" in text
        parity.write(Path(name), "bfloat16")
        text = manifest.read_text()
        assert 'precision = { cpu = "bfloat16", cuda = "bfloat16" }' in text and "\nstride = 1\n" in text


def saved(folder: Path, name: str, sop_class: str, modality: str, **elements) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, "2.25.1"
    data_set = Dataset()
    data_set.file_meta = meta
    data_set.SOPClassUID, data_set.SOPInstanceUID, data_set.Modality = sop_class, "2.25.1", modality
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    data_set.save_as(folder / name, enforce_file_format=True)


def item(**elements) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def text_is_compared_to_the_letter() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words, wanted in (("Lungs: clear.\r\n\r\nHeart: normal.", "Lungs: clear.\n\nHeart: normal."), ("Lungs: clear. Or not.", "Lungs: clear. Or not.")):
            report = item(ValueType="TEXT", TextValue=f"{objects.HEADING}\r\n{words}")
            saved(folder, "report.dcm", "1.2.840.10008.5.1.4.1.1.88.34", "SR", ContentSequence=[item(ValueType="CONTAINER", ContentSequence=[item(ValueType="TEXT", TextValue=objects.HEADING), item(ValueType="TEXT", TextValue="other"), report])])
            assert objects.generated_text(folder) == wanted
        assert objects.generated_text(folder) != objects.as_written("Lungs: clear.")
    assert objects.as_written("\n a\tb \n\n\n\x07c\n") == " a b\n\nc"


def a_map_is_compared_voxel_by_voxel() -> None:
    random = np.random.default_rng(0)
    positions = np.array([[0.0, 0.0, z] for z in (0, 5, 10)])
    expected = random.random((3, 4, 5))
    expected[1] = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert objects.map_difference(folder, expected, positions) == float("inf") and objects.map_difference(folder, expected * 0, positions) == 0
        frames = np.rint(expected[[2, 0]] * 65535).astype(np.uint16)
        mapping = item(RealWorldValueSlope=1 / 65535, RealWorldValueIntercept=0.0)
        groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (10, 0)]
        saved(folder, "map.dcm", objects.PARAMETRIC_MAP, "OT", Rows=4, Columns=5, NumberOfFrames=2, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
              SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelData=frames.tobytes(),
              SharedFunctionalGroupsSequence=[item(RealWorldValueMappingSequence=[mapping])], PerFrameFunctionalGroupsSequence=groups)
        assert objects.map_difference(folder, expected, positions) < 1e-5
        assert objects.map_difference(folder, expected[::-1], positions) > 0.1
        expected[1, 0, 0] = 0.25
        assert objects.map_difference(folder, expected, positions) == 0.25


def main() -> None:
    for check in (everything_that_the_machine_can_is_compared, tolerances_are_the_manifests, what_differs_is_a_fault, settings_reach_the_manifest,
                  text_is_compared_to_the_letter, a_map_is_compared_voxel_by_voxel):
        check()
        print(f"{check.__name__}: ok")


if __name__ == "__main__":
    main()
