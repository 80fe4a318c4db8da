"""Runs of a study: what is done and what is to do, which trial was best, and how they are started.

No model is loaded: `subprocess.run` is replaced by a stub that reads the words with the real command line and leaves
the record that such a run would leave.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.config.experiment import resolve_experiment
from harness.config.run_config import RunConfig
from harness.records.fingerprint import config_differences
from harness.records.lock import held
from harness.records.runs import read_record
from harness.studies import launcher
from harness.studies.cost_estimate import predicted_seconds
from harness.studies.fairness.tuning import select_trials
from harness.studies.launcher import Runner, check_workers, dry_run
from harness.studies.planned_run import PlannedRun, label
from harness.studies.status import describe, endpoint_of, select_trial, state_of
from harness.studies.storage import store_study, stored_study
from harness.studies.study import Study, parse
from harness.training.resume.same import check_same
from tests.harness.record_factory import Type, a_record, change, rows, typist, write
from tests.helpers import close

BUDGET = {"model": "nano", "budget": "completions=64"}
TUNE = {"grid": {"lr": [1e-4, 2e-4]}, "seeds": [100, 101], "base": {"budget": "completions=32"}}
Leave = Callable[..., Path]


def make_study(**table: Any) -> Study:
    arms = {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "rft"}}}
    return parse("s", {"arms": arms, "seeds": 2, "base": dict(BUDGET), **table})


def tuned(**table: Any) -> Study:
    return make_study(tune={**TUNE, "seeds": [100, 101]}, **table)


def leave(config: RunConfig, value: float = 0.5, status: str = "finished", **fields: Any) -> Path:
    """The record of that run, as if it had been run."""
    record = a_record(
        "",
        config.seed,
        [value],
        [1.0],
        status=status,
        config=resolve_experiment(config).as_dict(),
        algo=config.algo_name,
    )
    if config.eval_split == "selection":
        record["evals"] = rows("arithmetic_selection", 1.0, value, kept=False)
    return write(Path(config.out, str(config.name)), {**record, **fields}, rounds=[])


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "out")


# ---------------------------------------------------------------- state

STATES = [
    (None, False, "waiting"),
    ("finished", False, "done"),
    ("finished", True, "done"),
    ("failed", False, "failed"),
    ("failed", True, "waiting"),
    ("interrupted", False, "waiting"),
    ("running", False, "waiting"),  # killed: nobody could write another word
]


@pytest.mark.parametrize(("status", "retry", "expected"), STATES)
def test_states(status: str | None, retry: bool, expected: str, out: str) -> None:
    runs = make_study().runs()
    leave(runs[0].config(out))
    if status:
        leave(runs[1].config(out), status=status)
    state = state_of(runs, out, retry)
    by_state = {"done": state.done, "failed": state.failed, "waiting": state.waiting}
    assert {name: runs[1] in listed for name, listed in by_state.items()} == {
        name: name == expected for name in by_state
    }
    assert sum(map(len, by_state.values())) == 4 and runs[0] in state.done and state.waiting[-2:] == runs[2:]


def test_states_in_words(out: str) -> None:
    runs = make_study().runs()
    assert describe("runs", state_of(runs, out)) == "4 runs: 4 to do"
    leave(runs[0].config(out))
    leave(runs[1].config(out), status="failed")
    text = "4 runs: 1 finished, 1 failed (kept; --retry tries them again), 2 to do"
    assert describe("runs", state_of(runs, out)) == text


def test_another_configuration_is_refused(out: str) -> None:
    runs = make_study().runs()
    leave(runs[2].config(out))
    changed = make_study(base={**BUDGET, "lr": 0.5, "algo": {"epochs": 2}}).runs()
    was = resolve_experiment(runs[2].config(out)).as_dict()
    message = refused(lambda: state_of(changed, out))
    assert message.startswith(f"{out}/s/a/seed1 was begun with another configuration: ")
    assert "algo.epochs: 1 -> 2; lr: " in message and f"lr: {was['lr']} -> 0.5" in message and "--name" in message


def test_what_changes_no_number_is_not_compared(out: str, tmp_path: Path) -> None:
    runs = make_study().runs()
    for run in runs:
        leave(run.config(out))
    moved = str(tmp_path / "moved")
    Path(out).rename(moved)
    assert len(state_of(make_study(base={**BUDGET, "keep_checkpoints": 0}).runs(), moved).done) == 4


def test_a_field_that_came_later_is_no_difference(out: str) -> None:
    """At its default it is what the record was made with, before anybody had a name for it."""
    runs = make_study().runs()
    for run in runs:
        change(leave(run.config(out)), lambda r: r["config"].pop("eval_split"))
    assert len(state_of(runs, out).done) == 4


def test_a_run_of_before_that_field_goes_on(out: str) -> None:
    """When it was interrupted: what the study offers to do must not be refused by the run."""
    config = make_study().runs()[0].config(out)
    folder = leave(config, status="interrupted")
    new = a_record("", 0, [0.5], [1.0], config=resolve_experiment(config).as_dict())
    change(folder, lambda r: r["config"].pop("eval_split"))
    check_same(folder, new)
    change(folder, lambda r: r["config"].update(eval_split="selection"))
    assert "eval_split: selection -> test" in refused(lambda: check_same(folder, new))


BROKEN = ["{", "", "[]", "{}", "3", '{"algo": "grpo"}', '{"status": "finished"}', b"\xff\xfe"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_record_is_named(text: str | bytes, out: str) -> None:
    folder = Path(out, make_study().runs()[1].path)
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refused(lambda: state_of(make_study().runs(), out)).startswith(str(folder / "record.json"))


def test_a_folder_where_a_record_is_due(out: str) -> None:
    folder = Path(out, "s/a/seed0")
    (folder / "record.json").mkdir(parents=True)
    assert refused(lambda: read_record(folder)).startswith(str(folder / "record.json"))
    assert read_record(folder.parent / "seed1") is None


def test_what_only_the_algorithm_knows_is_wrong_in_its_arm(out: str) -> None:
    study = make_study(arms={"a": {"algo": "grpo"}, "b": {"algo": {"name": "rft", "kl_cofe": 1}}})
    message = refused(lambda: state_of(study.runs(), out))
    assert message.startswith("arm 'b': algo.kl_cofe: unknown field")
    message = refused(lambda: state_of(make_study(arms={"x": {"algo": "groo"}}).runs(), out))
    assert message.startswith("arm 'x': algo: ") and "groo" in message


# ---------------------------------------------------------------- the best trial

TRIALS: dict[str, tuple[dict[str, list[float | None]], str | None]] = {
    "the highest mean": ({"x": [0.5, 0.6], "y": [0.9, 0.3], "z": [0.5, 0.5]}, "y"),
    "the first of equals": ({"x": [0.1, 0.1], "y": [0.5, 0.7], "z": [0.7, 0.5]}, "y"),
    "the first of equals in all but the last bit": ({"y": [0.3, 0.0], "x": [0.1, 0.2]}, "y"),
    "not what lacks a seed": ({"x": [0.9, None], "y": [0.1, 0.2], "z": [None, None]}, "y"),
    "nothing": ({"x": [None, 1.0], "y": [1.0, None]}, None),
    "nothing of nothing": ({}, None),
    "zero is a value": ({"x": [0.0, 0.0], "y": [None, 0.0]}, "x"),
}


@pytest.mark.parametrize("what", TRIALS)
def test_the_best_trial(what: str) -> None:
    trials, best = TRIALS[what]
    assert select_trial(trials) == best


def trial(study: Study, arm: str, lr: float, seed: int) -> PlannedRun:
    (run,) = (c for c in study.trials() if (c.arm, c.seed, c.fields["lr"]) == (arm, seed, lr))
    return run


def test_each_arm_gets_its_best_trial(out: str) -> None:
    study = tuned()
    values = {("a", 1e-4): (0.3, 0.6), ("a", 2e-4): (0.5, 0.5), ("b", 1e-4): (0.2, 0.2), ("b", 2e-4): (0.1, 0.3)}
    for (arm, lr), pair in values.items():
        for seed, value in zip((100, 101), pair, strict=True):
            leave(trial(study, arm, lr, seed).config(out), value)
    assert select_trials(study, out) == {"a": {"lr": 2e-4}, "b": {"lr": 1e-4}}
    assert select_trials(make_study(), out) == {}
    change(Path(out, trial(study, "a", 2e-4, 101).path), lambda r: r.update(status="failed"))
    assert select_trials(study, out)["a"] == {"lr": 1e-4}, "a trial that failed for a seed was chosen"
    (Path(out, trial(study, "b", 1e-4, 100).path) / "record.json").unlink()
    assert select_trials(study, out)["b"] == {"lr": 2e-4}, "a trial that was not run for a seed was chosen"
    change(Path(out, trial(study, "b", 2e-4, 100).path), lambda r: r.update(status="interrupted"))
    message = refused(lambda: select_trials(study, out))
    assert message == "tune: no trial of arm 'b' has finished for every tuning seed"


def test_an_arm_may_be_tuned_as_another(out: str) -> None:
    study = tuned(arms={"a": {"algo": "grpo"}, "b": {"algo": "grpo", "prompts": 4, "tuned_as": "a"}})
    assert {run.arm for run in study.trials()} == {"a"}
    assert "tuned_as" not in study.runs()[1].fields
    for run in study.trials():
        leave(run.config(out), run.fields["lr"])
    assert select_trials(study, out) == {"a": {"lr": 2e-4}, "b": {"lr": 2e-4}}


def test_a_trial_is_judged_at_its_end_on_its_own_split() -> None:
    record = a_record("a", 0, [0.1, 0.2, 0.7])
    assert endpoint_of(record) == 0.7, "neither the sampled set nor another domain's"
    assert [endpoint_of({**record, "status": s}) for s in ("failed", "running", "interrupted")] == [None] * 3
    assert endpoint_of({**record, "evals": []}) is None


def test_a_trials_folder_is_one_folder() -> None:
    assert Path(label({"model": "org/name", "lr": 1e-4})).parts[1:] == ()


# ---------------------------------------------------------------- the stub


SILENT = 1000  # exit code 0, and a record that says running


class Stub:
    """In the place of `subprocess`: `ends` says how the run in a folder (relative to OUT) ends; finished otherwise.

    `before` is called with a folder when its run begins.
    """

    PIPE = subprocess.PIPE

    def __init__(self, typed: Type, out: str, ends: Mapping[str, int] | None = None) -> None:
        self.typed, self.out, self.ends = typed, out, dict(ends or {})
        self.begun: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.before: Callable[[str, dict[str, str]], object] = lambda path, env: None

    def run(
        self, words: Sequence[str], *, env: dict[str, str], stderr: int, text: bool
    ) -> subprocess.CompletedProcess[str]:
        assert words[:3] == [sys.executable, "-m", "harness.cli"] and (stderr, text) == (subprocess.PIPE, True)
        config = self.typed(["harness", *words[3:]])
        assert config.resume and "--quiet" in words
        path = str(Path(config.out, str(config.name)).relative_to(self.out))
        self.begun.append(path)
        self.environments.append(env)
        self.before(path, env)
        code = self.ends.get(path, 0)
        message = {0: "", 1: "a warning\nerror: the run failed: out of cheese\n", 2: "error: lr: wrong\n"}.get(code, "")
        status = {0: "finished", 1: "failed", 130: "interrupted", -9: "running", SILENT: "running"}.get(code)
        if status:
            leave(config, status=status)
        return subprocess.CompletedProcess(list(words), 0 if code == SILENT else code, stderr=message)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Type:
    return typist(monkeypatch)


@pytest.fixture
def stub(typed: Type, out: str, monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub(typed, out)
    monkeypatch.setattr(launcher, "subprocess", stub)
    return stub


Launch = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def launched(out: str) -> Launch:
    """Launch a study: (runs that did not finish, lines)."""

    def run(study: Study, workers: int = 1, retry: bool = False) -> tuple[list[str], list[str]]:
        lines: list[str] = []
        return launcher.launch(study, out, workers, retry, lines.append), lines

    return run


def paths(runs: Sequence[PlannedRun]) -> list[str]:
    return [run.path for run in runs]


# ---------------------------------------------------------------- one at a time


def test_runs_come_in_order_and_leave_a_study(stub: Stub, launched: Launch, out: str) -> None:
    study = make_study()
    failures, lines = launched(study)
    assert failures == [] and stub.begun == paths(study.runs())
    assert lines[0] == "4 runs: 4 to do" and len(lines) == 5
    assert lines[1].startswith("[1/4] s/a/seed0: 50.0 % in domain, greedy;  ") and lines[4].startswith(
        "[4/4] s/b/seed1: "
    )
    assert stored_study(Path(out, "s")) == study


def test_a_record_is_the_one_that_the_run_asks_for(stub: Stub, launched: Launch, out: str) -> None:
    launched(tuned())
    for run in tuned().trials():
        record = read_record(Path(out, run.path))
        assert record and config_differences(record["config"], resolve_experiment(run.config(out)).as_dict()) == []


def test_the_time_that_is_left(stub: Stub, launched: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 60.0, 100.0, 400.0, 400.0, 400.0, 0.0, 0.0])  # runs of 60, 300, 0 and 0 seconds
    monkeypatch.setattr(launcher, "time", SimpleNamespace(monotonic=lambda: next(times)))
    _, lines = launched(make_study())
    assert [line.split(";  ", 1)[1] for line in lines[1:5]] == [
        "60 s;  about 3 min to go",
        "300 s;  about 6 min to go",
        "0 s;  about 2 min to go",
        "0 s;  about 0 min to go",
    ]


def test_two_workers_need_half_the_time(stub: Stub, launched: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run takes 120 seconds; two may have ended when the first line is said."""
    clock = threading.local()

    def monotonic() -> float:
        clock.ended = not getattr(clock, "ended", True)
        return 120.0 * clock.ended

    monkeypatch.setattr(launcher, "time", SimpleNamespace(monotonic=monotonic))
    _, lines = launched(make_study(), workers=2)
    minutes = [int(line.split("about ")[1].split()[0]) for line in lines[1:5]]
    assert minutes[0] in (3, 2) and minutes[-1] == 0


