"""A group of processes, and the one that this process is in.

Every operation is called by all ranks, in the same order.  In a group of one each returns what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
U = TypeVar("U")


class Group:
    """One process, alone."""

    size = 1
    rank = 0
    speaks = True  # where all end by an error: is this the rank that tells the user?

    @property
    def first(self) -> bool:
        """Is this the rank that writes files and speaks?"""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in the order of ranks.  Values are pickled."""
        return [value]

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Add up each tensor over the ranks, in place.  The result has the same bits on every rank."""

    def map(self, function: Callable[[Sequence[T]], list[U]], items: Sequence[T]) -> list[U]:
        """`function(items)`, each rank doing its share of the items."""
        return function(items)

    def on_first(self, function: Callable[[], T]) -> T:
        """What `function` returns on rank 0, or the ValueError that it raises there, on every rank."""
        return function()

    def at(self, phase: str) -> None:
        """Say what this rank is doing, in case that it is its last word."""

    def leave(self, reason: str) -> bool:
        """Tell the others why this rank ends before its time; is it the one to tell the user?"""
        return True

    def lost(self) -> str:
        """Which rank has ended before its time and in what phase; "" where none has, or all were interrupted."""
        return ""

    def share(self, count: int) -> slice:
        """The items of `count` that are this rank's: neighbours, as many as any other's or one more or less.

        >>> Group().share(5)
        slice(0, 5, None)
        """
        return part(count, self.rank, self.size)


def part(count: int, rank: int, size: int) -> slice:
    """The `rank`-th of `size` stretches of `count` items; the first ones are longer by one where it does not divide.

    >>> [part(5, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    each, more = divmod(count, size)
    begin = rank * each + min(rank, more)
    return slice(begin, begin + each + (rank < more))


def balanced(costs: Sequence[float], size: int) -> list[slice]:
    """`size` stretches of neighbours whose costs are near to equal; some are empty where there are fewer items.

    An item belongs to the stretch in which its middle lies, if all costs were laid out in a line.

    >>> balanced([4.0, 1.0, 1.0, 1.0, 1.0], 2)
    [slice(0, 1, None), slice(1, 5, None)]
    """
    whole, passed, places = sum(costs), 0.0, []
    for cost in costs:
        places.append(min(int(size * (passed + cost / 2) / whole), size - 1))
        passed += cost
    ends = [sum(place <= rank for place in places) for rank in range(size)]
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


_ALONE = Group()
_current: list[Group] = [_ALONE]


def current() -> Group:
    """The group that this process is in."""
    return _current[0]


def enter(group: Group | None) -> None:
    """From now on this process is in `group`; in none but its own again with None."""
    _current[0] = group or _ALONE
