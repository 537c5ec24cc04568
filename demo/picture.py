#!/usr/bin/env python3
"""Draws a few slices of a series with the segments of a Segmentation over them.

    picture.py SERIES_FOLDER SEGMENTATION.dcm OUT.png

Everything is read from the files: pixels and window from the images, masks, labels and colours from the Segmentation.
"""
import argparse
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.errors import InvalidDicomError

WINDOW = (-1350.0, 150.0)  # HU, the usual lung window
OPACITY = 0.35
SLICES = 6
COLUMNS = 3


def read_series(folder):
    """Data sets of the images in a folder by position along the slice normal, from the head downwards."""
    images = []
    for path in sorted(folder.iterdir()):
        try:
            data_set = pydicom.dcmread(path)
        except InvalidDicomError:
            continue
        if "PixelData" in data_set and "ImagePositionPatient" in data_set:
            images.append(data_set)
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    return sorted(images, key=lambda d: -float(np.dot(normal, np.array(d.ImagePositionPatient, float))))


def rgb_of(lab):
    """sRGB 0…255 of a Recommended Display CIELab Value (PS3.3 section C.10.7.1.1: three 16-bit numbers, D50)."""
    lightness, a, b = lab[0] / 65535 * 100, lab[1] / 65535 * 255 - 128, lab[2] / 65535 * 255 - 128
    fy = (lightness + 16) / 116
    xyz = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(xyz > 6 / 29, xyz**3, (xyz - 4 / 29) * 3 * (6 / 29) ** 2) * [0.9642, 1.0, 0.8249]
    to_srgb = [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
               [0.0719453, -0.2289914, 1.4052427]]
    linear = np.clip(np.array(to_srgb) @ xyz, 0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def edges(mask):
    """The pixels of a mask that touch its outside."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def draw(image, masks, colours):
    """One slice in the lung window, every mask filled lightly and outlined."""
    hu = image.pixel_array * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))
    grey = np.clip((hu - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1) * 255
    out = np.repeat(grey[..., None], 3, axis=2)
    for mask, colour in zip(masks, colours):
        out[mask] = (1 - OPACITY) * out[mask] + OPACITY * colour
        out[edges(mask)] = colour
    return Image.fromarray(out.astype(np.uint8))


def picture(folder, segmentation):
    """The whole picture: slices spread evenly over the part that is segmented, with a legend."""
    images = read_series(folder)
    seg = hd.seg.segread(segmentation)
    uids = [image.SOPInstanceUID for image in images]
    masks = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True,
                                              ignore_spatial_locations=True).astype(bool)
    descriptions = [seg.get_segment_description(n) for n in seg.segment_numbers]
    colours = [rgb_of(d.RecommendedDisplayCIELabValue) if "RecommendedDisplayCIELabValue" in d
               else np.array([255.0, 160.0, 0.0]) for d in descriptions]
    found = np.flatnonzero(masks.any(axis=(1, 2, 3)))
    first, last = (found[0], found[-1]) if len(found) else (0, len(images) - 1)
    chosen = np.linspace(first, last, SLICES + 2).round().astype(int)[1:-1]

    rows, columns = images[0].Rows, images[0].Columns
    legend = 36
    height = -(-SLICES // COLUMNS) * rows + legend
    canvas = Image.new("RGB", (COLUMNS * columns, height), "black")
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(16)
    for i, z in enumerate(chosen):
        at = (i % COLUMNS * columns, i // COLUMNS * rows)
        canvas.paste(draw(images[z], [masks[z, ..., k] for k in range(masks.shape[3])], colours), at)
        position = float(images[z].ImagePositionPatient[2])
        pen.text((at[0] + 8, at[1] + 6), f"z {position:.0f} mm", fill="white", font=font)
    x = 8
    for description, colour in zip(descriptions, colours):
        pen.rectangle((x, height - 26, x + 16, height - 10), fill=tuple(int(c) for c in colour))
        label = str(description.SegmentLabel)
        pen.text((x + 24, height - 28), label, fill="white", font=font)
        x += 48 + int(pen.textlength(label, font=font))
    pen.text((x + 24, height - 28), "not for diagnostic use", fill="grey", font=font)
    return canvas


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("series", type=Path)
    parser.add_argument("segmentation", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    picture(a.series, a.segmentation).save(a.out)


if __name__ == "__main__":
    main()
