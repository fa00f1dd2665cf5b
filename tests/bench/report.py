"""From single figures to medians, ratios, tables and targets. Pure: no process, no clock."""

from statistics import median

NAMES = {
    "bazaar": "this bazaar, orders",
    "etcd": "etcd, 3 members, puts",
    "postgres_update_insert": "PostgreSQL, 2 sync. standbys, UPDATE+INSERT",
    "postgres_insert": "PostgreSQL, 2 sync. standbys, INSERT",
    "nginx": "nginx, a constant of that size",
}


class Figures:
    """All figures of a run."""

    def __init__(self, figures):
        self.figures = figures

    def of(self, part, system, **where):
        wanted = {"part": part, "system": system} | where
        return [
            figure
            for figure in self.figures
            if all(figure.get(name) == value for name, value in wanted.items())
        ]

    def values(self, part, system, field, **where):
        return [
            figure[field]
            for figure in self.of(part, system, **where)
            if figure.get(field) is not None
        ]

    def median(self, part, system, field, **where):
        values = self.values(part, system, field, **where)
        return median(values) if values else None

    def ratio(self, part, ours, theirs, field, where_ours, where_theirs=None):
        """Median over the rounds of the ratio within each round, whose two runs came soon after one
        another."""
        theirs = {
            f["round"]: f[field] for f in self.of(part, theirs, **(where_theirs or where_ours))
        }
        ratios = [
            f[field] / theirs[f["round"]]
            for f in self.of(part, ours, **where_ours)
            if theirs.get(f["round"]) and f[field] is not None
        ]
        return median(ratios) if ratios else None

    def errors(self, part, system, **where):
        """How many errors a part's figures hold."""
        return sum(
            sum(e.values()) if isinstance(e, dict) else len(e)
            for e in self.values(part, system, "errors", **where)
        )

    def worst(self, part, system, field, **where):
        return max(self.values(part, system, field, **where), default=None)


