"""DPO and SFT: which completions make a pair, the loss by hand, and that a pair is never parted."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import replace
from typing import Any

import pytest
import torch

from algos import Algorithm, Batch, PolicyOutputs, Rollouts, Schedule, Totals
from algos.dpo import DPO
from algos.ops import select
from algos.rft import RFT
from algos.sft import SFT
from tests.algos.builders import (
    HORIZON,
    batch_of,
    booleans,
    check_shares,
    f64,
    gradient_of,
    integers,
    loss_of,
    moved,
    random_round,
    simple_round,
    take,
)
from tests.helpers import close

BASE = Schedule(prompts=4, group_size=8, rounds=7)
AVERAGES = ["sum", "sequence"]


def judged_round(step: float = 0.5) -> tuple[Rollouts, PolicyOutputs]:
    """12 completions in three groups: two right and two wrong; three right and one wrong; all wrong."""
    rewards = [1, 0, 0, 1, 1, 1, 0, 1] + [0] * 4
    keys = [0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 1]
    rollouts = replace(random_round(), reward_N=f64(rewards), solution_id_N=integers(keys))
    return rollouts, moved(rollouts, step)


# --- pairs ---------------------------------------------------------------------------------------------------

# Two prompts, taking turns.  Prompt 0 has rows 0, 2, 4, ..., prompt 1 the others.
RIGHT = [1, 0, 0, 1, 0, 1, 1, 0, 0, 1]
GROUPS = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
KEYS = [5, 5, 5, 6, 5, 6, 5, 9, 8, 7]

PAIRS: list[tuple[dict[str, Any], list[int]]] = [
    # Prompt 0: right are 0 and 6, wrong 2, 4 and 8.  Prompt 1: right are 3, 5 and 9, wrong 1 and 7.
    ({}, [0, 2, 0, 2, 1, 3, 1, 3, -1, -1]),
    ({"pairs": 1}, [0, 1, 0, 1, -1, -1, -1, -1, -1, -1]),
    ({"pairs": 9}, [0, 2, 0, 2, 1, 3, 1, 3, -1, -1]),
    ({"distinct": True}, [0, 1, 0, 1, -1, -1, -1, 2, -1, 2]),  # 6 repeats 0, and 5 repeats 3
    ({"distinct": True, "pairs": 1}, [0, 1, 0, 1, -1, -1, -1, -1, -1, -1]),
]


@pytest.mark.parametrize(("settings", "wanted"), PAIRS, ids=str)
def test_the_pairs_by_hand(settings: dict[str, Any], wanted: list[int]) -> None:
    rollouts = replace(simple_round([*map(float, RIGHT)], GROUPS), solution_id_N=integers(KEYS))
    credit = DPO(**settings).credit(rollouts)
    assert credit.pair_N is not None and credit.pair_N.tolist() == wanted
    assert credit.keep_N.tolist() == [unit >= 0 for unit in wanted]
    signs = [0 if unit < 0 else 1 if right else -1 for unit, right in zip(wanted, RIGHT, strict=True)]
    assert credit.advantage_NT[:, 0].tolist() == signs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_a_pair_is_one_of_each_kind_and_of_one_group(seed: int, limit: int | None) -> None:
    rng = torch.Generator().manual_seed(seed)
    one_N, group_N = torch.rand(40, generator=rng) < 0.4, torch.randint(0, 6, (40,), generator=rng)
    other_N = ~one_N & (torch.rand(40, generator=rng) < 0.7)
    pair_N = select.pairs(one_N, other_N, group_N, limit)
    assert sorted(pair_N[pair_N >= 0].unique().tolist()) == list(range(int(pair_N.max()) + 1))
    for number in range(int(pair_N.max()) + 1):
        rows = (pair_N == number).nonzero()[:, 0]
        assert len(rows) == 2 and len(group_N[rows].unique()) == 1
        assert one_N[rows].sum() == other_N[rows].sum() == 1
    for group in range(6):
        here = group_N == group
        many = min(int((one_N & here).sum()), int((other_N & here).sum()), 99 if limit is None else limit)
        assert int((pair_N[here] >= 0).sum()) == 2 * many


def test_a_row_the_verifier_lost_is_in_no_pair() -> None:
    valid_N = booleans([0, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    rewards = [math.nan, *map(float, RIGHT[1:])]
    rollouts = replace(simple_round(rewards, GROUPS), valid_N=valid_N)
    credit = DPO().credit(rollouts)
    assert credit.pair_N is not None
    assert credit.pair_N.tolist() == [-1, 1, 0, 1, -1, 2, 0, 2, -1, -1]  # 6 takes the place of 0, with 2


@pytest.mark.parametrize(("correct_at", "wanted"), [(1.0, [-1, -1, 1, 1]), (0.5, [-1, 1, 0, 0]), (2.0, [-1, 0, 0, 1])])
def test_correct_is_what_reaches_the_mark(correct_at: float, wanted: list[int]) -> None:
    """And the rest is wrong."""
    credit = DPO(reward_threshold=correct_at).credit(simple_round([0.25, 0.5, 1.0, 3.0], [0] * 4))
    assert credit.advantage_NT[:, 0].tolist() == wanted


# --- the loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
def test_the_loss_by_hand(average: str) -> None:
    """Two pairs; the first right completion has a tool's token in its middle."""
    mask = [[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]]
    rollouts = simple_round([1, 0, 0, 1, 1], [0] * 5, mask)
    stored = [[-1, -9, -2], [-1, -9, -9], [-2, -2, -9], [-1, -1, -1], [-5, -9, -9]]
    now = [[-0.5, -9, -1], [-2, -9, -9], [-2, -1, -9], [-1, -2, -1], [-1, -9, -9]]
    rollouts = replace(rollouts, logp_NT=f64(stored))
    fresh = PolicyOutputs(logp_NT=f64(now), entropy_NT=torch.ones(5, 3).double())
    one, other = (1.5 - -1, -1 - 1) if average == "sum" else (1.5 / 2 - -1, -1 / 3 - 1 / 2)
    loss, metrics = loss_of(DPO(loss_aggregation=average, beta=0.5), rollouts, fresh)
    close(loss, (math.log(1 + math.exp(-0.5 * one)) + math.log(1 + math.exp(-0.5 * other))) / 2)
    close(metrics["rewards/margins"], 0.5 * (one + other) / 2)
    close(metrics["rewards/accuracies"], 0.5)
    close(metrics["entropy"], 1)
    assert set(metrics) == {"rewards/margins", "rewards/accuracies", "entropy"}


