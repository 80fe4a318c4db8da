"""Clip-Cov and KL-Cov against loops: which tokens they choose, and what they do to them."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch

import algos
from algos import Credit, Rollouts
from algos.grpo import GRPO
from algos.ops import select
from algos.variants.clip_cov import ClipCov
from algos.variants.kl_cov import KLCov
from tests.algos.builders import booleans, check_shares, f64, gradient_of, loss_of, moved, random_round
from tests.helpers import close


def slow_covariance(r: Rollouts, credit: Credit) -> list[list[float]]:
    rows, columns = r.logp_NT.shape
    inside = [(i, t) for i in range(rows) for t in range(columns) if r.completion_mask_NT[i, t] and credit.keep_N[i]]
    a = statistics.fmean(float(credit.advantage_NT[i, t]) for i, t in inside)
    p = statistics.fmean(float(r.logp_NT[i, t]) for i, t in inside)
    table = [[0.0] * columns for _ in range(rows)]
    for i, t in inside:
        table[i][t] = (float(credit.advantage_NT[i, t]) - a) * (float(r.logp_NT[i, t]) - p)
    return table


def test_the_covariance_is_the_loops() -> None:
    r = random_round(0)
    credit = GRPO(kl_coef=0).credit(r)
    expected = slow_covariance(r, credit)
    close(select.covariance(credit.advantage_NT, r.logp_NT, r.completion_mask_NT), expected)


def test_clip_cov_takes_out_a_few_tokens_between_its_bounds_and_nothing_else() -> None:
    r, fresh = random_round(0), moved(random_round(0), 0.4)
    algo = ClipCov(cov_share=0.1, cov_low=0.1, cov_high=0.8)
    credit = algo.credit(r)
    cov = slow_covariance(r, credit)
    inside = [(i, t) for i, row in enumerate(cov) for t, c in enumerate(row) if 0.1 < c < 0.8]
    chosen = [tuple(x) for x in credit.marked_NT.nonzero().tolist()]
    count = int(0.1 * int(r.completion_mask_NT.sum()))
    assert len(chosen) == min(count, len(inside)) > 1 and set(chosen) < set(inside)
    plain = gradient_of(GRPO(kl_coef=0, loss_aggregation="token"), r, fresh)
    close(gradient_of(algo, r, fresh), torch.where(credit.marked_NT, 0, plain))
    assert plain[credit.marked_NT].abs().max() > 1e-3
    again = algo.credit(r)
    assert bool((again.marked_NT == credit.marked_NT).all())  # drawn from the round: a resumed run draws them again


def test_kl_cov_pulls_the_tokens_of_largest_covariance_towards_the_sampler() -> None:
    r, fresh = random_round(1), moved(random_round(1), 0.4)
    algo = KLCov(cov_share=0.1, cov_coef=0.7)
    credit = algo.credit(r)
    ranked = sorted(
        ((c, i, t) for i, row in enumerate(slow_covariance(r, credit)) for t, c in enumerate(row)), reverse=True
    )
    count = int(0.1 * int(r.completion_mask_NT.sum()))
    assert {tuple(x) for x in credit.marked_NT.nonzero().tolist()} == {(i, t) for _, i, t in ranked[:count]}
    base = GRPO(kl_coef=0, loss_aggregation="token", clip="none")
    tokens = int(r.completion_mask_NT.sum())
    apart_NT = (fresh.logp_NT.detach() - r.logp_NT) * credit.marked_NT
    close(loss_of(algo, r, fresh)[0], loss_of(base, r, fresh)[0] + 0.7 * apart_NT.abs().sum() / tokens)
    close(gradient_of(algo, r, fresh), gradient_of(base, r, fresh) + 0.7 * apart_NT.sign() / tokens)


@pytest.mark.parametrize("name", ["clip_cov", "kl_cov"])
def test_micro_batches_change_nothing(name: str) -> None:
    r = random_round(2)
    check_shares(algos.load(name)(cov_share=0.2, **({"cov_low": 0.0} if name == "clip_cov" else {})), r, moved(r, 0.4))


def test_an_all_equal_round_has_no_covariance_to_speak_of() -> None:
    r = replace(random_round(0), reward_N=f64([1.0] * 12))
    assert not ClipCov().credit(r).marked_NT.any()
    assert int(KLCov().credit(r).marked_NT.sum()) == 1  # at least one, of equals the first
    nothing = replace(r, completion_mask_NT=torch.zeros_like(r.completion_mask_NT), valid_N=booleans([0] * 12))
    assert not ClipCov().credit(nothing).marked_NT.any() and not KLCov().credit(nothing).marked_NT.any()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
@pytest.mark.parametrize("cls", [ClipCov, KLCov])
def test_a_share_is_a_share(cls: type[GRPO], share: float) -> None:
    with pytest.raises(ValueError, match="cov_share"):
        cls(cov_share=share)
