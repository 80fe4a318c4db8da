"""How a user's reward function is called: its parameters decide.

    def f(problem, completion, verdict)              one completion -> a number
    def f(problems, completions, verdicts)           a round -> a list of numbers, one for each completion
    def f(completions, answer, level, **columns)     the same, with columns of the data rows: TRL's form

A function that has any of the parameters PLURAL takes a round.  Each of its parameters gets a list by its name: PLURAL,
else the data column of that name; `**columns` gets all other columns (None where a row has no such column).
`async def` does as `def`: completions are then rated side by side, at most CONCURRENT at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tasks import Problem
from evals.verification.verifier import Verdict

PLURAL = ("problems", "completions", "verdicts", "prompts")
CONCURRENT = 64
SINGLE = ("problem", "completion", "verdict")


@dataclass(frozen=True)
class CallForm:
    """CallForm(whole=True, asynchronous=False, names=("completions", "answer"), rest=True)"""

    whole: bool  # a round at once
    asynchronous: bool
    names: tuple[str, ...] = ()  # of the parameters of a function that takes a round
    rest: bool = False  # it takes **columns

    def arguments(
        self, problems: Sequence[Problem], completions: Sequence[str], verdicts: Sequence[Verdict]
    ) -> dict[str, list[Any]]:
        """What a function that takes a round is called with.  ValueError where a column is in none of the rows."""
        given: dict[str, list[Any]] = {
            "problems": list(problems),
            "completions": list(completions),
            "verdicts": list(verdicts),
            "prompts": [p.prompt for p in problems],
        }
        columns = list(dict.fromkeys(name for p in problems for name in p.row))
        wanted = [name for name in self.names if name not in given]
        if unknown := [name for name in wanted if name not in columns]:
            there = ", ".join(map(str, columns)) or "none"
            raise ValueError(f"no column '{unknown[0]}' in the data; there are {there}; also {', '.join(PLURAL)}")
        if self.rest:
            wanted = [name for name in columns if name not in given]
        arguments = {name: given[name] for name in (given if self.rest else self.names) if name in given}
        return arguments | {name: [p.row.get(name) for p in problems] for name in wanted}


def call_form(function: Callable[..., Any]) -> CallForm:
    """Raises ValueError where it can be called in none of the forms.

    >>> def good(completions, answer): ...
    >>> call_form(good)
    CallForm(whole=True, asynchronous=False, names=('completions', 'answer'), rest=False)
    """
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    asynchronous = inspect.iscoroutinefunction(called)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some built-in functions have none
        return CallForm(False, asynchronous)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if any(name in PLURAL for name in names):
        rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
        optional = {p.name for p in parameters if p.default is not p.empty}
        return CallForm(True, asynchronous, tuple(n for n in names if n in PLURAL or n not in optional), rest)
    try:
        inspect.signature(function).bind(*SINGLE)
    except TypeError:
        listed = ", ".join(str(p) for p in parameters)
        raise ValueError(
            f"its parameters are ({listed}); valid: ({', '.join(SINGLE)}) for one completion, or for a round any of "
            f"{', '.join(PLURAL)} and names of columns"
        ) from None
    return CallForm(False, asynchronous)
