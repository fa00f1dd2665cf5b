"""The curves of `make scale`: each starts real processes, makes the work grow, and yields one row a
size."""

import http.client
import json
import os
import selectors
import shutil
import socket
import threading
import time
from statistics import median

import load
import parts
from bazaar import Bazaar, make_log
from machine import BenchError, memory_mb, until

BODY = json.dumps({"name": "Stock1", "quantity": 1, "type": "sell"})
#: The key of the first order of each long log: a repeat must find the oldest row.
OLD_KEY = "oldest"


class Scale:
    """One run."""

    def __init__(self, options, machine):
        self.machine, self.options = machine, options
        self.seconds, self.rounds, self.started = options.seconds, options.rounds, 0

    def say(self, text):
        print(text, flush=True)

    def bazaar(self, name, files=None, **options):
        self.started += 1
        name = f"{name}-{self.started}"
        return Bazaar(self.machine, self.options.binaries, name, files, **options)

    def wrk(self, ours, connections, kind, seconds=None, *, may_refuse=False):
        url = f"http://127.0.0.1:{ours.public}"
        found = load.run(self.machine, url, connections, seconds or self.seconds, kind)
        self.machine.check()
        wrong = set(found["errors"]) - ({"refused"} if may_refuse else set())
        if wrong or not found["requests"]:
            raise BenchError(f"{kind} at {connections} connections: {found['errors'] or 'none'}")
        return found

    def median(self, ours, connections, kind, **options):
        """Medians of rate, p50, p99 and of the refused share over the rounds."""
        runs = [self.wrk(ours, connections, kind, **options) for _ in range(self.rounds)]
        for run in runs:
            run["refused"] = run["errors"].get("refused", 0) / run["requests"]
            run["rate"] *= 1 - run["refused"]
        names = ("rate", "p50_ms", "p99_ms", "refused")
        return {name: median(run[name] for run in runs) for name in names}

    def trade(self, ours):
        """Orders at 1 and at 64 connections, and the mean time until every cache has acknowledged
        the invalidation of one order."""
        before = ours.metrics("catalog")
        one = self.median(ours, 1, ["orders"])
        after = ours.metrics("catalog")
        invalidation = parts.histogram_mean(before, after, "bazaar_catalog_invalidation_seconds")
        many = self.median(ours, 64, ["orders"])
        return {
            "p50_ms_at_1": one["p50_ms"],
            "invalidation_ms": invalidation * 1e3,
            "rate_at_64": many["rate"],
            "p99_ms_at_64": many["p99_ms"],
        }


def stocks(run):
    """Stocks in the bazaar."""
    for count in (14, 1_000, 100_000):
        names = [f"Stock{n}" for n in range(1, count + 1)]
        with run.bazaar("uncached", stocks=names, settings={"FRONTEND_CACHE": "off"}) as ours:
            reads = run.median(ours, 64, ["lookups", count])["rate"]
        begun = time.monotonic()
        with run.bazaar("stocks", stocks=names) as ours:
            row = {"stocks": count, "start_s": time.monotonic() - begun, "reads_cache_off": reads}
            row |= run.trade(ours)
            row["catalog_mb"] = memory_mb(ours.process["catalog"].pid)[1]
            serving = lambda health: health.get("state") == "serving"
            yield row | {"restart_s": ours.restart_seconds("catalog", serving)[1]}


def frontends(run):
    """Front-ends, each with a session: an order waits for an invalidation of every cache."""
    for count in (1, 2, 5, 10, 20):
        with run.bazaar("frontends", frontends=count) as ours:
            yield {"frontends": count, **run.trade(ours)}


def replicas(run):
    """Replicas, all in sync: an order is durable on each of them."""
    for count in (1, 3, 5, 7):
        with run.bazaar("replicas", replicas=count) as ours:
            yield {"replicas": count, **run.trade(ours)}


def orders(run):
    """Orders in the log."""
    for count in [n for n in (10_000, 100_000, 1_000_000, 10_000_000) if n <= run.options.orders]:
        files = make_log(run.machine, run.options.binaries, count, OLD_KEY)
        row = {"orders": count, "file_mb": (files / "order.db").stat().st_size / 1e6}
        begun = time.monotonic()
        logs = [files / "order.db", files / "order.db"]
        run.machine.run([run.options.binaries / "order", "verify", *logs], 1800)
        row["verify_s"] = (time.monotonic() - begun) / 2
        row |= backed_up(run, files)
        with run.bazaar("orders", files) as ours:
            row["query_rate"] = run.median(ours, 64, ["queries", count])["rate"]
            row["old_key_ms"] = repeat_ms(ours)
            row |= run.trade(ours)
            follower = ours.follower()
            row["replica_start_s"] = ours.restart_seconds(follower, lambda h: h.get("eligible"))[1]
            row["replica_mb"] = memory_mb(ours.process[follower].pid)[1]
            until(ours.settled, "the replica follows", 120)
            serving = lambda health: health.get("state") == "serving"
            row["catalog_start_s"] = ours.restart_seconds("catalog", serving)[1]
        shutil.rmtree(files)
        yield row


