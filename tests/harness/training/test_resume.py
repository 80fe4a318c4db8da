"""A run that was cut off, at any moment and by anything, goes on to the same bits; what breaks a run loses nothing."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import harness.training.setup
from harness.cli import main
from harness.config.run_config import RunConfig
from harness.models.policy import LMPolicy
from harness.records import lock
from harness.training import run
from harness.training.evaluation import Evaluator
from harness.training.trainer import Trainer
from tests.harness.tiny_models import SETTINGS, files_of
from tests.helpers import ROOT

Call = Callable[..., tuple[int, str, str]]
TIMED = ("step_time", "perf/", "mem/", "spend/device_seconds")
ARMS: dict[str, list[str]] = {
    "grpo": ["algo=grpo"],
    "grpo_tokens": [
        "algo=grpo",
        "budget=generated_tokens=700",
        "decay=linear",
    ],  # the planner learns what a group costs
    "ppo": ["algo=ppo", "algo.kl_target=0.01", "algo.kl_horizon=20"],  # a critic and a controller
    "ppo_shared": ["algo=ppo", "algo.critic=shared", "algo.critic_warmup=2", "algo.epochs=2", "algo.minibatches=2"],
    "online_rft": ["algo=online_rft"],
    "rft": ["algo=rft", "algo.reward_threshold=0.5"],  # completions that wait to be trained on
    "learned": [
        "algo=grpo",
        "algo.supervision=process",
        "algo.kl_coef=0.04",
        "reward=process-model",
        "reward_model.prompts=3",
        "reward_model.samples=2",
        "reward_model.continuations=1",
        "reward_model.replay=0.5",
        "budget=completions=240",
        "iterations=2",
        "reset_reference=true",
        "refresh_reward=true",
    ],  # a reward model, its history, a reference that moves
    "dpo": ["algo=dpo", "algo.epochs=3"],
    "sft": ["algo=sft", "prompts=16", "max_new_tokens=56"],
    "lora": ["algo=ppo", "lora.r=4", "iterations=2", "reset_reference=true"],  # three adapters on one base
    "lora_rft": ["algo=rft", "algo.reward_threshold=0.5", "lora.dora=true"],
}
ROUNDS = {"rft": 13, "dpo": 13, "lora_rft": 13}  # ten of sampling, three passes


def words(name: str, model: Path, out: Path, *settings: str) -> list[str]:
    """The command line of a run of ten rounds."""
    given = ["run", "--model", str(model), "--out", str(out), "--name", name, "--budget", "completions=160"]
    return [*given, "--eval-limit", "4"] + [
        word for s in (*SETTINGS, "checkpoint_every=3", "keep_checkpoints=1", *settings) for word in ("--set", s)
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the folders of whole runs are kept, by arm: each is run once, by the first test that asks for it."""
    return tmp_path_factory.mktemp("uninterrupted")


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    taught: Path,
    tmp_path: Path,
    uninterrupted: Path,
) -> Call:
    """`harness run` of an arm under a name, with further words.  All tests of an arm share its run `whole`."""

    def go(name: str, arm: str = "grpo", *more: str) -> tuple[int, str, str]:
        kept = uninterrupted / arm
        if name == "whole" and not more and kept.exists():
            shutil.copytree(kept, tmp_path / name)
            return 0, "", ""
        ended = run_command(name, arm, *more)
        if name == "whole" and not more:
            shutil.copytree(tmp_path / name, kept)
        return ended

    def run_command(name: str, arm: str, *more: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *words(name, taught, tmp_path, *ARMS[arm]), *more])
        with pytest.raises(SystemExit) as stop:
            main.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return go


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "record.json").read_text())


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(TIMED)} for line in lines]


def scores_of(folder: Path) -> list[tuple[Any, ...]]:
    names = ("fraction", "task", "filter", "metric", "value", "stderr", "n")
    return [tuple(row[name] for name in names) for row in record_of(folder)["evals"]]


def same(one: Path, two: Path, rounds: int | None = 10) -> None:
    assert metrics_of(one) == metrics_of(two)
    assert rounds is None or len(metrics_of(one)) == rounds
    assert (one / "samples.jsonl").read_text() == (two / "samples.jsonl").read_text()
    assert scores_of(one) == scores_of(two)
    kept = [sorted(folder.glob("checkpoints/final/*model.safetensors")) for folder in (one, two)]
    assert len(kept[0]) == 1 and kept[0][0].name == kept[1][0].name  # model, or adapter_model
    assert kept[0][0].read_bytes() == kept[1][0].read_bytes()
    for folder in (one, two):
        record = record_of(folder)
        assert (record["status"], record["reason"]) == ("finished", None)
    for part in ("spend", "split"):
        mine, theirs = (json.dumps(record_of(f).get(part)) for f in (one, two))
        timeless = [{k: v for k, v in _flat(json.loads(x)).items() if "seconds" not in k} for x in (mine, theirs)]
        assert timeless[0] == timeless[1]
    assert record_of(one)["checks"] == record_of(two)["checks"]


