from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from harness.accounting.format import clock
from harness.cli.progress import Display, cells, rate, small
from tests.harness.cli.test_summary import a_record

METRICS = {
    "budget/fraction": 0.375, "reward": 0.512, "accuracy/strict": 0.512, "completions/mean_length": 17.3,
    "kl": 0.0123, "entropy": 0.41, "clip_ratio/low": 0.001, "clip_ratio/high": 0.003, "frac_reward_zero_std": 0.0625,
    "unparseable": 0.031, "learning_rate": 1e-5, "perf/rollout_tok_s": 12345.0, "perf/train_tok_s": 9812.0,
    "mem/peak_rollout": 812.0 * 2**20, "mem/peak_eval": 2.0**20,
}  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def a_display(terminal: bool = False, width: int = 100, **options: Any) -> tuple[Display, io.StringIO, Clock]:
    out, now = io.StringIO(), Clock()
    system = {"color_system": "truecolor", "force_terminal": True, "_environ": {"TERM": "xterm"}} if terminal else {}
    console = Console(file=out, width=width, height=50, **system)  # type: ignore[arg-type]
    return Display(console, now=now, **options), out, now


def rows_at(fraction: float) -> list[Any]:
    return [e for e in a_record()["evals"] if e["fraction"] == fraction]


def drawn(display: Display) -> str:
    out = io.StringIO()
    Console(file=out, width=display.console.width).print(display.view())
    return out.getvalue()


def test_numbers_as_people_read_them() -> None:
    assert [clock(x) for x in (None, 0.0, 71.2, 3671.0)] == ["-", "0:00", "1:11", "1:01:11"]
    assert [rate(x) for x in (None, 980.0, 12345.0, 1.2e6)] == ["-", "980 tok/s", "12.3k tok/s", "1.2M tok/s"]
    assert [small(x) for x in (None, 0.0, 0.01234, -3.14159, 2.5e-5)] == ["-", "0.0000", "0.0123", "-3.14", "2.5e-05"]


def test_what_is_missing_is_a_dash_and_no_kl_is_off() -> None:
    assert set(cells({}).values()) == {"-", "off"} and cells({})["KL"] == "off"
    assert (cells(METRICS)["clip"], cells(METRICS)["memory"]) == ("0.4 %", "812 MiB")


def test_a_round_is_one_plain_line() -> None:
    display, out, now = a_display()
    with display:
        display.phase("training")
        for i in range(12):
            now.seconds += 1.5
            display.round({**METRICS, "budget/fraction": (i + 1) / 32}, [])
    lines = out.getvalue().splitlines()
    assert len(lines) == 13 and len({len(line) for line in lines[1:]}) == 1
    assert " ".join(lines[-1].split()) == (
        "round 12 budget 38 % eta 0:30 reward 0.512 acc 51.2 % len 17.3 kl 0.0123 H 0.41 clip 0.4 % silent 6 % "
        "rollout 12.3k tok/s update 9.8k tok/s mem 812 MiB"
    )


def test_the_rate_of_a_resumed_run_is_its_own() -> None:
    """Half of the budget was spent before: 0.1 in 10 s since the first round leaves 20 s for 0.2."""
    display, out, now = a_display()
    for fraction in (0.7, 0.8):
        now.seconds += 10
        display.round({**METRICS, "budget/fraction": fraction, "round": 100 * fraction}, [])
    assert re.search(r"round 80 +budget +80 % +eta +0:20", out.getvalue())


def test_a_plain_run_from_start_to_end() -> None:
    display, out, _ = a_display()
    with display:
        display.start(["grpo on arithmetic", "results/x"])
        display.phase("evaluating the start model")
        display.evaluation(0.0, rows_at(0.0))
        display.round(METRICS, [])
        display.message("a [red]message")
        display.finish(a_record(), "results/x")
    text = out.getvalue()
    assert "\x1b" not in text
    for part in ("grpo on arithmetic\n", "evaluating the start model\n", "a [red]message\n", "+21.2"):
        assert part in text
    assert re.search(r"eval start +arithmetic_larger +strict +30.0 % +26.1-34.2 +lenient +32.0 %", text)
    assert text.endswith("record: results/x/record.json\n")


