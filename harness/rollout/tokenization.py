"""Prompt text -> token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from transformers.utils import chat_template_utils

from evals.tasks import Problem
from harness.config.run_config import RunConfig


class PromptTokenizer:
    """Prompt text -> token ids, as lm-eval's `hf` model does it: `tokenizer(text)`, without special tokens where
    the text begins with the BOS token already.

    A tokenizer with a chat template gets the problem's turns, else its prompt as one user turn; `system_prompt` stands
    in the place of a system turn.  `template_kwargs` are the template's own variables.  A template that asks for the
    time is told the beginning of `chat_date`, whenever it asks.
    """

    @classmethod
    def of(cls, tokenizer: Any, context: int, config: RunConfig, answered: int = 0) -> PromptTokenizer:
        """As a configuration has it; `answered` tokens of the context are kept for what tools answer."""
        kwargs = config.chat_template_kwargs
        made = cls(tokenizer, context - answered, config.max_new_tokens, config.chat_date, config.system_prompt, kwargs)
        made.answered = answered
        return made

    def __init__(
        self,
        tokenizer: Any,
        context: int,
        max_new_tokens: int,
        chat_date: str = RunConfig.chat_date,
        system_prompt: str = "",
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer, self.context, self.max_new_tokens = tokenizer, context, max_new_tokens
        self.answered = 0  # tokens of the model's context that are not in `context`: for what tools answer
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self.system_prompt, self.template_kwargs = system_prompt, dict(template_kwargs or {})
        if self.template_kwargs and not self.chat:
            name = next(iter(self.template_kwargs))
            raise ValueError(f"chat_template_kwargs.{name}: the model's tokenizer has no chat template")
        self.now = datetime.fromisoformat(chat_date)
        self._check_clock()

    def _check_clock(self) -> None:
        """Raises ValueError where templates read another clock than the one that is set here."""
        if self.chat and "strftime_now" in str(self.tokenizer.chat_template):
            template = "{{ strftime_now('%Y-%m-%d %H:%M') }}"
            with _clock_at(self.now):
                read = self.tokenizer.apply_chat_template([{"content": ""}], chat_template=template, tokenize=False)
            if read != f"{self.now:%Y-%m-%d %H:%M}":
                raise ValueError("chat_date: the chat template reads a clock that this version of transformers hides")

    @property
    def changes_prompts(self) -> bool:
        """Is what the model reads another text than the problem's prompt?"""
        return self.chat or bool(self.system_prompt)

    def render(self, problem: Problem | str) -> str:
        """The text that the model reads of a problem, or of a bare prompt.

        A template that has no system turn (Gemma's) gets that turn's text before the first one of the user.
        Raises ValueError where the model's chat template cannot be applied: it is a program that came with it.
        """
        prompt = problem if isinstance(problem, str) else problem.prompt
        if not self.chat:
            return f"{self.system_prompt}\n\n{prompt}" if self.system_prompt else prompt
        given = () if isinstance(problem, str) else problem.turns
        turns = [dict(turn) for turn in given] or [{"role": "user", "content": prompt}]
        if self.system_prompt:
            first = {"role": "system", "content": self.system_prompt}
            turns = [first, *(turns[1:] if turns[0]["role"] == "system" else turns)]
        try:
            return self._apply(turns)
        except Exception as error:  # whatever it raises, or jinja2 of it
            if turns[0]["role"] == "system" and len(turns) > 1:
                folded = {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
                with suppress(Exception):
                    return self._apply([folded, *turns[2:]])
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            what = "a single user turn" if len(turns) == 1 else f"turns of {', '.join(t['role'] for t in turns)}"
            raise ValueError(f"model: its chat template fails on {what}: {reason}") from error

    def _apply(self, turns: list[dict[str, str]]) -> str:
        with _clock_at(self.now):
            return str(
                self.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True, **self.template_kwargs
                )
            )

    def encode(self, rendered: str) -> list[int]:
        bos = self.tokenizer.bos_token
        special = not (bos and rendered.startswith(bos))
        return list(self.tokenizer(rendered, add_special_tokens=special)["input_ids"])

    def solution(self, text: str) -> list[int]:
        """A written solution as the policy would write it behind its prompt (a chat template ends in its own space),
        with one end token, whether the text brings its own or not."""
        text, end = text.lstrip() if self.chat else text, self.tokenizer.eos_token_id
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        while ids and ids[-1] == end:
            ids.pop()
        return [*ids, end]

    def ids(self, rendered: str, name: str = "prompt") -> list[int]:
        """Raises ValueError, naming the prompt, where it leaves no room for a completion, is empty, or is at its end
        before the model writes a word."""
        ids = self.encode(rendered)
        if not ids:
            raise ValueError(f"{name}: the prompt is empty after tokenisation: {rendered[:60]!r}")
        if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id:
            raise ValueError(
                f"{name}: the prompt ends in the end token {self.tokenizer.eos_token}, so that nothing is left to "
                f"write; see the tokenizer's post-processor and chat template: ...{rendered[-60:]!r}"
            )
        if len(ids) + self.max_new_tokens > self.context:
            answers = f", with {self.answered} for tools' answers," if self.answered else ""
            raise ValueError(
                f"{name}: a prompt of {len(ids)} tokens and max_new_tokens={self.max_new_tokens}{answers} do not fit "
                f"the model's context of {self.context + self.answered}; lower --max-new-tokens"
                f"{', tool.calls, tool.result_tokens' * bool(self.answered)} or drop the row: {rendered[:60]!r}"
            )
        return ids


@contextmanager
def _clock_at(now: datetime) -> Iterator[None]:
    """While this holds it is `now` for chat templates: transformers gives them a function of the clock, and no way to
    hand in another."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls.fromisoformat(now.isoformat())

    module: Any = chat_template_utils
    before, module.datetime = module.datetime, Clock
    try:
        yield
    finally:
        module.datetime = before
