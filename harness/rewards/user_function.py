"""`--reward FILE.py:function`: what a user's function may return, may change, and how long a call may take.

A completion's reward is one finite number; how the function is called its parameters decide (call_forms.py).  It gets
copies of the problems and the verdicts, so that what it does to them changes neither the measured accuracy nor the next
call.  A completion on which it raises, takes too long or returns no finite number has *failed*: it leaves its group, as
one that the verifier could not decide, and is counted (`reward/failed`, a share of the round).  Where more than
`reward_failures` of a round have failed (default: any), that is a `RewardError` that names the function and the
problem: the run has then failed, and its record says so.

The time limit of a call is an alarm of the operating system (SIGALRM, in the main thread alone).  It ends Python code,
sleeping and waiting for a network or a process.  It cannot end one long call into C that never looks at signals (a
regular expression that backtracks, a large matrix product) before that call returns, nor a function that sets an alarm
of its own; and there is none outside the main thread or where there is no SIGALRM (Windows).  An `async` function is
cancelled at the limit; where it blocks instead of waiting, the alarm ends it too.
"""

from __future__ import annotations

import asyncio
import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import torch

from algos import Rollouts
from evals.tasks import Problem
from evals.verification.verifier import Verdict
from harness.processes.group import current
from harness.rewards.base import JudgedCompletions, RewardSource
from harness.rewards.call_forms import CONCURRENT, call_form

LARGEST = torch.finfo(torch.float32).max  # rewards are kept in fp32
AGAIN = 1.0  # second after which a function that has caught the alarm hears it again
GRACE = 1.0  # seconds more before the alarm ends what an event loop should have cancelled


class RewardError(RuntimeError):
    """A user's reward function did what it must not."""


class _TimeIsUp(BaseException):
    """Not an Exception: a function that catches those is ended all the same."""


