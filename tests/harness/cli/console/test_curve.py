"""The curve of a run in characters, and the line that says what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.console.curve import LEVELS, ROWS, curve, next_step, sparkline


def rounds(rewards: list[float], **others: float) -> list[dict[str, float]]:
    return [{"round": i, "reward": x, "accuracy/strict": x, **others} for i, x in enumerate(rewards, 1)]


def test_the_plot_rises_where_the_reward_does() -> None:
    """Read back: a column's height is its number of eighths, over the rows from the lowest up."""
    lines = curve(rounds([0.0, 0.5, 1.0]), 80)
    assert lines[0] == "reward by round, 3 rounds"
    cells = [line.split("│ ")[1].ljust(46) if "│ " in line else " " * 46 for line in lines[1 : 1 + ROWS]]
    heights = [sum(LEVELS.index(row[i]) for row in cells) for i in range(0, 45, 15)]
    assert heights[0] == 1 and heights[2] == 8 * ROWS and abs(heights[1] - 4 * ROWS) <= 1
    assert lines[1].split()[0] == "1" and lines[ROWS].split()[0] == "0"  # the labels: highest and lowest


def test_many_rounds_share_a_column_and_few_fill_several() -> None:
    for n in (2, 7, 46, 1000):
        lines = curve(rounds([i / n for i in range(n)]), 80)
        assert max(map(len, lines)) <= 80 and lines[0].endswith(f"{n} rounds")


@pytest.mark.parametrize("width", [40, 80, 110, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    history = [{"reward": i / 99, "completions/mean_length": 100.0 + i, "kl": i * 1e-3, "entropy": 2 - i / 99}
               for i in range(99)]  # fmt: skip
    lines = curve(history, width)
    assert len(lines) == 1 + ROWS + 3 and max(map(len, lines)) <= max(width, 44)
    assert all(line.isascii() for line in curve(history, width, plain=True))


def test_nothing_to_draw() -> None:
    assert curve([], 80) == [] and curve(rounds([0.5]), 80) == []
    assert curve([{"loss": 2.0}, {"loss": 1.0}], 80)[0] == "loss by round, 2 rounds"
    assert len(curve(rounds([0.5, 0.5]), 80)) == 1 + ROWS  # flat: a line in the middle, no division by zero
    assert curve(rounds([float("nan"), 0.1, 0.3]), 80)[0] == "reward by round, 2 rounds"
    assert sparkline([3, 3]) == "▄▄"


RUN = Path("results/a run")
FINISHED = {"status": "finished", "config": {"budget": "completions=10240"}}
NEXT = {
    "stopped": ({"status": "interrupted"}, [0.5] * 8, "harness run --resume 'results/a run'"),
    "nothing was paid for": (FINISHED, [], "a larger --budget"),
    "all wrong": (FINISHED, [0.0] * 8, "easier problems"),
    "all right": (FINISHED, [1.0] * 8, "harder problems"),
    "still rising": (FINISHED, [i / 8 for i in range(8)], "--budget completions=20480"),
    "level": (FINISHED, [0.1, 0.3, *[0.8] * 6], "harness report 'results/a run'"),
    "too few rounds to say": (FINISHED, [0.1, 0.9], "harness report"),
}


@pytest.mark.parametrize(("record", "rewards", "expected"), NEXT.values(), ids=NEXT)
def test_what_to_do_next(record: dict[str, object], rewards: list[float], expected: str) -> None:
    line = next_step(record, RUN, rounds(rewards))
    assert line.startswith("next: ") and expected in line and "\n" not in line
