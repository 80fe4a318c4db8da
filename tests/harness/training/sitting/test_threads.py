"""Threads that other work slows down: it is noticed, said once, and with threads=auto one goes on if it is faster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.accounting.threads import Waiting
from harness.training.sitting.threads import ThreadCount, set_threads


class Shares(Waiting):
    """Says what it is told to."""

    def __init__(self, *shares: float | None) -> None:
        self.shares = iter(shares)

    def share(self) -> float | None:
        return next(self.shares)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def watched(requested: str, shares: list[float | None], rates: list[float]) -> tuple[list[str], list[int], int]:
    """What is said, the changes, and the threads at the end; one interval of a second for each share."""
    said: list[str] = []
    changes: list[int] = []
    watch = ThreadCount(requested, said.append, lambda n, why: changes.append(n), waiting=Shares(*shares))
    tokens = 0.0
    for rounds, rate in enumerate(rates, 1):
        tokens += rate
        watch.between(tokens, float(rounds))
    return said, changes, torch.get_num_threads()


@pytest.mark.parametrize("requested", ["fixed", "auto", "2"])
def test_alone_nothing_is_said_or_changed(requested: str) -> None:
    assert watched(requested, [0.0, 0.02, 0.2, 0.0], [100] * 4) == ([], [], 2)
    assert watched(requested, [0.0, 0.9, 0.1, 0.9, 0.0], [100] * 5) == ([], [], 2)  # a moment is no other work
    assert watched(requested, [None] * 4, [100] * 4) == ([], [], 2)  # a kernel that does not tell


@pytest.mark.parametrize("requested", ["fixed", "2"])
def test_fixed_threads_stay_and_it_is_said_once(requested: str) -> None:
    said, changes, threads = watched(requested, [0.6] * 6, [100] * 6)
    assert (changes, threads) == ([], 2)
    assert len(said) == 1 and "60%" in said[0] and "--threads auto" in said[0]


def test_one_thread_goes_on_where_it_is_faster() -> None:
    said, changes, threads = watched("auto", [0.6] * 5, [100, 100, 180, 180, 180])
    assert (changes, threads) == ([1], 1) and len(said) == 1 and "going on with fewer" in said[0]


def test_a_long_round_is_enough() -> None:
    torch.set_num_threads(2)
    changes: list[int] = []
    watch = ThreadCount("auto", lambda _: None, lambda n, why: changes.append(n), waiting=Shares(0.6))
    watch.between(100.0, 2.5)
    assert changes == [1]


def test_as_many_are_left_as_there_are_cores_for() -> None:
    changes: list[int] = []
    watch = ThreadCount("auto", lambda _: None, lambda n, why: changes.append(n), now=lambda: 8, waiting=Shares(0.5))
    watch.between(100.0, 2.5)
    assert changes == [4]


def test_all_go_on_where_one_is_slower_and_it_is_not_tried_again() -> None:
    _, changes, threads = watched("auto", [0.6] * 7, [100, 100, 60, 100, 100, 100, 100])
    assert (changes, threads) == ([1, 2], 2)


def test_a_number_is_set() -> None:
    set_threads("fixed")
    assert torch.get_num_threads() == 2
    set_threads("1")
    assert torch.get_num_threads() == 1


def test_the_kernel_tells_of_waiting() -> None:
    """Two processes on one core: about half of the time, where the kernel tells."""
    waiting = Waiting()
    sum(i * i for i in range(200_000))
    share = waiting.share()
    assert share is None or 0 <= share < 1
