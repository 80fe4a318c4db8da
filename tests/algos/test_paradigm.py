"""DeepSeekMath's unified paradigm (2402.03300 §5.2.1, Table 10): every method's gradient is one sum,

    grad J = sum_{(q, o) in D} c (1/|o|) sum_t GC(q, o, t) grad log pi(o_t | q, o_<t),

and methods differ in D and GC.  Here the right side is worked out by hand, on a table of logits whose grad log pi is
1{token} - pi; the left side is what autograd finds through each algorithm's own `credit` and `loss`.

Shapes: Z states (a prompt and the tokens so far), V tokens; N completions of T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

import algos
from algos import Algorithm, Credit, PolicyOutputs, Rollouts, Schedule
from algos.dpo import DPO
from algos.grpo import GRPO
from algos.online_rft import OnlineRFT
from algos.ppo import PPO
from algos.rft import RFT
from algos.sft import SFT
from harness.cli.lists.catalog import DATA, paradigm
from tests.algos.builders import batch_of, f64, simple_round, take
from tests.helpers import close

WORDS, WIDTH = 3, 3
STATES = 2 * (1 + WORDS + WORDS**2)  # of two prompts, and of 0, 1 or 2 tokens so far
TOKENS = [[2, 0, 1], [1, 1], [0], [2, 2, 0], [1, 0], [0, 2, 2], [1, 2, 0], [2]]
PROMPT = [0] * 4 + [1] * 4
RIGHT = [1, 0, 1, 0, 0, 0, 1, 0]
LENGTH = [len(row) for row in TOKENS]
PLACES = [(i, t) for i, row in enumerate(TOKENS) for t in range(len(row))]

PaddedView = list[list[float]]  # a number for each token of each completion


def state(i: int, t: int) -> int:
    """Before token t of completion i: its prompt, how many tokens there are, and which."""
    before = sum(WORDS**k * token for k, token in enumerate(TOKENS[i][:t]))
    return STATES // 2 * PROMPT[i] + (0, 1, 1 + WORDS)[t] + before


def table(seed: int) -> Tensor:
    return torch.randn(STATES, WORDS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


POLICY_ZV, OTHER_ZV = table(0), table(1)  # the live policy; the start model, or the reference of a live one
VALUE: PaddedView = [[0.3 + 0.1 * i - 0.2 * t for t in range(n)] for i, n in enumerate(LENGTH)]  # V of each state


def probability(logits_ZV: Tensor, i: int, t: int) -> list[float]:
    """pi(. | s) by its definition."""
    weight = [math.exp(x) for x in logits_ZV[state(i, t)].tolist()]
    return [w / sum(weight) for w in weight]


def logp(logits_ZV: Tensor, i: int, t: int) -> float:
    return math.log(probability(logits_ZV, i, t)[TOKENS[i][t]])


def padded(grid: PaddedView) -> Tensor:
    return f64([[*row, *[0.0] * (WIDTH - len(row))] for row in grid])


def of_each_token(number: Callable[[int, int], float]) -> PaddedView:
    return [[number(i, t) for t in range(n)] for i, n in enumerate(LENGTH)]


# --- the right side ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """An algorithm; who sampled; GC of every token by Table 10; and what each completion's sum is multiplied by."""

    algo: Algorithm
    sampler_ZV: Tensor
    coefficient: Callable[[], PaddedView]
    share: Callable[[int], float]  # of completion i: c, and 1/|o_i| where it is averaged


def always() -> PaddedView:
    return of_each_token(lambda i, t: 1.0)


def correct() -> PaddedView:
    """Equation 10."""
    return of_each_token(lambda i, t: float(RIGHT[i]))


def relative() -> PaddedView:
    """Equation 21: (r - mean) / std of the group + beta (pi_ref/pi - 1)."""

    def one(i: int, t: int) -> float:
        rewards = [r for r, q in zip(RIGHT, PROMPT, strict=True) if q == PROMPT[i]]
        mean = sum(rewards) / 4
        std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / 4)
        drift = probability(OTHER_ZV, i, t)[TOKENS[i][t]] / probability(POLICY_ZV, i, t)[TOKENS[i][t]]
        return (RIGHT[i] - mean) / std + 0.04 * (drift - 1)

    return of_each_token(one)


