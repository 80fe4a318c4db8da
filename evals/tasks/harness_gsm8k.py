"""`harness_gsm8k` (`--task gsm8k`): grade-school word problems, from the hub or from local files with the same columns.

7473 training and 1319 test problems (2110.14168).  The answers end with '#### <number>', and so must the completions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evals.tasks.qa import QuestionAnswer


@dataclass(frozen=True, eq=False, kw_only=True)
class HarnessGSM8K(QuestionAnswer):
    """`QuestionAnswer` with GSM8K's name on the hub; with train_file or test_file the hub is not used."""

    name = "harness_gsm8k"
    version: ClassVar[str] = QuestionAnswer.version

    hub: str = "openai/gsm8k"
    hub_config: str = "main"  # the other one, "socratic", has the same problems with sub-questions
    worked_out: bool | None = True  # the answers are numbers, whatever the format
