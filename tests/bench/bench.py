#!/usr/bin/env python3
"""`make bench`: this bazaar beside etcd, PostgreSQL and nginx, in turns, at the same durability.

Prints tables with medians, ratios and targets; writes every figure to a JSON file, and a chart.
Exit code 1: the bench itself failed (a service died or answered wrongly). Targets that are not met
are reported, and fail nothing."""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import load
import postgres
from bazaar import Bazaar, make_log
from chart import chart
from machine import ENDS, BenchError, Machine, busy, describe, find, fsync_us, until
from parts import PARTS
from report import Figures, show, tables
from targets import targets, targets_table

ROOT = Path(__file__).resolve().parents[2]
#: Orders in the log that the targets of queries, growth and catch-up are meant for.
TARGET_ORDERS = 5_000_000


class Bench:
    """One run: what was asked for, and what came of it."""

    def __init__(self, options, machine):
        self.machine, self.binaries, self.before = machine, options.binaries, options.before
        self.rounds, self.seconds, self.orders, self.kills = (
            options.rounds,
            options.seconds,
            options.orders,
            options.kills,
        )
        self.figures, self.skipped, self.failures, self.versions = [], [], [], versions()
        self.log, self.started, self.quiet_us = None, 0, fsync_us(machine.folder)

    def say(self, text):
        print(text, flush=True)

    def skip(self, why):
        if why not in self.skipped:
            self.skipped.append(why)
            self.say(f"left out: {why}")

    def fail(self, why):
        self.failures.append(why)
        self.say(f"FAILED: {why}")

    def turns(self):
        for turn in range(self.rounds):
            self.say(f"  round {turn + 1} of {self.rounds}")
            yield turn

    def bazaar(self, name, files=None, *, binaries=None, **options):
        self.started += 1
        name = f"{name}{self.started}"
        return Bazaar(self.machine, binaries or self.binaries, name, files, **options)

    def url(self, ours):
        return f"http://127.0.0.1:{ours.public}"

    def wrk(self, ours, connections, kind, script="load.lua", seconds=None):
        return load.run(
            self.machine, self.url(ours), connections, seconds or self.seconds, kind, script
        )

    def big_log(self):
        """The long log, made once."""
        if self.log is None:
            before = time.monotonic()
            self.log = make_log(self.machine, self.binaries, self.orders)
            self.say(
                f"  a log of {show(self.orders)} orders was made in "
                f"{time.monotonic() - before:.0f} s"
            )
        return self.log

    def await_quiet_disk(self):
        """Waits until an fsync takes hardly longer than at the start. After large files were
        written a disk may be busy for minutes, which `sync` does not wait for."""
        most = 1.5 * self.quiet_us
        try:
            until(lambda: fsync_us(self.machine.folder) <= most, "the disk is quiet", 180, 0.5)
        except BenchError as error:
            self.say(f"  {error}: an fsync takes {fsync_us(self.machine.folder):.0f} µs")

    def record(self, part, system, turn, **figures):
        figure = {
            "part": part,
            "system": system,
            "round": turn,
            "load": busy(),
            "at": datetime.now().isoformat(timespec="seconds"),
        } | figures
        self.figures.append(figure)
        return figure

    def measure(self, part, system, turn, run, **where):
        """Runs one load, checks that nothing went wrong, and records it."""
        figures = run()
        self.machine.check()
        figure = self.record(part, system, turn, **where, **figures)
        at = f" at {where['connections']}" if "connections" in where else ""
        self.say(
            f"    {part}, {system}{at}: {show(figure['rate'])}/s, "
            f"p50 {show(figure['p50_ms'], 2)} ms, p99 {show(figure['p99_ms'], 2)} ms"
            if "p50_ms" in figure
            else f"    {part}, {system}{at}: {show(figure['rate'])}/s"
        )
        if figures["errors"] or not figures["requests"]:
            self.fail(f"{part}, {system}{at}: {figures['errors'] or 'no answer at all'}")
        return figure


def versions():
    """The machine, the versions and the settings of a run."""
    found = {"python": sys.version.split()[0]}
    for name, command in {
        "etcd": ["etcd", "--version"],
        "nginx": ["nginx", "-v"],
        "wrk": ["wrk", "-v"],
        "strace": ["strace", "--version"],
    }.items():
        if find(name):
            answer = subprocess.run(
                [find(name), *command[1:]], capture_output=True, text=True, check=False
            )
            found[name] = (answer.stdout + answer.stderr).strip().splitlines()[0]
    if folder := postgres.programs():
        found["postgres"] = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=False
        ).stdout.strip()
    return found


