"""Which baselines leave the gradient's expectation alone: a bandit, enumerated.

Two prompts with two completions each, an action of two: a completion is right with probability p of its prompt.  All 16
outcomes are gone through by their probability.  A baseline b is unbiased where E sum_i b_i grad log pi(a_i) is 0: it
takes
nothing from, and adds nothing to, what the reward alone teaches.  Grouping keys that depend on the completion take
signal away, and are refused, or blended.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from algos import Rollouts, Schedule
from algos.grouping import catalog
from algos.grpo import GRPO
from tests.algos.builders import booleans, f64, integers, simple_round
from tests.helpers import close

P = (0.3, 0.6)
PROMPTS = [0, 0, 1, 1]


def a_round(rewards: list[float], lengths: list[int]) -> Rollouts:
    mask = [[1] * n + [0] * (3 - n) for n in lengths]
    r = simple_round(rewards, PROMPTS, mask)
    known = {
        "problem": integers([11, 11, 22, 22]),
        "probe_reward": f64([0.0, 0.0, 1.0, 1.0]),
        "probe_count": f64([1.0] * 4),
        "difficulty": f64([3.0, 3.0, 4.0, 4.0]),
        "features": f64([[3.0], [3.0], [4.0], [4.0]]),
        "source": integers([5, 5, 6, 6]),
        "embedding": f64([[0.0, 1.0]] * 2 + [[1.0, 0.0]] * 2),
        "text": f64([[0.0, 1.0]] * 2 + [[1.0, 0.0]] * 2),
    }
    return replace(r, metadata=known)


def expected_pull(advantages_of: Any, with_reward: bool) -> list[float]:
    """E sum_i x_i d log pi(a_i)/d p of each prompt, x the baseline's part of the advantage or all of it."""
    pull = [0.0, 0.0]
    for actions in itertools.product((0, 1), repeat=4):
        chance, rewards = 1.0, [float(a) for a in actions]
        for a, prompt in zip(actions, PROMPTS, strict=True):
            chance *= P[prompt] if a else 1 - P[prompt]
        r = a_round(rewards, [1 + a for a in actions])  # a right completion is the longer one
        x_N = advantages_of(r) if with_reward else r.reward_N - advantages_of(r)
        for i, (a, prompt) in enumerate(zip(actions, PROMPTS, strict=True)):
            pull[prompt] += chance * float(x_N[i]) * (1 / P[prompt] if a else -1 / (1 - P[prompt]))
    return pull


def plain(baseline: str, **fields: Any) -> Any:
    algo = GRPO(baseline=baseline, normalize="none", kl_coef=0.0, **fields)
    past = a_round([1.0, 0.0, 0.0, 0.0], [1, 2, 1, 1])
    algo = algo.adapt(past) if fields.pop("past", True) else algo

    def advantages(r: Rollouts) -> Tensor:
        return algo.credit(r).advantage_NT[:, 0]

    return advantages


BIASED = sorted(name for name, cls in catalog.BASELINES.items() if not cls.unbiased)
UNBIASED = sorted(set(catalog.BASELINES) - set(BIASED))


@pytest.mark.parametrize("name", UNBIASED)
def test_an_unbiased_baseline_takes_nothing_away(name: str) -> None:
    close(expected_pull(plain(name), with_reward=False), [0.0, 0.0])
    close(expected_pull(plain(name), with_reward=True), [2.0, 2.0])  # E r per completion is p: its slope is 1, twice


# In groups of two multiscale is the sign of the difference, which happens to pull as the reward does.
@pytest.mark.parametrize("name", sorted(set(BIASED) - {"multiscale"}))
def test_a_biased_baseline_does_and_says_so(name: str) -> None:
    pull = expected_pull(plain(name), with_reward=False)
    assert max(map(abs, pull)) > 1e-3, "it takes nothing away: why is it called biased?"


def test_the_groups_mean_takes_just_one_gth() -> None:
    close(expected_pull(plain("group"), with_reward=True), [1.0, 1.0])  # (G-1)/G of 2


