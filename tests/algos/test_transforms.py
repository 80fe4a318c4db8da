"""What each member of the family ascends, for a reward of 0 or 1: the *transform* column (2510.13651).

One prompt that is solved with probability p, completions of one token, one update on the sampler.  A group has K right
of G with the binomial's probability; what the loss then pulls each of the two outcomes by is autograd's, through the
algorithm's own `credit` and `loss`, and with d log p = dp/p, d log (1-p) = -dp/(1-p) the expected gradient is a number
times dp: F'(p).  Exact formulas for G completions where there are any; for all of them the limit of large groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import algos
from tests.algos.builders import gradient_of, moved, simple_round
from tests.helpers import close


def slope(name: str, p: float, size: int, **fields: Any) -> float:
    """F'(p) by enumeration of K."""
    algo, total = algos.load(name)(**fields), 0.0
    deviation = math.sqrt(size * p * (1 - p))
    for right in range(size + 1):
        if size > 60 and abs(right - size * p) > 6 * deviation:
            continue  # 1e-9 of the probability
        rewards = [1.0] * right + [0.0] * (size - right)
        log_weight = math.lgamma(size + 1) - math.lgamma(right + 1) - math.lgamma(size - right + 1)
        log_weight += right * math.log(p) + (size - right) * math.log(1 - p)
        r = simple_round(rewards, [0] * size)
        greedy_N = torch.full((size,), p, dtype=torch.float64)  # E r(greedy) is any number
        r = replace(r, metadata={"probe_reward": greedy_N, "completion_embedding": torch.ones(size, 2)})
        r = replace(r, ref_logp_NT=torch.zeros_like(r.logp_NT))
        if not bool(algo.credit(r).keep_N.any()):
            continue
        pull_N = -gradient_of(algo, r, moved(r, 0.0))[:, 0]
        total += math.exp(log_weight) * (float(pull_N[:right].sum()) / p - float(pull_N[right:].sum()) / (1 - p))
    return total


def arcsin(p: float) -> float:
    """d 2 arcsin sqrt p."""
    return 1 / math.sqrt(p * (1 - p))


def weight(x: float) -> float:
    return 0.4 + 1.1 / (1 + math.exp(10 * (x - 0.75)))


LIMITS: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(
        ("dapo", "dapo_dynamic", "gspo", "gmpo", "cispo", "sapo", "dppo", "clip_cov", "kl_cov", "rgra", "dra"), arcsin
    ),
    **dict.fromkeys(("rloo", "remax", "opo"), lambda p: 1.0),
    "dr_grpo": lambda p: 1 / 9,  # 1/T_max, which is 9 in these tests
    # one prompt: the round's deviation is its own, sqrt(p (1-p)); over many prompts it is a constant of the round
    **dict.fromkeys(("lite_ppo", "reinforce_pp", "reinforce_pp_baseline"), arcsin),
    "bnpo": lambda p: 1.0,  # one prompt: no Beta to fit
    "maxrl": lambda p: 1 / p,
    "raft_pp": lambda p: 1 / p,
    "reinforce_rej": lambda p: 2.0,
    "cppo": lambda p: math.nan,  # of two branches: a test of its own
    "pods": lambda p: (1 / p + 1 / (1 - p)) / 2,  # a quarter of G right and a quarter wrong, A = 1 and -1
    "dgpo": lambda p: 1 / (2 * p * (1 - p)),  # one prompt: the softmax is 1
    "lead": lambda p: arcsin(p) * ((1 - p) * weight(p) + p * weight(1 - p)),
    "pass_at_k": lambda p: (1 - p) ** 3 / math.sqrt((1 - (1 - p) ** 4) * (1 - p) ** 4),
}


def test_every_member_has_a_limit() -> None:
    assert set(LIMITS) == set(algos.variant_names())


@pytest.mark.parametrize("p", [0.3, 0.6])
@pytest.mark.parametrize("name", sorted(set(LIMITS) - {"cppo"}))
def test_in_large_groups_it_ascends_its_transform(name: str, p: float) -> None:
    off = {"kl_coef": 0.0}  # the reference is a force of its own
    limit = LIMITS[name](p)
    far, near = (abs(slope(name, p, size, **off) / limit - 1) for size in (12, 96))
    assert near < 0.06 and near <= far + 1e-6, (far, near)


def test_cppo_keeps_the_rarer_outcome_first() -> None:
    # |A| is larger for what is rarer.  p = 0.3: the half that is kept is all 0.3 G right ones and 0.2 G wrong ones, so
    # 0.6 A+ / p - 0.4 A- / (1-p), with A+ = sqrt(q/p), A- = -sqrt(p/q).
    p, q = 0.3, 0.7
    limit = 0.6 * math.sqrt(q / p) / p + 0.4 * math.sqrt(p / q) / q
    assert abs(slope("cppo", p, 96, kl_coef=0.0) / limit - 1) < 0.06


# --- exactly, for groups of G ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("size", [2, 5, 8])
def test_exact_slopes(size: int, p: float) -> None:
    q = 1 - p
    binomial = [math.comb(size, k) * p**k * q ** (size - k) for k in range(size + 1)]
    close(slope("rloo", p, size, kl_coef=0.0), 1.0)  # unbiased
    close(slope("online_rft", p, size), 1.0)  # its denominator is all N
    close(slope("dr_grpo", p, size), (size - 1) / size / 9)
    # GRPO: E sqrt(K (G-K)) / G over p q
    mixed = sum(b * math.sqrt(k * (size - k)) for k, b in enumerate(binomial)) / size
    close(slope("grpo", p, size, kl_coef=0.0), mixed / (p * q))
    # MaxRL: (1 - q^(G-1)) / p = d sum_{k<G} pass@k / k, which tends to log p
    close(slope("maxrl", p, size), (1 - q ** (size - 1)) / p)
    close((1 - q ** (size - 1)) / p, sum(q ** (k - 1) for k in range(1, size)))
    # RAFT++: whenever there is a right one, d log p
    close(slope("raft_pp", p, size), (1 - q**size) / p)


def test_online_rft_over_its_positives_ascends_log_p_and_over_all_p() -> None:
    """Davis and Recht's rejection sampling averages over what was accepted; eq. 11's denominator is all that was
    drawn.
    """
    close(slope("online_rft", 0.3, 8), 1.0)
    close(slope("raft_pp", 0.3, 60), 1 / 0.3, rtol=1e-7)
