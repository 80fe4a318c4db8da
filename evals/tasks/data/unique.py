"""What generated tasks share: an id, so many different problems of a stream, the sorting that RL never trains on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

from evals.tasks.base import Problem
from evals.tasks.data.arithmetic_chains import PATIENCE, draw_sorting


def id_of(canonical: str) -> str:
    return sha256(canonical.encode()).hexdigest()[:16]


def distinct(stream: Iterator[Problem], count: int, widen: str) -> list[Problem]:
    """The first `count` problems of a stream whose ids differ.  Raises ValueError where it runs dry before, naming the
    fields to `widen`."""
    found: dict[str, Problem] = {}
    repeated = 0
    for problem in stream:
        repeated = repeated + 1 if problem.id in found else 0
        found.setdefault(problem.id, problem)
        if len(found) == count:
            return list(found.values())
        if repeated == PATIENCE:
            break
    raise ValueError(f"task: of {count} different problems there are only {len(found)}; widen {widen}")


def sorting() -> Iterator[Problem]:
    """An endless stream of the test split's."""
    rng = random.Random("sorting/test")
    while True:
        s = draw_sorting(rng, "test")
        yield Problem(id_of(s.canonical), s.prompt, str(max(s.numbers)))