def test_a_process_that_ended_without_a_word_has_not_finished(stub: Stub, launched: Launch) -> None:
    """A user's code may end it by os._exit(0): exit code 0, and a record that still says running."""
    path = "s/b/seed0"
    stub.ends = {path: SILENT}
    failures, lines = launched(make_study())
    assert failures == [f"{path}: exit status 0"] and f"[2/4] {path}: did not finish: exit status 0" in lines


def test_a_crash_is_kept_and_shown_and_stops_nobody(stub: Stub, launched: Launch) -> None:
    stub.ends = {"s/b/seed0": 1}
    failures, lines = launched(make_study())
    assert failures == ["s/b/seed0: the run failed: out of cheese"]
    assert "[2/4] s/b/seed0: did not finish: the run failed: out of cheese" in lines
    assert len(stub.begun) == 4


@pytest.mark.parametrize("code", [-9, 77])
def test_a_run_that_dies_without_a_word(code: int, stub: Stub, launched: Launch) -> None:
    """Killed, with a record that says `running`; or dead before it had one."""
    stub.ends = {"s/b/seed0": code}
    failures, _ = launched(make_study())
    assert failures == [f"s/b/seed0: exit status {code}"] and len(stub.begun) == 4
    stub.begun.clear()
    stub.ends = {}
    assert launched(make_study())[0] == [] and stub.begun == ["s/b/seed0"]


