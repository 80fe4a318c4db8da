"""The value function: against plain forwards, and as a second half of the optimiser that the policy does not feel."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from algos import Batch, Critic, Rollouts, Totals
from algos.ppo import PPO
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from tests.harness.models.test_policy import padded, same_gradient
from tests.harness.tiny_models import KINDS, VOCABULARY, build, explored, fill, policy_of, real_rows
from tests.helpers import close

HIDDEN = 32
CRITICS: list[Critic] = ["shared", "separate"]
VALUES: frozenset[Any] = frozenset({"values"})
DTYPE = torch.float64
EXACT = 1e-6  # of a gradient in float64: RMSNorm computes in float32 all the same
PARTS = ("policy", "critic")

each_kind = pytest.mark.parametrize("kind", KINDS)
each_critic = pytest.mark.parametrize("critic", CRITICS)


def valued(kind: str, critic: Critic, dtype: torch.dtype = DTYPE, **settings: Any) -> LMPolicy:
    """With a head that is not zero and, where the critic has a trunk, one that is not the policy's."""
    policy = policy_of(kind, dtype, critic=critic, **settings)
    assert policy.critic is not None
    if policy.critic.trunk is not None:
        fill(policy.critic.trunk, seed=7)
    rng = np.random.default_rng(8)
    with torch.no_grad():
        policy.critic.head.weight.copy_(torch.from_numpy(rng.standard_normal(HIDDEN)))
        policy.critic.head.bias.fill_(0.3)
    return policy


def batch_of(r: Rollouts) -> Batch:
    """All of the rows; a critic reads no credit."""
    return Batch(r, None, Totals(len(r.group_N), int(r.completion_mask_NT.sum()), 12))  # type: ignore[arg-type]


def value_of(policy: LMPolicy, r: Rollouts) -> torch.Tensor:
    found = policy.annotate(r, VALUES).value_NT
    assert found is not None
    return found


def plain_values(trunk: Any, head: Any, row: list[int], start: int) -> torch.Tensor:
    """V of the states before row[start:], from one forward over the unpadded row alone.  With gradient."""
    hidden = trunk(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0]
    return torch.stack([(hidden[t - 1] * head.weight).sum() + head.bias for t in range(start, len(row))])


def models_of(policy: LMPolicy) -> tuple[Any, Any]:
    """The trunk that the critic reads, and its head: copies."""
    assert policy.critic is not None
    return copy.deepcopy(policy.critic.trunk or policy.model), copy.deepcopy(policy.critic.head)


def weights_of(policy: LMPolicy) -> dict[str, torch.Tensor]:
    return {f"{part}.{k}": v.clone() for part, m in policy.modules().items() for k, v in m.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(x, two[name]) for name, x in one.items())


def grads(policy: LMPolicy, part: str) -> list[torch.Tensor]:
    return [p.grad for p in policy.modules()[part].parameters() if p.grad is not None]


def pull(policy: LMPolicy, seed: int, scale: float = 1.0, only: str | None = None) -> None:
    """A gradient for every weight, the same for the same seed; the critic's times `scale`."""
    rng = np.random.default_rng(seed)
    for part, module in policy.modules().items():
        for p in module.parameters():
            grad = torch.from_numpy(np.asarray(rng.standard_normal(p.shape))).to(p.dtype)
            if only in (None, part):
                p.grad = grad * (scale if part == "critic" else 1.0)


# ---------------------------------------------------------------- values


@each_kind
@each_critic
def test_at_the_start_every_value_is_zero(kind: str, critic: Critic) -> None:
    r = explored(kind)
    policy = policy_of(kind, critic=critic)
    assert not value_of(policy, r).any() and value_of(policy, r).shape == r.completion_mask_NT.shape


@each_kind
@each_critic
def test_values_against_plain_forwards(kind: str, critic: Critic) -> None:
    """w . h + b at the position before the token, from unpadded rows one at a time; 0 where the mask is."""
    r = explored(kind, DTYPE)
    policy = valued(kind, critic)
    value_NT, (trunk, head) = value_of(policy, r), models_of(policy)
    assert not r.completion_mask_NT.all() and head.bias.item() != 0
    for i, (row, start) in enumerate(real_rows(r)):
        n = len(row) - start
        with torch.no_grad():
            close(value_NT[i, :n], plain_values(trunk, head, row, start), rtol=0, atol=1e-10)
        assert not value_NT[i, n:].any()


