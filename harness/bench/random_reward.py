"""A reward for random weights: 0 or 1 by a hash of the completion's text, so that rewards within a group differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evals.tasks import Problem
from evals.verification.verifier import Verdict

NAME = f"{Path(__file__)}:coin"  # for `--reward`


def coin(problem: Problem, completion: str, verdict: Verdict) -> float:
    """0 or 1: the lowest bit of the text's SHA-256."""
    return float(hashlib.sha256(completion.encode()).digest()[-1] & 1)
