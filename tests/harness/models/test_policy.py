"""The policy against its sampler, loops in Python, and itself under other ways to cut an update."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from algos.core.types import Batch, Credit, Rollouts, Schedule, Totals
from algos.grpo import GRPO
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy, sampler_outputs
from harness.training.batching import updates
from tests.harness.tiny_models import KINDS, VOCABULARY, build, explored, plain_logp, policy_of, real_rows
from tests.helpers import close

TEMPERATURE = 0.8
HORIZON = 12
AVERAGES = ["sequence", "token", "sum", "horizon"]
DTYPES = [torch.float32, torch.float64]
EXACT = {torch.float32: 1e-5, torch.float64: 1e-9}
NONE: frozenset[Any] = frozenset()


def rewarded(r: Rollouts, seed: int = 0) -> Rollouts:
    """Rewards of 0 and 1, and a completion that the verifier lost."""
    rng = np.random.default_rng(seed)
    valid = torch.ones(len(r.group_N)).bool()
    valid[5] = False
    return replace(r, reward_N=torch.from_numpy(rng.integers(0, 2, len(valid))).float(), valid_N=valid)


def credited(r: Rollouts, dtype: torch.dtype, seed: int = 1) -> Credit:
    """A worth for every token of its own: more than any algorithm would say."""
    rng = np.random.default_rng(seed)
    advantage_NT = torch.from_numpy(rng.standard_normal(r.completion_mask_NT.shape)).to(dtype)
    assert r.valid_N is not None
    return Credit(advantage_NT=torch.where(r.completion_mask_NT, advantage_NT, 0), keep_N=r.valid_N)


def whole(r: Rollouts, credit: Credit) -> Batch:
    """All kept completions in one batch, untrimmed, with totals counted here."""
    kept = credit.keep_N.nonzero()[:, 0]
    tokens = sum(int(r.completion_mask_NT[i].sum()) for i in kept.tolist())
    return Batch(r.take(kept), credit.take(kept), Totals(len(kept), tokens, HORIZON))


def gradient(policy: LMPolicy, algo: GRPO, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Of the update that the batches make up; the policy stays as it was."""
    policy.model.zero_grad(set_to_none=True)
    for batch in batches:
        loss, _ = algo.loss(batch, policy.forward(batch, algo.needs))
        policy.backward(loss)
    found = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    return found


def same_gradient(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], tolerance: float) -> None:
    """Largest difference, over the largest entry."""
    assert one.keys() == two.keys() and one
    largest = max(float(g.abs().max()) for g in two.values())
    assert largest > 0
    for name in two:
        close(float((one[name] - two[name]).abs().max()) / largest, 0.0, rtol=0, atol=tolerance)


# ---------------------------------------------------------------- forward


