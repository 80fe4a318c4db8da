"""The calibration page on made-up records: every check with and without runs, and broken records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.statistics import simulation
from harness.reports.calibration import calibrate as calibration
from harness.reports.calibration.calibrate import calibrate, page
from harness.reports.calibration.control_runs import describe_runs, read_control_runs, reproducible_values
from harness.reports.calibration.controls import Part, fair_coin, inert_field, one_arm_twice, wrong_signs
from tests.helpers import close

ENDS = [0.90, 0.92, 0.91, 0.93, 0.89]  # of five seeds, greedy


def evaluation(decoding: str, fraction: float, value: float) -> list[dict[str, Any]]:
    """In domain, strict and lenient, and another set."""
    row = {
        "fraction": fraction, "spend": {"updates": 10 * fraction, "device_seconds": 7.5}, "task": "arithmetic",
        "domain": "in", "decoding": decoding, "filter": "strict", "metric": "exact_match", "value": value,
    }  # fmt: skip
    return [row, {**row, "filter": "lenient", "value": 1.0}, {**row, "domain": "out", "value": 0.5}]


def leave(arm: Path, seed: int, end: float, start: float = 0.4, **algo: Any) -> Path:
    """What a finished run leaves, as far as it is read; sampled is 10 points below greedy at the end."""
    folder = arm / f"seed{seed}"
    folder.mkdir(parents=True)
    evals = [evaluation("greedy", 0.0, start), evaluation("greedy", 1.0, end)]
    evals += [evaluation("sampled", 0.0, start), evaluation("sampled", 1.0, end - 0.1)]
    record = {
        "status": "finished", "algo": "grpo", "seed": seed, "budget": {"unit": "updates", "limit": 10},
        "evals": [row for rows in evals for row in rows],
        "config": {"seed": seed, "task_name": "arithmetic", "algo": {"clip_low": 0.2, **algo}},
        "spend": {"updates": 10, "device_seconds": 12.5}, "environment": {"commit": "0123456789", "dirty": False},
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    rounds = [{"round": i, "loss": 0.5 / i, "step_time": 1.25, "mem/peak": 1e6, "entropy": 0.4 - 0.1 * i,
               "completions/mean_length": 10.0 + i} for i in (1, 2)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rounds))
    return folder


def arm(folder: Path, ends: Sequence[float], **algo: Any) -> Path:
    for seed, end in enumerate(ends):
        leave(folder, seed, end, **algo)
    return folder


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting of each kind, on few items."""
    for name, values in {"ITEMS": (10, 20), "ACCURACIES": (0.5,), "CORRELATIONS": (0.0,), "SEEDS": (3, 5)}.items():
        monkeypatch.setattr(calibration, name, values)


# --- the page ---------------------------------------------------------------------------------------------------


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


# --- the parts --------------------------------------------------------------------------------------------------


def test_one_arm_twice_is_told_apart_in_one_deal_of_twenty(tmp_path: Path) -> None:
    ends = 0.9 + 0.01 * np.random.default_rng(0).standard_normal(40)
    part = one_arm_twice(read_control_runs(arm(tmp_path / "grpo", ends.tolist())), 200)
    assert [row["seeds"] for row in part.numbers["one_arm_twice"]] == [5, 10]
    assert all(abs(row["separated"] - 0.05) < 0.05 for row in part.numbers["one_arm_twice"])
    assert part.holds is all(row["separated"] <= 0.065 for row in part.numbers["one_arm_twice"])
    assert "conditional on these 40 runs" in part.text[1]


def test_one_arm_twice_does_what_fewer_runs_allow(tmp_path: Path) -> None:
    folder = arm(tmp_path / "grpo", ENDS + ENDS)
    part = one_arm_twice(read_control_runs(folder), 5)
    assert [(row["runs"], row["seeds"]) for row in part.numbers["one_arm_twice"]] == [(10, 5)]
    assert part.holds is None and part.measured.endswith("with 5 seeds; 10 of 40 runs")
    (folder / "seed9" / "record.json").unlink()
    too_few = one_arm_twice(read_control_runs(folder), 5)
    assert too_few.measured == "not run yet" and not too_few.numbers
    assert "need 10 runs" in too_few.text[0] and describe_runs(read_control_runs(folder)) in too_few.text[0]


