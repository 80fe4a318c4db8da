"""The generator of runs against its own equations, and, in small, what `harness calibrate` measures with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from evals.statistics import simulation
from evals.statistics.comparison import paired
from evals.statistics.simulation import Setting, coverage
from tests.helpers import close


def within(measured: float, expected: float, sd: float, draws: int) -> bool:
    """Four standard errors: one check in 16,000 fails by chance, and with fixed seeds it fails always or never."""
    return abs(measured - expected) <= 4 * sd / math.sqrt(draws)


# --- the truth --------------------------------------------------------------------------------------------------


def test_one_item_without_spread_by_hand() -> None:
    """One item with b = 0 and runs that do not differ: the accuracy is a coin with P = logistic(mu)."""
    close(simulation.truth(math.log(3), np.zeros(1), sigma=0.0), (0.75, math.sqrt(0.75 * 0.25)))
    close(simulation.solve_mu(0.75, np.zeros(1), sigma=0.0), math.log(3))
    share = simulation.accuracies(np.full((1, 40_000), math.log(3)), np.zeros(1), np.random.default_rng(0))
    assert set(share.ravel()) == {0.0, 1.0}
    assert within(share.mean(), 0.75, math.sqrt(0.75 * 0.25), share.size)


def test_quadrature_of_a_symmetric_set_is_one_half() -> None:
    close(simulation.truth(0.0, np.array([-2.0, -0.3, 0.3, 2.0]))[0], 0.5)


@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.95])
def test_quadrature_is_what_runs_average(accuracy: float) -> None:
    b_I, runs = simulation.easiness(50), 20_000
    mu = simulation.solve_mu(accuracy, b_I)
    mean, sd = simulation.truth(mu, b_I)
    close(mean, accuracy)
    generator = np.random.default_rng(1)
    ability_TS, _ = simulation.abilities((mu, mu), 0.0, (runs, 1), generator)
    share = simulation.accuracies(ability_TS, b_I, generator)
    assert within(share.mean(), mean, sd, runs)
    squares = (share - mean) ** 2
    assert within(squares.mean(), sd**2, squares.std(), runs)


def test_answers_are_item_by_item() -> None:
    """Given its ability, a run's variance is the sum of p (1 - p) over items, less than if all items were alike."""
    b_I, runs = np.array([-3.0, 0.0, 3.0]), 40_000
    p_I = special.expit(b_I)
    right = 3 * simulation.accuracies(np.zeros((runs, 1)), b_I, np.random.default_rng(2))
    squares = (right - p_I.sum()) ** 2
    assert within(right.mean(), p_I.sum(), right.std(), runs)
    assert within(squares.mean(), (p_I * (1 - p_I)).sum(), squares.std(), runs)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    ability_TS, b_I = np.linspace(-1, 1, 12).reshape(4, 3), simulation.easiness(7)
    whole = simulation.accuracies(ability_TS, b_I, np.random.default_rng(3))
    monkeypatch.setattr(simulation, "CHUNK", 15)  # two runs at a time
    assert simulation.accuracies(ability_TS, b_I, np.random.default_rng(3)).tolist() == whole.tolist()


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_abilities_are_correlated_as_asked(correlation: float) -> None:
    a_TS, b_TS = simulation.abilities((1.0, -1.0), correlation, (4000, 5), np.random.default_rng(4))
    result = np.corrcoef(a_TS.ravel(), b_TS.ravel())[0, 1]
    assert within(result, correlation, 1 - correlation**2 + 1e-9, a_TS.size)
    for drawn_TS, mu in ((a_TS, 1.0), (b_TS, -1.0)):
        assert within(drawn_TS.mean(), mu, simulation.SIGMA, drawn_TS.size)
        assert within(drawn_TS.std(), simulation.SIGMA, simulation.SIGMA / math.sqrt(2), drawn_TS.size)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, math.nan])
def test_no_ability_has_an_accuracy_outside_0_to_1(wrong: float) -> None:
    with pytest.raises(ValueError, match="accuracy must lie"):
        simulation.solve_mu(wrong, np.zeros(3))


# --- intervals and what they cover ------------------------------------------------------------------------------


