"""`harness report RUN RUN ...`: single runs as a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.summary import summarize
from harness.reports.report import write_report
from harness.reports.runs import load_runs
from tests.harness.record_factory import a_record, write


def run(root: Path, name: str, seed: int, end: float, algorithm: str = "grpo", **fields: Any) -> Path:
    record = a_record(algorithm, seed, [0.3, 0.5, end], algo=algorithm)
    record["config"] |= {"algo_name": algorithm, "name": name, **fields}
    return write(root / name, record)


def test_runs_of_one_configuration_are_an_arm(tmp_path: Path, no_figures: None) -> None:
    folders = [run(tmp_path, f"x{s}", s, 0.9 + s / 100) for s in range(3)]
    folders += [run(tmp_path, f"y{s}", s, 0.7, lr=0.5, algo={"epochs": 2}) for s in range(3)]
    folders += [run(tmp_path, f"z{s}", s, 0.5, "rft") for s in range(2)]
    results = load_runs(folders, "mine")
    assert [(arm, list(runs)) for arm, runs in results.runs.items()] == [
        ("grpo-epochsnone-lr1e-06", [0, 1, 2]),
        ("grpo-epochs2-lr0.5", [0, 1, 2]),
        ("rft", [0, 1]),
    ]
    out = tmp_path / "out"
    out.mkdir()
    findings = write_report(out, results)
    assert [round(100 * arm.mean) for arm in findings.arms.values()] == [91, 70, 50]
    text = (out / "report.md").read_text()
    assert "The question was not locked before the first run" in text and "grpo-epochs2-lr0.5" in text
    assert {p.name for p in tmp_path.iterdir()} == {*(f.name for f in folders), "out"}, "runs are read alone"


def test_the_same_folder_twice_is_one_run(tmp_path: Path) -> None:
    folder = run(tmp_path, "x", 0, 0.9)
    assert list(summarize(load_runs([folder, folder, run(tmp_path, "y", 1, 0.8)], "mine")).arms) == ["grpo"]


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda p: [run(p, "x", 0, 0.9), run(p, "y", 0, 0.8)], ["/y: ", "same configuration and seed as ", "/x"]),
        (lambda p: [run(p, "x", 0, 0.9), p / "none"], ["/none: ", "not the folder of a run"]),
        (lambda p: [run(p, "x", 0, 0.9), p], ["not the folder of a run"]),
        (lambda p: [run(p, "x", 0, 0.9), run(p, "y", 0, 0.8, temperature=0.5)], ["temperature is 0.5"]),
    ],
)
def test_what_is_no_comparison_is_refused(make: Any, fragments: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        load_runs(make(tmp_path), "mine")
    assert [f for f in fragments if f not in str(error.value)] == [] and "\n" not in str(error.value)