def test_an_inert_field_leaves_every_number(tmp_path: Path) -> None:
    base, inert = arm(tmp_path / "grpo", ENDS), arm(tmp_path / "inert", ENDS[:3], clip_low=0.4)
    change(inert / "seed1" / "metrics.jsonl", '"step_time": 1.25', '"step_time": 99.0')
    change(inert / "seed1" / "metrics.jsonl", '"mem/peak": 1000000.0', '"mem/peak": 2.0')
    change(inert / "seed1" / "record.json", '"device_seconds": 7.5', '"device_seconds": 1.5')
    part = inert_field(read_control_runs(base), read_control_runs(inert))
    assert part.holds and part.measured == "3 of 3 seeds are equal"
    assert "`algo.clip_low: 0.2 -> 0.4`" in part.text[0]
    # two rounds of 4, 12 evaluations of 7 and their updates, the updates of the whole
    assert {row["compared"] for row in part.numbers["inert_field"]} == {2 * 4 + 12 * 8 + 1}


@pytest.mark.parametrize(
    ("file", "old", "new", "place"),
    [
        ("metrics.jsonl", '"loss": 0.25', '"loss": 0.25000000000000006', "round 2 loss"),
        ("metrics.jsonl", '"entropy": 0.2,', '"entropy": 0.2, "new": 1,', "round 2 new"),
        ("record.json", '"value": 0.92', '"value": 0.9200000000000001', "evals 4 value"),
        ("record.json", '"spend": {"updates": 10,', '"spend": {"updates": 11,', "spend updates"),
    ],
)
def test_one_other_bit_breaks_it(tmp_path: Path, file: str, old: str, new: str, place: str) -> None:
    base, inert = arm(tmp_path / "grpo", ENDS), arm(tmp_path / "inert", ENDS[:3], clip_low=0.4)
    change(inert / "seed1" / file, old, new)
    part = inert_field(read_control_runs(base), read_control_runs(inert))
    assert part.holds is False and part.measured == "2 of 3 seeds are equal"
    assert [(row["seed"], row["unequal"], row["first"]) for row in part.numbers["inert_field"] if row["unequal"]] == [
        (1, 1, place)
    ]


def test_equal_arms_that_do_not_differ_show_nothing(tmp_path: Path) -> None:
    part = inert_field(
        read_control_runs(arm(tmp_path / "grpo", ENDS)), read_control_runs(arm(tmp_path / "inert", ENDS))
    )
    assert part.holds is False and "void" in part.text[0]


def test_wrong_signs_are_one_family(tmp_path: Path) -> None:
    """20 % does nothing on average; 50 % costs 10 points, give or take one."""
    base = read_control_runs(arm(tmp_path / "grpo", ENDS))
    little = arm(
        tmp_path / "flipped_20", [x + y for x, y in zip(ENDS, (0.01, -0.01, 0.02, -0.02, 0), strict=True)], flipped=0.2
    )
    much = arm(
        tmp_path / "flipped_50", [x - y for x, y in zip(ENDS, (0.1, 0.11, 0.09, 0.1, 0.1), strict=True)], flipped=0.5
    )
    part = wrong_signs(base, [read_control_runs(much), read_control_runs(little)])
    few, many = part.numbers["wrong_signs"]
    assert (few["flipped"], few["kind"], many["flipped"], many["kind"]) == (0.2, "not separated", 0.5, "A better")
    close(many["mean"], 0.1)
    half = 3.4954059 * 0.00707106781 / 5**0.5  # t(4; 0.9875), for two pairs: 97.5 % each
    close((many["low"], many["high"]), (0.1 - half, 0.1 + half), atol=1e-8)
    assert part.holds and "50 %" in part.measured and "10.0 points" in part.measured
    assert "| 50 % | 5 | +10.0 |" in part.text[2] and "| worse |" in part.text[2]


