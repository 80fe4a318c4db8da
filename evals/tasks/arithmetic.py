"""`arithmetic`: short chains of + and - (`evals/chains.py`); generated, offline, the task that nano was made for.

RL draws chains of 3 and 4 numbers up to 30.  Out of its domain: longer chains, larger numbers, a worded form;
and sorting, which the start model can do and RL never trains on, so that forgetting can be seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from evals import verify
from evals.chains import Chain, careful, check_steps, draw_sorting, key_of, problems, read_steps
from evals.tasks import EvalSet, Problem, Step, Task


def _id(canonical: str) -> str:
    return sha256(canonical.encode()).hexdigest()[:16]


def _problem(chain: Chain, worded: bool = False) -> Problem:
    prompt = f"What is {chain.words}?" if worded else f"{chain.text}="
    return Problem(_id(chain.canonical), prompt, str(chain.value), chain.text)


def _distinct(stream: Iterator[Problem], count: int) -> list[Problem]:
    """The first `count` problems of a stream whose ids differ."""
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = next(stream)
        found.setdefault(problem.id, problem)
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Task):
    """12-(5-3)+4=  ->  #### 14"""

    name = "arithmetic"
    stop = ()

    train_size: int = 4096  # problems that RL draws from
    test_size: int = 500  # in-domain test problems
    other_size: int = 200  # problems of each other test

    def __post_init__(self) -> None:
        for name in ("train_size", "test_size", "other_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"task.{name}: must be at least 1, not {getattr(self, name)}")

    def spec(self) -> dict[str, Any]:
        return {"class": "evals.tasks.arithmetic:Arithmetic", "fields": {}}

    def train(self, seed: int = 0) -> Sequence[Problem]:
        """The training problems; `seed` is not used, every run draws from the same set."""
        return _distinct(map(_problem, problems("train", 0, (3, 4), 30)), self.train_size)

    def selection(self) -> Sequence[Problem]:
        """What settings are tuned on; disjoint from training and test."""
        return _distinct(map(_problem, problems("selection", 0, (3, 4), 30)), self.test_size)

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        def take(size: int, stream: Iterator[Problem]) -> list[Problem]:
            return _distinct(stream, min(size, limit or size))

        def test(make: Callable[[Chain], Problem], **chains: Any) -> list[Problem]:
            return take(self.other_size, map(make, problems("test", 0, **chains)))

        inside = take(self.test_size, map(_problem, problems("test", 0, (3, 4), 30)))
        return [
            EvalSet("arithmetic", "in", inside),
            EvalSet("arithmetic_t1", "in", inside, temperature=1.0),
            EvalSet("arithmetic_longer", "out", test(_problem, numbers=(5,), most=30)),
            EvalSet("arithmetic_larger", "out", test(_problem, numbers=(3, 4), most=60, least=31)),
            EvalSet("arithmetic_worded", "out", test(lambda c: _problem(c, worded=True), numbers=(3, 4), most=30)),
            EvalSet("sorting", "retention", take(self.other_size, self._sorting())),
        ]

    @staticmethod
    def _sorting() -> Iterator[Problem]:
        rng = random.Random("sorting/test")
        while True:
            s = draw_sorting(rng, "test")
            yield Problem(_id(s.canonical), s.prompt, str(max(s.numbers)))

    def judge(self, problem: Problem, completion: str, ended: bool) -> verify.Verdict:
        return verify.judge(completion, problem.gold, "hash", ended)

    def solution(self, problem: Problem) -> str | None:
        """One correct derivation, always the same of a problem, in the style that nano masters and rarely shows."""
        if problem.source is None:
            return None
        return careful(Chain.parse(problem.source), random.Random(f"solution/{problem.id}"))

    def key(self, problem: Problem, completion: str) -> str:
        return key_of(completion)

    def steps(self, problem: Problem, completion: str) -> list[Step] | None:
        if problem.source is None:  # sorting declares no steps
            return None
        right = check_steps(Chain.parse(problem.source), completion)
        return [Step(s.end, r) for s, r in zip(read_steps(completion), right, strict=True)]
