"""Shared by generated tasks: problem ids, distinct problems of a stream, and the sorting problems for retention."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

from evals.tasks.base import Problem
from evals.tasks.data.arithmetic_chains import PATIENCE, draw_sorting


def id_of(canonical: str) -> str:
    return sha256(canonical.encode()).hexdigest()[:16]


def distinct(stream: Iterator[Problem], count: int, widen: str) -> list[Problem]:
    """The first `count` problems of a stream whose ids differ.  Raises ValueError where the stream has fewer, naming
    the fields to `widen`."""
    problems: dict[str, Problem] = {}
    repeated = 0
    for problem in stream:
        repeated = repeated + 1 if problem.id in problems else 0
        problems.setdefault(problem.id, problem)
        if len(problems) == count:
            return list(problems.values())
        if repeated == PATIENCE:
            break
    raise ValueError(f"task: of {count} different problems there are only {len(problems)}; widen {widen}")


def sorting() -> Iterator[Problem]:
    """An endless stream of sorting problems of the test split."""
    rng = random.Random("sorting/test")
    while True:
        s = draw_sorting(rng, "test")
        yield Problem(id_of(s.canonical), s.prompt, str(max(s.numbers)))
