"""The tools of a run, from its configuration and its task."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import nn

from evals.tasks import Task
from harness.config.run_config import RunConfig
from harness.config.tools import ToolFields, load_tool, tools_of
from harness.models.backbone import Autocast
from harness.rollout.sampler import Sampler
from harness.rollout.tools.calculator import Calculator
from harness.rollout.tools.episodes import ToolSampler
from harness.rollout.tools.protocol import Tool
from harness.rollout.tools.search import Search, read_corpus
from harness.rollout.tools.toolbox import Toolbox


class FunctionTool:
    """A user's function of a text, under its own name."""

    def __init__(self, name: str, function: Any) -> None:
        self.name, self.call = name, function


def toolbox_of(config: RunConfig, task: Task, tokenizer: Any) -> Toolbox | None:
    """None where a run has no tools.  Raises ValueError, one line, on what cannot be had."""
    names, fields = tools_of(config, task)
    if fields is None:
        return None
    return Toolbox([_tool(name, fields, task) for name in names], fields, tokenizer)


def sampler_of(
    config: RunConfig,
    task: Task,
    model: Any,
    tokenizer: Any,
    autocast: Autocast = nullcontext,
    critic: nn.Module | None = None,
) -> Sampler:
    """The rollout engine, with the run's tools where it has any."""
    toolbox = toolbox_of(config, task, tokenizer)
    if toolbox is None:
        return Sampler(model, tokenizer, config.rollout_batch_size, autocast, critic)
    return ToolSampler(model, tokenizer, config.rollout_batch_size, autocast, critic, toolbox)


def _tool(name: str, fields: ToolFields, task: Task) -> Tool:
    if name == Calculator.name:
        return Calculator()
    if name == Search.name:
        documents = read_corpus(fields.corpus) if fields.corpus else list(task.corpus())
        if not documents:
            raise ValueError(f"tool.corpus: task '{task.name}' has no corpus of its own; give a JSONL file")
        return Search(documents, fields.top)
    return _users(name)


def _users(name: str) -> Tool:
    """Of FILE.py:name: a function of a text, an object with `name` and `call`, or a class that makes one."""
    member, called = load_tool(name), name.rpartition(":")[2]
    if isinstance(member, type):
        try:
            member = member()
        except Exception as error:
            raise ValueError(f"tools: {name} cannot be made: {type(error).__name__}: {error}") from error
    if not callable(getattr(member, "call", None)):
        return FunctionTool(called, member)
    return member  # type: ignore[no-any-return]
