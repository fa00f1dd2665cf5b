"""Tests of the code that turns figures into tables, targets and a chart, and the rows of the
generated log, without any process."""

import sqlite3
import tempfile
import unittest
from pathlib import Path
from xml.dom import minidom

import biglog
import load
import perf
from chart import chart
from report import Figures, tables
from targets import targets


def run(turn, system, connections, rate, p50=1.0, p99=9.0):
    return {
        "part": "orders",
        "system": system,
        "round": turn,
        "connections": connections,
        "rate": rate,
        "p50_ms": p50,
        "p99_ms": p99,
        "errors": {},
    }


def fast(etcd_rates=(1_000, 2_000, 1_000)):
    """A run in which this bazaar does 2 900 orders/s everywhere, beside an etcd whose rate at 64
    connections changes with the round."""
    figures = [run(turn, "bazaar", n, 2_900) for turn in range(3) for n in (1, 5, 64, 512)]
    figures += [run(turn, "etcd", n, 1_000) for turn in range(3) for n in (1, 5)]
    figures += [run(turn, "etcd", 64, rate) for turn, rate in enumerate(etcd_rates)]
    return figures


class Report(unittest.TestCase):
    def met(self, figures):
        return {target.name: target.met for target in targets(Figures(figures))}

    def test_ratios_are_made_within_a_round(self):
        """A ratio compares runs of one round, and the median of them is taken."""
        self.assertEqual(
            Figures(fast()).ratio("orders", "bazaar", "etcd", "rate", {"connections": 64}), 2.9
        )

    def test_targets_at_their_bounds(self):
        """A target is met on one side of its bound and not on the other, and is not measured
        without a system to compare with."""
        self.assertTrue(self.met(fast())["orders at 64 connections, of etcd's puts"])
        slower = self.met(fast((1_100,) * 3))
        self.assertFalse(slower["orders at 64 connections, of etcd's puts"])
        self.assertTrue(slower["orders at 5 connections, of etcd's puts"])
        alone = [figure for figure in fast() if figure["system"] == "bazaar"]
        self.assertIsNone(self.met(alone)["orders at 64 connections, of etcd's puts"])

    def test_errors_show(self):
        """One answer that was no success is seen in the table and in the target."""
        figures = fast()
        figures[2]["errors"] = {"refused": 3}
        self.assertFalse(self.met(figures)["responses that were no success"])
        text = dict(tables(Figures(figures)))["Durable writes, by connections"]
        self.assertRegex(text, r"no success, this bazaar \|\s+0 \|\s+0 \|\s+3 \|\s+0 \|")

    def test_parts_that_did_not_run_are_left_out(self):
        """No figures, no table, no target, no chart."""
        self.assertEqual(
            (tables(Figures([])), targets(Figures([])), chart(Figures([]), "")), ([], [], None)
        )

    def test_another_build_is_compared(self):
        """Builds stand beside each other, with their ratio to etcd in the same round."""
        figures = [
            run(0, system, 1, rate) | {"part": "builds", "cpu_us": 9.0, "switches": 3.0}
            for system, rate in (("before", 500), ("bazaar", 800), ("etcd", 1_000))
        ]
        text = dict(tables(Figures(figures)))["This build beside another one"]
        self.assertRegex(text, r"another build, orders, at 1 .* 500 .* 9 \|\s+3.0 \|\s+0.50 \|")
        self.assertRegex(text, r"this bazaar, orders, at 1 .* 0.80 \|")

    def test_chart_is_xml_for_bright_and_dark(self):
        """The chart is well-formed, has a bar for each median, and colours for both."""
        svg = chart(Figures(fast()), "a & b")
        bars = [
            rect
            for rect in minidom.parseString(svg).getElementsByTagName("rect")
            if rect.getAttribute("class") in ("s0", "s1")
        ]
        self.assertEqual(len(bars), 2 + 3 * 7)  # the legend, and three panels
        self.assertIn("prefers-color-scheme: dark", svg)


