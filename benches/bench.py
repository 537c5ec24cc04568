#!/usr/bin/env python3
"""Measures overread against peers, in turn, on this machine, and prints one table. `benches/run.sh` calls this."""
import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path

from packages import packages
from servers import ROOT, Memory, Server, available, blast, free_port, sweep

PARTS = ("ingest", "find", "scale", "reading", "packages")
ASSOCIATIONS = (1, 2, 4, 8)
SLICES = 300
QUIET_SECONDS = 2
COLUMNS = ("PatientID", "PatientName", "StudyDate", "AccessionNumber", "StudyInstanceUID", "series", "instances")
RETURNED = ("StudyTime", "StudyDescription", "StudyID", "PatientBirthDate", "PatientSex", *COLUMNS[:5])
ONE_MATCH = ("patient-id", "accession", "study-uid")
MANY_MATCHES = ("date-month", "name-wildcard", "all")

ROUTE = """
[[peer]]
ae_title = "PACS"
host = "127.0.0.1"
port = {port}
may = ["echo", "store"]

[[route]]
model = "lung-densitometry"
send_to = ["PACS"]
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    """The options, the data, and the lines of the table."""

    def __init__(self, options):
        self.quick, self.rounds, self.work = options.quick, options.rounds, options.work
        self.tools, self.data = options.tools, ROOT / "out/bench/data"
        self.python, self.device = options.python, options.device
        self.raw = ROOT / "out/bench/results.jsonl"
        self.lines = []

    def say(self, text):
        """What goes on, beside the table."""
        say(text)

    def studies(self, studies, series, slices, size):
        """A folder of synthetic CT studies, made once."""
        folder = self.data / f"{studies}x{series}x{slices}-{size}"
        if not (folder / "studies.tsv").exists():
            say(f"making {studies} studies of {series}×{slices} images, {size}×{size}")
            subprocess.run([sys.executable, self.tools / "gen.py", folder, "--studies", str(studies), "--series",
                            str(series), "--slices", str(slices), "--size", str(size)], check=True,
                           stdout=subprocess.DEVNULL)
        return folder

    def chest(self, slices):
        """A folder with one synthetic chest CT, lungs and all, made once."""
        folder = self.data / f"chest-{slices}"
        if not folder.exists():
            say(f"making a chest CT of {slices} slices")
            subprocess.run([sys.executable, self.tools / "python/gen_series.py", folder, "--slices", str(slices)],
                           check=True, stdout=subprocess.DEVNULL)
        return folder

    def note(self, **row):
        with open(self.raw, "a") as f:
            f.write(json.dumps({"at": round(time.time()), **row}) + "\n")

    def line(self, what, peer, own, other, unit, better, aim, ratio=None):
        """A line of the table; `better` is «more» or «less», `aim` the ratio that counts as reached, `ratio` that of the two where
        it was measured in pairs."""
        if ratio is None and own and other:
            ratio = own / other if better == "more" else other / own
        met = "" if ratio is None or aim is None else ("yes" if ratio >= aim else "no")
        self.lines.append([what, peer, f"{own:,.4g}", f"{other:,.4g}" if other else "–", unit,
                           "–" if ratio is None else f"{ratio:.2f}", "" if aim is None else f"{aim:g}", met])

    def unjudged(self, what, peer, own, unit, aim, why):
        """A line whose peer is not there."""
        self.lines.append([what, peer, f"{own:,.4g}", "–", unit, "–", f"{aim:g}", why])

    def limit(self, what, own, unit, aim):
        """A line that compares with a fixed limit."""
        self.lines.append([what, "", f"{own:,.4g}", "", unit, "", f"< {aim:g}", "yes" if own < aim else "no"])

    def table(self):
        head = ["what", "against", "overread", "peer", "unit", "ratio", "aim", "met"]
        widths = [max(len(r[i]) for r in [head, *self.lines]) for i in range(len(head))]
        for row in [head, ["─" * w for w in widths], *self.lines]:
            print("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))))


def ingest(bench):
    """C-STORE rates on empty servers."""
    small = bench.studies(16, 1, 60 if bench.quick else 250, 64)
    big = bench.studies(4, 4, 16 if bench.quick else 64, 512)
    peers = [p for p in ("overread", "orthanc", "storescp") if available(p)]
    for name, folder in (("512×512", big), ("64×64", small)):
        for n in ASSOCIATIONS:
            rates, peak = {p: [] for p in peers}, 0.0
            for round_ in range(bench.rounds):
                for peer in peers[round_ % len(peers):] + peers[: round_ % len(peers)]:
                    with Server(peer, bench.work) as server, Memory(server) as memory:
                        report = blast("store", server, "-a", n, "--max-seconds", 15, folder)
                    bench.note(part="ingest", peer=peer, data=name, associations=n, report=report, rss_mb=memory.peak)
                    wrong = report.get("error") or report.get("failed")
                    if wrong:
                        say(f"{peer}, {name}, {n} associations: {wrong} failed")
                    rates[peer].append(None if wrong else report["instances_per_s"])
                    peak = max(peak, memory.peak if peer == "overread" else 0)
            middle = {p: statistics.median([rate for rate in r if rate] or [0]) for p, r in rates.items()}
            say(f"ingest {name}, {n} associations: " + ", ".join(f"{p} {v:,.0f}/s" for p, v in middle.items()))
            for peer in peers[1:]:
                # The disk is faster in some minutes than in others: only runs of the same round are compared.
                pairs = [own / other for own, other in zip(rates["overread"], rates[peer]) if own and other]
                if pairs:
                    say(f"    against {peer}, by round: " + ", ".join(f"{pair:.2f}" for pair in pairs))
                bench.line(f"C-STORE {name}, {n} assoc.", peer, middle["overread"], middle[peer], "1/s", "more",
                           3 if peer == "orthanc" else None, statistics.median(pairs) if pairs else None)
            if n == 8:
                bench.limit(f"memory, {name}, 8 assoc.", peak, "MB", 200)


def rows_of(folder):
    with open(folder / "studies.tsv") as f:
        return [dict(zip(COLUMNS, line.rstrip("\n").split("\t"))) for line in f]


def question(kind, matches, **keys):
    """A line for the load generator: name, number of matches, keys."""
    fields = {**dict.fromkeys(RETURNED, ""), **keys, "QueryRetrieveLevel": "STUDY"}
    return "\t".join([kind, str(matches), *(f"{k}={v}" for k, v in fields.items())])


def questions(rows, seed=1):
    """Queries by kind, each with the number of matches that it must give."""
    dice = random.Random(seed)
    some = [dice.choice(rows) for _ in range(100)]

    def same(key, value):
        return sum(row[key] == value for row in rows)

    def month(year, number):
        first, last = f"{year}{number:02}01", f"{year}{number:02}31"
        return question("date-month", sum(first <= r["StudyDate"] <= last for r in rows), StudyDate=f"{first}-{last}")

    def surname(name):
        pattern = f"{name[:4]}*"
        return question("name-wildcard", sum(fnmatchcase(r["PatientName"], pattern) for r in rows), PatientName=pattern)

    return {
        "patient-id": [question("patient-id", same("PatientID", r["PatientID"]), PatientID=r["PatientID"])
                       for r in some],
        "accession": [question("accession", same("AccessionNumber", r["AccessionNumber"]),
                               AccessionNumber=r["AccessionNumber"]) for r in some],
        "study-uid": [question("study-uid", 1, StudyInstanceUID=r["StudyInstanceUID"]) for r in some],
        "date-month": [month(dice.randint(2015, 2024), dice.randint(1, 12)) for _ in range(50)],
        "name-wildcard": [surname(n) for n in sorted({r["PatientName"].split("^")[0] for r in rows})],
        "all": [question("all", len(rows))],
    }


def ask(server, kind, lines, seconds=3):
    """(median ms, matches a second, how many were wrong) of a kind of query."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        report = blast("find", server, "-c", 1, "-n", 20 if kind == "all" else 200, "--max-seconds", seconds,
                       "--queries", file.name)
    query = report.get("by_query", {}).get(kind, {})
    wrong = query.get("wrong_count", 0) + query.get("failed", 0) + (1 if report.get("error") else 0)
    return (query.get("latency_ms") or {}).get("p50"), report.get("matches_per_s", 0), wrong, report