@each_kind
@each_critic
def test_annotated_values_are_those_of_the_first_forward(kind: str, critic: Critic) -> None:
    r = explored(kind, DTYPE)
    policy = valued(kind, critic)
    fresh = policy.forward(batch_of(r), VALUES)
    assert fresh.value_NT is not None and fresh.value_NT.requires_grad
    close(fresh.value_NT.detach(), value_of(policy, r), rtol=0, atol=1e-12)
    assert policy.forward(batch_of(r), frozenset()).value_NT is None


@each_kind
@each_critic
def test_log_probabilities_do_not_know_of_the_critic(kind: str, critic: Critic) -> None:
    r = explored(kind, DTYPE)
    policy, alone = valued(kind, critic), policy_of(kind, DTYPE)
    with_critic, without = policy.forward(batch_of(r), VALUES), alone.forward(batch_of(r), frozenset())
    assert torch.equal(with_critic.logp_NT, without.logp_NT)
    assert torch.equal(with_critic.entropy_NT, without.entropy_NT)
    assert torch.equal(policy.score(r), alone.score(r))


@each_kind
@each_critic
def test_padding_and_company_change_no_value(kind: str, critic: Critic) -> None:
    r = explored(kind, DTYPE)
    policy = valued(kind, critic)
    value_NT = value_of(policy, r)
    wider = value_of(policy, padded(r, 5, 3, 123))
    close(wider[:, :-3], value_NT, rtol=0, atol=1e-12)
    assert not wider[:, -3:].any()
    for rows in ([3], [15, 2], [1, 4, 5, 6, 9, 10, 14]):
        close(value_of(policy, r.take(torch.tensor(rows))), value_NT[rows], rtol=0, atol=1e-12)
    for policy.micro_batch_tokens in (1, 50):
        close(value_of(policy, r), value_NT, rtol=0, atol=1e-12)


@each_kind
@each_critic
def test_what_stands_at_padding_changes_no_value(kind: str, critic: Critic) -> None:
    r = explored(kind, DTYPE)
    noise_NS = torch.from_numpy(np.random.default_rng(3).integers(0, VOCABULARY, r.tokens_NS.shape))
    other = replace(r, tokens_NS=torch.where(r.attention_mask_NS, r.tokens_NS, noise_NS))
    policy = valued(kind, critic)
    assert torch.equal(value_of(policy, other), value_of(policy, r))


def test_annotated_values_carry_no_gradient() -> None:
    r = explored("llama")
    value_NT = value_of(valued("llama", "shared", torch.float32), r)
    assert not value_NT.requires_grad and value_NT.dtype == torch.float32
    value_NT.clone().requires_grad_()  # not an inference tensor: a loss may read it


# ---------------------------------------------------------------- gradients


@each_kind
@each_critic
def test_the_gradient_of_a_value_loss_against_loops(kind: str, critic: Critic) -> None:
    """sum_t (V_t - 1)^2 / 2: in a shared trunk all the way down, in a separate one instead of the policy."""
    r = explored(kind, DTYPE)
    policy = valued(kind, critic)
    trunk, head = models_of(policy)
    total = torch.zeros((), dtype=DTYPE)
    for row, start in real_rows(r):
        total = total + ((plain_values(trunk, head, row, start) - 1) ** 2).sum() / 2
    total.backward()

    value_NT = policy.forward(batch_of(r), VALUES).value_NT
    assert value_NT is not None and policy.critic is not None
    loss = torch.where(r.completion_mask_NT, (value_NT - 1) ** 2, 0).sum() / 2
    close(loss.item(), total.item(), rtol=1e-10)
    policy.backward(loss)
    read: Any = policy.model if critic == "shared" else policy.critic.trunk
    found = {n: p.grad for n, p in read.named_parameters() if p.grad is not None}
    same_gradient(found, {n: p.grad for n, p in trunk.named_parameters() if p.grad is not None}, EXACT)
    close(policy.critic.head.weight.grad, head.weight.grad, rtol=EXACT)
    close(policy.critic.head.bias.grad, head.bias.grad, rtol=EXACT)
    if critic == "separate":
        assert grads(policy, "policy") == []


