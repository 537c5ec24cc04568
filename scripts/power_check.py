"""Takes the power from a node that is receiving, and looks for every instance that it acknowledged.

As root, on Linux: .tools/venv/bin/python scripts/power_check.py [BINARY]

The data folder lies on an ext4 file system in a file, reached past the page cache. While four associations send, the file system is
shut down without writing its journal: what is in the system's memory is lost, as when the power goes. It is mounted again, the node started
again, which is cut off as well, and once more; then what was acknowledged compared with what is there. Prints a line a cut: how many instances were acknowledged, how many of
their rows the cut took, how many are lost (none should be). Exit codes: 0 nothing was lost, 1 something was, 2 this cannot be done here.
"""

import contextlib
import copy
import fcntl
import hashlib
import os
import pathlib
import random
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import Verification

ROOT = pathlib.Path(__file__).resolve().parent.parent
SENDERS = 4
# Seconds until the cut, and the lengths of the series: long ones, whose rows wait for no sync, and short ones.
CUTS = [(4, [300]), (3, [60]), (3, [1, 5, 40]), (3, [1])]
# linux/fs/ext4/ext4.h: _IOR('X', 125, __u32), EXT4_GOING_FLAGS_NOLOGFLUSH
SHUTDOWN, WITHOUT_JOURNAL = 0x8004587D, 2


def main():
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/overread")
    if os.geteuid() != 0 or not binary.is_file():
        print("power_check: needs root, and a binary (make build)", file=sys.stderr)
        return 2
    lost = 0
    for seconds, lengths in CUTS:
        with tempfile.TemporaryDirectory() as folder:
            lost += cut(binary, pathlib.Path(folder), seconds, lengths)
    return 1 if lost else 0


def cut(binary, folder, seconds, lengths):
    """One cut of the power; gives how many acknowledged instances are lost or not what they were."""
    disk, mounted, config = folder / "disk", folder / "mounted", folder / "overread.toml"
    mounted.mkdir()
    with disk.open("wb") as file:
        file.truncate(8 << 30)
    run("mkfs.ext4", "-q", "-F", disk)
    device = run("losetup", "--find", "--show", "--direct-io=on", disk).strip()
    port = free_port()
    config.write_text(CONFIG.format(port=port, data=mounted / "data", models=ROOT / "models"))
    try:
        run("mount", device, mounted)
        with node(binary, config, port, folder):
            acknowledged = send_until_cut(port, mounted, seconds, lengths)
        unmount(mounted)
        run("mount", device, mounted)
        before = rows(copy_of_index(mounted / "data", folder))
        cut_start(binary, config, mounted)
        unmount(mounted)
        run("mount", device, mounted)
        with node(binary, config, port, folder):
            faults = compare(acknowledged, mounted / "data")
    finally:
        unmount(mounted)
        run("losetup", "--detach", device)
    print(
        f"series of {lengths}: {len(acknowledged)} acknowledged, {len(set(acknowledged) - set(before))} without a row after the cut, "
        f"{faults} lost or changed after the start",
        flush=True,
    )
    return faults


def send_until_cut(port, mounted, seconds, lengths):
    """Sends from all associations, shuts the file system down, and gives the hashes of the pixels that were acknowledged, by UID."""
    acknowledged, over = {}, threading.Event()
    threads = [threading.Thread(target=send, args=(port, seed, lengths, acknowledged, over)) for seed in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    take_power(mounted)
    over.set()
    for thread in threads:
        thread.join()
    return acknowledged


def cut_start(binary, config, mounted):
    """Takes the power again while the node mends what the first cut left."""
    process = subprocess.Popen([binary, "run", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(0.02, 0.3))
    take_power(mounted)
    process.kill()
    process.wait()


def take_power(mounted):
    handle = os.open(mounted, os.O_RDONLY)
    fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL))
    os.close(handle)


