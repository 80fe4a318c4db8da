"""`lookup`: questions about invented facts, which no model can know; generated, offline; the task of the model lookup.

A third of the questions asks for one fact, a third combines two, and the rest needs no search: what it takes is in the
question.  The tool `search` looks through a corpus of all facts.  The names of training, tuning and test are disjoint,
so that a fact that was met in training answers nothing in the test.

| measure       | of                              | what it is                                                       |
|---------------|---------------------------------|------------------------------------------------------------------|
| `calls`       | all                             | answered calls of a completion                                   |
| `needless`    | questions that need no search   | did it search?                                                   |
| `missing`     | questions that need one         | is a fact that the answer needs in nothing that it has read?     |
| `unsupported` | completions with an answer      | the same, of completions that answer all the same                |
| `accuracy_X`  | questions of the kind X         | strict accuracy of `one`, `two`, `none`                          |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from evals.tasks.base import EvalSet, Problem, Task
from evals.tasks.data.unique import distinct, id_of
from evals.tasks.facts.invented import corpus
from evals.tasks.facts.questions import KINDS, Question, questions
from evals.verification import verifier
from evals.verification.transcript import turns_of
from evals.verification.verifier import Verdict


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Task):
    """What is the price of belzor plus the age of mimkab?  ->  #### 11"""

    name = "lookup"
    stop = ()
    tools = ("search",)
    tool_settings = MappingProxyType({"top": 1, "result_tokens": 24, "calls": 3})

    one: float = 1.0  # weight of questions of one fact
    two: float = 1.0  # of two facts, whose numbers are combined
    none: float = 1.0  # of those that need no search
    train_size: int = 4096  # training problems
    test_size: int = 300  # in-domain test problems
    other_size: int = 200  # problems of the test of each kind

    def __post_init__(self) -> None:
        if min(self.one, self.two, self.none) < 0 or self.one + self.two + self.none == 0:
            raise ValueError("task.one, task.two, task.none: weights of kinds, not negative, and not all 0")
        for name in ("train_size", "test_size", "other_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"task.{name}: must be at least 1, not {getattr(self, name)}")

    def spec(self) -> dict[str, Any]:
        return {"class": f"{__name__}:Lookup", "fields": {}}

    def train(self, seed: int = 0) -> Sequence[Problem]:
        """The training problems; `seed` is not used, every run draws from the same set."""
        return distinct(self._drawn("train"), self.train_size, "one, two or none")

    def selection(self) -> Sequence[Problem]:
        return distinct(self._drawn("selection"), self.test_size, "one, two or none")

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        """The mixture, greedy and sampled; then each kind alone."""
        inside = distinct(self._drawn("test"), min(self.test_size, limit or self.test_size), "one, two or none")
        sets = [EvalSet("lookup", "in", inside), EvalSet("lookup_t1", "in", inside, temperature=1.0)]
        for kind in KINDS:
            stream = map(_problem, questions("test", 1, (kind,), (1.0,)))
            sets.append(EvalSet(f"lookup_{kind}", "in", distinct(stream, min(self.other_size, limit or 10**9), kind)))
        return sets

    def corpus(self) -> Sequence[str]:
        return [fact.text for fact in corpus()]

    def _drawn(self, split: str) -> Iterator[Problem]:
        return map(_problem, questions(split, 0, KINDS, (self.one, self.two, self.none)))

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        return verifier.verify(completion, problem.gold, self.format, ended, worked_out=True)

    def solution(self, problem: Problem) -> str | None:
        return None  # what tools answer cannot be written beforehand

    def supported(self, problem: Problem, completion: str) -> bool:
        """Has it read every fact that the answer needs?"""
        read = "\n".join(turn.result for turn in turns_of(completion)).split("\n")
        return all(fact in read for fact in problem.source["facts"])

    def measures(self, problem: Problem, completion: str, verdict: Verdict) -> Mapping[str, float]:
        calls, kind, supported = len(turns_of(completion)), problem.source["kind"], self.supported(problem, completion)
        found = {"calls": float(calls), f"accuracy_{kind}": verdict.value("strict")}
        if verdict.answer is not None:
            found["unsupported"] = float(not supported)
        return {**found, **({"needless": float(calls > 0)} if kind == "none" else {"missing": float(not supported)})}


def _problem(question: Question) -> Problem:
    source = {"kind": question.kind, "facts": [fact.text for fact in question.facts]}
    return Problem(id_of(question.text), question.text, str(question.value), source)