def test_a_warning_is_told_once_whatever_its_numbers() -> None:
    display, out, _ = a_display()
    for i in range(4):
        display.round(METRICS, [f"{20 + i}% of completions are cut at the token limit (at the start 5%)"])
    display.round(METRICS, ["KL to the reference is 12.1 nats a token", "24% of completions are cut"])
    warned = [line for line in out.getvalue().splitlines() if line.startswith("warning: ")]
    assert warned == [
        "warning: 20% of completions are cut at the token limit (at the start 5%)",
        "warning: KL to the reference is 12.1 nats a token",
        "warning: 24% of completions are cut",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_the_live_view(width: int) -> None:
    display, out, now = a_display(terminal=True, width=width)
    with display:
        display.start(["grpo on arithmetic"])
        display.phase("evaluating the start model")
        display.evaluation(0.0, rows_at(0.0))
        display.phase("training")
        now.seconds = 12
        display.round(METRICS, ["12% of completions are cut"])
        display.phase("evaluating")
        display.evaluation(0.5, rows_at(0.5))
        view = drawn(display)
        assert display.live is not None
    assert display.live is None and "\x1b[?25h" in out.getvalue()  # the cursor is back
    assert all(len(line) <= width for line in view.splitlines()) and "…" not in view
    for pattern in (
        r"budget .* 38 %  elapsed 0:12  left 0:20",
        r"round 1, training",  # again, after the evaluation
        r"reward +0.512 +KL +0.0123",
        r"rollout +12.3k tok/s",
        r"strict accuracy +start +50 %",
        r"arithmetic_worded +30.0 % +40.0 %",
        r"warning: 12% of completions are cut",
    ):
        assert re.search(pattern, view), pattern


def test_a_warning_stands_while_it_holds_and_is_told_at_the_end() -> None:
    display, out, _ = a_display(terminal=True)
    with display:
        display.round(METRICS, ["12% cut"])
        display.round(METRICS, ["13% cut"])
        assert "warning: 13% cut" in drawn(display)
        display.round(METRICS, [])
        assert "warning" not in drawn(display)
    assert out.getvalue().count("warning (from round 1): 12% cut") == 1


def test_only_the_first_and_the_latest_evaluations_are_drawn() -> None:
    display, _, _ = a_display(terminal=True, width=80)
    with display:
        for i in range(9):
            display.evaluation(i / 10, rows_at(0.0))
        assert re.search(r"strict accuracy +start +50 % +60 % +70 % +80 %\n", drawn(display))


def test_an_interrupt_ends_the_live_view() -> None:
    display, out, _ = a_display(terminal=True)
    with pytest.raises(KeyboardInterrupt), display:
        display.round(METRICS, [])
        raise KeyboardInterrupt
    assert display.live is None and "\x1b[?25h" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("metrics", [{}, {"budget/fraction": float("nan"), "kl": float("nan")}, {"reward": None}])
def test_partial_metrics_never_raise(terminal: bool, metrics: dict[str, Any]) -> None:
    display, out, _ = a_display(terminal=terminal)
    with display:
        display.round(metrics, [])
        display.evaluation(0.0, [])
        drawn(display)
        display.finish({}, "x")
    assert "x/record.json" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_shows_nothing(terminal: bool) -> None:
    display, out, _ = a_display(terminal=terminal, quiet=True)
    with display:
        display.start(["title"])
        display.phase("training")
        display.round(METRICS, ["a warning"])
        display.evaluation(0.0, rows_at(0.0))
        display.message("text")
        display.finish(a_record(), "x")
    assert out.getvalue() == ""


def test_a_run_in_two_stages_says_how_it_divided_its_spend() -> None:
    display, out, _ = a_display()
    stage = {"sampling": {"flops": 1e12, "device_seconds": 30.0}, "training": {"flops": 4e12, "device_seconds": 10.0}}
    display.finish({**a_record(), "split": {**stage, "passes": 3, "kept_completions": 1347}}, "x")
    said = "sampling took 20 % of the FLOPs and 75 % of the device time; training 3 passes over 1,347 kept completions"
    assert said in out.getvalue()
    nothing = {"flops": 0.0, "device_seconds": 0.0}
    display.finish(
        {**a_record(), "split": {"sampling": nothing, "training": nothing, "passes": 0, "kept_completions": 0}}, "x"
    )
    assert "sampling took - of the FLOPs" in out.getvalue()
