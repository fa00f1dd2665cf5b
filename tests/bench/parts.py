"""The parts of the bench. Each part starts what it needs, lets the systems take turns for some
rounds, and records every figure."""

import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import etcd
import load
import nginx
import perf
import postgres
from bazaar import make_log
from client import Client
from machine import BenchError, find, fsync_us, memory_mb, process_work, until
from report import ROLES, STAGES

CONNECTIONS = (1, 5, 64)
CROWD = 512
FEW = 1_000
#: Our edge behind the internal listeners instead of tiny_http.
EDGE = {"BAZAAR_INTERNAL_SERVER": "edge"}
BODY = b'{"name":"Stock1","quantity":1,"type":"sell"}'
ORDER = b"POST /orders HTTP/1.1\r\nHost: bazaar\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def installed(bench, module):
    """Whether a system to compare with is there; says what to install where it is not."""
    package = module.missing()
    if package:
        bench.skip(f"{module.__name__} is not installed: apt install {package}")
    return not package


def orders(bench):
    """Orders, puts and transactions per second at 1, 5, 64 and, ours alone, 512 connections. Ours
    runs twice: with tiny_http behind the internal listeners, and with the edge."""
    with ExitStack() as stack:
        ours = {
            "bazaar": stack.enter_context(bench.bazaar("orders")),
            "bazaar_edge": stack.enter_context(bench.bazaar("edge", settings=EDGE)),
        }
        acknowledged = dict.fromkeys(ours, 0)
        others = []
        if installed(bench, etcd):
            members = stack.enter_context(etcd.Etcd(bench.machine))
            for api, figures in members.choose(bench.seconds).items():
                bench.record("etcd_api", api, 0, connections=64, **figures)
            bench.say(f"etcd is driven over {members.api}, the faster of v2 keys and v3 gateway")
            bench.versions["etcd_api"] = members.api
            others.append(("etcd", members.run))
        if installed(bench, postgres):
            primary = stack.enter_context(postgres.Postgres(bench.machine))
            for script in postgres.SCRIPTS:
                others.append(
                    (f"postgres_{script}", lambda n, s, script=script: primary.run(script, n, s))
                )
        own = [
            (name, lambda n, s, bazaar=bazaar: bench.wrk(bazaar, n, ["orders"], seconds=s))
            for name, bazaar in ours.items()
        ]
        for _, run in own:
            run(64, bench.seconds)  # not counted: caches, pools and files become warm
        for turn in bench.turns():
            bench.record("fsync", "disk", turn, us=fsync_us(bench.machine.folder))
            for connections in (*CONNECTIONS, CROWD):
                for system, run in own if connections == CROWD else [*own, *others]:
                    figures = bench.measure(
                        "orders",
                        system,
                        turn,
                        lambda: run(connections, bench.seconds),
                        connections=connections,
                    )
                    if system in acknowledged:
                        acknowledged[system] += figures["requests"]
        for name, bazaar in ours.items():
            count(bench, bazaar, acknowledged[name])
    for bazaar in ours.values():
        bench.say(bazaar.verify().rstrip())


def count(bench, ours, acknowledged):
    """Fails the bench where the logs hold fewer orders than were acknowledged."""
    until(ours.settled, "every order is on every replica", 60)
    held = ours.orders()
    if held < acknowledged:
        bench.fail(f"{ours.name}: {acknowledged} orders were acknowledged, the logs hold {held}")


def stores(bench):
    """Orders with the catalog's state in a file, in one PostgreSQL, and in one with two synchronous
    standbys."""
    if not installed(bench, postgres):
        return
    with ExitStack() as stack:
        ours = {"file": stack.enter_context(bench.bazaar("file"))}
        for name, standbys in (("postgres", 0), ("postgres_sync", 2)):
            files = f"stores_{name}"
            server = stack.enter_context(postgres.Postgres(bench.machine, files, standbys))
            url = server.url("bazaar")
            ours[name] = stack.enter_context(bench.bazaar(name, database=url))
        for bazaar in ours.values():
            bench.wrk(bazaar, 64, ["orders"])  # not counted: caches, pools and files become warm
        for turn in bench.turns():
            for connections in (*CONNECTIONS, CROWD):
                for name, bazaar in ours.items():
                    run = lambda: bench.wrk(bazaar, connections, ["orders"])
                    bench.measure("stores", name, turn, run, connections=connections)
        for bazaar in ours.values():
            until(bazaar.settled, "every order is on every replica", 60)