def test_a_second_call_goes_on_where_the_first_was(stub: Stub, launched: Launch, out: str) -> None:
    study = make_study()
    leave(study.runs()[0].config(out))
    stub.ends = {"s/b/seed0": 1}
    launched(study)
    assert stub.begun == paths(study.runs()[1:])
    stub.begun.clear()
    stub.ends = {}
    _, lines = launched(study)
    assert stub.begun == [], "a finished run was run again, or a failed one without --retry"
    assert lines == ["4 runs: 3 finished, 1 failed (kept; --retry tries them again), 0 to do"]
    launched(study, retry=True)
    assert stub.begun == ["s/b/seed0"]
    assert launched(study)[1][0] == "4 runs: 4 finished, 0 to do"


def test_more_seeds_later(stub: Stub, launched: Launch) -> None:
    launched(make_study())
    stub.begun.clear()
    launched(make_study(seeds=[0, 1, 5]))
    assert stub.begun == ["s/a/seed5", "s/b/seed5"]


def test_wrong_input_stops_the_study(stub: Stub, launched: Launch, out: str) -> None:
    stub.ends = {"s/b/seed0": 2}
    assert refused(lambda: launched(make_study())) == "s/b/seed0: lr: wrong"
    assert stub.begun == ["s/a/seed0", "s/b/seed0"] and read_record(Path(out, "s/a/seed0"))


