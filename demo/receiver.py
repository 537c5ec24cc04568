#!/usr/bin/env python3
"""A receiving PACS for the demo: a Storage SCP that keeps every object as a file.

    receiver.py FOLDER --port 11113 [--ae PACS]

Each object is written under a temporary name and renamed to MODALITY-SOPInstanceUID.dcm, so that whoever waits for a
file finds it whole. Ends on SIGTERM.
"""
import argparse
import signal
import threading
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification


def keep(event, folder):
    """Writes one object; the status answers the C-STORE."""
    data_set = event.dataset
    data_set.file_meta = event.file_meta
    uid = str(data_set.SOPInstanceUID)
    if not all(c.isdigit() or c == "." for c in uid):
        return 0xA900
    name = f"{data_set.get('Modality', 'XX')}-{uid}.dcm"
    partial = folder / f".{name}"
    data_set.save_as(partial, enforce_file_format=True)
    partial.rename(folder / name)
    return 0x0000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ae", default="PACS")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    ae = AE(ae_title=a.ae)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", a.port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep, [a.folder])])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
