"""From single figures to medians, ratios, tables and targets. Pure: no process, no clock."""

from statistics import median

NAMES = {
    "bazaar": "this bazaar, orders",
    "bazaar_edge": "the same, edge inside",
    "before": "another build, orders",
    "etcd": "etcd, 3 members, puts",
    "postgres_update_insert": "PostgreSQL, 2 sync. standbys, UPDATE+INSERT",
    "postgres_insert": "PostgreSQL, 2 sync. standbys, INSERT",
    "nginx": "nginx, a constant of that size",
    "file": "catalog in a file (SQLite)",
    "postgres": "catalog in one PostgreSQL",
    "postgres_sync": "catalog in PostgreSQL, 2 sync. standbys",
}
ROLES = ("frontend", "leader", "catalog", "follower")
#: Where the time of an order goes: the service that measures a stage, and its histogram.
STAGES = {
    "queue": ("frontend", 'bazaar_order_stage_seconds{stage="queue"}'),
    "forward": ("frontend", 'bazaar_order_stage_seconds{stage="forward"}'),
    "leader_queue": ("leader", "bazaar_order_queue_seconds"),
    "call": ("leader", "bazaar_order_catalog_seconds"),
    "catalog_queue": ("catalog", "bazaar_catalog_queue_seconds"),
    "catalog_batch": ("catalog", "bazaar_catalog_batch_seconds"),
    "commit": ("catalog", "bazaar_catalog_commit_seconds"),
    "invalidation": ("catalog", "bazaar_catalog_invalidation_seconds"),
    "append": ("leader", "bazaar_order_append_seconds"),
    "replication": ("leader", "bazaar_order_replication_seconds"),
    "follower_append": ("follower", "bazaar_order_append_seconds"),
    "answer": ("frontend", 'bazaar_order_stage_seconds{stage="answer"}'),
}
#: This bazaar with either server behind the internal listeners.
OURS = ("bazaar", "bazaar_edge")


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
    made = (
        durable(f),
        worked(f),
        staged(f),
        compared(f),
        profiled(f),
        stored(f),
        cached(f),
        mixture(f),
        gaps(f),
        synced(f),
        long_log(f),
        costs(f),
    )
    return [(title, table(head, rows)) for title, head, rows in made if rows]


def durable(f):
    columns = (1, 5, 64, 512)
    systems = [
        system
        for system in ("bazaar", "bazaar_edge", "etcd", "postgres_update_insert", "postgres_insert")
        if f.of("orders", system)
    ]
    cells = lambda system, field, digits: [
        show(f.median("orders", system, field, connections=n), digits) for n in columns
    ]
    rows = [[f"{NAMES[system]}/s", *cells(system, "rate", 0)] for system in systems]
    for system in systems:
        if system in OURS:
            continue
        ratios = [f.ratio("orders", "bazaar", system, "rate", {"connections": n}) for n in columns]
        rows.append([f"ratio to {NAMES[system]}", *[show(ratio, 2) for ratio in ratios]])
    for name, field in (("p50", "p50_ms"), ("p99", "p99_ms")):
        rows += [[f"{name} in ms, {NAMES[system]}", *cells(system, field, 2)] for system in systems]
    if rows:
        rows.append(
            [
                "answers that were no success, this bazaar",
                *[str(sum(f.errors("orders", s, connections=n) for s in OURS)) for n in columns],
            ]
        )
    return "Durable writes, by connections", ["", *map(str, columns)], rows


def worked(f):
    """The processor time of an order by process, and how often a thread of each one waits."""
    rows = []
    for system in OURS:
        for n in sorted({figure["connections"] for figure in f.of("work", system)}):
            pick = lambda field, digits=0: show(
                f.median("work", system, field, connections=n), digits
            )
            rows.append(
                [
                    f"{NAMES[system]}, at {n}",
                    pick("rate"),
                    pick("batch", 1),
                    pick("cpu_us"),
                    *[pick(f"{role}_cpu_us") for role in ROLES],
                    pick("switches", 1),
                ]
            )
    return (
        "Work for one order: µs of processor time, and voluntary context switches",
        ["", "orders/s", "in a batch", "µs", *ROLES, "switches"],
        rows,
    )


def staged(f):
    """The mean time of each stage of an order's way. Some overlap."""
    loads = [(system, n) for system in OURS for n in (1, 64) if f.of("work", system)]
    rows = []
    for stage, (service, name) in STAGES.items():
        values = [f.median("work", system, f"{stage}_us", connections=n) for system, n in loads]
        rows.append([f"{service} `{name}`", *[show(value) for value in values]])
    head = ["", *[f"{NAMES[system]}, at {n}" for system, n in loads]]
    return "Stages of an order: means in µs", head, rows if loads else []


def compared(f):
    """This build beside another one."""
    rows = []
    for n in (1, 5, 64):
        for system in ("before", *OURS, "etcd"):
            if not f.of("builds", system, connections=n):
                continue
            pick = lambda field, digits=0: show(
                f.median("builds", system, field, connections=n), digits
            )
            times = [pick(field, 2) for field in ("p50_ms", "p99_ms")]
            ratio = f.ratio("builds", system, "etcd", "rate", {"connections": n})
            work = [pick("cpu_us"), pick("switches", 1)]
            rows.append([f"{NAMES[system]}, at {n}", pick("rate"), *times, *work, show(ratio, 2)])
    head = ["", "per second", "p50 ms", "p99 ms", "µs of processor", "switches", "of etcd's rate"]
    return "This build beside another one", head, rows


def profiled(f):
    """Where the processors spend their time."""
    runs = [(s, n) for s in ("before", *OURS) for n in (1, 64) if f.of("profile", s)]
    names = {
        "switching": "switching threads, and waking them",
        "files": "files and the disk",
        "sockets": "sockets",
        "kernel": "else in the kernel",
        "sqlite": "SQLite",
        "allocator": "allocator",
        "json": "JSON",
        "program": "else in the programs",
    }
    share = lambda s, n, kind: show(f.median("profile", s, kind, connections=n))
    rows = [[text, *[share(s, n, kind) for s, n in runs]] for kind, text in names.items()]
    head = ["", *[f"{NAMES[s]}, at {n}" for s, n in runs]]
    title = "Processor time of all services by purpose, in percent (perf)"
    return title, head, rows if runs else []


def stored(f):
    """Where the catalog's state lies, and what it costs."""
    columns = (1, 5, 64, 512)
    rows = []
    for name, field, digits in (
        ("orders/s", "rate", 0),
        ("p50 ms", "p50_ms", 2),
        ("p99 ms", "p99_ms", 2),
    ):
        for system in ("file", "postgres", "postgres_sync"):
            if f.of("stores", system):
                cells = [f.median("stores", system, field, connections=n) for n in columns]
                rows.append([f"{NAMES[system]}: {name}", *[show(cell, digits) for cell in cells]])
    for system in ("postgres", "postgres_sync"):
        if f.of("stores", system):
            ratios = [
                f.ratio("stores", system, "file", "rate", {"connections": n}) for n in columns
            ]
            rows.append(
                [f"{NAMES[system]}: orders, of those with a file", *[show(r, 2) for r in ratios]]
            )
    return "Stores of the catalog, by connections", ["", *map(str, columns)], rows


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
