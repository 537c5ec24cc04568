"""check_picture.py PNG: the demo's picture has its six slices, and the lungs are outlined in them in the colours of the model's
manifest, the right one to the left of the left one. Ends with an AssertionError where something is missing."""

import sys

import numpy as np
from PIL import Image

COLOURS = {"right": (0xD9, 0x5F, 0x4C), "left": (0x4C, 0x8F, 0xD9)}
SIDE, LEGEND = 512, 36

pixels = np.asarray(Image.open(sys.argv[1]).convert("RGB")).astype(int)
assert pixels.shape == (2 * SIDE + LEGEND, 3 * SIDE, 3), pixels.shape
outlined = []
for top in (0, SIDE):
    for left in (0, SIDE, 2 * SIDE):
        image = pixels[top:top + SIDE, left:left + SIDE]
        # Colours go through CIELab of 16 bits: a step up or down.
        outlines = {side: np.argwhere(abs(image - colour).max(axis=-1) <= 2)[:, 1] for side, colour in COLOURS.items()}
        outlined.append([side for side, outline in outlines.items() if len(outline) > 100])
        if len(outlined[-1]) == 2:
            assert outlines["right"].mean() + 50 < outlines["left"].mean(), (top, left)
# The lowest slice lies below the right lung.
assert all(outlined) and outlined.count(["right", "left"]) >= 5, outlined