def find(bench):
    """C-FIND beside Orthanc, both filled with the same studies."""
    folder = bench.studies(200 if bench.quick else 5000, 1, 10, 64)
    kinds = questions(rows_of(folder))
    answers = {}
    peers = [p for p in ("overread", "orthanc", "orthanc-1.12") if available(p)]
    for peer in peers:
        with Server(peer, bench.work) as server:
            filled = blast("store", server, "-a", 4, folder)
            say(f"find: {peer} holds {filled.get('stored')} instances")
            for round_ in range(bench.rounds):
                for kind, lines in kinds.items():
                    median, rate, wrong, report = ask(server, kind, lines)
                    bench.note(part="find", peer=peer, kind=kind, report=report)
                    if wrong:
                        say(f"find: {peer}, {kind}: {wrong} wrong or failed {report.get('error', '')}")
                    answers.setdefault((peer, kind), []).append((median or 0, rate))
    for kind in kinds:
        if kind in ONE_MATCH and "orthanc-1.12" not in peers:
            own = statistics.median(median for median, _ in answers[("overread", kind)])
            bench.unjudged(f"C-FIND {kind}", "orthanc-1.12", own, "ms", 4, "1.12 not there: aim not judged")
        for peer in peers[1:]:
            own, other = ([statistics.median(v) for v in zip(*answers.get((p, kind), [(0, 0)]))]
                          for p in ("overread", peer))
            if kind in ONE_MATCH:
                aim = 8 if peer == "orthanc" else 4
                bench.line(f"C-FIND {kind}", peer, own[0], other[0], "ms", "less", aim)
            else:
                bench.line(f"C-FIND {kind}", peer, own[1], other[1], "matches/s", "more", 8)


