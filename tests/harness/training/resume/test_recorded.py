"""`harness run --resume FOLDER` needs nothing else; what it is told beside that may change no number."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.training.trainer import Trainer
from tests.harness.training.test_resume import ARMS, metrics_of, record_of, words


def go(*typed: str) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["harness", *typed])
        main.main()
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def stopped(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that SIGHUP has ended after round 4, as a terminal that closes does."""
    out = tmp_path_factory.mktemp("stopped")
    explore = Trainer.collect_rollouts

    def hung_up(self: Trainer, *args: Any) -> Any:
        if self.rounds == 3:
            os.kill(os.getpid(), signal.SIGHUP)
        return explore(self, *args)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite under nohup has it ignored
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", hung_up)
        assert go(*words("run", taught, out, *ARMS["ppo"], "eval_fractions=0,1")) == 130
    signal.signal(signal.SIGHUP, before)
    assert record_of(out / "run")["reason"] == "interrupted by SIGHUP"
    return out


def test_its_folder_is_enough(stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(stopped / "run", tmp_path / "elsewhere")  # a folder may have been moved, and renamed
    capsys.readouterr()
    assert go("run", "--resume", str(tmp_path / "elsewhere")) == 0
    said = capsys.readouterr().out
    assert "resumed after round 4" in said and "round 5 " in said and "round 1 " not in said
    record, config = record_of(tmp_path / "elsewhere"), record_of(stopped / "run")["config"]
    assert record["status"] == "finished" and len(metrics_of(tmp_path / "elsewhere")) == 10
    neutral = ("name", "out", "resume")
    assert {k: v for k, v in record["config"].items() if k not in neutral} == {
        k: v for k, v in config.items() if k not in neutral
    }
    sittings = [(s["first_round"], s["rounds"], s["end"]) for s in record["sittings"]]
    assert sittings == [(1, 4, "interrupted by SIGHUP"), (5, 6, "finished")]
    assert go("run", "--resume", str(tmp_path / "elsewhere")) == 0
    assert "is finished" in capsys.readouterr().out


def test_from_within_its_folder(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(stopped / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    assert go("run", "--resume", ".", "--quiet", "--keep-checkpoints", "1", "--threads", "1") == 0
    assert record_of(tmp_path / "run")["config"]["keep_checkpoints"] == 1
    assert len(list((tmp_path / "run/checkpoints").glob("round-*"))) == 1


def test_what_changes_numbers_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (stopped / "run/record.json").read_bytes()
    assert go("run", "--resume", str(stopped / "run"), "--set", "lr=0.5", "--seed", "3") == 2
    error = capsys.readouterr().err
    assert "lr: " in error and "-> 0.5" in error and "seed: 0 -> 3" in error
    assert (stopped / "run/record.json").read_bytes() == before


def test_warnings_are_remembered(stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rounds 1 to 3 had no advantage: it is told as of round 3, and not as new in round 5."""
    folder = tmp_path / "run"
    shutil.copytree(stopped / "run", folder)
    for state in folder.glob("checkpoints/*/state.json"):  # of logs that are not hashed
        table = json.loads(state.read_text())
        del table["logs"]
        state.write_text(json.dumps(table))
        (state.parent / "checksums.json").unlink()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [{**line, "advantage/abs_mean": 0.0} if line["round"] < 4 else line for line in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert go("run", "--resume", str(folder)) == 0
    said = capsys.readouterr().out
    assert "warning (from round 3): every advantage was 0 for three rounds" in said


def test_a_name_that_no_run_has(stopped: Path, taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip is told; a number is the next of a series."""
    shutil.copytree(stopped / "run", stopped / "warm-start")
    for name, code in (("warm-strat", 2), ("warm_start", 2)):
        assert go(*words(name, taught, stopped, *ARMS["grpo"]), "--resume") == code
        assert "did you mean warm-start?" in capsys.readouterr().err and not (stopped / name).exists()
    shutil.copytree(stopped / "run", stopped / "seed3")
    from harness.training.resume.folder import check_meant

    assert check_meant(stopped / "seed4") == stopped / "seed4"
    with pytest.raises(ValueError, match="holds no run .*; runs below it: .*run"):
        from harness.training.resume.recorded import resumed

        resumed(stopped, {}, [], None)
