#!/usr/bin/env python3
"""Draws a result object of `overread read --objects` over the images that it was made from.

    overlay.py SOURCE OBJECT.dcm OUT.png

A Segmentation's segments, a Parametric Map as a heat map, the regions (SCOORD) of a Structured Report; on slices of a CT or on a
radiograph. Everything is read from the files: which image a frame belongs to is what the object itself refers to. The letters at the
edges are the patient's directions there, of images that say them. SOURCE: a folder or a file.
"""
import argparse
from pathlib import Path

import numpy as np
import pydicom
from picture import edges, rgb_of
from PIL import Image, ImageDraw, ImageFont
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array

WINDOW = (-1350.0, 150.0)  # HU, the usual lung window
OPACITY = 0.35
MOST, COLUMNS, WIDTH = 6, 3, 512
PLAIN = np.array([255.0, 160.0, 0.0])


class Layers:
    """What lies over the images, by SOP Instance UID: masks and maps, each with its colour or its values, and polylines."""

    def __init__(self):
        self.masks, self.maps, self.lines, self.legend = {}, {}, {}, {}

    def images(self):
        """The images that anything lies over, most of it first."""
        weight = {}
        for uid, masks in self.masks.items():
            weight[uid] = weight.get(uid, 0) + sum(int(mask.sum()) for mask, _ in masks)
        for uid, values in self.maps.items():
            weight[uid] = weight.get(uid, 0) + float(values.sum())
        for uid in self.lines:
            weight[uid] = weight.get(uid, 0) + 1
        return sorted((uid for uid in weight if weight[uid] > 0), key=lambda uid: -weight[uid])


def read_all(source):
    """The images below a folder, or the one in a file, by SOP Instance UID."""
    images = {}
    for path in [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file()):
        try:
            data_set = pydicom.dcmread(path)
        except InvalidDicomError:
            continue
        if "PixelData" in data_set:
            images[data_set.SOPInstanceUID] = data_set
    return images


def source_of(groups, result):
    """The image that a frame was made from: as the frame says, or the only one that the object refers to."""
    if "DerivationImageSequence" in groups and groups.DerivationImageSequence:
        return groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    [image] = [item.ReferencedSOPInstanceUID for series in result.ReferencedSeriesSequence for item in series.ReferencedInstanceSequence]
    return image


