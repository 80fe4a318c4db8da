"""What tests share.  Imports nothing but the standard library, so that tests of torch-free rooms stay torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOOSEST = 1e-4


def tensors(container: Any) -> dict[str, Any]:
    """The fields of rollouts or credit, with tensors inside a table of them under NAME.KEY."""
    flat: dict[str, Any] = {}
    for name, x in vars(container).items():
        flat |= {f"{name}.{k}": v for k, v in x.items()} if isinstance(x, dict) else {name: x}
    return flat


def close(actual: Any, expected: Any, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    """Assert |actual - expected| <= atol + rtol |expected|, element by element, with equal shapes.

    The only comparison of floats in the tests, because it has a ceiling: a tolerance looser than 1e-4 is an
    error, since a test that cannot fail is worse than none.  NaN equals nothing; infinities equal themselves.
    """
    if not (0 <= rtol <= LOOSEST and 0 <= atol <= LOOSEST):
        raise ValueError(f"tolerances go up to {LOOSEST}, not rtol={rtol}, atol={atol}")
    _close(_plain(actual), _plain(expected), rtol, atol, "")


def _plain(x: Any) -> Any:
    """Tensors and arrays as nested lists of Python numbers."""
    return _plain(x.tolist()) if hasattr(x, "tolist") else [_plain(y) for y in x] if isinstance(x, list | tuple) else x


def _close(actual: Any, expected: Any, rtol: float, atol: float, where: str) -> None:
    if isinstance(actual, list) or isinstance(expected, list):
        assert isinstance(actual, list) and isinstance(expected, list), f"shapes differ at [{where}]"
        assert len(actual) == len(expected), f"{len(actual)} elements, not {len(expected)}, at [{where}]"
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _close(a, b, rtol, atol, f"{where},{i}".strip(","))
        return
    near = actual == expected or abs(actual - expected) <= atol + rtol * abs(expected) < float("inf")
    assert near, f"{actual!r} is not {expected!r} (rtol={rtol}, atol={atol}) at [{where}]"
