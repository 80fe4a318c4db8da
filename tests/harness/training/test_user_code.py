"""Code of the user's own in a run: it cannot end a run unseen, nor write over what the harness measures."""

from __future__ import annotations

import json
import os
import py_compile
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.training.interrupt import Interrupt
from harness.training.metrics import MEASURED, MEASURED_GROUPS, check_own
from harness.training.trainer import Trainer
from tests.harness.cli.test_main import Call, call, one_line, words_of  # noqa: F401
from tests.harness.training.test_run import ALGORITHM
from tests.helpers import ROOT


def record_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "record.json").read_text()))


REWARDS = {
    # what the function does -> what the record's reason says
    "returns nan": ("return float('nan')", "must return a finite number, not nan"),
    "never returns": ("import time; time.sleep(60)", "took more than reward_timeout=0.2 seconds"),
    "leaves, and says all is well": ("import sys; sys.exit(0)", "SystemExit: 0"),
    "raises": ("raise KeyError('a')", "KeyError: 'a'"),
}


@pytest.mark.parametrize("case", REWARDS)
def test_a_reward_that_breaks_is_named_in_the_record(call: Call, taught: Path, tmp_path: Path, case: str) -> None:  # noqa: F811
    body, reason = REWARDS[case]
    file = tmp_path / "bad.py"
    file.write_text(f"def bad(problem, completion, verdict):\n    {body}\n")
    words = [*words_of(taught, tmp_path), "--reward", f"{file}:bad", "--set", "eval_fractions=1"]
    code, _, said = call(*words, "--set", "reward_timeout=0.2")
    record = record_of(tmp_path / "x")
    assert code == 1 and f"{file}:bad: problem " in one_line(said) and reason in said
    assert record["status"] == "failed" and f"{file}:bad: problem " in record["reason"] and reason in record["reason"]


ALGORITHMS = {
    # what is put into an algorithm that works -> what the record's reason says
    "leaves while it gives credit": (
        "worth_N = self",
        "import sys; sys.exit(0)\n        worth_N = self",
        "SystemExit: 0",
    ),
    "leaves while it trains": ("mask_NT = batch", "raise SystemExit\n        mask_NT = batch", "SystemExit"),
    "raises what is no Exception": ("worth_N = self", "raise GeneratorExit\n        worth_N = self", "GeneratorExit"),
    "calls its metric as ours is called": ('"worth"', '"reward"', "a metric called 'reward'"),
    "calls it as one of a group": ('"worth"', '"accuracy/strict"', "a metric called 'accuracy/strict'"),
    "has text for a metric": (
        '"token"), {}',
        '"token"), {"worth": "high"}',
        "metric 'worth' must be one number, not 'high'",
    ),
    "has a number for each token": (
        '"token"), {}',
        '"token"), {"mine": fresh.logp_NT}',
        "metric 'mine' must be one number",
    ),
    "and in its loss": ('"token"), {}', '"token"), {"grad_norm": fresh.logp_NT.sum()}', "a metric called 'grad_norm'"),
}


@pytest.mark.parametrize("case", ALGORITHMS)
def test_an_algorithm_that_breaks_fails_the_run(call: Call, taught: Path, tmp_path: Path, case: str) -> None:  # noqa: F811
    old, new, reason = ALGORITHMS[case]
    assert old in ALGORITHM
    (tmp_path / "bad.py").write_text(ALGORITHM.replace(old, new))
    words = [*words_of(taught, tmp_path), "--algo", str(tmp_path / "bad.py"), "--set", "eval_fractions=1"]
    code, _, said = call(*words)
    record = record_of(tmp_path / "x")
    assert code == 1 and reason in one_line(said)
    assert record["status"] == "failed" and reason in record["reason"]


@pytest.mark.parametrize("option", ["--algo", "--reward"])
def test_a_file_that_leaves_while_it_is_imported(call: Call, taught: Path, tmp_path: Path, option: str) -> None:  # noqa: F811
    (tmp_path / "bad.py").write_text("import sys\nsys.exit(0)\n")
    value = f"{tmp_path / 'bad.py'}{':f' if option == '--reward' else ''}"
    code, _, said = call(*words_of(taught, tmp_path), option, value)
    assert code == 2 and "bad.py cannot be imported: SystemExit" in one_line(said) and not (tmp_path / "x").exists()


