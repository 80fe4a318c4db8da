"""`harness show`: a run's record as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option as Opt

from harness.cli.options import say


def show(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    json_: Annotated[bool, Opt("--json", help="Print record.json under today's names.")] = False,
) -> None:
    """What a run was and what came out: the tables that it ended with."""
    from harness.api.runs import load_record

    record = load_record(run)
    if json_:
        import json

        say(json.dumps(record, indent=1))
        return
    from rich.console import Console

    from harness.accounting.format import visible
    from harness.cli.console.summary import Tables

    console = Console(highlight=False)
    console.print(Tables(record))
    lines = [f"notice: {notice}" for notice in record.get("notices") or []]
    when = f"{record.get('started', '-')} to {record.get('ended', '-')}"
    commit = record["environment"].get("commit")
    lines += ["", f"ran {when}, on {record['environment'].get('device')}{f', commit {commit[:12]}' if commit else ''}"]
    lines += [f"{what}: {run / file}" for what, file in FILES.items() if (run / file).exists()]
    for line in lines:
        console.print(visible(line), markup=False, soft_wrap=True)


FILES = {
    "model": "checkpoints/final",
    "model card": "checkpoints/final/README.md",
    "rounds": "metrics.jsonl",
    "samples": "samples.jsonl",
    "record": "record.json",
}
