"""The checks of control runs, on made-up runs with known differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.reports.calibration.control_runs import describe_runs, read_control_runs
from harness.reports.calibration.controls import fair_coin, inert_field, one_arm_twice, wrong_signs
from tests.harness.reports.calibration.control_factory import ENDS, arm, change, leave
from tests.helpers import close


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
        tmp_path / "flipped_20", [x + y for x, y in zip(ENDS, (0.02, -0.02, 0.03, -0.03, 0), strict=True)], flipped=0.2
    )
    much = arm(
        tmp_path / "flipped_50", [x - y for x, y in zip(ENDS, (0.1, 0.11, 0.09, 0.1, 0.1), strict=True)], flipped=0.5
    )
    part = wrong_signs(base, [read_control_runs(much), read_control_runs(little)])
    few, many = part.numbers["wrong_signs"]
    assert (few["flipped"], few["kind"], many["flipped"], many["kind"]) == (0.2, "undecided", 0.5, "A better")
    close(many["mean"], 0.1)
    half = 2.7764451 * 0.00707106781 / 5**0.5  # t(4; 0.975): it is settled, and one contrast is left
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
    arms = [read_control_runs(arm(tmp_path / f"flipped_{share}", runs, flipped=share)) for share, runs in ends.items()]
    part = wrong_signs(base, arms)
    kinds = [row["kind"] for row in part.numbers["wrong_signs"]]
    assert kinds == (["B better", "A better"] if effect else ["undecided"] * 2)
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
