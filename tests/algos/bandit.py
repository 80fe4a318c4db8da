"""A model small enough to check by hand, behind the same interface as a language model, and a loop to train it.

Shapes: C contexts, T tokens, V arms; N completions in P groups.  A prompt is one token, the context; a completion is
one arm a token.  The reward is 1 where every token is the right arm, else 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from algos import Algorithm, Batch, Credit, Policy, PolicyOutputs, Requirement, Rollouts, Schedule, Totals

ARMS, WIDTH = 5, 2
RIGHT = [[1, 3], [4, 0], [2]]  # the right arms in each context; the last is answered with one token
SOLUTION_CT = torch.tensor([row + [0] * (WIDTH - len(row)) for row in RIGHT])
ANSWER_CT = torch.tensor([[t < len(row) for t in range(WIDTH)] for row in RIGHT])
BASE = Schedule(prompts=6, group_size=16)
ROUNDS = 80


class BanditPolicy(Policy):
    """A table of logits, a table of values (whose state is the context, the place and the arm before), and Adam."""

    def __init__(self, lr: float = 0.15) -> None:
        self.logits_CTV = torch.zeros(len(RIGHT), WIDTH, ARMS, dtype=torch.float64, requires_grad=True)
        self.value_CTV = torch.zeros(len(RIGHT), WIDTH, ARMS, dtype=torch.float64, requires_grad=True)
        self.reference_CTV = self.logits_CTV.detach().clone()
        self.optimizer = torch.optim.Adam([self.logits_CTV, self.value_CTV], lr=lr)

    def annotate(self, rollouts: Rollouts, needs: frozenset[Requirement]) -> Rollouts:
        context_N = rollouts.tokens_NS[:, 0]
        if "reference" in needs:
            rollouts = replace(rollouts, ref_logp_NT=_chosen(self.reference_CTV[context_N].log_softmax(2), rollouts))
        if "values" in needs:
            rollouts = replace(rollouts, value_NT=self._values(rollouts).detach())
        return rollouts

    def forward(self, batch: Batch, needs: frozenset[Requirement]) -> PolicyOutputs:
        logits_CTV = self.logits_CTV.detach() if self.value_only else self.logits_CTV
        logp_NTV = logits_CTV[batch.rollouts.tokens_NS[:, 0]].log_softmax(2)
        entropy_NT = torch.where(batch.rollouts.completion_mask_NT, -(logp_NTV.exp() * logp_NTV).sum(2), 0)
        return PolicyOutputs(
            logp_NT=_chosen(logp_NTV, batch.rollouts),
            entropy_NT=entropy_NT if "entropy" in needs else entropy_NT.detach(),
            value_NT=self._values(batch.rollouts) if "values" in needs else None,
        )

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> dict[str, float]:
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {}

    def _values(self, rollouts: Rollouts) -> Tensor:
        context_N, token_NT = rollouts.tokens_NS[:, 0], rollouts.tokens_NS[:, -WIDTH:]
        before_NT = torch.cat([torch.zeros_like(token_NT[:, :1]), token_NT[:, :-1]], 1)
        value_NT = self.value_CTV[context_N].gather(2, before_NT[:, :, None])[:, :, 0]
        return torch.where(rollouts.completion_mask_NT, value_NT, 0)

    def expected_reward(self) -> float:
        """Exactly: the probability of the right answer, averaged over the contexts."""
        right_CT = self.logits_CTV.detach().softmax(2).gather(2, SOLUTION_CT[:, :, None])[:, :, 0]
        return torch.where(ANSWER_CT, right_CT, 1).prod(1).mean().item()


def _chosen(logp_NTV: Tensor, rollouts: Rollouts) -> Tensor:
    token_NT1 = rollouts.tokens_NS[:, -WIDTH:, None]
    return torch.where(rollouts.completion_mask_NT, logp_NTV.gather(2, token_NT1)[:, :, 0], 0)


def _greedy_reward(policy: BanditPolicy) -> Tensor:
    """1 where the likeliest arms of a context are the right ones.  (C,)."""
    best_CT = policy.logits_CTV.detach().argmax(2)
    return ((best_CT == SOLUTION_CT) | ~ANSWER_CT).all(1).double()


def sample(policy: BanditPolicy, schedule: Schedule, rng: torch.Generator) -> Rollouts:
    """Prompts, completions and rewards of one round; the contexts take turns.  A dataset has the right answers."""
    group_N = torch.arange(schedule.prompts).repeat_interleave(schedule.group_size)
    context_N = group_N % len(RIGHT)
    logp_NTV = policy.logits_CTV.detach()[context_N].log_softmax(2)
    mask_NT = ANSWER_CT[context_N]
    token_NT = torch.multinomial(logp_NTV.exp().flatten(0, 1), 1, generator=rng).view(-1, WIDTH)
    token_NT = SOLUTION_CT[context_N] if schedule.source == "dataset" else token_NT
    right_N = ((token_NT == SOLUTION_CT[context_N]) | ~mask_NT).all(1)
    last_NT = mask_NT & (mask_NT.cumsum(1) == mask_NT.sum(1, keepdim=True))
    every_N = torch.ones_like(right_N)
    rollouts = Rollouts(
        tokens_NS=torch.cat([context_N[:, None], torch.where(mask_NT, token_NT, 0)], 1),
        attention_mask_NS=torch.cat([every_N[:, None], mask_NT], 1),
        completion_mask_NT=mask_NT,
        logp_NT=torch.zeros_like(mask_NT, dtype=torch.float64),
        group_N=group_N,
        reward_N=right_N.double(),
        valid_N=every_N,
        finished_N=every_N,
        solution_id_N=(torch.where(mask_NT, token_NT, 0) * torch.tensor([1, ARMS])).sum(1),
        step_end_NT=last_NT,
        step_reward_NT=torch.where(last_NT, right_N[:, None].double(), 0),
        metadata={
            "problem": context_N,
            "probe_reward": _greedy_reward(policy)[context_N],
            "completion_embedding": torch.ones(len(context_N), 1),  # all alike
        },
    )
    return replace(rollouts, logp_NT=_chosen(logp_NTV, rollouts))


def updates(rollouts: Rollouts, credit: Credit, schedule: Schedule) -> Iterator[list[Batch]]:
    """Each update of the round, by whole groups, cut into two micro-batches of unequal size, by whole units."""
    for _ in range(schedule.epochs):
        for groups in torch.arange(schedule.prompts).chunk(schedule.minibatches):
            index = (torch.isin(rollouts.group_N, groups) & credit.keep_N).nonzero()[:, 0]
            totals = Totals(len(index), int(rollouts.completion_mask_NT[index].sum()), WIDTH)
            units = index if credit.pair_N is None else credit.pair_N[index]
            number_U, pair_N = units.unique(return_inverse=True)
            early_N = pair_N < len(number_U) // 3
            parts = [index[early_N], index[~early_N]]
            yield [Batch(rollouts.take(part), credit.take(part), totals) for part in parts]


def train(algo: Algorithm, seed: int = 0) -> BanditPolicy:
    """Sample, reward, credit, loss, step.  Every algorithm gets the same number of completions."""
    schedule = algo.schedule(BASE)
    rounds = schedule.rounds or ROUNDS
    together = ROUNDS // rounds  # where all is collected before it is trained on, an update still sees `prompts` groups
    minibatches = schedule.minibatches * (together if schedule.source == "initial" else 1)
    schedule = replace(schedule, prompts=schedule.prompts * together, minibatches=minibatches)
    policy, start, rng = BanditPolicy(), BanditPolicy(), torch.Generator().manual_seed(seed)
    for number in range(rounds):
        rollouts = sample(start if schedule.source == "initial" else policy, schedule, rng)
        policy = BanditPolicy() if schedule.source == "initial" else policy
        policy.value_only = number < schedule.critic_warmup
        with torch.no_grad():
            rollouts = policy.annotate(rollouts, algo.needs)
            credit = algo.credit(rollouts)
        for update in updates(rollouts, credit, schedule):
            for batch in update:
                loss, _ = algo.loss(batch, policy.forward(batch, algo.needs))
                policy.backward(loss)
            policy.step()
        algo = algo.adapt(rollouts)
    return policy
