"""Starting a server in an empty folder, watching what it takes, and running the load generator against it."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "target/release/overread"
BLAST = ROOT / "target/bench-tools/release/blast"
START_SECONDS = 60
# An Orthanc 1.12 unpacked from Debian 13's packages, where there is one: it runs under the loader it came with.
ORTHANC_112 = Path(os.environ.get("BENCH_ORTHANC_112", ROOT / "out/bench/trixie"))
PAGE = os.sysconf("SC_PAGESIZE")
# The folders of servers that have ended.
LEFT = []

OVERREAD = """\
[node]
ae_title = "{ae}"
listen = ["127.0.0.1:{port}"]
data = "{folder}/data"
models = "{root}/models"
device = "cpu"
any_peer = true
log_level = "warn"

[completeness]
quiet_seconds = {quiet}
{more}"""

ORTHANC = """\
{{ "Name": "bench", "StorageDirectory": "{folder}/db", "IndexDirectory": "{folder}/db",
  "OverwriteInstances": false, "DicomAet": "{ae}", "DicomPort": {port},
  "DicomCheckCalledAet": false, "DicomCheckModalityHost": false, "DicomAlwaysAllowEcho": true,
  "DicomAlwaysAllowStore": true, "DicomAlwaysAllowFind": true, "UnknownSopClassAccepted": true,
  "LimitFindResults": 0, "LimitFindInstances": 0, "HttpServerEnabled": false, "Plugins": [] }}
"""


def forget(folder):
    """Takes the files of a folder out of the page cache."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sweep():
    """Removes what the servers of a part have left."""
    while LEFT:
        shutil.rmtree(LEFT.pop(), ignore_errors=True)


def free_port():
    """A port on which nobody listens, below those that the kernel gives to outgoing connections."""
    start = 20000 + (os.getpid() * 97 + time.monotonic_ns()) % 10000
    for port in range(start, start + 2000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def tree(pid):
    """A process and its live descendants."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as f:
                    todo.extend(map(int, f.read().split()))
        except OSError:
            pass
    return found


def resident(pid):
    """Resident memory of a process and its descendants, MB."""
    total = 0
    for one in tree(pid):
        try:
            with open(f"/proc/{one}/statm") as f:
                total += int(f.read().split()[1]) * PAGE
        except OSError:
            pass
    return total / 1e6


class Server:
    """A running server; a context manager, whose end stops it.

    Its folder stays until the part ends, out of the page cache: ext4 looks at every inode that was deleted in the last
    minutes before it makes a file, and a server must pay neither for the files nor for the memory of the one before it.
    """

    def __init__(self, name, work, quiet=86_400, more=""):
        self.name, self.ae, self.port = name, "BENCH", free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=work))
        fill = {"ae": self.ae, "port": self.port, "folder": self.folder, "root": ROOT, "quiet": quiet, "more": more}
        config = self.folder / "config"
        if name == "overread":
            config.write_text(OVERREAD.format(**fill))
            argv = [NODE, "run", "--config", config]
        elif name == "orthanc":
            config.write_text(ORTHANC.format(**fill))
            argv = ["Orthanc", config]
        elif name == "orthanc-1.12":
            config.write_text(ORTHANC.format(**fill))
            argv = [ORTHANC_112 / "usr/lib64/ld-linux-x86-64.so.2", "--library-path",
                    ORTHANC_112 / "usr/lib/x86_64-linux-gnu", ORTHANC_112 / "usr/sbin/Orthanc", config]
        else:
            (self.folder / "db").mkdir()
            argv = ["storescp", "--fork", "-od", self.folder / "db", self.port]
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(a) for a in argv], cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True,
                                        env={**os.environ, "TCP_NODELAY": "1", **self.environment(name)})
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise

    @staticmethod
    def environment(name):
        """What a server needs beside the usual."""
        dictionary = ORTHANC_112 / "usr/share/dcmtk/dicom.dic"
        return {"DCMDICTPATH": str(dictionary)} if name == "orthanc-1.12" else {}

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while blast("echo", self, "-n", 1, "--timeout", 2).get("error"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()
        forget(self.folder)
        LEFT.append(self.folder)


class Memory:
    """Samples a server's resident memory while a block runs; then `peak` in MB."""

    def __init__(self, server):
        self.pid, self.peak, self.done = server.process.pid, 0.0, threading.Event()

    def sample(self):
        while not self.done.wait(0.05):
            self.peak = max(self.peak, resident(self.pid))

    def __enter__(self):
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def available(name):
    if name == "orthanc-1.12":
        return (ORTHANC_112 / "usr/sbin/Orthanc").exists()
    return name == "overread" or shutil.which({"orthanc": "Orthanc", "storescp": "storescp"}[name]) is not None


def blast(operation, server, *arguments, timeout=1800):
    """Runs the load generator; its report, or {"error": …}."""
    argv = [BLAST, operation, "--port", server.port, "--called", server.ae, *arguments]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return {"error": (done.stderr or done.stdout)[-500:] or f"exit status {done.returncode}"}
    if operation == "echo" and done.returncode != 0:
        report["error"] = "no answer"
    return report
