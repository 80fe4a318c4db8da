#!/usr/bin/env python3
"""The screens of docs/guides/screens/, drawn by the console's own code from records that are committed.

    python scripts/screens.py [--out docs/guides/screens]

run-80.svg, run-110.svg   a run while it goes on, at 80 and 110 columns
end-80.svg, end-110.svg   the same run at its end: the tables, the curve, and what to do next
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from harness.cli.console.progress import Progress  # noqa: E402 - after the path

RECORD = "results/readme/grpo-arithmetic-s0"
SHOWN = 13  # the round that the run is at
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # rich's are on a server of others


def console(columns: int) -> Console:
    return Console(
        record=True,
        width=columns,
        height=50,
        force_terminal=True,
        file=io.StringIO(),
        color_system="truecolor",
        legacy_windows=False,
        highlight=False,
    )


def svg(screen: Console, title: str) -> str:
    return FONT.sub("", screen.export_svg(title=title, unique_id=re.sub(r"\W+", "-", title))) + "\n"


def running(columns: int) -> str:
    """The live view in the middle of the run: its clock is the record's own step times."""
    folder, clock = Path(RECORD), [0.0]
    record = json.loads((folder / "record.json").read_text())
    rounds = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    screen = console(columns)
    progress = Progress(console(columns), now=lambda: clock[0])
    progress.interactive = True
    progress._show = lambda: None  # type: ignore[method-assign]
    for fraction in (0.0, 0.5):
        rows = [row for row in record["evals"] if row["fraction"] == fraction]
        progress.evaluation(fraction, rows)
        progress.phase("training")
        for metrics in rounds[: SHOWN if fraction else 10][progress.rounds :]:
            clock[0] += metrics["step_time"]
            progress.round(metrics, [])
    screen.print(progress.view())
    return svg(screen, "harness run --algo grpo --group-size 16")


def ended(columns: int) -> str:
    screen = console(columns)
    record = json.loads(Path(RECORD, "record.json").read_text())
    progress = Progress(screen)
    progress.finish(record, Path(RECORD))
    return svg(screen, "harness run --algo grpo --group-size 16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/guides/screens")
    out = parser.parse_args().out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)  # the path that is drawn is the one from here, wherever the repository lies
    for columns in (80, 110):
        (out / f"run-{columns}.svg").write_text(running(columns), encoding="utf-8")
        (out / f"end-{columns}.svg").write_text(ended(columns), encoding="utf-8")


if __name__ == "__main__":
    main()
