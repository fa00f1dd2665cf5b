"""Tests of the simulation, and of docs/scale.md, without any process."""

import unittest
from dataclasses import replace

import scale
from predictions import FITTED, calibrated
from simulation import RETURN_WAIT_US, Cost, Costs, fit, simulate

#: A machine on which every step takes a known time.
SIMPLE = Costs(
    client_us=10,
    frontend=Cost(100, 20),
    leader=Cost(200, 4),
    catalog=Cost(200, 4),
    follower=Cost(100, 2),
    commit=Cost(150, 0),
    append=Cost(150, 0),
    hop_us=5,
    cores=64,
)


class Simulation(unittest.TestCase):
    def test_one_order_takes_the_sum_of_its_steps(self):
        """Alone, an order waits for nothing but its own steps."""
        processors = 10 + 120 + 204 / 2 + 204 + 102 + 204 / 4
        # The follower's append is the last: the leader's own work for it is less.
        writes = 150 + 150
        messages = 5 * 8
        self.assertAlmostEqual(simulate(SIMPLE, 1)["p50_us"], processors + writes + messages, 0)

    def test_clients_share_batches(self):
        """More clients make larger batches and a higher rate, up to the processors' limit."""
        found = [simulate(SIMPLE, n) for n in (1, 16, 256)]
        rates, batches = ([f[name] for f in found] for name in ("rate", "batch"))
        self.assertEqual((rates, batches), (sorted(rates), sorted(batches)))
        self.assertEqual(batches[0], 1)
        work = 10 + 20 + 4 + 4 + 2 * 2
        two = replace(SIMPLE, cores=2)
        self.assertLessEqual(simulate(two, 512)["rate"], 2e6 / work)

    def test_clients_that_return_meet_in_one_batch(self):
        """The batcher waits for clients that were just answered, where they return in time."""
        self.assertLess(5 * SIMPLE.frontend.order + 4 * SIMPLE.hop_us, RETURN_WAIT_US)
        self.assertGreater(simulate(SIMPLE, 5)["batch"], 4.5)

    def test_slower_machines_are_slower(self):
        """A slower disk and a longer way lower the rate of one client by what they add."""
        alone = simulate(SIMPLE, 1)["p50_us"]
        disk = replace(SIMPLE, commit=Cost(1_150, 0), append=Cost(1_150, 0))
        self.assertAlmostEqual(simulate(disk, 1)["p50_us"], alone + 2_000, 0)
        far = replace(SIMPLE, hop_us=1_005)
        self.assertAlmostEqual(simulate(far, 1)["p50_us"], alone + 8_000, 0)

    def test_each_front_end_adds_a_push(self):
        """An order waits for an invalidation of every further front-end."""
        many = replace(SIMPLE, frontends=10, push_us=20)
        alone = simulate(SIMPLE, 1)["p50_us"]
        self.assertAlmostEqual(simulate(many, 1)["p50_us"], alone + 9 * 20, 0)

    def test_the_catalog_takes_one_batch_at_a_time(self):
        """With processors enough, batches wait for each other there."""
        found = simulate(replace(SIMPLE, apart=True), 4_096)
        part, share = found["busiest"]
        self.assertGreater(found["at_catalog"], 0.95)
        self.assertLess(share, 0.9, part)

    def test_costs_are_found_again(self):
        """Two loads give back the costs that made them."""
        cost = Cost(batch=200, order=5)
        made = fit(cost.of(1), (100, cost.of(100) / 100))
        self.assertAlmostEqual(made.batch, 200)
        self.assertAlmostEqual(made.order, 5)


class Document(unittest.TestCase):
    def test_tables_agree_with_the_figures(self):
        """Nobody changed a table or a chart of docs/scale.md by hand."""
        text = scale.DOCUMENT.read_text()
        made = scale.tables(scale.FOLDER)
        self.assertEqual({found[2] for found in scale.BLOCK.finditer(text)}, set(made))
        self.assertEqual(text, scale.filled(text, made), "run 'make scale', or scale.py --draw")
        for name, svg in scale.charts(scale.FOLDER).items():
            self.assertEqual((scale.FOLDER / name).read_text(), svg, name)
            self.assertIn(f"(scale/{name})", text)

    def test_predictions_are_close(self):
        """The simulation predicts each load that it was not fitted to within a quarter."""
        work = scale.read(scale.FOLDER / "work.csv")
        cores = int(scale.read(scale.FOLDER / "machine.csv")[0]["cores"])
        given = calibrated(work, cores)
        predicted = [row for row in work if row["connections"] not in FITTED]
        self.assertGreater(len(predicted), 3)
        for row in predicted:
            ratio = simulate(given, int(row["connections"]))["rate"] / row["rate"]
            self.assertTrue(0.75 <= ratio <= 1.25, f"{row['connections']}: {ratio:.2f}")


if __name__ == "__main__":
    unittest.main()
