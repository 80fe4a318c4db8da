"""The numbers of a run as they were written down; `python -m tests.harness.golden` writes them anew."""

from __future__ import annotations

import json

import pytest

from tests.harness.golden import ARMS, METRICS, ROUNDS, file_of, metrics_of
from tests.helpers import close


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-6)])
def test_the_metrics_are_as_written(arm: str, dtype: str, rtol: float) -> None:
    written = json.loads(file_of(arm, dtype).read_text())
    found = metrics_of(arm, dtype)
    assert len(found) == len(written) == ROUNDS[dtype]
    for number, (now, then) in enumerate(zip(found, written, strict=True), 1):
        assert now.keys() == then.keys() == set(METRICS)
        for name in METRICS:
            # round 1 starts at the reference, where loss and KL are rounding around 0
            atol = {"float32": 1e-6, "float64": 1e-12}[dtype]
            try:
                close(now[name], then[name], rtol=rtol, atol=atol)
            except AssertionError as error:
                raise AssertionError(f"round {number}, {name}: {error}") from None


@pytest.mark.parametrize("arm", ARMS)
def test_what_was_written_can_tell(arm: str) -> None:
    """Every metric moves from round to round, and no number is a corner case."""
    rounds = json.loads(file_of(arm, "float64").read_text())
    for name in METRICS:
        assert len({r[name] for r in rounds}) >= 5, name
    assert all(r["grad_norm"] > 1e-3 and 1 < r["completions/mean_length"] < 8 for r in rounds)
    assert max(abs(r["loss"]) for r in rounds) > 1e-3 and max(r["kl"] for r in rounds) > 1e-3
