"""The job of each model package beside the same job by the published tools, and how busy `overread read` keeps the device."""
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pydicom

from servers import NODE, ROOT

sys.path.insert(0, str(ROOT / "models"))
import parity  # noqa: E402
from reference.synthetic import radiograph  # noqa: E402

PACKAGES = ("chest-ct-r3d18", "chest-ct-2p5d", "chest-ct-clip", "chest-ct-swin", "cxr-vit")
SLICES = 300
QUICK_SLICES = 60
# Of the folder that shows how busy the device is kept.
SERIES = 20
# Whose job on a card is held against its networks alone, and the aim.
ON_CARD, MOST_AROUND = ("chest-ct-clip", "chest-ct-swin"), 1.15
STAGES = re.compile(r"(decode|infer|encode|forward)_ms=(\d+)")
BUSY = re.compile(r"busy_percent=([\d.]+)")


def packages(bench):
    """A line for the time outside of the networks and one for the peak of memory of each package; one for the folder."""
    work = ROOT / "out/parity"
    models = parity.prepare(work, list(PACKAGES), bench.quick, None, bench.python)
    series, image = bench.chest(QUICK_SLICES if bench.quick else SLICES), radiograph(bench.data / "radiograph")
    # The networks take minutes on a processor and weigh the same on both sides: one round says enough of what is around them.
    for name in PACKAGES:
        folder = models / name / ("tiny" if bench.quick else "")
        source = image if name == "cxr-vit" else series
        warm(source)
        own = read(bench, models, folder, source, work / "bench" / name)
        warm(source)
        peer = python(bench, folder, source, work / "bench" / name)
        if own is None or peer is None:
            continue
        bench.note(part="packages", package=name, own=own, peer=peer)
        bench.say(f"{name}: overread {own['total_s']:.1f} s, {own['forward_s']:.1f} s in the networks, {own['rss_mb']:.0f} MB; "
                  f"Python {peer['total_s']:.1f} s, {peer['forward_s']:.1f} s, {peer['rss_peak_mb']:.0f} MB")
        around = [max(side["total_s"] - side["forward_s"], 1e-3) for side in (own, peer)]
        bench.line(f"{name}, around the networks", "Python", *around, "s", "less", 3)
        bench.line(f"{name}, peak of memory", "Python", own["rss_mb"], peer["rss_peak_mb"], "MB", "less", 2)
    for name in ("lung-densitometry", "chest-ct-r3d18"):
        busy(bench, models, models / name / ("tiny" if bench.quick and name != "lung-densitometry" else ""))
    has_cuda, libraries = parity.libtorch_of(bench.python)
    if bench.device == "cuda" or (bench.device is None and has_cuda):
        on_card(bench, models, series, work / "bench", libraries)


def warm(source):
    """Has the system hold the files in its memory: whoever is first must not wait for the disk on behalf of both."""
    for path in [source] if source.is_file() else source.rglob("*.dcm"):
        path.read_bytes()


def on_card(bench, models, series, out, libraries):
    """A line for each of ON_CARD: the whole job by the time that its networks take, as the package computes on a card."""
    for name in ON_CARD:
        folder = models / name / ("tiny" if bench.quick else "")
        parity.write(folder, "float16")
        # The first run loads what the later ones find loaded.
        runs = [read(bench, models, folder, series, out / name, "cuda", libraries) for _ in range(bench.rounds + 1)][1:]
        if None in runs:
            continue
        shares = [run["total_s"] / max(run["forward_s"], 1e-3) for run in runs]
        bench.note(part="packages", package=name, device="cuda", job_by_forward=shares)
        bench.limit(f"{name} on a card, job by networks", statistics.median(shares), "", MOST_AROUND)


def read(bench, models, folder, source, out, device="cpu", libraries=None):
    """overread's stages in seconds and its peak of memory for one series, in a process of its own; None where it failed."""
    per_slice = ["--per-slice"] if bench.quick and folder.parent.name == "chest-ct-r3d18" else []
    done = overread(models, [folder], source, out / "overread", ["--objects", *per_slice], device, libraries)
    if done.code:
        bench.say(f"{folder}: overread ended with {done.code}: {(out / 'overread.log').read_text()[-500:]}")
        return None
    lines = [line for line in (out / "overread.log").read_text().splitlines() if "series read" in line]
    stages = {name: int(value) / 1000 for name, value in STAGES.findall(lines[0])}
    total = stages["decode"] + stages["infer"] + stages["encode"]
    return {"total_s": total, "forward_s": stages["forward"], "rss_mb": done.peak_mb, **stages}


def overread(models, folders, source, out, more=(), device="cpu", libraries=None):
    """Runs `overread read`, with the libtorch in `libraries` where that is given; its log lies beside `out`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    chosen = [word for folder in folders for word in ("--model", f"{folder.resolve()}/")]
    command = [str(NODE), "read", "--allow-untrained", "--device", device, "--models", str(models.resolve()), *chosen,
               "--out", str(out), "--table", "table.jsonl", *more, str(source)]
    return parity.run(command, out, out.parent / "overread.log", {"LD_LIBRARY_PATH": libraries} if libraries else None)


def python(bench, folder, source, out):
    """What package_pipeline.py prints; None where it failed."""
    command = [bench.python, "-W", "ignore", ROOT / "benches/package_pipeline.py", folder.resolve(), source, out / "python"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        bench.say(f"{folder}: Python ended with {done.returncode}: {done.stderr[-500:]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def busy(bench, models, package):
    """A folder of series: how much of the time after the first was decoded a model ran."""
    folder = series_of(bench, SERIES)
    shares = []
    for _ in range(bench.rounds):
        out = ROOT / "out/parity/bench/folder"
        done = overread(models, [package], folder, out / "overread")
        found = BUSY.findall((out / "overread.log").read_text())
        if done.code or not found:
            bench.say(f"the folder of {SERIES} series, {package}: {(out / 'overread.log').read_text()[-500:]}")
            return
        shares.append(float(found[-1]))
    name = str(package.relative_to(models))
    bench.note(part="packages", package=name, busy_percent=shares)
    share = statistics.median(shares)
    bench.lines.append([f"device busy, {SERIES} series, {name}", "", f"{share:.1f}", "", "%", "", "> 90", "yes" if share > 90 else "no"])


def series_of(bench, count):
    """A folder with so many chest CTs of different UIDs, made once."""
    folder = bench.data / f"chests-{count}x{QUICK_SLICES}"
    if (folder / "made").exists():
        return folder
    source = bench.chest(QUICK_SLICES)
    images = [pydicom.dcmread(path) for path in sorted(source.rglob("*.dcm"))]
    for number in range(count):
        target = folder / f"series-{number:02}"
        target.mkdir(parents=True, exist_ok=True)
        for image in images:
            image.SeriesInstanceUID = f"{images[0].StudyInstanceUID[:50]}.{number}.1"
            image.SOPInstanceUID = f"{images[0].StudyInstanceUID[:50]}.{number}.2.{image.InstanceNumber}"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(target / f"{image.InstanceNumber:04}.dcm")
    (folder / "made").touch()
    return folder