@pytest.mark.parametrize(
    "key", ["prompt", "source", "difficulty(bins=2)", "cluster(k=2)", "cluster(of=text, k=2)", "random(bins=2)"]
)
def test_a_safe_key_keeps_leave_one_out_unbiased(key: str) -> None:
    assert catalog.group_key(key).safe
    close(expected_pull(plain("leave_one_out", group_by=key), with_reward=True), [2.0, 2.0])


@pytest.mark.parametrize("key", ["reward(bins=2)", "length(bins=2)"])
def test_an_unsafe_key_is_refused_and_blended_it_keeps_some_of_the_signal(key: str) -> None:
    assert not catalog.group_key(key).safe
    with pytest.raises(ValueError, match="depends on the completion that it corrects.*group_blend"):
        GRPO(group_by=key)
    with pytest.raises(ValueError, match="depends on the completion"):
        GRPO(baseline="hierarchical", group_by=key, group_blend=0.5)
    lost = [2 - x for x in expected_pull(plain("leave_one_out", group_by=key, group_blend=0.999), with_reward=True)]
    half = [2 - x for x in expected_pull(plain("leave_one_out", group_by=key, group_blend=0.5), with_reward=True)]
    assert min(lost) > 0.1, "the strata take signal away"
    close(half, [x * 0.5 / 0.999 for x in lost])  # a blend keeps its share


def test_strata_by_what_decides_take_all_the_signal() -> None:
    """Length is 1 where wrong and 2 where right: inside a stratum all rewards are equal, and nothing is learned."""
    close(
        expected_pull(plain("leave_one_out", group_by="length(bins=2)", group_blend=0.999), with_reward=True),
        [0.002] * 2,
    )


# --- bad input -------------------------------------------------------------------------------------------------

