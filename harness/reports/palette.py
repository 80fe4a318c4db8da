"""How an arm looks: one colour per algorithm in every figure, page and study (palette.toml).

Arms of one algorithm differ in shade and dashes, and all arms of a study in their markers, so that colour is never the
only cue.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.reports.analysis.summary import Findings

SHADES = (0.0, -0.45, 0.4, -0.7, 0.6, -0.25, 0.2)  # of the arms of one algorithm: below 0 darker, above 0 lighter
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


@dataclass(frozen=True)
class Style:
    """Colour as #rrggbb; line style and marker as matplotlib names them."""

    colour: str
    dashes: str
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of matplotlib's `plot`."""
        return {"color": self.colour, "linestyle": self.dashes, "marker": self.marker}


@cache
def palette() -> dict[str, Any]:
    """The tables of palette.toml."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def styles(algorithms: Mapping[str, str]) -> dict[str, Style]:
    """A style for each arm, from the algorithm of each arm of a study, in the study's order.

    >>> styles({"a": "grpo", "b": "ppo"})["b"].colour
    '#D55E00'
    """
    colours, variants, others = (palette()[name] for name in ("algorithms", "variants", "others"))
    seen: dict[str, int] = {}
    strange: list[str] = []
    out = {}
    for i, (arm, algorithm) in enumerate(algorithms.items()):
        family = variants.get(algorithm, algorithm)
        if family not in colours and family not in strange:
            strange.append(family)
        base = colours.get(family) or others["colours"][strange.index(family) % len(others["colours"])]
        k = seen[family] = seen.get(family, -1) + 1
        shade = shaded(base, SHADES[k % len(SHADES)])
        out[arm] = Style(shade, DASHES[k % len(DASHES)], MARKERS[i % len(MARKERS)])
    return out


def shaded(colour: str, amount: float) -> str:
    """Mixed with white (amount above 0) or with black (below 0).

    >>> shaded("#0072B2", 0.0), shaded("#0072B2", 1.0), shaded("#0072B2", -1.0)
    ('#0072B2', '#FFFFFF', '#000000')
    """
    end = 255 if amount > 0 else 0
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(x + abs(amount) * (end - x)):02X}" for x in parts)


def styles_of(findings: Findings) -> dict[str, Style]:
    """The style of each arm that has a run: the same whichever arms are shown."""
    runs = findings.results.runs
    first = {arm: next(iter(by_seed.values())) for arm, by_seed in runs.items() if by_seed}
    return styles({arm: Path(run.record["algo"]).stem for arm, run in first.items()})
