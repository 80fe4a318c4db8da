"""As many optimiser steps for every arm: predicted from records, chosen, and warned of where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.experiment import resolve_experiment
from harness.studies.ad_hoc import study_from_flags, tuned_study
from harness.studies.fairness.equal_updates import (
    Steps,
    matched_field,
    predicted_steps,
    updates_lines,
    with_equal_updates,
)
from harness.studies.storage import store_study
from harness.studies.study import Study, parse
from tests.harness.record_factory import change
from tests.harness.studies.test_launcher import leave, out, refused
from tests.helpers import close

__all__ = ["out"]
ALGOS = ("grpo", "rft", "sft", "ppo")


def study_of(budget: str = "generated_tokens=64000", **arms: Any) -> Study:
    arms = arms or {"grpo": {"algo": "grpo"}, "rft": {"algo": "rft"}, "ppo": {"algo": {"name": "ppo", "epochs": 2}}}
    base = {"model": "nano", "budget": budget, "prompts": 32, "group_size": 16}
    return parse("s", {"arms": arms, "seeds": 3, "base": base})


def recorded(out: str, algo: str, **spend: float) -> None:
    """A finished run of that algorithm elsewhere, with what it spent: 20 tokens a completion unless said."""
    study = parse("other", {"arms": {algo: {"algo": algo}}, "seeds": 1, "base": {"model": "nano"}})
    (run,) = study.runs()
    spent = {"completions": 1000, "generated_tokens": 20_000, "updates": 10, **spend}
    change(leave(run.config(out)), lambda r: r["spend"].update(spent))


def test_a_live_arm_takes_rounds_times_epochs_times_minibatches_and_an_offline_one_passes_over_what_is_kept(
    out: str,
) -> None:
    recorded(out, "grpo")
    recorded(out, "rft", completions=960, generated_tokens=19_200, updates=18)  # 18 of 3 epochs: 6 x 32 groups kept
    steps = predicted_steps(study_of(), out)
    # 64000 tokens are 3200 completions, 6.25 rounds of 512; RFT keeps 192 rows' groups of 960: 0.2 a completion
    assert steps["grpo"] and steps["rft"] and steps["ppo"]
    close([steps["grpo"].updates, steps["ppo"].updates], [6.25, 12.5])
    close(steps["rft"].updates, 3 * 3200 * 0.2 / 32)
    assert (steps["grpo"].field, steps["rft"].field) == ("algo.minibatches", "algo.epochs")


def test_what_nothing_says_is_not_guessed(out: str) -> None:
    assert set(predicted_steps(study_of(), out).values()) == {None} and updates_lines(study_of(), out) == []
    recorded(out, "grpo")
    assert predicted_steps(study_of(), out)["rft"] is None, "what rejection sampling keeps is not GRPO's to say"
    assert "arm 'rft'" in refused(lambda: with_equal_updates(study_of(), out, 50))


def test_the_study_with_as_many_updates_is_another_one_and_stays_what_it_was(out: str) -> None:
    recorded(out, "grpo")
    recorded(out, "rft", completions=960, generated_tokens=19_200, updates=18)
    study = with_equal_updates(study_of(), out, 60)
    assert study.name == "s-updates60"
    assert [study.arms[a]["algo"] for a in ("grpo", "ppo")] == [
        {"name": "grpo", "minibatches": 10},
        {"name": "ppo", "epochs": 2, "minibatches": 5},
    ]
    assert study.arms["rft"]["algo"] == {"name": "rft", "epochs": 3}
    taken = [x.updates for x in predicted_steps(study, out).values() if x]
    assert max(taken) < 1.1 * min(taken) and "differ" not in str(updates_lines(study, out))
    assert "grpo 6, rft 60" in updates_lines(study_of(), out)[0] and "differ" in updates_lines(study_of(), out)[1]
    store_study(Path(out, study.name), study)
    recorded(out, "grpo", generated_tokens=40_000)  # what completions cost is told otherwise later
    assert with_equal_updates(study_of(), out, 60).arms == study.arms


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (Steps(6.25, "algo.minibatches", 1, most=32), {"algo.minibatches": 10}),
        (Steps(6.25, "algo.minibatches", 1, most=8), {"algo.minibatches": 8}),
        (Steps(120.0, "prompts", 32, True), {"prompts": 64}),
        (Steps(1000.0, "algo.epochs", 3), {"algo.epochs": 1}),
    ],
)
def test_the_field_that_comes_nearest(steps: Steps, expected: dict[str, int]) -> None:
    assert matched_field(steps, 60) == expected


def test_fewer_than_one_update_is_refused(out: str) -> None:
    assert refused(lambda: with_equal_updates(study_of(), out, 0)).startswith("--updates: ")


# ---------------------------------------------------------------- compare --tune


def flags_study(algos: str = "grpo,ppo", **base: Any) -> Study:
    return study_from_flags(algos, "3", {"model": "nano", "budget": "completions=64", **base}, [], None, None)


def test_tune_gives_every_arm_its_rates_and_a_value_model_its_own() -> None:
    study = tuned_study(flags_study("grpo,ppo,rft"), [])
    assert study.tune is not None and study.tune.seeds == [10_000, 10_001, 10_002] and study.tune.widen == 3
    lr = study.runs()[0].config("out").lr
    close(study.tune.grid["lr"], [lr / 2, lr, 2 * lr])
    assert set(study.tune.own) == {"ppo"} and len(study.tune.points("ppo")) == 5
    rates = {run.config("out").algo.get("value_lr") for run in study.trials() if run.arm == "ppo"}
    assert None not in rates and len(rates) == 3
    assert all(resolve_experiment(run.config("out")) for run in study.trials())


def test_tune_with_grids_of_ones_own() -> None:
    study = tuned_study(flags_study(), ["lr=1e-4,2e-4", "ppo.value_lr=1e-3,2e-3", "warmup=0,5"])
    assert study.tune is not None
    assert study.tune.grid == {"lr": [1e-4, 2e-4], "warmup": [0, 5]}
    assert study.tune.own == {"ppo": {"algo.value_lr": [1e-3, 2e-3]}}


@pytest.mark.parametrize(("word", "fragment"), [("lr", "field=value"), ("lr=-1,1", "lr: "), ("speed=1,2", "speed")])
def test_a_bad_grid_is_named(word: str, fragment: str) -> None:
    assert fragment in refused(lambda: tuned_study(flags_study(), [word]))
