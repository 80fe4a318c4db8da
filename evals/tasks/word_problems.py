"""`word_problems`: stories of several steps (`data/stories.py`); generated, offline; the task of the model micro.

RL trains on stories of 2 to 4 steps.  Out of domain: more steps; larger numbers; other templates, which are in neither
pretraining nor RL; and the sets of `eval_files`, e.g. GSM8K and SVAMP.  Retention: sorting, as in `arithmetic`, which
the start model can do and RL never trains on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from evals.tasks.base import EvalSet, Problem, Step, Task
from evals.tasks.data.stories import LARGE, SMALL, Story, check_steps, key_of, read_steps, stories
from evals.tasks.data.story_templates import UNSEEN
from evals.tasks.data.unique import distinct, id_of, sorting
from evals.tasks.qa import QuestionAnswer
from evals.verification import verifier

PROMPT = "{question}\nAnswer:"
OWN = {"sorting", "word_problems", *(f"word_problems_{x}" for x in ("t1", "longer", "larger", "unseen"))}


def _problem(story: Story) -> Problem:
    return Problem(id_of(story.canonical), PROMPT.format(question=story.text), str(story.value), f" {story.solution}")


@dataclass(frozen=True, eq=False, kw_only=True)
class WordProblems(Task):
    """Tom has 3 boxes of 4 apples. Tom gives 5 of the apples to Mia. ...  ->  #### 7"""

    name = "word_problems"
    stop = ()

    steps_drawn: tuple[int, ...] = (2, 3, 4)  # steps of the training stories, 1 to 6
    train_size: int = 4096  # training problems
    test_size: int = 500  # in-domain test problems
    other_size: int = 200  # problems of each other test
    eval_files: dict[str, str] = field(default_factory=dict)  # {name: file or folder}, out-of-domain: GSM8K, SVAMP

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps_drawn", tuple(self.steps_drawn))
        if not self.steps_drawn or not {*self.steps_drawn} <= {*range(1, 7)}:
            raise ValueError(f"task.steps_drawn: must name numbers of steps in 1..6, not {list(self.steps_drawn)}")
        for name in ("train_size", "test_size", "other_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"task.{name}: must be at least 1, not {getattr(self, name)}")
        if taken := {*self.eval_files} & OWN:
            raise ValueError(f"eval file '{min(taken)}': the task's own evaluation has that name; choose another")

    def spec(self) -> dict[str, Any]:
        return {"class": "evals.tasks.word_problems:WordProblems", "fields": {}}

    def train(self, seed: int = 0) -> Sequence[Problem]:
        """The training problems; `seed` is not used, every run draws from the same set."""
        return distinct(self._drawn("train"), self.train_size, "steps_drawn")

    def selection(self) -> Sequence[Problem]:
        """Problems for tuning settings; disjoint from training and test."""
        return distinct(self._drawn("selection"), self.test_size, "steps_drawn")

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        """As in `arithmetic`; a set whose name would be false (RL trains on stories as long) is left out."""

        def take(size: int, stream: Iterator[Problem]) -> list[Problem]:
            return distinct(stream, min(size, limit or size), "steps_drawn")

        def test(*draw: Any) -> list[Problem]:
            return take(self.other_size, map(_problem, stories("test", 0, *draw)))

        inside = take(self.test_size, self._drawn("test"))
        sets = [EvalSet("word_problems", "in", inside), EvalSet("word_problems_t1", "in", inside, temperature=1.0)]
        if max(self.steps_drawn) < 5:
            sets.append(EvalSet("word_problems_longer", "out", test((5, 6))))
        sets.append(EvalSet("word_problems_larger", "out", test((2, 3, 4), LARGE)))
        sets.append(EvalSet("word_problems_unseen", "out", test((2, 3, 4), SMALL, UNSEEN)))
        sets += self._files.eval_sets(limit) if self.eval_files else []
        return [*sets, EvalSet("sorting", "retention", take(self.other_size, sorting()))]

    def notices(self) -> list[str]:
        drawn = ", ".join(map(str, self.steps_drawn))
        left_out = f"word_problems_longer is left out: RL draws stories of {drawn} steps"
        return [*([left_out] if max(self.steps_drawn) >= 5 else []), *self._files.notices()]

    @cached_property
    def _files(self) -> QuestionAnswer:
        return QuestionAnswer(eval_files=self.eval_files, instruction=PROMPT)

    def _drawn(self, split: str) -> Iterator[Problem]:
        return map(_problem, stories(self._split_read(split), 0, self.steps_drawn))

    def _split_read(self, split: str) -> str:
        """Of the splits of stories, the one that stands for `split` here."""
        return split

    def verify(self, problem: Problem, completion: str, ended: bool) -> verifier.Verdict:
        return verifier.verify(completion, problem.gold, self.format, ended, worked_out=True)

    def solution(self, problem: Problem) -> str | None:
        """A story's lines and its answer; None for sorting and for other data sets."""
        return problem.source if isinstance(problem.source, str) else None

    def key(self, problem: Problem, completion: str) -> str:
        return key_of(completion)

    def steps(self, problem: Problem, completion: str) -> list[Step] | None:
        """Each equation, as `check_steps` marks it; None where the problem is not a generated story."""
        if self.solution(problem) is None:
            return None
        right = check_steps(problem.prompt, completion)
        return [Step(s.end, r) for s, r in zip(read_steps(completion), right, strict=True)]
