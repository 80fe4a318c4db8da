"""A reward for random weights: a coin that the completion's text tosses, so that groups differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evals.tasks import Problem
from evals.verification.verifier import Verdict

NAME = f"{Path(__file__)}:coin"  # as `--reward` takes it


def coin(problem: Problem, completion: str, verdict: Verdict) -> float:
    """0 or 1, by the text alone: the lowest bit of its SHA-256."""
    return float(hashlib.sha256(completion.encode()).digest()[-1] & 1)
