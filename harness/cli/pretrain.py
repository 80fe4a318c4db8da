"""`harness pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option as Opt

from harness.cli.options import EvalFile, Quiet, Set, TrainFile, named, say


def pretrain(
    model: Annotated[str | None, typer.Argument(help="nano, micro or smollm2-math; omit with --task.")] = None,
    task: Annotated[str | None, Opt(help="Pretrain on this task's training solutions.")] = None,
    train_file: TrainFile = None,
    out: Annotated[Path | None, Opt(help="Output folder. [MODEL-rebuilt, or TASK-small]")] = None,
    updates: Annotated[
        int | None, Opt(min=1, help="Updates with --task [400]; of a recipe, the maximum per stage.")
    ] = None,
    device: Annotated[str, Opt(help="auto, cpu, cuda. [auto]")] = "auto",
    gsm8k: Annotated[
        str | None, Opt(help="smollm2-math: GSM8K's train.jsonl, whose solutions are learned too.")
    ] = None,
    eval_file: EvalFile = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Rebuild an embedded starting model from its recipe, or make a small one from a task's training data.

    Where the recipe is a run (smollm2-math), OUT is its folder: the command given again goes on with it.
    """
    from harness.config.start_models import recipe_runs

    if task is None and model in recipe_runs():
        _cold_start(str(model), out, gsm8k, named(eval_file, "--eval-file"), updates, device, set_, quiet)
        return
    if gsm8k or eval_file or set_:
        raise ValueError(f"pretrain: --gsm8k, --eval-file and --set are for {', '.join(recipe_runs())}")
    from harness.models.pretraining import recipes

    folder = recipes.pretrain(model, task, train_file, out, updates, device, say)
    say(f"written to {folder}")


def _cold_start(
    model: str,
    out: Path | None,
    gsm8k: str | None,
    eval_files: dict[str, str],
    updates: int | None,
    device: str,
    settings: list[str] | None,
    quiet: bool,
) -> None:
    from harness.api.cold_start import config_of, sum_up
    from harness.api.runs import load_record
    from harness.cli.run import execute
    from harness.training.setup import prepare

    prepared = prepare(config_of(model, out, gsm8k, eval_files, updates, device, settings))
    execute(prepared, quiet)
    say(f"written to {sum_up(model, prepared.folder, load_record(prepared.folder))}")