class UserReward(RewardSource):
    """Rewards by a user's function: a call may take `timeout` seconds (0: no limit), and may fail on a share
    `failures` of a round's completions.  Raises ValueError where its parameters are none of the forms."""

    def __init__(self, name: str, function: Callable[..., Any], timeout: float, failures: float = 0.0) -> None:
        super().__init__()
        self.name, self.own, self.timeout, self.failures = name, function, timeout, failures
        try:
            self.form = call_form(function)
        except ValueError as error:
            raise ValueError(f"reward {name}: {error}") from None

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        """Raises RewardError where more completions have failed than may."""
        results = self.rewards(answers.problems, answers.texts, answers.verdicts)
        failed = [r for r in results if isinstance(r, RewardError)]
        if len(failed) > self.failures * len(results):
            more = f"; {len(failed)} of {len(results)} completions failed" if len(failed) > 1 else ""
            allowed = f" (reward_failures={self.failures:g})" if self.failures else ""
            raise RewardError(f"{failed[0]}{more}{allowed}") from failed[0]
        device = rollouts.tokens_NS.device
        reward_N = torch.tensor([0.0 if isinstance(r, RewardError) else r for r in results], dtype=torch.float32)
        valid_N = torch.tensor([not isinstance(r, RewardError) for r in results])
        metrics = {"reward/failed": len(failed) / max(len(results), 1)} if self.failures else {}
        return replace(rollouts, reward_N=reward_N.to(device), valid_N=valid_N.to(device)), metrics

    def rewards(
        self, problems: Sequence[Problem], completions: Sequence[str], verdicts: Sequence[Verdict]
    ) -> list[float | RewardError]:
        """The reward of each completion, or why there is none."""
        if self.form.whole:
            return current().on_first(lambda: self._of_round(problems, completions, verdicts))
        return current().map(self._of_rows, list(zip(problems, completions, verdicts, strict=True)))

    def _of_rows(self, rows: Sequence[tuple[Problem, str, Verdict]]) -> list[float | RewardError]:
        if self.form.asynchronous:
            return self._side_by_side(rows)
        results: list[float | RewardError] = []
        for row in rows:
            results.append(self._one(*row))
            if not self.failures and isinstance(results[-1], RewardError):
                break  # the run ends: the others need not be rated
        return results

    def _one(self, problem: Problem, completion: str, verdict: Verdict) -> float | RewardError:
        place = f"reward {self.name}: problem {problem.id}"
        try:
            with time_limit(self.timeout):
                value = self.own(copy.deepcopy(problem), completion, replace(verdict))
        except (Exception, SystemExit, _TimeIsUp) as error:
            return self._failure(place, error)
        return number_or_error(value, place)

    def _of_round(
        self, problems: Sequence[Problem], completions: Sequence[str], verdicts: Sequence[Verdict]
    ) -> list[float | RewardError]:
        """One call for all.  What makes the call itself fail fails every completion."""
        place = f"reward {self.name}"
        try:
            arguments = self.form.arguments(copy.deepcopy(list(problems)), completions, [replace(v) for v in verdicts])
            if self.form.asynchronous:
                with time_limit(self.timeout and self.timeout + GRACE):
                    values = asyncio.run(self._limited(self.own(**arguments)))
            else:
                with time_limit(self.timeout):
                    values = self.own(**arguments)
            values = values.tolist() if hasattr(values, "tolist") else list(values)
            if len(values) != len(completions):
                raise ValueError(f"must return {len(completions)} numbers, one for each completion, not {len(values)}")
        except (Exception, SystemExit, _TimeIsUp) as error:
            return [self._failure(place, error)] * len(completions)
        return [number_or_error(v, f"{place}: problem {p.id}") for p, v in zip(problems, values, strict=True)]

    def _side_by_side(self, rows: Sequence[tuple[Problem, str, Verdict]]) -> list[float | RewardError]:
        """An `async` function of one completion, over a round."""

        async def all_of_them() -> list[Any]:
            gate = asyncio.Semaphore(CONCURRENT)

            async def one(problem: Problem, completion: str, verdict: Verdict) -> Any:
                async with gate:
                    return await self._limited(self.own(copy.deepcopy(problem), completion, replace(verdict)))

            return await asyncio.gather(*(one(*row) for row in rows), return_exceptions=True)

        turns = math.ceil(len(rows) / CONCURRENT)
        try:
            with time_limit(self.timeout and self.timeout * turns + GRACE):
                values = asyncio.run(all_of_them())
        except (Exception, SystemExit, _TimeIsUp) as error:  # of the loop itself, or that it passes on at once
            return [self._failure(f"reward {self.name}", error)] * len(rows)
        results: list[float | RewardError] = []
        for (problem, _, _), value in zip(rows, values, strict=True):
            place = f"reward {self.name}: problem {problem.id}"
            failed = isinstance(value, BaseException)
            results.append(self._failure(place, value) if failed else number_or_error(value, place))
        return results

    async def _limited(self, call: Any) -> Any:
        async with asyncio.timeout(self.timeout or None):
            return await call

    def _failure(self, place: str, error: BaseException) -> RewardError:
        if isinstance(error, _TimeIsUp | TimeoutError) and (self.form.asynchronous or isinstance(error, _TimeIsUp)):
            return RewardError(f"{place}: took more than reward_timeout={self.timeout:g} seconds")
        failure = RewardError(f"{place}: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure


def number_or_error(value: Any, place: str) -> float | RewardError:
    try:
        number = None if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of a tensor with several elements: RuntimeError
        number = None
    if number is None or not abs(number) <= LARGEST:
        text = " ".join(repr(value).split())
        return RewardError(
            f"{place}: must return a finite number, not {text if len(text) <= 60 else text[:60] + '...'}"
        )
    return number


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends what runs inside by an exception after so many seconds; an alarm that was set before goes on afterwards."""
    if not seconds or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp

    handler, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), interval)