@each_kind
@each_critic
def test_a_frozen_policy_learns_nothing_and_its_critic_does(kind: str, critic: Critic) -> None:
    """Of a shared critic the head alone moves.  It is no update of the policy's: nothing counts it as one."""
    r = explored(kind)
    policy = valued(kind, critic, torch.float32)
    assert policy.critic is not None
    policy.value_only = True
    fresh = policy.forward(batch_of(r), VALUES)
    assert fresh.value_NT is not None and not fresh.logp_NT.requires_grad
    policy.backward(((fresh.value_NT - 1) ** 2).sum() - fresh.logp_NT.sum())
    assert grads(policy, "policy") == []
    assert len(grads(policy, "critic")) == len(list(policy.critic.parameters()))
    before = weights_of(policy)
    told = policy.step()
    after = weights_of(policy)
    assert set(told) == {"critic/grad_norm", "critic/learning_rate"}
    assert all(torch.equal(after[k], x) for k, x in before.items() if k.startswith("policy."))
    moved = [k for k, x in before.items() if k.startswith("critic.") and not torch.equal(after[k], x)]
    assert {"critic.head.weight", "critic.head.bias"} <= set(moved)
    assert critic == "shared" or any(k.startswith("critic.trunk.") for k in moved)
    assert not any(p in policy.optimizer.state for p in policy.model.parameters())
    assert [group["taken"] for group in policy.optimizer.param_groups] == [0, 1]


def test_thawed_the_policy_steps_as_if_it_had_never_been_frozen() -> None:
    """The same gradient after three warm-up steps and without them: the same bits."""
    warm, cold = (
        valued("llama", "separate", torch.float32, optim=OptimizerSettings(lr=0.1, warmup=4)) for _ in range(2)
    )
    warm.value_only = True
    for seed in range(3):
        pull(warm, seed, only="critic")
        warm.step()
    warm.value_only = False
    for policy in (warm, cold):
        pull(policy, 9)
        policy.step()
    one, two = weights_of(warm), weights_of(cold)
    assert all(torch.equal(x, two[k]) for k, x in one.items() if k.startswith("policy."))
    assert not torch.equal(one["critic.head.weight"], two["critic.head.weight"])


@each_kind
def test_a_separate_critic_and_its_policy_do_not_feel_each_other(kind: str) -> None:
    r = explored(kind)
    policy, alone = (valued(kind, "separate", torch.float32) for _ in range(2))
    fresh, half = policy.forward(batch_of(r), VALUES), alone.forward(batch_of(r), VALUES)
    assert fresh.value_NT is not None and half.value_NT is not None
    policy.backward((fresh.value_NT - 1).square().sum() - fresh.logp_NT.sum())
    alone.backward(-half.logp_NT.sum())
    assert grads(alone, "critic") == [] and len(grads(alone, "policy")) > 0
    for one, two in zip(grads(policy, "policy"), grads(alone, "policy"), strict=True):
        assert torch.equal(one, two)
    alone.model.zero_grad(set_to_none=True)
    alone.backward((half.value_NT - 1).square().sum())
    assert grads(alone, "policy") == []
    for one, two in zip(grads(policy, "critic"), grads(alone, "critic"), strict=True):
        assert torch.equal(one, two)


def ppo_batch(policy: LMPolicy, algo: PPO, kind: str) -> Batch:
    """A round of other days: the sampler was another policy, so that ratios, clips and values all have moved."""
    r = explored(kind, DTYPE)
    rng = np.random.default_rng(4)
    moved_NT = torch.from_numpy(rng.normal(0, 0.3, r.logp_NT.shape))
    r = replace(
        policy.annotate(replace(r, logp_NT=torch.where(r.completion_mask_NT, r.logp_NT + moved_NT, 0)), VALUES),
        reward_N=torch.from_numpy(rng.integers(0, 2, len(r.group_N))).to(DTYPE),
        valid_N=torch.ones_like(r.group_N, dtype=torch.bool),
    )
    assert r.value_NT is not None
    credit = algo.credit(r)
    r = replace(
        r, value_NT=torch.where(r.completion_mask_NT, r.value_NT + moved_NT, 0), ref_logp_NT=r.logp_NT - moved_NT
    )
    return Batch(r, credit, Totals(len(r.group_N), int(r.completion_mask_NT.sum()), 12))


def sent_back(policy: LMPolicy, algo: PPO, batch: Batch, together: bool) -> tuple[float, dict[str, torch.Tensor], int]:
    """(loss, gradients, readings) of a batch whose critic is read beside the policy, or before it."""
    readings = [policy.forward(batch, algo.needs)] if together else policy.forward_passes(batch, algo.needs)
    count = 0
    for count, fresh in enumerate(readings, 1):  # noqa: B007
        loss, _ = algo.loss(batch, fresh)
        policy.backward(loss)
    found = {f"{part}.{n}": p.grad for part, m in policy.modules().items() for n, p in m.named_parameters()}
    return loss.item(), {n: g for n, g in found.items() if g is not None}, count


