#!/usr/bin/env python3
"""Thins a CT series and compresses it without loss: how demo/chest-ct was made.

    thin_ct.py SOURCE DESTINATION [--every 2]

SOURCE is a folder with the instances of one series, for demo/chest-ct the series
1.3.6.1.4.1.14519.5.2.1.6279.6001.154677396354641150280013275227 of patient LIDC-IDRI-0314
(LIDC-IDRI, The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2015.LO9QL9SX). The slices are put in
order along the slice normal, every Nth is kept, its pixels are encoded as JPEG-LS lossless
(1.2.840.10008.1.2.4.80), and each file is read back and compared with its source: all pixels and
all elements. Group length elements, which would be wrong afterwards, are left out (PS3.5 section
7.2 retired them). UIDs stay as they were, since nothing about the images has changed.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import JPEGLSLossless

PIXEL_DATA = 0x7FE00010


def position(data_set):
    """Where the slice lies along the normal of its plane, in mm."""
    row, column = np.array(data_set.ImageOrientationPatient, float).reshape(2, 3)
    return float(np.dot(np.cross(row, column), np.array(data_set.ImagePositionPatient, float)))


def same(source, copy):
    """Whether `copy` holds the pixels and the elements of `source`, group lengths and the value
    representation of unknown private elements left aside."""
    if not np.array_equal(source.pixel_array, copy.pixel_array):
        return False
    kept = [e for e in source if e.tag.element != 0 and e.tag != PIXEL_DATA]
    return all(e.tag in copy and copy[e.tag].value == e.value for e in kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--every", type=int, default=2)
    a = parser.parse_args()
    paths = [p for p in a.source.rglob("*") if p.is_file()]
    paths.sort(key=lambda p: position(pydicom.dcmread(p, stop_before_pixels=True)))
    a.destination.mkdir(parents=True, exist_ok=True)
    total = 0
    for number, path in enumerate(paths[:: a.every], start=1):
        data_set = pydicom.dcmread(path)
        data_set.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
        out = a.destination / f"{number:03}.dcm"
        data_set.save_as(out, enforce_file_format=True)
        if not same(pydicom.dcmread(path), pydicom.dcmread(out)):
            sys.exit(f"{out} differs from {path}")
        total += out.stat().st_size
    print(f"{number} of {len(paths)} slices, {total / 1e6:.1f} MB, pixels and elements compared")


if __name__ == "__main__":
    main()
