"""What is compared in a pipeline, on made-up outcomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evals.statistics.comparison import compare_pairs, crossed, paired
from harness.pipelines import loading
from harness.pipelines.contrasts import Contrast, contrasts
from harness.pipelines.report import headline

STAGES = [
    {"name": "cold", "kind": "sft", "share": 0.5},
    {"name": "draw", "kind": "rejection_sample", "model": "stage:cold", "share": 0.25},
    {"name": "last", "kind": "rl", "model": "stage:cold", "share": 0.25},
]
PIPELINE = loading.parse(
    "p", {"budget": "flops=1e9", "seeds": 4, "stages": STAGES, "controls": {"alone": {"kind": "rl"}}}
)
RATES = {("cold", 0.0): 0.2, ("cold", 1.0): 0.6, ("alone", 1.0): 0.9}


def results(kept: bool) -> Any:
    rng = np.random.default_rng(0)
    hits = {key: (rng.random((4, 200)) < rate).astype(float) for key, rate in RATES.items()}
    hits["last", 1.0] = hits["cold", 1.0][[1, 0, 3, 2], ::-1]  # as good, and right elsewhere
    return SimpleNamespace(
        pipeline=PIPELINE,
        trained=[PIPELINE.stage("cold"), PIPELINE.stage("last")],
        endpoint="sums",
        seeds=[0, 1, 2, 3],
        hits=hits,
        hit_SI=lambda stage, _, at=1.0: hits[stage, at] if kept else np.zeros((0, 0)),
        value_S=lambda stage, _, at=1.0: hits[stage, at].mean(1),
    )


@pytest.mark.parametrize("kept", [True, False])
def test_each_stage_with_the_one_before_it_and_the_end_with_each_control(kept: bool) -> None:
    r = results(kept)
    found = contrasts(r)
    keys = [(("cold", 1.0), ("cold", 0.0)), (("last", 1.0), ("cold", 1.0)), (("last", 1.0), ("alone", 1.0))]
    test = crossed if kept else (lambda a, b: paired(a.mean(1), b.mean(1)))
    by_hand = compare_pairs([test(r.hits[a], r.hits[b]) for a, b in keys], 0.02)
    assert [c.comparison for c in found] == by_hand
    assert [(c.a, c.b, c.brought) for c in found] == [
        ("cold", "start", True), ("last", "cold", True), ("last", "alone", False),
    ]  # fmt: skip
    assert [c.verdict for c in found] == ["better", "undecided", "worse"]
    told = headline(r, found)
    assert told.startswith("At flops=1e9, 4 seeds: p ends at 5") and "worse than alone (-" in told


def test_an_equal_end_is_named_as_such() -> None:
    one = np.ones((4, 200))
    (same,) = compare_pairs([crossed(one, one)], 0.02)
    assert Contrast("a", "b", False, same).verdict == "identical"
