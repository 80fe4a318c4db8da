"""The tables of a study, against made-up records."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import harness
from harness.api import frames
from tests.harness.record_factory import FRACTIONS, SETS, SPEND, a_record, unfinished, write, write_study
from tests.helpers import close

CURVES = {"up": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8]}, "flat": {0: [0.3, 0.3, 0.3], 1: [0.3, 0.3, 0.31]}}


@pytest.fixture
def study(tmp_path: Path) -> harness.StudyResult:
    folder = write_study(tmp_path / "s", CURVES, seeds=[0, 1, 2])
    write(folder / "up" / "seed2", unfinished("up", 2, "failed", "no luck"))
    return harness.load_study(folder)


def test_a_row_per_run(study: harness.StudyResult) -> None:
    runs = study.runs.set_index(["arm", "seed"])
    assert list(runs.index) == [("up", 0), ("up", 1), ("up", 2), ("flat", 0), ("flat", 1)]
    assert runs.status.value_counts().to_dict() == {"finished": 4, "failed": 1}
    close([runs.end["up", 0], runs.end["flat", 1], runs.start["up", 2]], [0.9, 0.31, 0.3])
    assert math.isnan(runs.end["up", 2])
    close(runs.flops["up", 0], SPEND["flops"])
    close(runs.flops["up", 2], SPEND["flops"] / 4)
    assert set(runs.seconds) == {24.0} and set(runs.unit) == {"completions"}
    assert Path(runs.folder["up", 0]) == study.folder / "up/seed0"


def test_a_row_per_number(study: harness.StudyResult) -> None:
    curves = study.curves
    assert len(curves) == 4 * len(FRACTIONS) * len(SETS) * 3 + len(SETS) * 3
    one = curves.query("arm == 'up' and seed == 1 and task == 'arithmetic' and filter == 'strict'")
    one = one[one.metric == "exact_match"].set_index("fraction")
    close(list(one.value), [0.3, 0.5, 0.8])
    close(list(one.completions), [0, 80, 160])
    assert set(one.n) == {100} and set(one.domain) == {"in"}


@pytest.mark.parametrize("name", ["runs", "curves"])
def test_every_column_is_documented(study: harness.StudyResult, name: str) -> None:
    """And every documented column is there."""
    text = re.search(rf"`{name}`, a row.*?\n\n(.*?)(\n\n|\Z)", frames.__doc__ or "", re.DOTALL)
    assert text
    cells = [line.split("|")[1] for line in text[1].splitlines()[2:]]
    documented = {word for cell in cells for word in re.findall(r"\w+", cell)}
    documented |= set(SPEND) - {"verifier_calls"} if "..." in text[1] else set()
    assert documented == set(getattr(study, name).columns)


def test_tables_of_one_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", a_record("x", 4, [0.1, 0.2, 0.3]))
    study = harness.load_study(folder)
    assert study.runs[["arm", "seed"]].values.tolist() == [["grpo", 4]]
    close(study.runs.end[0], 0.3)
    assert harness.load_record(folder)["seed"] == 4


def test_the_verdict_is_the_reports(study: harness.StudyResult) -> None:
    (verdict,) = study.verdicts()
    assert verdict.startswith("At 160 completions")


def test_runs_that_cannot_be_compared_are_one_line(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", CURVES)
    record = a_record("up", 0, [0.3, 0.5, 0.9])
    write(folder / "up" / "seed0", {**record, "budget": {"unit": "updates", "limit": 3}})
    with pytest.raises(ValueError, match="budget: is") as error:
        harness.load_study(folder)
    assert "\n" not in str(error.value)


def test_a_broken_line_of_metrics_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"round": 1}\n{"round"')
    with pytest.raises(ValueError, match="metrics.jsonl: not one JSON object per line"):
        frames.metrics_of(tmp_path)
    assert frames.metrics_of(tmp_path / "none").empty
