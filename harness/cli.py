"""The command line.  Each command is a few lines; what it does lives elsewhere, and is imported when it is asked for.

Exit codes: 0 done, 1 the run failed, 2 the user's input is wrong (one plain line), 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="GRPO, PPO or rejection sampling: matched budgets, one loop, records you can trust.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Words = Annotated[list[str] | None, typer.Option()]


# Newer Typers carry a click of their own, older ones use click: its exceptions are reached through what both export.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]


@app.callback(invoke_without_command=True)
def _harness(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: harness run --algo grpo --group-size 16 --set algo.kl_coef=0.01")
def run(
    algo: Annotated[str | None, typer.Option(help="Algorithm, or FILE.py with one. [grpo]")] = None,
    group_size: Annotated[int | None, typer.Option(help="G, completions a prompt. [the model's profile]")] = None,
    model: Annotated[str | None, typer.Option(help="nano, a hub id, or a folder. [nano]")] = None,
    task: Annotated[str | None, typer.Option(help="Task to train on; see `harness list`. [arithmetic]")] = None,
    train_file: Annotated[str | None, typer.Option(help="JSONL or parquet with the task's columns.")] = None,
    test_file: Annotated[str | None, typer.Option(help="The same, for the in-domain test.")] = None,
    eval_file: Annotated[list[str] | None, typer.Option(help="NAME=FILE, an out-of-domain test; repeatable.")] = None,
    eval_tasks: Annotated[str | None, typer.Option(help="lm-eval stock tasks, comma-separated.")] = None,
    eval_limit: Annotated[int | None, typer.Option(help="At most so many problems an evaluation.")] = None,
    reward: Annotated[str | None, typer.Option(help="rule, or FILE.py:function. [rule]")] = None,
    budget: Annotated[str | None, typer.Option(help="UNIT=LIMIT, e.g. completions=8192, flops=1e15.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of prompts, noise and everything else. [0]")] = None,
    name: Annotated[str | None, typer.Option(help="Folder of the record. [ALGO-TASK-sSEED]")] = None,
    out: Annotated[str | None, typer.Option(help="Where that folder lies. [results]")] = None,
    config: Annotated[str | None, typer.Option(help="TOML file with any of these fields.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="field=value, e.g. algo.kl_coef=0.1; repeatable.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of training's sampling. [1]")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Token limit of a completion.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1. [auto]")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float64. [auto]")] = None,
    keep_checkpoints: Annotated[int | None, typer.Option(help="The newest so many; 0 writes none. [1]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of that name.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the configuration, stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Train one arm under one budget, and leave its record."""
    flags: dict[str, Any] = {
        "algo_name": algo, "task_name": task, "group_size": group_size, "model": model, "eval_tasks": eval_tasks,
        "eval_limit": eval_limit, "reward": reward, "budget": budget, "seed": seed, "name": name, "out": out,
        "temperature": temperature, "max_new_tokens": max_new_tokens, "device": device, "dtype": dtype,
        "keep_checkpoints": keep_checkpoints, "resume": resume or None,
    }  # fmt: skip
    files = {"train_file": train_file, "test_file": test_file, "eval_files": _named(eval_file, "--eval-file")}
    flags["task"] = {k: v for k, v in files.items() if v} or None
    from harness.config import resolve

    resolved = resolve(flags, set_ or [], config)
    from harness.prepare import finished, prepare
    from harness.run import execute

    prepared = prepare(resolved)
    if dry_run:
        import json

        typer.echo(json.dumps(prepared.record["config"], indent=1))
        return
    if resolved.resume and finished(prepared.folder):
        typer.echo(f"{prepared.folder} is finished")
        return
    from harness.display import Display

    with Display(quiet=quiet) as display:
        record = _guarded(lambda: execute(prepared, display), prepared.folder)
        display.finish(record, prepared.folder)


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="algos, tasks, models or fields.")] = "all") -> None:
    """Algorithms, tasks and models, with their fields."""
    from harness.listing import listing

    typer.echo(listing(what))


