"""`harness pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option as Opt

from harness.cli.options import DryRun, Name, Out, Quiet, Retry, say


def pipeline(
    file: Annotated[str | None, typer.Argument(help="A pipeline by name (see --list), or a FILE.toml.")] = None,
    list_: Annotated[bool, Opt("--list", help="Every pipeline that ships, and its question.")] = False,
    seeds: Annotated[str | None, Opt(help="How many, or which, in the place of the file's own.")] = None,
    budget: Annotated[str | None, Opt(help="UNIT=LIMIT of the whole, in the place of the file's own.")] = None,
    name: Name = None,
    out: Out = None,
    set_: Annotated[
        list[str] | None, Opt("--set", help="field=value of all stages, or STAGE.field=value of one; repeatable.")
    ] = None,
    workers: Annotated[int, Opt(help="Seeds at once, each in a process of its own.")] = 1,
    retry: Retry = False,
    dry_run: DryRun = False,
    part: Annotated[bool, Opt("--part", hidden=True)] = False,
    quiet: Quiet = False,
) -> None:
    """Stages one after another (sft, rl, rejection_sample) under one budget; resumable; ends with a report."""
    from harness.pipelines import loading, storage

    if list_:
        say("\n".join(f"{known}: {loading.load(known).question}" for known in loading.names()))
        return
    if file is None:
        raise ValueError("pipeline: which one?  `harness pipeline --list` names them")
    out = out or "results"
    begun = Path(file).name == storage.FILE
    asked = storage.stored(Path(file).parent) if begun else loading.load(file)
    asked = loading.override(asked, seeds, set_ or [], budget, name)
    if dry_run:
        from harness.pipelines.cost import dry_run_lines

        say("\n".join(dry_run_lines(asked, out)))
        return
    from harness.api.pipelines import run_part, run_pipeline

    if part:
        run_part(asked, out, retry, say)
    else:
        run_pipeline(asked, out, workers, retry, None if quiet else say)


def plan_pipeline(
    file: str,
    others: list[str],
    model: str | None,
    budget: str | None,
    out: str | None,
    settings: list[str],
    prompt_tokens: int,
) -> None:
    """`harness plan --pipeline`.  `others`: options that are a run's alone."""
    from harness.pipelines import loading
    from harness.pipelines.cost import cost_lines

    if others:
        raise ValueError(f"--pipeline: {others[0]} is a stage's own; give --set STAGE.{others[0]}=VALUE")
    words = [*settings, *([f"model={model}"] if model else [])]
    asked = loading.override(loading.load(file), None, words, budget, None)
    say("\n".join(cost_lines(asked, out or "results", prompt_tokens)))
