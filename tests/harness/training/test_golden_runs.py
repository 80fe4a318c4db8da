"""The numbers of a run as they were written down; `python -m tests.harness.golden_runs` writes them anew."""

from __future__ import annotations

import json

import pytest

from tests.harness.golden_runs import ARMS, METRICS, ROUNDS, file_of, metrics_of
from tests.helpers import close


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-6)])
def test_the_metrics_are_as_written(arm: str, dtype: str, rtol: float) -> None:
    written = json.loads(file_of(arm, dtype).read_text())
    found = metrics_of(arm, dtype)
    assert len(found) == len(written) >= ROUNDS[dtype]
    for number, (now, then) in enumerate(zip(found, written, strict=True), 1):
        assert now.keys() == then.keys()
        for name in then:
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
    found = {name: [r[name] for r in rounds if name in r] for name in METRICS}
    for name, values in found.items():
        assert len(set(values)) >= min(4, len(values)), name
    assert min(found["grad_norm"]) > 1e-3 and max(map(abs, found["loss"])) > 1e-3
    assert all(1 < length < 8 for length in found["completions/mean_length"])
    assert not found["kl"] or max(found["kl"]) > 1e-3