def show(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def table(head, rows):
    """A table in markdown with aligned columns: it is read on a terminal and pasted into a
    document."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    draw = lambda line: (
        "| "
        + " | ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w)
            for n, (cell, w) in enumerate(zip(line, widths))
        )
        + " |"
    )
    rule = (
        "|"
        + "|".join("-" * (w + 2) if n == 0 else "-" * (w + 1) + ":" for n, w in enumerate(widths))
        + "|"
    )
    return "\n".join([draw(head), rule, *map(draw, rows)])


def tables(f):
    """The tables of a run, with their titles: those of the parts that ran."""
    made = (durable(f), cached(f), mixture(f), gaps(f), synced(f), long_log(f), costs(f))
    return [(title, table(head, rows)) for title, head, rows in made if rows]


def durable(f):
    columns = (1, 5, 64, 512)
    systems = [
        system
        for system in ("bazaar", "etcd", "postgres_update_insert", "postgres_insert")
        if f.of("orders", system)
    ]
    cells = lambda system, field, digits: [
        show(f.median("orders", system, field, connections=n), digits) for n in columns
    ]
    rows = [[f"{NAMES[system]}/s", *cells(system, "rate", 0)] for system in systems]
    for system in systems[1:]:
        ratios = [f.ratio("orders", "bazaar", system, "rate", {"connections": n}) for n in columns]
        rows.append([f"ratio to {NAMES[system]}", *[show(ratio, 2) for ratio in ratios]])
    for name, field in (("p50", "p50_ms"), ("p99", "p99_ms")):
        rows += [[f"{name} in ms, {NAMES[system]}", *cells(system, field, 2)] for system in systems]
    if rows:
        rows.append(
            [
                "answers that were no success, this bazaar",
                *[str(f.errors("orders", "bazaar", connections=n)) for n in columns],
            ]
        )
    return "Durable writes, by connections", ["", *map(str, columns)], rows


def cached(f):
    rows = []
    for system, name in (("bazaar", "this bazaar, cached reads"), ("nginx", NAMES["nginx"])):
        if f.of("lookups", system):
            cells = lambda field, digits: [
                show(f.median("lookups", system, field, connections=n), digits) for n in (1, 64)
            ]
            rows.append([name, *cells("rate", 0), *cells("p99_ms", 2)])
    return (
        "Cached reads, by connections",
        ["", "per second at 1", "at 64", "p99 ms at 1", "at 64"],
        rows,
    )


def mixture(f):
    runs = f.of("mixed", "bazaar")
    pick = lambda kind, field: median(figure[kind][field] for figure in runs)
    kinds = ("lookups", "orders") if runs else ()
    rows = [
        [
            kind,
            show(pick(kind, "rate")),
            show(pick(kind, "p50_ms"), 2),
            show(pick(kind, "p99_ms"), 2),
        ]
        for kind in kinds
    ]
    share = show(100 * f.median("mixed", "bazaar", "hit_ratio"), 1) if runs else ""
    title = (
        "Four lookups and an order in turn, 64 connections; "
        f"the cache answered {share} % of the lookups"
    )
    return title, ["", "per second", "p50 ms", "p99 ms"], rows


def gaps(f):
    names = {
        "kill_idle": "kill -9 of the leader",
        "kill_loaded": "the same, 64 connections trade",
        "pause_idle": "leader paused for 3 s",
        "etcd": "etcd: kill -9 of the leader, the client tries the next member at once, "
        "or after 0.2 s",
    }
    rows = []
    for system, name in names.items():
        if values := f.values("failover", system, "gap_ms"):
            quiet = f.median("failover", system, "quiet_gap_ms")
            errors = "–" if system == "etcd" else str(f.errors("failover", system))
            rows.append(
                [
                    name,
                    str(len(values)),
                    show(median(values), 1),
                    show(max(values), 1),
                    show(quiet, 1),
                    errors,
                ]
            )
    return (
        "Longest time without an answer, one client that repeats nothing",
        ["", "times", "median ms", "worst ms", "before the fault", "errors"],
        rows,
    )


def synced(f):
    rows = [
        [
            service,
            str(x["connections"]),
            show(x["batches"]),
            show(x["fsyncs"]),
            show(x["per_batch"], 2),
        ]
        for service in ("catalog", "order1", "order2", "order3")
        for x in f.of("fsyncs", service)
    ]
    title = "fsyncs (strace -c -f), beside the batches that each process counts"
    return title, ["", "connections", "batches", "fsyncs", "per batch"], rows


def long_log(f):
    rows = []
    for part, few, name in (
        ("queries", "few", "order queries/s, 64 connections"),
        ("growth", "empty", "orders/s, 64 connections"),
    ):
        if f.of(part, "many"):
            rates = [f.median(part, system, "rate") for system in (few, "many")]
            rows.append([name, *map(show, rates), show(f.ratio(part, "many", few, "rate", {}), 2)])
    return (
        "Short log (queries: 1 000 orders; orders: empty files) and long log",
        ["", "short", "long", "ratio"],
        rows,
    )


def costs(f):
    rows = []
    for service in ("replica", "catalog"):
        for field, what in (("answered_s", "answers"), ("ready_s", "ready")):
            if f.of("start", service):
                rows.append(
                    [f"{service} started: {what}, s", show(f.median("start", service, field), 3)]
                )
    for service in ("catalog", "order1", "order2", "order3", "frontend"):
        if f.of("memory", service):
            rows.append(
                [
                    f"{service}: resident memory at its highest, MB",
                    show(f.worst("memory", service, "highest_mb")),
                ]
            )
    rows += [
        [f"{x['system']}: -wal file, MB", show(x["mb"], 1)] for x in f.figures if x["part"] == "wal"
    ]
    for system, name in (("idle", "alone"), ("loaded", "while 64 connections trade")):
        if f.of("catchup", system):
            rows.append([f"catch-up {name}, orders/s", show(f.median("catchup", system, "rate"))])
    for field, name in (("foreground_before", "before"), ("foreground_meanwhile", "meanwhile")):
        if f.of("catchup", "loaded"):
            rows.append(
                [f"foreground {name}, orders/s", show(f.median("catchup", "loaded", field))]
            )
    if f.of("fsync", "disk"):
        rows.append(["fsync of 4 KiB appended, µs", show(f.median("fsync", "disk", "us"))])
    return (
        "Start, memory, catch-up and disk (medians where there are several)",
        ["", "measured"],
        rows,
    )


def targets(f):
    """Each target with what was measured: `met` is `None` where a part or a system to compare with
    was left out."""
    found = []

    def target(name, measured, bound, least, digits=2, unit=""):
        met = None if measured is None else (measured >= bound if least else measured <= bound)
        sign = "≥" if least else "≤"
        found.append(
            {
                "target": name,
                "bound": f"{sign} {bound:,}{unit}".replace(",", " "),
                "measured": measured,
                "shown": f"{show(measured, digits)}{unit if measured is not None else ''}",
                "met": met,
            }
        )

    at = lambda n: {"connections": n}
    if f.of("orders", "bazaar"):
        to_etcd = lambda n: f.ratio("orders", "bazaar", "etcd", "rate", at(n))
        target("1 orders at 64 connections, of etcd's puts", to_etcd(64), 2.5, True)
        target("1 the same, least that is accepted", to_etcd(64), 2.0, True)
        target("1 orders at 5 connections, of etcd's puts", to_etcd(5), 1.5, True)
        p50 = f.ratio("orders", "bazaar", "etcd", "p50_ms", at(1))
        target("1 p50 at 1 connection, of etcd's", p50, 1.2, False)
        target("1 the same, stretch", p50, 1.0, False)
        target(
            "1 orders at 512 connections, of those at 64",
            f.ratio("orders", "bazaar", "bazaar", "rate", at(512), at(64)),
            0.8,
            True,
        )
        target(
            "1 p99 at 512 connections",
            f.median("orders", "bazaar", "p99_ms", **at(512)),
            100,
            False,
            1,
            " ms",
        )
        target("1 answers that were no success", f.errors("orders", "bazaar"), 0, False, 0)
    if f.of("failover", "kill_idle"):
        gap = lambda system: f.median("failover", system, "gap_ms")
        target("2 leader killed: median gap", gap("kill_idle"), 30, False, 1, " ms")
        target(
            "2 leader killed: worst gap",
            f.worst("failover", "kill_idle", "gap_ms"),
            200,
            False,
            1,
            " ms",
        )
        target(
            "2 leader killed: errors",
            f.errors("failover", "kill_idle") + f.errors("failover", "kill_loaded"),
            0,
            False,
            0,
        )
        target("2 leader killed under load: median gap", gap("kill_loaded"), 60, False, 1, " ms")
        target("2 leader paused: median gap", gap("pause_idle"), 700, False, 1, " ms")
    if f.of("queries", "many"):
        target(
            "3 order queries/s at 64 connections",
            f.median("queries", "few", "rate"),
            20_000,
            True,
            0,
        )
        target(
            "3 the same with a long log, of those with a short one",
            f.ratio("queries", "many", "few", "rate", {}),
            0.8,
            True,
        )
    if f.of("growth", "many"):
        target(
            "4 orders with a long log, of those on empty files",
            f.ratio("growth", "many", "empty", "rate", {}),
            0.8,
            True,
        )
        target(
            "4 longest wait for an order with a long log",
            f.worst("growth", "many", "max_ms"),
            100,
            False,
            1,
            " ms",
        )
        target("4 start of a replica", f.median("start", "replica", "ready_s"), 2, False, 2, " s")
        target("4 start of the catalog", f.median("start", "catalog", "ready_s"), 2, False, 2, " s")
        target(
            "4 largest resident memory at any time",
            max((x["highest_mb"] for x in f.figures if x["part"] == "memory"), default=None),
            150,
            False,
            0,
            " MB",
        )
    if f.of("catchup", "idle"):
        share = [
            x["foreground_meanwhile"] / x["foreground_before"] for x in f.of("catchup", "loaded")
        ]
        target("5 catch-up alone, orders/s", f.median("catchup", "idle", "rate"), 100_000, True, 0)
        target(
            "5 catch-up under load, orders/s",
            f.median("catchup", "loaded", "rate"),
            30_000,
            True,
            0,
        )
        target(
            "5 foreground meanwhile, of its rate before",
            median(share) if share else None,
            0.7,
            True,
        )
    if mixed := f.of("mixed", "bazaar"):
        target(
            "6 lookups' p99 under mixed load",
            median(x["lookups"]["p99_ms"] for x in mixed),
            5,
            False,
            2,
            " ms",
        )
    return found


def targets_table(found):
    word = {True: "met", False: "NOT met", None: "not measured"}
    return table(
        ["target", "bound", "measured", ""],
        [[t["target"], t["bound"], t["shown"], word[t["met"]]] for t in found],
    )
