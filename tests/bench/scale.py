#!/usr/bin/env python3
"""`make scale`: the costs of this bazaar as the work grows, and a simulation of machines that are
not at hand.

Writes docs/scale/<curve>.csv; then draws charts and shows the tables, from the CSV files alone.
Where there is a page docs/scale.md, they are written into it. Exit code 1: a measurement failed."""

import argparse
import csv
import re
import resource
import signal
import sys
from pathlib import Path

from curves import CURVES, Scale
from lines import chart
from machine import ENDS, BenchError, Machine, describe
from predictions import predictions, what_if
from report import show, table

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "scale"
DOCUMENT = ROOT / "docs" / "scale.md"
#: A table of the document, between two comments that nobody sees.
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

#: Columns of each curve: name in the CSV file, title, digits. The first is the size.
COLUMNS = {
    "stocks": [
        ("stocks", "stocks", 0),
        ("start_s", "first start, s", 2),
        ("restart_s", "restart, s", 2),
        ("catalog_mb", "catalog, MB", 0),
        ("reads_cache_off", "reads/s, cache off", 0),
        ("invalidation_ms", "invalidation, ms", 2),
        ("p50_ms_at_1", "order p50 at 1, ms", 2),
        ("rate_at_64", "orders/s at 64", 0),
    ],
    "frontends": [
        ("frontends", "front-ends", 0),
        ("invalidation_ms", "invalidation, ms", 2),
        ("p50_ms_at_1", "order p50 at 1, ms", 2),
        ("rate_at_64", "orders/s at 64", 0),
        ("p99_ms_at_64", "p99 at 64, ms", 1),
    ],
    "replicas": [
        ("replicas", "replicas", 0),
        ("p50_ms_at_1", "order p50 at 1, ms", 2),
        ("rate_at_64", "orders/s at 64", 0),
        ("p99_ms_at_64", "p99 at 64, ms", 1),
    ],
    "orders": [
        ("orders", "orders in the log", 0),
        ("file_mb", "file, MB", 0),
        ("replica_start_s", "replica starts, s", 2),
        ("catalog_start_s", "catalog starts, s", 2),
        ("replica_mb", "replica, MB", 0),
        ("query_rate", "queries/s", 0),
        ("old_key_ms", "repeat of the oldest order, ms", 2),
        ("rate_at_64", "orders/s at 64", 0),
        ("backup_s", "backup, s", 1),
        ("verify_s", "verify, s", 1),
    ],
    "connections": [
        ("connections", "connections", 0),
        ("rate", "orders/s", 0),
        ("refused_percent", "refused, %", 1),
        ("p50_ms", "p50, ms", 2),
        ("p99_ms", "p99, ms", 1),
        ("frontend_mb", "front-end, MB", 0),
    ],
    "viewers": [
        ("viewers", "viewers", 0),
        ("rate", "orders/s at 64", 0),
        ("p99_ms", "p99, ms", 1),
        ("kilobytes", "read by each viewer, kB", 0),
    ],
}
#: Columns that a curve's chart shows, beside each other.
CHARTS = {
    "stocks": ("catalog_mb", "reads_cache_off", "rate_at_64"),
    "frontends": ("invalidation_ms", "p50_ms_at_1", "rate_at_64"),
    "replicas": ("p50_ms_at_1", "rate_at_64"),
    "orders": ("query_rate", "old_key_ms", "rate_at_64"),
    "connections": ("rate", "p50_ms"),
    "viewers": ("rate", "p99_ms"),
}


def measure(run, names, folder):
    """Measures curves into CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        run.say(f"\n{name}: {CURVES[name].__doc__}")
        rows = []
        for row in CURVES[name](run):
            rows.append({key: round(value, 4) for key, value in row.items()})
            run.say("  " + ", ".join(f"{key} {value:,}" for key, value in rows[-1].items()))
        write(folder / f"{name}.csv", rows)


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(path):
    """The rows of a CSV file, with numbers where there are some."""

    def value(text):
        try:
            return float(text)
        except ValueError:
            return text

    with open(path, newline="") as file:
        return [{name: value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def tables(folder):
    """The text of each table, from the CSV files."""
    made = {}
    for name, columns in COLUMNS.items():
        if not (folder / f"{name}.csv").exists():
            continue
        rows = read(folder / f"{name}.csv")
        cells = [[show(row[column], digits) for column, _, digits in columns] for row in rows]
        made[name] = table([title for _, title, _ in columns], cells)
    about = read(folder / "machine.csv")[0]
    about["cores"] = cores = int(about["cores"])
    if (folder / "work.csv").exists():
        work = read(folder / "work.csv")
        made["predictions"] = table(*predictions(work, cores))
        made["what_if"] = table(*what_if(work, read(folder / "frontends.csv"), cores))
    made["machine"] = table(list(about), [[str(value) for value in about.values()]])
    return made


def filled(text, made):
    """The document with its tables."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", text)


def charts(folder):
    """File name and SVG of each curve."""
    made = {}
    for name, shown in CHARTS.items():
        if not (folder / f"{name}.csv").exists():
            continue
        rows = read(folder / f"{name}.csv")
        titles = {column: title for column, title, _ in COLUMNS[name]}
        size, label, _ = COLUMNS[name][0]
        panels = [(titles[column], [(row[size], row[column]) for row in rows]) for column in shown]
        made[f"{name}.svg"] = chart(label, panels)
    return made


def draw():
    """Draws the charts of every curve that was measured, and shows its table."""
    for name, svg in charts(FOLDER).items():
        (FOLDER / name).write_text(svg)
    made = tables(FOLDER)
    if DOCUMENT.exists():
        DOCUMENT.write_text(filled(DOCUMENT.read_text(), made))
    else:
        print("\n\n".join(f"{name}\n\n{text}" for name, text in made.items()))


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, help="folder of the services' release binaries")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each kind (default: 3)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of a load (default: 2)")
    parser.add_argument("--orders", type=int, default=10_000_000, help="orders in the longest log")
    parser.add_argument("--only", default="", help=f"curves, with commas: {','.join(CURVES)}")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="a folder on a disk")
    parser.add_argument("--draw", action="store_true", help="draw and write, measure nothing")
    chosen = parser.parse_args()
    chosen.curves = chosen.only.split(",") if chosen.only else list(CURVES)
    if wrong := [name for name in chosen.curves if name not in CURVES]:
        parser.error(f"--only: no curve is called {', '.join(wrong)}")
    if not chosen.draw and not chosen.binaries:
        parser.error("--binaries: name the folder of the services' binaries")
    return chosen


def main():
    chosen = options()
    for number in ENDS:
        signal.signal(number, signal.default_int_handler)
    # Ten thousand connections at both ends.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        if not chosen.draw:
            with Machine(chosen.dir) as machine:
                measure(Scale(chosen, machine), chosen.curves, FOLDER)
                about = describe(machine.folder)
                write(FOLDER / "machine.csv", [{name: about[name] for name in sorted(about)}])
    except (BenchError, OSError) as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscale: interrupted; all processes were ended", file=sys.stderr)
        return 130
    draw()
    print("Written: docs/scale/*.csv, docs/scale/*.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