WRONG = {
    "no such baseline": ({"baseline": "grup"}, "unknown 'grup'; valid: none, group"),
    "no such option": ({"baseline": "history(rh=1)"}, "history has no option 'rh'; its options: rho, prior, offline"),
    "an option out of range": ({"baseline": "history(rho=2)"}, "rho must lie in 0..1, not 2"),
    "no number": ({"baseline": "window(rounds=x)"}, "must be a number"),
    "no such key": ({"group_by": "clusters"}, "unknown 'clusters'; valid: prompt, source"),
    "one cluster for all": ({"group_by": "cluster(k=1)"}, "one cluster for all"),
    "no such space": ({"group_by": "cluster(of=meaning)"}, "cluster: of must be states or text, not meaning"),
    "no such boundaries": ({"group_by": "difficulty(boundaries=x)"}, "boundaries must be moving or frozen, not x"),
    "one bin for all": ({"group_by": "difficulty(bins=1)"}, "one group for all"),
    "a key that means nothing": (
        {"baseline": "history", "group_by": "source"},
        "means nothing to baseline=history; valid",
    ),
    "no file": ({"baseline": "nowhere.py:f"}, "algo.baseline: no file nowhere.py"),
    "a blend beyond 1": ({"group_blend": 1.5}, "algo.group_blend: must lie in 0..1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_choices_are_one_line(case: str) -> None:
    fields, message = WRONG[case]
    with pytest.raises(ValueError) as error:
        GRPO(**fields).credit(a_round([1, 0, 0, 1], [1] * 4))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_a_task_does_not_give_is_named() -> None:
    bare = replace(a_round([1, 0, 0, 1], [1] * 4), metadata={"problem": integers([1, 1, 2, 2])})
    for fields, what in (({"group_by": "source"}, "source"), ({"group_by": "cluster(k=2)"}, "embedding")):
        with pytest.raises(ValueError, match=f"algo.group_by: it reads a prompt's '{what}'.*it gives: problem"):
            GRPO(**fields).credit(bare)
    with pytest.raises(ValueError, match="algo.baseline: it reads a prompt's 'probe_reward'"):
        GRPO(baseline="greedy").credit(bare)


def test_more_clusters_than_prompts() -> None:
    """Refused before the run; a last round that the budget cuts short has as many clusters as it has prompts."""
    algo = GRPO(baseline="leave_one_out", group_by="cluster(k=3)", normalize="none", kl_coef=0.0)
    with pytest.raises(ValueError, match="algo.group_by: cluster: 3 clusters, and a round has 2 prompts"):
        algo.schedule(Schedule(prompts=2, group_size=4))
    assert algo.schedule(Schedule(prompts=3, group_size=4)).prompts == 3
    close(algo.credit(a_round([1, 0, 0, 1], [1] * 4)).advantage_NT[:, 0], [1.0, -1.0, -1.0, 1.0])


def test_features_of_another_width_than_it_was_fitted_on() -> None:
    algo = GRPO(baseline="predictor").adapt(a_round([1, 0, 0, 1], [1] * 4))
    other = a_round([1, 0, 0, 1], [1] * 4)
    other = replace(other, metadata={**other.metadata, "features": f64([[1.0, 2.0]] * 4)})
    with pytest.raises(ValueError, match="predictor: 2 features per prompt, and it was fitted on 1"):
        algo.credit(other)


# --- a file of one's own ---------------------------------------------------------------------------------------

OWN = """
import torch
from algos.grouping.base import Baseline

def half(rollouts):
    return torch.full_like(rollouts.reward_N, 0.5)

def by_difficulty(rollouts):
    return rollouts.metadata["difficulty"]

def short(rollouts):
    return [0.5]

class Last(Baseline):
    def values(self, reward_N, valid_N, key_N, r, memory):
        return torch.full_like(reward_N, memory.get("last", 0.0))
    def learn(self, r, memory):
        return {"last": float(r.reward_N.mean())}
"""


def test_a_baseline_and_a_key_of_ones_own_are_one_file(tmp_path: Any) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    r = a_round([1, 0, 0, 1], [1] * 4)
    fields = {"normalize": "none", "kl_coef": 0.0}
    close(GRPO(baseline=f"{file}:half", **fields).credit(r).advantage_NT[:, 0], [0.5, -0.5, -0.5, 0.5])
    algo = GRPO(baseline="leave_one_out", group_by=f"{file}:by_difficulty", **fields)
    close(algo.credit(r).advantage_NT[:, 0], [1.0, -1.0, -1.0, 1.0])
    last = GRPO(baseline=f"{file}:Last", **fields)
    close(last.credit(r).advantage_NT[:, 0], [1.0, 0.0, 0.0, 1.0])
    close(last.adapt(r).credit(r).advantage_NT[:, 0], [0.5, -0.5, -0.5, 0.5])
    for name, message in (("short", "must return 4 finite numbers"), ("nothing", "has no function")):
        with pytest.raises(ValueError, match=message):
            GRPO(baseline=f"{file}:{name}").credit(r)


def test_what_was_learned_is_plain_json_and_goes_on_in_the_same_bits() -> None:
    import json

    rounds = [a_round([float(x) for x in f"{i:04b}"], [1] * 4) for i in (9, 5, 14, 1)]
    for name in catalog.BASELINES:
        algo = GRPO(baseline=name, normalize="none", kl_coef=0.0)
        for r in rounds[:2]:
            algo = algo.adapt(r)
        resumed = GRPO(baseline=name, normalize="none", kl_coef=0.0).with_state(
            json.loads(json.dumps(dict(algo.state())))
        )
        for r in rounds[2:]:
            a, b = (x.credit(r).advantage_NT for x in (algo, resumed))
            assert bool((a == b).all()), name
            algo, resumed = algo.adapt(r), resumed.adapt(r)
        assert algo.state() == resumed.state()


ONE_VALID = booleans([1, 0, 1, 1])


@pytest.mark.parametrize("name", catalog.BASELINES)
def test_degenerate_rounds(name: str) -> None:
    """A group of one, none, all equal: finite, and equal rewards of a group-relative baseline give nothing."""
    algo = GRPO(baseline=name, normalize="none", kl_coef=0.0)
    for valid_N in (ONE_VALID, booleans([0] * 4), booleans([1] * 4)):
        r = replace(a_round([1, 1, 1, 1], [1] * 4), valid_N=valid_N)
        advantage_NT = algo.credit(r).advantage_NT
        assert advantage_NT.isfinite().all() and not advantage_NT[~valid_N].any()
        assert algo.adapt(r).credit(r).advantage_NT.isfinite().all()
        if catalog.BASELINES[name].per_group:
            assert not advantage_NT.any()