@each_kind
@each_critic
@pytest.mark.parametrize(
    "settings", [{"kl_coef": 0.0}, {"kl_placement": "loss"}, {"entropy_coef": 0.01, "kl_coef": 0.0}], ids=str
)
def test_a_critic_read_by_itself_changes_no_gradient(kind: str, critic: Critic, settings: dict[str, Any]) -> None:
    """Loss and every gradient, bit for bit, against both read at once; one reading where the trunk is shared."""
    algo = PPO(critic=critic, **settings)
    one, two = (valued(kind, critic) for _ in range(2))
    batch = ppo_batch(one, algo, kind)
    together, apart = sent_back(one, algo, batch, True), sent_back(two, algo, batch, False)
    assert apart[2] == (2 if critic == "separate" else 1)
    assert apart[0] == together[0] and same(apart[1], together[1])
    assert any(n.startswith("critic.") for n in apart[1]) and any(n.startswith("policy.") for n in apart[1])


def test_a_loss_that_is_no_sum_of_policy_and_value_is_refused() -> None:
    policy, r = valued("llama", "separate"), explored("llama", DTYPE)
    with pytest.raises(ValueError, match=r"algo.loss: with critic=separate, a sum of"):
        for fresh in policy.forward_passes(batch_of(r), VALUES):
            assert fresh.value_NT is not None
            policy.backward((fresh.value_NT * (fresh.logp_NT - r.logp_NT + 1 + fresh.logp_NT.requires_grad)).sum())


def test_a_frozen_policy_is_read_once() -> None:
    policy, r = valued("llama", "separate"), explored("llama", DTYPE)
    policy.value_only = True
    (fresh,) = policy.forward_passes(batch_of(r), VALUES)
    assert fresh.value_NT is not None and fresh.value_NT.requires_grad and not fresh.logp_NT.requires_grad


@each_kind
def test_a_separate_critic_starts_as_a_copy_of_the_start_models_trunk(kind: str) -> None:
    policy = policy_of(kind, critic="separate")
    assert policy.critic is not None and policy.critic.trunk is not None
    mine, theirs = policy.critic.trunk.state_dict(), policy.model.base_model.state_dict()
    assert same(mine, theirs) and not policy.critic.trunk.training
    assert not {x.data_ptr() for x in mine.values()} & {x.data_ptr() for x in policy.model.state_dict().values()}
    assert all(p.requires_grad for p in policy.critic.parameters())


def test_dropout_is_off_in_the_critic() -> None:
    changes: dict[str, Any] = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
    r = explored("gpt2", DTYPE)
    for critic in CRITICS:
        policy, sure = valued("gpt2", critic, **changes), valued("gpt2", critic)
        assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in policy.model.modules())
        fresh = policy.forward(batch_of(r), VALUES)
        close(fresh.value_NT.detach(), value_of(sure, r), rtol=0, atol=1e-12)  # type: ignore[union-attr]


# ---------------------------------------------------------------- the step


@each_critic
def test_each_half_has_its_own_rate_and_its_own_warm_up(critic: Critic) -> None:
    """lr 0.1, warm-up over 4 updates, the critic at 3 times the rate and two updates ahead."""
    policy = valued("llama", critic, optim=OptimizerSettings(lr=0.1, warmup=4, decay="linear"), critic_lr=3.0)
    told = []
    for step in range(5):
        policy.value_only = step < 2
        pull(policy, step, only="critic" if policy.value_only else None)
        told.append(policy.step())
    assert [t.get("learning_rate") for t in told][:2] == [None, None]
    close([t["learning_rate"] for t in told[2:]], [0.025, 0.05, 0.075])
    close([t["critic/learning_rate"] for t in told], [0.075, 0.15, 0.225, 0.3, 0.3])
    policy.progress = 0.75
    pull(policy, 5)
    last = policy.step()
    close([last["learning_rate"], last["critic/learning_rate"]], [0.025, 0.075])


@each_critic
def test_a_weight_moves_by_the_rate_of_its_half(critic: Critic) -> None:
    """Adam's first step is the rate itself, whatever the gradient."""
    policy = valued("llama", critic, optim=OptimizerSettings(lr=0.01), critic_lr=5.0)
    before = weights_of(policy)
    for part in PARTS:
        for p in policy.modules()[part].parameters():
            p.grad = torch.ones_like(p)
    policy.step()
    for name, x in weights_of(policy).items():
        rate = 0.01 if name.startswith("policy.") else 0.05
        close(before[name] - x, torch.full_like(x, rate), rtol=1e-5)


