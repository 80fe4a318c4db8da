"""A reward of the user's own: what it may return, how long it may take, and that it changes nothing but the reward."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from evals.tasks import Problem
from evals.verification.verifier import Verdict
from harness.config.rewards import RewardFunction
from harness.rewards.user_function import RewardError, UserReward, time_limit

PROBLEM = Problem("p7", "1+1=", "2", source={"steps": [1, 1]})
VERDICT = Verdict("wrong", "wrong", "3")


def rated(function: RewardFunction, timeout: float = 60.0) -> float:
    return UserReward("mine.py:f", function, timeout).function(PROBLEM, "#### 3", VERDICT)


def returning(value: Any) -> RewardFunction:
    return lambda problem, completion, verdict: value


NUMBERS = {
    "a float": (0.5, 0.5),
    "a whole number": (2, 2.0),
    "a truth value": (True, 1.0),
    "numpy's": (np.float64(0.25), 0.25),
    "torch's": (torch.tensor(0.25), 0.25),
    "a fraction": (Fraction(1, 4), 0.25),
    "a negative one": (-3.5, -3.5),
    "the largest": (3.4e38, 3.4e38),
}
NO_NUMBERS = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "numpy's nan": np.float32("nan"),
    "torch's inf": torch.tensor(float("inf")),
    "infinite in fp32": 1e39,
    "too large for a float": 10**400,
    "None": None,
    "text": "good",
    "a number as text": "1.0",
    "bytes": b"1",
    "a list": [1.0],
    "several": torch.ones(2),
    "complex": 1j,
    "text of many lines": "a\nb" * 100,
}


@pytest.mark.parametrize("case", NUMBERS)
def test_a_finite_number_is_a_reward(case: str) -> None:
    value, expected = NUMBERS[case]
    assert rated(returning(value)) == expected


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_anything_else_is_refused_by_the_rewards_name(case: str) -> None:
    with pytest.raises(
        RewardError, match=r"^reward mine\.py:f: problem p7: must return a finite number, not "
    ) as error:
        rated(returning(NO_NUMBERS[case]))
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


def _divide(problem: Problem, completion: str, verdict: Verdict) -> float:
    return 1 / 0


def _leave(problem: Problem, completion: str, verdict: Verdict) -> float:
    sys.exit(0)


@pytest.mark.parametrize(("function", "what"), [(_divide, "ZeroDivisionError"), (_leave, "SystemExit: 0")])
def test_an_error_is_named_with_its_problem(function: RewardFunction, what: str) -> None:
    with pytest.raises(RewardError, match=rf"^reward mine\.py:f: problem p7: {what}"):
        rated(function)


def test_ctrl_c_in_a_reward_is_the_users() -> None:
    def interrupted(problem: Problem, completion: str, verdict: Verdict) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rated(interrupted)


# --- time ----------------------------------------------------------------------------------------------------


def _sleep() -> None:
    time.sleep(30)


def _spin() -> None:
    while True:
        pass


def _catch_everything() -> None:
    while True:
        try:
            time.sleep(30)
        except Exception:
            continue


def _catch_even_that() -> None:
    for _ in range(2):
        try:
            time.sleep(30)
        except BaseException:
            continue
    _sleep()


def _wait() -> None:
    threading.Event().wait(30)


@pytest.mark.parametrize("body", [_sleep, _spin, _catch_everything, _wait])
def test_a_reward_that_does_not_return_is_ended(body: Callable[[], None]) -> None:
    began, handler = time.monotonic(), signal.getsignal(signal.SIGALRM)

    def slow(problem: Problem, completion: str, verdict: Verdict) -> float:
        body()
        return 0.0

    with pytest.raises(RewardError, match=r"mine\.py:f: problem p7: took more than reward_timeout=0\.05 seconds"):
        rated(slow, timeout=0.05)
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGALRM) is handler


def test_the_alarm_rings_again_where_it_was_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.rewards.user_function.AGAIN", 0.05)
    with pytest.raises(RewardError, match="took more than"):
        rated(lambda problem, completion, verdict: _catch_even_that() or 0.0, timeout=0.05)


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """An alarm of somebody else's."""
    heard: list[int] = []
    former = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    left = signal.setitimer(signal.ITIMER_REAL, 0)
    yield heard
    signal.setitimer(signal.ITIMER_REAL, *left)
    signal.signal(signal.SIGALRM, former)


def test_an_alarm_of_somebody_elses_goes_on(alarms: list[int]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with time_limit(5):
        time.sleep(0.02)
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.19 and not alarms
    time.sleep(0.3)
    assert alarms == [signal.SIGALRM]


@pytest.mark.parametrize("where", ["no limit", "another thread"])
def test_there_may_be_no_limit(where: str) -> None:
    """0 is none, and outside the main thread there is no alarm: the reward is rated all the same."""
    found: list[float] = []

    def short(problem: Problem, completion: str, verdict: Verdict) -> float:
        assert signal.getitimer(signal.ITIMER_REAL)[0] == before
        return 0.5

    before = signal.getitimer(signal.ITIMER_REAL)[0]
    if where == "no limit":
        found.append(rated(short, timeout=0))
    else:
        thread = threading.Thread(target=lambda: found.append(rated(short, timeout=1)))
        thread.start()
        thread.join()
    assert found == [0.5]


# --- copies --------------------------------------------------------------------------------------------------


def _credit_itself(problem: Problem, completion: str, verdict: Verdict) -> float:
    object.__setattr__(verdict, "strict", "correct")
    return 1.0


def _move_the_gold(problem: Problem, completion: str, verdict: Verdict) -> float:
    object.__setattr__(problem, "gold", "3")
    return 1.0


def _move_the_source(problem: Problem, completion: str, verdict: Verdict) -> float:
    problem.source["steps"].append(2)
    return 1.0


@pytest.mark.parametrize("function", [_credit_itself, _move_the_gold, _move_the_source])
def test_what_a_reward_changes_is_its_own_copy(function: RewardFunction) -> None:
    assert rated(function) == 1.0
    assert Verdict("wrong", "wrong", "3") == VERDICT
    assert Problem("p7", "1+1=", "2", source={"steps": [1, 1]}) == PROBLEM
