"""What is learned: pure tensor maths.  Imports torch and the standard library, nothing else."""

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.policy import Policy, ValueHead
from algos.core.registry import load, names
from algos.core.types import (
    Batch,
    Credit,
    Critic,
    Metrics,
    PolicyOutputs,
    Requirement,
    Rollouts,
    Schedule,
    Source,
    Totals,
)

__all__ = [
    "Algorithm",
    "Batch",
    "Credit",
    "Critic",
    "Metrics",
    "Policy",
    "PolicyOutputs",
    "Requirement",
    "Rollouts",
    "Row",
    "Schedule",
    "Source",
    "Totals",
    "ValueHead",
    "load",
    "names",
]