def repeat_ms(ours):
    """Median time of a repeat of the oldest order, which must get its number, 0."""
    taken = []
    connection = http.client.HTTPConnection("127.0.0.1", ours.public)
    for _ in range(200):
        before = time.perf_counter()
        connection.request("POST", "/orders", BODY, {"Idempotency-Key": OLD_KEY})
        answer = json.loads(connection.getresponse().read())
        taken.append((time.perf_counter() - before) * 1e3)
        if answer.get("data", {}).get("transaction_number") != 0:
            raise BenchError(f"the oldest order was repeated, and the answer is {answer}")
    connection.close()
    return median(taken)


def backed_up(run, files):
    """Seconds of `bazaar backup` of a running bazaar with these files."""
    folder = run.machine.folder / "launched"
    folder.mkdir()
    shutil.copy(files / "catalog.db", folder)
    for replica in (1, 2, 3):
        shutil.copy(files / "order.db", folder / f"order{replica}.db")
    ports = run.machine.ports()
    bazaar = run.options.binaries / "bazaar"
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("CATALOG_", "ORDER_"))}
    command = [bazaar, "run", "--dir", folder, "--ports-from", str(ports[0])]
    launched = run.machine.start("launched", command, environment)
    try:
        ready = lambda: (run.machine.check(), status_of(ports[5]) == 200)[1]
        until(ready, "the launched bazaar is ready", 120)
        begun = time.monotonic()
        backup = run.machine.folder / "backup"
        run.machine.run([bazaar, "backup", backup, "--dir", folder], 1800)
        took = time.monotonic() - begun
    finally:
        launched.end()
    shutil.rmtree(folder)
    shutil.rmtree(backup)
    return {"backup_s": took}


def status_of(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


def connections(run):
    """Connections, each with one order after the other."""
    with run.bazaar("connections", settings={"FRONTEND_MAX_CONNECTIONS": "12000"}) as ours:
        run.wrk(ours, 64, ["orders"])
        for count in (1, 10, 100, 1_000, 10_000):
            # Beyond the bound of the queue orders are refused at once, with 503.
            found = run.median(ours, count, ["orders"], may_refuse=True)
            memory = memory_mb(ours.process["frontend"].pid)[0]
            row = {"connections": count, **found, "frontend_mb": memory}
            yield row | {"refused_percent": 100 * found["refused"]}


def viewers(run):
    """Viewers of the live feed while 64 connections order."""
    with run.bazaar("viewers") as ours:
        run.wrk(ours, 64, ["orders"])
        for count in (0, 10, 100, 1_000):
            with Viewers(ours.public, count) as watching:
                found = run.median(ours, 64, ["orders"])
            yield {"viewers": count, **found, "kilobytes": watching.kilobytes()}


class Viewers(threading.Thread):
    """Connections that watch the feed. One thread reads them all, as cheaply as it can. A context
    manager."""

    def __init__(self, port, count):
        super().__init__(name="viewers", daemon=True)
        self.port, self.wanted, self.bytes, self.begun = port, count, 0, False
        self.stopping, self.selector = threading.Event(), selectors.DefaultSelector()

    def __enter__(self):
        for _ in range(self.wanted):
            watching = socket.create_connection(("127.0.0.1", self.port), 10)
            watching.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if not watching.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise BenchError("the feed refused a viewer")
            self.selector.register(watching, selectors.EVENT_READ)
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()

    def run(self):
        while not self.stopping.is_set():
            for key, _ in self.selector.select(0.2):
                self.bytes += len(key.fileobj.recv(65_536))

    def kilobytes(self):
        """Kilobytes that each viewer read."""
        return self.bytes / max(self.wanted, 1) / 1e3


def work(run):
    """Work of each process for an order, by connections: the simulation calculates with it."""
    with run.bazaar("work") as ours:
        run.wrk(ours, 64, ["orders"])
        for count in (1, 2, 5, 16, 64, 128, 256, 512):
            yield measure_work(run, ours, count)


def measure_work(run, ours, count):
    """One load with the work of each process, for `costs`."""
    rows = []
    for turn in range(run.rounds):
        figures = {}
        bench = Recorder(run, figures)
        parts.record_work(bench, ours, "bazaar", turn, count)
        rows.append(figures)
    return {"connections": count} | {
        name: median(row[name] for row in rows)
        for name, value in rows[0].items()
        if isinstance(value, (int, float)) and name != "requests"
    }


class Recorder:
    """The face of a bench that `parts.record_work` needs."""

    def __init__(self, run, figures):
        self.run, self.figures = run, figures

    def wrk(self, ours, connections, kind):
        return self.run.wrk(ours, connections, kind)

    def measure(self, part, system, turn, run, **where):
        self.figures |= run()
        return self.figures


CURVES = {
    curve.__name__: curve
    for curve in (work, stocks, frontends, replicas, connections, viewers, orders)
}
