#!/usr/bin/env python3
"""The demo: a node and a receiving PACS on this machine, a real chest CT through both, and what came back.

Called by `make demo`, which builds the node first. Everything runs in a temporary folder but the results, which lie in
out/demo afterwards, or where `--out` says. Ends by itself; whatever it started is stopped, and if a step fails the end of the node's log is
shown and the exit status is 1.
"""
import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pydicom
from pynetdicom import AE
from pynetdicom.sop_class import Verification

import measurements
import picture

ROOT = Path(__file__).resolve().parent.parent
SERIES = ROOT / "demo/chest-ct"
OUT = ROOT / "out/demo"
START_SECONDS = 60
RESULT_SECONDS = 300
LOG_LINES = 25

CONFIG = """\
[node]
ae_title = "OVERREAD"
listen = ["127.0.0.1:{node}"]
data = "{folder}/data"
models = "{models}"
device = "cpu"
any_peer = true

[completeness]
quiet_seconds = 3

[[peer]]
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}
may = ["echo", "store"]

[[route]]
model = "lung-densitometry"
send_to = ["PACS"]
"""


class Failed(Exception):
    """A step did not work; the text says which."""


def step(text):
    print(f"→ {text}", flush=True)


def free_ports(n):
    """Ports on which nobody listens, below those that the kernel gives to outgoing connections."""
    found = []
    start = 20000 + os.getpid() % 10000
    for port in range(start, start + 2000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
        if len(found) == n:
            return found
    raise Failed("no free TCP port")


def answers(port, title):
    """Whether a C-ECHO succeeds."""
    ae = AE("DEMO")
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 2
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title=title)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return getattr(status, "Status", None) == 0


def wait_until(condition, seconds, processes, what):
    """Asks every tenth of a second; fails when time is up or a process that should run has ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        for name, process in processes.items():
            if process.poll() is not None:
                raise Failed(f"{name} ended with exit status {process.returncode} before {what}")
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} seconds")
        time.sleep(0.1)


def start(stack, argv, log, **options):
    """A process that is stopped with the stack, gently first."""
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                               start_new_session=True, **options)
    stack.callback(stop, process)
    return process


def stop(process, seconds=20):
    """SIGTERM, and SIGKILL if that does not do; the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode


def received(folder, modality):
    return sorted(folder.glob(f"{modality}-*.dcm"))


def show(reports, segmentations, out):
    """Prints the measurements and draws the picture; everything is read from the received files."""
    for path in reports:
        data_set = pydicom.dcmread(path)
        print()
        print(f"{data_set.ConceptNameCodeSequence[0].CodeMeaning} (patient {data_set.PatientID})")
        report = measurements.hd.sr.srread(path)
        print("\n".join(measurements.table(measurements.rows_of(report))))
        for name, value in measurements.qualitative_of(report):
            print(f"{name}: {value}")
    print()
    print("SR  ", *reports)
    print("SEG ", *segmentations)
    png = out / "lungs.png"
    picture.picture(SERIES, segmentations[0]).save(png)
    print("PNG ", png)


def empty(out):
    """Makes room for the results: what an earlier demo left goes, what lies elsewhere stays."""
    if out == OUT:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise Failed(f"{out} is not empty: name a new folder")


def demo(overread, out, ports, folder, stack, log_file):
    node_port, pacs_port = ports or free_ports(2)
    empty(out)
    inbox = out / "received"
    inbox.mkdir()
    config = folder / "node.toml"
    config.write_text(CONFIG.format(node=node_port, pacs=pacs_port, folder=folder, models=ROOT / "models"))

    step(f"a receiving PACS: PACS@127.0.0.1:{pacs_port}")
    pacs = start(stack, [sys.executable, ROOT / "demo/receiver.py", inbox, "--port", pacs_port],
                 stack.enter_context(open(folder / "pacs.log", "wb")))
    wait_until(lambda: answers(pacs_port, "PACS"), START_SECONDS, {"the PACS": pacs}, "the PACS answers")

    step(f"the node: OVERREAD@127.0.0.1:{node_port}")
    node = start(stack, [overread, "run", "--config", config], stack.enter_context(open(log_file, "wb")))
    both = {"the PACS": pacs, "the node": node}
    wait_until(lambda: answers(node_port, "OVERREAD"), START_SECONDS, both, "the node answers")

    slices = len(list(SERIES.glob("*.dcm")))
    step(f"sending a chest CT, {slices} slices (LIDC-IDRI-0314)")
    sent = subprocess.run([overread, "send", "--to", f"OVERREAD@127.0.0.1:{node_port}", SERIES])
    if sent.returncode != 0:
        raise Failed(f"overread send ended with exit status {sent.returncode}")

    step("the series is complete after 3 quiet seconds; then lungs are segmented and measured")
    last_slice = time.monotonic()
    wait_until(lambda: received(inbox, "SR") and received(inbox, "SEG"), RESULT_SECONDS, both,
               "the PACS has a report and a segmentation")
    step(f"the PACS has both, {time.monotonic() - last_slice:.1f} seconds after the last slice")
    show(received(inbox, "SR"), received(inbox, "SEG"), out)

    step("stopping the node")
    if stop(node) != 0:
        raise Failed(f"the node ended with exit status {node.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--overread", type=Path, default=ROOT / "target/release/overread", help="the binary to show")
    parser.add_argument("--out", type=Path, default=OUT, help="a new folder for the results (default: out/demo, made anew)")
    parser.add_argument("--ports", type=int, nargs=2, metavar=("NODE", "PACS"), help="where both listen (default: free ports)")
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overread-demo-")))
        log_file = folder / "node.log"
        try:
            demo(a.overread.resolve(), a.out.resolve(), a.ports, folder, stack, log_file)
        except (Failed, OSError) as e:
            if log_file.exists():
                lines = log_file.read_text(errors="replace").splitlines()
                print("\nThe end of the node's log:", *lines[-LOG_LINES:], sep="\n", file=sys.stderr)
            print(f"demo: {e}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
