#!/usr/bin/env python3
"""The job of a model package as a Python user would write it: pydicom, PyTorch with MONAI, timm and transformers, highdicom.

    package_pipeline.py PACKAGE SOURCE OUT

Reads a series (or a radiograph), runs the package's networks as `models/reference` does, and writes a Comprehensive 3D SR, and a
Segmentation and a Parametric Map where the package has them. Prints one JSON object: `total_s` leaves out starting Python, importing the
libraries and loading the networks, `forward_s` is the time in the networks.
"""
import argparse
import functools
import json
import resource
import sys
import time
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import torch
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

MODELS = Path(__file__).resolve().parents[1] / "models"
sys.path.insert(0, str(MODELS))

from reference import pipelines  # noqa: E402
from reference.packages import Package  # noqa: E402

LUNG = Code("39607008", "SCT", "Lung")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
PROBABILITY = Code("C0237401", "UMLS", "Probability")
PERCENT = Code("%", "UCUM", "percent")
FRACTION = Code("{0:1}", "UCUM", "range: 0:1")
MAKER = {"manufacturer": "peer", "manufacturer_model_name": "peer", "software_versions": "1", "device_serial_number": "1"}


class Clock:
    """The time in the networks."""

    def __init__(self):
        self.seconds = 0.0

    def of(self, network):
        """The same network, whose calls count."""
        forward = network.forward

        # transformers reads the signature.
        @functools.wraps(forward)
        def counted(*inputs, **named):
            began = time.perf_counter()
            try:
                return forward(*inputs, **named)
            finally:
                self.seconds += time.perf_counter() - began

        # A compiled module does not let its forward be replaced.
        if isinstance(network, torch.jit.ScriptModule):
            return lambda *inputs: counted(*inputs)
        network.forward = counted
        return network


def load(package, clock):
    """Loads everything that is loaded once, and has the pipeline use it."""
    networks = {name: clock.of(network) for name, network in package.networks().items()}
    package.networks = lambda: networks
    if "decoder" in networks:
        published = package.code("published")
        bart = clock.of(published.bart(networks["decoder"]))
        published.bart = lambda _: bart
        package.code = lambda _: published
    gate = clock.of(torch.jit.load(MODELS / "lung-densitometry" / "model.pt"))
    pipelines.torch.jit.load = lambda _: gate


def images_of(source):
    """Data sets in the order of their positions; of a radiograph the one."""
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*.dcm"))
    images = [pydicom.dcmread(path) for path in paths]
    if len(images) > 1:
        normal = np.cross(*np.array(images[0].ImageOrientationPatient, float).reshape(2, 3))
        images.sort(key=lambda image: float(np.dot(normal, np.array(image.ImagePositionPatient, float))))
    return images


def segmentation(package, images, label_map):
    """A BINARY Segmentation of all labels."""
    algorithm = hd.AlgorithmIdentificationSequence("peer", codes.cid7162.ArtificialIntelligence, "1")
    labels = [segment["label"] for segment in package.manifest["output"]["segmentation"]["segments"]]
    segments = [hd.seg.SegmentDescription(n, label, ANATOMY, LUNG, "AUTOMATIC", algorithm) for n, label in enumerate(labels, 1)]
    return hd.seg.Segmentation(images, label_map, "BINARY", segments, hd.UID(), 100, hd.UID(), 1, **MAKER, omit_empty_frames=True)


def attention_map(images, attention):
    """The attention on the source grid, 0 to 1, as a Parametric Map of 16 bits."""
    values = (attention * 65535).round().astype(np.uint16)
    mapping = hd.pm.RealWorldValueMapping("attention", "attention", FRACTION, (0, 65535), slope=1 / 65535, intercept=0.0)
    return hd.pm.ParametricMap(images, values, hd.UID(), 101, hd.UID(), 1, **MAKER, contains_recognizable_visual_features=False,
                               real_world_value_mappings=[mapping], window_center=0.5, window_width=1.0)


def report(images, others, result):
    """A TID 1500 report: a group for each finding, the text."""
    observer = sr.ObserverContext(codes.DCM.Device, sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name="peer"))
    algorithm = sr.AlgorithmIdentification("peer", "1")
    groups = []
    for label, probability in result.findings.items():
        groups.append(sr.MeasurementsAndQualitativeEvaluations(
            sr.TrackingIdentifier(hd.UID(), label), algorithm_id=algorithm, finding_type=Code(label[:16].strip(), "99PEER", label),
            measurements=[sr.Measurement(PROBABILITY, 100 * probability, PERCENT)]))
    content = sr.MeasurementReport(sr.ObservationContext(observer_device_context=observer),
                                   Code("363680008", "SCT", "Radiographic imaging procedure"), groups)
    if result.text:
        content[0].ContentSequence.append(sr.TextContentItem(Code("121106", "DCM", "Comment"), result.text, "CONTAINS"))
    return sr.Comprehensive3DSR([*images, *others], content, hd.UID(), 200, hd.UID(), 1, "peer", is_complete=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    clock, package = Clock(), Package(given.package)
    load(package, clock)
    began = time.perf_counter()
    images, objects = images_of(given.source), []
    # One that takes its slices over the lungs asks the gate itself.
    if "gate" in package.manifest["accepts"] and package.manifest["input"].get("slices", {}).get("over") != "gate":
        with torch.no_grad():
            pipelines.lungs(pipelines.read_stack(images))
    result = pipelines.expected(package, images)
    read = time.perf_counter()
    if result.label_map is not None and result.label_map.any():
        objects.append(segmentation(package, images, result.label_map))
    if result.attention_map is not None:
        objects.append(attention_map(images, result.attention_map))
    for written in [*objects, report(images, objects, result)]:
        written.save_as(given.out / f"{written.Modality}.dcm")
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"total_s": end - began, "forward_s": clock.seconds, "write_s": end - read, "rss_peak_mb": peak}))


if __name__ == "__main__":
    main()
