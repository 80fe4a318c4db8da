"""Problems in the order a run sees them, and the tokens they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.tasks import Problem
from harness.noise import permutation


@dataclass(frozen=True)
class Draws:
    """An endless, seeded walk over the training problems: draw k is the same for every arm of a seed."""

    problems: Sequence[Problem]
    seed: int
    stream: str = "prompts"  # another walk over the same problems

    def take(self, ordinal: int, count: int) -> list[Problem]:
        """Draws ordinal .. ordinal+count-1.  Every epoch visits each problem once, in an order of its own."""
        return [self.problems[place] for place in self.places(ordinal, count)]

    def places(self, ordinal: int, count: int) -> list[int]:
        """Where those draws stand among the problems."""
        drawn, size = [], len(self.problems)
        order, epoch = None, -1
        for k in range(ordinal, ordinal + count):
            if k // size != epoch:
                epoch = k // size
                order = permutation(self.seed, self.stream, epoch, size)
            assert order is not None
            drawn.append(int(order[k % size]))
        return drawn


class Encoder:
    """Prompt text -> token ids, as lm-eval's `hf` model does it: `tokenizer(text)`, without special tokens where
    the text begins with the BOS token already.

    A tokenizer with a chat template gets the prompt as one user turn.
    """

    def __init__(self, tokenizer: Any, context: int, max_new_tokens: int) -> None:
        self.tokenizer, self.context, self.max_new_tokens = tokenizer, context, max_new_tokens
        self.chat = bool(getattr(tokenizer, "chat_template", None))

    def render(self, prompt: str) -> str:
        if not self.chat:
            return prompt
        turns = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def encode(self, rendered: str) -> list[int]:
        bos = self.tokenizer.bos_token
        special = not (bos and rendered.startswith(bos))
        return list(self.tokenizer(rendered, add_special_tokens=special)["input_ids"])

    def solution(self, text: str) -> list[int]:
        """A written solution as the policy would write it behind its prompt (a chat template ends in its own space),
        the end token appended."""
        text = text.lstrip() if self.chat else text
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]

    def ids(self, rendered: str, name: str = "prompt") -> list[int]:
        """Raises ValueError, naming the prompt, where it leaves no room for a completion or is empty."""
        ids = self.encode(rendered)
        if not ids:
            raise ValueError(f"{name}: the prompt is empty after tokenisation: {rendered[:60]!r}")
        if len(ids) + self.max_new_tokens > self.context:
            raise ValueError(
                f"{name}: a prompt of {len(ids)} tokens and max_new_tokens={self.max_new_tokens} do not fit the "
                f"model's context of {self.context}; lower --max-new-tokens or drop the row: {rendered[:60]!r}"
            )
        return ids