def test_at_the_start_model_every_pair_counts_alike() -> None:
    """m = 0: the loss is log 2, and the gradient that of beta/2 (log pi(o+) - log pi(o-)), a pair's mean."""
    rollouts, fresh = judged_round(step=0)
    loss, metrics = loss_of(DPO(), rollouts, fresh)
    close(loss, math.log(2))
    assert metrics["rewards/margins"] == 0
    close(gradient_of(DPO(), rollouts, fresh), -0.1 / 2 / 3 * DPO().credit(rollouts).advantage_NT)


def test_a_pair_that_is_far_apart_pulls_no_more() -> None:
    rollouts, fresh = judged_round(step=0)
    credit = DPO().credit(rollouts)
    apart = PolicyOutputs((rollouts.logp_NT + 500 * credit.advantage_NT).requires_grad_(), fresh.entropy_NT)
    slope_NT = gradient_of(DPO(), rollouts, apart)
    assert slope_NT.isfinite().all() and slope_NT.abs().max() < 1e-9
    wrong = PolicyOutputs((rollouts.logp_NT - 500 * credit.advantage_NT).requires_grad_(), fresh.entropy_NT)
    assert gradient_of(DPO(), rollouts, wrong).abs().max() > 0.03 and loss_of(DPO(), rollouts, wrong)[0].isfinite()


@pytest.mark.parametrize("average", AVERAGES)
def test_micro_batches_of_whole_pairs_change_no_gradient_and_no_metric(average: str) -> None:
    rollouts, fresh = judged_round()
    algo = DPO(loss_aggregation=average)
    whole, metrics = loss_of(algo, rollouts, fresh)
    slope = torch.autograd.grad(whole, fresh.logp_NT)[0]
    credit = algo.credit(rollouts)
    assert credit.pair_N is not None
    totals = batch_of(rollouts, credit).totals
    for units in ([0, 1, 2], [[0], [1], [2]], [[2, 0], [1]]):
        loss, sums = torch.zeros(()), dict.fromkeys(metrics, 0.0)
        for unit in units:
            part = torch.isin(credit.pair_N, torch.tensor(unit)).nonzero()[:, 0]
            portion, shares = algo.loss(Batch(rollouts.take(part), credit.take(part), totals), take(fresh, part))
            loss = loss + portion
            sums = {name: sums[name] + shares[name].item() for name in sums}
        close(loss, whole)
        close(torch.autograd.grad(loss, fresh.logp_NT, retain_graph=True)[0], slope)
        for name, value in metrics.items():
            close(sums[name], value)


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_masked_positions_change_nothing(junk: float) -> None:
    rollouts, fresh = judged_round()
    mask_NT = rollouts.completion_mask_NT
    log_NT, entropy_NT = (torch.where(mask_NT, x.detach(), junk) for x in (fresh.logp_NT, fresh.entropy_NT))
    dirty = PolicyOutputs(logp_NT=log_NT.requires_grad_(), entropy_NT=entropy_NT)
    dirty_rollouts = replace(rollouts, logp_NT=torch.where(mask_NT, rollouts.logp_NT, junk))
    for algo in (DPO(), DPO(loss_aggregation="sequence"), SFT()):
        close(loss_of(algo, dirty_rollouts, dirty)[0], loss_of(algo, rollouts, fresh)[0])
        close(gradient_of(algo, dirty_rollouts, dirty), gradient_of(algo, rollouts, fresh))


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_where_all_are_alike_there_is_no_pair(reward: float) -> None:
    rollouts, fresh = judged_round()
    rollouts = replace(rollouts, reward_N=torch.full((12,), reward).double())
    assert not DPO().credit(rollouts).keep_N.any()
    loss, metrics = loss_of(DPO(), rollouts, fresh)
    assert loss == 0 and (torch.autograd.grad(loss, fresh.logp_NT)[0] == 0).all()
    assert all(x == 0 for x in metrics.values())


