"""A radiograph that nobody was exposed for, where there is no other."""

from pathlib import Path

import numpy as np
import pydicom


def radiograph(folder: Path, rows: int = 2800, columns: int = 2300) -> Path:
    """A synthetic digital radiograph, of usual size where nothing else is said, made once in `folder`: two fields as lungs and some noise."""
    path = folder / "dx.dcm"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:columns * 1j]
    fields = 0.9 * (np.hypot((np.abs(x) - 0.42) / 0.33, y / 0.75) < 1)
    pixels = (600 + 2400 * fields + 300 * np.cos(9 * y) + np.random.default_rng(0).normal(0, 30, (rows, columns))).clip(0, 4095)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "2.25.300000000000000000000000000000000001"
    image = pydicom.Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.300000000000000000000000000000000002", "2.25.300000000000000000000000000000000003"
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Bench^Chest", "BENCH", "", ""
    image.StudyDate, image.StudyTime, image.AccessionNumber, image.StudyID = "20240102", "101112", "", ""
    image.ReferringPhysicianName, image.Manufacturer = "", "bench"
    image.Modality, image.SeriesNumber, image.InstanceNumber, image.Laterality = "DX", 1, 1, ""
    image.PresentationIntentType, image.BodyPartExamined, image.ViewPosition = "FOR PRESENTATION", "CHEST", "PA"
    image.ImageType, image.PixelSpacing, image.ImagerPixelSpacing = ["DERIVED", "PRIMARY"], [0.15, 0.15], [0.15, 0.15]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns, image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = rows, columns, 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth, image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 2000, 4000, 1, 0, "US"
    image.PixelData = pixels.astype(np.uint16).tobytes()
    image.save_as(path, enforce_file_format=True)
    return path