def commit():
    """The commit, and whether files differ from it; `unknown` where git is missing or no repository
    is there."""
    if not find("git"):
        return "unknown"
    git = lambda *words: subprocess.run(
        ["git", "-C", ROOT, *words], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "HEAD") or "unknown") + (" with changes" if changed else "")


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--binaries", type=Path, required=True, help="folder of the services' release binaries"
    )
    parser.add_argument(
        "--before", type=Path, help="folder of another build's binaries, to compare with"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds of each load (default: 3)")
    parser.add_argument(
        "--orders", type=int, default=200_000, help="orders in the long log (default: 200000)"
    )
    parser.add_argument(
        "--kills", type=int, default=20, help="times that the leader is killed (default: 20)"
    )
    parser.add_argument(
        "--only", default="", help=f"parts, with commas: {','.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("/var/tmp"),
        help="where the temporary folder is made: on a disk (default: /var/tmp)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "docs" / "bench",
        help="folder of JSON file and chart (default: docs/bench)",
    )
    chosen = parser.parse_args()
    chosen.parts = [part for part in re.split("[, ]+", chosen.only) if part] or list(PARTS)
    if unknown := [part for part in chosen.parts if part not in PARTS]:
        parser.error(
            f"--only {','.join(unknown)}: there is no such part; write some of {','.join(PARTS)}"
        )
    if low := [name for name in ("rounds", "seconds", "kills") if getattr(chosen, name) < 1]:
        parser.error(f"--{low[0]} {getattr(chosen, low[0])}: write a number from 1 on")
    if chosen.orders < 1_001:
        parser.error(f"--orders {chosen.orders}: write a number from 1001 on")
    if not find("wrk"):
        parser.error("wrk is not installed, and everything is measured with it: apt install wrk")
    for option in ("binaries", "before"):
        folder = getattr(chosen, option)
        if folder is None:
            continue
        setattr(chosen, option, folder := folder.resolve())
        for name in ("catalog", "order", "frontend"):
            if not (folder / name).exists():
                parser.error(f"--{option} {folder}: {name} is not there; build with 'make build'")
    return chosen


def main():
    chosen = options()
    # Each ends the bench through the end of every `with`; a shell starts what runs in the
    # background with Ctrl-C ignored.
    for number in ENDS:
        signal.signal(number, signal.default_int_handler)
    before = time.monotonic()
    try:
        with Machine(chosen.dir) as machine:
            bench, about = Bench(chosen, machine), describe(machine.folder)
            bench.say(
                f"{about['cores']} × {about['processor']}, {about['file_system']}, "
                f"load {busy():.1f}; everything in {machine.folder}"
            )
            for part in chosen.parts:
                bench.say(f"\n{part}: {PARTS[part].__doc__}")
                try:
                    PARTS[part](bench)
                except (BenchError, OSError) as error:
                    bench.fail(f"{part}: {error}")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: interrupted; all processes were ended", file=sys.stderr)
        return 130
    return finish(chosen, bench, about, time.monotonic() - before)


def finish(chosen, bench, about, took):
    """Tables, files, and the exit code."""
    figures = Figures(bench.figures)
    for title, text in tables(figures):
        bench.say(f"\n{title}\n\n{text}")
    found = targets(figures)
    if found:
        bench.say(f"\nTargets\n\n{targets_table(found)}")
        if bench.log is not None and chosen.orders < TARGET_ORDERS:
            bench.say(
                f"\nThe long log had {show(chosen.orders)} orders, the targets speak of "
                f"{show(TARGET_ORDERS)}: it does not judge costs that grow with the log."
            )
    now = datetime.now()
    name = now.strftime("%Y-%m-%d")
    if set(chosen.parts) != set(PARTS):
        # A part alone never replaces a whole run.
        name += "-" + "-".join(chosen.parts)
    settings = {
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "orders": chosen.orders,
        "kills": chosen.kills,
        "parts": chosen.parts,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / f"{name}.json"
    written = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": about,
        "versions": bench.versions,
        "settings": settings,
        "took_s": round(took),
        "left_out": bench.skipped,
        "failures": bench.failures,
        "targets": [target.json() for target in found],
        "figures": bench.figures,
    }
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    files = [str(path)]
    most = max((figure["load"] for figure in bench.figures), default=0)
    caption = (
        f"{now:%Y-%m-%d}, {about['cores']} cores, {about['file_system']}; "
        f"medians of {chosen.rounds} rounds of {chosen.seconds} s; "
        f"load of the machine up to {most:.0f}"
    )
    if svg := chart(figures, caption):
        path.with_suffix(".svg").write_text(svg)
        files.append(str(path.with_suffix(".svg")))
    bench.say(f"\n{took:.0f} s. Written: {', '.join(files)}")
    bench.say(
        "Micro benchmarks (hash chain, journal insert, cache hit, edge parse): cargo bench, "
        "or make bench MICRO=1"
    )
    for why in bench.skipped:
        bench.say(f"left out: {why}")
    for why in bench.failures:
        bench.say(f"FAILED: {why}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
