"""What a run reports to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.records.schema import EvaluationRow


class RunListener(Protocol):
    """What a run reports to: the console's progress view, a notebook's, a list in a test."""

    def start(self, title_lines: Sequence[str]) -> None:
        """What is about to happen."""

    def phase(self, text: str) -> None:
        """What the run is doing now."""

    def round(self, metrics: dict[str, float], warnings: Sequence[str]) -> None:
        """A round has ended: its line of metrics.jsonl, and what looks wrong."""

    def evaluation(self, fraction: float, rows: Sequence[EvaluationRow]) -> None:
        """A point of the learning curve has been measured."""

    def message(self, text: str) -> None:
        """Anything else that the user should know."""

    def resumed(self, rounds: int, warnings: Mapping[int, Sequence[str]]) -> None:
        """The run goes on after so many rounds; what looked wrong in them, by round.  A listener may lack it."""
