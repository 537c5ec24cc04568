"""Makes tests/fixtures/radiographs: small radiographs of every kind, and what pydicom makes of their values.

Expected values are those of pydicom's apply_modality_lut and apply_voi_lut, brought to 0 to 1, MONOCHROME1 inverted.
Run with a Python that has pydicom 3 and NumPy: python tests/python/make_radiographs.py
With paths as arguments it writes nothing into the fixtures but prints, for each file, rows, columns and a digest of what it
expects, to be held against what overread shows of the same file.
"""

import sys
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "radiographs"
ROWS, COLUMNS = 9, 14
CR, DX, SC = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"


def lut(first, entries, bits, signed=False):
    item = Dataset()
    vr = "SS" if signed else "US"
    item.add_new(0x00283002, vr, [len(entries), first, bits])
    item.add_new(0x00283006, "OW", np.asarray(entries, "<u2").tobytes())
    return [item]


def curve(count, most):
    return [round(most * (index / (count - 1)) ** 0.7) for index in range(count)]


# name: (bits allocated, bits stored, signed, photometric interpretation, attributes)
CASES = {
    "cr-8-bit": (8, 8, False, "MONOCHROME2", {}),
    "cr-10-bit-window-monochrome1": (16, 10, False, "MONOCHROME1", {"WindowCenter": "550", "WindowWidth": "1024"}),
    "dx-12-bit-inverse": (
        16, 12, False, "MONOCHROME1",
        {"RescaleSlope": "1", "RescaleIntercept": "0", "WindowCenter": ["2048", "3000"], "WindowWidth": ["4096", "100"],
         "PresentationLUTShape": "INVERSE"},
    ),
    "dx-14-bit-narrow": (16, 14, False, "MONOCHROME2", {"WindowCenter": "7000.5", "WindowWidth": "301.5"}),
    "dx-16-bit-exact": (
        16, 16, False, "MONOCHROME2", {"WindowCenter": "30000", "WindowWidth": "41000", "VOILUTFunction": "LINEAR_EXACT"},
    ),
    "dx-16-bit-sigmoid": (
        16, 16, False, "MONOCHROME1", {"WindowCenter": "30000", "WindowWidth": "21000", "VOILUTFunction": "SIGMOID"},
    ),
    "signed-rescaled": (
        16, 12, True, "MONOCHROME2",
        {"RescaleSlope": "0.125", "RescaleIntercept": "-3.5", "WindowCenter": "10", "WindowWidth": "180"},
    ),
    "signed-16-bit": (16, 16, True, "MONOCHROME2", {}),
    "negative-slope": (16, 12, False, "MONOCHROME2", {"RescaleSlope": "-1", "RescaleIntercept": "4095"}),
    "modality-lut": (16, 10, False, "MONOCHROME2", {"ModalityLUTSequence": lut(100, curve(700, 60000), 16)}),
    "voi-lut-12-bit": (16, 12, False, "MONOCHROME1", {"VOILUTSequence": lut(500, curve(3000, 4095), 12)}),
    "voi-lut-before-window": (
        16, 12, False, "MONOCHROME2",
        {"VOILUTSequence": lut(0, curve(4096, 65535), 16), "WindowCenter": "1", "WindowWidth": "2"},
    ),
    "voi-lut-signed": (
        16, 12, True, "MONOCHROME2",
        {"VOILUTSequence": lut(-1500, curve(3000, 1023), 10, signed=True)},
    ),
    "padding": (16, 12, False, "MONOCHROME1", {"PixelPaddingValue": 4095, "WindowCenter": "2048", "WindowWidth": "4096"}),
    "padding-range-no-window": (16, 12, False, "MONOCHROME2", {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 40}),
}
SYNTAXES = {"cr-8-bit": ImplicitVRLittleEndian, "voi-lut-12-bit": ImplicitVRLittleEndian, "signed-16-bit": ExplicitVRBigEndian}


def image(name, number, allocated, stored, signed, photometric, attributes):
    generator = np.random.default_rng(number)
    low, high = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if signed else (0, (1 << stored) - 1)
    values = generator.integers(low, high, (ROWS, COLUMNS), endpoint=True)
    if "PixelPaddingValue" in attributes:
        values[:, :3] = attributes["PixelPaddingValue"]
        values[0, 3:6] = attributes.get("PixelPaddingRangeLimit", values[0, 3:6])
    ds = Dataset()
    ds.SOPClassUID = {"c": CR, "d": DX}.get(name[0], SC)
    ds.SOPInstanceUID = f"1.2.3.4.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", f"1.2.3.{number}"
    ds.PatientID, ds.PatientName, ds.Modality = "4711", "Phantom", "DX" if name[0] == "d" else "CR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = ROWS, COLUMNS, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, stored - 1
    ds.PixelRepresentation, ds.PhotometricInterpretation = int(signed), photometric
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    syntax = SYNTAXES.get(name, ExplicitVRLittleEndian)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    cells = values.astype(f"{order}{'i' if signed else 'u'}{allocated // 8}")
    ds.add_new(0x7FE00010, "OB" if allocated == 8 else "OW", cells.tobytes())
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return ds


def output_range(ds, modality):
    """What pydicom's apply_voi_lut maps to."""
    if "VOILUTSequence" in ds:
        return 0.0, float(2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1)
    if "WindowWidth" not in ds:
        return float(modality.min()), float(modality.max())
    low, high = (-(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1) if ds.PixelRepresentation else (0, 2**ds.BitsStored - 1)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def expected(ds):
    stored = ds.pixel_array
    padding = np.zeros(stored.shape, bool)
    if "PixelPaddingValue" in ds:
        ends = sorted((ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue)))
        padding = (stored >= ends[0]) & (stored <= ends[1])
    modality = apply_modality_lut(stored, ds)
    shown = apply_voi_lut(modality, ds).astype(np.float64)
    low, high = output_range(ds, modality[~padding])
    shown = np.clip((shown - low) / (high - low), 0, 1)
    if ds.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return shown.astype(np.float32)


def main() -> None:
    if len(sys.argv) > 1:
        for path in sys.argv[1:]:
            shown = expected(pydicom.dcmread(path, force=True))
            shown.tofile(Path("/tmp") / (Path(path).stem + ".expected.f32"))
            print(path, *shown.shape, shown.mean())
        return
    HERE.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for number, (name, case) in enumerate(CASES.items(), 1):
        path = HERE / f"{name}.dcm"
        ds = image(name, number, *case)
        ds.save_as(path, enforce_file_format=True)
        arrays[name] = expected(pydicom.dcmread(path))
    np.savez_compressed(HERE / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