GAMMA, LAM = 0.9, 0.8


def generalized() -> PaddedView:
    """Equation 18: A_t = sum_l (gamma lam)^l delta_{t+l},  delta_t = r_t + gamma V_{t+1} - V_t,  reward at the end."""

    def delta(i: int, t: int) -> float:
        last = t + 1 == LENGTH[i]
        return (RIGHT[i] if last else GAMMA * VALUE[i][t + 1]) - VALUE[i][t]

    return of_each_token(lambda i, t: sum((GAMMA * LAM) ** (u - t) * delta(i, u) for u in range(t, LENGTH[i])))


PAIRS = [(0, 1), (2, 3), (6, 4)]  # right and wrong: the first of each kind, the second, ... of a prompt
BETA = 0.7


def preferred(mean: bool) -> Callable[[], PaddedView]:
    """Equation 14: s = sigma(beta log pi/pi_ref(o-) - beta log pi/pi_ref(o+)), + on o+ and - on o-, 0 without a pair.

    From eq. 12, J = log sigma(beta (m+ - m-)) with m = (1/|o|) sum_t log pi/pi_ref(o_t).  (log sigma)'(x) = sigma(-x),
    so grad J = beta sigma(beta (m- - m+)) (grad m+ - grad m-), and grad m = (1/|o|) sum_t grad log pi(o_t).  That is
    GC = s with c = beta, which the paper leaves out, for every token alike: the single tokens that eq. 14 writes in s
    stand for the m of eq. 12.  2305.18290 has m without 1/|o|: then so has s, and the sum over t (`mean` False).
    """

    def m(i: int) -> float:
        ratios = [logp(POLICY_ZV, i, t) - logp(OTHER_ZV, i, t) for t in range(LENGTH[i])]
        return sum(ratios) / (LENGTH[i] if mean else 1)

    def one(i: int, t: int) -> float:
        for plus, minus in PAIRS:
            if i in (plus, minus):
                return (1 if i == plus else -1) / (1 + math.exp(BETA * (m(plus) - m(minus))))
        return 0.0

    return lambda: of_each_token(one)


METHODS: dict[str, Method] = {
    "sft": Method(SFT(), OTHER_ZV, always, lambda i: 1 / 8 / LENGTH[i]),
    "rft": Method(
        RFT(distinct=False, loss_aggregation="sequence"), OTHER_ZV, correct, lambda i: 1 / 3 / LENGTH[i]
    ),  # kept: 3
    "online_rft": Method(OnlineRFT(), POLICY_ZV, correct, lambda i: 1 / 8 / LENGTH[i]),
    "dpo": Method(
        DPO(beta=BETA, loss_aggregation="sequence"), OTHER_ZV, preferred(True), lambda i: BETA / 3 / LENGTH[i]
    ),
    "dpo, 2305.18290": Method(DPO(beta=BETA), OTHER_ZV, preferred(False), lambda i: BETA / 3),
    "ppo": Method(
        PPO(gamma=GAMMA, gae_lambda=LAM, kl_coef=0, whiten=False), POLICY_ZV, generalized, lambda i: 1 / 8 / LENGTH[i]
    ),
    "grpo": Method(GRPO(), POLICY_ZV, relative, lambda i: 1 / 8 / LENGTH[i]),
}


def by_hand(coefficient: PaddedView, share: Callable[[int], float]) -> Tensor:
    """sum_i c_i sum_t GC_it (1{o_it} - pi(. | s_it)), in the row of s_it.  (Z, V)."""
    gradient = [[0.0] * WORDS for _ in range(STATES)]
    for i, t in PLACES:
        for word, p in enumerate(probability(POLICY_ZV, i, t)):
            gradient[state(i, t)][word] += share(i) * coefficient[i][t] * ((word == TOKENS[i][t]) - p)
    return f64(gradient)


# --- the left side -------------------------------------------------------------------------------------------


def rollouts_of(method: Method) -> Rollouts:
    mask = [[1] * n + [0] * (WIDTH - n) for n in LENGTH]
    round_ = simple_round([*map(float, RIGHT)], PROMPT, mask)
    return replace(
        round_,
        logp_NT=padded(of_each_token(lambda i, t: logp(method.sampler_ZV, i, t))),
        ref_logp_NT=padded(of_each_token(lambda i, t: logp(OTHER_ZV, i, t))),
        value_NT=padded(VALUE),
        solution_id_N=torch.arange(len(RIGHT)),
    )


