"""A simulation of an order's way, with measured costs: clients, the front-ends' batchers, leader,
catalog, two followers, a disk, and the processors that they share. Pure: no process, no clock.

Time is in microseconds. Steps are those of docs/architecture.md, "The way of an order":

1. A client sends an order; the front-end reads it. A batch leaves by the batcher's rule: at once
   while none is under way, else when 32 wait or the one under way is answered. After an answer the
   next batch waits 150 µs for the clients that return.
2. The leader sends one batch at a time to the catalog, which decides it, and commits beside the
   invalidation of each front-end's cache.
3. Leader and followers append, each with one write to its disk for all batches that wait; the
   catalog takes the next batch meanwhile.
4. The batch is durable everywhere: the front-end answers its clients, who order again.

Each step needs processor time, which the processors give in the sequence of the requests, and may
need the disk or a network, which are delays without a queue.
"""

import heapq
from collections import deque
from dataclasses import dataclass, replace

#: As in frontend/src/orders: the batcher's rule, its threads, and the largest batch.
OVERLAP_AT, RETURN_WAIT_US, FORWARDERS, MAX_BATCH = 32, 150, 4, 512


@dataclass(frozen=True)
class Cost:
    """Time in µs, of a batch and of each order in it."""

    batch: float
    order: float

    def of(self, orders):
        return self.batch + self.order * orders


@dataclass(frozen=True)
class Costs:
    """Everything that an order's time is made of. `hop_us` is a message's time between two
    processes that no processor works on: waking, and the network."""

    client_us: float
    frontend: Cost
    leader: Cost
    catalog: Cost
    follower: Cost
    #: Waits for the disk: the catalog's, with the invalidation, and that of each replica.
    commit: Cost
    append: Cost
    hop_us: float
    cores: int = 2
    #: Each service and the clients of each front-end have processors of their own.
    apart: bool = False
    frontends: int = 1
    #: The catalog's processor time for an invalidation of each further front-end.
    push_us: float = 0.0


def fit(one, many):
    """The cost of a batch and of an order, from the processor time of an order alone in its batch
    and of one among `many[0]`."""
    size, of_many = many
    order = max((of_many - one / size) / (1 - 1 / size), 0.0)
    return Cost(batch=max(one - order, 0.0), order=order)


def costs(alone, crowd, cores):
    """Costs from two measured loads of `make bench ONLY=work`: one connection, and 512. They set
    every constant; `hop_us` follows from the median at one connection."""
    of = lambda role: fit(alone[f"{role}_cpu_us"], (crowd["batch"], crowd[f"{role}_cpu_us"]))
    # Two followers: their processor time was added up.
    both = of("follower")
    # No processor works on a wait for the disk. It grows with the rows of the batch.
    waits = lambda load, name, role: max(
        load[name] - load[f"{role}_cpu_us"] * load["batch"] * IN_WRITE, 20.0
    )
    disk = lambda *what: fit(
        waits(alone, *what), (crowd["batch"], waits(crowd, *what) / crowd["batch"])
    )
    made = Costs(
        client_us=crowd["client_cpu_us"],
        frontend=of("frontend"),
        leader=of("leader"),
        catalog=of("catalog"),
        follower=Cost(both.batch / 2, both.order / 2),
        # The invalidation runs beside the commit, and ends later.
        commit=disk("invalidation_us", "catalog"),
        append=disk("append_us", "leader"),
        hop_us=0.0,
        cores=cores,
    )
    bare = simulate(made, 1)["p50_us"]
    # Eight messages follow each other: client, front-end, leader, catalog, and the same way back
    # with the followers between.
    return replace(made, hop_us=max(alone["p50_ms"] * 1e3 - bare, 0.0) / HOPS)


#: Share of a process's work on a batch that falls between the begin and the end of its write.
IN_WRITE = 0.3
HOPS = 8


