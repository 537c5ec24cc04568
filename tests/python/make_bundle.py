"""Makes tests/fixtures/bundle: a small MONAI bundle, a CT series, and what MONAI itself makes of it.

    bundle.zip      a bundle as monai.bundle packs it: configs/metadata.json, configs/inference.json, models/model.ts
    series.zip      a phantom of 20 slices of 44 x 40 pixels, 2.5 x 1.5 x 1.2 mm
    expected.npz    labels: uint8 [slices, rows, columns] of the series, slices in the order of their instance numbers

The series is read, prepared, run, brought back and decided on by the bundle's own configuration. The network is untrained.

Run with a Python that has PyTorch 2.11, MONAI 1.6 and pydicom 3: python tests/python/make_bundle.py
"""

import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "bundle"
sys.path.insert(0, str(HERE.parents[2] / "models"))

import torchscript as ts  # noqa: E402

SLICES, ROWS, COLUMNS = 20, 44, 40
SPACING = (2.5, 1.5, 1.2)
CLASSES = ["background", "airway", "soft tissue"]

METADATA = {
    "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
    "version": "0.3.1",
    "monai_version": "1.6.1",
    "name": "Airway CT segmentation (test)",
    "task": "Segmentation of a phantom",
    "description": "Untrained: for tests.",
    "authors": "overread tests",
    "copyright": "Nobody",
    "intended_use": "Tests. Not for diagnostic purposes.",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": 1,
                "spatial_shape": [16, 16, 16],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": 3,
                "spatial_shape": [16, 16, 16],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {str(n): name for n, name in enumerate(CLASSES)},
            }
        },
    },
}

INFERENCE = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "device": "$torch.device('cpu')",
    "roi": [16, 16, 16],
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "PydicomReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": [["L", "R"], ["P", "A"], ["I", "S"]]},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -900, "a_max": 300, "b_min": 0, "b_max": 1, "clip": True},
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi", "sw_batch_size": 2, "overlap": 0.5, "mode": "gaussian"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "nearest_interp": False,
                "to_tensor": True,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
}


def values() -> np.ndarray:
    """A body with two airways in it, Hounsfield units."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (SLICES, ROWS, COLUMNS)), indexing="ij")
    body = 40 - 1040 / (1 + np.exp(-12 * (y**2 + x**2 - 0.75)))
    for side in (-0.4, 0.35):
        tube = (x - side - 0.15 * z) ** 2 + (y + 0.1 * np.sin(3 * z)) ** 2
        body -= (body + 950) / (1 + np.exp(60 * (tube - 0.05)))
    return np.round(body).astype(np.int16)


def instance(number: int, pixels: np.ndarray) -> bytes:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    uid = "2.25.29093480192304982034"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{uid}.2.{number + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{uid}.1", f"{uid}.2", f"{uid}.3"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "PHANTOM^BUNDLE", "BUNDLE", "", ""
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "120000", "1", ""
    ds.ReferringPhysicianName, ds.Manufacturer, ds.PositionReferenceIndicator = "", "overread tests", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 2, number + 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.KVP, ds.SliceThickness = "120", SPACING[0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-20.0, -31.0, 100 + SPACING[0] * number]
    ds.PixelSpacing = [SPACING[1], SPACING[2]]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
    ds.PixelData = pixels.tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def pack(path: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)


def network(sample: torch.Tensor) -> torch.nn.Module:
    """Random weights; the last bias makes every class about as likely as the others."""
    torch.manual_seed(1)
    net = UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=(4, 8), strides=(2,), num_res_units=0, norm="batch").eval()
    net.requires_grad_(False)
    scores = net(sample)[0].flatten(1)
    last = [module for module in net.modules() if isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d))][-1]
    last.weight.mul_(4 / scores.std())
    scores = net(sample)[0].flatten(1)
    for _ in range(200):
        share = torch.bincount(scores.argmax(0), minlength=3) / scores.shape[1]
        shift = 0.2 * (1 / 3 - share)
        scores = scores + shift[:, None]
        last.bias.add_(shift)
    return net


def main() -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        series = Path(work) / "series"
        series.mkdir()
        entries = {f"series/{number:02}.dcm": instance(number, slice_) for number, slice_ in enumerate(values())}
        for name, data in entries.items():
            (Path(work) / name).write_bytes(data)
        pack(HERE / "series.zip", entries)

        parser = ConfigParser(json.loads(json.dumps(INFERENCE)))
        data = parser.get_parsed_content("preprocessing")({"image": str(series)})
        image = data["image"][None]
        net = network(torch.as_tensor(image)[..., : image.shape[2] // 4 * 4, : image.shape[3] // 4 * 4, : image.shape[4] // 4 * 4])
        module = Path(work) / "model.ts"
        module.write_bytes(ts.archive(torch.jit.script(net)))
        with torch.no_grad():
            data["pred"] = parser.get_parsed_content("inferer")(image, torch.jit.load(module))[0]
        labels = parser.get_parsed_content("postprocessing")(data)["pred"]
        # MONAI has columns, rows, slices here, and the slices as the files had them.
        labels = np.ascontiguousarray(np.asarray(labels)[0].transpose(2, 1, 0), np.uint8)
        assert labels.shape == (SLICES, ROWS, COLUMNS), labels.shape
        print("shares of the classes", np.bincount(labels.ravel()) / labels.size, "grid", tuple(image.shape[2:]))
        np.savez_compressed(HERE / "expected.npz", labels=labels)
        pack(
            HERE / "bundle.zip",
            {
                "airway/configs/metadata.json": json.dumps(METADATA, indent=4).encode(),
                "airway/configs/inference.json": json.dumps(INFERENCE, indent=4).encode(),
                "airway/docs/README.md": b"# A bundle for tests\n",
                "airway/LICENSE": b"For tests: do as you like.\n",
                "airway/models/model.ts": module.read_bytes(),
            },
        )


if __name__ == "__main__":
    main()