def send(port, seed, lengths, acknowledged, over):
    chance = random.Random(seed)
    slices = [dcmread(path) for path in sorted((ROOT / "demo/chest-ct").rglob("*.dcm"))[:6]]
    study = generate_uid()
    ae = AE("LOAD")
    ae.add_requested_context(slices[0].SOPClassUID, slices[0].file_meta.TransferSyntaxUID)
    ae.add_requested_context(slices[0].SOPClassUID, ExplicitVRLittleEndian)
    while not over.is_set():
        association = ae.associate("127.0.0.1", port, ae_title="OVERREAD")
        series = generate_uid()
        for number in range(chance.choice(lengths)):
            image = small(slices[0], chance) if number % 2 else chance.choice(slices)
            image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = study, series, generate_uid()
            image.PatientID, image.InstanceNumber = f"P{seed}", number
            if over.is_set() or not association.is_established:
                break
            with contextlib.suppress(RuntimeError):
                if getattr(association.send_c_store(image), "Status", None) == 0:
                    acknowledged[str(image.SOPInstanceUID)] = content_of(image)
        association.release()


def small(image, chance):
    """An image of 64x64, of which the journal takes a copy; the large ones are durable by themselves."""
    image = copy.deepcopy(image)
    image.Rows = image.Columns = 64
    image.PixelData = chance.randbytes(64 * 64 * 2)
    image["PixelData"].VR = "OW"
    image["PixelData"].is_undefined_length = False
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def compare(acknowledged, data):
    """How many of the acknowledged have no row, no file, other content, or stand in a series whose count is wrong."""
    index = data / "index.sqlite"
    found = rows(index)
    faults = 0
    for uid, content in acknowledged.items():
        path = data / "instances" / "/".join(found.get(uid, ("", ""))) / f"{uid}.dcm"
        if uid not in found or not path.is_file() or content_of(dcmread(path)) != content:
            faults += 1
    miscounted = (
        "SELECT count(*) FROM series WHERE number_of_instances <> "
        "(SELECT count(*) FROM instance WHERE instance.series_key = series.series_key)"
    )
    return faults + query(index, miscounted)[0][0]


def content_of(image):
    return hashlib.sha256(image.PixelData).hexdigest()


def rows(index):
    """Study and Series Instance UID of each instance in the index, by SOP Instance UID."""
    sql = (
        "SELECT sop_instance_uid, study_instance_uid, series_instance_uid FROM instance "
        "JOIN series USING (series_key) JOIN study USING (study_key)"
    )
    return {uid: (study, series) for uid, study, series in query(index, sql)}


def query(index, sql):
    with contextlib.closing(sqlite3.connect(index)) as connection:
        return connection.execute(sql).fetchall()


def copy_of_index(data, folder):
    """The database as the cut left it; to look at it in its place would change it."""
    for name in ("index.sqlite", "index.sqlite-wal"):
        (folder / name).write_bytes((data / name).read_bytes())
    return folder / "index.sqlite"


@contextlib.contextmanager
def node(binary, config, port, folder):
    with (folder / "log").open("a") as log:
        process = subprocess.Popen([binary, "run", "--config", config], stdout=log, stderr=log)
        try:
            for _ in range(600):
                if answers(port):
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError(f"the node does not answer: {(folder / 'log').read_text()[-2000:]}")
            yield
        finally:
            process.kill()
            process.wait()


def answers(port):
    """Whether it takes an association: it listens before it has looked through what a crash left."""
    ae = AE("LOAD")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title="OVERREAD")
    if not association.is_established:
        return False
    association.release()
    return True


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def unmount(mounted):
    if mounted.is_mount():
        run("umount", mounted)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


CONFIG = """
[node]
ae_title = "OVERREAD"
listen = ["127.0.0.1:{port}"]
data = "{data}"
models = "{models}"
device = "cpu"
any_peer = true
reserve_mb = 100
"""

if __name__ == "__main__":
    sys.exit(main())
