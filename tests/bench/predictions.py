"""The simulation beside the measured rates, and its answers about other machines."""

from dataclasses import replace

from report import show
from simulation import costs, simulate

#: The loads that the costs are taken from; all others are predicted.
FITTED = (1, 512)


def calibrated(work, cores):
    """The costs of a measured machine."""
    by = {int(row["connections"]): row for row in work}
    return costs(by[FITTED[0]], by[FITTED[1]], cores)


def predictions(work, cores):
    """Head and rows of a table: measured and simulated."""
    given = calibrated(work, cores)
    rows = []
    for row in work:
        connections = int(row["connections"])
        found = simulate(given, connections)
        rows.append(
            [
                str(connections),
                show(row["rate"]),
                show(found["rate"]),
                show(found["rate"] / row["rate"], 2),
                show(row["p50_ms"], 2),
                show(found["p50_us"] / 1e3, 2),
                show(row["batch"], 1),
                show(found["batch"], 1),
                "fitted" if connections in FITTED else "predicted",
            ]
        )
    head = [
        "connections",
        "orders/s",
        "simulated",
        "ratio",
        "p50 ms",
        "simulated",
        "orders in a batch",
        "simulated",
        "",
    ]
    return head, rows


def machines(given):
    """The machines of the questions: name and costs."""
    slow = {"commit_us": given.commit_us + 2_000, "append_us": given.append_us + 2_000}
    far = lambda ms: replace(given, apart=True, hop_us=given.hop_us + ms * 500)
    return [
        ("this machine", given),
        ("8 processors", replace(given, cores=8)),
        ("a disk that takes 2 ms longer", replace(given, **slow)),
        ("a machine of 2 processors for each service", replace(given, apart=True)),
        ("the same, a network with a round trip of 1 ms", far(1)),
        ("the same, a round trip of 50 ms", far(50)),
    ]


def what_if(work, cores):
    """Head and rows of a table: rates and medians on machines that were not measured."""
    loads = (1, 64, 512, 4_096)
    rows = []
    for name, given in machines(calibrated(work, cores)):
        found = [simulate(given, n) for n in loads]
        rows.append(
            [
                name,
                *[show(f["rate"]) for f in found],
                *[show(f["p50_us"] / 1e3, 1) for f in (found[0], found[2])],
            ]
        )
    head = ["", *[f"orders/s at {show(n)}" for n in loads], "p50 ms at 1", "at 512"]
    return head, rows
