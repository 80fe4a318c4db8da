"""The interface of a task.  The training reward and every evaluation call the same `verify`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Literal

from evals.tasks.user_file import class_path
from evals.verification.verifier import VERSION, Format, Verdict, concludes

Turn = Mapping[str, str]  # {"role": "user", "content": "..."}: of a conversation
Domain = Literal["in", "out", "retention"]


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer.

    Problem(id="3f2a", prompt="12-(5-3)+4=", gold="14")
    """

    id: str  # hash of the canonical problem: equal ids are the same problem, in whatever split
    prompt: str  # as it is tokenised, before a chat template
    gold: str  # the final answer alone
    source: Any = None  # task-specific, e.g. the expression to check steps against
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # every column of its data row
    # What a chat template is given; empty: the prompt, as the user's one turn.
    turns: tuple[Turn, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class EvalSet:
    """Problems and how they are decoded: one row of the table, one lm-eval task."""

    name: str  # e.g. "arithmetic", "arithmetic_t1"
    domain: Domain
    problems: Sequence[Problem]
    temperature: float = 0.0  # 0 is greedy
    version: str = VERSION  # of the task: raised when its prompts, problems or verdicts change
    samples: int = 1  # completions per problem: `problems` repeats each problem as often, in a row
    average: bool = False  # of several samples: avg@k at every point, in the place of pass@k and maj@k at the ends


@dataclass(frozen=True)
class Step:
    """One step of a solution: where its text ends in the completion (characters), and whether it is right."""

    end: int
    right: bool


class Task(ABC):
    """Training problems, evaluation problems, and the verifier of both.

    To add one, write `evals/tasks/<name>.py` with one subclass, or pass `--task FILE.py`: nothing else changes.  A
    frozen dataclass, if it has settings: its fields are what `--set task.FIELD=...` sets.  Data files are read in
    `train` and `eval_sets`, not when the module is imported: scoring imports a copy of it.

        class Reverse(Task):
            name = "reverse"

            def train(self, seed):
                return [Problem(id=word, prompt=f"reverse {word}: ", gold=word[::-1]) for word in WORDS[100:]]

            def eval_sets(self, limit=None):
                problems = [Problem(id=word, prompt=f"reverse {word}: ", gold=word[::-1]) for word in WORDS[:100]]
                return [EvalSet("reverse", "in", problems[:limit])]

            def verify(self, problem, completion, ended):
                outcome = "correct" if completion.strip() == problem.gold else "wrong"
                return Verdict(strict=outcome, lenient=outcome, answer=completion.strip())
    """

    name: str
    stop: tuple[str, ...] = ()  # strings that end a completion, besides the end token
    format: Format = "hash"  # how a completion marks its final answer
    tools: tuple[str, ...] = ()  # that its problems call for: search, calculator
    tool_settings: Mapping[str, Any] = MappingProxyType({})  # of their limits, under what a run says (tool.FIELD)

    def spec(self) -> dict[str, Any]:
        """How the task is rebuilt for verification: {"class": "module:Class", "fields": {...}}, plain JSON.

        Default: with all its fields, where it is a dataclass.
        """
        names: list[str] = [f.name for f in fields(self) if f.init] if is_dataclass(self) else []
        return {"class": class_path(type(self)), "fields": {name: getattr(self, name) for name in names}}

    @abstractmethod
    def train(self, seed: int) -> Sequence[Problem]:
        """The RL training split.  Finite: a run goes through it in its own order, again and again."""

    @abstractmethod
    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        """The evaluation sets of a run, in-domain first.  `limit` caps the problems of each set."""

    def selection(self) -> Sequence[Problem]:
        """Problems for tuning settings, disjoint from training and test; empty where there is no such split."""
        return []

    @abstractmethod
    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        """Is the completion right?  `ended` is False where it was cut at its token limit."""

    def solutions(self) -> list[tuple[str, str]]:
        """(prompt, written solution) of the training problems, for pretraining; empty where none are written."""
        return []

    def solution(self, problem: Problem) -> str | None:
        """The written solution of a training problem, as a completion of its prompt; None where none is written."""
        return None

    def notices(self) -> list[str]:
        """Messages about the data: rows skipped, problems held out."""
        return []

    def corpus(self) -> Sequence[str]:
        """The documents that the tool `search` looks through, where the run names no other corpus."""
        return []

    def measures(self, problem: Problem, completion: str, verdict: Verdict) -> Mapping[str, float]:
        """Numbers of a completion beside its verdict; their means are logged and evaluated.  A measure may be there for
        some problems alone.  Its calls: `evals.verification.transcript.turns_of(completion)`."""
        return {}

    def supported(self, problem: Problem, completion: str) -> bool:
        """Does what the answer rests on stand in the problem, or in what the policy looked up?  Default: yes."""
        return True

    def formatted(self, completion: str) -> bool:
        """Does it have the format that the task requires, right or wrong?  Default: it ends with one final answer."""
        return concludes(completion, self.format)

    def key(self, problem: Problem, completion: str) -> str:
        """Two correct solutions of a problem with equal keys are the same (default: their text, ignoring spaces)."""
        return " ".join(completion.split())

    def metadata(self, problem: Problem) -> Mapping[str, float | str]:
        """What is known of a problem before it is tried: numbers, `difficulty` among them where there is one (higher is
        harder), and `source`, the name of its kind.  Every problem of a task has the same names.

        Rollouts carry it: baselines and grouping keys of an algorithm may read it.  Default: nothing.
        """
        return {}

    def steps(self, problem: Problem, completion: str) -> list[Step] | None:
        """The checked steps of a completion, or None where the task declares no steps."""
        return None

    def step_ends(self, problem: Problem, completion: str) -> list[int] | None:
        """Where the steps of a completion end (characters), checked or not; None where the task declares none."""
        steps = self.steps(problem, completion)
        return None if steps is None else [s.end for s in steps]
