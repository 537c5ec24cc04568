"""Chests drawn from formulas, with known truth: what the model and the SciPy peer are tried on besides patients.

    lung_phantoms.py OUT [NAME…]      writes OUT/NAME.npz: voxels int16, spacing float32 [3], truth uint8 (1 right, 2 left lung), never uint8,
                                      expected verdict

Arrays run to Superior, Posterior, Left. The truth is the lung with its vessels and without airways; `never` is 1 where nothing may be called lung:
outside the body, table and mattress included, and in the windpipe.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi


class Canvas:
    """A volume that is painted in mm; (0, 0, 0) is the middle."""

    def __init__(self, shape, spacing, seed=1):
        self.spacing = np.array(spacing, np.float32)
        self.hu = np.full(shape, -1000, np.float32)
        self.truth = np.zeros(shape, np.uint8)
        self.never = np.zeros(shape, np.uint8)
        axes = [((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(shape, spacing)]
        self.z, self.y, self.x = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.random = np.random.default_rng(seed)

    def everywhere(self, mask):
        return np.broadcast_to(mask, self.hu.shape)

    def paint(self, mask, hu):
        self.hu[self.everywhere(mask)] = hu

    def ellipse(self, x, y, rx, ry):
        """A cylinder along the slices."""
        return self.everywhere(((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2 < 1)

    def ball(self, z, y, x, rz, ry, rx):
        return ((self.z - z) / rz) ** 2 + ((self.y - y) / ry) ** 2 + ((self.x - x) / rx) ** 2 < 1

    def tube(self, start, end, radius):
        """A straight tube from start to end, each (z, y, x)."""
        a, b = np.array(start, np.float32), np.array(end, np.float32)
        d = b - a
        t = ((self.z - a[0]) * d[0] + (self.y - a[1]) * d[1] + (self.x - a[2]) * d[2]) / float(d @ d)
        t = np.clip(t, 0, 1)
        return (self.z - a[0] - t * d[0]) ** 2 + (self.y - a[1] - t * d[1]) ** 2 + (self.x - a[2] - t * d[2]) ** 2 < radius**2

    def texture(self, size_mm):
        """Smooth noise of unit deviation with this grain."""
        coarse = [max(2, int(np.ceil(n * s / size_mm)) + 2) for n, s in zip(self.hu.shape, self.spacing)]
        field = self.random.normal(size=coarse).astype(np.float32)
        field = ndi.zoom(field, [n / c for n, c in zip(self.hu.shape, coarse)], order=1)
        return field / field.std()


def paint_chest(canvas, scale=1.0, gap=14.0, lung_hu=-860.0, lungs=(1, 2), emphysema=1.6, body=(165, 110)):
    """Body, spine, ribs, lungs with vessels and emphysema, heart, diaphragm. `gap`: mm between the lungs in front (0: they touch)."""
    c, s = canvas, scale
    c.paint(c.ellipse(0, 0, body[0] * s, body[1] * s), -95)
    c.paint(c.ellipse(0, 0, (body[0] - 12) * s, (body[1] - 11) * s), 45)
    dome = {1: -70 + 38, 2: -82 + 30}
    heart = c.ball(-35 * s, -20 * s, 22 * s, 60 * s, 48 * s, 52 * s)
    lung = np.zeros(c.hu.shape, bool)
    for label in lungs:
        side = -1 if label == 1 else 1
        x0 = side * 74 * s
        outer = ((c.x - x0) / (62 * s)) ** 2 + ((c.y + 2 * s) / (86 * s)) ** 2 + ((c.z - 5 * s) / (118 * s)) ** 2 < 1
        floor = (-70 + (dome[label] + 70) * np.exp(-(((c.x - x0) / (45 * s)) ** 2) - (c.y / (55 * s)) ** 2)) * s
        front = ((c.x - side * 42 * s) / (44 * s)) ** 2 + ((c.y + 60 * s) / (26 * s)) ** 2 + ((c.z - 10 * s) / (70 * s)) ** 2 < 1
        one = (outer | front) & (c.z > floor) & (side * c.x > gap / 2) & c.ellipse(0, 0, (body[0] - 22) * s, (body[1] - 20) * s) & ~heart
        c.truth[one] = label
        lung |= one
    grain, branch = c.texture(9 * s), c.texture(14 * s)
    c.hu[lung] = lung_hu + 22 * grain[lung]
    c.hu[lung & (branch > emphysema)] = -980
    vessel = lung & (np.abs(c.texture(16 * s)) < 0.05) & (np.abs(c.texture(11 * s)) < 0.6)
    c.hu[vessel] = 30
    c.paint(c.ellipse(0, 70 * s, 17 * s, 17 * s), 300)
    c.truth[c.ellipse(0, 70 * s, 17 * s, 17 * s)] = 0
    ring = (c.x / ((body[0] - 17) * s)) ** 2 + (c.y / ((body[1] - 15) * s)) ** 2
    c.paint((np.abs(np.sqrt(ring) - 1) < 0.025) & (np.abs((c.z + 500) % (26 * s) - 13 * s) < 5 * s), 450)


def paint_airways(canvas, scale=1.0, top=200.0):
    """Trachea, main and lobar bronchi with walls of 1.5 mm; their lumen and wall are not lung."""
    c, s = canvas, scale
    carina = (32 * s, 12 * s, 0)
    parts = [
        ((top * s, 5 * s, 0), carina, 9),
        (carina, (8 * s, 20 * s, -38 * s), 7),
        (carina, (-2 * s, 22 * s, 48 * s), 6.5),
        ((8 * s, 20 * s, -38 * s), (-10 * s, 24 * s, -62 * s), 4),
        ((-2 * s, 22 * s, 48 * s), (-22 * s, 28 * s, 66 * s), 4),
    ]
    # Mediastinum around them down to the hila.
    for start, end, radius in parts[:3]:
        around = c.tube(start, end, (radius + 6) * s)
        c.truth[around] = 0
        c.hu[around & (c.hu > -1001)] = 45
    for start, end, radius in parts:
        wall = c.tube(start, end, (radius + 1.5) * s)
        c.hu[wall] = 20
        c.truth[wall] = 0
    for start, end, radius in parts:
        c.hu[c.tube(start, end, radius * s)] = -1000
    outside = ~c.ellipse(0, 0, 165 * s, 110 * s)
    c.hu[outside] = -1000
    c.never[outside | c.tube(*parts[0][:2], parts[0][2] * s)] = 1


def paint_table(canvas, foam=True):
    """A shell of 2 mm with foam in it and a mattress on it."""
    c = canvas
    if foam:
        c.paint((np.abs(c.y - 121) < 9) & (np.abs(c.x) < 150), -930)
    c.paint((np.abs(c.y - 150) < 14) & (np.abs(c.x) < 190), -900 if foam else -1000)
    c.paint((np.abs(np.abs(c.y - 150) - 14) < 1.5) & (np.abs(c.x) < 190), 60)
    c.paint((np.abs(np.abs(c.x) - 190) < 1.5) & (np.abs(c.y - 150) < 14), 60)


def paint_bowel(canvas, scale=1.0):
    """Gas in stomach and colon close below the diaphragm, stool with bubbles, a column of air in the oesophagus."""
    c, s = canvas, scale
    c.paint(c.ball(-92 * s, -25 * s, 62 * s, 22 * s, 30 * s, 38 * s) & (c.z < -75 * s), -995)
    c.paint(c.ball(-108 * s, -40 * s, -40 * s, 18 * s, 20 * s, 70 * s), -995)
    stool = c.ball(-112 * s, 20 * s, 95 * s, 25 * s, 22 * s, 22 * s)
    c.hu[stool] = np.where(c.texture(6 * s)[stool] > 0.3, -900, -150)
    c.paint(c.ellipse(-4 * s, 42 * s, 6 * s, 5 * s) & (c.z > -20 * s), -990)
    c.truth[c.ellipse(-4 * s, 42 * s, 7.5 * s, 6.5 * s) & (c.z > -20 * s)] = 0


def finish(canvas, noise=18.0, padding=None, radius=None):
    """Noise, blur of about a voxel at edges, padding outside a round field. Returns voxels int16."""
    c = canvas
    hu = ndi.gaussian_filter(c.hu, [0.3, 0.5, 0.5])
    hu += c.random.normal(scale=noise, size=hu.shape).astype(np.float32)
    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    if padding is not None:
        voxels[c.everywhere(c.x**2 + c.y**2 > radius**2)] = padding
    return voxels


def paint_head(canvas):
    """Brain in a skull, with air in sinuses, mastoid cells, nose and throat."""
    c = canvas
    for radii, hu in (((150, 103, 83), 30), ((144, 97, 77), 900), ((136, 89, 69), 35)):
        c.paint(c.ball(0, 0, 0, *radii), hu)
    for side in (-1, 1):
        c.paint(c.ball(-75, -60, side * 28, 20, 17, 16), -1000)
        mastoid = c.ball(-60, 25, side * 62, 18, 14, 10)
        c.hu[mastoid] = np.where(c.texture(4)[mastoid] > 0, -900, 300)
    c.paint(c.ball(-20, -84, 0, 14, 8, 26), -1000)
    c.paint(c.tube((-150, -30, 0), (-85, -50, 0), 9), -1000)
    c.paint(c.tube((-85, -50, 0), (-80, -110, 0), 9), -1000)


THIN = ((150, 256, 256), (2.0, 1.4, 1.4))
COARSE = ((100, 180, 180), (3.0, 2.0, 2.0))


def case(name, grid=THIN):
    """voxels, spacing, truth, never, verdict of a named phantom."""
    shape, spacing = grid
    verdict = 0
    scale = 1.0
    if name == "thick-slices":
        shape, spacing = (60, 320, 320), (5.0, 1.2, 1.2)
    if name == "child":
        shape, spacing, scale = (130, 256, 256), (1.0, 0.7, 0.7), 0.45
    if name == "fine":
        shape, spacing = (300, 512, 512), (1.0, 0.7, 0.7)
    if name == "edge":
        shape = (150, 200, 210)
    c = Canvas(shape, spacing)
    noise, padding, radius = 18.0, None, None
    if name == "abdomen":
        c.paint(c.ellipse(0, 0, 165, 110), -95)
        c.paint(c.ellipse(0, 0, 150, 98), 45)
        for y, x, z in ((-40, 60, -60), (-45, -60, 20), (-50, 0, 60), (10, 90, 0), (10, -90, -20)):
            c.paint(c.ball(z, y, x, 40, 28, 34), -995)
        stool = c.ball(-10, 20, -100, 60, 25, 25)
        c.hu[stool] = np.where(c.texture(8)[stool] > 0, -800, -50)
        return finish(c), c.spacing, c.truth, c.never, 1
    if name == "head":
        paint_head(c)
        return finish(c), c.spacing, c.truth, c.never, 1
    if name == "air":
        return finish(c), c.spacing, c.truth, c.never, 1
    if name == "water":
        c.paint(c.ellipse(0, 0, 100, 100), 0)
        return finish(c, padding=-3024, radius=178), c.spacing, c.truth, c.never, 1
    if name == "legs":
        for x in (-70, 70):
            c.paint(c.ellipse(x, 0, 68, 68), 40)
            c.paint(c.ellipse(x, 0, 16, 16), 900)
        paint_table(c)
        return finish(c), c.spacing, c.truth, c.never, 1
    if name == "touching":
        paint_chest(c, gap=1.5)
        c.hu[(np.abs(c.x) < 1.5) & (c.truth > 0)] = -640
    elif name == "touching-thick":
        c = Canvas((60, 320, 320), (5.0, 1.2, 1.2))
        paint_chest(c, gap=1.2)
        c.hu[(np.abs(c.x) < 1.5) & (c.truth > 0)] = -720
    elif name == "no-septum":
        paint_chest(c, gap=0.0)
        c.hu[(np.abs(c.x) < 5) & (c.truth > 0)] = -850
    elif name == "right-only":
        paint_chest(c, lungs=(1,))
    elif name == "left-only":
        paint_chest(c, lungs=(2,))
    elif name == "emphysema":
        paint_chest(c, gap=3.0, lung_hu=-915, emphysema=0.5)
    elif name == "dense":
        paint_chest(c, lung_hu=-680)
    elif name == "child":
        paint_chest(c, scale=scale, gap=6.0)
    else:
        paint_chest(c)
    paint_airways(c, scale)
    if name in ("bowel", "everything"):
        paint_bowel(c)
    if name in ("table", "everything"):
        paint_table(c)
        padding, radius = -2000, 178
    if name == "arms":
        for side in (-1, 1):
            arm = c.ellipse(side * 172, 10, 30, 38)
            free = arm & ~c.ellipse(0, 0, 165, 110)
            c.hu[free] = 40
            c.hu[free & c.ellipse(side * 172, 10, 10, 10)] = 700
            c.paint(c.ellipse(side * 158, 20, 5, 24) & ~c.ellipse(0, 0, 165, 110), -1000)
    if name == "noisy":
        noise = 110.0
    if name == "mouth":
        c.paint(c.tube((146, 5, 0), (146, -120, 0), 12), -1000)
    if name == "edge":
        padding, radius = -3024, 146
    if name == "half":
        z = c.hu.shape[0]
        part = slice(z * 3 // 10, z * 19 // 30)
        c.hu, c.truth, c.never, c.z = c.hu[part], c.truth[part], c.never[part], c.z[part]
        verdict = 2
    voxels = finish(c, noise, padding, radius)
    if name == "half":
        c.truth[:] = 0
    return voxels, c.spacing, c.truth, c.never, verdict


READ = ("plain", "touching", "touching-thick", "no-septum", "thick-slices", "emphysema", "dense", "noisy", "bowel", "table", "everything", "arms", "mouth", "edge",
        "right-only", "left-only", "child")
NOT_READ = ("half", "abdomen", "head", "air", "water", "legs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--coarse", action="store_true", help="a third of the voxels, 3 x 2 x 2 mm, of those that have no grid of their own")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(READ + NOT_READ)}; all if none")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or READ + NOT_READ:
        voxels, spacing, truth, never, verdict = case(name, COARSE if arguments.coarse else THIN)
        arrays = {"voxels": voxels, "spacing": spacing, "truth": truth, "never": never, "verdict": np.int64(verdict)}
        np.savez_compressed(arguments.out / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
