"""`arithmetic`: short chains of + and - (`data/arithmetic_chains.py`); generated, offline; the task of the model nano.

RL trains on chains of 3 and 4 numbers up to 30, or on those of `numbers`, `least` and `most`.  Out of domain: longer
chains, larger numbers, a worded form.  Retention: sorting, which the start model can do and RL never trains on, so
that forgetting can be measured.  These sets do not depend on the three fields; one whose name would then be false (RL
trains on chains as long, or numbers as large) is left out.  In-domain sets and the selection split do depend on them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tasks.base import EvalSet, Problem, Step, Task
from evals.tasks.data.arithmetic_chains import LIMIT, Chain, careful, check_steps, key_of, problems, read_steps
from evals.tasks.data.unique import distinct, id_of, sorting
from evals.verification import verifier

RANGE = "numbers, least or most"
FORM = re.compile(r"<think>\s*[^<\s][^<]*</think>\s*#### *-?\d+")


def _problem(chain: Chain, worded: bool = False) -> Problem:
    prompt = f"What is {chain.words}?" if worded else f"{chain.text}="
    return Problem(id_of(chain.canonical), prompt, str(chain.value), chain.text)


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Task):
    """12-(5-3)+4=  ->  #### 14"""

    name = "arithmetic"
    stop = ()

    numbers: tuple[int, ...] = (3, 4)  # lengths of the training chains
    least: int = 1  # their numbers lie in least..most
    most: int = 30  # see least
    train_size: int = 4096  # training problems
    test_size: int = 500  # in-domain test problems
    other_size: int = 200  # problems of each other test

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", tuple(self.numbers))
        if not self.numbers or min(self.numbers) < 2:
            raise ValueError(f"task.numbers: must name lengths of at least 2, not {list(self.numbers)}")
        if not 1 <= self.least <= self.most <= LIMIT:
            raise ValueError(f"task.least, task.most: must be a range in 1..{LIMIT}, not {self.least}..{self.most}")
        for name in ("train_size", "test_size", "other_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"task.{name}: must be at least 1, not {getattr(self, name)}")

    def metadata(self, problem: Problem) -> Mapping[str, float | str]:
        """How many numbers there are, the largest, how many are in brackets; the difficulty is how many there are."""
        text = str(problem.source)
        numbers = [int(word) for word in re.findall(r"\d+", text)]
        return {
            "difficulty": float(len(numbers)),
            "largest": float(max(numbers)),
            "brackets": float(text.count("(")),
            "source": f"{len(numbers)} numbers",
        }

    def spec(self) -> dict[str, Any]:
        return {"class": "evals.tasks.arithmetic:Arithmetic", "fields": {}}

    def train(self, seed: int = 0) -> Sequence[Problem]:
        """The training problems; `seed` is not used, every run draws from the same set."""
        return distinct(self._drawn("train"), self.train_size, RANGE)

    def selection(self) -> Sequence[Problem]:
        """Problems for tuning settings; disjoint from training and test."""
        return distinct(self._drawn("selection"), self.test_size, RANGE)

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        def take(size: int, stream: Iterator[Problem]) -> list[Problem]:
            return distinct(stream, min(size, limit or size), RANGE)

        def test(make: Callable[[Chain], Problem], **chains: Any) -> list[Problem]:
            return take(self.other_size, map(make, problems("test", 0, **chains)))

        inside = take(self.test_size, self._drawn("test"))
        sets = [EvalSet("arithmetic", "in", inside), EvalSet("arithmetic_t1", "in", inside, temperature=1.0)]
        if self._longer:
            sets.append(EvalSet("arithmetic_longer", "out", test(_problem, numbers=(5,), most=30)))
        if self._larger:
            sets.append(EvalSet("arithmetic_larger", "out", test(_problem, numbers=(3, 4), most=60, least=31)))
        worded = test(lambda c: _problem(c, worded=True), numbers=(3, 4), most=30)
        sets.append(EvalSet("arithmetic_worded", "out", worded))
        return [*sets, EvalSet("sorting", "retention", take(self.other_size, sorting()))]

    def notices(self) -> list[str]:
        chains = f"RL draws chains of {', '.join(map(str, self.numbers))} numbers in {self.least}..{self.most}"
        named = {"arithmetic_longer": self._longer, "arithmetic_larger": self._larger}
        return [f"{name} is left out: {chains}" for name, true in named.items() if not true]

    @property
    def _longer(self) -> bool:
        """Is a chain of 5 longer than every training chain?"""
        return max(self.numbers) < 5

    @property
    def _larger(self) -> bool:
        """Are numbers from 31 on larger than every number in training?"""
        return self.most < 31

    def _drawn(self, split: str) -> Iterator[Problem]:
        return map(_problem, problems(split, 0, self.numbers, self.most, self.least))

    def verify(self, problem: Problem, completion: str, ended: bool) -> verifier.Verdict:
        return verifier.verify(completion, problem.gold, self.format, ended, worked_out=True)

    def formatted(self, completion: str) -> bool:
        """Reasoning inside `<think>...</think>`, then the answer and nothing else (DeepSeek-R1, 2501.12948 §2.2)."""
        return FORM.fullmatch(completion.strip()) is not None

    def solution(self, problem: Problem) -> str | None:
        """One correct derivation, always the same for a problem, in the style of nano's pretraining data."""
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