def test_an_update_without_pairs_is_no_error() -> None:
    """Its one row is there to be read, and is in no sum."""
    rollouts, fresh = judged_round()
    first = torch.tensor([8])
    batch = Batch(rollouts.take(first), DPO().credit(rollouts).take(first), Totals(0, 0, HORIZON))
    loss, metrics = DPO().loss(batch, take(fresh, first))
    assert loss == 0 and metrics["rewards/margins"] == 0
    assert (torch.autograd.grad(loss, fresh.logp_NT)[0] == 0).all()


# --- SFT -----------------------------------------------------------------------------------------------------


def test_sft_is_rft_where_everything_is_right() -> None:
    rollouts, fresh = judged_round()
    right = replace(rollouts, reward_N=torch.ones(12).double())
    for average in ("sequence", "token", "sum", "horizon"):
        wanted = gradient_of(RFT(distinct=False, loss_aggregation=average), right, fresh)
        close(gradient_of(SFT(loss_aggregation=average), rollouts, fresh), wanted)  # whatever its rewards are
        check_shares(SFT(loss_aggregation=average), rollouts, fresh)


def test_sft_keeps_what_the_judge_could_not_read() -> None:
    rollouts, _ = judged_round()
    credit = SFT().credit(replace(rollouts, valid_N=torch.zeros(12, dtype=torch.bool)))
    assert credit.keep_N.all() and torch.equal(credit.advantage_NT, rollouts.completion_mask_NT.double())


# --- fields --------------------------------------------------------------------------------------------------


def test_schedules() -> None:
    wanted = replace(BASE, source="initial", likelihood="plain", rounds=1, epochs=2, sampling_fraction=0.25)
    assert DPO(epochs=2, sampling_fraction=0.25).schedule(BASE) == wanted
    assert SFT().schedule(BASE) == replace(BASE, source="dataset", likelihood="plain", group_size=1)
    assert DPO().needs == SFT().needs == frozenset()  # the sampler has said what a reference would


def outcome(algo: Algorithm) -> dict[str, Any]:
    rollouts, fresh = judged_round()
    rollouts = replace(rollouts, reward_N=torch.where(torch.arange(12) == 1, 0.5, rollouts.reward_N))
    first_NT = torch.zeros_like(rollouts.completion_mask_NT)
    first_NT[:, 0] = True  # a step of one token, which is wrong
    rollouts = replace(rollouts, step_end_NT=first_NT, step_reward_NT=torch.zeros_like(rollouts.logp_NT))
    return {
        "schedule": algo.schedule(BASE),
        "advantage": algo.credit(rollouts).advantage_NT.tolist(),
        "loss": round(loss_of(algo, rollouts, fresh)[0].item(), 6),
    }


KNOBS: dict[type[Algorithm], dict[str, tuple[list[Any], set[str]]]] = {
    DPO: {
        "beta": ([0.1, 0.5], {"loss"}),
        "reward_threshold": ([1.0, 0.5], {"advantage", "loss"}),
        "distinct": ([False, True], {"advantage", "loss"}),
        "pairs": ([None, 1], {"advantage", "loss"}),
        "epochs": ([1, 2], {"schedule"}),
        "sampling_fraction": ([0.25, 0.5], {"schedule"}),
        "loss_aggregation": (["sum", "sequence"], {"loss"}),
    },
    SFT: {
        "loss_aggregation": (["sequence", "token", "sum", "horizon", "total"], {"loss"}),
        "wrong_steps": (["learn", "mask"], {"advantage", "loss"}),
    },
}


@pytest.mark.parametrize("cls", KNOBS)
def test_no_knob_is_dead(cls: type[Algorithm]) -> None:
    assert set(KNOBS[cls]) == {f.name for f in dataclasses.fields(cls)}
    assert KNOBS[cls]["loss_aggregation"][0] == [*typing.get_args(typing.get_type_hints(cls)["loss_aggregation"])]
    for field, (choices, decides) in KNOBS[cls].items():
        outcomes = [outcome(cls(**{field: value})) for value in choices]
        for i, a in enumerate(outcomes):
            for b in outcomes[i + 1 :]:
                assert {key for key in a if a[key] != b[key]} == decides, field


BAD = [
    ("beta", [0.0, -1.0, math.nan]),
    ("sampling_fraction", [0.0, 1.0, math.nan]),
    ("pairs", [0, -1]),
    ("epochs", [0]),
]


@pytest.mark.parametrize(("field", "value"), [(f, x) for f, xs in BAD for x in xs])
def test_a_bad_field_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^algo\.{field}: .*{value}"):
        DPO(**{field: value})
