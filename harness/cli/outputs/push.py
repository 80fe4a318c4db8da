"""`harness push`: a run's model to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option as Opt

from harness.cli.options import DryRun, say


def push(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; it is made if it is not there.")],
    private: Annotated[bool, Opt("--private", help="Make a new repository private.")] = False,
    branch: Annotated[str | None, Opt(help="Push to this branch. [main]")] = None,
    dry_run: DryRun = False,
) -> None:
    """Upload a run's model with its card, its record and its rounds to the hub."""
    from harness.api.finished import files_to_push, push_run

    if dry_run:
        for place, file in files_to_push(run, repo):
            say(f"{place}  ({file.stat().st_size:,} bytes)")
        return
    say(f"pushed to {push_run(run, repo, private=private, branch=branch)}")