def work(bench):
    """How an order's processor time and context switches divide among the processes, and how many
    orders share a batch. The simulation of `make scale` calculates with these figures."""
    for system, settings in (("bazaar", {}), ("bazaar_edge", EDGE)):
        with bench.bazaar(f"work_{system}", settings=settings) as ours:
            bench.wrk(ours, 64, ["orders"])  # not counted: caches, pools and files become warm
            for turn in bench.turns():
                for connections in (1, 5, 16, 64, 256, CROWD):
                    record_work(bench, ours, system, turn, connections)


def builds(bench):
    """Orders of this build beside those of another one, and etcd's puts, in turns: rate, times,
    processor time and context switches."""
    if not bench.before:
        bench.skip("no other build to compare with: its folder is named with BEFORE=")
        return
    with ExitStack() as stack:
        ours = {
            system: stack.enter_context(bench.bazaar(f"build_{system}", **options))
            for system, options in our_builds(bench)
        }
        members = installed(bench, etcd) and stack.enter_context(etcd.Etcd(bench.machine))
        if members:
            members.choose(bench.seconds)
        for bazaar in ours.values():
            bench.wrk(bazaar, 64, ["orders"])  # not counted: caches, pools and files become warm
        for turn in bench.turns():
            for connections in CONNECTIONS:
                for system, bazaar in ours.items():
                    record_work(bench, bazaar, system, turn, connections, "builds")
                if members:
                    run = lambda: members.run(connections, bench.seconds)
                    bench.measure("builds", "etcd", turn, run, connections=connections)


def our_builds(bench):
    """The systems that are ours, with how they are started: another build, if there is one, and
    this one with either server inside."""
    before = [("before", {"binaries": bench.before})] if bench.before else []
    return [*before, ("bazaar", {}), ("bazaar_edge", {"settings": EDGE})]


def profile(bench):
    """Where the processors spend their time while orders are traded, by samples of perf."""
    if package := perf.missing():
        bench.skip(f"perf is not installed: apt install {package}")
        return
    for system, options in our_builds(bench):
        with bench.bazaar(f"profile_{system}", **options) as ours:
            bench.wrk(ours, 64, ["orders"])  # not counted: caches, pools and files become warm
            pids = [process.pid for process in ours.process.values()]
            for connections in (1, 64):
                with perf.Samples(bench.machine, pids) as samples:
                    bench.wrk(ours, connections, ["orders"])
                bench.record("profile", system, 0, connections=connections, **samples.shares)


def record_work(bench, ours, system, turn, connections, part="work"):
    """Runs one load, and adds up the work of every process meanwhile."""
    until(ours.settled, "every order is on every replica", 60)
    leader = ours.leader()
    before = {service: process_work(process.pid) for service, process in ours.process.items()}
    roles = {"frontend": "frontend", "catalog": "catalog", "leader": leader}
    roles["follower"] = ours.follower()
    seen = {role: ours.metrics(service) for role, service in roles.items()}
    run = lambda: bench.wrk(ours, connections, ["orders"])
    figures = bench.measure(part, system, turn, run, connections=connections)
    after = {service: process_work(process.pid) for service, process in ours.process.items()}
    orders = max(figures["requests"], 1)
    for service in ours.process:
        role = "leader" if service == leader else service.rstrip("0123456789")
        role = "follower" if role == "order" else role
        for field, name in enumerate(("cpu_us", "switches")):
            share = (after[service][field] - before[service][field]) / orders
            figures[f"{role}_{name}"] = figures.get(f"{role}_{name}", 0) + share
    figures["switches"] = sum(v for name, v in figures.items() if name.endswith("_switches"))
    figures["cpu_us"] = sum(figures[f"{role}_cpu_us"] for role in ROLES)
    now = {role: ours.metrics(service) for role, service in roles.items()}
    mean = lambda role, name: histogram_mean(seen[role], now[role], name)
    figures["batch"] = mean("catalog", "bazaar_catalog_batch_orders")
    for stage, (role, name) in STAGES.items():
        figures[f"{stage}_us"] = mean(role, name) * 1e6