# --- what is measured ----------------------------------------------------------------------------------------


def test_every_column_of_the_harness_is_its_own(call: Call, taught: Path, tmp_path: Path) -> None:  # noqa: F811
    """Whatever stands in metrics.jsonl beside an algorithm's own metric could not be an algorithm's."""
    (tmp_path / "plain.py").write_text(ALGORITHM)
    words = [*words_of(taught, tmp_path), "--algo", str(tmp_path / "plain.py"), "--set", "eval_fractions=1"]
    words += ["--budget", "completions=16", "--set", "reward_weights.format=0", "--set", "log_reference_kl=true"]
    assert call(*words)[0] == 0
    columns = set(json.loads((tmp_path / "x" / "metrics.jsonl").read_text().splitlines()[0]))
    assert {"worth", "reward", "loss", "kl/reverse", "reward/format", "sampling/max_abs_logratio"} <= columns
    check_own(["worth", "kl", "entropy", "rewards", "rewards/margins", "steps", "positives"])
    for name in columns - {"worth"}:
        with pytest.raises(ValueError, match=f"'{name}'"):
            check_own(["worth", name])
    assert not [name for name in MEASURED if name.startswith(MEASURED_GROUPS)], "said twice"


# --- SIGTERM -------------------------------------------------------------------------------------------------


def test_sigterm_finishes_the_round_and_keeps_it(
    call: Call,  # noqa: F811
    taught: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # noqa: F811
) -> None:
    """As a scheduler ends a process: what a first Ctrl-C does, and the record says what it was."""
    collect, before = Trainer.collect_rollouts, signal.getsignal(signal.SIGTERM)

    def ended(self: Trainer, *args: Any) -> Any:
        if self.rounds == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return collect(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", ended)
        code, said, error = call(*words_of(taught, tmp_path))
    record = record_of(tmp_path / "x")
    assert code == 130 and "this round is finished first" in said and "Traceback" not in error
    assert (record["status"], record["reason"]) == ("interrupted", "interrupted by SIGTERM")
    assert [p.name for p in (tmp_path / "x/checkpoints").iterdir()] == ["round-00003"]
    assert signal.getsignal(signal.SIGTERM) is before
    assert call(*words_of(taught, tmp_path), "--resume")[0] == 0 and record_of(tmp_path / "x")["status"] == "finished"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(number: signal.Signals) -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt), Interrupt(reached.append) as interrupt, interrupt.held():
        os.kill(os.getpid(), number)
        reached.append("after the first")
        os.kill(os.getpid(), number)
        time.sleep(1)
        reached.append("after the second")
    assert len(reached) == 2 and reached[1] == "after the first" and not interrupt.whole


def test_a_process_that_is_ended_says_so(taught: Path, tmp_path: Path) -> None:
    """From outside, between its beginning and its end."""
    words = [*words_of(taught, tmp_path), "--budget", "completions=100000", "--set", "eval_fractions=1"]
    process = subprocess.Popen([sys.executable, "-m", "harness.cli", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    file, until = tmp_path / "x" / "metrics.jsonl", time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 130
    assert record_of(tmp_path / "x")["status"] == "interrupted"


def test_compiled_code_in_a_resumed_folder_is_not_run(call: Call, taught: Path, tmp_path: Path) -> None:  # noqa: F811
    """Python takes an unchecked .pyc for the file beside it: of a folder that came from elsewhere it would be run."""
    pytest.importorskip("lm_eval")
    folder = tmp_path / "x" / "tasks"
    folder.mkdir(parents=True)
    (folder / "task_functions.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom sys import *\n")
    py_compile.compile(
        str(folder / "task_functions.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert list((folder / "__pycache__").iterdir())
    words = [*words_of(taught, tmp_path), "--budget", "completions=16", "--set", "eval_fractions=1", "--resume"]
    code, _, error = call(*words)
    assert not (tmp_path / "ran").exists() and code == 0, error