@pytest.mark.parametrize(
    ("make", "began", "kept"),
    [
        (make_study, ["s/a/seed0"], False),
        (tuned, ["s/tune/a/lr0.0001/seed100"], False),
        (make_study, ["s/a/seed0", "s/b/seed0"], True),  # the first has a record: the question was asked
        (tuned, ["s/tune/a/lr0.0001/seed100", "s/tune/a/lr0.0001/seed101"], True),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_question_is_locked_only_where_a_run_could_begin(
    make: Callable[..., Study], began: list[str], kept: bool, workers: int, stub: Stub, launched: Launch, out: str
) -> None:
    stub.ends = {began[-1]: 2, **({} if kept else dict.fromkeys(paths([*make().trials(), *make().runs()]), 2))}
    assert "lr: wrong" in refused(lambda: launched(make(), workers))
    assert stub.begun[: len(began)] == began or workers == 2
    assert Path(out, "s").exists() == kept
    if kept:
        assert {"study.json", "study.lock"} <= {p.name for p in Path(out, "s").iterdir()}
    else:  # another arm under the same name
        stub.ends = {}
        assert launched(make(arms={"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "ppo"}}}), workers)[0] == []


def test_a_study_that_was_there_keeps_its_lock(stub: Stub, launched: Launch, out: str) -> None:
    store_study(Path(out, "s"), make_study())
    stub.ends = {"s/a/seed0": 2}
    refused(lambda: launched(make_study()))
    assert {p.name for p in Path(out, "s").iterdir()} == {"study.json", "study.lock"}


def test_nothing_is_run_where_a_folder_holds_another_run(stub: Stub, launched: Launch, out: str) -> None:
    leave(make_study(base={**BUDGET, "lr": 0.5}).runs()[-1].config(out))
    assert "lr: 0.5 -> " in refused(lambda: launched(make_study())) and stub.begun == []


def test_an_interrupt_stops_and_keeps(stub: Stub, out: str) -> None:
    study = make_study()

    def interrupt(path: str, env: dict[str, str]) -> None:
        if path == "s/b/seed0":  # as a terminal does it: to all, and the run comes to a whole round
            os.kill(os.getpid(), signal.SIGINT)
            assert runner.stopped.wait(30)

    stub.before, stub.ends = interrupt, {"s/b/seed0": 130}
    runner = Runner(out, 1, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        runner.run_all(study.runs())
    assert stub.begun == ["s/a/seed0", "s/b/seed0"] and runner.failures == []
    stub.before, stub.ends = lambda path, env: None, {}
    assert paths(state_of(study.runs(), out).done) == ["s/a/seed0"]
    Runner(out, 1, lambda _: None).run_all(state_of(study.runs(), out).waiting)
    assert stub.begun[2:] == ["s/b/seed0", "s/a/seed1", "s/b/seed1"]
    assert len(state_of(study.runs(), out).done) == 4


@pytest.mark.parametrize(("left", "again"), [("nothing", True), ("finished", False), ("failed", False)])
def test_a_run_that_another_process_runs_is_waited_for(left: str, again: bool, stub: Stub, out: str) -> None:
    """What a killed `ablate` leaves behind: nobody writes into its folder, and its record is taken as it ends."""
    runs, lines = make_study().runs(), list[str]()
    waits = f"{Path(out, 's/a/seed0')}: another process is running it; waiting"
    with held(Path(out, "s/a/seed0")):
        runner = Runner(out, 2, lines.append)
        thread = threading.Thread(target=lambda: runner.run_all(runs))
        thread.start()
        while (len(runner.seconds) < 3 or waits not in lines) and thread.is_alive():
            thread.join(0.01)
        assert "s/a/seed0" not in stub.begun
        if left != "nothing":
            leave(runs[0].config(out), status=left, reason="RuntimeError: no")
    thread.join(30)
    assert sorted(stub.begun) == sorted(run.path for run in runs if again or run.path != "s/a/seed0")
    assert runner.failures == (["s/a/seed0: RuntimeError: no"] if left == "failed" else [])
    assert lines.count(waits) == 1


def test_a_process_that_was_there_first_is_no_wrong_input(stub: Stub, out: str) -> None:
    """It had not come to its lock when we looked; our own run is refused, and waits."""
    other = contextlib.ExitStack()

    def faster(path: str, env: dict[str, str]) -> None:
        if len(stub.begun) == 1:
            other.enter_context(held(Path(out, path)))
            threading.Timer(0.5, other.close).start()
            stub.ends = {path: 2}
        else:
            stub.ends = {}

    stub.before = faster
    runner = Runner(out, 1, lambda _: None)
    runner.run_all(make_study().runs()[:1])
    assert stub.begun == ["s/a/seed0"] * 2 and runner.failures == []


def test_whoever_waits_can_be_stopped(stub: Stub, out: str) -> None:
    with held(Path(out, "s/a/seed0")):
        runner = Runner(out, 1, lambda line: runner.stopped.set())
        runner.run_all(make_study().runs())
    assert stub.begun == []


def test_a_run_that_alone_was_interrupted_stops_the_study(stub: Stub, launched: Launch) -> None:
    """Whoever asked for four runs and got one must not read that all is well."""
    stub.ends = {"s/b/seed0": 130}
    with pytest.raises(KeyboardInterrupt):
        launched(make_study())
    assert stub.begun == ["s/a/seed0", "s/b/seed0"]


def test_where_no_run_finished_the_reasons_are_told(
    typed: Type, out: str, launched: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is a failure of the runs, not of what the user typed: there is nothing to report, and no error in that."""
    runs = make_study().runs()
    monkeypatch.setattr(launcher, "subprocess", Stub(typed, out, dict.fromkeys(paths(runs), 1)))
    assert launched(make_study())[0] == [f"{run.path}: the run failed: out of cheese" for run in runs]


# ---------------------------------------------------------------- trials, then runs


def test_trials_come_first_and_decide(stub: Stub, launched: Launch, out: str) -> None:
    study = tuned()
    leave(trial(study, "a", 2e-4, 100).config(out), 0.9)
    _, lines = launched(study)
    assert stub.begun[:7] == [p for p in paths(study.trials()) if p != "s/tune/a/lr0.0002/seed100"]
    assert stub.begun[7:] == paths(study.runs())
    assert lines[0] == "8 trials: 1 finished, 7 to do" and lines[8] == "4 runs: 4 to do"
    records = {arm: read_record(Path(out, "s", arm, "seed0")) for arm in "ab"}
    assert {arm: r and r["config"]["lr"] for arm, r in records.items()} == {"a": 2e-4, "b": 1e-4}


def test_no_run_without_a_trial(stub: Stub, launched: Launch) -> None:
    study = tuned()
    stub.ends = {run.path: 1 for run in study.trials() if run.arm == "b" and run.seed == 100}
    assert "arm 'b'" in refused(lambda: launched(study))
    assert set(stub.begun) == set(paths(study.trials()))


# ---------------------------------------------------------------- several at once


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(("visible", "devices"), [(None, {"0", "1"}), ("3,5", {"3", "5"})])
def test_two_at_once_on_two_devices(
    visible: str | None,
    devices: set[str],
    two_devices: None,
    stub: Stub,
    launched: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    meeting, met = threading.Barrier(2, timeout=30), []

    def meet(path: str, env: dict[str, str]) -> None:
        met.append(env["CUDA_VISIBLE_DEVICES"])
        meeting.wait()  # raises where nobody else comes
        assert set(met[-2:]) == devices, "two runs on one device"
        meeting.wait()

    stub.before = meet
    failures, _ = launched(make_study(seeds=3), workers=2)
    assert failures == [] and sorted(stub.begun) == sorted(paths(make_study(seeds=3).runs()))


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 2, "4"), (8, 3, "2"), (2, 4, "1")])
def test_the_cores_are_shared(
    cores: int, workers: int, threads: str, stub: Stub, launched: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    launched(make_study(), workers=workers)
    assert [env["OMP_NUM_THREADS"] for env in stub.environments] == [threads] * 4
    assert stub.environments[0]["PATH"] == os.environ["PATH"]


def test_one_alone_has_the_machine_as_it_is(two_devices: None, stub: Stub, launched: Launch) -> None:
    launched(make_study())
    assert stub.environments == [dict(os.environ)] * 4


def test_wrong_input_among_several(stub: Stub, out: str) -> None:
    """The other worker's run is let end, and no further one begins."""
    both = threading.Barrier(2, timeout=30)

    def meet(path: str, env: dict[str, str]) -> None:
        both.wait()
        assert path == "s/a/seed0" or runner.stopped.wait(30)

    stub.before, stub.ends = meet, {"s/a/seed0": 2}
    runner = Runner(out, 2, lambda _: None)
    assert refused(lambda: runner.run_all(make_study(seeds=20).runs())) == "s/a/seed0: lr: wrong"
    assert sorted(stub.begun) == ["s/a/seed0", "s/b/seed0"]
    assert (read_record(Path(out, "s/b/seed0")) or {})["status"] == "finished"


DEVICE_TIME = {**BUDGET, "budget": "device_seconds=9"}


@pytest.mark.parametrize(
    ("study", "workers", "start"),
    [
        (make_study(), 0, "workers: at least 1, not 0"),
        (make_study(), -2, "workers: at least 1, not -2"),
        (make_study(base=DEVICE_TIME), 2, "workers: "),
        (make_study(tune={**TUNE, "base": {"budget": "device_seconds=9"}}), 2, "workers: "),
    ],
)
def test_runs_that_would_race_are_refused(study: Study, workers: int, start: str, stub: Stub, launched: Launch) -> None:
    message = refused(lambda: launched(study, workers=workers))
    assert message.startswith(start) and stub.begun == []
    assert workers < 1 or "device_seconds" in message


def test_seconds_are_fair_alone_and_on_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    check_workers(make_study(base=DEVICE_TIME), 1)
    check_workers(make_study(), 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_workers(make_study(base=DEVICE_TIME), 2)
    assert "workers" in refused(lambda: check_workers(make_study(base=DEVICE_TIME), 3))


# ---------------------------------------------------------------- what it will cost


def timed(seconds: float, completions: float = 64, **spent: float) -> dict[str, Any]:
    spend = {"completions": completions, **spent}
    return {"phases": {"rollout": {"seconds": 0.75 * seconds}, "eval": {"seconds": 0.25 * seconds}}, "spend": spend}


def test_a_dry_run_of_a_changed_question_is_refused_as_the_run_is(out: str, stub: Stub, launched: Launch) -> None:
    store_study(Path(out, "s"), make_study())
    changed = make_study(question="Another?")
    message = refused(lambda: dry_run(changed, out, 1))
    assert "question was locked" in message and refused(lambda: launched(changed)) == message


def test_what_is_left_and_unknown_time(out: str) -> None:
    runs = make_study().runs()
    assert dry_run(make_study(), out, 1) == [
        "# 4 runs: 4 to do",
        *(shlex.join(run.command(out)) for run in runs),
        f"# cost: 256 completions; time unknown until a run of this model has finished under {out}",
    ]
    assert not Path(out).exists()


def test_what_is_left_and_predicted_time(out: str) -> None:
    """An algorithm takes as long as it took; one that was never run as long as the others."""
    study = make_study(arms={"a": {"algo": "grpo"}, "b": {"algo": "rft"}, "c": {"algo": "ppo"}})
    runs = study.runs()
    leave(runs[0].config(out), **timed(600))
    leave(runs[1].config(out), **timed(1200, completions=32))  # 2400 s for 64
    assert [predicted_seconds(run, out) for run in runs[3:]] == [600, 2400, 1500]
    lines = dry_run(study, out, 1)
    assert lines[0] == "# 6 runs: 2 finished, 4 to do"
    assert lines[1:-1] == [shlex.join(run.command(out)) for run in runs[2:]]
    # c at seed 0, then a, b and c at seed 1: 1500 + 600 + 2400 + 1500 seconds
    assert lines[-1] == f"# cost: 256 completions; about 100 min with 1 worker, by finished runs under {out}"
    assert "about 50 min with 2 workers" in dry_run(study, out, 2)[-1]


def test_what_a_prediction_is_made_of(out: str) -> None:
    runs = make_study(base={**BUDGET, "budget": "flops=1e12"}).runs()
    assert predicted_seconds(runs[0], out) is None
    leave(runs[0].config(out), status="failed", **timed(1, flops=1))
    leave(runs[2].config(out), **timed(1))  # has no FLOPs
    other = make_study(base={"model": "some/other", "budget": "flops=1e12"}).runs()[0]
    leave(other.config(f"{out}/x"), **timed(1, flops=1))
    assert predicted_seconds(runs[0], out) is None
    for seed, seconds in ((7, 10), (8, 30)):
        elsewhere = make_study(base={**BUDGET, "budget": "flops=1e9"}, seeds=[seed]).runs()[0]
        leave(elsewhere.config(f"{out}/deep/er"), **timed(seconds, flops=1e9))
    seconds = predicted_seconds(runs[0], out)
    assert seconds is not None
    close(seconds, 20e3)


def test_a_rehearsal_of_trials_and_runs(out: str) -> None:
    study = tuned()
    trials, runs = study.trials(), study.runs()
    lines = dry_run(study, out, 1)
    assert [line for line in lines if line.startswith("#")] == [
        "# 8 trials: 8 to do",
        f"# cost: 256 completions; time unknown until a run of this model has finished under {out}",
        "# 4 runs: 4 to do",
        "# lr as the trials will choose",
        f"# cost: 256 completions; time unknown until a run of this model has finished under {out}",
    ]
    assert [line for line in lines if not line.startswith("#")] == [
        shlex.join(run.command(out)) for run in (*trials, *runs)
    ]
    for run in trials:
        leave(run.config(out), 0.9 if run.fields["lr"] == 2e-4 else 0.1)
    lines = dry_run(study, out, 1)
    assert lines[0] == "# 8 trials: 8 finished, 0 to do" and "# lr as the trials will choose" not in lines
    chosen = study.runs({arm: {"lr": 2e-4} for arm in "ab"})
    assert [line for line in lines if not line.startswith("#")] == [shlex.join(run.command(out)) for run in chosen]


def test_a_rehearsed_command_can_be_typed(tmp_path: Path, typed: Type) -> None:
    """Into a shell, whatever the names are."""
    out = str(tmp_path / "my results")
    lines = [line for line in dry_run(make_study(), out, 1) if not line.startswith("#")]
    assert [typed(shlex.split(line)).out for line in lines] == [run.config(out).out for run in make_study().runs()]


def test_a_rehearsal_refuses_what_the_study_would(out: str) -> None:
    leave(make_study(base={**BUDGET, "lr": 0.5}).runs()[0].config(out))
    assert "lr: 0.5 -> " in refused(lambda: dry_run(make_study(), out, 1))
