"""Token ids -> the text that tasks read: without special tokens, except the tags of a model's reasoning.

Some tokenizers have `<think>` and `</think>` among their special tokens.  Were they dropped, the reasoning would be
read as part of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from evals.verification.extraction import is_reasoning_tag, leaves_reasoning_open, opening_tag


def decode(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """The texts of the rows, without special tokens other than the tags of reasoning."""
    dropped = _dropped(tokenizer)
    if dropped is None:
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
    kept = [[token for token in row if token not in dropped] for row in rows]
    return list(tokenizer.batch_decode(kept, skip_special_tokens=False))


@lru_cache(8)
def _dropped(tokenizer: Any) -> frozenset[int] | None:
    """The special tokens that are no tags; None where no special token is a tag: then all are dropped."""
    ids = list(tokenizer.all_special_ids)
    tags = {i for i, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True) if is_reasoning_tag(token)}
    return frozenset(ids) - tags if tags else None


def with_opening_tag(tokenizer: Any, texts: list[str]) -> list[str]:
    """The texts, with the tag that the chat template has written in front of them where they do not close it.

    Such a completion is all reasoning, and marks no answer.
    """
    tag = _opened_by_template(tokenizer)
    return [tag + text if tag and leaves_reasoning_open(tag + text) else text for text in texts]


@lru_cache(8)
def _opened_by_template(tokenizer: Any) -> str:
    """The tag of reasoning that a prompt ends in, "" where there is none."""
    if not getattr(tokenizer, "chat_template", None):
        return ""
    try:
        turns = [{"role": "user", "content": "?"}]
        prompt = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception:  # noqa: BLE001  a template that fails is reported where prompts are rendered
        return ""
    return opening_tag(prompt) if leaves_reasoning_open(prompt) else ""
