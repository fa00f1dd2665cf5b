"""A bazaar of real processes: catalog, three replicas, front-end, with default settings, started
without the launcher so that each one can be killed, paused and started again."""

import http.client
import os
import shutil
import signal
import time

import biglog
from machine import BenchError, get, get_json, until

OURS = ("BAZAAR_", "CATALOG_", "ORDER_", "FRONTEND_", "CLIENT_")
#: As many as a fresh bazaar has; load.lua knows the names.
STOCKS = [f"Stock{n}" for n in range(1, 15)]
#: Enough of each that nothing runs out, in whatever sequence orders arrive.
QUANTITY = 1_000_000


class Bazaar:
    """A context manager. `files` are copied in first: `order.db` for each replica, and
    `catalog.db`. `settings` are environment variables for every service; `database` is a URL that
    takes the place of the catalog's file; `stocks` are the names to begin with."""

    def __init__(
        self,
        machine,
        binaries,
        name,
        files=None,
        *,
        replicas=3,
        frontends=1,
        stocks=STOCKS,
        database=None,
        settings=None,
    ):
        self.machine, self.binaries, self.name = machine, binaries, name
        self.replicas = tuple(range(1, replicas + 1))
        self.frontends = ("frontend", *(f"frontend{n}" for n in range(2, frontends + 1)))
        self.services = ("catalog", *(f"order{n}" for n in self.replicas), *self.frontends)
        self.database, self.settings = database, settings or {}
        self.folder = machine.folder / name
        self.folder.mkdir()
        rows = "".join(f"{stock},15.99,{QUANTITY}\n" for stock in stocks)
        (self.folder / "stocks.csv").write_text("name,price,quantity\n" + rows)
        if files:
            shutil.copy(files / "catalog.db", self.folder)
            for replica in self.replicas:
                shutil.copy(files / "order.db", self.folder / f"order{replica}.db")
            # Else the first orders wait for the disk, which still writes the copies.
            os.sync()
        ports = machine.ports(len(self.services) + len(self.frontends))
        self.port = dict(zip(self.services, ports))
        self.public_port = dict(zip(self.frontends, ports[len(self.services) :]))
        self.public = self.public_port["frontend"]
        self.process = {}

    def __enter__(self):
        for service in self.services:
            self.start(service)
        until(self.settled, f"the bazaar '{self.name}' is ready, all replicas in sync", 120)
        return self

    def __exit__(self, *_):
        for service in reversed(self.services):
            if service in self.process:
                self.process[service].end()

    def environment(self, service):
        """The environment that `bazaar run` would give the service, without the caller's
        settings."""
        at = lambda port: f"127.0.0.1:{port}"
        mine = {
            "BAZAAR_LOG": "warn",
            "CATALOG_URL": f"http://{at(self.port['catalog'])}",
            "CATALOG_STOCKS": str(self.folder / "stocks.csv"),
            "ORDER_REPLICAS": ",".join(
                f"{n}=http://{at(self.port[f'order{n}'])}" for n in self.replicas
            ),
        } | self.settings
        if service == "catalog":
            mine |= {
                "CATALOG_LISTEN": at(self.port[service]),
                "CATALOG_DB": self.database or str(self.file(service)),
            }
        elif service in self.frontends:
            mine |= {
                "FRONTEND_LISTEN": at(self.public_port[service]),
                "FRONTEND_INTERNAL_LISTEN": at(self.port[service]),
            }
        else:
            mine |= {
                "ORDER_ID": service[-1],
                "ORDER_LISTEN": at(self.port[service]),
                "ORDER_DB": str(self.file(service)),
            }
        return {
            name: value for name, value in os.environ.items() if not name.startswith(OURS)
        } | mine

    def file(self, service):
        return self.folder / f"{service}.db"

    def start(self, service):
        binary = self.binaries / service.rstrip("0123456789")
        process = self.machine.start(f"{self.name}-{service}", [binary], self.environment(service))
        self.process[service] = process
        return process

    def kill(self, service):
        self.process[service].end(signal.SIGKILL)

    def status(self):
        """`GET /status`, or `None`."""
        answer = get_json(self.public, "/status")
        return answer and answer["data"]

    def settled(self):
        """Whether it is ready, and every replica leads or follows with all orders: nothing of a
        fault before is left."""
        self.machine.check()
        if get(self.public, "/readyz")[0] != 200:
            return False
        status = self.status()
        states = sorted(replica["state"] for replica in status["replicas"]) if status else []
        if states != ["follower"] * (len(self.replicas) - 1) + ["leader"]:
            return False
        healths = [self.health(f"order{replica}") for replica in self.replicas]
        if not all(healths):
            return False
        # An older build may not say who is in sync.
        others = ["any"] * (len(self.replicas) - 1)
        leads = [health for health in healths if health["leading"] is not None]
        complete = [len(h.get("in_sync", others)) for h in leads] == [len(others)]
        return complete and len({health["last"] for health in healths}) == 1

    def health(self, service):
        return get_json(self.port[service], "/health")

    def leader(self):
        """The service that leads."""
        return f"order{until(lambda: (self.status() or {}).get('leader'), 'a leader is known')}"

    def follower(self):
        """A service that does not lead."""
        leader = self.leader()
        return next(f"order{replica}" for replica in self.replicas if f"order{replica}" != leader)

    def orders(self, service=None):
        """How many orders the log of a service holds, the leader's by default."""
        health = self.health(service or self.leader())
        return 0 if not health or health["last"] is None else health["last"] + 1

    def metrics(self, service):
        """Every sample of `/metrics`, by its name with labels."""
        _, body = get(self.port[service], "/metrics")
        lines = (
            line.rsplit(" ", 1)
            for line in body.decode().splitlines()
            if line and not line.startswith("#")
        )
        return {name: float(value) for name, value in lines}

    def restart_seconds(self, service, ready):
        """Kills a service and starts it again: seconds until it answers at all, and until `ready`
        holds of its health."""
        self.kill(service)
        before = time.monotonic()
        process = self.start(service)

        def answers():
            self.machine.check()
            return self.health(service)

        until(answers, f"{process.name} answers", 120, 0.002)
        answered = time.monotonic() - before
        until(lambda: ready(answers() or {}), f"{process.name} is ready", 120, 0.002)
        return answered, time.monotonic() - before

    def verify(self):
        """Compares the logs as `order verify` does, after the services were stopped."""
        files = [self.file(f"order{replica}") for replica in self.replicas]
        return self.machine.run([self.binaries / "order", "verify", *files], 600)


def make_log(machine, binaries, orders, key=None):
    """A folder with `order.db` of so many orders, and the `catalog.db` that `catalog rebuild` makes
    of it. The first order has the idempotency key, if one is given."""
    folder = machine.folder / f"log-{orders}"
    folder.mkdir()
    with Bazaar(machine, binaries, f"seed-{orders}") as seed:
        # Row 0 ties the generated rows to the genesis of this bazaar.
        connection = http.client.HTTPConnection("127.0.0.1", seed.public)
        headers = {"Idempotency-Key": key} if key else {}
        body = '{"name":"Stock1","quantity":1,"type":"sell"}'
        connection.request("POST", "/orders", body, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise BenchError(
                f"the first order was answered with {answer.status}: "
                + body.decode(errors="replace")
            )
        until(seed.settled, "the first order is in every log")
    biglog.extend(seed.file("order1"), orders, STOCKS)
    shutil.move(seed.file("order1"), folder / "order.db")
    shutil.rmtree(seed.folder)
    env = {**os.environ, "CATALOG_DB": str(folder / "catalog.db")}
    machine.run([binaries / "catalog", "rebuild", "--from", folder / "order.db"], 1800, env=env)
    return folder
