"""The ledger against bytes that can be counted by hand, and against the allocator's own events."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from harness.accounting.tensor_memory import measured

B, D = 96, 64
ROW, SQUARE = 4 * B * D, 4 * D * D  # bytes of (B, D) and of (D, D) in fp32


def chain() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(B, D), torch.randn(D, D, requires_grad=True), torch.randn(D, D, requires_grad=True)


def test_a_chain_of_products_saves_what_backward_needs() -> None:
    """h = x A and y = h B stay: h is saved, y is a variable here.  Backward: the gradients of B, of h, of A, while h is
    still there; beside them the loss and its gradient, a number each."""
    x, a, b = chain()
    with measured() as ledger:
        h = x @ a
        y = h @ b
        loss = y.sum()
        assert ledger.now - ledger.start == 2 * ROW + 4
        loss.backward()
    assert ledger.rise == 3 * ROW + 2 * SQUARE + 4 + 4
    assert ledger.where == "aten.mm.default"
    assert ledger.now - ledger.start == 2 * ROW + 2 * SQUARE + 4  # both gradients stay


def test_what_nobody_holds_is_not_there() -> None:
    """exp saves its result; the mean of a product saves its two factors; without a gradient nothing is saved."""
    x, a, _ = chain()
    with measured() as ledger, torch.no_grad():
        y = x.exp().exp().exp()
    assert (ledger.rise, ledger.now - ledger.start) == (2 * ROW, ROW)
    with measured() as ledger:
        y = a.exp().exp().exp()
    assert ledger.rise == 3 * SQUARE
    with measured() as ledger:
        del y
    assert ledger.now - ledger.start == -3 * SQUARE and ledger.rise == 0


def test_a_view_and_a_change_in_place_take_nothing() -> None:
    x, _, _ = chain()
    with measured() as ledger:
        x.t()[1:].add_(1)
        x.view(D, B).mul_(2)
    assert ledger.rise == 0


def test_a_checkpoint_keeps_its_input_alone() -> None:
    x, a, _ = chain()

    def part(x: torch.Tensor) -> torch.Tensor:
        return (x @ a).exp().exp().sum()

    with measured() as ledger:
        loss = checkpoint(part, x, use_reentrant=False)
        assert ledger.now - ledger.start < ROW
        loss.backward()  # type: ignore[union-attr]
    assert ledger.rise >= 3 * ROW


def test_gradients_that_are_there_count_from_the_start() -> None:
    x, a, _ = chain()
    (x @ a).sum().backward()
    with measured() as ledger:
        a.grad = None
    assert ledger.now == ledger.start - SQUARE


def test_a_second_gradient_stands_beside_the_first() -> None:
    """... until it is added: beside it the product, the loss and its gradient."""
    x, a, _ = chain()
    (x @ a).sum().backward()
    with measured() as ledger:
        y = x @ a
        y.sum().backward()
    assert ledger.now == ledger.start + ROW
    assert ledger.rise == ROW + SQUARE + 4 + 4


@pytest.mark.filterwarnings("ignore")
def test_the_allocator_says_the_same() -> None:
    """Its events, summed up, over a forward and backward whose operations need no scratch."""
    x, a, b = chain()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        ((x @ a).exp() @ b).sum().backward()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    a.grad = b.grad = None
    with measured() as ledger:
        ((x @ a).exp() @ b).sum().backward()
    assert 0.99 <= ledger.rise / most <= 1.01
    assert now == 2 * SQUARE