def scale(bench):
    """The median of one match as the index grows."""
    studies = 500 if bench.quick else 10_000
    folder = bench.studies(studies, 1, 10, 64)
    rows = rows_of(folder)
    folders = sorted(p for p in folder.iterdir() if p.is_dir())
    medians, done = {}, 0
    with Server("overread", bench.work) as server:
        for target in [n for n in (100, 1_000, 10_000) if n <= studies]:
            for first in range(done, target, 500):
                blast("store", server, "-a", 4, *folders[first : min(first + 500, target)])
            done = target
            median, _, wrong, report = ask(server, "patient-id", questions(rows[:target])["patient-id"])
            bench.note(part="scale", instances=target * 10, report=report)
            medians[target] = median or 0
            say(f"scale: {target * 10:,} instances, one match in {medians[target]:.3f} ms, {wrong} wrong")
    least, most = min(medians), max(medians)
    bench.line(f"one match, {most * 10:,} instances", f"{least * 10:,} inst.", medians[most], medians[least], "ms",
               "less", 0.8)


def reading(bench):
    """From the last slice of a CT to both objects delivered, beside the Python pipeline."""
    folder = bench.chest(SLICES)
    own, other = [], []
    for _ in range(bench.rounds):
        seconds, memory = read_once(bench, folder)
        with tempfile.TemporaryDirectory(dir=bench.work) as out:
            done = subprocess.run([sys.executable, ROOT / "benches/python_pipeline.py", folder, out],
                                  capture_output=True, text=True)
        if seconds is None or done.returncode != 0:
            say(f"reading: no result {done.stderr[-500:]}")
            return
        peer = json.loads(done.stdout)
        bench.note(part="reading", seconds=seconds, rss_mb=memory, peer=peer)
        say(f"reading: overread {seconds:.2f} s, {memory:.0f} MB; Python {peer['total_s']:.2f} s, "
            f"{peer['rss_peak_mb']:.0f} MB")
        own.append(seconds)
        other.append(peer["total_s"])
    bench.line(f"{SLICES} slices to SR and SEG", "Python", statistics.median(own), statistics.median(other), "s",
               "less", 2)


def read_once(bench, folder, patience=300):
    """Seconds from the last acknowledgement to both objects received, quiet time left out; peak memory, MB."""
    with tempfile.TemporaryDirectory(dir=bench.work) as inbox:
        port = free_port()
        pacs = subprocess.Popen(["storescp", "-aet", "PACS", "-od", inbox, str(port)], stdin=subprocess.DEVNULL)
        try:
            with Server("overread", bench.work, QUIET_SECONDS, ROUTE.format(port=port)) as server, \
                    Memory(server) as memory:
                report = blast("store", server, folder)
                last = time.monotonic()
                if report.get("error") or report.get("failed"):
                    say(f"reading: {report}")
                    return None, 0
                while {p.name[:2] for p in Path(inbox).iterdir()} < {"SR", "SG"}:
                    if time.monotonic() - last > patience:
                        say(f"reading: nothing after {patience} s: {(server.folder / 'log').read_text()[-2000:]}")
                        return None, 0
                    time.sleep(0.005)
                return time.monotonic() - last - QUIET_SECONDS, memory.peak
        finally:
            pacs.terminate()
            pacs.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tools", type=Path, required=True, help="folder of gen.py")
    parser.add_argument("--python", help="interpreter with PyTorch, MONAI, timm and transformers, for packages; else that of "
                        "scripts/published_tools.sh, which installs them")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="cuda: the packages on a card too; without it where PyTorch sees one")
    parser.add_argument("--work", type=Path, default=ROOT / "out/bench/work", help="where the servers store")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured (3, quick: 1)")
    parser.add_argument("--quick", action="store_true", help="smaller data, one round")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options)
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"bench: no such part: {', '.join(sorted(unknown))}")
    if "packages" in chosen and not bench.python:
        found = subprocess.run([ROOT / "scripts/published_tools.sh"], check=True, stdout=subprocess.PIPE, text=True)
        bench.python = str(ROOT / found.stdout.strip())
    for part in (p for p in PARTS if p in chosen):
        try:
            {"ingest": ingest, "find": find, "scale": scale, "reading": reading, "packages": packages}[part](bench)
        finally:
            sweep()
    bench.table()


if __name__ == "__main__":
    main()
