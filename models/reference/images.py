"""DICOM files to arrays, by pydicom alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, pixel_array

# A folder with a series or a radiograph's file, or the data sets that were read from them.
Source = Path | list[pydicom.Dataset]

# Patient directions, LPS: the axis and the sign of each letter.
LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass
class Stack:
    """A series of slices. `directions` are the unit vectors (LPS) along which slices, rows and columns increase."""

    hounsfield: np.ndarray
    spacing: tuple[float, float, float]
    directions: np.ndarray
    series_uid: str

    def towards(self, letters: str) -> tuple[np.ndarray, tuple[float, ...]]:
        """The array and its spacing with axes that increase towards the patient directions `letters`, such as SPL."""
        order, flips = [], []
        for letter in letters:
            axis, sign = LETTERS[letter]
            source = int(np.argmax(np.abs(self.directions[:, axis])))
            order.append(source)
            flips.append(self.directions[source, axis] * sign < 0)
        turned = self.hounsfield.transpose(order)
        turned = turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
        return np.ascontiguousarray(turned), tuple(self.spacing[axis] for axis in order)

    def back(self, array: np.ndarray, letters: str) -> np.ndarray:
        """An array on the grid of `towards(letters)` on the grid of the files, slices in ascending order of their position."""
        order, cut = [], []
        for letter in letters:
            axis, sign = LETTERS[letter]
            source = int(np.argmax(np.abs(self.directions[:, axis])))
            order.append(source)
            cut.append(slice(None, None, -1) if self.directions[source, axis] * sign < 0 else slice(None))
        return np.ascontiguousarray(array[tuple(cut)].transpose(np.argsort(order)))


def read_stack(source: Source) -> Stack:
    """All slices of one series, in the order of their positions along the normal."""
    images = list(source) if isinstance(source, list) else [pydicom.dcmread(path) for path in sorted(source.iterdir()) if path.is_file() and path.suffix not in (".md", ".txt")]
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    images.sort(key=lambda image: float(np.dot(normal, np.array(image.ImagePositionPatient, float))))
    at = [float(np.dot(normal, np.array(image.ImagePositionPatient, float))) for image in images]
    # Not the property of the same name, which keeps the pixels a second time.
    voxels = np.stack([apply_modality_lut(pixel_array(image), image).astype(np.float32) for image in images])
    # To a millionth of a millimetre, as headers and tables give it: 5.999999999999999 would lose a slice where extents are cut off.
    between = round((at[-1] - at[0]) / (len(at) - 1), 6)
    # Row Pixel Spacing comes first: the distance between rows. Rows increase along the column vector.
    rows, columns = (float(value) for value in images[0].PixelSpacing)
    return Stack(voxels, (between, rows, columns), np.stack([normal, column, row]), str(images[0].SeriesInstanceUID))


def read_radiograph(source: Source) -> tuple[np.ndarray, str]:
    """[rows, columns] float32, 0..1 as displayed (1 bright), and the SOP Instance UID: the first VOI LUT or window, or where there is
    none the range of the values that are no padding."""
    image = source[0] if isinstance(source, list) else pydicom.dcmread(source)
    stored = pixel_array(image)
    padding = np.zeros(stored.shape, bool)
    if "PixelPaddingValue" in image:
        ends = (int(image.PixelPaddingValue), int(image.get("PixelPaddingRangeLimit", image.PixelPaddingValue)))
        padding = (stored >= min(ends)) & (stored <= max(ends))
    modality = apply_modality_lut(stored, image).astype(np.float64)
    if "VOILUTSequence" in image:
        shown = apply_voi(modality.astype(np.int64), image, index=0).astype(np.float64)
        low, high = 0.0, float(2 ** int(image.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif "WindowCenter" in image:
        shown = apply_windowing(modality, image, index=0)
        bits = int(image.BitsStored)
        low, high = (0.0, 2.0**bits - 1) if image.PixelRepresentation == 0 else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
        if "RescaleSlope" in image:
            slope, intercept = float(image.RescaleSlope), float(image.RescaleIntercept)
            low, high = low * slope + intercept, high * slope + intercept
    else:
        shown = modality
        low, high = modality[~padding].min(), modality[~padding].max()
    values = (shown - low) / (high - low)
    if image.PhotometricInterpretation == "MONOCHROME1":
        values = 1 - values
    values[padding] = 0
    return values.astype(np.float32), str(image.SOPInstanceUID)


def is_lossy(source: Path) -> bool:
    """Whether it is JPEG of 8 or 12 bits, whose decoders may differ by a grey level."""
    return source.is_file() and pydicom.dcmread(source, stop_before_pixels=True).file_meta.TransferSyntaxUID in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
