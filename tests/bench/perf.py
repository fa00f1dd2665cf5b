"""Where processors spend their time while orders are traded: samples of `perf`, sorted into a few
kinds of work."""

import re
import signal
import subprocess
from collections import Counter

from machine import BenchError, find

#: Samples of a processor in a second: not a divisor of any timer's frequency.
FREQUENCY = 4_999
#: Kinds of work by the functions on a sample's stack; the first kind that fits counts. A call to
#: the kernel belongs to its purpose: a wait for a socket counts as switching.
KERNEL = (
    ("switching", r"\b(__)?schedule\b|try_to_wake_up|futex|finish_task_switch|__wake_up|\bsched_"),
    ("files", r"fsync|fdatasync|\bext4|\bblk_|submit_bio|virtio|vfs_write|pwrite|jbd2|filemap"),
    ("sockets", r"\btcp_|\binet_|\bsock_|__sys_sendto|__sys_recvfrom|\bip_|\bnf_|skb|epoll"),
)
PROGRAM = (
    ("sqlite", r"\bsqlite3|pcache|rusqlite|\bwal[A-Z]"),
    ("allocator", r"\b_?mi_|malloc|_int_free|\bc?free\b"),
    ("json", r"serde|Visitor"),
)
KINDS = ("switching", "files", "sockets", "kernel", "sqlite", "allocator", "json", "program")


def missing():
    """The package to install, where perf is not there."""
    return None if find("perf") else "linux-perf"


def kind(stack):
    """The kind of work of a sample. `stack` holds functions with their file in brackets, as `perf
    script` prints them, the innermost first."""
    names = " ".join(line.rpartition(" (")[0] for line in stack)
    for name, pattern in KERNEL:
        if re.search(pattern, names):
            return name
    if "[" in stack[0].rpartition(" (")[2]:
        return "kernel"
    # The innermost function first: what SQLite allocates is the allocator's.
    for text in (stack[0].rpartition(" (")[0], names):
        for name, pattern in PROGRAM:
            if (name != "allocator" or text != names) and re.search(pattern, text):
                return name
    return "program"


def shares(text):
    """The share of each kind in the output of `perf script -F ip,sym,dso`, in percent."""
    stacks = (
        [line.split(None, 1)[1] for line in block.splitlines() if len(line.split(None, 1)) > 1]
        for block in text.split("\n\n")
    )
    found = Counter(kind(stack) for stack in stacks if stack)
    if not found:
        raise BenchError("perf took no sample")
    return {name: 100 * found[name] / found.total() for name in KINDS}


class Samples:
    """Samples of some processes while a load runs. A context manager; `shares` are there
    afterwards."""

    def __init__(self, machine, pids):
        self.file, self.shares = machine.folder / "perf.data", None
        which = ",".join(map(str, pids))
        self.command = [find("perf"), "record", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g"]
        self.command += ["-p", which, "-o", str(self.file)]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, failed, *_):
        # perf writes its file when it is interrupted.
        self.process.send_signal(signal.SIGINT)
        error = self.process.communicate(timeout=60)[1]
        if failed is None:
            script = [find("perf"), "script", "-i", str(self.file), "-F", "ip,sym,dso"]
            printed = subprocess.run(script, capture_output=True, text=True, check=False)
            if printed.returncode:
                raise BenchError(f"perf: {error.strip()} {printed.stderr.strip()}")
            self.shares = shares(printed.stdout)
