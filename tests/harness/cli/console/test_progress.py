from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from harness.accounting.format import clock
from harness.cli.console.progress import Progress, cells, rate, small
from tests.harness.cli.console.test_summary import a_record

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


def a_progress(terminal: bool = False, width: int = 100, **options: Any) -> tuple[Progress, io.StringIO, Clock]:
    out, now = io.StringIO(), Clock()
    system = {"color_system": "truecolor", "force_terminal": True, "_environ": {"TERM": "xterm"}} if terminal else {}
    console = Console(file=out, width=width, height=50, **system)  # type: ignore[arg-type]
    return Progress(console, now=now, **options), out, now


def rows_at(fraction: float) -> list[Any]:
    return [e for e in a_record()["evals"] if e["fraction"] == fraction]


def drawn(progress: Progress) -> str:
    out = io.StringIO()
    Console(file=out, width=progress.console.width).print(progress.view())
    return out.getvalue()


def test_numbers_as_people_read_them() -> None:
    assert [clock(x) for x in (None, 0.0, 71.2, 3671.0)] == ["-", "0:00", "1:11", "1:01:11"]
    assert [rate(x) for x in (None, 980.0, 12345.0, 1.2e6)] == ["-", "980 tok/s", "12.3k tok/s", "1.2M tok/s"]
    assert [small(x) for x in (None, 0.0, 0.01234, -3.14159, 2.5e-5)] == ["-", "0.0000", "0.0123", "-3.14", "2.5e-05"]


def test_what_is_missing_is_a_dash_and_no_kl_is_off() -> None:
    assert set(cells({}).values()) == {"-", "off"} and cells({})["KL"] == "off"
    assert (cells(METRICS)["clip"], cells(METRICS)["memory"]) == ("0.4 %", "812 MiB")


def test_a_round_is_one_plain_line() -> None:
    progress, out, now = a_progress()
    with progress:
        progress.phase("training")
        for i in range(12):
            now.seconds += 1.5
            progress.round({**METRICS, "budget/fraction": (i + 1) / 32}, [])
    lines = out.getvalue().splitlines()
    assert len(lines) == 13 and len({len(line) for line in lines[1:]}) == 1
    assert " ".join(lines[-1].split()) == (
        "round 12 budget 38 % eta 0:30 reward 0.512 acc 51.2 % len 17.3 kl 0.0123 H 0.41 clip 0.4 % zero-var 6 % "
        "rollout 12.3k tok/s update 9.8k tok/s mem 812 MiB"
    )


def test_the_rate_of_a_resumed_run_is_its_own() -> None:
    """Half of the budget was spent before: 0.1 in 10 s since the first round leaves 20 s for 0.2."""
    progress, out, now = a_progress()
    for fraction in (0.7, 0.8):
        now.seconds += 10
        progress.round({**METRICS, "budget/fraction": fraction, "round": 100 * fraction}, [])
    assert re.search(r"round 80 +budget +80 % +eta +0:20", out.getvalue())


def test_a_plain_run_from_start_to_end() -> None:
    progress, out, _ = a_progress()
    with progress:
        progress.start(["grpo on arithmetic", "results/x"])
        progress.phase("evaluating the start model")
        progress.evaluation(0.0, rows_at(0.0))
        progress.round(METRICS, [])
        progress.message("a [red]message")
        progress.finish(a_record(), "results/x")
    text = out.getvalue()
    assert "\x1b" not in text
    for part in ("grpo on arithmetic\n", "evaluating the start model\n", "a [red]message\n", "+21.2"):
        assert part in text
    assert re.search(r"eval start +arithmetic_larger +strict +30.0 % +26.1-34.2 +lenient +32.0 %", text)
    last = (
        "next: harness report results/x draws its page; harness compare --algos A,B --seeds 3 tells algorithms apart\n"
    )
    assert text.endswith(f"record: results/x/record.json\n{last}")


