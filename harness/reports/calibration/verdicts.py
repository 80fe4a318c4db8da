"""What a report's words are worth, by simulated studies (`evals/statistics/verdict_simulation.py`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from evals.statistics import verdict_simulation as simulation
from evals.statistics.comparison import MARGIN
from harness.accounting.format import percent
from harness.reports.calibration.controls import Part
from harness.reports.render.table import Table

Say = Callable[[str], None]

SEEDS = (3, 5, 10, 30)
ITEMS, SETTINGS = (100, 500), ((0.5, 0.0), (0.2, 1.0), (0.1, 2.0))  # SDs of ability, and of an arm's own problems
FAMILIES = {
    "3 alike": (0.8, 0.8, 0.8),
    "6, two apart": (0.5, 0.5, 0.5, 0.5, 0.8, 0.8),
    "4, pairs at the margin": (0.5, 0.5 + MARGIN, 0.8, 0.8 + MARGIN),
    "12 alike": (0.8,) * 12,
}
SD = 0.01
SLOPES = (0.05, 0.15, 0.5)
LOW, HIGH, ERRORS = 0.93, 0.985, 0.065


def seeds_and_problems(trials: int, say: Say) -> Part:
    """Coverage of the interval over seeds and problems, and for contrast of that over seeds alone."""
    found, rows = [], []
    for items, (sigma, own) in itertools.product(ITEMS, SETTINGS):
        covered = [simulation.problems(seeds, items, sigma, own, trials) for seeds in SEEDS]
        found += [
            {"seeds": seeds, "items": items, "sigma": sigma, "own": own, **asdict(c)}
            for seeds, c in zip(SEEDS, covered, strict=True)
        ]
        cells = [f"{percent(c.crossed)} ({percent(c.seeds_alone)})" for c in covered]
        rows.append([f"{items}", f"{sigma:g}", f"{own:g}", *cells])
        say(f"Seeds and problems, {items} problems, {sigma:g}, {own:g}: {', '.join(cells)}")
    rates, alone = [f["crossed"] for f in found], min(f["seeds_alone"] for f in found)
    text = [
        "Two arms of equal accuracy over all seeds and all problems.  Runs differ in ability, problems in easiness, "
        "and a problem may be easier to one arm than to the other (SDs in logits).  The share of trials in which the "
        "95 % interval over seeds and problems holds the true difference; in brackets the interval over seeds alone.  "
        f"{trials:,} trials for each.",
        Table("", ["problems", "ability", "own problems", *(f"{n} seeds" for n in SEEDS)], rows).markdown(),
    ]
    return Part(
        "Seeds and problems",
        f"95 % intervals cover in {percent(LOW, 0)} to {percent(HIGH)} of trials",
        f"{percent(min(rates))} to {percent(max(rates))}; over seeds alone down to {percent(alone)}",
        all(LOW <= rate <= HIGH for rate in rates),
        text,
        {"seeds_and_problems": found},
    )


def words(trials: int, say: Say) -> Part:
    """Any false word in a family of pairs; true claims of likeness that are contradicted."""
    found: list[dict[str, Any]] = []
    rows = []
    for (name, means), shape in itertools.product(FAMILIES.items(), simulation.SHAPES):
        errors = [simulation.families(means, seeds, SD, shape, trials) for seeds in SEEDS]
        found += [
            {"family": name, "shape": shape, "seeds": seeds, **asdict(e)}
            for seeds, e in zip(SEEDS, errors, strict=True)
        ]
        cells = [f"{percent(e.false)} ({percent(e.refuted)})" for e in errors]
        rows.append([name, shape, *cells])
        say(f"Families, {name}, {shape}: {', '.join(cells)}")
    healthy = [f for f in found if f["shape"] != "collapsing"]
    sound = [f for f in healthy if f["shape"] != "skewed" or f["seeds"] >= 10]
    worst, refuted = max(f["false"] for f in sound), max(f["refuted"] for f in found)
    fallen = max(f["false"] for f in found if f["shape"] == "collapsing")
    skewed = max(f["false"] for f in healthy)
    text = [
        "All pairs of several arms as one family.  The share of simulated studies with any false word (better or ahead "
        "where nothing is; equivalent or ahead where the true difference is the margin or more; more than the margin "
        "where it is not), and in brackets with a true claim of likeness that is contradicted.  Runs have an SD of 1 "
        f"point; the margin is {100 * MARGIN:g}.  {trials:,} studies for each.",
        Table("", ["arms", "runs", *(f"{n} seeds" for n in SEEDS)], rows).markdown(),
        f"Where one run in ten of an arm collapses, no interval of a mean holds its level: up to {percent(fallen)} of "
        "such studies have a false word.  That is why a report with a collapsed run says so in its headline's place.  "
        f"Lognormal runs (skewed) reach {percent(skewed)} with few seeds.",
    ]
    return Part(
        "Words of a family",
        f"any false word in at most {percent(ERRORS)} of studies (healthy arms; skewed ones with 10 seeds or more), "
        "and a true claim of likeness contradicted in no more",
        f"{percent(worst)}; contradicted {percent(refuted)}",
        worst <= ERRORS and refuted <= ERRORS,
        text,
        {"families": found},
    )


def crossings(trials: int, say: Say) -> Part:
    """Coverage of the interval of a crossover."""
    found, rows = [], []
    for slope in SLOPES:
        rates = [simulation.crossings(seeds, slope, trials) for seeds in SEEDS]
        found += [{"slope": slope, "seeds": n, "covered": rate} for n, rate in zip(SEEDS, rates, strict=True)]
        rows.append([f"{100 * slope:g}", *(percent(rate) for rate in rates)])
        say(f"Crossings, slope {slope:g}: {', '.join(rows[-1][1:])}")
    rates = [f["covered"] for f in found]
    text = [
        "Curves of two arms that cross at 55 % of the budget, by so many points over the whole budget; runs differ by "
        "2 points in level and 1.5 from point to point.  The share of trials in which the interval of the crossover "
        f"holds the place, {trials:,} for each.",
        Table("", ["slope, points", *(f"{n} seeds" for n in SEEDS)], rows).markdown(),
    ]
    bar = f"95 % intervals cover in at least {percent(LOW, 0)} of trials"
    measured = f"{percent(min(rates))} to {percent(max(rates))}"
    return Part("Crossings", bar, measured, min(rates) >= LOW, text, {"crossings": found})
