"""nginx: answers a constant of the size of a stock from memory. It says how fast an HTTP server can
be here that does nothing else."""

import os

import load
from machine import find, get, until

BODY = '{"data":{"name":"Stock1","price":15.99,"quantity":1000000}}'


def missing():
    return None if find("nginx") else "nginx"


class Nginx:
    """A context manager."""

    def __init__(self, machine):
        self.machine, self.port, self.folder = machine, machine.ports()[0], machine.folder / "nginx"
        self.folder.mkdir()

    def __enter__(self):
        temporary = " ".join(
            f"{name}_temp_path {self.folder};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(f"""daemon off;
worker_processes {os.cpu_count()};
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    {temporary}
    server {{
        listen 127.0.0.1:{self.port} reuseport backlog=4096;
        default_type application/json;
        location /stocks/ {{ return 200 '{BODY}'; }}
    }}
}}
""")
        self.process = self.machine.start(
            "nginx", [find("nginx"), "-p", self.folder, "-c", self.folder / "nginx.conf"]
        )
        until(lambda: get(self.port, "/stocks/Stock1")[0] == 200, "nginx answers")
        return self

    def __exit__(self, *_):
        self.process.end()

    def run(self, connections, seconds):
        return load.run(
            self.machine, f"http://127.0.0.1:{self.port}", connections, seconds, ["lookups"]
        )