def histogram_mean(before, after, name):
    """The mean of a histogram's values between two readings of `/metrics`."""
    name, brace, labels = name.partition("{")

    def grown(end):
        sample = f"{name}_{end}{brace}{labels}"
        return after.get(sample, 0) - before.get(sample, 0)

    return grown("sum") / max(grown("count"), 1)


def lookups(bench):
    """Cached reads, beside nginx with a constant of that size."""
    with ExitStack() as stack:
        ours = stack.enter_context(bench.bazaar("lookups"))
        systems = [("bazaar", lambda n, s: bench.wrk(ours, n, ["lookups"]))]
        if installed(bench, nginx):
            systems.append(("nginx", stack.enter_context(nginx.Nginx(bench.machine)).run))
        for turn in bench.turns():
            for connections in (1, 64):
                for system, run in systems:
                    bench.measure(
                        "lookups",
                        system,
                        turn,
                        lambda: run(connections, bench.seconds),
                        connections=connections,
                    )


def mixed(bench):
    """Four lookups and an order in turn, 64 connections: what a lookup takes, and how many of them
    the cache answers."""
    with bench.bazaar("mixed") as ours:
        for turn in bench.turns():
            before = ours.metrics("frontend")
            figures = bench.measure(
                "mixed",
                "bazaar",
                turn,
                lambda: bench.wrk(ours, 64, ["mixed"], "mixed.lua"),
                connections=64,
            )
            after = ours.metrics("frontend")
            hits, misses = (
                after[name] - before[name]
                for name in ("bazaar_cache_hits_total", "bazaar_cache_misses_total")
            )
            figures |= {"hits": hits, "misses": misses, "hit_ratio": hits / max(hits + misses, 1)}


def queries(bench):
    """Order queries at 64 connections, with few and with many orders in the log."""
    few = make_log(bench.machine, bench.binaries, FEW)
    with bench.bazaar("few", few) as small, bench.bazaar("many", bench.big_log()) as big:
        bench.await_quiet_disk()
        for turn in bench.turns():
            for system, ours, count in (("few", small, FEW), ("many", big, bench.orders)):
                bench.measure(
                    "queries",
                    system,
                    turn,
                    lambda: bench.wrk(ours, 64, ["queries", count]),
                    connections=64,
                )
        memory(bench, big, "queries")


def growth(bench):
    """Orders with a long log beside orders on empty files; start, memory and WAL with the long
    one."""
    with bench.bazaar("empty") as empty, bench.bazaar("grown", bench.big_log()) as big:
        bench.await_quiet_disk()
        for turn in bench.turns():
            for system, ours in (("empty", empty), ("many", big)):
                bench.measure(
                    "growth", system, turn, lambda: bench.wrk(ours, 64, ["orders"]), connections=64
                )
        memory(bench, big, "growth")
        for wal in sorted(big.folder.glob("*.db-wal")):
            bench.record("wal", wal.name.removesuffix(".db-wal"), 0, mb=wal.stat().st_size / 1e6)
        for turn in bench.turns():
            answered, ready = big.restart_seconds(
                big.follower(), lambda health: health.get("eligible")
            )
            bench.record("start", "replica", turn, answered_s=answered, ready_s=ready)
            until(big.settled, "the replica follows", 120)
            answered, ready = big.restart_seconds(
                "catalog", lambda health: health.get("state") == "serving"
            )
            bench.record("start", "catalog", turn, answered_s=answered, ready_s=ready)
            until(big.settled, "the catalog serves and a leader is known", 120)


def catchup(bench):
    """A replica whose file was removed fetches the whole log: alone, and while 64 connections
    trade."""
    with bench.bazaar("catchup", bench.big_log()) as ours:
        bench.await_quiet_disk()
        for turn in bench.turns():
            for loaded in (False, True):
                until(ours.settled, "all replicas are in sync", 600)
                lost = ours.follower()
                ours.kill(lost)
                for file in ours.folder.glob(f"{lost}.db*"):
                    file.unlink()
                if loaded:
                    with load.Background(
                        bench.machine, bench.url(ours), 64, ["orders"]
                    ) as background:
                        figures = fetched(bench, ours, lost, loaded)
                    figures["errors"] = background.figures["errors"]
                    if figures["errors"]:
                        bench.fail(f"orders while a replica caught up: {figures['errors']}")
                else:
                    figures = fetched(bench, ours, lost, loaded)
                bench.record("catchup", "loaded" if loaded else "idle", turn, **figures)
        until(ours.settled, "all replicas are in sync", 600)
        memory(bench, ours, "catchup")
    bench.say(ours.verify().rstrip())


