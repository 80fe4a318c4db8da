"""Options that several commands share, and how all of them print.

What an option is that sets a field of a run stands once, behind the field (`harness/config/run_config.py`).
"""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

import typer
from typer import Option as Opt

from harness.accounting.format import visible
from harness.config.field_docs import comments_in
from harness.processes.group import current

# read from the source: to import it takes longer than `--help` may
_COMMENTS = comments_in(files("harness.config").joinpath("run_config.py").read_text(encoding="utf-8"), "RunConfig")
FIELDS = tuple(_COMMENTS)  # of a run


def about(field: str, default: str = "") -> str:
    """The help of the option that sets a field: its comment, and the default in brackets."""
    return f"{_COMMENTS[field]}.{f' [{default}]' * bool(default)}"


Algo = Annotated[str | None, Opt(help=about("algo_name", "grpo"))]
GroupSize = Annotated[int | None, Opt(help=about("group_size", "the model's default"))]
Model = Annotated[str | None, Opt(help=about("model", "nano"))]
TaskName = Annotated[str | None, Opt(help=about("task_name", "arithmetic"))]
TrainFile = Annotated[
    str | None, Opt(help="JSON(L), CSV or parquet, a folder, or a hub id; see docs/guides/datasets.md.")
]
TestFile = Annotated[str | None, Opt(help="The same, for the in-domain test set. [held out of --train-file]")]
EvalFile = Annotated[list[str] | None, Opt(help="NAME=FILE, an out-of-domain test set; repeatable.")]
SystemPrompt = Annotated[str | None, Opt(help=about("system_prompt"))]
EvalTasks = Annotated[str | None, Opt(help=about("eval_tasks"))]
EvalSamples = Annotated[
    list[str] | None,
    Opt("--eval-samples", help="NAME=K: that set with K samples of each problem at every point (avg@K); repeatable."),
]
EvalLimit = Annotated[int | None, Opt(help=about("eval_limit"))]
Reward = Annotated[str | None, Opt(help=about("reward", "rule"))]
BudgetText = Annotated[str | None, Opt(help=about("budget", "the model's default"))]
Seed = Annotated[int | None, Opt(help=about("seed", "0"))]
Name = Annotated[str | None, Opt(help=about("name"))]
Out = Annotated[str | None, Opt(help=about("out", "results"))]
Config = Annotated[str | None, Opt(help="TOML or YAML file with any configuration fields.")]
ProfileName = Annotated[str | None, Opt("--profile", help="Scale profile of studies: paper-1.3b, or FILE.toml.")]
Set = Annotated[list[str] | None, Opt("--set", help="field=value, e.g. algo.kl_coef=0.1; repeatable.")]
Temperature = Annotated[float | None, Opt(help=about("temperature", "1"))]
MaxNewTokens = Annotated[int | None, Opt(help=about("max_new_tokens", "the model's default"))]
Device = Annotated[str | None, Opt(help=about("device", "auto"))]
Dtype = Annotated[str | None, Opt(help=about("dtype", "auto"))]
Lora = Annotated[str | None, Opt(help="Train an adapter: r=16,alpha=32,target=all-linear, ... (lora.FIELD).")]
KeepCheckpoints = Annotated[int | None, Opt(help=about("keep_checkpoints", "2"))]
Tool = Annotated[list[str] | None, Opt("--tool", help=about("tools"))]
Track = Annotated[list[str] | None, Opt("--track", help=about("track"))]
Resume = Annotated[bool, Opt("--resume", help=about("resume"))]
Threads = Annotated[str | None, Opt(help=about("threads", "fixed"))]
ShowConfig = Annotated[bool, Opt("--show-config", help="Print every field as the record would hold it, and stop.")]
DryRun = Annotated[bool, Opt("--dry-run", help="Check everything, print what would be done, and stop.")]
Quiet = Annotated[bool, Opt("--quiet", help="Print only errors.")]
Workers = Annotated[int, Opt(help="Parallel runs: CUDA devices are assigned in turn, CPU cores divided.")]
Retry = Annotated[bool, Opt("--retry", help="Run failed runs again; without it they are kept and reported.")]


PresetName = Annotated[str | None, Opt("--preset", help="What a framework computes, e.g. trl; harness list --presets.")]


def with_preset(algo: str | None, preset: str | None) -> str | None:
    """The algorithm's name, in a framework's dialect where one is asked for.  Raises ValueError listing those there
    are.
    """
    if preset is None:
        return algo
    import algos

    return algos.with_preset(algo or "grpo", preset)


def say(text: str, err: bool = False) -> None:
    """Print a text, of which parts may come from a model or a file, as a terminal may have it."""
    typer.echo(visible(text), err=err)


def counted(texts: list[str] | None, flag: str) -> dict[str, int] | None:
    """NAME=K options as a dictionary; None where there are none."""
    counts = {}
    for text in texts or []:
        name, _, count = text.partition("=")
        if not (name and count.isdecimal()):
            raise ValueError(f"{flag}: '{text}' is not NAME=K with a whole number K")
        counts[name] = int(count)
    return counts or None


def tell(text: str) -> None:
    """The same, by one of a run's processes."""
    if current().first:
        say(text)


def named(texts: list[str] | None, flag: str) -> dict[str, str]:
    """NAME=FILE options as a dictionary."""
    files = {}
    for text in texts or []:
        name, equals, file = text.partition("=")
        if not (equals and name and file):
            raise ValueError(f"{flag}: '{text}' is not NAME=FILE")
        files[name] = file
    return files
