"""Fills an order log without trading: rows as the catalog would have decided them, with the hash
chain of common/src/chain.rs. `catalog rebuild` trades them all again, and replicas check them, so
that a mistake here is refused there."""

import hashlib
import os
import sqlite3

#: Milliseconds since 1970 of the first generated key: keys rise with time, as a front-end's do.
FIRST_MS = 1_700_000_000_000
PER_MS = 10


def row_hash(previous, number, key, side, quantity, text):
    """The hash of a row; quantity as 8 bytes, the name with its length before it."""
    return hashlib.sha256(
        previous + number.to_bytes(8, "big") + key + side + quantity + text
    ).digest()


def extend(path, rows, stocks):
    """Adds rows to a log that has at least one, until it has `rows`. They buy and sell one piece of
    each stock in turn."""
    connection = sqlite3.connect(path)
    number, hashed = connection.execute(
        "SELECT number, hash FROM orders ORDER BY number DESC LIMIT 1"
    ).fetchone()
    texts = [(name, len(name).to_bytes(8, "big") + name.encode()) for name in stocks]
    quantity, sides = (1).to_bytes(8, "big"), (b"\x01", b"\x00")
    random_bits = os.urandom(10 * 4096)

    def made():
        nonlocal hashed
        for n in range(number + 1, rows):
            name, text = texts[n // 2 % len(texts)]
            side, at = sides[n % 2], n % 4096 * 10
            key = (
                (FIRST_MS + n // PER_MS).to_bytes(6, "big")
                + (n % PER_MS).to_bytes(1, "big")
                + random_bits[at + 1 : at + 10]
            )
            hashed = row_hash(hashed, n, key, side, quantity, text)
            yield n, key, name, side[0], 1, hashed

    # Durable once, at the end: until then the file is nobody's.
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        connection.executemany(
            "INSERT INTO orders (number, key, name, type, quantity, hash)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            made(),
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
