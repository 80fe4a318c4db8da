"""Prompt text -> token ids."""

from __future__ import annotations

from typing import Any


class PromptTokenizer:
    """Prompt text -> token ids, as lm-eval's `hf` model does it: `tokenizer(text)`, without special tokens where
    the text begins with the BOS token already.

    A tokenizer with a chat template gets the prompt as one user turn.
    """

    def __init__(self, tokenizer: Any, context: int, max_new_tokens: int) -> None:
        self.tokenizer, self.context, self.max_new_tokens = tokenizer, context, max_new_tokens
        self.chat = bool(getattr(tokenizer, "chat_template", None))

    def render(self, prompt: str) -> str:
        """Raises ValueError where the model's chat template cannot be applied: it is a program that came with it."""
        if not self.chat:
            return prompt
        turns = [{"role": "user", "content": prompt}]
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # whatever it raises, or jinja2 of it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ValueError(f"model: its chat template fails on a single user turn: {reason}") from error

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