def memory(bench, ours, after):
    """Records what each process has in memory, now and at most since it was started."""
    for service, process in ours.process.items():
        now, highest = memory_mb(process.pid)
        bench.record("memory", service, 0, after=after, mb=now, highest_mb=highest)


def fetched(bench, ours, lost, loaded):
    """Starts a replica without a file: rows per second until it follows, and the foreground's rates
    before and meanwhile."""
    leader = ours.leader()
    figures = {}
    if loaded:
        # The first orders wait for the leader to find out that a follower is gone.
        first = ours.orders(leader)
        until(lambda: ours.orders(leader) > first + 100, "orders flow")
        first, begun = ours.orders(leader), time.monotonic()
        time.sleep(bench.seconds)
        figures["foreground_before"] = (ours.orders(leader) - first) / (time.monotonic() - begun)
    first, begun = ours.orders(leader), time.monotonic()
    ours.start(lost)

    def caught_up():
        bench.machine.check()
        health = ours.health(lost)
        # In touch again: from here on each order waits for it too.
        return (
            health
            and not health["catching_up"]
            and int(lost[-1]) in ours.health(leader)["in_sync"]
            and health
        )

    health = until(caught_up, f"{lost} has caught up", 900, 0.005)
    took = time.monotonic() - begun
    figures |= {"rows": health["last"] + 1, "seconds": took, "rate": (health["last"] + 1) / took}
    if loaded:
        figures["foreground_meanwhile"] = (ours.orders(leader) - first) / took
    return figures


def failover(bench):
    """kill -9 of the leader, and SIGSTOP for three seconds: how long one client that repeats
    nothing goes without an answer."""
    if installed(bench, etcd):
        kill_etcd_often(bench, min(bench.kills, 5))
    with bench.bazaar("failover") as ours:
        for turn in range(bench.kills):
            fault(bench, ours, "kill", turn, False)
            fault(bench, ours, "kill", turn, True)
        for turn in range(min(bench.kills, 5)):
            fault(bench, ours, "pause", turn, False)
        until(ours.settled, "all replicas are in sync", 60)
    bench.say(ours.verify().rstrip())


def fault(bench, ours, kind, turn, loaded):
    """One fault of the leader, with one client watching; `loaded`: 64 connections trade
    meanwhile."""
    before, after, pause = 0.7, 1.3, 3.0
    numbers = []

    def judge(body):
        number = re.fullmatch(rb'{"data":{"transaction_number":(\d+)}}', body)
        if not number:
            return f"not understood: {body[:200]!r}"
        if numbers and int(number[1]) <= numbers[-1]:
            bench.fail(f"one client was given number {int(number[1])} after {numbers[-1]}")
        numbers.append(int(number[1]))
        return None

    until(ours.settled, "all replicas are in sync", 60)
    leader = ours.leader()
    with ExitStack() as stack:
        background = loaded and stack.enter_context(
            load.Background(bench.machine, bench.url(ours), 64, ["orders"])
        )
        client = stack.enter_context(Client([ours.public], ORDER, judge, 30))
        begun = time.monotonic()
        time.sleep(before)
        at = time.monotonic()
        if kind == "kill":
            ours.kill(leader)
        else:
            ours.process[leader].send(signal.SIGSTOP)
        until(
            lambda: client.times and client.times[-1] > at + after,
            "the client is answered again",
            60,
        )
        until(lambda: kind == "kill" or time.monotonic() > at + pause, "the pause is over")
        if kind == "pause":
            ours.process[leader].send(signal.SIGCONT)
        end = time.monotonic()
    if kind == "kill":
        ours.start(leader)
    errors = list(client.errors)
    figures = {
        "gap_ms": client.gap_ms(at, end),
        "quiet_gap_ms": client.gap_ms(begun, at - 0.01),
        "answers": len(client.times),
    }
    if loaded:
        figures |= {
            "load_rate": background.figures["rate"],
            "load_max_ms": background.figures["max_ms"],
        }
        errors += [f"{count} × {what}" for what, count in background.figures["errors"].items()]
    bench.record(
        "failover", f"{kind}_{'loaded' if loaded else 'idle'}", turn, **figures, errors=errors
    )


