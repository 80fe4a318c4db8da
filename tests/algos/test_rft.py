"""Rejection-sampling fine-tuning, online and not: GRPO with another coefficient, and what is kept of the samples."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import replace
from typing import Any

import pytest
import torch

from algos import Algorithm, Batch, Credit, PolicyOutputs, Rollouts, Schedule, Totals
from algos.core.checks import check_top_k
from algos.grpo import GRPO
from algos.online_rft import OnlineRFT
from algos.rft import RFT
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
)
from tests.helpers import close

AVERAGES = ["sequence", "token", "sum", "horizon", "total"]
BOTH: list[type[RFT] | type[OnlineRFT]] = [RFT, OnlineRFT]
BASE = Schedule(prompts=4, group_size=8, rounds=7)
# Two prompts, taking turns: which are right, and which solutions are the same.
RIGHT = [1, 1, 0, 1, 1, 1, 1, 0, 1, 1]
GROUPS = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
KEYS = [5, 5, 5, 6, 5, 5, 7, 9, 8, 6]


def judged_round(step: float = 0.0) -> tuple[Rollouts, PolicyOutputs]:
    """12 completions in three groups: some right, all right, all wrong; two solutions a group."""
    rewards = [1, 0, 1, 0] + [1] * 4 + [0] * 4
    keys = [0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1]
    rollouts = replace(random_round(), reward_N=f64(rewards), solution_id_N=integers(keys))
    return rollouts, moved(rollouts, step)


def kept(settings: dict[str, Any], valid: list[int] | None = None, cls: type[Algorithm] = RFT) -> list[int]:
    """What is trained on of the two prompts: the same from `keep_N` (RFT) as from the advantages."""
    rollouts = replace(simple_round([*map(float, RIGHT)], GROUPS), solution_id_N=integers(KEYS))
    rollouts = replace(rollouts, valid_N=booleans(valid or [1] * len(RIGHT)))
    credit = cls(**settings).credit(rollouts)
    assert credit.keep_N.tolist() == (credit.advantage_NT[:, 0] == 1 if cls is RFT else rollouts.valid_N).tolist()
    return credit.advantage_NT[:, 0].tolist()


# --- online RFT is GRPO with 1{correct} for an advantage -----------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
def test_online_rft_is_grpo_with_another_coefficient(average: str) -> None:
    """At one update per round.  The loss's value is another: log pi has the gradient of rho at rho = 1, not its
    value."""
    rollouts, fresh = judged_round()
    uncentred = GRPO(baseline="none", normalize="none", kl_coef=0, loss_aggregation=average)
    algo = OnlineRFT(loss_aggregation=average)
    close(algo.credit(rollouts).advantage_NT, uncentred.credit(rollouts).advantage_NT)
    close(gradient_of(algo, rollouts, fresh), gradient_of(uncentred, rollouts, fresh))


@pytest.mark.parametrize("cls", BOTH)
def test_every_right_completion_pulls_alike(cls: type[Algorithm]) -> None:
    """Equation 10: d loss / d log pi_it = -1{right} / (N |o_i|), N all completions online and the kept ones offline."""
    rollouts, fresh = judged_round(step=0.5)  # no ratio: it does not matter how far the policy has moved
    algo = cls(distinct=False, loss_aggregation="sequence") if cls is RFT else cls()
    rows = {RFT: 6, OnlineRFT: 12}[cls]
    pairs = zip(rollouts.reward_N.tolist(), rollouts.completion_mask_NT.int().tolist(), strict=True)
    close(gradient_of(algo, rollouts, fresh), [[-r * m / sum(row) / rows for m in row] for r, row in pairs])


def test_offline_every_token_of_a_right_completion_pulls_alike() -> None:
    """Cross-entropy: d loss / d log pi_it = -1{right} / (the kept completions' tokens)."""
    rollouts, fresh = judged_round(step=0.5)
    pairs = list(zip(rollouts.reward_N.tolist(), rollouts.completion_mask_NT.int().tolist(), strict=True))
    tokens = sum(r * sum(row) for r, row in pairs)
    close(gradient_of(RFT(distinct=False), rollouts, fresh), [[-r * m / tokens for m in row] for r, row in pairs])


@pytest.mark.parametrize("average", AVERAGES)
def test_offline_and_online_differ_in_their_denominator(average: str) -> None:
    """Both sum the same terms over the same 6 right ones of 12.  sequence, sum and horizon divide by completions:
    N = 12 online, N_kept = 6 offline: offline's gradient is 12/6 of online's.  `token` divides by tokens instead, and
    `total` by nothing."""
    rollouts, fresh = judged_round()
    online = gradient_of(OnlineRFT(loss_aggregation=average), rollouts, fresh)
    offline = gradient_of(RFT(distinct=False, loss_aggregation=average), rollouts, fresh)
    factor = 1 if average == "total" else 12 / 6
    if average == "token":
        lengths = rollouts.completion_mask_NT.sum(1).tolist()
        factor = sum(lengths) / sum(n for n, r in zip(lengths, rollouts.reward_N.tolist(), strict=True) if r)
        assert factor != 2
    close(offline, factor * online)
    assert online.abs().max() > 0


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("cls", BOTH)
def test_the_loss_by_hand(cls: type[Algorithm], average: str) -> None:
    # Right: tokens of log pi -1 and -3 (between them a tool's), and one of -0.5; wrong: one of -7.
    mask = [[1, 0, 1], [1, 0, 0], [1, 0, 0]]
    rollouts = replace(simple_round([1, 1, 0], [0, 0, 0], mask), solution_id_N=integers([0, 1, 2]))
    fresh = PolicyOutputs(
        logp_NT=f64([[-1, -9, -3], [-0.5, -9, -9], [-7, -9, -9]]), entropy_NT=torch.ones(3, 3).double()
    )
    rows, tokens = (2, 3) if cls is RFT else (3, 4)
    wanted = {"sequence": 2.5 / rows, "token": 4.5 / tokens, "sum": 4.5 / rows, "horizon": 4.5 / rows / HORIZON}
    wanted["total"] = 4.5
    loss, metrics = loss_of(cls(loss_aggregation=average), rollouts, fresh)
    close(loss, wanted[average])
    close(metrics["entropy"], 1)
    assert set(metrics) == {"entropy"}


# --- what is kept --------------------------------------------------------------------------------------------

# Right are, of prompt 0, rows 0, 4 (key 5), 6 (7), 8 (8); of prompt 1, rows 1, 5 (key 5), 3, 9 (6).
SELECTIONS: list[tuple[dict[str, Any], list[int]]] = [
    ({"distinct": False}, [1, 1, 0, 1, 1, 1, 1, 0, 1, 1]),  # what is right
    ({}, [1, 1, 0, 1, 0, 0, 1, 0, 1, 0]),  # one of each solution of a prompt: key 5 counts in both
    ({"distinct": False, "max_per_prompt": 1}, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ({"distinct": False, "max_per_prompt": 3}, [1, 1, 0, 1, 1, 1, 1, 0, 0, 0]),
    ({"max_per_prompt": 2}, [1, 1, 0, 1, 0, 0, 1, 0, 0, 0]),  # new ones are counted, not the copies between them
    ({"max_per_prompt": 99}, [1, 1, 0, 1, 0, 0, 1, 0, 1, 0]),
]


@pytest.mark.parametrize(("settings", "wanted"), SELECTIONS, ids=str)
def test_what_rft_keeps(settings: dict[str, Any], wanted: list[int]) -> None:
    assert kept(settings) == wanted


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, RIGHT),
        ({"max_positives": 1}, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ({"max_positives": 2}, [1, 1, 0, 1, 1, 0, 0, 0, 0, 0]),
        ({"max_positives": 99}, RIGHT),
    ],
    ids=str,
)
def test_what_pulls_online(settings: dict[str, Any], wanted: list[int]) -> None:
    assert kept(settings, cls=OnlineRFT) == wanted


