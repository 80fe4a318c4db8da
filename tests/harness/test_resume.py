"""A run that was cut off goes on to the same bits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness import cli, run
from harness.train import Trainer
from tests.harness.small import SETTINGS, files_of

Call = Callable[..., tuple[int, str, str]]
TIMED = ("step_time", "perf/", "mem/", "spend/device_seconds")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], taught: Path, tmp_path: Path) -> Call:
    """`harness run` of ten rounds under a name, with further words."""

    def go(name: str, *words: str) -> tuple[int, str, str]:
        given = ["run", "--model", str(taught), "--out", str(tmp_path), "--name", name, "--budget", "completions=160"]
        given += [word for s in (*SETTINGS, "checkpoint_every=3") for word in ("--set", s)]
        monkeypatch.setattr(sys, "argv", ["harness", *given, "--eval-limit", "4", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
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


def same(one: Path, two: Path) -> None:
    assert metrics_of(one) == metrics_of(two) and len(metrics_of(one)) == 10
    assert (one / "samples.jsonl").read_text() == (two / "samples.jsonl").read_text()
    assert scores_of(one) == scores_of(two)
    mine, theirs = (AutoModelForCausalLM.from_pretrained(f / "checkpoints" / "final").state_dict() for f in (one, two))
    assert all(torch.equal(x, theirs[name]) for name, x in mine.items())
    for folder in (one, two):
        record = record_of(folder)
        assert (record["status"], record["reason"]) == ("finished", None)
    spends = [record_of(f)["spend"] for f in (one, two)]
    assert all(spends[0][unit] == spends[1][unit] for unit in spends[0] if unit != "device_seconds")
    assert record_of(one)["checks"] == record_of(two)["checks"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the power went")])
@pytest.mark.parametrize("at", [1, 7])  # before the first checkpoint; behind an evaluation and the second checkpoint
def test_resumed_is_uninterrupted(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException
) -> None:
    assert call("whole")[0] == 0
    explore = Trainer.explore

    def explode(self: Trainer, *args: Any) -> Any:
        if self.rounds == at:
            raise error
        return explore(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "explore", explode)
        assert call("cut")[0] == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert len(metrics_of(tmp_path / "cut")) == at
    assert call("cut", "--resume")[0] == 0
    same(tmp_path / "cut", tmp_path / "whole")


def test_resume_after_the_process_was_killed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was tidied up: a record that says running, a line cut in half, a checkpoint half written."""
    assert call("whole")[0] == 0

    def gone(*_: Any) -> None:
        raise SystemExit(9)

    explore = Trainer.explore
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "explore", lambda self, *a: gone() if self.rounds == 5 else explore(self, *a))
        patch.setattr(run, "_settle", lambda _: None)
        call("cut")
    folder = tmp_path / "cut"
    (folder / "record.json").write_text(json.dumps({**record_of(folder), "status": "running"}))
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"round": 6, "rew')
    (folder / "checkpoints" / ".writing").mkdir()
    (folder / "checkpoints" / ".writing" / "state.pt").write_bytes(b"half")
    assert call("cut", "--resume")[0] == 0
    same(folder, tmp_path / "whole")


def test_resume_where_there_is_nothing_begins(call: Call, tmp_path: Path) -> None:
    assert call("new", "--resume")[0] == 0
    assert call("whole")[0] == 0
    same(tmp_path / "new", tmp_path / "whole")


def test_a_finished_run_is_left_alone(call: Call, tmp_path: Path) -> None:
    assert call("x")[0] == 0
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    code, said, error = call("x", "--resume")
    assert (code, error) == (0, "") and "finished" in said
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)} == before


@pytest.mark.parametrize(
    ("words", "named"),
    [(["--seed", "5"], "seed"), (["--set", "algo.kl_coef=0.5"], "kl_coef"), (["--set", "lr=1"], "lr")],
)
def test_another_configuration_is_refused(call: Call, tmp_path: Path, words: list[str], named: str) -> None:
    assert call("x")[0] == 0
    file = tmp_path / "x" / "record.json"
    file.write_text(json.dumps({**record_of(tmp_path / "x"), "status": "interrupted"}))
    before = files_of(tmp_path), file.read_text()
    code, _, error = call("x", "--resume", *words)
    assert code == 2 and error.count("\n") == 1 and named in error
    assert (files_of(tmp_path), file.read_text()) == before


@pytest.mark.parametrize("keep", [0, 1, 2, 9])
def test_the_newest_checkpoints_are_kept(call: Call, tmp_path: Path, keep: int) -> None:
    assert call("x", "--keep-checkpoints", str(keep))[0] == 0
    found = sorted(p.name for p in (tmp_path / "x" / "checkpoints").iterdir())
    assert found == ["final", *["round-00003", "round-00006", "round-00009"][max(0, 3 - keep) :][: keep or 0]]
