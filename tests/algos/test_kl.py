"""k1, k2, k3 on an enumerated softmax: what each estimates, and what its gradient is as a loss, exactly.

Nothing is sampled: an expectation over o ~ pi is the sum over all five tokens, weighted by probabilities that the
gradient does not see (the gradient of a *loss on samples* does not see the sampling).
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from algos.ops import kl, ratios
from tests.algos.builders import booleans, f64
from tests.helpers import close

LOGITS = [0.3, -1.0, 0.8, 0.0, -0.4]
REFERENCE = [-0.2, 0.5, 0.1, 0.9, -1.5]


def table() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, log pi and log pi_ref of each of the five tokens, and a full mask."""
    logits_V = f64(LOGITS).requires_grad_()
    return logits_V, logits_V.log_softmax(0), f64(REFERENCE).log_softmax(0), booleans([[1] * 5])


def expected(logp_V: Tensor, x_V: Tensor) -> Tensor:
    return (logp_V.detach().exp() * x_V).sum()


def as_loss(estimator: str, with_ratio: bool = False) -> Tensor:
    """The expected gradient of an estimator used as a loss on on-policy samples."""
    logits_V, logp_V, ref_V, mask_NT = table()
    x_NT = kl.estimate(logp_V[None], ref_V[None], mask_NT, estimator)
    if with_ratio:
        x_NT = x_NT * ratios.importance(logp_V[None], logp_V.detach()[None], mask_NT)
    return torch.autograd.grad(expected(logp_V, x_NT[0]), logits_V)[0]


def reverse() -> tuple[float, list[float]]:
    """KL(pi || ref) and its gradient.  d pi_k / d logit_j = pi_k (1{k=j} - pi_j), so with x = log pi - log ref
    d KL / d logit_j = sum_k pi_k (1{k=j} - pi_j) (x_k + 1) = pi_j (x_j - KL)."""
    pi, ref = _softmax(LOGITS), _softmax(REFERENCE)
    x = [math.log(p / q) for p, q in zip(pi, ref, strict=True)]
    value = sum(p * y for p, y in zip(pi, x, strict=True))
    return value, [p * (y - value) for p, y in zip(pi, x, strict=True)]


def forward() -> tuple[float, list[float]]:
    """KL(ref || pi) and its gradient: -sum_k ref_k d log pi_k / d logit_j = pi_j - ref_j."""
    pi, ref = _softmax(LOGITS), _softmax(REFERENCE)
    value = sum(q * math.log(q / p) for p, q in zip(pi, ref, strict=True))
    return value, [p - q for p, q in zip(pi, ref, strict=True)]


def _softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def test_values_by_hand() -> None:
    # pi = 1/2, ref = 1/4: x = log 2, and e^-x = 1/2.  pi = 1/4, ref = 1/2: x = -log 2, and e^-x = 2.
    new_NT, ref_NT, mask_NT = f64([[0.5, 0.25]]).log(), f64([[0.25, 0.5]]).log(), booleans([[1, 1]])
    two = math.log(2)
    close(kl.estimate(new_NT, ref_NT, mask_NT, "k1"), [[two, -two]])
    close(kl.estimate(new_NT, ref_NT, mask_NT, "k2"), [[two**2 / 2, two**2 / 2]])
    close(kl.estimate(new_NT, ref_NT, mask_NT, "k3"), [[0.5 - 1 + two, 2 - 1 - two]])
    close(kl.estimate(new_NT, ref_NT, mask_NT), kl.estimate(new_NT, ref_NT, mask_NT, "k3"))


def test_k3_times_the_ratio_is_k2_sample_by_sample() -> None:
    """grad (rho k3) = (k3 + 1 - e^-x) grad log pi = x grad log pi = grad k2, at rho = 1: not in expectation alone."""
    grads = []
    for estimator in ("k2", "k3"):
        logits_V, logp_V, ref_V, mask_NT = table()
        x_NT = kl.estimate(logp_V[None], ref_V[None], mask_NT, estimator)  # type: ignore[arg-type]
        if estimator == "k3":
            x_NT = x_NT * ratios.importance(logp_V[None], logp_V.detach()[None], mask_NT)
        grads.append([torch.autograd.grad(x, logits_V, retain_graph=True)[0] for x in x_NT[0]])
    close(grads[0], grads[1])


def test_k3_is_the_papers_form() -> None:
    # eq. 4: u - log u - 1 with u = pi_ref / pi
    _, logp_V, ref_V, mask_NT = table()
    pi, ref = _softmax(LOGITS), _softmax(REFERENCE)
    paper = [q / p - math.log(q / p) - 1 for p, q in zip(pi, ref, strict=True)]
    close(kl.estimate(logp_V[None], ref_V[None], mask_NT, "k3"), [paper])


def test_what_they_estimate() -> None:
    _, logp_V, ref_V, mask_NT = table()
    names = ("k1", "k2", "k3")
    means = {k: expected(logp_V, kl.estimate(logp_V[None], ref_V[None], mask_NT, k)[0]).item() for k in names}
    true, _ = reverse()
    close(means["k1"], true)
    close(means["k3"], true)
    assert abs(means["k2"] - true) > 1e-3  # biased


def test_k3_is_never_negative() -> None:
    x_NT = torch.linspace(-8, 8, 2001, dtype=torch.float64)[None]
    k3_NT = kl.estimate(x_NT, torch.zeros_like(x_NT), torch.ones_like(x_NT, dtype=torch.bool), "k3")
    assert (k3_NT >= 0).all()
    assert (k3_NT == 0).sum() == 1  # at x = 0 only


