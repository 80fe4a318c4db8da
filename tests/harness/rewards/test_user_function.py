"""A reward of the user's own: what it may return, how long it may take, and that it changes nothing but the reward."""

from __future__ import annotations

import asyncio
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

from algos import Rollouts
from evals.tasks import EvalSet, Problem, Task
from evals.verification.verifier import Verdict
from harness.config.rewards import RewardFunction
from harness.rewards.base import JudgedCompletions, score
from harness.rewards.call_forms import CONCURRENT
from harness.rewards.user_function import RewardError, UserReward, time_limit

PROBLEM = Problem("p7", "1+1=", "2", source={"steps": [1, 1]})
VERDICT = Verdict("wrong", "wrong", "3")


def rated(function: Callable[..., Any], timeout: float = 60.0) -> float:
    """Of one completion."""
    (reward,) = UserReward("mine.py:f", function, timeout).rewards([PROBLEM], ["#### 3"], [VERDICT])
    if isinstance(reward, RewardError):
        raise reward
    return reward


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


# --- the forms of a call -------------------------------------------------------------------------------------


ROWS = [Problem(f"p{i}", f"{i}+1=", str(i + 1), row={"level": i, "tags": [i], "answer": str(i + 1)}) for i in range(3)]
TEXTS = ["a", "bb", "ccc"]
VERDICTS = [Verdict("wrong", "wrong", "3"), Verdict("correct", "correct", "2"), Verdict("wrong", "correct", "3")]


def rewards(function: Callable[..., Any], timeout: float = 60.0, failures: float = 0.0) -> list[float | RewardError]:
    return UserReward("mine.py:f", function, timeout, failures).rewards(ROWS, TEXTS, VERDICTS)


def _row_alone(problem: Problem, completion: str, verdict: Verdict) -> float:
    return problem.row["level"] + len(completion)


def _round(problems: list[Problem], completions: list[str], verdicts: list[Verdict]) -> list[float]:
    return [p.row["level"] + len(c) for p, c in zip(problems, completions, strict=True)]


def _round_reordered(verdicts: list[Verdict], completions: list[str], problems: list[Problem]) -> list[float]:
    return _round(problems, completions, verdicts)


def _columns(completions: list[str], level: list[int]) -> np.ndarray:
    return np.array(level) + np.array([len(c) for c in completions])


def _trl(prompts: list[str], completions: list[str], **columns: list[Any]) -> torch.Tensor:
    assert set(columns) == {"level", "tags", "answer", "problems", "verdicts"} and prompts == ["0+1=", "1+1=", "2+1="]
    return torch.tensor([x + len(c) for x, c in zip(columns["level"], completions, strict=True)])


def _optional(completions: list[str], level: list[int], weight: float = 1.0) -> list[float]:
    return [weight * (x + len(c)) for x, c in zip(level, completions, strict=True)]


async def _waits(problem: Problem, completion: str, verdict: Verdict) -> float:
    await asyncio.sleep(0.01 * (3 - len(completion)))  # they end in another order than they began in
    return _row_alone(problem, completion, verdict)


async def _waits_for_all(problems: list[Problem], completions: list[str], verdicts: list[Verdict]) -> list[float]:
    await asyncio.sleep(0)
    return _round(problems, completions, verdicts)


class _Called:
    def __call__(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        return _row_alone(problem, completion, verdict)


FORMS = [
    _row_alone, _round, _round_reordered, _columns, _trl, _optional, _waits, _waits_for_all, _Called(),
    lambda a, b, c: a.row["level"] + len(b),
    lambda *three: three[0].row["level"] + len(three[1]),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(FORMS)))
def test_the_parameters_decide_how_a_reward_is_called(place: int) -> None:
    """Level i and i + 1 letters: 2 i + 1, in whatever form."""
    assert rewards(FORMS[place]) == [1.0, 3.0, 5.0]


@pytest.mark.parametrize("function", [lambda: 1.0, lambda completion: 1.0, lambda problem, text, verdict, more: 1.0])
def test_parameters_of_no_form_are_refused_before_a_run(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"reward mine\.py:f: its parameters are .*; valid: \(problem, completion"):
        UserReward("mine.py:f", function, 1.0)


def _unknown_column(completions: list[str], levle: list[int]) -> list[float]:
    return [0.0] * 3


def _too_few(problems: list[Problem], completions: list[str], verdicts: list[Verdict]) -> list[float]:
    return [1.0]


