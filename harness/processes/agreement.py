"""What must be the same on every rank: libraries, configuration, inputs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from harness.processes.group import current

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "lm_eval", "numpy", "math-verify")


def check_same(what: str, table: Mapping[str, Any], advice: str) -> None:
    """Raises ValueError, the same on every rank, naming a rank and the fields in which it differs from rank 0."""
    tables = current().gather(dict(table))
    for rank, other in enumerate(tables):
        if differ := list(differences(tables[0], other)):
            more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
            raise ValueError(f"{what}: rank {rank} differs from rank 0 in {'; '.join(differ[:3])}{more}; {advice}")


def differences(one: Mapping[str, Any], two: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The fields in which two tables differ.

    >>> list(differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
    ['b.c: 3 where it has 2']
    """
    for name in sorted(set(one) | set(two)):
        a, b = one.get(name), two.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{prefix}{name}.")
        elif a != b:
            yield f"{prefix}{name}: {b} where it has {a}"


def versions() -> dict[str, str]:
    """Of Python and the libraries that act on numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
