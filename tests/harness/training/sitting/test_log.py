"""The sittings of a run in its record."""

from __future__ import annotations

from typing import Any

from harness.training.sitting import log


def record(**environment: Any) -> Any:
    return {"environment": {"device": "cpu", "threads": 2, **environment}}


def test_a_sitting_begins_counts_and_ends() -> None:
    one = record()
    log.begin(one, [], 0, 2)
    log.count(one, 4)
    assert one["sittings"][0]["first_round"] == 1 and one["sittings"][0]["rounds"] == 4
    assert one["sittings"][0]["end"] is None and log.differences(one) == []
    log.end(one, "interrupted by the user")
    two = record()
    log.begin(two, one["sittings"], 3, 1)  # the checkpoint is of round 3: the fourth is made again
    log.count(two, 10)
    assert [(s["first_round"], s["rounds"], s["threads"], s["end"]) for s in two["sittings"]] == [
        (1, 4, 2, "interrupted by the user"), (4, 7, 1, None),
    ]  # fmt: skip
    assert "threads 2 -> 1" in log.differences(two)[0] and "machine" not in log.differences(two)[0]


def test_a_process_that_was_killed_left_no_word() -> None:
    one, two = record(), record()
    log.begin(one, [], 0, 2)
    log.begin(two, one["sittings"], 0, 2)
    assert two["sittings"][0]["end"] == log.CUT_OFF and one["sittings"][0]["end"] is None


def test_a_turn_of_threads_is_a_sitting_of_its_own() -> None:
    one = record()
    log.begin(one, [], 0, 2)
    log.turn(one, 5, 1, "fewer threads: other work")
    assert [(s["first_round"], s["rounds"], s["threads"], s["end"]) for s in one["sittings"]] == [
        (1, 5, 2, "fewer threads: other work"), (6, 0, 1, None),
    ]  # fmt: skip
    assert one["environment"]["threads"] == 1


def test_a_machine_is_known_again_and_not_named(monkeypatch: Any) -> None:
    monkeypatch.setattr("platform.node", lambda: "secret-host")
    assert log.machine() == log.machine() and len(log.machine()) == 8 and "secret" not in log.machine()
