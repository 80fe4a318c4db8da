"""The numbers in README.md are those of the committed records.

python -m tests.test_results      prints the table that README must hold
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, close

STUDY = ROOT / "results" / "grpo_nano" / "grpo"
RECORDS = sorted(ROOT.glob("results/**/record.json"))
TASKS = ("arithmetic", "arithmetic_t1", "arithmetic_longer", "arithmetic_larger", "arithmetic_worded", "sorting")


def strict(record: dict[str, Any], task: str, fraction: float) -> float:
    (row,) = [
        r
        for r in record["evals"]
        if (r["task"], r["fraction"], r["filter"], r["metric"]) == (task, fraction, "strict", "exact_match")
    ]
    return float(row["value"])


def table(folder: Path) -> list[str]:
    """One line a seed: strict accuracy at the start -> at the end, in percent; and the mean change in points."""
    lines = [f"| seed | {' | '.join(f'`{t}`' for t in TASKS)} |", "|---" * (len(TASKS) + 1) + "|"]
    changes: dict[str, list[float]] = {t: [] for t in TASKS}
    for file in sorted(folder.glob("seed*/record.json"), key=lambda p: int(p.parent.name.removeprefix("seed"))):
        record = json.loads(file.read_text())
        cells = []
        for t in TASKS:
            start, end = 100 * strict(record, t, 0.0), 100 * strict(record, t, 1.0)
            changes[t].append(end - start)
            cells.append(f"{start:.1f} -> {end:.1f}")
        lines.append(f"| {record['seed']} | {' | '.join(cells)} |")
    means = [f"{sum(changes[t]) / len(changes[t]):+.1f}" for t in TASKS]
    return [*lines, f"| mean change | {' | '.join(means)} |"]


@pytest.mark.skipif(not STUDY.is_dir(), reason="the study is not in this checkout")
def test_readme_holds_the_records_table() -> None:
    readme = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in table(STUDY) if line not in readme] == []


@pytest.mark.skipif(not STUDY.is_dir(), reason="the study is not in this checkout")
def test_grpo_lifts_nano_by_twenty_points_in_nine_seeds_of_ten() -> None:
    records = [json.loads(p.read_text()) for p in sorted(STUDY.glob("seed*/record.json"))]
    assert sorted(r["seed"] for r in records) == list(range(10))
    for task in ("arithmetic", "arithmetic_t1"):
        lifted = [strict(r, task, 1.0) - strict(r, task, 0.0) >= 0.20 for r in records]
        assert sum(lifted) >= 9


@pytest.mark.parametrize("file", RECORDS, ids=lambda p: str(p.parent.relative_to(ROOT)))
def test_a_committed_record_is_whole_and_its_outcomes_give_its_numbers(file: Path) -> None:
    record = json.loads(file.read_text())
    assert record["status"] in ("finished", "interrupted", "failed")
    assert record["environment"]["commit"] and not record["environment"]["dirty"]
    for row in record["evals"]:
        if row["metric"] == "exact_match" and row["outcomes"]:
            lines = gzip.decompress((file.parent / row["outcomes"]).read_bytes()).decode().splitlines()
            right = [json.loads(line)[row["filter"]] == "correct" for line in lines]
            assert len(right) == row["n"]
            close(row["value"], sum(right) / len(right))


if __name__ == "__main__":
    print("\n".join(table(STUDY)))
