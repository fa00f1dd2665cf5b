"""Load by wrk, one thread of it for every system: it takes less of the two cores than any other
client, and counts what goes wrong."""

import json
import resource
import signal
import subprocess
from pathlib import Path

from machine import BenchError, find

HERE = Path(__file__).parent
#: Responses that are no success. wrk counts statuses from 400 on as refused; none of the systems
#: answers with 3xx.
WRONG = ("refused", "connect", "read", "write", "timeout", "unknown")


def command(url, connections, seconds, kind, script="load.lua"):
    wrk = find("wrk")
    # An answer may take as long as the longest fault lasts: it is then a slow answer, not a lost
    # one.
    return [
        wrk,
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "20s",
        "-s",
        HERE / script,
        url,
        "--",
        *map(str, kind),
    ]


def read(output):
    """The figures of the script's last line, times in milliseconds."""
    try:
        raw = json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise BenchError(f"wrk printed no figures:\n{output}") from None
    figures = in_ms(raw)
    figures["rate"] = raw["requests"] / (raw["us"] / 1e6)
    figures["errors"] = {name: raw[name] for name in WRONG if raw.get(name)}
    for kind in ("lookups", "orders"):
        if kind in raw:
            figures[kind] = in_ms(raw[kind]) | {"rate": raw[kind]["requests"] / (raw["us"] / 1e6)}
    return figures


def in_ms(raw):
    return {"requests": raw["requests"]} | {
        f"{name}_ms": raw[name] / 1e3 for name in ("p50", "p99", "max") if name in raw
    }


def run(machine, url, connections, seconds, kind, script="load.lua"):
    """Runs a load to its end. `client_cpu_us` is the generator's own processor time for a
    request."""
    before = children_cpu_us()
    figures = read(machine.run(command(url, connections, seconds, kind, script), seconds + 60))
    figures["client_cpu_us"] = (children_cpu_us() - before) / max(figures["requests"], 1)
    return figures


def children_cpu_us():
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


class Background:
    """A load that runs while something else is done. A context manager; `figures` are there
    afterwards."""

    def __init__(self, machine, url, connections, kind, most_seconds=900):
        self.machine, self.figures = machine, None
        self.command = [str(word) for word in command(url, connections, most_seconds, kind)]

    def __enter__(self):
        self.popen = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, kind, *_):
        # wrk ends on this signal as on its own time, and prints its figures.
        self.popen.send_signal(signal.SIGINT if kind is None else signal.SIGKILL)
        try:
            output, _ = self.popen.communicate(timeout=60)
        except BaseException:
            self.popen.kill()
            self.popen.wait()
            raise
        if kind is None:
            self.figures = read(output)
