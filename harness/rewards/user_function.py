"""`--reward FILE.py:function`: what a user's function may return, may change, and how long it may take.

A completion's reward is one finite number.  The function gets copies of the problem and the verdict, so that what it
does to them changes neither the measured accuracy nor the next call.  Whatever it does wrong is a `RewardError` that
names the function and the problem: the run has then failed, and its record says so.

The time limit is an alarm of the operating system (SIGALRM, in the main thread alone).  It ends Python code, sleeping
and waiting for a network or a process.  It cannot end one long call into C that never looks at signals (a regular
expression that backtracks, a large matrix product) before that call returns, nor a function that sets an alarm of its
own; and there is none outside the main thread or where there is no SIGALRM (Windows).
"""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import torch

from evals.tasks import Problem
from evals.verification.verifier import Verdict
from harness.config.rewards import RewardFunction
from harness.rewards.base import RewardSource

LARGEST = torch.finfo(torch.float32).max  # rewards are kept in fp32
AGAIN = 1.0  # second after which a function that has caught the alarm hears it again


class RewardError(RuntimeError):
    """A user's reward function did what it must not."""


class _TimeIsUp(BaseException):
    """Not an Exception: a function that catches those is ended all the same."""


class UserReward(RewardSource):
    """Rewards by a user's function, at most `timeout` seconds for each completion (0: no limit)."""

    def __init__(self, name: str, function: RewardFunction, timeout: float) -> None:
        super().__init__(self.checked)
        self.name, self.own, self.timeout = name, function, timeout

    def checked(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        """The function's reward.  Raises RewardError where there is none."""
        place = f"reward {self.name}: problem {problem.id}"
        try:
            with time_limit(self.timeout):
                value = self.own(copy.deepcopy(problem), completion, replace(verdict))
        except _TimeIsUp:
            raise RewardError(f"{place}: took more than reward_timeout={self.timeout:g} seconds") from None
        except (Exception, SystemExit) as error:
            raise RewardError(f"{place}: {type(error).__name__}: {error}") from error
        return _number(value, place)


def _number(value: Any, place: str) -> float:
    try:
        number = None if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of a tensor with several elements: RuntimeError
        number = None
    if number is None or not abs(number) <= LARGEST:
        text = " ".join(repr(value).split())
        raise RewardError(f"{place}: must return a finite number, not {text if len(text) <= 60 else text[:60] + '...'}")
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