@app.command()
def pretrain(
    model: Annotated[str | None, typer.Argument(help="An embedded model, e.g. nano; none with --task.")] = None,
    task: Annotated[str | None, typer.Option(help="Pretrain on this task's training solutions.")] = None,
    train_file: Annotated[str | None, typer.Option(help="JSONL or parquet with the task's columns.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write. [MODEL-rebuilt, or TASK-small]")] = None,
    updates: Annotated[int | None, typer.Option(help="Updates, with --task. [400]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda. [auto]")] = "auto",
) -> None:
    """Rebuild an embedded starting model from its recipe, or make a small one from a task's training data."""
    from harness.models import recipes

    folder = recipes.pretrain(model, task, train_file, out, updates, device, typer.echo)
    typer.echo(f"written to {folder}")


@app.command("eval")
def eval_(
    checkpoint: Annotated[
        Path, typer.Argument(help="A folder that from_pretrained loads, e.g. RUN/checkpoints/final.")
    ],
    task: Annotated[str | None, typer.Option(help="Task whose sets are scored. [arithmetic]")] = None,
    test_file: Annotated[str | None, typer.Option(help="JSONL or parquet with the task's columns.")] = None,
    eval_file: Annotated[list[str] | None, typer.Option(help="NAME=FILE; repeatable.")] = None,
    eval_tasks: Annotated[str | None, typer.Option(help="lm-eval stock tasks, comma-separated.")] = None,
    eval_limit: Annotated[int | None, typer.Option(help="At most so many problems a set.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Token limit of a completion.")] = None,
    scorer: Annotated[str, typer.Option(help="ours: our engine; hf: lm-eval's own model.")] = "ours",
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda. [auto]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value; repeatable.")] = None,
) -> None:
    """Score a checkpoint on a task's evaluation sets."""
    flags: dict[str, Any] = {
        "model": str(checkpoint), "task_name": task, "eval_tasks": eval_tasks, "eval_limit": eval_limit,
        "max_new_tokens": max_new_tokens, "device": device,
    }  # fmt: skip
    files = {"test_file": test_file, "eval_files": _named(eval_file, "--eval-file")}
    flags["task"] = {k: v for k, v in files.items() if v} or None
    from harness.config import resolve
    from harness.rescore import rescore

    typer.echo(rescore(resolve(flags, set_ or [], None), scorer))


def _named(words: list[str] | None, flag: str) -> dict[str, str]:
    """NAME=FILE words as a dictionary."""
    found = {}
    for word in words or []:
        name, equals, file = word.partition("=")
        if not (equals and name and file):
            raise ValueError(f"{flag}: '{word}' is not NAME=FILE")
        found[name] = file
    return found


class RunFailed(Exception):
    """The run began and did not end well; its record says why."""


def _guarded(execute: Callable[[], dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Run, and turn whatever goes wrong into one line and a traceback in the run's folder."""
    try:
        return execute()
    except KeyboardInterrupt:
        raise
    except Exception as error:
        import traceback

        said = f"{type(error).__name__}: {error}"
        try:
            (folder / "traceback.txt").write_text(traceback.format_exc())
        except OSError:  # a full disk: the reason is in the record, and here
            raise RunFailed(said) from error
        raise RunFailed(f"{said} (see {folder / 'traceback.txt'})") from error


def main() -> None:
    """The console script: one plain line for what is wrong, and the exit code that says whose fault it is."""
    try:
        code = app(standalone_mode=False)
    except ClickException as error:
        message = error.format_message()  # type: ignore[attr-defined]
        if message.startswith("No such command"):
            valid = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
            message += f" Valid: {', '.join(valid)}."
        code = _say(message, 2)
    except ValueError as error:
        code = _say(str(error), 2)
    except RunFailed as error:
        code = _say(f"the run failed: {error}", 1)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:  # Typer may turn the interrupt into a code itself
        typer.echo("interrupted", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