def of_segmentation(result, layers):
    """Each frame a mask in its segment's colour."""
    frames = pixel_array(result).reshape(-1, result.Rows, result.Columns)
    segments = {int(segment.SegmentNumber): segment for segment in result.SegmentSequence}
    for frame, groups in zip(frames, result.PerFrameFunctionalGroupsSequence, strict=True):
        segment = segments[int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        colour = rgb_of(segment.RecommendedDisplayCIELabValue) if "RecommendedDisplayCIELabValue" in segment else PLAIN
        layers.masks.setdefault(source_of(groups, result), []).append((frame > 0, colour))
        if frame.any():
            layers.legend[str(segment.SegmentLabel)] = colour


def of_map(result, layers):
    """Each frame in real-world values."""
    mapping = result.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    frames = pixel_array(result).reshape(-1, result.Rows, result.Columns)
    for frame, groups in zip(frames, result.PerFrameFunctionalGroupsSequence, strict=True):
        values = frame * float(mapping.RealWorldValueSlope) + float(mapping.RealWorldValueIntercept)
        layers.maps[source_of(groups, result)] = values
    layers.legend[str(mapping.LUTExplanation)] = heat(np.array(1.0))


def of_report(item, layers, name="region"):
    """Every region below a content item, named after the group it stands in."""
    concept = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
    children = item.get("ContentSequence", [])
    for child in children:
        about = child.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in child else ""
        if about in ("Finding", "Tracking Identifier") and item.ValueType == "CONTAINER":
            name = str(child.get("TextValue") or child.ConceptCodeSequence[0].CodeMeaning)
    if item.get("ValueType") == "SCOORD":
        points = np.array(item.GraphicData, float).reshape(-1, 2)
        for child in children:
            if child.get("ValueType") == "IMAGE":
                uid = child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                layers.lines.setdefault(uid, []).append((f"{name}, {concept}", str(item.GraphicType), points))
                layers.legend[name] = PLAIN
    for child in children:
        of_report(child, layers, name)


def heat(values):
    """0 to 1 from dark red through yellow to white."""
    return np.stack([np.clip(values * 3 - shift, 0, 1) for shift in (0, 1, 2)], axis=-1) * 255


def grey(image):
    """0 to 255 as shown: CT in the lung window, a radiograph by its own first VOI LUT or window."""
    stored = pixel_array(image)
    if image.Modality == "CT":
        shown = apply_modality_lut(stored, image)
        low, high = WINDOW
    else:
        shown = apply_voi_lut(apply_modality_lut(stored, image), image, index=0).astype(float)
        low, high = shown.min(), shown.max()
    values = np.clip((shown - low) / max(high - low, 1e-9), 0, 1) * 255
    return 255 - values if image.PhotometricInterpretation == "MONOCHROME1" else values


def letters(image):
    """The patient's directions at the left and the upper edge; nothing where the image does not say."""
    if "ImageOrientationPatient" in image:
        cosines = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        names = (("R", "L"), ("A", "P"), ("I", "S"))
        # Where the row increases to the left of the patient, the edge at which it begins is the right one.
        return [names[axis][0 if row[axis] > 0 else 1] for row in cosines for axis in [int(np.argmax(np.abs(row)))]]
    opposite = {"L": "R", "R": "L", "A": "P", "P": "A", "F": "H", "H": "F"}
    return [opposite.get(str(word)[:1], "") for word in image.get("PatientOrientation") or []]


def drawn(image, layers, largest):
    """One image with all that lies over it."""
    uid = image.SOPInstanceUID
    out = np.repeat(grey(image)[..., None], 3, axis=2)
    if uid in layers.maps:
        share = layers.maps[uid] / largest
        opacity = (0.6 * np.clip(share * 3, 0, 1))[..., None]
        out = (1 - opacity) * out + opacity * heat(share)
    for mask, colour in layers.masks.get(uid, []):
        out[mask] = (1 - OPACITY) * out[mask] + OPACITY * colour
        out[edges(mask)] = colour
    picture = Image.fromarray(out.astype(np.uint8))
    scale = WIDTH / picture.width
    picture = picture.resize((WIDTH, round(picture.height * scale)))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(16)
    for _, kind, points in layers.lines.get(uid, []):
        placed = [tuple(point) for point in points * scale]
        pen.line(placed, fill=(255, 160, 0), width=2) if len(placed) > 1 else pen.ellipse([placed[0][0] - 4, placed[0][1] - 4, placed[0][0] + 4, placed[0][1] + 4], outline=(255, 160, 0))
    at = f"z {float(image.ImagePositionPatient[2]):.0f} mm" if "ImagePositionPatient" in image else str(image.Modality)
    pen.text((8, 6), at, fill="white", font=font)
    for letter, place in zip(letters(image), ((4, picture.height // 2), (picture.width // 2, 4))):
        pen.text(place, letter, fill="yellow", font=font)
    return picture


def picture(images, result):
    """The whole picture: images spread evenly over those that anything lies over, with a legend."""
    layers = Layers()
    if result.Modality == "SEG":
        of_segmentation(result, layers)
    elif result.Modality == "SR":
        of_report(result, layers)
    else:
        of_map(result, layers)
    found = [uid for uid in layers.images() if uid in images]
    if not found:
        raise SystemExit("nothing of the object lies over these images")
    place = lambda uid: float(images[uid].ImagePositionPatient[2]) if "ImagePositionPatient" in images[uid] else 0.0  # noqa: E731
    ordered = sorted(found, key=place, reverse=True)
    chosen = [ordered[at] for at in sorted(set(np.linspace(0, len(ordered) - 1, MOST).round().astype(int)))]
    largest = max((float(values.max()) for values in layers.maps.values()), default=1.0)
    tiles = [drawn(images[uid], layers, largest) for uid in chosen]
    height = max(tile.height for tile in tiles)
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    places, lines = legend(layers.legend, columns * WIDTH)
    canvas = Image.new("RGB", (columns * WIDTH, rows * height + 28 * lines + 8), "black")
    for at, tile in enumerate(tiles):
        canvas.paste(tile, (at % columns * WIDTH, at // columns * height))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for (label, colour), (x, line) in zip(layers.legend.items(), places):
        y = rows * height + 28 * line + 8
        pen.rectangle((x, y + 2, x + 16, y + 18), fill=tuple(int(c) for c in colour))
        pen.text((x + 24, y), label, fill="white", font=font)
    return canvas


def legend(labels, width):
    """Where each label begins and on which line, and how many lines there are."""
    pen, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default(16)
    places, x, line = [], 8, 0
    for label in labels:
        needed = 48 + int(pen.textlength(label, font=font))
        if x > 8 and x + needed > width:
            x, line = 8, line + 1
        places.append((x, line))
        x += needed
    return places, line + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("object", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    picture(read_all(given.source), pydicom.dcmread(given.object)).save(given.out)


if __name__ == "__main__":
    main()
