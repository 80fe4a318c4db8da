"""One study with everything in it, and its report, for several test modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.contrasts import Decisions
from harness.reports.analysis.summary import Findings
from harness.reports.render import figures
from harness.reports.report import write_report
from tests.harness.record_factory import a_record, rows, unfinished, write, write_study, write_trial

HOSTILE = "a | b || c \\| d \\\\| `code` ``` \n\n| row | row |\r\n|---|\x0b # <b>&amp; $x_1$ % \u2028 ~ \t **bold** \\"
VALUES = {
    "up_1": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8], 2: [0.3, 0.5, 0.85], 3: [0.3]},
    "up_2": {0: [0.3, 0.4, 0.61], 1: [0.3, 0.4, 0.7], 2: [0.3, 0.4, 0.5]},
    "flat": {0: [0.3, 0.3, 0.3], 1: [0.3, 0.3, 0.31], 2: [0.3, 0.3, 0.32]},
    "lost": {},
}


def full_study(folder: Path) -> Path:
    """Three arms, one of them with a failed seed, one that has none; two blocks, trials, and texts that mean harm."""
    table = {
        "question": "Which one?",
        "source": "nowhere",
        "prediction": "up",
        "seeds": [0, 1, 2, 4],
        "tune": {"grid": {"lr": [0.1, 0.2], "algo.clip_low": [0.2]}, "seeds": [100, 101]},
        "report": {"blocks": {"all of them": ["up_1", "up_2", "flat"], "two": ["up_2", "flat", "lost"]}, "level": 0.7},
    }
    full = {arm: {s: y for s, y in of.items() if len(y) > 1} for arm, of in VALUES.items()}
    write_study(folder, full, **table)
    for arm, of in full.items():
        for seed, curve in of.items():
            config = a_record(arm, seed, curve)["config"] | {"lr": 0.2, "algo": {"clip_low": 0.2}}
            record = a_record(arm, seed, curve, config=config)
            record["evals"] += at_k(seed)
            write(folder / arm / f"seed{seed}", record, text=lambda where, i: f"{where} {i} {HOSTILE}")
            write_trial(folder, arm, "lr0.2-clip_low0.2", 100 + seed % 2, 0.3 + seed / 10)
    write(folder / "up_1" / "seed3", unfinished("up_1", 3, "failed", "RuntimeError: a | b"))
    return folder


def at_k(seed: int) -> list[dict[str, Any]]:
    """pass@1, pass@4 and maj@4 at the end."""
    (row, *_) = rows("arithmetic_x4", 1.0, 0.5, kept=False)
    measured = {"maj@4": 0.6, "pass@4": 0.8 + seed / 100, "pass@1": 0.4}
    return [{**row, "metric": metric, "value": x} for metric, x in measured.items()]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only `write_report` writes to it."""
    return full_study(tmp_path_factory.mktemp("report") / "my_study")


@pytest.fixture(scope="session")
def findings(folder: Path) -> Findings:
    return write_report(folder)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds: tests of other things do without."""
    monkeypatch.setattr(figures, "draw", lambda findings, folder: {})


@pytest.fixture(autouse=True)
def over_seeds_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no outcomes had been kept."""
    if "sampled_problems" not in request.fixturenames:
        monkeypatch.setattr(Decisions, "_outcomes", lambda *_: None)


@pytest.fixture
def sampled_problems() -> None:
    """The test's differences are over seeds and problems, where outcomes were kept."""