@pytest.mark.parametrize("kind", KINDS)
def test_an_untouched_policy_agrees_with_its_sampler(kind: str) -> None:
    r = explored(kind)
    policy = policy_of(kind)
    fresh = policy.forward(whole(r, credited(r, torch.float32)), NONE)
    close(fresh.logp_NT.detach(), r.logp_NT, rtol=0, atol=1e-5)
    assert fresh.logp_NT.requires_grad and fresh.logp_NT.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_an_untouched_policy_agrees_with_its_sampler_in_float64(kind: str) -> None:
    r = explored(kind, torch.float64)
    policy = policy_of(kind, torch.float64)
    fresh = policy.forward(whole(r, credited(r, torch.float64)), NONE)
    assert fresh.logp_NT.dtype == torch.float64
    close(fresh.logp_NT.detach(), r.logp_NT, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_against_plain_forwards_and_a_loop(kind: str) -> None:
    """log pi and the entropy of every token, from unpadded rows one at a time; 0 where the mask is."""
    r = explored(kind, torch.float64)
    policy = policy_of(kind, torch.float64)
    fresh = policy.forward(whole(r, credited(r, torch.float64)), NONE)
    for i, (row, start) in enumerate(real_rows(r)):
        logp = plain_logp(build(kind, dtype=torch.float64), row, start, TEMPERATURE).tolist()
        n = len(row) - start
        entropy = [-sum(math.exp(x) * x for x in position) for position in logp]
        chosen = [position[token] for position, token in zip(logp, row[start:], strict=True)]
        close(fresh.logp_NT[i, :n].detach(), chosen, rtol=0, atol=1e-10)
        close(fresh.entropy_NT[i, :n].detach(), entropy, rtol=0, atol=1e-10)
        assert not fresh.logp_NT[i, n:].any() and not fresh.entropy_NT[i, n:].any()


def test_the_entropy_has_a_gradient_only_where_it_is_needed() -> None:
    r = explored("llama", torch.float64)
    policy = policy_of("llama", torch.float64)
    batch = whole(r, credited(r, torch.float64))
    assert not policy.forward(batch, NONE).entropy_NT.requires_grad
    needed = policy.forward(batch, frozenset({"entropy"})).entropy_NT
    needed.sum().backward()
    weight = policy.model.lm_head.weight
    assert weight.grad is not None

    # by finite differences, at the largest entry of the gradient
    row, column = np.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
    expected, values = float(weight.grad[row, column]), []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight[row, column] += step
            values.append(float(policy.forward(batch, NONE).entropy_NT.sum()))
            weight[row, column] -= step
    close((values[0] - values[1]) / 2e-5, expected, rtol=1e-5, atol=0)


def padded(r: Rollouts, left: int, right: int, token: int) -> Rollouts:
    def wider(x: torch.Tensor, before: int, fill: float) -> torch.Tensor:
        return torch.nn.functional.pad(x, (before, right), value=fill)

    return replace(
        r,
        tokens_NS=wider(r.tokens_NS, left, token),
        attention_mask_NS=wider(r.attention_mask_NS, left, False),
        completion_mask_NT=wider(r.completion_mask_NT, 0, False),
        logp_NT=wider(r.logp_NT, 0, 0.0),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_and_company_change_nothing(kind: str, dtype: torch.dtype) -> None:
    r = explored(kind, dtype)
    policy = policy_of(kind, dtype)
    logp_NT = policy.score(r)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    wider = policy.score(padded(r, 5, 3, 123))
    close(wider[:, : -3 or None], logp_NT, rtol=0, atol=tolerance)
    for rows in ([3], [15, 2], [1, 4, 5, 6, 9, 10, 14]):
        close(policy.score(r.take(torch.tensor(rows))), logp_NT[rows], rtol=0, atol=tolerance)
    policy.micro_batch_tokens = 1
    close(policy.score(r), logp_NT, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_at_masked_positions_changes_nothing(kind: str) -> None:
    """Other tokens where nothing attends, other stored log-probabilities and advantages where the mask is 0."""
    r = explored(kind, torch.float64)
    policy, algo = policy_of(kind, torch.float64), GRPO(kl_coef=0)
    credit = credited(r, torch.float64)
    rng = np.random.default_rng(3)
    noise_NS = torch.from_numpy(rng.integers(0, VOCABULARY, r.tokens_NS.shape))
    noise_NT = torch.from_numpy(rng.standard_normal(r.completion_mask_NT.shape))
    assert not r.attention_mask_NS.all() and not r.completion_mask_NT.all()
    other = replace(
        r,
        tokens_NS=torch.where(r.attention_mask_NS, r.tokens_NS, noise_NS),
        logp_NT=torch.where(r.completion_mask_NT, r.logp_NT, noise_NT),
    )
    noisy = replace(credit, advantage_NT=torch.where(r.completion_mask_NT, credit.advantage_NT, noise_NT))
    batches = whole(r, credit), whole(other, noisy)
    first, second = (policy.forward(b, NONE) for b in batches)
    assert torch.equal(first.logp_NT, second.logp_NT) and torch.equal(first.entropy_NT, second.entropy_NT)
    same_gradient(gradient(policy, algo, [batches[1]]), gradient(policy, algo, [batches[0]]), 1e-12)
    losses, metrics = zip(*(algo.loss(b, policy.forward(b, NONE)) for b in batches), strict=True)
    assert losses[0] == losses[1] and metrics[0] == metrics[1]


# ---------------------------------------------------------------- one denominator


def loss_by_loops(
    model: Any, reference: Any, r: Rollouts, credit: Credit, average: str, beta: float, temperature: float
) -> torch.Tensor:
    """2402.03300 eq. 3 with rho, k3 and the averages written out, a row at a time, without a mask or padding."""

    def chosen(net: Any, row: list[int], start: int) -> torch.Tensor:
        logits = net(input_ids=torch.tensor([row])).logits[0, start - 1 : -1] / temperature
        return logits.log_softmax(-1)[torch.arange(len(row) - start), row[start:]]

    kept = [i for i, keep in enumerate(credit.keep_N.tolist()) if keep]
    rows = real_rows(r)
    total = torch.zeros((), dtype=torch.float64)
    tokens = sum(len(rows[i][0]) - rows[i][1] for i in kept)
    for i in kept:
        row, start = rows[i]
        n = len(row) - start
        new, old = chosen(model, row, start), r.logp_NT[i, :n]
        ref = chosen(reference, row, start).detach()
        for t in range(n):
            rho, a = torch.exp(new[t] - old[t]), credit.advantage_NT[i, t]
            surrogate = torch.min(rho * a, torch.clamp(rho, 0.8, 1.2) * a)
            u = torch.exp(ref[t] - new[t])
            x = surrogate - beta * (u - torch.log(u) - 1)
            share = {
                "sequence": 1 / n / len(kept),
                "token": 1 / tokens,
                "sum": 1 / len(kept),
                "horizon": 1 / len(kept) / HORIZON,
            }
            total = total - x * share[average]
    return total


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_gradient_against_loops(kind: str, average: str) -> None:
    r = rewarded(explored(kind, torch.float64))
    credit = credited(r, torch.float64)
    policy = policy_of(kind, torch.float64, reference=True)
    with torch.no_grad():  # so that the ratio is not 1 and the reference is another model
        for p in policy.model.parameters():
            p.add_(0.02 * torch.sign(p))
    algo = GRPO(loss_aggregation=average, kl_coef=0.3)  # type: ignore[arg-type]
    r = policy.annotate(r, algo.needs)
    mine = build(kind, dtype=torch.float64)
    reference = copy.deepcopy(mine)
    mine.load_state_dict(policy.model.state_dict())
    loss = loss_by_loops(mine, reference, r, credit, average, 0.3, TEMPERATURE)
    loss.backward()
    expected = {n: p.grad for n, p in mine.named_parameters()}
    batches = next(updates(r, credit, Schedule(prompts=4, group_size=4), HORIZON, 35, seed=0, ordinal=0))
    assert len(batches) > 2
    same_gradient(gradient(policy, algo, batches), expected, 1e-9)
    shares = [algo.loss(b, policy.forward(b, algo.needs))[0].item() for b in batches]
    close(sum(shares), loss.item(), rtol=1e-9)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_and_metrics_are_the_same_however_an_update_is_cut(
    dtype: torch.dtype, kind: str, average: str
) -> None:
    r = rewarded(explored(kind, dtype))
    algo = GRPO(loss_aggregation=average, kl_coef=0.3, entropy_coef=0.1)  # type: ignore[arg-type]
    policy = policy_of(kind, dtype, reference=True)
    with torch.no_grad():
        for p in policy.model.parameters():
            p.add_(0.01 * torch.sign(p))
    r = policy.annotate(r, algo.needs)
    credit = credited(r, dtype)
    one = whole(r, credit)
    expected = gradient(policy, algo, [one])
    metrics = {k: float(v) for k, v in algo.loss(one, policy.forward(one, algo.needs))[1].items()}
    counts = set()
    for micro_batch_tokens in (1, 40, 90, 200, 10**9):
        batches = next(updates(r, credit, Schedule(prompts=4, group_size=4), HORIZON, micro_batch_tokens, 0, 0))
        counts.add(len(batches))
        same_gradient(gradient(policy, algo, batches), expected, EXACT[dtype])
        shares = [algo.loss(b, policy.forward(b, algo.needs))[1] for b in batches]
        close([sum(float(s[k]) for s in shares) for k in metrics], list(metrics.values()), rtol=1e-5, atol=1e-6)
    assert {1, 15} <= counts and len(counts) >= 4  # 16 completions, one of them lost


def test_groups_of_one_minibatch_make_the_gradient_of_their_own_update() -> None:
    """Each of two minibatches divides by its own totals, not by the round's."""
    r = explored("llama", torch.float64)
    credit, algo = credited(r, torch.float64), GRPO(kl_coef=0)
    policy = policy_of("llama", torch.float64)
    seen = 0
    for batches in updates(r, credit, Schedule(prompts=4, group_size=4, minibatches=2), HORIZON, 50, 0, 0):
        groups = {int(g) for b in batches for g in b.rollouts.group_N}
        rows = torch.tensor([int(g) in groups for g in r.group_N]).nonzero()[:, 0]
        alone = whole(r.take(rows), credit.take(rows))
        same_gradient(gradient(policy, algo, batches), gradient(policy, algo, [alone]), 1e-9)
        seen += len(rows)
    assert seen == len(r.group_N)


# ---------------------------------------------------------------- the reference


def test_the_reference_is_the_start_model_for_good() -> None:
    r = rewarded(explored("llama"))
    algo = GRPO()
    policy = policy_of("llama", reference=True, optim=OptimizerSettings(lr=0.05))
    first = policy.annotate(r, algo.needs)
    assert first.ref_logp_NT is not None
    close(first.ref_logp_NT, r.logp_NT, rtol=0, atol=1e-5)
    gradient_of = whole(first, credited(r, torch.float32))
    loss, _ = algo.loss(gradient_of, policy.forward(gradient_of, algo.needs))
    policy.backward(loss)
    policy.step()
    assert float((policy.score(r) - r.logp_NT).abs().max()) > 0.1, "the step moved nothing"
    assert torch.equal(policy.annotate(r, algo.needs).ref_logp_NT, first.ref_logp_NT)  # type: ignore[arg-type]
    assert policy.reference is not None
    assert not any(p.requires_grad or p.grad is not None for p in policy.reference.parameters())
    assert not first.ref_logp_NT.requires_grad
    first.ref_logp_NT.clone().requires_grad_()  # not an inference tensor: a loss may read it


def test_no_reference_where_none_is_needed() -> None:
    r = explored("llama")
    policy = policy_of("llama")
    assert policy.reference is None and policy.annotate(r, NONE) is r
    assert "reference" not in policy.memory_parts() and "reference" in policy_of("llama", reference=True).memory_parts()
    with pytest.raises(ValueError, match="value head"):
        policy.annotate(r, frozenset({"values"}))


# ---------------------------------------------------------------- the step


RATES = [
    # warm-up, decay, update, progress -> share of lr
    (0, "constant", 0, 0.0, 1.0),
    (0, "constant", 9, 0.9, 1.0),
    (4, "constant", 0, 0.0, 0.25),
    (4, "constant", 2, 0.5, 0.75),
    (4, "constant", 3, 0.5, 1.0),
    (4, "constant", 100, 1.0, 1.0),
    (0, "linear", 0, 0.0, 1.0),
    (0, "linear", 7, 0.75, 0.25),
    (0, "linear", 7, 1.0, 0.0),
    (2, "linear", 0, 0.5, 0.25),
]


@pytest.mark.parametrize(("warmup", "decay", "update", "progress", "share"), RATES)
def test_the_rate(warmup: int, decay: str, update: int, progress: float, share: float) -> None:
    close(OptimizerSettings(lr=0.3, warmup=warmup, decay=decay).rate(update, progress), 0.3 * share)


def test_each_step_uses_the_rate_of_its_update() -> None:
    policy = policy_of("llama", optim=OptimizerSettings(lr=0.1, warmup=2, decay="linear"))
    rates = []
    for policy.progress in (0.0, 0.1, 0.4):
        before = [p.detach().clone() for p in policy.model.parameters()]
        for p in policy.model.parameters():
            p.grad = torch.ones_like(p)
        rates.append(policy.step()["learning_rate"])
        moved = max(float((p.detach() - b).abs().max()) for p, b in zip(policy.model.parameters(), before, strict=True))
        close(moved, rates[-1], rtol=1e-4)  # Adam under a constant gradient moves by the rate
        assert all(p.grad is None for p in policy.model.parameters())
    close(rates, [0.05, 0.09, 0.06])
    assert policy.optimizer.param_groups[0]["taken"] == 3


def test_the_gradient_is_clipped_at_norm_1() -> None:
    for size, clipped in ((3.0, 1.0), (0.001, None)):
        policy = policy_of("llama")
        seen: list[float] = []
        take = policy.optimizer.step

        def step(*args: Any, seen: list[float] = seen, policy: LMPolicy = policy, take: Any = take) -> Any:
            seen.append(math.sqrt(sum(float((p.grad**2).sum()) for p in policy.model.parameters())))
            return take(*args)

        policy.optimizer.step = step
        for p in policy.model.parameters():
            p.grad = torch.full_like(p, size)
        norm = size * math.sqrt(sum(p.numel() for p in policy.model.parameters()))
        close(policy.step()["grad_norm"], norm, rtol=1e-5)
        close(seen, [clipped or norm], rtol=1e-5)


def test_a_step_is_adamw_without_weight_decay() -> None:
    """By hand: betas .9 and .999, eps 1e-8, no decay (a weight without gradient stays where it is)."""
    policy = policy_of("llama", torch.float64, optim=OptimizerSettings(lr=0.01))
    weight = policy.model.lm_head.weight
    start, others = weight.detach().clone(), policy.model.model.embed_tokens.weight.detach().clone()
    rng = np.random.default_rng(0)
    m, v, x = 0.0, 0.0, start.numpy().copy()
    for t in (1, 2, 3):
        g = rng.standard_normal(weight.shape) * 1e-4
        for p in policy.model.parameters():
            p.grad = torch.zeros_like(p)
        weight.grad = torch.from_numpy(g)
        assert policy.step()["grad_norm"] < 1  # not clipped
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    close(weight.detach(), x, rtol=1e-9)
    assert torch.equal(policy.model.model.embed_tokens.weight, others)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_the_run_before_a_weight_moves(value: float) -> None:
    policy = policy_of("llama")
    before = copy.deepcopy(policy.model.state_dict())
    for p in policy.model.parameters():
        p.grad = torch.zeros_like(p)
    policy.model.lm_head.weight.grad[3, 4] = value
    with pytest.raises(FloatingPointError, match="update 1"):
        policy.step()
    assert all(torch.equal(before[k], v) for k, v in policy.model.state_dict().items())


def test_dropout_is_off() -> None:
    changes = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
    r = explored("gpt2")
    model = build("gpt2", **changes)
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in model.modules())
    policy = policy_of("gpt2", reference=True, **changes)
    fresh = policy.forward(whole(r, credited(r, torch.float32)), NONE)
    close(fresh.logp_NT.detach(), r.logp_NT, rtol=0, atol=1e-5)
    assert not policy.model.training and policy.reference is not None and not policy.reference.training


def test_memory_is_counted_in_bytes() -> None:
    policy = policy_of("llama", reference=True)
    weights = 4 * sum(p.numel() for p in build("llama").parameters())
    assert policy.memory_parts() == {"policy": weights, "gradients": 0, "optimizer": 0, "reference": weights}
    for p in policy.model.parameters():
        p.grad = torch.ones_like(p)
    policy.step()
    steps = 4 * len(list(policy.model.parameters()))  # Adam's counter of each tensor
    assert policy.memory_parts()["gradients"] == weights
    assert policy.memory_parts()["optimizer"] == 2 * weights + steps


# ---------------------------------------------------------------- rows without a gradient


def half_silent(dtype: torch.dtype = torch.float64) -> Rollouts:
    """Two of four groups have one reward each."""
    r = rewarded(explored("llama", dtype))
    mixed_N = torch.arange(len(r.group_N)) % 2
    return replace(r, reward_N=torch.where(r.group_N % 2 == 0, 1.0, mixed_N.float()))


def one_update(
    policy: LMPolicy, algo: GRPO, r: Rollouts, skip: bool
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Metrics of an update with and without the skip, and the gradient's place: the optimiser's first moment."""
    credit = algo.credit(r)
    if not skip:
        credit = replace(credit, zero_gradient_N=None)
    metrics: dict[str, float] = {}
    for batch in next(updates(r, credit, Schedule(prompts=4, group_size=4), HORIZON, 60, 0, 0)):
        loss, told = algo.loss(
            batch, sampler_outputs(batch) if batch.zero_gradient else policy.forward(batch, algo.needs)
        )
        if not batch.zero_gradient:
            policy.backward(loss)
        for name, x in {"loss": loss.detach(), **told}.items():
            metrics[name] = metrics.get(name, 0.0) + float(x)
    metrics |= policy.step()
    moments = {n: policy.optimizer.state[p]["exp_avg"] for n, p in policy.model.named_parameters()}
    return metrics, moments


@pytest.mark.parametrize("average", AVERAGES)
def test_rows_without_a_gradient_are_not_read_and_nothing_shows(average: str) -> None:
    r, algo = half_silent(), GRPO(kl_coef=0, loss_aggregation=average)  # type: ignore[arg-type]
    plain, skipping = policy_of("llama", torch.float64), policy_of("llama", torch.float64)
    read = []
    skipping.lm.module.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    expected, moments = one_update(plain, algo, r, skip=False)
    metrics, found = one_update(skipping, algo, r, skip=True)
    credit = algo.credit(r)
    silent = int((credit.zero_gradient_N & credit.keep_N).sum())  # type: ignore[operator]
    assert silent == 8 and 0 < sum(read) < 0.7 * int(r.attention_mask_NS.sum())
    close(list(metrics.values()), [expected[name] for name in metrics], rtol=1e-9, atol=1e-12)
    for name, m in moments.items():
        close(found[name], m, rtol=1e-9, atol=1e-15)


def test_an_update_without_any_gradient_is_a_step_all_the_same() -> None:
    """The moments fade and the weights go on by them, as after a backward pass of zeros."""
    r, algo = half_silent(), GRPO(kl_coef=0)
    silent = replace(r, reward_N=torch.ones_like(r.reward_N))  # type: ignore[arg-type]
    ends = []
    for skip in (False, True):
        policy = policy_of("llama", torch.float64, optim=OptimizerSettings(lr=0.01))
        one_update(policy, algo, r, skip=skip)
        one_update(policy, algo, silent, skip=skip)
        ends.append(policy.model.state_dict())
    for name, x in ends[0].items():
        close(ends[1][name], x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "inert"),
    [
        ({"kl_coef": 0.0}, True),
        ({"kl_coef": 0.1}, False),
        ({"kl_coef": 0.0, "entropy_coef": 0.01}, False),
        ({"kl_coef": 0.1, "kl_placement": "reward"}, False),  # the penalty makes rewards differ
    ],
)
def test_what_has_a_gradient_is_never_skipped(settings: dict[str, float], inert: bool) -> None:
    r = replace(half_silent(), ref_logp_NT=-torch.rand(half_silent().completion_mask_NT.shape, dtype=torch.float64))
    credit = GRPO(**settings).credit(r)  # type: ignore[arg-type]
    assert credit.zero_gradient_N is not None and bool((credit.zero_gradient_N & credit.keep_N).any()) is inert
