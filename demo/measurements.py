#!/usr/bin/env python3
"""Prints the measurements of a TID 1500 Structured Report as a table, read with highdicom.

    measurements.py REPORT.dcm
"""
import argparse

import highdicom as hd

# (276214006, SCT, "Finding category"): says what kind of thing the group measures, not what was found.
FINDING_CATEGORY = "276214006"
# (111000, DCM, "Algorithm Family"): of how it was measured, the same in every group.
ALGORITHM_FAMILY = "111000"
# UCUM's code of the Hounsfield unit, which nobody says.
HOUNSFIELD = "[hnsf'U]"

def groups_of(content):
    """All measurement groups, whatever they measure on."""
    for get in (content.get_volumetric_roi_measurement_groups, content.get_planar_roi_measurement_groups,
                content.get_image_measurement_groups):
        yield from get()


def site_of(group):
    """«Left lung» and the like: the finding site with its laterality, or the tracking identifier."""
    for site in group.finding_sites or []:
        side = getattr(site, "laterality", None)
        meaning = site.value.meaning
        return f"{side.meaning} {meaning.lower()}" if side is not None else meaning
    return str(group.tracking_identifier)


def rows_of(report):
    """(tracking identifier, finding site, [(name, value, unit)]) of every group of a report."""
    for group in groups_of(report.content):
        values = []
        for measurement in group.get_measurements():
            name = measurement.name.meaning
            derivation = getattr(measurement, "derivation", None)
            if derivation is not None:
                name = f"{name} ({derivation.meaning})"
            value = measurement.value
            text = "–" if value is None else f"{value:,.2f}"
            unit = "" if measurement.unit is None else measurement.unit.value
            values.append((name, text, "HU" if unit == HOUNSFIELD else unit))
        yield str(group.tracking_identifier), site_of(group), values


def qualitative_of(report):
    """(name, value) of the report's qualitative evaluations, the groups' own included."""
    for group in groups_of(report.content):
        for evaluation in group.get_qualitative_evaluations() or []:
            if evaluation.name.value not in (FINDING_CATEGORY, ALGORITHM_FAMILY):
                yield evaluation.name.meaning, evaluation.value.meaning


def table(rows):
    """Lines of one row per measurement and one column per group."""
    rows = list(rows)
    names = []
    for _, _, values in rows:
        names += [(n, u) for n, _, u in values if (n, u) not in names]
    head = ["measurement", "unit", *(site for _, site, _ in rows)]
    body = [[n, u, *(next((t for m, t, v in values if (m, v) == (n, u)), "") for _, _, values in rows)]
            for n, u in names]
    widths = [max(map(len, column)) for column in zip(head, *body)]

    def line(cells):
        return "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths)))
    return [line(head), "  ".join("─" * w for w in widths), *map(line, body)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("report")
    report = hd.sr.srread(parser.parse_args().report)
    print(report.ConceptNameCodeSequence[0].CodeMeaning)
    print("\n".join(table(rows_of(report))))
    for name, value in qualitative_of(report):
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
