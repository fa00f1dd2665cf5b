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


def push_us(frontends):
    """The time that an invalidation of one more front-end adds to an order, from the curve over
    front-ends. All of it is taken for the catalog's: a part is the front-end's own."""
    few, many = frontends[0], frontends[-1]
    more = many["frontends"] - few["frontends"]
    return max(many["p50_ms_at_1"] - few["p50_ms_at_1"], 0.0) * 1e3 / more


def machines(given):
    """The machines of the questions: name and costs."""
    later = lambda wait: replace(wait, batch=wait.batch + 2_000)
    slow = {"commit": later(given.commit), "append": later(given.append)}
    five = replace(given, apart=True)
    far = lambda ms: replace(five, hop_us=given.hop_us + ms * 500)
    return [
        ("this machine", given),
        ("8 processors", replace(given, cores=8)),
        ("a disk that takes 2 ms longer", replace(given, **slow)),
        ("5 machines of 2 processors, one for each service", five),
        ("the same, a network with a round trip of 1 ms", far(1)),
        ("the same, a round trip of 50 ms", far(50)),
        ("14 machines, 10 of them front-ends, no network", replace(five, frontends=10)),
        ("50 machines, 46 of them front-ends, no network", replace(five, frontends=46)),
    ]


def what_if(work, frontends, cores):
    """Head and rows of a table: rates and medians on machines that were not measured."""
    loads = (1, 64, 512, 4_096)
    rows = []
    measured = replace(calibrated(work, cores), push_us=push_us(frontends))
    for name, given in machines(measured):
        found = [simulate(given, n) for n in loads]
        part, share = found[-1]["busiest"]
        rows.append(
            [
                name,
                *[show(f["rate"]) for f in found],
                *[show(f["p50_us"] / 1e3, 1) for f in (found[0], found[2])],
                f"{part} {show(100 * share)} %",
                f"{show(100 * found[-1]['at_catalog'])} %",
            ]
        )
    head = ["", *[f"orders/s at {show(n)}" for n in loads], "p50 ms at 1", "at 512"]
    return [*head, "busiest processors at 4 096", "batch at the catalog"], rows