def by_autograd(method: Method, change: Callable[[Credit], Credit] = lambda credit: credit) -> Tensor:
    """grad J = -grad loss, through the algorithm's own credit and loss."""
    logits_ZV = POLICY_ZV.clone().requires_grad_()
    states = torch.tensor([[state(i, min(t, n - 1)) for t in range(WIDTH)] for i, n in enumerate(LENGTH)])
    tokens = torch.tensor([row + [0] * (WIDTH - len(row)) for row in TOKENS])
    rollouts = rollouts_of(method)
    logp_NT = logits_ZV.log_softmax(1)[states].gather(2, tokens[:, :, None])[:, :, 0]
    logp_NT = torch.where(rollouts.completion_mask_NT, logp_NT, 0)
    fresh = PolicyOutputs(logp_NT, entropy_NT=torch.zeros_like(logp_NT), value_NT=rollouts.value_NT)
    credit = change(method.algo.credit(rollouts))
    loss, _ = method.algo.loss(batch_of(rollouts, credit), take(fresh, credit.keep_N.nonzero()[:, 0]))
    return -torch.autograd.grad(loss, logits_ZV)[0]


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_is_the_rows(name: str) -> None:
    method = METHODS[name]
    found = by_autograd(method)
    close(found, by_hand(method.coefficient(), method.share), rtol=1e-12, atol=1e-12)
    assert found.abs().max() > 0.01


@pytest.mark.parametrize("name", METHODS)
def test_a_wrong_sign_is_seen(name: str) -> None:
    """In the table, or in the code."""
    method = METHODS[name]
    hand, flipped = method.coefficient(), [[-x for x in row] for row in method.coefficient()]
    with pytest.raises(AssertionError):
        close(by_autograd(method), by_hand(flipped, method.share))
    with pytest.raises(AssertionError):
        backwards = by_autograd(method, lambda credit: replace(credit, advantage_NT=-credit.advantage_NT))
        close(backwards, by_hand(hand, method.share))


@pytest.mark.parametrize("name", METHODS)
def test_no_other_rows_coefficient_will_do(name: str) -> None:
    method = METHODS[name]
    others = {other.coefficient for other in METHODS.values()} - {method.coefficient}
    assert len(others) == 5
    for coefficient in others:
        with pytest.raises(AssertionError):
            close(by_autograd(method), by_hand(coefficient(), method.share))


# --- the table that is printed -------------------------------------------------------------------------------

# method -> data source, reward, equation of its coefficient: Table 10 and App. A.1
PAPER = {
    "sft": ("dataset", "none", "7"),
    "rft": ("initial", "rule", "10"),
    "online_rft": ("live", "rule", "10"),
    "dpo": ("initial", "rule", "14"),
    "ppo": ("live", "rule or model", "18"),
    "grpo": ("live", "rule or model", "21"),
}


def printed() -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in paradigm().splitlines()]
    assert rows[0][:3] == ["method", "data source", "reward"] and set("".join(rows[1])) == {"-"}
    assert len({len(line) for line in paradigm().splitlines()}) == 1
    return {row[0]: row[1:] for row in rows[2:]}


def test_the_printed_table_is_the_papers() -> None:
    assert set(printed()) == set(PAPER) == set(algos.names()) - set(algos.variant_names())
    assert all(algos.load(name).paradigm for name in PAPER)
    for name, (source, reward, equation) in PAPER.items():
        algorithm = algos.load(name)
        row = algorithm.paradigm
        assert row is not None
        assert algorithm().schedule(Schedule(prompts=4, group_size=4)).source == source
        assert printed()[name] == [
            DATA[source],
            reward,
            f"{row.coefficient} (eq. {equation})",
            row.transform,
            f"algos/{name}.py",
        ]
        assert row.reward == reward


def test_what_is_printed_follows_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RFT, "schedule", lambda self, base: replace(base, source="live"))
    assert printed()["rft"][0] == DATA["live"] and printed()["dpo"][0] == DATA["initial"]


def test_an_algorithm_without_a_row_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RFT, "paradigm", None)
    assert set(printed()) == set(PAPER) - {"rft"}
