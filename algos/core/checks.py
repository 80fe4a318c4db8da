"""Checks that algorithms share.  Each raises ValueError, one line that names the field and what is valid."""

from __future__ import annotations

from typing import Any


def check_not_negative(algo: Any, *names: str) -> None:
    for name in names:
        if getattr(algo, name) < 0:
            raise ValueError(f"algo.{name}: must not be negative, not {getattr(algo, name)}")


def check_at_least_one(algo: Any, *names: str) -> None:
    for name in names:
        if getattr(algo, name) is not None and getattr(algo, name) < 1:
            raise ValueError(f"algo.{name}: must be at least 1, not {getattr(algo, name)}")


def check_top_k(top_k: int | None, **others: Any) -> None:
    """Where `top_k` is below 1, or beside fields that concern correct completions.

    `others` are those fields: each with its value, and the value that it must have beside a top-k.
    """
    if top_k is None:
        return
    if top_k < 1:
        raise ValueError(f"algo.top_k: must be at least 1, not {top_k}")
    for name, (value, off) in others.items():
        if value != off:
            raise ValueError(f"algo.top_k: needs algo.{name}={str(off).lower()}, not {str(value).lower()}")
