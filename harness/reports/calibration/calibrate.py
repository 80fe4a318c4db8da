"""`harness calibrate`: whether the comparison statistics are right where the truth is known, as a page and its numbers.

Simulated runs have a true difference that intervals must cover; real runs (`controls.py`) were made so that the truth
is known.  Reads the runs under a folder (ARM/seed<k>) and writes calibration.json and calibration.md into it: the same
records give the same bytes.  A part whose runs are not there says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.statistics import simulation
from evals.statistics.comparison import LEVEL
from harness.accounting.format import percent
from harness.records.io import write_json
from harness.reports.calibration.control_runs import read_arm
from harness.reports.calibration.controls import Part, fair_coin, inert_field, one_arm_twice, wrong_signs
from harness.reports.render.tables import Table
from harness.reports.render.text import points

Say = Callable[[str], None]

TRIALS = 10_000  # of a setting
FEWER = 2_000  # of the bootstrap in a setting, and deals of one arm's runs
DIFFERENCES = (0.0, 0.02)  # of the arms' mean accuracies: coverage is of the truth, whatever it is
CORRELATIONS = (0.0, 0.5)
ITEMS = (200, 1000)
ACCURACIES = (0.05, 0.5, 0.95)
SEEDS = (3, 5, 10)
LOW, HIGH, BARRED = 0.93, 0.97, 5  # bar of the coverage, and the seeds from which on it is one

BASE, INERT, COIN = "grpo", "inert", "coin"  # arms
FLIPPED = ("flipped_20", "flipped_35", "flipped_50")


def calibrate(folder: Path, trials: int, say: Say) -> None:
    """Writes the page and its numbers.  Raises ValueError naming the file of a broken record, before it simulates."""
    if trials < 1:
        raise ValueError(f"--trials: must be at least 1, not {trials}")
    base, inert, coin, *flipped = (read_arm(folder / name) for name in (BASE, INERT, COIN, *FLIPPED))
    real = [
        one_arm_twice(base, min(trials, FEWER)),
        inert_field(base, inert),
        wrong_signs(base, flipped),
        fair_coin(coin),
    ]
    parts = [simulated(trials, say), *real]
    for part in parts:
        say(f"{part.title}: {part.measured}")
    command = f"harness calibrate {folder.as_posix()}" + (f" --trials {trials}" if trials != TRIALS else "")
    settings = {
        "trials": trials,
        "resamples": simulation.RESAMPLES,
        "sigma": simulation.SIGMA,
        "spread": simulation.SPREAD,
    }
    numbers: dict[str, Any] = {"command": command, "level": LEVEL, "settings": settings}
    for part in parts:
        numbers |= part.numbers
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "calibration.json", numbers)
    (folder / "calibration.md").write_text(page(parts, command))


def page(parts: Sequence[Part], command: str) -> str:
    """The summary, then a section a part."""
    said = {True: "yes", False: "**no**", None: "-"}
    summary = [[part.title, part.bar, part.measured, said[part.holds]] for part in parts]
    blocks = [
        "# Calibration",
        "Whether the intervals and verdicts of `evals/stats.py` are right where the truth is known.  Made by "
        f"`{command}` from the runs in this folder; every number is in [calibration.json](calibration.json).",
        Table("", ["", "bar", "measured", "holds"], summary).markdown(),
    ]
    for part in parts:
        blocks += [f"## {part.title}", *part.text]
    return "\n\n".join(blocks) + "\n"


# --- simulated runs ---------------------------------------------------------------------------------------------


def simulated(trials: int, say: Say) -> Part:
    """Coverage of the primary interval in every setting; beside it, in some, that of a bootstrap."""
    found: list[dict[str, Any]] = []
    rows = []
    grid = list(itertools.product(DIFFERENCES, CORRELATIONS, ITEMS, ACCURACIES))
    for i, (difference, correlation, items, accuracy) in enumerate(grid, 1):
        b_I = simulation.easiness(items)
        _, sd = simulation.truth(simulation.solve_mu(accuracy, b_I), b_I)
        settings = [simulation.Setting(items, seeds, accuracy, correlation, difference) for seeds in SEEDS]
        found += [{**asdict(s), "sd": sd, **asdict(simulation.coverage(s, trials))} for s in settings]
        covered = [percent(row["covered"]) for row in found[-len(SEEDS) :]]
        rows.append([points(difference), f"{correlation:g}", f"{items:,}", percent(accuracy, 0), points(sd), *covered])
        say(f"Simulated runs, [{i}/{len(grid)}]: {', '.join(covered)} covered")
    barred = [row["covered"] for row in found if row["seeds"] >= BARRED]
    bootstrap, contrast = bootstrapped(found, min(trials, FEWER))
    error, without = math.sqrt(LEVEL * (1 - LEVEL) / trials), max(row["without"] for row in found)
    columns = ["A - B", "pair correlation", "items", "accuracy of B", "SD of a run", *(f"{n} seeds" for n in SEEDS)]
    text = [
        "Two arms of runs with a known mean (`evals/simulate.py`): every run has an ability of its own, by which it "
        "answers a fixed set of items.  Below, the share of trials in which the paired 95 % t-interval covers the true "
        f"difference A - B; {trials:,} trials a setting, hence a standard error of {100 * error:.2f} points.  "
        "Differences and SDs in points of accuracy.  A trial in which every seed differs by the same amount has no "
        f"interval and counts as not covered: {percent(without)} of trials at most.",
        Table("", columns, rows).markdown(),
        contrast,
    ]
    return Part(
        "Simulated runs",
        f"95 % intervals cover the truth in {percent(LOW, 0)} to {percent(HIGH, 0)} of trials, from {BARRED} seeds on",
        f"{percent(min(barred))} to {percent(max(barred))} in {len(barred)} settings",
        all(LOW <= share <= HIGH for share in barred),
        text,
        {"simulated": found, "bootstrap": bootstrap},
    )


def bootstrapped(cells: Sequence[dict[str, Any]], trials: int) -> tuple[list[dict[str, Any]], str]:
    """The percentile bootstrap over seeds beside the t-interval, for equal and independent arms on the larger set."""
    found, rows = [], []
    for cell in cells:
        if cell["items"] == max(ITEMS) and not cell["difference"] and not cell["correlation"]:
            setting = simulation.Setting(cell["items"], cell["seeds"], cell["accuracy"])
            share = simulation.coverage(setting, trials, simulation.bootstrap_intervals).covered
            found.append({**asdict(setting), "trials": trials, "covered": share})
            rows.append([percent(setting.accuracy, 0), str(setting.seeds), percent(cell["covered"]), percent(share)])
    table = Table("", ["accuracy", "seeds", "t-interval", "bootstrap"], rows).markdown()
    return found, (
        "For contrast, why no bootstrap is used: its percentile interval over seeds is too narrow where they are few "
        "(on normal data it covers about 74, 83 and 89 % with 3, 5 and 10).  Coverage for equal and independent arms, "
        f"{max(ITEMS):,} items, {trials:,} trials a setting:\n\n{table}"
    )
