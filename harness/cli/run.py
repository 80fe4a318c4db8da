"""`harness run`: one run, new or taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    Algo,
    BudgetText,
    Config,
    Device,
    DryRun,
    Dtype,
    EvalFile,
    EvalLimit,
    EvalSamples,
    EvalTasks,
    GroupSize,
    KeepCheckpoints,
    Lora,
    MaxNewTokens,
    Model,
    Name,
    Out,
    PresetName,
    Quiet,
    Resume,
    Reward,
    Seed,
    Set,
    ShowConfig,
    SystemPrompt,
    TaskName,
    Temperature,
    TestFile,
    Threads,
    Tool,
    Track,
    TrainFile,
    counted,
    named,
    say,
    tell,
    with_preset,
)

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig
    from harness.training.setup import PreparedRun


def run(
    folder: Annotated[
        Path | None, typer.Argument(help="With --resume: the run's folder; nothing else is needed.")
    ] = None,
    algo: Algo = None,
    preset: PresetName = None,
    group_size: GroupSize = None,
    model: Model = None,
    task: TaskName = None,
    train_file: TrainFile = None,
    test_file: TestFile = None,
    eval_file: EvalFile = None,
    system_prompt: SystemPrompt = None,
    eval_tasks: EvalTasks = None,
    eval_samples: EvalSamples = None,
    eval_limit: EvalLimit = None,
    reward: Reward = None,
    tool: Tool = None,
    budget: BudgetText = None,
    seed: Seed = None,
    name: Name = None,
    out: Out = None,
    config: Config = None,
    set_: Set = None,
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    keep_checkpoints: KeepCheckpoints = None,
    track: Track = None,
    lora: Lora = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    show_config: ShowConfig = False,
    quiet: Quiet = False,
) -> None:
    """Train one algorithm under one budget, and write its record."""
    flags: dict[str, Any] = {
        "algo_name": with_preset(algo, preset), "task_name": task, "group_size": group_size, "model": model,
        "eval_tasks": eval_tasks, "eval_repeats": counted(eval_samples, "--eval-samples"), "eval_limit": eval_limit,
        "reward": reward, "budget": budget, "seed": seed, "name": name, "out": out,
        "temperature": temperature, "max_new_tokens": max_new_tokens, "device": device, "dtype": dtype,
        "threads": threads, "keep_checkpoints": keep_checkpoints, "resume": resume or None,
        "system_prompt": system_prompt, "track": ",".join(track or []) or None, "tools": ",".join(tool or []) or None,
    }  # fmt: skip
    files = {"train_file": train_file, "test_file": test_file, "eval_files": named(eval_file, "--eval-file")}
    flags["task"] = {k: v for k, v in files.items() if v} or None
    from harness.config.lora import parse_lora
    from harness.processes.launch import joined
    from harness.training.setup import prepare

    flags["lora"] = parse_lora(lora) if lora is not None else None
    with joined():
        prepared = prepare(_resolved(folder, flags, set_ or [], config))
        if dry_run or show_config:
            _dry_run(prepared, show_config)
        else:
            execute(prepared, quiet)


def _resolved(folder: Path | None, flags: dict[str, Any], settings: list[str], file: str | None) -> RunConfig:
    if folder is None:
        from harness.config.run_config import resolve

        return resolve(flags, settings, file)
    if not flags["resume"]:
        raise ValueError(f"run: takes a folder only with --resume: harness run --resume {folder}")
    from harness.training.resume.recorded import resumed

    return resumed(folder, flags, settings, file)


def execute(prepared: PreparedRun, quiet: bool) -> None:
    """A prepared run on the console; of several processes by the first."""
    from harness.api.runs import Silence, execute_guarded, owned
    from harness.cli.console.progress import Progress
    from harness.processes.group import current

    with owned(prepared) as finished:
        if finished:
            tell(f"{prepared.folder} is finished")
            return
        if not current().first:
            execute_guarded(prepared, Silence())
            return
        try:
            with Progress(quiet=quiet) as progress:
                progress.finish(execute_guarded(prepared, progress), prepared.folder)
        except BaseException:
            if not quiet and (prepared.folder / "record.json").is_file():
                say(f"to go on: {resume_command(prepared.folder)}")
            raise


def resume_command(folder: Path) -> str:
    """What goes on with a run, as it is typed."""
    import shlex

    return f"harness run --resume {shlex.quote(str(folder))}"


def _dry_run(prepared: PreparedRun, show_config: bool) -> None:
    import json

    if show_config:
        tell(json.dumps(prepared.record["config"], indent=1))
        return
    from harness.cli.console.dry_run import run_lines

    tell("\n".join(run_lines(prepared)))