class Load(unittest.TestCase):
    def test_figures_of_wrk(self):
        """Microseconds become milliseconds, counts a rate, and only errors that happened are
        kept."""
        line = (
            '{"requests":200,"us":2000000,"p50":1500.0,"p99":9000.0,"max":10000.0,'
            '"refused":2,"connect":0,"read":0,"write":0,"timeout":0}'
        )
        figures = load.read(f"Running\n{line}\n")
        self.assertEqual(
            (figures["rate"], figures["p50_ms"], figures["errors"]), (100.0, 1.5, {"refused": 2})
        )


class Perf(unittest.TestCase):
    def test_samples_are_sorted_by_purpose(self):
        """A sample belongs to its purpose: the wait for a socket is switching, SQLite's write is a
        file's, and memory that SQLite asks for is the allocator's."""
        kernel, catalog = "([kernel.kallsyms])", "(/bin/catalog)"
        stacks = {
            "switching": [f"schedule {kernel}", f"tcp_recvmsg {kernel}"],
            "files": [f"do_fsync {kernel}", f"sqlite3_step {catalog}"],
            "sockets": [f"tcp_sendmsg {kernel}", f"send {catalog}"],
            "kernel": [f"do_fcntl {kernel}", f"sqlite3_step {catalog}"],
            "sqlite": [f"memcpy {catalog}", f"sqlite3_step {catalog}"],
            "allocator": [f"mi_free {catalog}", f"sqlite3_step {catalog}"],
            "json": [f"parse_str {catalog}", f"serde_json::from_slice {catalog}"],
            "program": [f"catalog::batch::decide {catalog}"],
        }
        kinds = {name: perf.kind(stack) for name, stack in stacks.items()}
        self.assertEqual(kinds, {name: name for name in stacks})
        text = "".join(
            "".join(f"\tffff {line}\n" for line in stack) + "\n" for stack in stacks.values()
        )
        self.assertEqual(perf.shares(text), dict.fromkeys(stacks, 12.5))


class BigLog(unittest.TestCase):
    def test_known_hash(self):
        """The chain is that of common/src/chain.rs, whose test knows the same value."""
        seed = bytes.fromhex("5c06b9754d9d18576f28996be9f4026183466e1740f287a2d699c39b2a2e487e")
        key, name = (1 << 80).to_bytes(16, "big"), b"FishCo"
        made = biglog.row_hash(
            seed, 0, key, b"\x00", (10).to_bytes(8, "big"), len(name).to_bytes(8, "big") + name
        )
        self.assertEqual(
            made.hex(), "a49b8617716adf2d7536d9351f57df82d23250eca01bc1a891d63e60b7e06b4d"
        )

    def test_rows_follow_each_other(self):
        """Rows are dense, keys rise and look like a front-end's, and what is bought was sold
        before."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "order.db"
            connection = sqlite3.connect(path)
            connection.execute(
                "CREATE TABLE orders (number INTEGER PRIMARY KEY, key BLOB, name TEXT,"
                " type INTEGER, quantity INTEGER, hash BLOB)"
            )
            connection.execute("INSERT INTO orders VALUES (0, x'00', 'Stock1', 1, 1, zeroblob(32))")
            connection.commit()
            biglog.extend(path, 500, ["Stock1", "Stock2"])
            rows = connection.execute(
                "SELECT number, key, name, type FROM orders ORDER BY number"
            ).fetchall()
            connection.close()
        self.assertEqual([row[0] for row in rows], list(range(500)))
        keys = [row[1] for row in rows[1:]]
        self.assertEqual(keys, sorted(set(keys)))
        self.assertTrue(all(len(key) == 16 and key[0] < 0x80 for key in keys))
        left = {"Stock1": 0, "Stock2": 0}
        for _, _, name, side in rows:
            left[name] += 1 if side == 1 else -1
            self.assertGreaterEqual(left[name], 0)


if __name__ == "__main__":
    unittest.main()