def test_a_warning_is_told_once_whatever_its_numbers() -> None:
    progress, out, _ = a_progress()
    for i in range(4):
        progress.round(METRICS, [f"{20 + i}% of completions are cut at the token limit (at the start 5%)"])
    progress.round(METRICS, ["KL to the reference is 12.1 nats a token", "24% of completions are cut"])
    warned = [line for line in out.getvalue().splitlines() if line.startswith("warning: ")]
    assert warned == [
        "warning: 20% of completions are cut at the token limit (at the start 5%)",
        "warning: KL to the reference is 12.1 nats a token",
        "warning: 24% of completions are cut",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_the_live_view(width: int) -> None:
    progress, out, now = a_progress(terminal=True, width=width)
    with progress:
        progress.start(["grpo on arithmetic"])
        progress.phase("evaluating the start model")
        progress.evaluation(0.0, rows_at(0.0))
        progress.phase("training")
        now.seconds = 12
        progress.round(METRICS, ["12% of completions are cut"])
        progress.phase("evaluating")
        progress.evaluation(0.5, rows_at(0.5))
        view = drawn(progress)
        assert progress.live is not None
    assert progress.live is None and "\x1b[?25h" in out.getvalue()  # the cursor is back
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
    progress, out, _ = a_progress(terminal=True)
    with progress:
        progress.round(METRICS, ["12% cut"])
        progress.round(METRICS, ["13% cut"])
        assert "warning: 13% cut" in drawn(progress)
        progress.round(METRICS, [])
        assert "warning" not in drawn(progress)
    assert out.getvalue().count("warning (from round 1): 12% cut") == 1


def test_only_the_first_and_the_latest_evaluations_are_drawn() -> None:
    progress, _, _ = a_progress(terminal=True, width=80)
    with progress:
        for i in range(9):
            progress.evaluation(i / 10, rows_at(0.0))
        assert re.search(r"strict accuracy +start +50 % +60 % +70 % +80 %\n", drawn(progress))


def test_an_interrupt_ends_the_live_view() -> None:
    progress, out, _ = a_progress(terminal=True)
    with pytest.raises(KeyboardInterrupt), progress:
        progress.round(METRICS, [])
        raise KeyboardInterrupt
    assert progress.live is None and "\x1b[?25h" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("metrics", [{}, {"budget/fraction": float("nan"), "kl": float("nan")}, {"reward": None}])
def test_partial_metrics_never_raise(terminal: bool, metrics: dict[str, Any]) -> None:
    progress, out, _ = a_progress(terminal=terminal)
    with progress:
        progress.round(metrics, [])
        progress.evaluation(0.0, [])
        drawn(progress)
        progress.finish({}, "x")
    assert "x/record.json" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_shows_nothing(terminal: bool) -> None:
    progress, out, _ = a_progress(terminal=terminal, quiet=True)
    with progress:
        progress.start(["title"])
        progress.phase("training")
        progress.round(METRICS, ["a warning"])
        progress.evaluation(0.0, rows_at(0.0))
        progress.message("text")
        progress.finish(a_record(), "x")
    assert out.getvalue() == ""


def test_a_run_in_two_stages_says_how_it_divided_its_spend() -> None:
    progress, out, _ = a_progress()
    stage = {"sampling": {"flops": 1e12, "device_seconds": 30.0}, "training": {"flops": 4e12, "device_seconds": 10.0}}
    progress.finish({**a_record(), "split": {**stage, "passes": 3, "kept_completions": 1347}}, "x")
    said = "sampling took 20 % of the FLOPs and 75 % of the device time; training 3 passes over 1,347 kept completions"
    assert said in out.getvalue()
    nothing = {"flops": 0.0, "device_seconds": 0.0}
    progress.finish(
        {**a_record(), "split": {"sampling": nothing, "training": nothing, "passes": 0, "kept_completions": 0}}, "x"
    )
    assert "sampling took - of the FLOPs" in out.getvalue()


SPOKEN = "a\x1b[2J\x1b]0;title\x07b\x9b31mc\x00\u202ed"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_text_does_not_act_on_the_screen(terminal: bool) -> None:
    """Neither a message (of a data file), nor the reason of a failure, nor the name of a set or of a part."""
    record = a_record() | {"status": "failed", "reason": f"RuntimeError: {SPOKEN}"}
    record["evals"] = [{**row, "task": SPOKEN} for row in record["evals"] if row["task"] == "arithmetic"]
    record["memory"] = {"peak_bytes": 1, "parts": {SPOKEN: {"bytes": 1, "how": SPOKEN}}}
    progress, out, _ = a_progress(terminal)
    plain = Console(file=out, width=200)
    progress.console = plain if not terminal else progress.console
    with progress:
        progress.message(SPOKEN)
        progress.evaluation(0.0, [row for row in record["evals"] if row["fraction"] == 0])
        progress.finish(record, "[bold]folder[/bold]")
    said = out.getvalue()
    assert "abcd" in said and "[bold]folder[/bold]" in said
    for harm in ("\x1b[2J", "\x1b]0;", "\x9b", "\x00", "\u202e"):
        assert harm not in said