def kill_etcd_often(bench, kills):
    """Kills etcd's leader so many times. A cluster that is not whole again is replaced by a new one
    twice; after that the bench goes on with the kills that it has, and says so."""
    done, failed = 0, 0
    while done < kills and failed < 3:
        try:
            with etcd.Etcd(bench.machine, f"etcd-{failed}") as members:
                while done < kills:
                    kill_etcd(bench, members, done)
                    done += 1
        except BenchError as error:
            failed += 1
            bench.say(f"  etcd: {error}")
    if done < kills:
        bench.skip(f"etcd came back after {done} of {kills} kills of its leader")


def kill_etcd(bench, members, turn):
    """The same for etcd, with a client that asks the next member at once when it is refused, and
    after 0.2 s without an answer: what a member has passed on to a leader that died is lost, and
    would be waited for in vain."""
    until(members.settled, "etcd has a leader and three healthy members", 60)
    leader = members.leader()
    with Client(members.ports_from_leader(), etcd.PUT, etcd.Etcd.judge, 0.2) as client:
        time.sleep(0.7)
        at = time.monotonic()
        members.kill(leader)
        until(lambda: client.times and client.times[-1] > at + 1.3, "etcd answers again", 60)
        end = time.monotonic()
    members.start(leader)
    bench.record(
        "failover",
        "etcd",
        turn,
        gap_ms=client.gap_ms(at, end),
        answers=len(client.times),
        retries=len(client.errors),
    )


def fsyncs(bench):
    """How many fsyncs a batch costs, counted by strace beside the batches that the services count.
    strace slows them: no rate is taken."""
    if not find("strace"):
        bench.skip("strace is not installed: apt install strace")
        return
    batches = {"catalog": "bazaar_catalog_batch_orders_count"} | {
        f"order{n}": "bazaar_order_append_rows_count" for n in (1, 2, 3)
    }
    with bench.bazaar("fsyncs") as ours:
        for connections in (1, 64):
            bench.wrk(ours, connections, ["orders"])
            until(ours.settled, "every order is on every replica")
            tracers, before = {}, {}
            try:
                for service in batches:
                    out = bench.machine.folder / f"strace-{service}"
                    tracers[service] = (
                        subprocess.Popen(
                            [
                                find("strace"),
                                "-c",
                                "-f",
                                "-e",
                                "trace=fsync,fdatasync",
                                "-o",
                                str(out),
                                "-p",
                                str(ours.process[service].pid),
                            ],
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE,
                            text=True,
                            start_new_session=True,
                        ),
                        out,
                    )
                for service, (tracer, _) in tracers.items():
                    pid = ours.process[service].pid
                    try:
                        until(
                            lambda: traced(pid) or tracer.poll() is not None,
                            f"strace follows {service}",
                            10,
                        )
                    finally:
                        if tracer.poll() is not None:
                            bench.skip(
                                "strace may not follow other processes: "
                                f"{tracer.stderr.read().strip()}; "
                                "run the bench as root for this part"
                            )
                            return
                before = {service: ours.metrics(service)[name] for service, name in batches.items()}
                bench.wrk(ours, connections, ["orders"])
                until(ours.settled, "every order is on every replica")
            finally:
                for tracer, _ in tracers.values():
                    tracer.send_signal(signal.SIGINT)
                for tracer, _ in tracers.values():
                    tracer.communicate(timeout=20)
            for service, name in batches.items():
                # Columns: share, seconds, microseconds per call, calls, errors where there are any,
                # system call.
                lines = [line.split() for line in tracers[service][1].read_text().splitlines()]
                synced = sum(
                    int(line[3]) for line in lines if line and line[-1] in ("fsync", "fdatasync")
                )
                count = ours.metrics(service)[name] - before[service]
                bench.record(
                    "fsyncs",
                    service,
                    0,
                    connections=connections,
                    fsyncs=synced,
                    batches=count,
                    per_batch=synced / max(count, 1),
                )


def traced(pid):
    """Whether every thread of a process is traced."""
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    return all("TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads)


#: In the sequence in which they run.
PARTS = {
    part.__name__: part
    for part in (
        orders,
        work,
        builds,
        profile,
        stores,
        lookups,
        mixed,
        failover,
        fsyncs,
        queries,
        growth,
        catchup,
    )
}