def test_k3_keeps_its_digits_near_zero() -> None:
    # k3 = x^2/2 - x^3/6 + ...: exp(-x) - 1 + x taken literally would have lost every digit at x = 1e-7.
    x = 1e-7
    got = kl.estimate(f64([[x]]), f64([[0.0]]), booleans([[1]]), "k3")
    close(got / x**2, [[0.5]], atol=1e-6)


def test_k1_as_a_loss_regularises_nothing() -> None:
    close(as_loss("k1"), [0] * 5, atol=1e-14)


def test_k2_as_a_loss_is_the_reverse_kl() -> None:
    close(as_loss("k2"), reverse()[1])


def test_k3_as_a_loss_is_the_forward_kl() -> None:
    close(as_loss("k3"), forward()[1])
    assert max(abs(a - b) for a, b in zip(forward()[1], reverse()[1], strict=True)) > 0.05  # they do differ


def test_k3_times_the_ratio_is_the_reverse_kl() -> None:
    close(as_loss("k3", with_ratio=True), reverse()[1])


def test_k1_in_the_reward_sees_later_states() -> None:
    """Two steps of three tokens, the second step's distribution depending on the first token.  The score-function
    gradient with the whole completion's k1 as a cost is the gradient of the *sequence's* KL; k2 as a loss is not,
    because it does not see how the first token changes the second state."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=rng, dtype=torch.float64).requires_grad_()  # row 0: first step; 1 + a: second
    ref = torch.randn(4, 3, generator=rng, dtype=torch.float64).log_softmax(1)
    logp = logits.log_softmax(1)
    pairs = list(itertools.product(range(3), range(3)))
    new_NT = torch.stack([torch.stack([logp[0, a], logp[1 + a, b]]) for a, b in pairs])
    ref_NT = torch.stack([torch.stack([ref[0, a], ref[1 + a, b]]) for a, b in pairs])
    mask_NT = torch.ones_like(new_NT, dtype=torch.bool)
    weight_N = new_NT.sum(1).exp()
    true = (weight_N * (new_NT - ref_NT).sum(1)).sum()  # KL of the two-token sequence, differentiated whole
    wanted = torch.autograd.grad(true, logits, retain_graph=True)[0]
    cost_N = kl.estimate(new_NT, ref_NT, mask_NT, "k1").sum(1)
    score = (weight_N.detach() * cost_N.detach() * new_NT.sum(1)).sum()
    close(torch.autograd.grad(score, logits, retain_graph=True)[0], wanted)
    k2 = (weight_N.detach() * kl.estimate(new_NT, ref_NT, mask_NT, "k2").sum(1)).sum()
    assert (torch.autograd.grad(k2, logits)[0] - wanted)[0].abs().max() > 1e-2


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_masked_positions_change_nothing(estimator: str, junk: float) -> None:
    new_NT = f64([[-0.5, junk, -1.0, -2.0]]).requires_grad_()
    got_NT = kl.estimate(new_NT, f64([[-0.9, -1.0, -0.3, junk]]), booleans([[1, 0, 1, 0]]), estimator)
    clean_NT = f64([[-0.5, -1.0]]).requires_grad_()
    alone_NT = kl.estimate(clean_NT, f64([[-0.9, -0.3]]), booleans([[1, 1]]), estimator)
    close(got_NT[:, [0, 2]], alone_NT)
    assert got_NT[:, [1, 3]].tolist() == [[0, 0]]
    slope_NT = torch.autograd.grad(got_NT.sum(), new_NT)[0]
    close(slope_NT[:, [0, 2]], torch.autograd.grad(alone_NT.sum(), clean_NT)[0])
    assert slope_NT[:, [1, 3]].tolist() == [[0, 0]]


def test_an_unknown_estimator_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="kl_estimator must be k1, k2 or k3, not 'k4'"):
        kl.estimate(f64([[0]]), f64([[0]]), booleans([[1]]), "k4")


# beta = 0.1, target 6, 512 completions, horizon 10000: beta' = 0.1 (1 + error 0.0512)
ADAPTED = [
    (6.0, 0.1),  # at the target it stands
    (6.6, 0.100512),  # error 0.1
    (5.4, 0.099488),
    (7.2, 0.101024),  # error 0.2: the bound
    (60.0, 0.101024),
    (4.8, 0.098976),
    (0.0, 0.098976),
    (-3.0, 0.098976),  # a mean of k1 may be negative
]


@pytest.mark.parametrize(("found", "coef"), ADAPTED)
def test_the_controller_follows_its_target(found: float, coef: float) -> None:
    close(kl.adapted(0.1, found, 6.0, 512, 10_000.0), coef)


def test_the_controllers_step_is_a_share_of_beta_and_of_the_horizon() -> None:
    close(kl.adapted(0.1, 99.0, 6.0, 10_000, 10_000.0), 0.12)  # a whole horizon: 20 %
    close(kl.adapted(0.1, 0.0, 6.0, 10_000, 10_000.0), 0.08)
    close(kl.adapted(5.0, 3.3, 3.0, 50, 100.0), 5.25)  # 5 (1 + 0.1 / 2)
    assert kl.adapted(0.1, 99.0, 6.0, 0, 10_000.0) == 0.1
    close(kl.adapted(0.1, 0.0, 6.0, 512, 10.0), 0.08)  # a round of many horizons: no further, and never below 0
