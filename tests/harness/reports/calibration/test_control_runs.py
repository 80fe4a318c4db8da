"""Reading control runs: unfinished runs are left out, broken records are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.reports.calibration.calibrate import calibrate
from harness.reports.calibration.control_runs import describe_runs, read_control_runs, reproducible_values
from tests.harness.reports.calibration.control_factory import ENDS, arm, change


def test_what_has_not_finished_is_left_out_and_named(tmp_path: Path) -> None:
    folder = arm(tmp_path / "grpo", ENDS)
    change(folder / "seed1" / "record.json", '"finished"', '"failed"')
    change(folder / "seed2" / "record.json", '"dirty": false', '"dirty": true')
    (folder / "seed10").mkdir()
    (folder / "seed3.log").write_text("not a run")
    runs = read_control_runs(folder)
    assert list(runs.runs) == [0, 2, 3, 4]
    commits = "commit 0123456 (3), commit 0123456 with changes (1)"
    assert describe_runs(runs) == f"`grpo`: 4 runs, {commits}; left out: seed1 (failed), seed10 (no record)"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("record.json", '{"status"', '"status"', "not a readable record"),
        ("record.json", '"status"', '"state"', "not the record of a run"),
        ("record.json", '"evals"', '"tests"', "it has no \'evals\'"),
        ("record.json", '"value": 0.92', '"value": 92', "greedy accuracy in domain at 1 of the budget: \\[92.0\\]"),
        ("record.json", '"value": 0.92', '"value": null', "TypeError"),
        ("record.json", '"decoding": "greedy"', '"decoding": "beam"', "at 0 of the budget: \\[\\]"),
        ("record.json", '"seed": 1', '"seed": 2', "the record of seed 2"),
        ("record.json", '"clip_low": 0.2', '"clip_low": 0.3', "configuration than seed0: algo.clip_low: 0.2 -> 0.3"),
        ("metrics.jsonl", '{"round"', '"round"', "not one JSON object per line"),
        ("metrics.jsonl", '"entropy"', '"entropie"', "KeyError"),
    ],
)  # fmt: skip
def test_a_broken_record_names_its_file(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    change(arm(tmp_path / "coin", ENDS) / "seed1" / file, old, new)
    with pytest.raises(ValueError, match=message) as error:
        calibrate(tmp_path, 10_000, lambda _: None)  # before it simulates: this takes no time
    assert str(tmp_path / "coin" / "seed1" / file) in str(error.value)
    assert not (tmp_path / "calibration.md").exists()


def test_a_finished_run_has_rounds(tmp_path: Path) -> None:
    folder = arm(tmp_path / "grpo", ENDS[:1])
    (folder / "seed0" / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="seed0/metrics.jsonl: a finished run has rounds"):
        reproducible_values(read_control_runs(folder).runs[0])
