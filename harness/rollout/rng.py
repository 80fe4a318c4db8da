"""Common random numbers: the noise of a sampled token depends on (seed, stream, ordinal, completion, position)
and on nothing else, so that arms with one seed see the same noise for every batch size and order.

Philox (Salmon et al. 2011, as numpy has it) is a counter-based generator: the key names the run's stream, the
counter the completion, and positions follow one another.
"""

from __future__ import annotations

import hashlib

import numpy as np


def _key(seed: int, stream: str) -> int:
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:16], "little")


def uniforms(seed: int, stream: str, ordinals: list[int], completions: list[int], positions: int) -> np.ndarray:
    """u_NT in [0, 1): row i belongs to completion `completions[i]` of prompt draw `ordinals[i]`.

    A row's first k columns are the same for every `positions` >= k, and no row depends on another.
    """
    key = _key(seed, stream)
    rows = np.empty((len(ordinals), positions))
    for i, (ordinal, completion) in enumerate(zip(ordinals, completions, strict=True)):
        # the counter's low word counts positions; the two words above name the row
        rows[i] = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, completion, ordinal])).random(positions)
    return rows


def permutation(seed: int, stream: str, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch walks `size` problems."""
    generator = np.random.Generator(np.random.Philox(key=_key(seed, stream), counter=[0, 0, 0, epoch]))
    return generator.permutation(size)
