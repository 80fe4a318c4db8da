"""What flows along the arrow: Rollouts -> Credit -> Batch -> loss.

Shapes: P prompts, G completions per prompt, N = P*G completions, S whole sequence, T completion tokens.
`group_N[i]` is the prompt that completion i answers.  `completion_mask_NT` is 1 where the policy chose the token;
padding and tool output are 0.  This is the only polarity in the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from algos.ops.aggregate import Totals

__all__ = [
    "Batch",
    "Credit",
    "Critic",
    "Likelihood",
    "Metrics",
    "PolicyOutputs",
    "Requirement",
    "Rollouts",
    "Schedule",
    "Source",
    "Totals",
]

Requirement = Literal[
    "reference", "values", "entropy", "steps", "metadata", "greedy", "probes",
    "embedding", "text", "completion_embedding",
]  # fmt: skip
Critic = Literal["none", "shared", "separate"]
Source = Literal["live", "initial", "dataset"]  # of completions
Likelihood = Literal["sampler", "plain"]  # at the temperature that was sampled at, or at 1
Metrics = Mapping[str, Tensor]


def _rows(container: Rollouts | Credit, index: Tensor) -> dict[str, Any]:
    """The container's tensors, with only the completions in `index`."""
    return {k: v[index] for k, v in vars(container).items() if isinstance(v, Tensor)}


@dataclass(frozen=True)
class Rollouts:
    """One round of sampled completions, as the stages of the loop fill it in.

    A sequence is a prompt, padded on the left, followed by T columns of completion, padded on the right, so
    that column S-T is every row's first sampled token.  Two prompts of 3 and 2 tokens, one completion each
    of 2 and 3 tokens (9 ends a completion):

        tokens_NS   [[5, 6, 7, 8, 9, 0],      completion_mask_NT [[1, 1, 0],
                     [0, 5, 6, 7, 8, 9]]                          [1, 1, 1]]
    """

    tokens_NS: Tensor  # int64
    attention_mask_NS: Tensor  # bool, 1 at every real token, prompt and completion alike
    completion_mask_NT: Tensor  # bool
    logp_NT: Tensor  # the sampler's own log-probabilities, at the temperature of Schedule.likelihood; 0 at mask 0
    group_N: Tensor  # int64, 0..P-1
    entropy_NT: Tensor | None = None  # of the distribution each token was drawn from, in nats; 0 at mask 0
    reward_N: Tensor | None = None  # set by the reward stage
    valid_N: Tensor | None = None  # bool; 0 where the verifier failed: the row leaves its group and every denominator
    finished_N: Tensor | None = None  # bool; 0 where the completion was cut at its token limit
    solution_id_N: Tensor | None = (
        None  # int64, equal exactly where two completions of a task count as the same solution
    )
    step_end_NT: Tensor | None = None  # bool, 1 at the last token of each step
    step_reward_NT: Tensor | None = None  # the step's reward at step_end_NT, 0 elsewhere; the final answer is a step
    ref_logp_NT: Tensor | None = None  # annotate, where an algorithm needs "reference"
    value_NT: Tensor | None = None  # V of the state in which each token was chosen; annotate, for "values"
    # What is known of a completion's prompt, a row per completion.  For "metadata": `problem` (int64, equal for equal
    # problems), `round`, and `difficulty`, `features` (N, F) and `source` as the task declares them; for "embedding",
    # "text", "completion_embedding": `embedding` by the policy's states, `text` by words, `completion_embedding` of the
    # completion itself, each (N, E); for "greedy" and "probes", judged and not trained on: `probe_reward` (their mean)
    # and `probe_count`.
    metadata: Mapping[str, Tensor] = field(default_factory=dict)

    def take(self, index: Tensor) -> Rollouts:
        known = {name: x[index] for name, x in self.metadata.items()}
        return replace(self, **_rows(self, index), metadata=known)


@dataclass(frozen=True)
class Credit:
    """What each sampled token is worth; no gradient flows through it.

    With rewards [1, 0] in one group of two, GRPO gives each token of the first completion +1 and each
    token of the second -1.
    """

    advantage_NT: Tensor  # 0 at mask 0
    keep_N: Tensor  # bool; 0 leaves the update and its denominators (a filter, or a row the verifier lost)
    return_NT: Tensor | None = None  # the value model's targets
    pair_N: Tensor | None = None  # int64; kept rows of one unit (a pair) are read in one micro-batch; None: a row each
    zero_gradient_N: Tensor | None = None  # bool; 1 where the loss has no gradient for any policy: not read again
    metrics: Mapping[str, float] | None = None
    marked_NT: Tensor | None = None  # bool; tokens that a loss treats apart, chosen over the whole round

    def take(self, index: Tensor) -> Credit:
        return replace(self, **_rows(self, index))


@dataclass(frozen=True)
class Batch:
    """Some of an update's completions, with their credit and the totals of the whole update."""

    rollouts: Rollouts
    credit: Credit
    totals: Totals
    zero_gradient: bool = False  # of every row: the sampler's outputs stand for the policy's


@dataclass(frozen=True)
class PolicyOutputs:
    """The live policy's view of a batch, with gradient: what `loss` differentiates."""

    logp_NT: Tensor  # at the temperature of Schedule.likelihood; 0 at mask 0
    entropy_NT: Tensor  # of the same distribution, in nats; gradient only where an algorithm needs "entropy"
    value_NT: Tensor | None = None


@dataclass(frozen=True)
class Schedule:
    """How a round is drawn and how often it is trained on.

    Schedule(prompts=32, group_size=16): 512 completions per round, one update on all of them.

    source="live" samples from the policy as it is, round by round.  source="initial" samples from the initial policy
    with `sampling_fraction` of the budget, and then trains the initial policy on what was kept, `prompts` groups per
    update, for `epochs` passes (where training is paid in the budget's unit: for as many passes as the rest of it pays
    for).  source="dataset" takes the task's written solution of each prompt, round by round; G is 1.
    """

    prompts: int  # P, per round
    group_size: int  # G
    epochs: int = 1  # passes over the round
    minibatches: int = 1  # updates per pass, by whole groups
    rounds: int | None = None  # None: as many as the budget pays for
    source: Source = "live"  # where completions come from
    likelihood: Likelihood = (
        "sampler"  # of log-probabilities: a ratio's is the sampler's, maximum likelihood's is plain
    )
    sampling_fraction: float = 1.0  # of a budget that sampling and training both draw on; source="initial"
    critic: Critic = "none"  # shared: a head on the policy's backbone; separate: a model of its own
    critic_lr: float = 1.0  # the value model's learning rate over the policy's
    value_lr: float | None = None  # the value model's learning rate itself; None: critic_lr times the policy's
    critic_warmup: int = 0  # first rounds in which only the value model learns
    draws: int = 1  # pieces of `prompts` groups that a round may draw until as many groups have a gradient

    @property
    def updates(self) -> int:
        return self.epochs * self.minibatches
