"""Flags that several commands share: one name, one meaning, one line of help."""

from __future__ import annotations

from typing import Annotated

from typer import Option as Opt

Algo = Annotated[str | None, Opt(help="Algorithm, or FILE.py with one. [grpo]")]
GroupSize = Annotated[int | None, Opt(help="G, completions a prompt. [the model's profile]")]
Model = Annotated[str | None, Opt(help="nano, a hub id, or a folder. [nano]")]
TaskName = Annotated[str | None, Opt(help="Task to train on; see `harness list`. [arithmetic]")]
TrainFile = Annotated[str | None, Opt(help="JSONL or parquet with the task's columns.")]
TestFile = Annotated[str | None, Opt(help="The same, for the in-domain test.")]
EvalFile = Annotated[list[str] | None, Opt(help="NAME=FILE, an out-of-domain test; repeatable.")]
EvalTasks = Annotated[str | None, Opt(help="lm-eval stock tasks, comma-separated.")]
EvalLimit = Annotated[int | None, Opt(help="At most so many problems an evaluation.")]
Reward = Annotated[
    str | None, Opt(help="rule, process-rule, outcome-model, process-model, or FILE.py:function. [rule]")
]
BudgetText = Annotated[str | None, Opt(help="UNIT=LIMIT, e.g. completions=8192, flops=1e15.")]
Name = Annotated[str | None, Opt(help="Folder of the records under OUT.")]
Out = Annotated[str | None, Opt(help="Where that folder lies. [results]")]
Config = Annotated[str | None, Opt(help="TOML file with any of these fields.")]
ProfileName = Annotated[str | None, Opt("--profile", help="A scale for studies: paper-1.3b, or a FILE.toml.")]
Set = Annotated[list[str] | None, Opt("--set", help="field=value, e.g. algo.kl_coef=0.1; repeatable.")]
Temperature = Annotated[float | None, Opt(help="Of training's sampling. [1]")]
MaxNewTokens = Annotated[int | None, Opt(help="Token limit of a completion.")]
Device = Annotated[str | None, Opt(help="auto, cpu, cuda, cuda:1. [auto]")]
Dtype = Annotated[str | None, Opt(help="auto, float32, bfloat16, float64. [auto]")]
KeepCheckpoints = Annotated[int | None, Opt(help="The newest so many; 0 writes none. [1]")]
DryRun = Annotated[bool, Opt("--dry-run", help="Check everything, say what would be done, stop.")]
Quiet = Annotated[bool, Opt("--quiet", help="Print nothing but errors.")]
Workers = Annotated[int, Opt(help="Runs at once: CUDA devices are dealt in turn, CPU cores shared.")]
Retry = Annotated[bool, Opt("--retry", help="Run failed cells again; without it they are kept and shown.")]


def named(words: list[str] | None, flag: str) -> dict[str, str]:
    """NAME=FILE words as a dictionary."""
    found = {}
    for word in words or []:
        name, equals, file = word.partition("=")
        if not (equals and name and file):
            raise ValueError(f"{flag}: '{word}' is not NAME=FILE")
        found[name] = file
    return found
