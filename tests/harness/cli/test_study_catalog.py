"""`harness ablate --list`: every study, what is left to run and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.cli import study_catalog
from harness.studies import study
from harness.studies.study import names
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.record_factory import a_record, write

SMALL = """
question = "Why?"
seeds = 2
base = { model = "nano", budget = "completions=320" }
arms.a.algo = "grpo"
arms.b.algo = "rft"
"""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One study ships, and OUT is empty."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "small.toml").write_text(SMALL)
    monkeypatch.setattr(study, "STUDIES", tmp_path / "studies")
    return tmp_path / "out"


def run(folder: Path, arm: str, seed: int, **fields: Any) -> None:
    """Of nano, 24 s for 160 completions."""
    record = a_record(arm, seed, [0.3, 0.5, 0.9], **fields)
    record["config"]["model"] = "nano"
    write(folder / arm / f"seed{seed}", record)


def test_what_nothing_is_known_of(shipped: Path) -> None:
    assert study_catalog.list_studies(str(shipped)) == ["small: Why?  [4 runs to do, unknown; no record]"]


def test_what_is_left_and_what_it_costs(shipped: Path) -> None:
    run(shipped / "small", "a", 0, algo="grpo")
    (line,) = study_catalog.list_studies(str(shipped))  # 48 s a cell for twice the completions, three cells
    assert line == f"small: Why?  [3 runs to do, about 2 min; 1 of 4 runs in {shipped}/small]"
    run(shipped / "small", "b", 0, status="failed")
    assert study_catalog.list_studies(str(shipped)) == [line], "a failed cell is none that has finished"
    assert "about 1 min" in study_catalog.list_studies(str(shipped), workers=2)[0]


def test_the_arms_own_runs_are_the_nearest(shipped: Path) -> None:
    """Another study's GRPO may be evaluated on less."""
    run(shipped / "other", "x", 0, algo="grpo", phases={"rollout": {"seconds": 2400.0}})
    assert "4 runs to do, about 320 min" in study_catalog.list_studies(str(shipped))[0]
    run(shipped / "small", "a", 0, algo="grpo")
    # a: 48 s; b, twice: the mean of both, (15 + 0.15) / 2 seconds a completion
    assert "3 runs to do, about 82 min" in study_catalog.list_studies(str(shipped))[0]


def test_a_record_may_lie_on_the_shelf(shipped: Path) -> None:
    place = shipped / "deepseekmath" / "small"
    for arm in "ab":
        for seed in (0, 1):
            run(place, arm, seed)
    assert study_catalog.list_studies(str(shipped)) == [f"small: Why?  [nothing to do; 4 of 4 runs in {place}]"]


def test_the_command_lists_every_study(call: Call, tmp_path: Path) -> None:  # noqa: F811
    code, said, error = call("ablate", "--list", "--out", str(tmp_path))
    assert (code, error) == (0, "")
    assert [line.partition(": ")[0] for line in said.splitlines()] == names()
    code, said, error = call("ablate", "--out", str(tmp_path))
    assert (code, said) == (2, "") and "study" in one_line(error) and "--list" in error