@each_critic
def test_a_huge_critic_gradient_leaves_the_policys_step_alone(critic: Critic) -> None:
    """Each half is clipped at its own norm."""
    steps = []
    for scale in (1e-3, 1.0, 1e6):
        policy = valued("llama", critic, torch.float32)
        pull(policy, 0, scale)
        norms = [math.sqrt(sum(float(g.double().square().sum()) for g in grads(policy, part))) for part in PARTS]
        told = policy.step()
        close([told["grad_norm"], told["critic/grad_norm"]], norms, rtol=1e-5)
        steps.append({k: x for k, x in weights_of(policy).items() if k.startswith("policy.")})
    assert same(steps[0], steps[1]) and same(steps[1], steps[2])


@each_critic
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_named_and_moves_nothing(critic: Critic, part: str, value: float) -> None:
    policy = valued("llama", critic, torch.float32)
    assert policy.critic is not None
    pull(policy, 0)
    policy.step()
    before = weights_of(policy)
    pull(policy, 1)
    spoilt: Any = policy.model.lm_head if part == "policy" else policy.critic.head
    spoilt.weight.grad.view(-1)[4] = value
    with pytest.raises(FloatingPointError, match=f"the {part}'s gradient norm is {value} at update 2"):
        policy.step()
    assert same(weights_of(policy), before)


# ---------------------------------------------------------------- memory and state


@pytest.mark.parametrize("kind", ["llama", "llama_tied"])
@each_critic
def test_the_critics_memory_is_counted_in_bytes(kind: str, critic: Critic) -> None:
    """A head is 32 weights and a bias; a trunk is the model without its output head, which a tied model never had."""
    model = build(kind)
    weights = 4 * sum(p.numel() for p in model.parameters())
    outside = 4 * VOCABULARY * HIDDEN if kind == "llama" else 0
    mine = 4 * (HIDDEN + 1) + (weights - outside if critic == "separate" else 0)
    policy = policy_of(kind, critic=critic)
    assert policy.memory_parts() == {"policy": weights, "critic": mine, "gradients": 0, "optimizer": 0}
    pull(policy, 0)
    policy.step()
    tensors = len(list(model.parameters())) + 2
    if critic == "separate":
        tensors += len(list(model.base_model.parameters()))
    assert policy.memory_parts() == {
        "policy": weights,
        "critic": mine,
        "gradients": weights + mine,
        "optimizer": 2 * (weights + mine) + 4 * tensors,  # two moments, and Adam's counter of each tensor
    }


@each_critic
def test_a_frozen_policy_has_no_gradient_and_no_moments_in_memory(critic: Critic) -> None:
    policy = policy_of("llama", critic=critic)
    policy.value_only = True
    pull(policy, 0, only="critic")
    policy.step()
    parts = policy.memory_parts()
    assert policy.critic is not None
    assert parts["gradients"] == parts["critic"]
    assert parts["optimizer"] == 2 * parts["critic"] + 4 * len(list(policy.critic.parameters()))


def test_no_critic_where_none_is_asked_for() -> None:
    policy = policy_of("llama")
    assert policy.critic is None and "critic" not in policy.memory_parts() and "critic" not in policy.state()
    assert len(policy.optimizer.param_groups) == 1


@each_critic
def test_a_loaded_state_goes_on_to_the_same_bits(critic: Critic) -> None:
    """After three steps, the first of them frozen, with rates that still rise."""

    def stepped(policy: LMPolicy, seeds: range) -> list[dict[str, float]]:
        told = []
        for seed in seeds:
            policy.value_only = seed == 0
            pull(policy, seed, only="critic" if policy.value_only else None)
            told.append(policy.step())
        return told

    optim = OptimizerSettings(lr=0.01, warmup=10)
    policy, other = (valued("llama", critic, torch.float32, optim=optim, critic_lr=2.0) for _ in range(2))
    stepped(policy, range(3))
    kept, there = copy.deepcopy(policy.state()), weights_of(policy)
    told, end = stepped(policy, range(3, 6)), weights_of(policy)
    policy.load(copy.deepcopy(kept))
    assert same(weights_of(policy), there) and not same(there, end)
    assert stepped(policy, range(3, 6)) == told and same(weights_of(policy), end)
    other.load(kept)  # and in another policy, whose optimiser had nothing yet
    assert same(weights_of(other), there)
    assert stepped(other, range(3, 6)) == told and same(weights_of(other), end)
