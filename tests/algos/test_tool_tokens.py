"""What a tool answered stands in a completion and is nobody's choice: it has no ratio, no KL, no credit, no entropy, no
value, and is in no total."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import algos
from algos import Batch, Credit, PolicyOutputs, Rollouts
from tests.algos.builders import booleans, f64, integers, totals_of
from tests.helpers import close

MASK = [[1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 1, 1]]
ARMS = [
    ("grpo", {"kl_coef": 0.1, "entropy_coef": 0.01}),
    ("grpo", {"ratio": "sequence", "kl_coef": 0.1}),
    ("grpo", {"baseline": "length", "normalize": "batch", "kl_placement": "reward"}),
    *(("grpo", {"supervision": form}) for form in ("process", "weighted", "apart", "min", "leave_one_out")),
    ("grpo", {"loss_aggregation": "token", "clip": "weight", "kl_coef": 0.0}),
    ("grpo", {"loss_aggregation": "horizon"}),
    ("ppo", {"kl_coef": 0.1, "gae_lambda": 0.9, "gamma": 0.95}),
    ("ppo", {"gae_lambda_alpha": 0.3, "kl_placement": "loss"}),
    ("online_rft", {}),
    ("rft", {"distinct": False}),
    ("sft", {}),
]


def answered(seed: int, garbage: float) -> Rollouts:
    """Two groups of two; where the policy chose nothing, tokens by `seed` and `garbage` in every column."""
    rng = torch.Generator().manual_seed(7)
    mask_NT = booleans(MASK)
    noise = [torch.rand(4, 6, generator=rng, dtype=torch.float64) for _ in range(4)]
    own = torch.randint(0, 5, (4, 6), generator=rng)
    given = torch.randint(0, 5, (4, 6), generator=torch.Generator().manual_seed(seed))

    def column(x_NT: Tensor) -> Tensor:
        return torch.where(mask_NT, x_NT, garbage)

    end_NT = booleans([[0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1]])
    return Rollouts(
        tokens_NS=torch.cat([torch.zeros(4, 1, dtype=torch.int64), torch.where(mask_NT, own, given)], 1),
        attention_mask_NS=torch.ones(4, 7, dtype=torch.bool),
        completion_mask_NT=mask_NT,
        logp_NT=column(-1 - noise[0]),
        entropy_NT=column(noise[1]),
        ref_logp_NT=column(-1 - noise[2]),
        value_NT=column(noise[3]),
        group_N=integers([0, 0, 1, 1]),
        reward_N=f64([1, 0, 1, 0.5]),
        valid_N=booleans([1, 1, 1, 1]),
        finished_N=booleans([1, 1, 1, 1]),
        solution_id_N=integers([0, 1, 2, 3]),
        step_end_NT=end_NT,
        step_reward_NT=torch.where(end_NT, noise[3], 0),
    )


def trained(name: str, fields: dict[str, object], r: Rollouts) -> tuple[Credit, list[Tensor], float]:
    """Credit, and the gradient of a policy that is a table: a token's log-probability depends on nothing else, so
    that an answer could act by its own place alone."""
    algo = algos.load(name)(**fields)
    credit = algo.credit(r)
    table = torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()
    worth = torch.linspace(0, 1, 5, dtype=torch.float64).requires_grad_()
    tokens_NT = r.tokens_NS[:, 1:]
    logp_V = table.log_softmax(0)
    entropy_NT = (-(logp_V.exp() * logp_V).sum()).expand(4, 6)
    outputs = PolicyOutputs(logp_V[tokens_NT], entropy_NT, worth[tokens_NT] if "values" in algo.needs else None)
    loss, metrics = algo.loss(Batch(r, credit, totals_of(r.completion_mask_NT[credit.keep_N])), outputs)
    loss.backward()
    grads = [x.grad if x.grad is not None else torch.zeros(5) for x in (table, worth)]
    assert all(math.isfinite(float(x)) for x in metrics.values())
    return credit, grads, float(loss.detach())


@pytest.mark.parametrize(("name", "fields"), ARMS)
@pytest.mark.parametrize("garbage", [0.0, 1e30, math.inf, math.nan])
def test_an_answer_changes_no_gradient(name: str, fields: dict[str, object], garbage: float) -> None:
    one, two = (trained(name, fields, answered(seed, x)) for seed, x in ((1, 0.0), (2, garbage)))
    assert torch.equal(one[0].advantage_NT, two[0].advantage_NT)
    assert torch.all(one[0].advantage_NT[~booleans(MASK)] == 0)
    for a, b in zip(one[1], two[1], strict=True):
        assert torch.equal(a, b)
    assert float(one[1][0].abs().max()) > 0 and one[2] == two[2]


@pytest.mark.parametrize(("name", "fields"), ARMS)
def test_a_completion_is_trained_as_if_nothing_stood_in_it(name: str, fields: dict[str, object]) -> None:
    """The same gradient from completions out of which the answers were cut: neighbours' GAE steps over them."""
    r = answered(1, 0.0)
    close(trained(name, fields, squeezed(r))[1], trained(name, fields, r)[1], rtol=1e-12, atol=1e-12)


def squeezed(r: Rollouts) -> Rollouts:
    """What the policy chose moved to the left, nothing between."""
    order_NT = torch.argsort((~r.completion_mask_NT).to(torch.int8), dim=1, stable=True)
    columns = {k: v.gather(1, order_NT) for k, v in vars(r).items() if k.endswith("_NT") and v is not None}
    tokens_NS = torch.cat([r.tokens_NS[:, :1], r.tokens_NS[:, 1:].gather(1, order_NT)], 1)
    return replace(r, tokens_NS=tokens_NS, **columns)
