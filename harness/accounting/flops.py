"""FLOPs of the model, by one formula for all arms.

    forward(token) = 2 * (parameters without the input embedding) + 4 * layers * heads * head size * context

`context` is the number of tokens attended to, the token itself included; backward is twice the forward.  A
tied output head is counted as the matrix product that it is.  A frozen matrix has no gradient of its own, so that its
backward is one forward, not two (an adapter's base).  Recomputation, padding and sharing do not
change the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def _attention(config: Any) -> float:
    """4 x layers x heads x head size: queries times keys and weights times values, for one token attended to.

    Of layers that attend: a hybrid model names its others, and one without heads (mamba) has none.
    """
    config = config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        return 0.0
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kinds = getattr(config, "layer_types", None) or ["attention"] * config.num_hidden_layers
    attending = sum("attention" in kind and "linear" not in kind for kind in kinds)
    return 4.0 * attending * heads * size


def _numbers(p: Any) -> int:
    """Of a matrix in 4 bits those that it stands for (bitsandbytes packs two into a byte)."""
    return math.prod(getattr(getattr(p, "quant_state", None), "shape", None) or p.shape)


@dataclass(frozen=True)
class FlopsModel:
    """`matrix` = 2 x parameters that multiply a token; `attention` = 4 x layers x heads x head size; `frozen` = the
    part of `matrix` that has no gradient."""

    matrix: float
    attention: float
    frozen: float = 0.0

    @classmethod
    def of(cls, model: Any) -> FlopsModel:
        """From a transformers causal LM: its configuration and its parameter count."""
        return cls.of_parameters(model, list(model.parameters()))

    @classmethod
    def of_parameters(cls, model: Any, parameters: Sequence[Any]) -> FlopsModel:
        """The same, of those of its parameters that one pass multiplies: of a model with several adapters, one."""
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings()
        multiplied = sum(_numbers(p) for p in parameters) - table.numel()
        if head is not None and head.weight is table:
            multiplied += table.numel()
        return cls(2.0 * multiplied, _attention(model.config))

    def adapted(self, parameters: int) -> FlopsModel:
        """With an adapter of so many parameters, which alone is trained."""
        return FlopsModel(self.matrix + 2.0 * parameters, self.attention, self.matrix)

    @classmethod
    def of_critic(cls, critic: Any, base: FlopsModel | None = None) -> FlopsModel:
        """A backbone of its own and its head; on a shared backbone, which the policy has paid for, the head alone; with
        an adapter on the `base`, which is read once more, both."""
        parameters = sum(p.numel() for p in critic.parameters())
        if base is not None:
            return base.adapted(parameters)
        if critic.trunk is None:
            return cls(2.0 * parameters, 0.0)
        embedding = critic.trunk.get_input_embeddings().weight.numel()
        return cls(2.0 * (parameters - embedding), _attention(critic.trunk.config))

    @classmethod
    def of_classifier(cls, model: Any) -> FlopsModel:
        """A reward model: a backbone and the head that gives a number per token."""
        embedding = model.get_input_embeddings().weight.numel()
        return cls(2.0 * (sum(p.numel() for p in model.parameters()) - embedding), _attention(model.config))

    def span(self, start: int, length: int) -> float:
        """Forward FLOPs of `length` tokens that follow `start` others.

        sum_{t=1..length} (matrix + attention * (start + t))
        """
        return length * self.matrix + self.attention * (length * start + length * (length + 1) / 2)

    def rollout(self, prompts: list[int], completions: list[list[int]]) -> float:
        """Prompt lengths, and the completion lengths of each prompt: the prompt counts once per group."""
        total = sum(self.span(0, p) for p in prompts)
        return total + sum(self.span(p, c) for p, group in zip(prompts, completions, strict=True) for c in group)

    def train(self, lengths: list[int]) -> float:
        """Forward and backward over whole sequences: three forwards, less the weight gradients that are not needed."""
        return 3 * self.read(lengths) - self.frozen * sum(lengths)

    def read(self, lengths: list[int]) -> float:
        """One forward over whole sequences of these lengths: what a reference or a value model costs."""
        return sum(self.span(0, length) for length in lengths)


@dataclass(frozen=True)
class RunFlops:
    """What the models of a run cost together.  The policy always; the others where there are any."""

    policy: FlopsModel
    reference: FlopsModel | None = None
    critic: FlopsModel | None = None
    reward_model: FlopsModel | None = None

    def explore(self, prompts: list[int], completions: list[list[int]]) -> float:
        """Rollout and annotation of a round: prompt lengths, and the completion lengths of each prompt."""
        lengths = [p + c for p, group in zip(prompts, completions, strict=True) for c in group]
        return self.policy.rollout(prompts, completions) + self.annotate(lengths)

    def annotate(self, lengths: list[int]) -> float:
        """What reads completions beside the policy, over sequences of these lengths."""
        readers = [model for model in (self.reference, self.critic, self.reward_model) if model is not None]
        return sum(model.read(lengths) for model in readers)

    def update(self, lengths: list[int], frozen: bool = False) -> float:
        """Forward and backward over sequences of these lengths: three forwards.  A frozen policy is only read."""
        policy = self.policy.read(lengths) if frozen else self.policy.train(lengths)
        return policy + (self.critic.train(lengths) if self.critic else 0.0)