def test_intervals_are_those_of_paired() -> None:
    """On discrete runs, so that trials whose seeds all differ alike are among them: by 0, and not by 0."""
    a_TS, b_TS = Setting(items=8, seeds=3, accuracy=0.95).draw(300)
    low_T, high_T = simulation.t_intervals(a_TS - b_TS)
    result = [paired(a_S, b_S) for a_S, b_S in zip(a_TS, b_TS, strict=True)]
    assert {"", "every seed differs by the same amount"} == {pair.why for pair in result}
    assert 0.0 in {pair.sd for pair in result if not pair.why}
    for low, high, pair in zip(low_T, high_T, result, strict=True):
        interval = pair.interval()
        if interval is None:
            assert math.isnan(low) and math.isnan(high)
        else:
            close((low, high), interval)


def test_too_few_seeds_have_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        simulation.t_intervals(np.zeros((4, 2)))


def test_shares_by_hand() -> None:
    """Four trials whose intervals are [-1, 1], [0.1, 1], [-1, -0.5] and none; the true difference is 0."""
    ends_T = np.array([-1, 0.1, -1, np.nan]), np.array([1, 1, -0.5, np.nan])
    result = coverage(Setting(items=2, seeds=3, accuracy=0.5), 4, lambda d_TS: ends_T)
    assert (result.covered, result.separated, result.without) == (0.25, 0.5, 0.25)


@pytest.mark.parametrize(
    "setting",
    [Setting(200, 5, 0.5), Setting(200, 10, 0.95, correlation=0.5), Setting(1000, 5, 0.05, difference=0.02)],
    ids=str,
)
def test_the_primary_interval_covers_the_truth(setting: Setting) -> None:
    result = coverage(setting, 2000)
    assert 0.93 <= result.covered <= 0.97
    if not setting.difference:
        close(result.separated + result.covered + result.without, 1.0)


def test_more_seeds_separate_more() -> None:
    shares = [coverage(Setting(200, n, 0.95, difference=0.02), 500).separated for n in (3, 5, 10)]
    assert shares == sorted(shares) and shares[-1] > 2 * shares[0]


def test_a_setting_is_its_own_seed() -> None:
    one, again, other = (Setting(20, 3, 0.5, difference=x).draw(5) for x in (0.0, 0.0, 0.1))
    assert [x.tolist() for x in one] == [x.tolist() for x in again] != [x.tolist() for x in other]


def test_the_percentile_bootstrap_is_too_narrow() -> None:
    """About 74, 83 and 89 % on normal data."""
    d_TS = np.random.default_rng(5).standard_normal((2000, 10))
    for seeds, known in ((3, 0.74), (5, 0.83), (10, 0.89)):
        low_T, high_T = simulation.bootstrap_intervals(d_TS[:, :seeds])
        share = float(((low_T <= 0) & (high_T >= 0)).mean())
        assert abs(share - known) < 0.03


# --- real runs --------------------------------------------------------------------------------------------------


def test_dealing_uses_every_run_once_at_most() -> None:
    a_TS, b_TS = simulation.random_arms(np.arange(7), 3, 50, np.random.default_rng(6))
    both = np.concatenate([a_TS, b_TS], axis=1)
    assert a_TS.shape == b_TS.shape == (50, 3)
    assert all(len(set(row)) == 6 for row in both)
    assert set(both.ravel()) == set(range(7))
    with pytest.raises(ValueError, match="two arms of 4 need 8 runs, not 7"):
        simulation.random_arms(np.arange(7), 4, 1, np.random.default_rng(6))


def test_one_arm_is_told_from_itself_in_one_deal_of_twenty() -> None:
    """And much more often where the runs are not exchangeable and not dealt at random: where the later ones drift."""
    generator, deals = np.random.default_rng(7), 4000
    value_S = 0.9 + 0.01 * generator.standard_normal(40)
    a_TS, b_TS = simulation.random_arms(value_S, 5, deals, generator)
    separated_T = separated(a_TS, b_TS)
    assert within(separated_T.mean(), 0.05, math.sqrt(0.05 * 0.95), deals)
    few = slice(200)
    close(simulation.fraction_separated(a_TS[few], b_TS[few]), separated_T[few].mean())
    early_TS, late_TS = (np.stack([generator.permutation(half_S)[:5] for _ in range(100)])
                         for half_S in (value_S[:20], value_S[20:] + 0.02))  # fmt: skip
    close(simulation.fraction_separated(early_TS, late_TS), separated(early_TS, late_TS).mean())
    assert separated(early_TS, late_TS).mean() > 0.3


def separated(a_TS: np.ndarray, b_TS: np.ndarray) -> np.ndarray:
    """Where the interval of one pair excludes 0: what `compare_pairs` must say of it."""
    low_T, high_T = simulation.t_intervals(a_TS - b_TS)
    return (low_T > 0) | (high_T < 0)
