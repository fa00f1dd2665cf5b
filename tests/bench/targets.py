"""The targets of the bench, and whether a run met them. Pure: no process, no clock."""

from dataclasses import dataclass
from statistics import median

from report import OURS, show, table


@dataclass(frozen=True)
class Target:
    """A bound on a figure. `measured` is `None` where a part or a system to compare with was left
    out."""

    name: str
    sign: str
    bound: float
    measured: float | None
    digits: int = 2
    unit: str = ""

    @property
    def met(self):
        if self.measured is None:
            return None
        least = self.sign == "≥"
        return self.measured >= self.bound if least else self.measured <= self.bound

    def row(self):
        word = {True: "met", False: "NOT met", None: "not measured"}[self.met]
        unit = f" {self.unit}" if self.unit else ""
        bound = f"{self.sign} {self.bound:,}{unit}".replace(",", " ")
        measured = show(self.measured, self.digits) + (unit if self.measured is not None else "")
        return [self.name, bound, measured, word]

    def json(self):
        return {"target": self.name, "bound": f"{self.sign} {self.bound}{self.unit}"} | {
            "measured": self.measured,
            "met": self.met,
        }


def targets(f):
    """Each target of the parts that ran."""
    found = []
    for part, make in (
        ("orders", of_orders),
        ("work", of_work),
        ("lookups", of_lookups),
        ("mixed", of_mixed),
        ("failover", of_failover),
        ("queries", of_queries),
        ("growth", of_growth),
        ("catchup", of_catchup),
    ):
        if any(figure["part"] == part for figure in f.figures):
            found += make(f)
    return found


def of_orders(f):
    at = lambda n: {"connections": n}
    to_etcd = lambda field, n, ours="bazaar": f.ratio("orders", ours, "etcd", field, at(n))
    wrong = sum(f.errors("orders", system) for system in OURS)
    return [
        Target("p50 at 1 connection, of etcd's", "≤", 1.0, to_etcd("p50_ms", 1)),
        Target("the same, edge inside", "≤", 0.9, to_etcd("p50_ms", 1, "bazaar_edge")),
        Target("orders at 5 connections, of etcd's puts", "≥", 1.5, to_etcd("rate", 5)),
        Target("p99 at 5 connections, of etcd's", "≤", 1.0, to_etcd("p99_ms", 5)),
        Target("orders at 64 connections, of etcd's puts", "≥", 2.8, to_etcd("rate", 64)),
        Target(
            "orders at 512 connections, of those at 64",
            "≥",
            0.8,
            f.ratio("orders", "bazaar", "bazaar", "rate", at(512), at(64)),
        ),
        Target(
            "p99 at 512 connections",
            "≤",
            100,
            f.median("orders", "bazaar", "p99_ms", **at(512)),
            1,
            "ms",
        ),
        Target("responses that were no success", "≤", 0, wrong, 0),
    ]


def of_work(f):
    switches = f.median("work", "bazaar", "switches", connections=1)
    return [Target("voluntary context switches of one order", "≤", 26, switches, 1)]


def of_lookups(f):
    ratio = lambda n: f.ratio("lookups", "bazaar", "nginx", "rate", {"connections": n})
    return [Target("cached reads at 64 connections, of nginx's constant", "≥", 1.0, ratio(64))]


def of_mixed(f):
    p99 = median(figure["lookups"]["p99_ms"] for figure in f.of("mixed", "bazaar"))
    return [Target("lookups' p99 with four lookups to an order", "≤", 5, p99, 2, "ms")]


def of_failover(f):
    gap = lambda system: f.median("failover", system, "gap_ms")
    worst = f.worst("failover", "kill_idle", "gap_ms")
    errors = f.errors("failover", "kill_idle") + f.errors("failover", "kill_loaded")
    return [
        Target("leader killed: median gap", "≤", 20, gap("kill_idle"), 1, "ms"),
        Target("leader killed: worst gap", "≤", 100, worst, 1, "ms"),
        Target("leader killed: errors", "≤", 0, errors, 0),
        Target("leader killed under load: median gap", "≤", 60, gap("kill_loaded"), 1, "ms"),
        Target("leader paused: median gap", "≤", 700, gap("pause_idle"), 1, "ms"),
    ]


def of_queries(f):
    ratio = f.ratio("queries", "many", "few", "rate", {})
    rate = f.median("queries", "few", "rate")
    return [
        Target("order queries/s at 64 connections", "≥", 20_000, rate, 0),
        Target("the same with a long log, of those with a short one", "≥", 0.8, ratio),
    ]


def of_growth(f):
    ratio = f.ratio("growth", "many", "empty", "rate", {})
    wait = f.worst("growth", "many", "max_ms")
    start = lambda service: f.median("start", service, "ready_s")
    memory = max((x["highest_mb"] for x in f.figures if x["part"] == "memory"), default=None)
    return [
        Target("orders with a long log, of those on empty files", "≥", 0.8, ratio),
        Target("longest wait for an order with a long log", "≤", 100, wait, 1, "ms"),
        Target("start of a replica", "≤", 2, start("replica"), 2, "s"),
        Target("start of the catalog", "≤", 2, start("catalog"), 2, "s"),
        Target("largest resident memory at any time", "≤", 150, memory, 0, "MB"),
    ]


def of_catchup(f):
    loaded = f.of("catchup", "loaded")
    share = [x["foreground_meanwhile"] / x["foreground_before"] for x in loaded]
    alone = f.median("catchup", "idle", "rate")
    under_load = f.median("catchup", "loaded", "rate")
    return [
        Target("catch-up alone, orders/s", "≥", 100_000, alone, 0),
        Target("catch-up under load, orders/s", "≥", 30_000, under_load, 0),
        Target(
            "orders meanwhile, of their rate before", "≥", 0.75, median(share) if share else None
        ),
    ]


def targets_table(found):
    """The targets as a table in Markdown."""
    return table(["target", "bound", "measured", ""], [target.row() for target in found])