def _flat(tree: Any, at: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {at: tree}
    return {k: v for name, x in tree.items() for k, v in _flat(x, f"{at}/{name}").items()}


# At 1, before the first checkpoint, nothing is read back but the folder: one arm for each kind of loop is enough.
BEFORE_A_CHECKPOINT = [("grpo", 1), ("rft", 1), ("learned", 1), ("dpo", 1)]


@pytest.mark.parametrize(
    ("arm", "at"),  # at 7: behind an evaluation and the second checkpoint
    [*BEFORE_A_CHECKPOINT, *((arm, 7) for arm in ARMS)],
)
def test_resumed_is_uninterrupted(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str, at: int
) -> None:
    assert call("whole", arm)[0] == 0
    rounds = len(metrics_of(tmp_path / "whole"))
    explore = Trainer.collect_rollouts

    def explode(self: Trainer, *args: Any) -> Any:
        if self.rounds == at:
            raise RuntimeError("the power went")
        return explore(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", explode)
        assert call("cut", arm)[0] == 1
    assert len(metrics_of(tmp_path / "cut")) == at
    assert call("cut", arm, "--resume")[0] == 0
    same(tmp_path / "cut", tmp_path / "whole", rounds)


@pytest.mark.parametrize("arm", ["ppo", "rft", "dpo", "sft"])
def test_cut_off_in_the_middle_of_an_update(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    """Weights have moved since the checkpoint, and the round is not over."""
    assert call("whole", arm)[0] == 0
    step, steps = LMPolicy.step, []

    def explode(self: LMPolicy) -> Any:
        steps.append(self)
        if len(steps) == 8:
            raise SystemExit(9)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(LMPolicy, "step", explode)
        assert call("cut", arm)[0] == 1
    assert call("cut", arm, "--resume")[0] == 0
    same(tmp_path / "cut", tmp_path / "whole", ROUNDS.get(arm, 10))


def test_resume_after_the_process_was_killed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was tidied up: a record that says running, a line cut in half, a checkpoint half written."""
    assert call("whole")[0] == 0

    def gone(*_: Any) -> None:
        raise SystemExit(9)

    explore = Trainer.collect_rollouts
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", lambda self, *a: gone() if self.rounds == 5 else explore(self, *a))
        patch.setattr(run, "_settle", lambda _: None)
        call("cut")
    folder = tmp_path / "cut"
    (folder / "record.json").write_text(json.dumps({**record_of(folder), "status": "running"}))
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"round": 6, "rew')
    (folder / "checkpoints" / ".writing").mkdir()
    (folder / "checkpoints" / ".writing" / "policy.safetensors").write_bytes(b"half")
    assert call("cut", "grpo", "--resume")[0] == 0
    same(folder, tmp_path / "whole")


def killed_and_resumed(arm: str, taught: Path, out: Path, moments: list[float]) -> None:
    """`kill -9` at shares of the whole run's time (from its first line on), then --resume; compared with the whole."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(name: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "harness.cli", *words(name, taught, out, *ARMS[arm]), "--quiet", *more]
        return subprocess.Popen(command, env=environment, cwd=out)

    def begun(name: str) -> float:
        while not (out / name / "record.json").exists():
            time.sleep(0.01)
        return time.monotonic()

    process = start("whole")
    since = begun("whole")
    assert process.wait() == 0
    lasted = time.monotonic() - since
    for i, moment in enumerate(moments):
        process = start(f"cut{i}")
        begun(f"cut{i}")
        time.sleep(moment * lasted)
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (-signal.SIGKILL, 0)  # it may have been quicker
        assert start(f"cut{i}", "--resume").wait() == 0
        same(out / f"cut{i}", out / "whole", None)


@pytest.mark.slow
def test_kill_9_then_resume(taught: Path, tmp_path: Path) -> None:
    killed_and_resumed("ppo", taught, tmp_path, [0.6])


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["grpo", "ppo", "online_rft", "rft"])
def test_kill_9_five_times(arm: str, taught: Path, tmp_path: Path) -> None:
    """At moments that differ from one day to the next: none may matter."""
    killed_and_resumed(arm, taught, tmp_path, [random.uniform(0, 0.98) for _ in range(5)])


# --- Ctrl-C --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["grpo", "ppo", "rft"])
def test_ctrl_c_finishes_the_round_and_keeps_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    assert call("whole", arm)[0] == 0
    explore = Trainer.collect_rollouts

    def interrupted(self: Trainer, *args: Any) -> Any:
        if self.rounds == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return explore(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", interrupted)
        code, said, error = call("cut", arm)
    assert code == 130 and "this round is finished first" in said and "Traceback" not in error
    record = record_of(tmp_path / "cut")
    assert (record["status"], record["reason"]) == ("interrupted", "interrupted by the user")
    assert [p.name for p in (tmp_path / "cut/checkpoints").iterdir()] == ["round-00005"]
    assert len(metrics_of(tmp_path / "cut")) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert call("cut", arm, "--resume")[0] == 0
    same(tmp_path / "cut", tmp_path / "whole", ROUNDS.get(arm, 10))


def test_a_second_ctrl_c_stops_at_once(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("whole")[0] == 0
    explore = Trainer.collect_rollouts

    def interrupted(self: Trainer, *args: Any) -> Any:
        if self.rounds == 4:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        return explore(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", interrupted)
        assert call("cut")[0] == 130
    assert [p.name for p in (tmp_path / "cut/checkpoints").iterdir()] == ["round-00003"]  # the last whole one
    assert call("cut", "grpo", "--resume")[0] == 0
    same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("arm", ["grpo", "rft"])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_ctrl_c_during_an_evaluation(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str, fraction: float
) -> None:
    """At once, for an evaluation changes nothing; the point is made again, where it was due.

    (For rft the model that is measured at 0.5 is a side branch: the checkpoint holds the start model.)
    """
    assert call("whole", arm)[0] == 0
    record = Evaluator.record

    def interrupted(self: Evaluator, at: float, *args: Any) -> Any:
        if at == fraction:
            os.kill(os.getpid(), signal.SIGINT)
        return record(self, at, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "record", interrupted)
        assert call("cut", arm)[0] == 130
        if fraction == 0.5:  # and there again: the checkpoint of that round stands
            assert call("cut", arm, "--resume")[0] == 130
    done = {0.0: 0, 0.5: 5, 1.0: ROUNDS.get(arm, 10)}[fraction]
    kept = [p.name for p in (tmp_path / "cut/checkpoints").glob("round-*")]
    assert kept == ([f"round-{done:05d}"] if done else [])
    if (arm, fraction) == ("rft", 0.5):
        state = load_file(tmp_path / "cut/checkpoints/round-00005/policy.safetensors")
        start = AutoModelForCausalLM.from_pretrained(record_of(tmp_path / "cut")["config"]["model"]).state_dict()
        assert all(torch.equal(x, start[name]) for name, x in state.items())
    assert call("cut", arm, "--resume")[0] == 0
    same(tmp_path / "cut", tmp_path / "whole", ROUNDS.get(arm, 10))


# --- what breaks a run ---------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses to let a file grow, as it does where there is no room; small files still fit."""
    assert call("whole", "ppo")[0] == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    explore = Trainer.collect_rollouts

    def fills(self: Trainer, *args: Any) -> Any:
        if self.rounds == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        return explore(self, *args)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "collect_rollouts", fills)
            code, _, error = call("cut", "ppo")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    record = record_of(tmp_path / "cut")
    assert code == 1 and error.startswith("error: the run failed: ") and error.count("\n") == 1
    assert record["status"] == "failed" and "too large" in record["reason"].lower()
    assert [p.name for p in (tmp_path / "cut/checkpoints").iterdir()] == ["round-00003"]
    assert call("cut", "ppo", "--resume")[0] == 0  # there is room again
    same(tmp_path / "cut", tmp_path / "whole")


BROKEN = '''
from dataclasses import dataclass
from algos.{module} import {name}

@dataclass(frozen=True, kw_only=True)
class Breaks({name}):
    """Its {nth}th loss is not a number."""

    def loss(self, batch, fresh):
        loss, metrics = super().loss(batch, fresh)
        COUNT.append(1)
        return loss * (float("nan") if len(COUNT) == {nth} else 1), metrics

COUNT = []
'''


@pytest.mark.parametrize(("module", "name", "nth"), [("grpo", "GRPO", 5), ("ppo", "PPO", 8), ("ppo", "PPO", 9)])
def test_a_loss_that_is_not_a_number_ends_the_run(call: Call, tmp_path: Path, module: str, name: str, nth: int) -> None:
    """In the fifth round, which is PPO's fourth with two readings: the critic's or the policy's."""
    file = tmp_path / "breaks.py"
    file.write_text(BROKEN.format(module=module, name=name, nth=nth))
    code, _, error = call("x", "grpo", "--set", f"algo={file}")
    record = record_of(tmp_path / "x")
    assert code == 1 and error.count("\n") == 1
    assert record["status"] == "failed" and "gradient norm is nan at update" in record["reason"]
    [kept] = (tmp_path / "x/checkpoints").iterdir()
    assert kept.name == "round-00003"
    assert all(bool(x.isfinite().all()) for x in load_file(kept / "policy.safetensors").values())
    assert len(metrics_of(tmp_path / "x")) == 4


# --- what may be resumed -------------------------------------------------------------------------------------


def test_resume_where_there_is_nothing_begins(call: Call, tmp_path: Path) -> None:
    assert call("new", "grpo", "--resume")[0] == 0
    assert call("whole")[0] == 0
    same(tmp_path / "new", tmp_path / "whole")


def test_two_processes_never_write_one_folder(call: Call, tmp_path: Path) -> None:
    """The second is refused; the first one's end frees the folder, `kill -9` too."""
    folder = tmp_path / "x"
    held = f"with held(Path({str(folder)!r})): print(flush=True); input()"
    words = [sys.executable, "-c", f"from pathlib import Path; from harness.records.lock import held\n{held}"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None and first.stdout.readline() == b"\n" and lock.busy(folder)
        ended, _, error = call("x", "grpo", "--resume")
        assert ended == 2 and not (folder / "record.json").exists()
        assert error == f"error: name: another process is writing {folder}; wait until it has ended, or stop it\n"
        first.kill()
    assert not lock.busy(folder) and not lock.busy(tmp_path / "nowhere")
    assert call("x", "grpo", "--resume")[0] == 0 and not lock.busy(folder)


def test_a_folder_that_nobody_can_lock(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have no locks; a file may stand where a folder should."""
    (tmp_path / "file").write_text("mine")
    assert call("file", "grpo", "--resume")[2] == f"error: out: cannot write in {tmp_path / 'file'}: File exists\n"

    def refuse(self: object, timeout: float) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    code, _, error = call("x")
    assert (code, error) == (2, f"error: out: cannot write in {tmp_path / 'x'}: No locks available\n")
    (tmp_path / "x" / lock.NAME).touch()
    assert not lock.busy(tmp_path / "x")
    monkeypatch.undo()


def test_a_name_that_is_taken_while_we_prepare(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock alone is no run; what was begun and ended in the meantime is."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / lock.NAME).touch()
    begun = harness.training.setup.prepare

    def slow(config: RunConfig) -> harness.training.setup.PreparedRun:
        found = begun(config)
        (tmp_path / "x" / "record.json").write_text("{}")
        return found

    monkeypatch.setattr(harness.training.setup, "prepare", slow)
    code, _, error = call("x")
    assert code == 2 and error.startswith(f"error: name: {tmp_path / 'x'} already holds another run")
    assert (tmp_path / "x" / "record.json").read_text() == "{}"


def test_a_finished_run_is_left_alone(call: Call, tmp_path: Path) -> None:
    assert call("x")[0] == 0
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    code, said, error = call("x", "grpo", "--resume")
    assert (code, error) == (0, "") and "finished" in said
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)} == before


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--seed", "5"], "seed: 0 -> 5"),
        (["--set", "algo.kl_coef=0.5"], "algo.kl_coef: 0.04 -> 0.5"),
        (["--set", "lr=1"], "lr"),
        (["--set", "algo=ppo"], "algo_name: grpo -> ppo"),
    ],
)
def test_another_configuration_is_refused(call: Call, tmp_path: Path, more: list[str], named: str) -> None:
    assert call("x")[0] == 0
    file = tmp_path / "x" / "record.json"
    file.write_text(json.dumps({**record_of(tmp_path / "x"), "status": "interrupted"}))
    before = files_of(tmp_path), file.read_text()
    code, _, error = call("x", "grpo", "--resume", *more)
    assert code == 2 and error.count("\n") == 1 and named in error
    assert (files_of(tmp_path), file.read_text()) == before


@pytest.mark.parametrize("keep", [0, 1, 2, 9])
def test_the_newest_checkpoints_are_kept(call: Call, tmp_path: Path, keep: int) -> None:
    assert call("x", "grpo", "--set", f"keep_checkpoints={keep}")[0] == 0
    found = sorted(p.name for p in (tmp_path / "x" / "checkpoints").iterdir())
    assert found == ["final", *["round-00003", "round-00006", "round-00009"][max(0, 3 - keep) :][: keep or 0]]


def test_a_checkpoint_holds_every_model_of_the_run(call: Call, tmp_path: Path) -> None:
    held = {}
    for arm in ("grpo", "ppo", "rft"):
        assert call(arm, arm)[0] == 0
        [newest] = (tmp_path / arm / "checkpoints").glob("round-*")
        always = {"policy.safetensors", "optimizer.pt", "state.json", "checksums.json"}
        held[arm] = {p.name for p in newest.iterdir()} - always
    models = {"reference.safetensors"}
    assert held == {
        "grpo": models,
        "ppo": models | {"critic.safetensors"},
        "rft": {"replay.safetensors"},
    }
