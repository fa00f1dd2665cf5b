"""One client that sends one request after the other and notes when each answer came. It works on a
bare socket: what it takes itself adds to every gap that it sees."""

import bisect
import re
import socket
import threading
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Client(threading.Thread):
    """Sends `request` to the first of `ports`, until it is stopped. It repeats nothing; after an
    error it goes on with the next port, or with a new connection where there is only one. `judge`
    says of each answer's body what is wrong with it, or `None`. A context manager."""

    def __init__(self, ports, request, judge, timeout):
        super().__init__(name="client", daemon=True)
        self.ports, self.request, self.judge, self.timeout = ports, request, judge, timeout
        self.times, self.errors = [], []
        self.stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()

    def run(self):
        at, connection = 0, None
        while not self.stopping.is_set():
            try:
                if connection is None:
                    connection = socket.create_connection(
                        ("127.0.0.1", self.ports[at % len(self.ports)]), self.timeout
                    )
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(self.request)
                status, body = read_answer(connection)
                wrong = (
                    self.judge(body)
                    if status in (200, 201)
                    else f"status {status}: {body[:200].decode(errors='replace')}"
                )
                if wrong is None:
                    self.times.append(time.monotonic())
                    continue
            except OSError as error:
                wrong = f"{type(error).__name__}: {error}"
            self.errors.append(wrong)
            if connection:
                connection.close()
            at, connection = at + 1, None
            # A server that refuses at once is not asked a million times.
            self.stopping.wait(0.001)
        if connection:
            connection.close()

    def gap_ms(self, since, until):
        """The longest time without an answer, from the last answer before `since` to the first
        after `until`. The first answer after a fault may have been on its way already; the longest
        gap is what the fault cost."""
        first = max(bisect.bisect_left(self.times, since) - 1, 0)
        window = self.times[first : bisect.bisect_right(self.times, until) + 1]
        return max((b - a for a, b in zip(window, window[1:])), default=until - since) * 1e3


def read_answer(connection):
    """Status and body of one answer."""
    held = b""
    while b"\r\n\r\n" not in held:
        held += received(connection)
    head, body = held.split(b"\r\n\r\n", 1)
    length = LENGTH.search(head + b"\r\n")
    if not length:
        raise ConnectionError("an answer without Content-Length")
    while len(body) < int(length[1]):
        body += received(connection)
    return int(head.split(b" ", 2)[1]), body


def received(connection):
    some = connection.recv(65536)
    if not some:
        raise ConnectionError("closed before the answer was complete")
    return some