@pytest.mark.parametrize("effect", [0.0, 0.1])
def test_wrong_signs_that_do_nothing_or_good_do_not_hold(tmp_path: Path, effect: float) -> None:
    """`effect` is what 20 % gain; 50 % lose 10 points where 20 % gain, and else nothing."""
    wobble = (0.01, -0.01, 0.02, -0.02, 0)
    base = read_control_runs(arm(tmp_path / "grpo", [x - 0.2 for x in ENDS]))
    ends = {share: [x - 0.2 + gain + y for x, y in zip(ENDS, wobble, strict=True)]
            for share, gain in ((0.2, effect), (0.5, -effect))}  # fmt: skip
    arms = [
        read_control_runs(arm(tmp_path / f"flipped_{share}", found, flipped=share)) for share, found in ends.items()
    ]
    part = wrong_signs(base, arms)
    kinds = [row["kind"] for row in part.numbers["wrong_signs"]]
    assert kinds == (["B better", "A better"] if effect else ["not separated"] * 2)
    assert part.holds is False


def test_wrong_signs_that_are_not_all_there(tmp_path: Path) -> None:
    base, much = arm(tmp_path / "grpo", ENDS), arm(tmp_path / "flipped_50", [x - 0.1 for x in ENDS], flipped=0.5)
    leave(tmp_path / "flipped_35", 77, 0.5, flipped=0.35)  # a seed that the base has not
    arms = [read_control_runs(tmp_path / name) for name in ("flipped_20", "flipped_35")]
    assert wrong_signs(read_control_runs(base), arms).measured == "not run yet"
    part = wrong_signs(read_control_runs(base), [*arms, read_control_runs(much)])
    assert part.holds is None and part.measured.endswith("; 1 of 3 fractions")
    assert part.numbers["wrong_signs"][0]["low"] is None  # every seed differs by the same amount


@pytest.mark.parametrize(
    ("ends", "reading", "holds"),
    [
        ([0.30, 0.29, 0.31], "a loss", True),
        ([0.42, 0.39, 0.40], "not separated from 0", True),
        ([0.60, 0.61, 0.59], "a gain", False),
        ([0.60, 0.61], "2 seeds; at least 3 needed", None),
    ],
)
def test_what_a_coin_gains_or_loses_is_said(
    tmp_path: Path, ends: list[float], reading: str, holds: bool | None
) -> None:
    part = fair_coin(read_control_runs(arm(tmp_path / "coin", ends)))
    assert part.holds is holds and f"({reading})" in part.measured
    greedy, sampled = part.numbers["fair_coin"]
    close((greedy["change"], sampled["change"]), (np.mean(ends) - 0.4, np.mean(ends) - 0.5))
    assert "`completions/mean_length` from 11 to 12 and `entropy` from 0.3 to 0.2" in part.text[-1]


# --- records ----------------------------------------------------------------------------------------------------


def test_what_has_not_finished_is_left_out_and_named(tmp_path: Path) -> None:
    folder = arm(tmp_path / "grpo", ENDS)
    change(folder / "seed1" / "record.json", '"finished"', '"failed"')
    change(folder / "seed2" / "record.json", '"dirty": false', '"dirty": true')
    (folder / "seed10").mkdir()
    (folder / "seed3.log").write_text("not a run")
    found = read_control_runs(folder)
    assert list(found.runs) == [0, 2, 3, 4]
    commits = "commit 0123456 (3), commit 0123456 with changes (1)"
    assert describe_runs(found) == f"`grpo`: 4 runs, {commits}; left out: seed1 (failed), seed10 (no record)"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
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
def test_a_broken_record_names_its_file(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    change(arm(tmp_path / "coin", ENDS) / "seed1" / file, old, new)
    with pytest.raises(ValueError, match=said) as error:
        calibrate(tmp_path, 10_000, lambda _: None)  # before it simulates: this takes no time
    assert str(tmp_path / "coin" / "seed1" / file) in str(error.value)
    assert not (tmp_path / "calibration.md").exists()


def test_a_finished_run_has_rounds(tmp_path: Path) -> None:
    folder = arm(tmp_path / "grpo", ENDS[:1])
    (folder / "seed0" / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="seed0/metrics.jsonl: a finished run has rounds"):
        reproducible_values(read_control_runs(folder).runs[0])
