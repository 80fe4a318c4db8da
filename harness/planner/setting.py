"""A run to plan, and what it holds from its start to its end: weights, the optimiser's state, the round's rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from algos import Algorithm, Schedule
from harness.config.lora import LoraFields, is_adapter, lora_of
from harness.config.run_config import RunConfig
from harness.planner.activations import Numbers
from harness.planner.adapters import Adapter, adapter_of
from harness.planner.architecture import Architecture

OPTIMIZER_BYTES = {"adamw": 8.0, "adamw8bit": 2.0 + 8 / 256, "paged_adamw8bit": 2.0 + 8 / 256}  # bytes per parameter


@dataclass(frozen=True)
class Setting:
    """A run to plan: its configuration, its algorithm's needs and schedule, the device and the longest prompt."""

    config: RunConfig
    architecture: Architecture
    algo: Algorithm
    schedule: Schedule
    device: str = "cpu"
    prompt: int = 128

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def sampled(self) -> bool:
        """Are completions sampled, not read from a dataset?"""
        return self.schedule.source != "dataset"

    @property
    def learned_reward(self) -> bool:
        """Is the reward a learned model?"""
        return self.config.reward.endswith("-model")

    @property
    def numbers(self) -> Numbers:
        dtype = self.config.dtype
        if dtype == "float64":
            return Numbers(8, 8)
        narrow = dtype == "bfloat16" or (dtype == "auto" and self.cuda)
        return Numbers(4, 2 if narrow else 4, varlen=narrow and self.cuda and self.architecture.plain)

    @cached_property
    def lora(self) -> LoraFields | None:
        return lora_of(self.config.lora)

    @cached_property
    def adapter(self) -> Adapter | None:
        """What is trained in the model's place."""
        return adapter_of(self.architecture, self.lora) if self.lora else None

    @property
    def readers(self) -> frozenset[str]:
        """Models that score a round after sampling; a value head on the policy's backbone does so during sampling."""
        return self.algo.needs & ({"reference"} if self.schedule.critic == "shared" else {"reference", "values"})


def living_parts(s: Setting) -> dict[str, float]:
    """Parts held for the whole run.  Under autocast a model without gradients has its matrices in 16 bits (and its own
    copy of a tied head): the reference; and the sampler's copy of the policy, whose other tensors are the policy's."""
    a, n = s.architecture, s.numbers
    if s.adapter is not None:
        return _adapted_parts(s, s.adapter)
    trained = a.parameters + value_model_parameters(s)
    reference = 0.0
    if "reference" in s.algo.needs:
        wide = a.parameters - (a.narrow - (a.embedding if a.tied else 0))
        reference = float(n.master * wide + n.product * a.narrow) if n.casts else float(n.master * a.parameters)
    state = OPTIMIZER_BYTES[s.config.optimizer] * (n.master / 4 if s.config.optimizer == "adamw" else 1)
    return {
        "policy": float(n.master * a.parameters),
        "rollout_weights": float(n.product * a.narrow) if n.casts else 0.0,
        "reference": reference,
        "critic": float(n.master * value_model_parameters(s)),
        "reward_model": float(n.master * reward_model_parameters(s)),
        "optimizer": state * trained,
        "rollouts": _rollouts(s),
    }


def _adapted_parts(s: Setting, adapter: Adapter) -> dict[str, float]:
    """One base for all: the policy's adapter beside it, a separate value model's, and a reference's that is kept.  A
    base of 4 bits has half a byte for each number of its matrices, and a scale of 4 bytes for 64 of them."""
    a, n, kind = s.architecture, s.numbers, s.schedule.critic
    base, matrices = float(n.master * a.parameters), a.layers * a.matrices
    if s.lora and s.lora.base == "nf4":
        base += matrices * (0.5 + 4 / 64 - n.master)
    kept = "reference" in s.algo.needs and (s.config.reset_reference or is_adapter(s.config.model))
    count = 1 + kept + (kind == "separate")
    copied = n.casts and not adapter.dora and not (s.lora and s.lora.base == "nf4")
    own = n.master * adapter.parameters
    state = OPTIMIZER_BYTES[s.config.optimizer] * (n.master / 4 if s.config.optimizer == "adamw" else 1)
    return {
        "policy": base + own,
        "rollout_weights": float(n.product * (a.narrow + count * adapter.parameters)) if copied else 0.0,
        "reference": float(own) if kept else 0.0,
        "critic": float(n.master * value_model_parameters(s)),
        "reward_model": float(n.master * reward_model_parameters(s)),
        "optimizer": state * (adapter.parameters + value_model_parameters(s)),
        "rollouts": _rollouts(s),
    }


def value_model_parameters(s: Setting) -> int:
    """A value head of H + 1, where the schedule's critic is separate with its own backbone, or its own adapter on the
    policy's."""
    kind = s.schedule.critic
    if s.adapter is not None and kind == "separate":
        return s.architecture.hidden + 1 + s.adapter.parameters
    return 0 if kind == "none" else s.architecture.hidden + 1 + (s.architecture.backbone if kind == "separate" else 0)


def reward_model_parameters(s: Setting) -> int:
    """A backbone like the policy's and a head of H, where the reward is learned."""
    return s.architecture.backbone + s.architecture.hidden if s.learned_reward else 0


def _rollouts(s: Setting) -> float:
    """Ids and masks of whole rows (9 bytes per token), and of completions the mask, log-probabilities, the entropy, the
    algorithm's inputs and its credit."""
    columns = 3 + len(s.algo.needs & {"reference", "values"}) + (1 if "values" in s.algo.needs else 0)
    token = 9 * (s.prompt + s.config.max_new_tokens) + s.config.max_new_tokens * (1 + 4 * columns)
    return float(s.schedule.prompts * s.schedule.group_size * token)