class Processors:
    """A pool of processors that serves requests in their sequence."""

    def __init__(self, count):
        self.free, self.worked = [0.0] * count, 0.0

    def run(self, now, work):
        """When work that is ready now will be done."""
        start = max(now, heapq.heappop(self.free))
        heapq.heappush(self.free, start + work)
        self.worked += work
        return start + work

    def busy(self, now):
        """The share of the time in which they worked."""
        return self.worked / (now * len(self.free))


class FrontEnd:
    """A front-end's batcher, and its clients' processors beside its own."""

    def __init__(self, own, clients):
        self.own, self.clients = own, clients
        self.waiting, self.away = deque(), 0
        #: How many clients may return after an answer, and until when a batch waits for them.
        self.returning = (1, 0.0)


class Simulation:
    """One run. Events are functions with a time; those of the same time keep their sequence."""

    def __init__(self, given, clients):
        self.c, self.clients = given, clients
        self.now, self.events, self.count = 0.0, [], 0
        shared = Processors(given.cores)
        pool = lambda: Processors(given.cores) if given.apart else shared
        self.cpu = {name: pool() for name in ("leader", "catalog", "follower1", "follower2")}
        self.frontends = [FrontEnd(pool(), pool()) for _ in range(given.frontends)]
        self.at_leader, self.catalog_busy = deque(), False
        #: Since when a batch is at the catalog, and how long batches were there before.
        self.called, self.calls = 0.0, 0.0
        self.logs = {name: (deque(), [False]) for name in ("leader", "follower1", "follower2")}
        self.times, self.batches = [], []

    def at(self, time, do, *arguments):
        self.count += 1
        heapq.heappush(self.events, (time, self.count, do, arguments))

    def work(self, processors, us, do, *arguments):
        """Does something once these processors have worked so long."""
        self.at(processors.run(self.now, us), do, *arguments)

    def run(self, orders):
        for client in range(self.clients):
            self.at(0.0, self.send, self.frontends[client % len(self.frontends)])
        while self.events and len(self.times) < orders:
            self.now, _, do, arguments = heapq.heappop(self.events)
            do(*arguments)
        return self

    def busiest(self):
        """The service whose processors work the most, and the share of the time."""
        if not self.c.apart:
            return "all", self.cpu["leader"].busy(self.now)
        parts = {name: pool.busy(self.now) for name, pool in self.cpu.items()}
        shares = [frontend.own.busy(self.now) for frontend in self.frontends]
        parts["front-end"] = sum(shares) / len(shares)
        return max(parts.items(), key=lambda part: part[1])

    # Clients and front-ends.

    def send(self, frontend):
        began, hop = self.now, self.c.hop_us
        sent = lambda: self.at(self.now + hop, self.read, frontend, began)
        self.work(frontend.clients, self.c.client_us, sent)

    def read(self, frontend, began):
        # Half of the front-end's work on an order comes before its batch, half with its answer.
        self.work(frontend.own, self.c.frontend.order / 2, self.gather, frontend, began)

    def gather(self, frontend, began):
        frontend.waiting.append(began)
        self.look(frontend)

    def look(self, frontend):
        """The batcher's rule."""
        if not frontend.waiting or frontend.away >= FORWARDERS:
            return
        orders, until = frontend.returning
        returning = min(orders, OVERLAP_AT) if self.now < until else 1
        wanted = OVERLAP_AT if frontend.away else returning
        if len(frontend.waiting) >= wanted:
            size = min(len(frontend.waiting), MAX_BATCH)
            batch = frontend, [frontend.waiting.popleft() for _ in range(size)]
            frontend.away, frontend.returning = frontend.away + 1, (1, 0.0)
            self.work(frontend.own, self.c.frontend.batch / 2, self.forward, batch)

    def forward(self, batch):
        self.at(self.now + self.c.hop_us, self.take, batch)

    # Leader and catalog.

    def take(self, batch):
        self.at_leader.append(batch)
        self.sequence()

    def sequence(self):
        if self.catalog_busy or not self.at_leader:
            return
        self.catalog_busy, self.called = True, self.now
        group, size = [], 0
        while self.at_leader and (not group or size + len(self.at_leader[0][1]) <= MAX_BATCH):
            group.append(self.at_leader.popleft())
            size += len(group[-1][1])
        self.batches.append(size)
        call = lambda: self.at(self.now + self.c.hop_us, self.decide, group, size)
        self.work(self.cpu["leader"], self.c.leader.of(size) / 2, call)

    def decide(self, group, size):
        done = lambda: self.at(self.now + self.c.commit.of(size), self.committed, group, size)
        pushes = self.c.push_us * (len(self.frontends) - 1)
        self.work(self.cpu["catalog"], self.c.catalog.of(size) / 2 + pushes, done)

    def committed(self, group, size):
        answer = lambda: self.at(self.now + self.c.hop_us, self.decided, group, size)
        self.work(self.cpu["catalog"], self.c.catalog.of(size) / 2, answer)

    def decided(self, group, size):
        self.catalog_busy = False
        self.calls += self.now - self.called
        left = [3]
        for name in self.logs:
            delay = 0.0 if name == "leader" else self.c.hop_us
            self.at(self.now + delay, self.append, name, (group, size, left))
        self.sequence()

    # Logs.

    def append(self, name, entry):
        queue, busy = self.logs[name]
        queue.append(entry)
        if not busy[0]:
            self.write(name)

    def write(self, name):
        """One write for all batches that wait."""
        queue, busy = self.logs[name]
        entries = list(queue)
        queue.clear()
        busy[0] = bool(entries)
        if not entries:
            return
        size = sum(entry[1] for entry in entries)
        cost = self.c.leader.of(size) / 4 if name == "leader" else self.c.follower.of(size)
        flushed = lambda: self.at(self.now + self.c.append.of(size), self.written, name, entries)
        self.work(self.cpu[name], cost, flushed)

    def written(self, name, entries):
        delay = 0.0 if name == "leader" else self.c.hop_us
        for group, size, left in entries:
            left[0] -= 1
            if left[0] == 0:
                self.at(self.now + delay, self.durable, group, size)
        self.write(name)

    def durable(self, group, size):
        for batch in group:
            back = lambda batch=batch: self.at(self.now + self.c.hop_us, self.answer, *batch)
            self.work(self.cpu["leader"], self.c.leader.of(len(batch[1])) / 4, back)

    def answer(self, frontend, batch):
        each = self.c.frontend.order / 2
        cost = self.c.frontend.batch / 2 + each * len(batch)
        end = frontend.own.run(self.now, cost)
        # The first clients have their response while the last ones still wait for theirs.
        for n, began in enumerate(reversed(batch)):
            self.at(end - n * each + self.c.hop_us, self.receive, frontend, began)
        self.at(end, self.answered, frontend, len(batch))

    def answered(self, frontend, orders):
        frontend.away -= 1
        until = self.now + RETURN_WAIT_US
        frontend.returning = (orders + len(frontend.waiting), until)
        self.at(until, self.look, frontend)
        self.look(frontend)

    def receive(self, frontend, began):
        self.times.append((self.now, self.now - began))
        self.send(frontend)


def simulate(given, clients, orders=None):
    """Rate, median, 99th percentile, mean batch, the busiest processors, and the share of the time
    in which a batch is at the catalog, with so many clients that order one after the other. The
    first quarter of the orders is warm-up."""
    orders = orders or max(600, 40 * clients)
    done = Simulation(given, clients).run(orders)
    kept = done.times[len(done.times) // 4 :]
    times = sorted(time for _, time in kept)
    span = kept[-1][0] - kept[0][0]
    return {
        "rate": (len(kept) - 1) / span * 1e6,
        "p50_us": times[len(times) // 2],
        "p99_us": times[int(len(times) * 0.99)],
        "batch": sum(done.batches) / len(done.batches),
        "busiest": done.busiest(),
        "at_catalog": done.calls / done.now,
    }