def test_what_does_not_pull_online_is_not_read_again() -> None:
    """Its loss has no gradient, as a zero-variance group's in GRPO."""
    credit = OnlineRFT().credit(judged_round()[0])
    assert credit.zero_gradient_N is not None
    assert credit.zero_gradient_N.tolist() == [False, True, False, True] + [False] * 4 + [True] * 4


def test_a_row_the_verifier_lost_is_no_solution() -> None:
    """Nor does it stand before another: row 4 is then the first with prompt 0's key 5."""
    valid = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert kept({}, valid) == [0, 1, 0, 1, 1, 0, 1, 0, 1, 0]
    assert kept({"distinct": False, "max_per_prompt": 1}, valid) == [0, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert kept({"max_positives": 1}, valid, OnlineRFT) == [0, 1, 0, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("junk", [1.0, math.nan, math.inf])
def test_a_lost_row_changes_no_gradient(cls: type[Algorithm], junk: float) -> None:
    rollouts, fresh = judged_round()
    valid_N = booleans([1, 1, 0, 1, 0] + [1] * 7)
    lost = replace(rollouts, valid_N=valid_N, reward_N=torch.where(valid_N, rollouts.reward_N, junk))
    index = valid_N.nonzero()[:, 0]
    slope_NT = gradient_of(cls(), lost, fresh)
    alone = PolicyOutputs(logp_NT=fresh.logp_NT[index].detach().requires_grad_(), entropy_NT=fresh.entropy_NT[index])
    close(slope_NT[index], gradient_of(cls(), rollouts.take(index), alone))
    assert (slope_NT[~valid_N] == 0).all()


@pytest.mark.parametrize(
    ("reward_threshold", "wanted"), [(1.0, [0, 0, 1, 1]), (0.5, [0, 1, 1, 1]), (2.0, [0, 0, 0, 1])]
)
@pytest.mark.parametrize("cls", BOTH)
def test_correct_is_what_reaches_the_mark(cls: type[Algorithm], reward_threshold: float, wanted: list[int]) -> None:
    """And what is above it weighs no more."""
    rollouts = replace(simple_round([0.25, 0.5, 1.0, 3.0], [0] * 4), solution_id_N=integers([1, 2, 3, 4]))
    assert cls(reward_threshold=reward_threshold).credit(rollouts).advantage_NT[:, 0].tolist() == wanted


@pytest.mark.parametrize("cls", BOTH)
def test_the_best_are_trained_on_whatever_they_are(cls: type[Algorithm]) -> None:
    """Two of each prompt by a learned reward, of which none reaches 1; each weighs 1, however high it was put."""
    rewards = [0.3, 0.1, 0.2, -5.0, -4.0, -6.0]
    rollouts = replace(simple_round(rewards, [0, 0, 0, 1, 1, 1]), solution_id_N=integers([0, 1, 2, 3, 4, 5]))
    every: dict[str, Any] = {"distinct": False} if cls is RFT else {}
    assert cls(top_k=2, **every).credit(rollouts).advantage_NT[:, 0].tolist() == [1, 0, 1, 1, 1, 0]
    assert cls().credit(rollouts).advantage_NT.sum() == 0
    with pytest.raises(ValueError, match=r"algo\.top_k: needs algo\.reward_threshold=1, not 0\.5"):
        cls(top_k=2, reward_threshold=0.5, **every)
    with pytest.raises(
        ValueError, match=r"algo\.top_k: needs algo\.(distinct=false, not true|max_positives=none, not 2)"
    ):
        cls(top_k=2, **({} if cls is RFT else {"max_positives": 2}))


def test_the_credits_metrics() -> None:
    rollouts, _ = judged_round()
    # Six are right, of them distinct: one of group 0 (both are key 0) and two of group 1.  The cap comes after.
    assert RFT().credit(rollouts).metrics == {"distinct": 0.5}
    assert RFT(max_per_prompt=1).credit(rollouts).metrics == {"distinct": 0.5}
    assert RFT(distinct=False).credit(rollouts).metrics == {"distinct": 1.0}
    assert OnlineRFT().credit(rollouts).metrics == {"positives": 0.5}  # 6 of 12
    close(OnlineRFT(max_positives=1).credit(rollouts).metrics["positives"], 2 / 12)


# --- updates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("algo", [RFT(), RFT(distinct=False), OnlineRFT(), OnlineRFT(max_positives=1)], ids=str)
def test_micro_batches_change_no_gradient_and_no_metric(algo: Algorithm, average: str) -> None:
    check_shares(replace(algo, loss_aggregation=average), *judged_round(step=0.5))


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("cls", BOTH)
def test_where_nothing_is_right_nothing_moves(cls: type[Algorithm], average: str) -> None:
    rollouts, fresh = judged_round()
    rollouts = replace(rollouts, reward_N=torch.zeros(12).double())
    algo = cls(loss_aggregation=average)
    credit = algo.credit(rollouts)
    assert credit.keep_N.any() == (cls is OnlineRFT)
    assert set(credit.metrics.values()) == {0.0}
    loss, metrics = loss_of(algo, rollouts, fresh)
    assert loss == 0
    assert (torch.autograd.grad(loss, fresh.logp_NT)[0] == 0).all()
    assert all(x.isfinite() for x in metrics.values())


def test_a_group_that_is_all_right_still_pulls() -> None:
    rollouts, fresh = judged_round()
    slope_NT = gradient_of(OnlineRFT(), rollouts, fresh)
    assert (slope_NT[4:8, 0] < 0).all()
    assert (gradient_of(GRPO(kl_coef=0), rollouts, fresh)[4:8] == 0).all()  # where GRPO has no gradient
    assert (slope_NT[8:] == 0).all()


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_masked_positions_change_nothing(cls: type[Algorithm], junk: float) -> None:
    rollouts, fresh = judged_round()
    algo, mask_NT = cls(), rollouts.completion_mask_NT
    log_NT, entropy_NT = (torch.where(mask_NT, x.detach(), junk) for x in (fresh.logp_NT, fresh.entropy_NT))
    dirty = PolicyOutputs(logp_NT=log_NT.requires_grad_(), entropy_NT=entropy_NT)
    dirty_rollouts = replace(rollouts, logp_NT=torch.where(mask_NT, rollouts.logp_NT, junk))
    close(loss_of(algo, dirty_rollouts, dirty)[0], loss_of(algo, rollouts, fresh)[0])
    close(gradient_of(algo, dirty_rollouts, dirty), gradient_of(algo, rollouts, fresh))
    close(loss_of(algo, dirty_rollouts, dirty)[1]["entropy"], loss_of(algo, rollouts, fresh)[1]["entropy"])


# --- fields --------------------------------------------------------------------------------------------------


def test_needs_nothing_but_the_samples() -> None:
    for cls in BOTH:
        assert cls().needs == frozenset()
        rollouts, _ = judged_round()
        assert cls().adapt(rollouts) == cls()


def test_rft_samples_its_start_model_once_and_trains_it() -> None:
    wanted = replace(BASE, source="initial", likelihood="plain", rounds=1, epochs=3, sampling_fraction=0.5)
    assert RFT().schedule(BASE) == wanted
    assert RFT(epochs=0).schedule(BASE) == replace(wanted, epochs=0, sampling_fraction=1.0), "all of it is sampled"
    algo = RFT(epochs=2, sampling_fraction=0.25)
    assert algo.schedule(BASE) == replace(wanted, epochs=2, sampling_fraction=0.25)


def test_online_rft_changes_nothing_but_the_updates() -> None:
    assert OnlineRFT().schedule(BASE) == BASE
    assert OnlineRFT(epochs=2, minibatches=4).schedule(BASE) == replace(BASE, epochs=2, minibatches=4)


@pytest.mark.parametrize("cls", BOTH)
def test_a_group_of_one_is_fine(cls: type[Algorithm]) -> None:
    assert cls().schedule(Schedule(prompts=4, group_size=1)).group_size == 1
    rollouts = replace(simple_round([1, 0, 1], [0, 1, 2]), solution_id_N=integers([4, 4, 4]))
    assert cls().credit(rollouts).advantage_NT.tolist() == [[1], [0], [1]]


def outcome(algo: Algorithm) -> dict[str, Any]:
    """Everything an algorithm decides, on one situation."""
    rollouts, fresh = judged_round(step=0.5)
    rollouts = replace(rollouts, reward_N=torch.where(torch.arange(12) == 3, 0.5, rollouts.reward_N))
    return {
        "schedule": algo.schedule(BASE),
        "advantage": algo.credit(rollouts).advantage_NT.tolist(),
        "loss": round(loss_of(algo, rollouts, fresh)[0].item(), 6),  # not by float noise
    }


UPDATES: dict[str, tuple[list[Any], set[str]]] = {
    "reward_threshold": ([1.0, 0.5], {"advantage", "loss"}),
    "top_k": ([None, 2], {"advantage", "loss"}),
    "loss_aggregation": (AVERAGES, {"loss"}),
    "epochs": ([1, 2], {"schedule"}),
}
KNOBS: dict[type[Algorithm], dict[str, tuple[list[Any], set[str]]]] = {
    RFT: {
        **UPDATES,
        "distinct": ([True, False], {"advantage", "loss"}),
        "max_per_prompt": ([None, 1], {"advantage", "loss"}),
        "sampling_fraction": ([0.25, 0.5], {"schedule"}),
    },
    OnlineRFT: {
        **UPDATES,
        "max_positives": ([None, 1, 2], {"advantage", "loss"}),
        "minibatches": ([1, 2], {"schedule"}),
    },
}


@pytest.mark.parametrize("cls", BOTH)
def test_no_knob_is_dead(cls: type[Algorithm]) -> None:
    assert set(KNOBS[cls]) == {f.name for f in dataclasses.fields(cls)}
    assert set(AVERAGES) == set(typing.get_args(typing.get_type_hints(cls)["loss_aggregation"]))
    for field, (choices, decides) in KNOBS[cls].items():
        beside = {"distinct": False} if (cls, field) == (RFT, "top_k") else {}
        outcomes = [outcome(cls(**beside, **{field: value})) for value in choices]
        for i, a in enumerate(outcomes):
            for b in outcomes[i + 1 :]:
                assert {key for key in a if a[key] != b[key]} == decides, field


BAD: list[tuple[type[Algorithm], str, list[float]]] = [
    (RFT, "sampling_fraction", [0.0, 1.0, -0.5, 1.5, math.nan]),
    (RFT, "top_k", [0, -1]),
    (OnlineRFT, "top_k", [0, -1]),
    (RFT, "max_per_prompt", [0, -1]),
    (RFT, "epochs", [-1]),
    (OnlineRFT, "max_positives", [0, -1]),
    (OnlineRFT, "epochs", [0]),
    (OnlineRFT, "minibatches", [0]),
]


@pytest.mark.parametrize(("cls", "field", "value"), [(c, f, x) for c, f, xs in BAD for x in xs])
def test_a_bad_field_is_named(cls: type[Algorithm], field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^algo\.{field}: .*{value}"):
        cls(**{field: value})


@pytest.mark.parametrize(
    ("top_k", "mark", "said"),
    [
        (0, 1, "algo.top_k: must be at least 1, not 0"),
        (2, 0.5, "algo.top_k: needs algo.mark=1, not 0.5"),
    ],
)
def test_one_rule_at_a_time(top_k: int, mark: float, said: str) -> None:
    check_top_k(None, mark=(mark, 1))
    check_top_k(1, mark=(1.0, 1))
    with pytest.raises(ValueError) as found:
        check_top_k(top_k, mark=(mark, 1))
    assert str(found.value) == said


def test_an_update_without_completions_is_no_error() -> None:
    rollouts, fresh = judged_round()
    nobody = torch.zeros(0, dtype=torch.int64)
    credit: Credit = RFT().credit(rollouts)
    batch = Batch(
        rollouts.take(nobody), credit.take(nobody), Totals(sequences=0, tokens=0, max_completion_tokens=HORIZON)
    )
    assert len(batch_of(rollouts, credit).rollouts.group_N) == 3
    loss, _ = RFT().loss(batch, PolicyOutputs(logp_NT=fresh.logp_NT[nobody], entropy_NT=fresh.entropy_NT[nobody]))
    assert loss == 0
