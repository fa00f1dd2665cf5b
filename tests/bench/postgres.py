"""PostgreSQL: a primary and two synchronous standbys. A commit is answered once it is flushed to
the disk of all three."""

import glob
import os
import pwd
import re
import signal
import statistics
from pathlib import Path

from machine import BenchError, find, until

#: One round trip each, prepared: the fastest that pgbench can do. The stocks are as many as a
#: bazaar has.
SCRIPTS = {
    "update_insert": """\\set stock random(1, 14)
WITH changed AS (UPDATE stocks SET quantity = quantity - 1 WHERE id = :stock RETURNING id)
INSERT INTO orders (stock, side, quantity) SELECT id, 'buy', 1 FROM changed;
""",
    "insert": """\\set stock random(1, 14)
INSERT INTO orders (stock, side, quantity) VALUES (:stock, 'buy', 1);
""",
}
TABLES = """CREATE TABLE stocks (id int PRIMARY KEY, name text NOT NULL, quantity bigint NOT NULL);
INSERT INTO stocks SELECT n, 'Stock' || n, 1000000000 FROM generate_series(1, 14) n;
CREATE TABLE orders (number bigserial PRIMARY KEY, stock int NOT NULL, side text NOT NULL,
  quantity bigint NOT NULL);"""


def programs():
    """The folder of PostgreSQL's programs, the newest version's; Debian keeps them out of the
    PATH."""
    if find("initdb"):
        return Path(os.path.realpath(find("initdb"))).parent
    folders = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    return Path(max(folders, key=lambda path: int(path.split("/")[4]))).parent if folders else None


def missing():
    folder = programs()
    return None if folder and (folder / "pgbench").exists() else "postgresql"


class Postgres:
    """A context manager."""

    def __init__(self, machine, name="postgres", standbys=2):
        self.machine, self.name, self.bin = machine, name, programs()
        self.standbys = [f"standby{n}" for n in range(1, standbys + 1)]
        self.folder = machine.folder / f"{name}.data"
        self.folder.mkdir()
        # PostgreSQL refuses to run as root; its package made this user.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.owner = self.user or pwd.getpwuid(os.geteuid()).pw_name
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.port = dict(zip(("primary", *self.standbys), machine.ports()))
        self.process, self.runs = {}, 0

    def __enter__(self):
        self.do(
            "initdb",
            "-D",
            self.folder / "primary",
            "-U",
            self.owner,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
        )
        self.start("primary")
        until(lambda: self.answers("SELECT 1") == "1", "PostgreSQL's primary answers", 60, 0.1)
        for standby in self.standbys:
            self.do(
                "pg_basebackup",
                "-D",
                self.folder / standby,
                "-h",
                "127.0.0.1",
                "-p",
                self.port["primary"],
                "-U",
                self.owner,
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "-d",
                f"application_name={standby}",
            )
            self.start(standby)
        self.sql(TABLES)
        if not self.standbys:
            return self
        names = f"{len(self.standbys)} ({', '.join(self.standbys)})"
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.sql("SELECT pg_reload_conf()")
        in_sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        until(
            lambda: self.answers(in_sync) == str(len(self.standbys)),
            "every standby of PostgreSQL is synchronous",
            60,
            0.1,
        )
        return self

    def __exit__(self, *_):
        # Standbys first: a primary waits for them. SIGINT is the fast way to stop.
        for name in reversed(self.process):
            self.process[name].end(signal.SIGINT)

    def start(self, name):
        settings = {
            "port": self.port[name],
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "synchronous_commit": "on",
            "cluster_name": name,
            "log_min_messages": "warning",
        }
        options = [
            word for setting, value in settings.items() for word in ("-c", f"{setting}={value}")
        ]
        self.process[name] = self.machine.start(
            f"{self.name}-{name}",
            [self.bin / "postgres", "-D", self.folder / name, *options],
            user=self.user,
        )

    def do(self, program, *arguments, timeout=120):
        return self.machine.run([self.bin / program, *arguments], timeout, user=self.user)

    def sql(self, text):
        return self.do(
            "psql",
            "-h",
            "127.0.0.1",
            "-p",
            self.port["primary"],
            "-U",
            self.owner,
            "-d",
            "postgres",
            "-qAtX",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            text,
        ).strip()

    def url(self, database):
        """The URL of a new database."""
        self.sql(f"CREATE DATABASE {database}")
        return f"postgres://{self.owner}@127.0.0.1:{self.port['primary']}/{database}"

    def answers(self, text):
        self.machine.check()
        try:
            return self.sql(text)
        except BenchError:
            return None

    def run(self, script, connections, seconds):
        """Transactions of a script. pgbench writes the time of each one to a file."""
        self.runs += 1
        prefix = self.folder / f"run{self.runs}"
        path = self.folder / f"{script}.sql"
        path.write_text(SCRIPTS[script])
        path.chmod(0o644)
        out = self.do(
            "pgbench",
            "-n",
            "-h",
            "127.0.0.1",
            "-p",
            self.port["primary"],
            "-U",
            self.owner,
            "-M",
            "prepared",
            "-f",
            path,
            "-c",
            connections,
            "-j",
            1,
            "-T",
            seconds,
            "--log",
            f"--log-prefix={prefix}",
            "postgres",
            timeout=seconds + 60,
        )
        failed = re.search(r"number of failed transactions: (\d+)", out)
        rate = re.search(r"tps = ([\d.]+)", out)
        times = []
        for file in glob.glob(f"{prefix}.*"):
            with open(file) as lines:
                times += [int(line.split()[2]) for line in lines]
            os.remove(file)
        if not times:
            return {
                "requests": 0,
                "rate": 0.0,
                "p50_ms": None,
                "p99_ms": None,
                "max_ms": None,
                "errors": {},
            }
        if not rate:
            raise BenchError(f"pgbench printed no rate:\n{out}")
        times.sort()
        at = lambda share: times[min(int(len(times) * share), len(times) - 1)] / 1e3
        errors = {"failed": int(failed[1])} if failed and int(failed[1]) else {}
        return {
            "requests": len(times),
            "rate": float(rate[1]),
            "p50_ms": statistics.median(times) / 1e3,
            "p99_ms": at(0.99),
            "max_ms": times[-1] / 1e3,
            "errors": errors,
        }
