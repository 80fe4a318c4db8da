"""What of an algorithm's needs several processes cannot share.

Every process has the whole round: probes are shared out by prompts and gathered like other completions, their verdicts
too, so that credit, `live_groups` (dynamic sampling) and what the algorithm remembers come out alike.  Seconds are
entered at a round's end, so that what is affordable within one is the same everywhere.
"""

from __future__ import annotations

from algos import Algorithm
from harness.processes.group import current


def check_shared(algo: Algorithm) -> None:
    """Raises ValueError where a run of several processes asks for embeddings: each would read them for itself, and
    machines that round otherwise would cluster otherwise."""
    if current().size > 1 and algo.needs & {"embedding", "completion_embedding"}:
        raise ValueError(
            f"algo: embeddings (group_by=cluster, dra) need one process, not {current().size}; "
            "choose another, or group_by=cluster(of=text)"
        )
