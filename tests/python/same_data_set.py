"""same_data_set.py [ONE OTHER]...: each pair of DICOM files holds the same elements with the same values.

Group lengths (retired, and made anew by those who write) and the way in which lengths are written do not count. Ends with
an AssertionError at the first difference."""

import sys

import pydicom
from pydicom.tag import Tag

PIXEL_DATA = Tag(0x7FE00010)


def difference(one, other, at=""):
    """The first difference in words, or None."""
    tags = [sorted(e.tag for e in d if e.tag.element != 0) for d in (one, other)]
    if tags[0] != tags[1]:
        return f"{at}: only in one: {[str(t) for t in sorted(set(tags[0]) ^ set(tags[1]))]}"
    for tag in tags[0]:
        a, b = one[tag], other[tag]
        if a.VR == "SQ":
            if len(a.value) != len(b.value):
                return f"{at}{tag}: {len(a.value)} and {len(b.value)} items"
            for index, (x, y) in enumerate(zip(a.value, b.value)):
                if found := difference(x, y, f"{at}{tag}[{index}]"):
                    return found
        # Implicit VR knows no difference between OB and OW, and nothing of private elements.
        elif a.value != b.value and not (isinstance(a.value, bytes) != isinstance(b.value, bytes)):
            return f"{at}{tag}: {str(a.value)[:80]!r} and {str(b.value)[:80]!r}"
    return None


paths = sys.argv[1:]
assert paths and len(paths) % 2 == 0
for left, right in zip(paths[::2], paths[1::2]):
    found = difference(pydicom.dcmread(left), pydicom.dcmread(right))
    assert found is None, f"{left} and {right}: {found}"
