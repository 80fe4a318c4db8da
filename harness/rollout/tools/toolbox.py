"""The calls in what a policy writes, and the answers that it reads.

    <search>price of belzor</search>      a call: the text between a tool's tags, without another tag in it
    <result>price of belzor: 7</result>  its answer, in tokens that the policy did not choose

Only what was sampled since the last answer is searched for a call.  An opening tag that is never closed, a closing one
that was never opened and the tag of no tool are text like any other; of nested tags the inner pair is the call.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any

from evals.verification.transcript import Turn
from harness.config.tools import RESULT, TAG, TAKEN, ToolFields
from harness.rollout.decoding import decode
from harness.rollout.tools.calls import FAILED, Call, Pending
from harness.rollout.tools.protocol import Tool

CHARACTERS = 32  # of an answer that are looked at, for each token that it may have


class Toolbox:
    """The tools of a run.  Raises ValueError where a name cannot be a tag, two tools share one, or no answer fits."""

    def __init__(self, tools: Sequence[Tool], fields: ToolFields, tokenizer: Any) -> None:
        self.fields, self.tokenizer = fields, tokenizer
        self.tools: dict[str, Tool] = {}
        for tool in tools:
            name = getattr(tool, "name", None)
            if not isinstance(name, str) or not TAG.fullmatch(name) or name in TAKEN:
                raise ValueError(f"tools: a name is a tag in small letters, and not {', '.join(TAKEN)}: {name!r}")
            if name in self.tools:
                raise ValueError(f"tools: two tools are called '{name}'")
            self.tools[name] = tool
        names = "|".join(self.tools)
        self._call = re.compile(rf"<({names})>((?:(?!</?(?:{names}|{RESULT})>).)*)</\1>", re.DOTALL)
        self._tag = re.compile(rf"<(?=/?(?:{names}|{RESULT})>)")
        self._gate = threading.BoundedSemaphore(fields.concurrent)
        self._special = frozenset(tokenizer.all_special_ids)
        self._open, self._close = self._encode(f"<{RESULT}>"), self._encode(f"</{RESULT}>")
        self._space = fields.result_tokens - len(self._open) - len(self._close)
        if self._space < 1:
            least = len(self._open) + len(self._close) + 1
            raise ValueError(f"tool.result_tokens: at least {least} with this tokenizer, not {fields.result_tokens}")
        words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.closing = [i for i, word in enumerate(words) if ">" in (word or "")]  # tokens that can end a call

    def call_in(self, tokens: Sequence[int]) -> Call | None:
        """The first call in what was sampled since the last answer."""
        text = self.tokenizer.decode(tokens, skip_special_tokens=False)
        found = self._call.search(text)
        return Call(found[1], found[2].strip()) if found else None

    def submit(self, call: Call) -> Pending:
        """Have it answered, beside all else that is done."""
        return Pending(self.tools[call.tool], call.query, self._gate, self.fields.timeout)

    def tokens(self, answer: str) -> list[int]:
        """An answer as the policy reads it, in `result_tokens` at the most.

        Tags of its own and the tokenizer's special tokens are text in it: it can neither end itself nor the completion.
        """
        text = self._tag.sub("&lt;", answer[: CHARACTERS * self.fields.result_tokens])
        body = [token for token in self._encode(text) if token not in self._special]
        return [*self._open, *body[: self._space], *self._close]

    def turn(self, call: Call | None, tokens: Sequence[int]) -> Turn:
        """What the policy asked, and read."""
        result = decode(self.tokenizer, [tokens[len(self._open) : len(tokens) - len(self._close)]])[0]
        called = call or Call("", "")
        return Turn(called.tool, called.query, result, result.startswith(FAILED))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
