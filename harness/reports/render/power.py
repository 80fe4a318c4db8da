"""What a study can decide, as a table and a sentence: `harness power`, and the end of `--dry-run`."""

from __future__ import annotations

import math

from evals.statistics.comparison import POWER
from harness.reports.analysis.power import MOST, Prospect
from harness.reports.render.table import Table
from harness.reports.render.text import points
from harness.studies.study import Study


def power_table(study: Study, rows: list[Prospect]) -> Table:
    """One row per contrast between arms."""
    cells = []
    for r in rows:
        known = r.spread is not None
        needed = "-" if math.isnan(r.power) else f"over {MOST}, or more problems" if r.needed is None else str(r.needed)
        share = "-" if math.isnan(r.power) else f"{100 * r.power:.0f} %"
        spread = [points(r.spread.sd), r.spread.basis] if r.spread else ["-", "nothing like it has run; --sd POINTS"]
        problems = points(math.sqrt(r.spread.problems)) if known and r.spread and r.spread.items else "-"
        row = [r.a, r.b, *spread, problems, str(r.seeds), points(r.detectable), share, needed]
        cells.append([*row, "-" if math.isnan(r.room) else points(r.room)])
    columns = ["A", "B", "SD over seeds", "from", "SD of problems", "seeds", "detectable", "power", "needed", "room"]
    note = (
        f"Points of accuracy.  Detectable: the difference that these seeds tell from 0 with probability {POWER:g}, in "
        f"a family of {len(rows)}.  Power: at the margin of {study.report.margin:g} points.  Needed: seeds for "
        f"{POWER:g} at the margin.  Room: what the better arm has left to 100 %, by runs of its kind."
    )
    return Table(f"Power of {study.name}", columns, cells, note)


def power_sentence(study: Study, rows: list[Prospect], typed: str | None = None) -> str:
    """Whether the study can decide what it asks.  `typed`: its name or file, as `harness power` takes it; None of a
    study that is none of the two."""
    known = [r for r in rows if not math.isnan(r.power)]
    if not known:
        return (
            f"power: unknown; no run like these is recorded{f' (harness power {typed} --sd POINTS)' if typed else ''}"
        )
    able = sum(r.power >= POWER for r in known)
    text = (
        f"power: {able} of {len(rows)} contrasts would show a difference of {study.report.margin:g} points with "
        f"probability {POWER:g}"
    )
    needed = [r.needed for r in known if r.power < POWER]
    if not needed:
        return text
    enough = [n for n in needed if n is not None]
    more = f"{max(enough)} seeds for {len(enough)} more" if enough else "no number of seeds is enough for the others"
    return f"{text}; {more}{f' (harness power {typed})' if typed else ''}"