def _no_list(completions: list[str]) -> Any:
    return 1.0


def _sleeps_over_all(completions: list[str]) -> Any:
    time.sleep(30)


async def _awaits_too_long(completions: list[str]) -> Any:
    await asyncio.sleep(30)


WRONG = [
    (_unknown_column, r"no column 'levle' in the data; there are level, tags, answer; also problems"),
    (_too_few, "must return 3 numbers, one for each completion, not 1"),
    (_no_list, "TypeError"),
    (_sleeps_over_all, r"took more than reward_timeout=0\.1 seconds"),
    (_awaits_too_long, r"took more than reward_timeout=0\.1 seconds"),
]


@pytest.mark.parametrize(("function", "what"), WRONG)
def test_a_call_for_a_round_fails_as_a_whole(function: Callable[..., Any], what: str) -> None:
    results = rewards(function, 0.1)
    assert len(results) == 3
    for result in results:
        with pytest.raises(RewardError, match=f"^reward mine.py:f: .*{what}"):
            raise result if isinstance(result, RewardError) else AssertionError(result)


async def _one_hangs(problem: Problem, completion: str, verdict: Verdict) -> float:
    if completion == "bb":
        await asyncio.sleep(30)
    return 1.0


async def _one_blocks(problem: Problem, completion: str, verdict: Verdict) -> float:
    if completion == "bb":
        time.sleep(30)
    return 1.0


def _one_raises(problem: Problem, completion: str, verdict: Verdict) -> float:
    return 1.0 if completion != "bb" else 1 / 0


def _one_is_none(completions: list[str]) -> list[float | None]:
    return [None if c == "bb" else 1.0 for c in completions]


@pytest.mark.parametrize("function", [_one_hangs, _one_blocks, _one_raises, _one_is_none])
def test_a_completion_that_fails_leaves_its_group_and_is_counted(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three: with 0.3 allowed the run ends, with 0.4 it goes on, and the completion counts nowhere."""
    monkeypatch.setattr("harness.rewards.user_function.GRACE", 0.05)
    rollouts = make_rollouts()
    answers = JudgedCompletions(ROWS, TEXTS, VERDICTS, 0)
    with pytest.raises(RewardError, match=r"problem p1: .*\(reward_failures=0\.3\)"):
        UserReward("mine.py:f", function, 0.1, 0.3).rate(rollouts, answers)
    rated, metrics = UserReward("mine.py:f", function, 0.1, 0.4).rate(rollouts, answers)
    assert rated.valid_N is not None and rated.valid_N.tolist() == [True, False, True]
    assert rated.reward_N is not None and rated.reward_N.tolist() == [1.0, 0.0, 1.0]
    assert metrics == {"reward/failed": 1 / 3}


def test_the_verifiers_errors_and_the_rewards_are_both_out() -> None:
    class Undecided(Task):
        def train(self, seed: int) -> list[Problem]:
            return ROWS

        def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
            return []

        def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
            outcome: Any = "verifier_error" if completion == "a" else "correct"
            return Verdict(outcome, outcome, completion)

    scored, _ = score(make_rollouts(), ROWS, TEXTS, Undecided(), UserReward("mine.py:f", _one_is_none, 1.0, 0.5), 0)
    assert scored.valid_N is not None and scored.valid_N.tolist() == [False, False, True]


def make_rollouts() -> Rollouts:
    """Three completions of one token, a group."""
    ones = torch.ones(3, 1, dtype=torch.bool)
    return Rollouts(
        tokens_NS=torch.zeros(3, 2, dtype=torch.long),
        attention_mask_NS=torch.ones(3, 2, dtype=torch.bool),
        completion_mask_NT=ones,
        logp_NT=torch.zeros(3, 1),
        group_N=torch.zeros(3, dtype=torch.long),
        finished_N=torch.ones(3, dtype=torch.bool),
    )


def test_a_round_of_many_calls_is_awaited_together() -> None:
    """A hundred waits of 0.05 s, at most CONCURRENT at a time: never more, and more than one."""
    running = peak = 0

    async def counted(problem: Problem, completion: str, verdict: Verdict) -> float:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.02)
        running -= 1
        return 1.0

    results = UserReward("mine.py:f", counted, 60).rewards(ROWS[:1] * 100, TEXTS[:1] * 100, VERDICTS[:1] * 100)
    assert results == [1.0] * 100 and peak == CONCURRENT
