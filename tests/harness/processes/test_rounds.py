"""What ranks tell each other between rounds, with ranks that are made up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from algos import Credit, Rollouts
from harness.accounting.budget import Spend
from harness.accounting.profiler import Phase, PhaseProfiler
from harness.models.microbatching import own
from harness.processes.group import Group, enter
from harness.processes.ledger import enter_seconds
from harness.training.batching import split
from harness.training.distributed.update import together
from harness.training.interrupt import Interrupt
from tests.harness.tiny_models import explored


class Pretended(Group):
    """Rank `rank` of `size`; what the others say is made from what this one says."""

    def __init__(self, rank: int, size: int, others: Callable[[Any], Any] = lambda x: x) -> None:
        self.rank, self.size, self.others = rank, size, others

    def gather(self, value: Any) -> list[Any]:
        return [value if k == self.rank else self.others(value) for k in range(self.size)]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    yield
    enter(None)


def test_seconds_of_all_devices_are_added_up_from_where_they_stood() -> None:
    profiler, spend = PhaseProfiler("cpu"), Spend(device_seconds=100.0)
    profiler.load({"rollout": {"seconds": 60.0}})  # of a checkpoint: two processes' 100 s are in the ledger
    enter(Pretended(0, 4, lambda seconds: seconds + 1))
    profiler.phases["update"] = Phase(seconds=2.0)
    enter_seconds(spend, profiler)
    assert spend.device_seconds == 100.0 + 2 + 3 * 3
    enter_seconds(spend, profiler)
    assert spend.device_seconds == 111.0 + 0 + 3 * 1


def test_an_update_is_the_sum_of_what_ranks_found() -> None:
    other = {"loss": 2.0, "clip": 1.0}, None, 10.0
    enter(Pretended(0, 3, lambda _: other))
    assert together({"loss": 0.5}, 0.25, 7.0) == ({"loss": 4.5, "clip": 2.0}, 0.25, 27.0)


@pytest.mark.parametrize("size", [2, 3, 7, 40])
def test_every_row_is_read_by_one_rank(size: int) -> None:
    """Of 16 completions, by 40 ranks too; each rank's share has the totals of all."""
    r = explored("llama")
    kept = torch.arange(len(r.group_N))
    credit = Credit(torch.zeros_like(r.logp_NT), torch.ones_like(r.group_N, dtype=torch.bool))
    (whole,) = {batch.totals for batch in split(r, credit, torch.arange(4), 12, 64)}
    rows, tokens = list[int](), list[int]()
    for rank in range(size):
        enter(Pretended(rank, size))
        rows += own(r, kept).tolist()
        batches = split(r, credit, torch.arange(4), 12, 64)
        assert {batch.totals for batch in batches} == {whole}
        tokens.append(sum(_tokens(batch.rollouts) for batch in batches))
    assert sorted(rows) == kept.tolist()
    assert sum(tokens) == whole.tokens == _tokens(r)


def _tokens(r: Rollouts) -> int:
    return int(r.completion_mask_NT.sum())


def test_all_end_after_the_round_in_which_one_is_interrupted() -> None:
    said: list[str] = []
    enter(Pretended(0, 2, lambda _: True))
    with pytest.raises(KeyboardInterrupt), Interrupt(said.append) as interrupt, interrupt.held():
        pass
    assert interrupt.agreed and interrupt.whole


def test_a_signal_that_the_launcher_hands_on_is_no_second_one() -> None:
    said: list[str] = []
    enter(Pretended(0, 2))
    with pytest.raises(KeyboardInterrupt), Interrupt(said.append) as interrupt, interrupt.held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        finished = True
    assert finished and interrupt.by == "the user" and len(said) == 1
