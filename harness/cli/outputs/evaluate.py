"""`harness eval`: scores of a checkpoint, or of a run's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option as Opt

from harness.cli.options import (
    Device,
    EvalFile,
    EvalLimit,
    EvalSamples,
    EvalTasks,
    MaxNewTokens,
    Set,
    SystemPrompt,
    TaskName,
    TestFile,
    Tool,
    counted,
    named,
    say,
)


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or one that from_pretrained loads, or a hub id.")],
    task: TaskName = None,
    test_file: TestFile = None,
    eval_file: EvalFile = None,
    system_prompt: SystemPrompt = None,
    eval_tasks: EvalTasks = None,
    eval_samples: EvalSamples = None,
    eval_limit: EvalLimit = None,
    max_new_tokens: MaxNewTokens = None,
    tool: Tool = None,
    scorer: Annotated[str, Opt(help="ours: our engine; hf: lm-eval's own model.")] = "ours",
    device: Device = None,
    out: Annotated[Path | None, Opt("--out", help="Write the numbers to this file, as JSON.")] = None,
    json_: Annotated[bool, Opt("--json", help="Print them as JSON instead of a table.")] = False,
    set_: Set = None,
) -> None:
    """Score a checkpoint on a task's evaluation sets; a run's, by default on its own task."""
    from harness.api.finished import run_defaults
    from harness.config.run_config import resolve
    from harness.processes.launch import joined
    from harness.records.io import check_writable, write_json
    from harness.training.evaluation import evaluate_checkpoint

    model, under = run_defaults(checkpoint, other_task=task is not None)
    flags: dict[str, Any] = {
        "model": model, "task_name": task, "eval_tasks": eval_tasks, "eval_limit": eval_limit,
        "eval_repeats": counted(eval_samples, "--eval-samples"),
        "max_new_tokens": max_new_tokens, "device": device, "system_prompt": system_prompt,
        "tools": ",".join(tool) if tool else None,
    }  # fmt: skip
    files = {"test_file": test_file, "eval_files": named(eval_file, "--eval-file")}
    flags["task"] = {k: v for k, v in files.items() if v} or None
    if out is not None:
        check_writable(out)
    with joined() as group:
        scores = evaluate_checkpoint(resolve(flags, set_ or [], None, under), scorer)
        if not group.first:
            return
    if out is not None:
        write_json(out, scores.as_dict())
    if json_:
        import json

        say(json.dumps(scores.as_dict(), indent=1))
        return
    from harness.cli.outputs.score_table import score_table

    say(score_table(scores))
