"""The golden case: a small chest drawn from formulas, the same on every machine. Not a patient."""

import numpy as np


def golden_volume() -> tuple[np.ndarray, np.ndarray]:
    """Voxels int16 [48, 72, 88] in HU and spacing (slice, row, column) in mm: two lungs with vessels, a low-density patch, trachea, heart, spine,
    stomach gas, table, padding outside the field of view, and noise."""
    shape, spacing = (48, 72, 88), np.array([6.0, 4.5, 4.5], np.float32)
    axes = [(np.arange(n) - (n - 1) / 2) * float(s) for n, s in zip(shape, spacing)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    hu = np.full(shape, -1000.0)
    hu[(np.abs(y - 118) < 5) & (np.abs(x) < 150)] = -100
    hu[(x / 165) ** 2 + (y / 108) ** 2 < 1] = -90
    hu[(x / 152) ** 2 + (y / 96) ** 2 < 1] = 45
    hu[(x / 18) ** 2 + ((y - 66) / 18) ** 2 < 1] = 350
    for side in (-1, 1):
        lung = ((x - side * 75) / 58) ** 2 + (y / 78) ** 2 + ((z - 10) / 105) ** 2 < 1
        lung &= z > -85 + 45 * np.exp(-(((x - side * 75) / 40) ** 2) - (y / 50) ** 2)
        hu[lung] = -865
        hu[lung & (np.cos(x / 7.0) + np.cos(y / 9.0) + np.cos(z / 11.0) > 2.3)] = -985
        hu[lung & (np.cos(x / 6.0 + 1) + np.cos(y / 8.0) + np.cos(z / 20.0) < -2.6)] = 40
    hu[((x - 25) / 48) ** 2 + ((y + 25) / 48) ** 2 + ((z + 30) / 55) ** 2 < 1] = 45
    hu[(x / 10) ** 2 + ((y - 8) / 10) ** 2 + 0 * z < (z > 20)] = -1000
    hu[((x - 70) / 30) ** 2 + ((y + 20) / 20) ** 2 + ((z + 125) / 14) ** 2 < 1] = -1000
    step = np.arange(hu.size, dtype=np.int64).reshape(shape)
    hu += ((step * 7919 + 13) % 61 - 30).astype(np.float64)
    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    voxels[x**2 + y**2 > 196**2] = -2000
    return voxels, spacing
