"""The table of trained reward models, in every format of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from harness.reports.render.html_report import html_page
from harness.reports.render.reward_models import reward_model_table
from harness.reports.report import markdown
from tests.harness.record_factory import LIMIT, a_record, write, write_study

CURVE = [0.3, 0.5, 0.7]


def held(n: int, auc: float | None, accuracy: float) -> dict[str, Any]:
    return {"n": n, "base_rate": 0.25, "accuracy": accuracy, "auc": auc, "brier": 0.1, "calibration_error": 0.04}


def training(fraction: float, share: float, **judged: dict[str, Any]) -> dict[str, Any]:
    return {"fraction": fraction, "held_out": judged, "spend": {"completions": share * LIMIT}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`b` trains a reward model at the start and, in one seed of two, again half-way."""
    study = tmp_path / "my_study"
    write_study(study, {"a": {0: CURVE, 1: CURVE}, "b": {0: CURVE, 1: CURVE}})
    trained = [
        [training(0, 0.1, outcome=held(200, 0.6, 0.75)), training(0.5, 0.2, outcome=held(100, 0.9, 0.8))],
        [training(0, 0.3, outcome=held(1000, None, 0.85)), {"fraction": 0.5, "skipped": "too few"}],
    ]
    for seed, of in enumerate(trained):
        write(study / "b" / f"seed{seed}", a_record("b", seed, CURVE, reward_model=of), [])
    return study


def test_means_over_the_seeds_that_trained_one(folder: Path) -> None:
    """By hand: (0.75 + 0.85) / 2 and (0.1 + 0.3) / 2 at the start; one AUC is known; a seed skipped its second."""
    table = reward_model_table(summarize(load_results(folder)))
    assert table is not None and table.columns[:4] == ["arm", "trained at", "seeds", "target"]
    assert table.rows == [
        ["b", "start", "2", "outcome", "1,200", "25.0 %", "80.0 %", "0.60", "0.040", "20.0 %"],
        ["b", "50 %", "1", "outcome", "100", "25.0 %", "80.0 %", "0.90", "0.040", "20.0 %"],
    ]


def test_the_table_stands_in_every_form_of_the_report(folder: Path) -> None:
    findings = summarize(load_results(folder))
    assert "## Reward models\n\n| arm | trained at |" in markdown(findings, [])
    html = html_page(findings, {})
    assert '<section id="reward-models">' in html and '<a href="#reward-models">' in html


def test_nothing_is_said_where_none_was_trained(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"a": {0: CURVE}})
    findings = summarize(load_results(tmp_path / "s"))
    assert reward_model_table(findings) is None
    assert "Reward models" not in markdown(findings, []) and "reward-models" not in html_page(findings, {})
