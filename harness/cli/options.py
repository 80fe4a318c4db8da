"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

from typer import Option as Opt

Algo = Annotated[str | None, Opt(help="Algorithm, or FILE.py that defines one. [grpo]")]
GroupSize = Annotated[int | None, Opt(help="G, completions per prompt. [the model's default]")]
Model = Annotated[str | None, Opt(help="nano, a hub id, or a folder. [nano]")]
TaskName = Annotated[str | None, Opt(help="Task, or FILE.py that defines one. [arithmetic]")]
TrainFile = Annotated[str | None, Opt(help="JSONL or parquet with the task's columns.")]
TestFile = Annotated[str | None, Opt(help="The same, for the in-domain test set.")]
EvalFile = Annotated[list[str] | None, Opt(help="NAME=FILE, an out-of-domain test set; repeatable.")]
EvalTasks = Annotated[str | None, Opt(help="lm-eval stock tasks, comma-separated.")]
EvalLimit = Annotated[int | None, Opt(help="Maximum number of problems per evaluation set.")]
Reward = Annotated[
    str | None, Opt(help="rule, process-rule, outcome-model, process-model, or FILE.py:function. [rule]")
]
BudgetText = Annotated[str | None, Opt(help="UNIT=LIMIT, e.g. completions=8192, flops=1e15.")]
Name = Annotated[str | None, Opt(help="Folder of the run, under OUT.")]
Out = Annotated[str | None, Opt(help="Parent folder of runs. [results]")]
Config = Annotated[str | None, Opt(help="TOML file with any configuration fields.")]
ProfileName = Annotated[str | None, Opt("--profile", help="Scale profile of studies: paper-1.3b, or FILE.toml.")]
Set = Annotated[list[str] | None, Opt("--set", help="field=value, e.g. algo.kl_coef=0.1; repeatable.")]
Temperature = Annotated[float | None, Opt(help="Sampling temperature in training. [1]")]
MaxNewTokens = Annotated[int | None, Opt(help="Maximum tokens per completion.")]
Device = Annotated[str | None, Opt(help="auto, cpu, cuda, cuda:1. [auto]")]
Dtype = Annotated[str | None, Opt(help="auto, float32, bfloat16, float64. [auto]")]
KeepCheckpoints = Annotated[int | None, Opt(help="Number of checkpoints to keep; 0 writes none. [1]")]
DryRun = Annotated[bool, Opt("--dry-run", help="Check everything, print what would be done, and stop.")]
Quiet = Annotated[bool, Opt("--quiet", help="Print only errors.")]
Workers = Annotated[int, Opt(help="Parallel runs: CUDA devices are assigned in turn, CPU cores divided.")]
Retry = Annotated[bool, Opt("--retry", help="Run failed runs again; without it they are kept and reported.")]


def named(texts: list[str] | None, flag: str) -> dict[str, str]:
    """NAME=FILE options as a dictionary."""
    files = {}
    for text in texts or []:
        name, equals, file = text.partition("=")
        if not (equals and name and file):
            raise ValueError(f"{flag}: '{text}' is not NAME=FILE")
        files[name] = file
    return files
