"""`cold_start`: written solutions before RL, as DeepSeekMath and DeepSeek-R1 have it: stories, GSM8K's training set.

The stories are those of `word_problems`, of the split that only pretraining reads: RL, tuning and tests see none of
them.  GSM8K's training solutions (2110.14168) come from a file of the user's; problems that are in an eval file too are
left out.  Evaluated as `word_problems`.  `harness pretrain smollm2-math` trains on it by `--algo sft`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from evals.tasks.base import Problem
from evals.tasks.qa import QuestionAnswer
from evals.tasks.word_problems import PROMPT, WordProblems


@dataclass(frozen=True, eq=False, kw_only=True)
class ColdStart(WordProblems):
    """Stories of the pretraining split and, with `gsm8k`, that file's problems; each with a written solution."""

    name = "cold_start"

    train_size: int = 12000  # stories
    gsm8k: str = ""  # GSM8K's train.jsonl, or a folder of the data set; "": stories alone
    keep_notes: bool = False  # keep GSM8K's calculator notes: 48/2 = <<48/2=24>>24

    def train(self, seed: int = 0) -> Sequence[Problem]:
        """The stories, then GSM8K; a run draws from both in an order of its own."""
        stories = super().train(seed)
        return [*stories, *self._written] if self.gsm8k else stories

    def notices(self) -> list[str]:
        return [*super().notices(), *(self._gsm8k.notices() if self.gsm8k else [])]

    @cached_property
    def _gsm8k(self) -> QuestionAnswer:
        # of the eval files the problems alone count here: what is evaluated is not trained on
        return QuestionAnswer(
            train_file=self.gsm8k, eval_files=self.eval_files, instruction=PROMPT, selection_percent=0, test_percent=0
        )

    @cached_property
    def _written(self) -> list[Problem]:
        """Those whose row marks its answer.  DataError, naming the file, where none does."""
        task, found = self._gsm8k, list[Problem]()
        for problem in task.train():
            text = " " + problem.source["answer"] if self.keep_notes else task.solution(problem)
            if text is not None:
                found.append(replace(problem, source=text))
        if not found:
            raise ValueError(f"task.gsm8k: {self.gsm8k} has no written solutions that end with '#### <number>'")
        return found

    def _split_read(self, split: str) -> str:
        return "pretrain" if split == "train" else split
