"""The end of a run as tables: one set of cells (`rows`), laid out for a terminal (`Tables`) and as a file (`markdown`).

Every cell is finished text before anything is laid out, so that the two cannot disagree.  A number that is not
there is "-": an interrupted run, an evaluation that never came, a phase of zero seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evals.stats import wilson
from harness.budget import UNITS
from harness.meter import CHARGED, PHASES

Row = dict[str, str]

DOMAINS = {"in": "in domain", "out": "out of domain", "retention": "retention"}
RATES = ("unparseable", "truncated", "verifier_error")
PARTS = ("policy", "reference", "critic", "reward_model", "gradients", "optimizer", "kv_cache", "activations")
NAMES = {"flops": "FLOPs", "device_seconds": "device time", "kv_cache": "KV cache", "eval": "evaluation"}
WIDE = 98  # columns from which on the tables have their full spacing
FOLDED = {"unparseable": "un-\nparseable", "truncated": "trun-\ncated", "95 % interval": "95 %\ninterval"}


# Numbers as people read them.  None and NaN are "-".


def _known(x: float | None) -> bool:
    return x is not None and math.isfinite(x)


def _scaled(x: float, step: float, units: Sequence[str], digits: int) -> str:
    place = 0
    while abs(x) >= step - 0.5 * 10**-digits and place < len(units) - 1:
        x, place = x / step, place + 1
    return f"{x:,.{digits if place else 0}f} {units[place]}".rstrip()


def count(x: float | None) -> str:
    """12345 -> "12,345"; from a million on 1234567 -> "1.2 M"."""
    if x is None or not _known(x):
        return "-"
    return f"{x:,.0f}" if abs(x) < 1e6 else _scaled(x / 1e6, 1000, ("M", "B", "T"), 1).replace("-0 ", "0 ") if (
        abs(x) >= 1e9
    ) else f"{x / 1e6:,.1f} M"
