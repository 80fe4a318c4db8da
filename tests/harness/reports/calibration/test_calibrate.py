"""The calibration page, with and without runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.statistics import simulation
from harness.reports.calibration import calibrate as calibration
from harness.reports.calibration.calibrate import calibrate, page
from harness.reports.calibration.controls import Part
from tests.harness.reports.calibration.control_factory import ENDS, arm


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting of each kind, on few items."""
    for name, values in {"ITEMS": (10, 20), "ACCURACIES": (0.5,), "CORRELATIONS": (0.0,), "SEEDS": (3, 5)}.items():
        monkeypatch.setattr(calibration, name, values)


@pytest.mark.usefixtures("small")
def test_without_runs_every_part_says_so(tmp_path: Path) -> None:
    messages: list[str] = []
    calibrate(tmp_path / "new", 50, messages.append)
    text = (tmp_path / "new" / "calibration.md").read_text()
    assert text.count("| not run yet | - |") == 4
    assert text.count("\nNot run yet") == 4
    assert "Not run yet: `coin`: 0 runs." in text
    assert "Random rewards: not run yet" in messages
    numbers = json.loads((tmp_path / "new" / "calibration.json").read_text())
    assert len(numbers["simulated"]) == 8 and len(numbers["bootstrap"]) == 2  # 2 differences x 2 sets x 2 seeds
    assert "fair_coin" not in numbers


@pytest.mark.usefixtures("small")
def test_with_all_runs_the_page_is_whole_and_the_same_every_time(tmp_path: Path) -> None:
    arm(tmp_path / "grpo", [*ENDS, *(x - 0.004 * i for i, x in enumerate(ENDS, 1))])
    arm(tmp_path / "inert", ENDS, clip_low=0.4)
    for share in (0.2, 0.35, 0.5):
        arm(tmp_path / f"flipped_{100 * share:.0f}", [x - share * x**9 for x in ENDS], flipped=share)
    arm(tmp_path / "coin", [0.4, 0.39, 0.41])
    files = [tmp_path / f"calibration.{kind}" for kind in ("md", "json")]
    written = []
    for _ in range(2):
        calibrate(tmp_path, 20, lambda _: None)
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    text = files[0].read_text()
    assert "not run yet" not in text.lower() and "nan" not in text and "NaN" not in files[1].read_text()
    assert f"`harness calibrate {tmp_path.as_posix()} --trials 20`" in text
    assert "commit 0123456" in text
    assert {"simulated", "one_arm_twice", "inert_field", "wrong_signs", "fair_coin"} <= set(
        json.loads(files[1].read_text())
    )


def test_the_summary_says_what_holds() -> None:
    parts = [Part("One", "a bar", "much", True), Part("Two", "a bar", "little", False), Part("Three", "a bar")]
    lines = page(parts, "harness calibrate x").splitlines()
    assert "| One | a bar | much | yes |" in lines
    assert "| Two | a bar | little | **no** |" in lines
    assert "| Three | a bar | not run yet | - |" in lines
    assert lines.count("## Two") == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("three", "five", "holds"), [(0.8, 0.95, True), (0.95, 0.92, False), (0.95, 0.98, False)])
def test_coverage_has_a_bar_from_five_seeds_on(
    monkeypatch: pytest.MonkeyPatch, three: float, five: float, holds: bool
) -> None:
    shares = {3: three, 5: five}
    monkeypatch.setattr(
        simulation, "coverage", lambda setting, *_: simulation.Coverage(shares[setting.seeds], 0.0, 0.0)
    )
    part = calibration.simulated(1000, lambda _: None)
    assert part.holds is holds
    assert part.measured.split()[:5:3] == [f"{100 * five:.1f}"] * 2 and "4 settings" in part.measured
