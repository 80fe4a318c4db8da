"""How much is held at once: logits, micro-batches, the columns and rows of the key-value cache.

These rules are applied by the models (`causal_lm`, `microbatching`) and by rollout (`kv_cache`, `engine`), and the
planner predicts memory from them.  They are here because the planner may import neither torch-heavy modules nor
`harness.rollout.sampler`: this module is plain Python, and `harness.models` is the highest package below all three.
"""

from __future__ import annotations

from collections.abc import Iterable

LOGIT_BYTES = 2**28  # of fp32 logits held at once; larger batches are split and recomputed in the backward pass
VARLEN_LOGIT_BYTES = 2**30  # the same on CUDA in 16 bits, where each piece casts the whole output head again
INITIAL_COLUMNS = 16  # completion columns that a growing key-value cache starts with
COLUMN_MULTIPLE = 128  # a static cache and its CUDA graphs attend to a multiple of so many columns


def logit_rows(vocabulary: int, varlen: bool) -> int:
    """Tokens whose fp32 logits over the vocabulary are held at once.

    >>> logit_rows(vocabulary=2**16, varlen=False)
    1024
    """
    return max(1, (VARLEN_LOGIT_BYTES if varlen else LOGIT_BYTES) // (4 * vocabulary))


def bucket(rows: int) -> int:
    """Rows rounded up to 1, 2, 3, 4, 6, 8, 12, ...: few CUDA graphs, and at most a third of the rows idle.

    >>> [bucket(n) for n in (1, 3, 5, 7, 9, 33)]
    [1, 3, 6, 8, 12, 48]
    """
    power = 1 << max(0, rows - 1).bit_length()
    return power * 3 // 4 if power >= 4 and rows <= power * 3 // 4 else power


def micro_batches(units: Iterable[tuple[int, int, int]], limit: int) -> list[list[int]]:
    """Indices of `units`, in order, in micro-batches of at most `limit` packed tokens, or one unit.

    A unit is (group, prompt tokens, completion tokens); neighbours of one group in one micro-batch share the prompt.

    >>> micro_batches([(0, 10, 20), (0, 10, 20), (1, 10, 20), (1, 10, 20)], limit=60)
    [[0, 1], [2, 3]]
    """
    batches: list[list[int]] = []
    tokens, last = 0, -1
    for index, (group, prompt, own) in enumerate(units):
        cost = own + (prompt if group != last else 0)
        if batches and tokens + cost <= limit:
            batches[-1].append(index)
            tokens += cost
        else:
            batches.append([index])
            tokens = prompt + own
        last = group
    return batches
