"""Grids that widen by themselves: as many trials for every arm, and the best inside where it can be."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from harness.reports.render.caveats import cautions
from harness.reports.render.tables import tuning as tuning_table
from harness.studies.fairness.tuning import edges, further, numeric, planned_points, planned_trials, select_trials
from harness.studies.launcher import dry_run
from harness.studies.registration import asked
from harness.studies.storage import store_study
from harness.studies.study import Study
from tests.harness.studies.test_launcher import Launch, Stub, launched, leave, make_study, out, stub, typed

__all__ = ["launched", "out", "stub", "typed"]
SEEDS = [100, 101, 102]
Surface = Callable[[str, dict[str, Any]], float | None]  # arm, fields -> accuracy; None: the trial fails


def widening(grid: list[float], widen: int, **tune: Any) -> Study:
    return make_study(tune={"grid": {"lr": grid}, "widen": widen, "seeds": SEEDS, **tune})


def play(study: Study, out: str, surface: Surface) -> dict[str, list[dict[str, Any]]]:
    """Run every trial that is due, until none is; returns the points of each arm."""
    done: set[str] = set()
    for _ in range(99):
        due = [run for run in planned_trials(study, out) if run.path not in done]
        if not due:
            return planned_points(study, out)
        for run in due:
            value = surface(run.arm, run.fields)
            leave(run.config(out), value or 0.0, "failed" if value is None else "finished")
            done.add(run.path)
    raise AssertionError("trials without end")


def peak_at(**best: float) -> Surface:
    """An arm's accuracy falls with the logarithm of its rate's distance from its best."""
    return lambda arm, fields: 0.9 - 0.1 * abs(math.log(fields["lr"] / best[arm]))


def test_a_grid_widens_to_where_the_best_lies_inside_and_the_others_get_as_many(out: str) -> None:
    study = widening([1e-4, 2e-4, 4e-4], 5)
    points = play(study, out, peak_at(a=1.5e-3, b=2.2e-4))
    assert [p["lr"] for p in points["a"]] == [1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3]
    assert len(points["b"]) == 6
    chosen = select_trials(study, out)
    assert chosen["a"] == {"lr": 1.6e-3} and abs(math.log(chosen["b"]["lr"] / 2.2e-4)) < 0.15
    assert {p["lr"] for p in points["b"]} > {1e-4, 2e-4, 4e-4}, "it looked closer instead"
    assert play(study, out, peak_at(a=1.5e-3, b=2.2e-4)) == points, "other trials at another time"


def test_downwards_and_by_the_step_of_that_edge(out: str) -> None:
    study = widening([1e-4, 3e-4, 6e-4], 4)
    points = play(study, out, peak_at(a=1e-5, b=1e-5))
    assert [p["lr"] for p in points["a"]][3:] == [3.33e-5, 1.11e-5, 3.7e-6]


def test_nothing_is_widened_where_the_best_is_inside_or_nobody_asked(out: str, tmp_path: Path) -> None:
    inside = play(widening([1e-4, 2e-4, 4e-4], 5), out, peak_at(a=2e-4, b=2e-4))
    assert {len(p) for p in inside.values()} == {3}
    outside = play(widening([1e-4, 2e-4, 4e-4], 0), str(tmp_path / "other"), peak_at(a=1, b=1))
    assert {len(p) for p in outside.values()} == {3}


def test_at_the_bound_the_report_says_edge_and_count(out: str) -> None:
    base = {"model": "nano", "budget": "completions=160"}  # the record factory's
    study = make_study(base=base, tune={"grid": {"lr": [1e-4, 2e-4]}, "widen": 2, "seeds": SEEDS})
    points = play(study, out, peak_at(a=1e-2, b=1e-2))
    assert {len(p) for p in points.values()} == {4}
    store_study(Path(out, "s"), study)
    for run in study.runs(select_trials(study, out)):
        leave(run.config(out))
    findings = summarize(load_results(Path(out, "s")))
    assert (
        "The best trials of a and b are at the edge of their grids after 4 trials, the most that an arm gets: "
        in str(cautions(findings))
    )
    assert "Trials of every arm: 4, of 3 seeds each." in tuning_table(findings).note


def test_two_fields_of_one_arm_and_as_many_trials_for_the_other(out: str) -> None:
    own = {"b": {"warmup": [0, 2, 4]}}
    study = widening([1e-4, 2e-4, 4e-4], 3, own=own)

    def surface(arm: str, fields: dict[str, Any]) -> float:
        return peak_at(a=2.9e-4, b=2e-4)(arm, fields) - 0.01 * abs(fields.get("warmup", 0) - 5)  # type: ignore[operator]

    points = play(study, out, surface)
    assert len(points["a"]) == len(points["b"]) > 9 and {tuple(p) for p in points["a"]} == {("lr",)}
    assert len({p["lr"] for p in points["a"]}) == len(points["a"]), "a trial twice"
    assert select_trials(study, out)["b"] == {"lr": 2e-4, "warmup": 4} and {"lr": 2e-4, "warmup": 8} in points["b"]


def test_a_trial_that_fails_is_worse_than_any_and_bounds_the_best(out: str) -> None:
    study = widening([1e-4, 2e-4], 4)
    rising: Surface = lambda arm, fields: None if fields["lr"] > 4e-4 else fields["lr"] * 1e3  # noqa: E731
    points = play(study, out, rising)
    assert [p["lr"] for p in points["a"]] == [1e-4, 2e-4, 4e-4, 8e-4]
    assert select_trials(study, out)["a"] == {"lr": 4e-4}


def test_bounds_are_kept_and_an_edge_on_one_is_none(out: str) -> None:
    study = widening([1e-4, 2e-4], 4, bounds={"lr": [1e-4, 3e-4]})
    points = play(study, out, peak_at(a=1e-2, b=1e-2))
    assert [p["lr"] for p in points["a"]] == [1e-4, 2e-4, 3e-4]


def test_what_has_not_ended_leads_nowhere(out: str) -> None:
    study = widening([1e-4, 2e-4], 2)
    first = planned_trials(study, out)
    for run in first[:-1]:
        leave(run.config(out), 0.5)
    assert planned_trials(study, out) == first
    leave(first[-1].config(out), status="interrupted")
    assert planned_trials(study, out) == first
    leave(first[-1].config(out), 0.5)
    assert len(planned_trials(study, out)) == len(first) + 2 * len(SEEDS)


def test_the_launcher_goes_on_until_no_trial_is_due_and_starts_none_twice(
    stub: Stub, launched: Launch, out: str
) -> None:
    study = widening([1e-4, 2e-4], 2)  # every trial ends at 0.5, so that the first of equals is at an edge once
    assert "then up to 12 runs of further trials" in "\n".join(dry_run(study, out, 1))
    _, lines = launched(study)
    trials = [path for path in stub.begun if "/tune/" in path]
    assert len(trials) == len(set(trials)) == 2 * 3 * len(SEEDS) and len(stub.begun) == len(trials) + 4
    assert lines[0] == "12 trials: 12 to do" and "18 trials: 12 finished, 6 to do" in lines
    stub.begun.clear()
    launched(study)
    assert stub.begun == []


def test_widening_is_locked_and_old_locks_have_none() -> None:
    plain, wide = widening([1e-4, 2e-4], 0), widening([1e-4, 2e-4], 2, bounds={"lr": [0, 1]})
    assert set(asked(plain)["tune"]) == {"grid", "seeds", "trials"}
    assert asked(wide)["tune"] == {**asked(plain)["tune"], "widen": 2, "bounds": {"lr": [0, 1]}}


def test_points_that_are_no_numbers_have_no_edge() -> None:
    tune = widening([1e-4, 2e-4], 1).tune
    assert tune is not None
    points = [{"decay": "linear"}, {"decay": "constant"}]
    scores = {"decaylinear": [0.1], "decayconstant": [0.2]}
    assert (numeric(points), edges(tune, points, scores), further(tune, points, scores)) == ({}, [], None)


@pytest.mark.parametrize(("values", "expected"), [([0, 2], 4), ([1, 2, 4], 8), ([3, 2], 4)])
def test_whole_numbers_stay_whole(values: list[int], expected: int) -> None:
    tune = widening([1e-4, 2e-4], 1).tune
    assert tune is not None
    points = [{"warmup": v} for v in values]
    scores = {f"warmup{v}": [float(v)] for v in values}
    found = further(tune, points, scores)
    assert found is not None and found["warmup"] == expected and type(found["warmup"]) is int
