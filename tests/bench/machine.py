"""The machine as the bench uses it: a folder on a disk, free ports, processes that end with the
bench, and what to say about it all."""

import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path


class BenchError(Exception):
    """The bench itself failed: a service died, did not start, or answered wrongly."""


def until(condition, what, seconds=30.0, step=0.01):
    """Waits for a condition and returns its value. One that raises `OSError` (nobody listens yet)
    is not met yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(step)


def get(port, path, timeout=5.0):
    """Status and body of a GET on loopback. No proxy of the environment has a say."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def get_json(port, path):
    """The body of an answer 200 as JSON; `None` for any other status."""
    status, body = get(port, path)
    return json.loads(body) if status == 200 else None


class Process:
    """A process of the bench."""

    def __init__(self, name, popen, log):
        self.name, self.popen, self.log, self.ended = name, popen, log, False

    @property
    def pid(self):
        return self.popen.pid

    def send(self, number):
        if self.popen.poll() is None:
            self.popen.send_signal(number)

    def end(self, number=signal.SIGTERM, seconds=15):
        """Ends it: asked first, killed when it does not follow. Its end is no failure from here
        on."""
        self.ended = True
        self.send(number)
        # A stopped process takes no signal but this one.
        self.send(signal.SIGCONT)
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def tail(self):
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])


#: The signals that end the bench: Ctrl-C, a polite request, and a terminal that is closed.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Machine:
    """Everything that must be gone when the bench ends, unless it is killed with -9. A context
    manager."""

    def __init__(self, parent):
        kind = file_system(parent)
        if kind in ("tmpfs", "ramfs"):
            raise BenchError(
                f"{parent} lies in memory ({kind}), where an fsync costs nothing: "
                "name a folder on a disk with BENCH_DIR="
            )
        self.folder = Path(tempfile.mkdtemp(prefix="bazaar-bench-", dir=parent))
        # PostgreSQL refuses to run as root: its user must be able to pass through.
        self.folder.chmod(0o711)
        self.processes = []
        self.locks = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A second Ctrl-C finds nothing left to interrupt.
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                process.end(signal.SIGTERM, 10)
        for lock in self.locks:
            lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        for number in ENDS:
            signal.signal(number, signal.default_int_handler)

    def start(self, name, command, env=None, user=None):
        """Starts a process in a group of its own, so that Ctrl-C on a terminal reaches the bench
        alone, which then ends it."""
        log = self.folder / f"{name}.log"
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        with open(log, "ab") as output:
            popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                cwd="/" if user else None,
                start_new_session=True,
                **as_user,
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def run(self, command, timeout=120, user=None, env=None, stop=None):
        """Runs a command to its end and returns what it printed. It is ended too when the bench is
        interrupted."""
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        popen = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd="/" if user else None,
            start_new_session=True,
            **as_user,
        )
        try:
            out, err = popen.communicate(timeout=timeout)
        except BaseException:
            popen.kill()
            popen.wait()
            raise
        if popen.returncode != 0:
            raise BenchError(
                f"{' '.join(map(str, command))}: exit code {popen.returncode}\n{out}{err}"
            )
        return out

    def check(self):
        """Fails when a process has died that should run."""
        for process in self.processes:
            if not process.ended and process.popen.poll() is not None:
                process.ended = True
                raise BenchError(
                    f"{process.name} died (exit code {process.popen.returncode}):\n{process.tail()}"
                )

    def ports(self, count=15):
        """So many free ports that follow each other, at most 63. They come from blocks that are
        taken as the project's tests take theirs, by listening on the first port of each, and lie
        below the range of outgoing connections, whose ports come and go."""
        blocks = list(range(10_240, 32_752 - 64, 16))
        random.shuffle(blocks)
        size = count // 16 + 1
        for first in blocks:
            taken = [first + 16 * n for n in range(size)]
            locks = [lock for lock in map(listen, taken) if lock]
            rest = [port for port in range(first + 1, first + 16 * size) if port not in taken]
            if len(locks) == size and all(map(is_free, rest)) and len(rest) >= count:
                self.locks += locks
                return rest
            for lock in locks:
                lock.close()
        raise BenchError("no block of free ports is left below 32768")


def listen(port):
    """A listener on a port, or `None` if it is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


def file_system(path):
    """The kind of file system that a path lies on."""
    path, best = os.path.realpath(path), ("", "?")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind = line.split()[:3]
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def fsync_us(folder, times=200):
    """Median time of an fsync after 4 KiB were appended: the floor of everything durable here."""
    taken = []
    with open(folder / "fsync", "wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            before = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - before)
    return statistics.median(taken) * 1e6


def memory_mb(pid):
    """Resident memory of a process now and at its highest, in MB."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return tuple(int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))


def process_work(pid):
    """Processor time of a process so far in µs, and its voluntary context switches: the sums over
    its threads, without those that ended."""
    cpu_ns = switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            cpu_ns += int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
        except FileNotFoundError:
            continue
        switches += int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return cpu_ns / 1e3, switches


def busy():
    """Processes that ran or waited for a core in the last minute, on average: what the bench itself
    runs counts too."""
    return os.getloadavg()[0]


def find(program):
    """Where a program is; also where Debian puts those that only root is meant to start."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def describe(folder):
    """The machine, in words that say nothing about whose it is."""
    cpu = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cores": os.cpu_count(),
        "processor": cpu[0] if cpu else platform.machine(),
        "memory_gb": round(memory * 1024 / 1e9, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "?"),
        "file_system": file_system(folder),
    }
