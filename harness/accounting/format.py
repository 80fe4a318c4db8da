"""Numbers as a reader wants them: three or four digits and a unit; "-" for what is not there.  And texts as a screen
may show them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

ESCAPE = re.compile(  # of a terminal: control sequences, strings up to their end, and single escapes
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -~]?"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # and what reverses the order of text


def visible(text: str) -> str:
    """One text without escape sequences of terminals, control characters (but line ends and tabs) and characters that
    reverse the order of what follows: what a model or a file says may not act on a screen.

    Of a page of several texts see `without_controls`: a sequence may begin in one text and end in another.

    >>> visible("a\\x1b[31mb\\x1b]0;title\\x07c\\x00d")
    'abcd'
    """
    return without_controls(ESCAPE.sub("", text))


def without_controls(text: str) -> str:
    """The same of single characters alone, so that nothing else is lost."""
    return CONTROL.sub("", text)


def _scaled(x: float | None, step: float, units: Sequence[str]) -> str:
    """One decimal below 100, none from there on and none in the smallest unit."""
    if x is None or not math.isfinite(x):
        return "-"
    place = 0
    while round(abs(x)) >= step and place < len(units) - 1:
        x, place = x / step, place + 1
    return f"{x:,.{int(place > 0 and abs(x) < 99.95)}f} {units[place]}".rstrip()


def count(x: float | None) -> str:
    """12345 is "12,345"; from a million on, 1234567 is "1.2 M"."""
    if x is None or not math.isfinite(x) or abs(x) < 999_999.5:
        return _scaled(x, math.inf, ("",))
    return _scaled(x / 1e3, 1e3, ("k", "M", "B", "T"))


def flops(x: float | None) -> str:
    """3.4e12 is "3.4 TFLOP"."""
    return _scaled(x, 1e3, [f"{prefix}FLOP" for prefix in ("", "k", "M", "G", "T", "P", "E", "Z")])


def size(x: float | None) -> str:
    """851443712 is "812 MiB"."""
    return _scaled(x, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def percent(x: float | None, digits: int = 1) -> str:
    """0.2341 is "23.4 %"."""
    return "-" if x is None or not math.isfinite(x) else f"{100 * x:.{digits}f} %"


def point(fraction: float) -> str:
    """A place in the budget: 0 is "start", 1 is "end", 0.25 is "25 %"."""
    return {0.0: "start", 1.0: "end"}.get(fraction, percent(fraction, 0))


def clock(seconds: float | None) -> str:
    """71.2 is "1:11", 3671 is "1:01:11"; None is "-"."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
