"""FLOPs of the model, by one formula for all arms (DESIGN rule 5).

    forward(token) = 2 * (parameters without the input embedding) + 4 * layers * heads * head size * context

`context` is the number of tokens attended to, the token itself included; backward is twice the forward.  A
tied output head is counted as the matrix product that it is.  Recomputation, padding and sharing do not
change the figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FlopsModel:
    """`matrix` = 2 x parameters that multiply a token; `attention` = 4 x layers x heads x head size."""

    matrix: float
    attention: float

    @classmethod
    def of(cls, model: Any) -> FlopsModel:
        """From a transformers causal LM: its configuration and its parameter count."""
        config = model.config.get_text_config()
        embedding = model.get_input_embeddings().weight.numel()
        head = model.get_output_embeddings()
        parameters = sum(p.numel() for p in model.parameters()) - embedding
        if head is not None and head.weight is model.get_input_embeddings().weight:
            parameters += embedding
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(2.0 * parameters, 4.0 * config.num_hidden_layers * heads * size)

    def span(self, start: int, length: int) -> float:
        """Forward FLOPs of `length` tokens that follow `start` others.

        sum_{t=1..length} (matrix + attention * (start + t))
        """
        return length * self.matrix + self.attention * (length * start + length * (length + 1) / 2)

    def rollout(self, prompts: list[int], completions: list[list[int]]) -> float:
        """Prompt lengths, and the completion lengths of each prompt: the prompt counts once a group."""
        total = sum(self.span(0, p) for p in prompts)
        return total + sum(self.span(p, c) for p, group in zip(prompts, completions, strict=True) for c in group)

    def train(self, prompts: list[int], completions: list[list[int]]) -> float:
        """Forward and backward: three forwards, the prompt once a completion."""
        return 3 * self.score(prompts, completions)

    def score(self, prompts: list[int], completions: list[list[int]]) -> float:
        """One forward over whole sequences: what a reference or a critic costs."""
        return sum(self.span(0, p + c) for p, group in zip(prompts, completions, strict=True) for c in group)
