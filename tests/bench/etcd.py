"""etcd: three members with their defaults, which make each put durable on a majority before it is
answered."""

import json
import signal

import load
from machine import BenchError, find, get_json, until

MEMBERS = (1, 2, 3)
BODY = b"value=" + b"x" * 46
PUT = (
    b"PUT /v2/keys/bench/one HTTP/1.1\r\nHost: etcd\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


def missing():
    return None if find("etcd") else "etcd-server"


class Etcd:
    """A context manager."""

    def __init__(self, machine, name="etcd"):
        self.machine, self.name, self.process, self.api = machine, name, {}, None
        first = machine.ports()[0]
        self.client = {member: first + 2 * n for n, member in enumerate(MEMBERS)}
        self.peer = {member: port + 1 for member, port in self.client.items()}

    def __enter__(self):
        for member in MEMBERS:
            self.start(member)
        until(self.settled, "etcd has a leader and three healthy members", 60)
        return self

    def __exit__(self, *_):
        for process in self.process.values():
            process.end()

    def start(self, member):
        client, peer = (f"http://127.0.0.1:{ports[member]}" for ports in (self.client, self.peer))
        cluster = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, port in self.peer.items())
        self.process[member] = self.machine.start(
            f"{self.name}{member}",
            [
                find("etcd"),
                "--name",
                f"m{member}",
                "--data-dir",
                self.machine.folder / f"{self.name}{member}.data",
                "--enable-v2",
                "--listen-client-urls",
                client,
                "--advertise-client-urls",
                client,
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
                "--initial-cluster",
                cluster,
                "--initial-cluster-state",
                "new",
                "--log-level",
                "error",
            ],
        )

    def settled(self):
        self.machine.check()
        healthy = [
            (get_json(port, "/health") or {}).get("health") == "true"
            for port in self.client.values()
        ]
        return all(healthy) and self.leader()

    def leader(self):
        for member, port in self.client.items():
            if (get_json(port, "/v2/stats/self") or {}).get("state") == "StateLeader":
                return member
        return None

    def url(self):
        """The leader's: a follower would only pass puts on."""
        return f"http://127.0.0.1:{self.client[until(self.leader, 'etcd has a leader')]}"

    def choose(self, seconds):
        """Measures both ways that wrk can drive and takes the faster one from here on. Returns the
        figures of both."""
        tried = {
            api: load.run(self.machine, self.url(), 64, seconds, [api])
            for api in ("etcd_v2", "etcd_v3")
        }
        for api, figures in tried.items():
            if figures["errors"]:
                raise BenchError(f"etcd refused puts over {api}: {figures['errors']}")
        self.api = max(tried, key=lambda api: tried[api]["rate"])
        return tried

    def run(self, connections, seconds):
        return load.run(self.machine, self.url(), connections, seconds, [self.api])

    def kill(self, member):
        self.process[member].end(signal.SIGKILL)

    def ports_from_leader(self):
        """The members' ports, the leader's first."""
        leader = until(self.leader, "etcd has a leader")
        return [
            self.client[leader],
            *(port for member, port in self.client.items() if member != leader),
        ]

    @staticmethod
    def judge(body):
        try:
            return None if json.loads(body)["action"] == "set" else "no set"
        except (ValueError, KeyError):
            return f"not understood: {body[:200]!r}"
