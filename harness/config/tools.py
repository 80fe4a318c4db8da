"""The tools that a policy may call: their names, and the limits of their use.

Plain Python, so that a configuration is checked before anything is loaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algos.core.registry import import_file
from evals.tasks import Task
from harness.config.coercion import build
from harness.config.rewards import LEARNED
from harness.config.run_config import RunConfig

BUILT_IN = ("search", "calculator")
RESULT = "result"  # the tag around an answer
TAG = re.compile(r"[a-z][a-z0-9_]*")
TAKEN = (RESULT, "think", "answer")  # tags that mean something else


@dataclass(frozen=True, kw_only=True)
class ToolFields:
    """How often a policy may call, and how much of an answer it reads."""

    calls: int = 4  # of one completion that are answered, at the most; one more ends it, as the token limit does
    result_tokens: int = 128  # of one answer, its tags included; what is longer is cut
    timeout: float = 10.0  # seconds that one call of a FILE.py:name may take; 0: no limit
    concurrent: int = 32  # calls of a FILE.py:name that are under way at once
    corpus: str = ""  # of search: a JSONL file, a document a line; "": the task's own
    top: int = 3  # documents that search answers with

    def __post_init__(self) -> None:
        for name in ("calls", "result_tokens", "concurrent", "top"):
            if getattr(self, name) < 1:
                raise ValueError(f"tool.{name}: must be at least 1, not {getattr(self, name)}")
        if self.timeout < 0:
            raise ValueError(f"tool.timeout: must be a number of seconds, or 0 for no limit, not {self.timeout}")

    @property
    def room(self) -> int:
        """Tokens that the answers of one completion can have."""
        return self.calls * self.result_tokens


def tools_of(config: RunConfig, task: Task) -> tuple[tuple[str, ...], ToolFields | None]:
    """The names of a run's tools, the task's own first, and their limits; (), None where there are none.

    Raises ValueError, one line, on an unknown tool, a wrong limit, or a reward that cannot read tools' answers.
    """
    names = tuple(dict.fromkeys([*task.tools, *config.tools]))
    if not names:
        if config.tool:
            raise ValueError(f"tool.{next(iter(config.tool))}: there is no tool; give --tool")
        return (), None
    for name in names:
        if name not in BUILT_IN:
            load_tool(name)
    if config.reward in LEARNED:
        raise ValueError(f"reward: {config.reward} does not read what tools answer; valid beside them: rule, FILE.py:f")
    return names, build(ToolFields, {**task.tool_settings, **config.tool}, "tool.")


def load_tool(name: str) -> Any:
    """What FILE.py:name names.  Raises ValueError where it cannot be had."""
    file, colon, member = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ValueError(f"tools: unknown tool '{name}'; valid: {', '.join(BUILT_IN)}, or FILE.py:name")
    found = getattr(import_file(Path(file), "tools"), member, None)
    if not callable(found) and not callable(getattr(found, "call", None)):
        raise ValueError(f"tools: {file} has no tool '{member}': a function of a text, or an object with `call(text)`")
    return found
