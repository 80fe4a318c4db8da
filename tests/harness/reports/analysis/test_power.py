"""What a study can decide before it runs: against the study of its own records, a guess, and simulated studies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from evals.statistics.comparison import compare_pairs, paired, power_at
from harness.reports.analysis.power import Spread, asked_pairs, prospects, seeds_needed
from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from harness.reports.render.power import power_sentence, power_table
from harness.studies.study import Study, parse
from tests.harness.record_factory import write_study
from tests.helpers import close

VALUES = {
    "a": {s: [0.3, 0.5, y] for s, y in enumerate((0.9, 0.8, 0.85))},
    "b": {s: [0.3, 0.4, y] for s, y in enumerate((0.6, 0.7, 0.5))},
}


def study(**changes: Any) -> Study:
    table: dict[str, Any] = {"arms": {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "ppo"}}}, "seeds": 5}
    return parse("s", {**table, **changes})


def test_power_is_that_of_simulated_studies() -> None:
    """Five seeds, an SD of 1 point, a true difference of 2: how often it is told from 0, at two levels."""
    generator, trials = np.random.default_rng(0), 1500
    for level in (0.95, 0.995):
        seen = 0
        for _ in range(trials):
            pair = paired(0.02 + 0.01 * generator.standard_normal(5), np.zeros(5))
            seen += compare_pairs([pair], level=level)[0].low > 0
        expected = power_at(0.02 / (0.01 / math.sqrt(5)), 4, level)
        assert abs(seen / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


@pytest.mark.parametrize("sd", [0.005, 0.01, 0.03])
def test_the_seeds_that_are_needed_are_the_fewest(sd: float) -> None:
    needed = seeds_needed(Spread(sd, 0.0, 0, ""), 0.02, 0.95)
    assert needed is not None and needed >= 3

    def power(n: int) -> float:
        nc = 0.02 / (sd / math.sqrt(n))
        critical = stats.t.ppf(0.975, n - 1)
        return float(stats.nct.sf(critical, n - 1, nc) + stats.nct.cdf(-critical, n - 1, nc))

    assert power(needed) >= 0.8 - 1e-3 and (needed == 3 or power(needed - 1) < 0.8 + 1e-3)


def test_no_number_of_seeds_makes_up_for_too_few_problems() -> None:
    """The choice of problems alone has an SD of 1 point: too much for 2 points at 99.9 %, however many seeds."""
    assert seeds_needed(Spread(0.01, 0.01**2, 100, ""), 0.02, 0.999) is None
    assert seeds_needed(Spread(0.01, 0.0, 0, ""), 0.02, 0.999) is not None


def test_a_study_with_records_is_measured_by_them(tmp_path: Path) -> None:
    """The detectable difference is the report's own."""
    table: dict[str, Any] = {"arms": {"a": {"lr": 1e-4}, "b": {"lr": 2e-4}}, "seeds": 3}
    folder = write_study(tmp_path / "s", VALUES, **table)
    (row,) = prospects(parse("s", table), tmp_path)
    comparison = summarize(load_results(folder)).blocks[0].pairs[0].comparison
    assert row.spread is not None and row.spread.basis == "3 seeds of this study"
    close(row.detectable, comparison.detectable, rtol=1e-6)
    assert row.needed is not None and row.needed > 3 and 0 < row.power < 0.8


def test_a_study_of_which_nothing_has_run(tmp_path: Path) -> None:
    nothing = prospects(study(), tmp_path)
    assert [r.spread for r in nothing] == [None] and "unknown" in power_sentence(study(), nothing)
    (guessed,) = prospects(study(), tmp_path, guess=0.01)
    close(guessed.power, power_at(0.02 / (0.01 / math.sqrt(5)), 4))
    assert "1 of 1 contrasts" in power_sentence(study(), [guessed])
    assert power_table(study(), [guessed]).rows[0][:4] == ["a", "b", "1.0", "a guess"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_for_an_interval_are_told_how_many_it_takes(seeds: int, tmp_path: Path) -> None:
    arms = {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "ppo"}}}
    few, enough = (prospects(parse("s", {"arms": arms, "seeds": n}), tmp_path, 0.03)[0] for n in (seeds, 5))
    assert few.power == 0.0 and math.isnan(few.detectable) and few.needed == enough.needed is not None
    assert f"{few.needed} seeds for 1 more" in power_sentence(parse("s", {"arms": arms, "seeds": seeds}), [few])


def test_what_is_asked_is_counted_once() -> None:
    claim = {"id": "H", "says": "", "arms": ["b", "a"]}
    gain = {"id": "G", "says": "", "arms": ["a"], "expect": "gain"}
    base = {"eval_fractions": [0, 1]}
    assert asked_pairs(study(hypotheses=[claim, gain], base=base)) == [("a", "b")]
    more = {"arms": {x: {"algo": {"name": "grpo"}, "lr": 1e-4 * (i + 1)} for i, x in enumerate("abc")}}
    assert asked_pairs(study(**more, report={"family": [["a", "b"]]})) == [("a", "b")]
    assert len(asked_pairs(study(**more))) == 3
